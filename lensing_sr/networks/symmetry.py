# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The sky has no preferred direction, a convolution has: average over the eight ways to lay an image down.

.. math:: \bar\alpha(\theta) = \frac18 \sum_{g \in D_4} g^{-1}\, \alpha[g\,d](g\,\theta)
"""

import torch

from lensing_sr.losses.observed import Deflection

__all__ = ["average_symmetries", "laid_down", "taken_up"]

#: (transposed, columns reversed, rows reversed): the turns by quarter circles and their mirror images.
SYMMETRIES = tuple((t, c, r) for t in (False, True) for c in (False, True) for r in (False, True))


def laid_down(image, symmetry):
    """An image in one of the eight orientations.

    Parameters
    ----------
    image : torch.Tensor
        ``(..., rows, columns)``.
    symmetry : tuple of bool
        One of `SYMMETRIES`: transpose first, then reverse columns, then rows.

    Returns
    -------
    torch.Tensor
        ``(..., columns, rows)`` where it was transposed.
    """
    transposed, columns, rows = symmetry
    image = image.mT if transposed else image
    axes = [axis for axis, reverse in ((-1, columns), (-2, rows)) if reverse]
    return image.flip(axes) if axes else image


def taken_up(field, symmetry):
    """A deflection field of an image that was `laid_down`, back in the frame of the image: pixels and components.

    Parameters
    ----------
    field : Deflection
        On the pixels of the image that was laid down, or finer.
    symmetry : tuple of bool
        As given to `laid_down`.

    Returns
    -------
    Deflection

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses import Deflection
    >>> from lensing_sr.networks.symmetry import taken_up
    >>> one, two = torch.ones(1, 1, 1), 2 * torch.ones(1, 1, 1)
    >>> taken_up(Deflection(one, two), (False, True, False))  # a mirror image: x was reversed
    Deflection(alpha_x=tensor([[[-1.]]]), alpha_y=tensor([[[2.]]]))
    """
    transposed, columns, rows = symmetry
    axes = [axis for axis, reverse in ((-1, columns), (-2, rows)) if reverse]
    alpha_x, alpha_y = (alpha.flip(axes) if axes else alpha for alpha in field)
    alpha_x, alpha_y = -alpha_x if columns else alpha_x, -alpha_y if rows else alpha_y
    return Deflection(alpha_y.mT, alpha_x.mT) if transposed else Deflection(alpha_x, alpha_y)


@torch.no_grad()
def average_symmetries(network, image, *, pixel_scale, psf_fwhm=0.0, noise=None):
    """Deflection field averaged over eight predictions, and the eight, whose scatter says how sure the network is.

    Parameters
    ----------
    network : DeflectionNetwork
        In `eval` mode.
    image : torch.Tensor
        ``(batch, rows, columns)``, flux a pixel without sky.
    pixel_scale, psf_fwhm : float
        arcsec.
    noise : torch.Tensor, optional
        Sigma, ``(batch, rows, columns)`` or ``(batch, 1, 1)``, where the network needs it.

    Returns
    -------
    mean : Deflection
        ``(batch, 2 rows, 2 columns)`` in arcsec: exactly as equivariant as lensing is, whatever the network learned.
    copies : Deflection
        ``(batch, 8, 2 rows, 2 columns)``, in the order of `SYMMETRIES`, all in the frame of the image.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import average_symmetries, build_network
    >>> network = build_network({"network": "residual-cnn", "channels": 4, "blocks": 1}).eval()
    >>> mean, copies = average_symmetries(network, torch.rand(2, 12, 16), pixel_scale=0.1)
    >>> mean.alpha_x.shape, copies.alpha_x.shape
    (torch.Size([2, 24, 32]), torch.Size([2, 8, 24, 32]))
    """
    copies = []
    for symmetry in SYMMETRIES:
        sigma = noise if noise is None or noise.shape[-2:] == (1, 1) else laid_down(noise, symmetry)
        field = network(laid_down(image, symmetry), pixel_scale=pixel_scale, psf_fwhm=psf_fwhm, noise=sigma)
        copies.append(taken_up(field, symmetry))
    stacked = Deflection(*(torch.stack(alphas, dim=1) for alphas in zip(*copies, strict=True)))
    return Deflection(*(alpha.mean(dim=1) for alpha in stacked)), stacked
