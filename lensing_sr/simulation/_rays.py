# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lenses of a batch, and functions of images applied to rows of samples, some of this image and some of that."""

from dataclasses import dataclass, fields, replace

import torch

from lensing_sr.lensing.mass import epl_deflection, shear_deflection

__all__ = ["Lens", "by_image", "some_of"]

#: Samples that are computed in one row, all of one image.
BLOCK = 512


@dataclass(frozen=True)
class Lens:
    """Masses that bend light: elliptical power laws in an external shear, with whatever else is there.

    Parameters
    ----------
    theta_E, gamma, e1, e2, x, y, gamma1, gamma2 : torch.Tensor
        ``(n, 1, 1)``, as in `lensing_sr.lensing.mass`; the shear is about the centre of the lens.
    perturbers : object, optional
        What has ``deflection(x, y)``: subhalos or point masses.
    """

    theta_E: torch.Tensor
    gamma: torch.Tensor
    e1: torch.Tensor
    e2: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    gamma1: torch.Tensor
    gamma2: torch.Tensor
    perturbers: object = None

    def deflection(self, x, y):
        """Deflection (alpha_x, alpha_y) in arcsec at positions that broadcast with ``(n, 1, 1)``."""
        alpha_x, alpha_y = epl_deflection(x, y, self.theta_E, self.gamma, self.e1, self.e2, self.x, self.y)
        shear_x, shear_y = shear_deflection(x, y, self.gamma1, self.gamma2, self.x, self.y)
        alpha_x, alpha_y = alpha_x + shear_x, alpha_y + shear_y
        if self.perturbers is not None:
            more_x, more_y = self.perturbers.deflection(x, y)
            alpha_x, alpha_y = alpha_x + more_x, alpha_y + more_y
        return alpha_x, alpha_y

    def __getitem__(self, index):
        """Return the lenses of some images, a tensor of their numbers."""
        chosen = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "perturbers"}
        return Lens(**chosen, perturbers=None if self.perturbers is None else some_of(self.perturbers, index))

    def rays(self, which, x, y):
        """Where the rays seen at (x, y) ``(m, k)`` come from in the source plane, each row through the lens `which`."""

        def trace(index, x, y):
            alpha_x, alpha_y = self[index].deflection(x, y)
            return x - alpha_x, y - alpha_y

        return by_image(trace, which, x, y) if len(which) else (x, y)

    def farthest_image(self, source, reach):
        r"""Radius about the lens beyond which no light of the source can appear, ``(n,)`` arcsec.

        Rays at a radius r come from at least :math:`r (1 - |\gamma_s|) - c\,\theta_E (r / \theta_E)^{2 - \gamma}`; c
        leaves room for ellipticity and perturbers.
        """
        theta_E, gamma, x, y = (value.flatten() for value in (self.theta_E, self.gamma, self.x, self.y))
        stretch = 1.0 - torch.hypot(self.gamma1, self.gamma2).flatten()
        # no isothermal ellipsoid bends by more than 1.08 theta_E
        bend = 1.2 * theta_E
        power = (2.0 - gamma).clamp_min(0.0)
        farthest = torch.hypot(source.x - x, source.y - y) + reach
        radius = 100.0 * (farthest + theta_E)
        for _ in range(12):  # from above, without overshooting: the right-hand side is concave
            radius = (farthest + bend * (radius / theta_E).clamp_min(1.0) ** power) / stretch
        return radius


def some_of(owner, index):
    """A frozen dataclass of tensors ``(n, ...)`` for some of the images."""
    values = {f.name: getattr(owner, f.name) for f in fields(owner)}
    return replace(owner, **{name: value[index] for name, value in values.items() if torch.is_tensor(value)})


def by_image(function, which, *rows):
    """Apply a function that works image by image to rows of numbers that belong to images, many rows an image.

    Parameters
    ----------
    function : callable
        ``function(index, *blocks)`` with the images of the blocks, ``(b,)``, and blocks ``(b, 1, samples)``.
    which : torch.Tensor
        The image of each row, ``(m,)``, growing.
    *rows : torch.Tensor
        ``(m, k)``.

    Returns
    -------
    torch.Tensor or tuple of torch.Tensor
        As the function returns them, ``(m, k)``.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation._rays import by_image
    >>> slope = torch.tensor([1.0, 10.0])
    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> by_image(lambda index, x: x * slope[index, None, None], torch.tensor([0, 0, 1]), x).flatten().tolist()
    [1.0, 2.0, 30.0]
    """
    m, k = rows[0].shape
    if m == 0:
        return rows[0]
    length = max(BLOCK // k, 1)
    images, counts = which.unique_consecutive(return_counts=True)
    blocks = (counts + length - 1) // length
    index = images.repeat_interleave(blocks)
    # the row in each place of the blocks: those of an image one after the other, and then its last one again
    first = counts.cumsum(0) - counts
    number = torch.arange(len(index), device=which.device) - (blocks.cumsum(0) - blocks).repeat_interleave(blocks)
    place = number[:, None] * length + torch.arange(length, device=which.device)
    inside = place < counts.repeat_interleave(blocks)[:, None]
    row = (first.repeat_interleave(blocks)[:, None] + place).clamp_max(m - 1)
    results = function(index, *(values[row].reshape(len(index), 1, length * k) for values in rows))
    packed = [r.reshape(len(index), length, k)[inside] for r in (results if isinstance(results, tuple) else (results,))]
    return tuple(packed) if isinstance(results, tuple) else packed[0]
