# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A look at the whole image at once: the deflection far from an arc follows from the arc's radius."""

import torch
from torch import nn
from torch.nn import functional

from lensing_sr.networks._layers import full_precision, he_initialise, make_norm, pixel_offsets, shrink

__all__ = ["GlobalContext", "multipoles"]


def multipoles(rows, columns, *, device=None, dtype=torch.float32):
    r"""Maps of which the deflection of a nearly isothermal lens in external shear consists.

    .. math:: 1,\ r,\ \cos\varphi,\ \sin\varphi,\ \cos2\varphi,\ \sin2\varphi,\ r\cos2\varphi,\ r\sin2\varphi

    The radial component of an isothermal sphere is constant; an off-centre lens adds the dipole, ellipticity the
    quadrupole, external convergence r and external shear the quadrupole times r.

    Parameters
    ----------
    rows, columns : int
        Shape of the maps; r is in units of half the longer side, phi counter-clockwise from +x about the centre.
    device, dtype
        Of the result.

    Returns
    -------
    torch.Tensor
        ``(8, rows, columns)``.
    """
    x, y = pixel_offsets(rows, columns, device=device, dtype=dtype)
    r = torch.hypot(*torch.broadcast_tensors(x, y))
    safe = r.clamp_min(torch.finfo(dtype).tiny)
    cos, sin = x / safe, y / safe
    cos2, sin2 = cos**2 - sin**2, 2.0 * cos * sin
    r = r / (0.5 * max(rows, columns))
    return torch.stack([torch.ones_like(r), r, cos, sin, cos2, sin2, r * cos2, r * sin2])


class GlobalContext(nn.Module):
    r"""Strided convolutions, pooled to 4 x 4 whatever the image's size, and from them a vector and a smooth field.

    The published network sees some 30 pixels at once, less than a ring's diameter: far from the arcs it cannot know
    theta_E.  This branch sees everything.  Its vector modulates the blocks of the trunk (`FiLM`), and

    .. math:: z_k(\theta) = \sum_m a_{km}\, Y_m(\theta)

    with the eight `multipoles` Y_m is added to the trunk's output, so that the trunk has only to correct a smooth
    field.

    Parameters
    ----------
    in_channels : int
        Channels of the prepared input (`lensing_sr.networks.prepare_inputs`); "x", "y" and "r" should be among them.
    outputs : int
        Channels of the field.
    width : int
        Length of the vector.
    widths : sequence of int
        Channels of the strided convolutions.
    norm : {"batch", "group"}
        Normalisation after each.
    """

    #: The last map is pooled to so many cells a side: where something is must survive.
    cells = 4

    def __init__(self, in_channels, outputs=2, *, width=48, widths=(16, 24, 32, 32), norm="batch"):
        super().__init__()
        self.outputs = outputs
        layers = []
        for before, after in zip((in_channels, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), make_norm(norm, after), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.squeeze = nn.Linear(widths[-1] * self.cells**2, width)
        self.coefficients = nn.Linear(width, outputs * 8)
        he_initialise(self)
        shrink(self.coefficients)

    def forward(self, x):
        """Vector ``(batch, width)`` of a prepared input ``(batch, in_channels, ny, nx)``."""
        pooled = functional.adaptive_avg_pool2d(self.encoder(x), self.cells).flatten(1)
        # with eight bits, radii would be known to 0.4 % only
        with full_precision(x):
            return functional.leaky_relu(self.squeeze(pooled.to(self.squeeze.weight.dtype)), 0.1)

    def field(self, vector, shape):
        """Smooth field ``(batch, outputs, rows, columns)`` that a vector stands for."""
        with full_precision(vector):
            coefficients = self.coefficients(vector).unflatten(1, (self.outputs, 8))
            basis = multipoles(*shape, device=vector.device, dtype=vector.dtype)
            return torch.einsum("bkm,mrc->bkrc", coefficients, basis)
