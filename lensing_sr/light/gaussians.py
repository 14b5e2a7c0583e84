# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Elliptical Gaussians as pure tensor functions: the pieces of the lens galaxy's light.

A galaxy's smooth light is a sum of a dozen concentric Gaussians of fixed, logarithmically spaced widths and free,
non-negative fluxes (Emsellem, Monnet & Bacon 1994, A&A 285, 723): linear in everything but shape and centre.
"""

import math

import torch

__all__ = ["gaussian_brightness", "gaussian_widths"]


def gaussian_brightness(x, y, sigma, e1, e2, x0=0.0, y0=0.0):
    r"""Surface brightness of an elliptical Gaussian of unit flux, :math:`e^{-r^2/2\sigma^2} / (2\pi\sigma^2)`.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec.
    sigma : torch.Tensor
        Width on the intermediate axis in arcsec.
    e1, e2 : torch.Tensor
        Ellipticity, as in `lensing_sr.lensing.mass.sie_deflection`.
    x0, y0 : torch.Tensor or float
        Centre in arcsec.

    Returns
    -------
    torch.Tensor
        Surface brightness per arcsec^2.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.gaussians import gaussian_brightness
    >>> one, zero = torch.ones(()), torch.zeros(())
    >>> round(float(gaussian_brightness(zero, zero, one, zero, zero)), 6)
    0.159155
    """
    x, y = x - x0, y - y0
    w_x = x - e1 * x - e2 * y
    w_y = y + e1 * y - e2 * x
    r2 = (w_x * w_x + w_y * w_y) / (1.0 - e1 * e1 - e2 * e2)
    variance = sigma * sigma
    return torch.exp(-0.5 * r2 / variance) / (2.0 * math.pi * variance)


def gaussian_widths(smallest, largest, count):
    """Return `count` widths in arcsec, spaced evenly in their logarithm from `smallest` to `largest`.

    Parameters
    ----------
    smallest, largest : float
        First and last width in arcsec.
    count : int
        How many.

    Returns
    -------
    torch.Tensor
        Widths of shape ``(count,)``, float64.
    """
    return torch.logspace(math.log10(smallest), math.log10(largest), count, dtype=torch.float64)
