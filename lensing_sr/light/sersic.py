# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The elliptical Sersic profile as pure tensor functions.

.. math:: I(r) = I_e \exp\left\{-b_n\left[(r / r_\mathrm{eff})^{1/n} - 1\right]\right\}, \qquad
          r = |w| / \sqrt{1 - |\epsilon|^2}

with the complex ellipticity form of `lensing_sr.lensing.mass`: r_eff is the half-light radius on the intermediate axis
:math:`\sqrt{ab}`, and the profile is smooth at zero ellipticity.
"""

import math

import torch

__all__ = ["sersic_b", "sersic_b_slope", "sersic_brightness", "sersic_flux"]

#: Radii below this fraction of r_eff count as the centre, where r^(1/n) has no derivative: there it runs into zero
#: as r^2, so that the value at the very centre is exact and its gradient finite.
CENTRE = 1e-6


def sersic_b(n, bn="exact"):
    r"""Return :math:`b_n`, for which half of the light lies within r_eff: :math:`P(2n, b_n) = 1/2`.

    Parameters
    ----------
    n : torch.Tensor
        Sersic index, 0.3 to 10.
    bn : {"exact", "lenstronomy"}
        "exact" solves the equation (as astropy does); "lenstronomy" is the approximation 1.9992 n - 0.3271.

    Returns
    -------
    torch.Tensor
        b_n, shaped as n, with its exact first derivative.

    References
    ----------
    Ciotti & Bertin 1999, A&A 352, 447 (the asymptotic series where the solution starts).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.sersic import sersic_b
    >>> round(float(sersic_b(torch.tensor(4.0, dtype=torch.float64))), 6)
    7.669249
    """
    if bn == "lenstronomy":
        return 1.9992 * n - 0.3271
    b, slope = sersic_b_slope(n)
    return b + slope * (n - n.detach())


@torch.no_grad()
def sersic_b_slope(n):
    """Return exact b_n and its derivative by n, shaped as n; see `sersic_b`.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.sersic import sersic_b_slope
    >>> [round(float(v), 3) for v in sersic_b_slope(torch.tensor(1.0, dtype=torch.float64))]
    [1.678, 1.987]
    """
    # Newton on P(2n, b) = 1/2 in float64, whatever n came in: incomplete gamma functions are poor in float32
    a = 2.0 * n.double()
    b = a - 1.0 / 3.0 + 8.0 / (405.0 * a) + 184.0 / (25515.0 * a**2) + 1048.0 / (1148175.0 * a**3)
    log_gamma = torch.lgamma(a)
    for _ in range(3):
        density = torch.exp((a - 1.0) * b.log() - b - log_gamma)
        b = b - (torch.special.gammainc(a, b) - 0.5) / density
    # the implicit derivative; that of P by its first argument has no closed form
    step = 3e-5 * a
    slope = (torch.special.gammainc(a - step, b) - torch.special.gammainc(a + step, b)) / (step * density)
    return b.to(n.dtype), slope.to(n.dtype)


def sersic_brightness(x, y, amplitude, r_eff, n, e1, e2, x_source=0.0, y_source=0.0, bn="exact"):
    """Surface brightness of an elliptical Sersic profile.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec.
    amplitude : torch.Tensor
        Surface brightness at r_eff, per arcsec^2.
    r_eff : torch.Tensor
        Half-light radius on the intermediate axis in arcsec.
    n : torch.Tensor
        Sersic index.
    e1, e2 : torch.Tensor
        Ellipticity, as in `lensing_sr.lensing.mass.sie_deflection`.
    x_source, y_source : torch.Tensor or float
        Centre in arcsec.
    bn : {"exact", "lenstronomy"}
        See `sersic_b`.

    Returns
    -------
    torch.Tensor
        Surface brightness per arcsec^2, broadcast of positions and parameters.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.sersic import sersic_brightness
    >>> one, zero = torch.ones(()), torch.zeros(())
    >>> round(float(sersic_brightness(one, zero, amplitude=20 * one, r_eff=one, n=one, e1=zero, e2=zero)), 5)
    20.0
    """
    x, y = x - x_source, y - y_source
    w_x = x - e1 * x - e2 * y
    w_y = y + e1 * y - e2 * x
    ratio2 = (w_x * w_x + w_y * w_y) / ((1.0 - e1 * e1 - e2 * e2) * r_eff * r_eff)
    power = torch.exp(ratio2.clamp_min(CENTRE**2).log() * (0.5 / n)) * (ratio2 / CENTRE**2).clamp_max(1.0)
    return amplitude * torch.exp(-sersic_b(n, bn) * (power - 1.0))


def sersic_flux(amplitude, r_eff, n, bn="exact"):
    r"""Total flux, :math:`2\pi n\, I_e r_\mathrm{eff}^2\, e^{b_n} b_n^{-2n}\, \Gamma(2n)`.

    Parameters
    ----------
    amplitude : torch.Tensor
        Surface brightness at r_eff, per arcsec^2.
    r_eff : torch.Tensor
        Half-light radius on the intermediate axis in arcsec.
    n : torch.Tensor
        Sersic index.
    bn : {"exact", "lenstronomy"}
        See `sersic_b`.

    Returns
    -------
    torch.Tensor
        Flux, in the amplitude's unit times arcsec^2.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.sersic import sersic_flux
    >>> one = torch.ones((), dtype=torch.float64)
    >>> round(float(sersic_flux(one, one, n=0.5 * one)), 6)  # a Gaussian: 2 pi / ln 2
    9.06472
    """
    b = sersic_b(n, bn)
    return amplitude * r_eff**2 * (2.0 * math.pi) * n * torch.exp(b - 2.0 * n * b.log() + torch.lgamma(2.0 * n))
