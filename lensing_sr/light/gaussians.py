# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Elliptical Gaussians as pure tensor functions: the pieces of the lens galaxy's light.

A galaxy's smooth light is a sum of a dozen concentric Gaussians of fixed, logarithmically spaced widths and free,
non-negative fluxes (Emsellem, Monnet & Bacon 1994, A&A 285, 723): linear in everything but shape and centre.
"""

import math

import torch

__all__ = ["gaussian_brightness", "gaussian_family", "gaussian_widths"]

#: Ratio of neighbouring widths.
STEP = math.sqrt(3.0)

#: Gaussians computed from one exponential: each cubing triples the rounding error.
CHAIN = 3


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


def gaussian_family(x, y, widths, e1, e2, x0=0.0, y0=0.0):
    r"""Surface brightness of concentric Gaussians of unit flux whose widths grow by :math:`\sqrt{3}` each.

    A Gaussian of a third of the variance is the cube of the wider one, :math:`e^{-3 t} = (e^{-t})^3`: one exponential
    in three is computed, the others by multiplication.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, ``(rows, columns)``.
    widths : torch.Tensor
        From `gaussian_widths`, ``(k,)`` ascending.
    e1, e2, x0, y0 : torch.Tensor
        Shape and centre, as in `gaussian_brightness`, ``(..., 1, 1)``.

    Returns
    -------
    torch.Tensor
        Per arcsec^2, ``(..., k, rows, columns)``.
    """
    x, y = x - x0, y - y0
    w_x = x - e1 * x - e2 * y
    w_y = y + e1 * y - e2 * x
    half_r2 = (w_x * w_x + w_y * w_y) * (-0.5 / (1.0 - e1 * e1 - e2 * e2))
    variances = (widths.double() ** 2).tolist()
    family, value = [], None
    for i, variance in enumerate(reversed(variances)):
        value = torch.exp(half_r2 / variance) if i % CHAIN == 0 else value * value * value
        family.append(value / (2.0 * math.pi * variance))
    return torch.stack(family[::-1], dim=-3)


def gaussian_widths(smallest, largest):
    r"""Widths from `smallest` in steps of :math:`\sqrt{3}` until `largest` is reached.

    Sums of such Gaussians follow a de Vaucouleurs profile to a few percent over their range; the step lets
    `gaussian_family` compute them fast.

    Parameters
    ----------
    smallest, largest : float
        In arcsec.

    Returns
    -------
    torch.Tensor
        Widths of shape ``(k,)``, float64.

    Examples
    --------
    >>> from lensing_sr.light.gaussians import gaussian_widths
    >>> [round(width, 3) for width in gaussian_widths(0.1, 0.5).tolist()]
    [0.1, 0.173, 0.3, 0.52]
    """
    count = 1 + max(0, math.ceil(math.log(largest / smallest) / math.log(STEP) - 1e-9))
    return smallest * STEP ** torch.arange(count, dtype=torch.float64)
