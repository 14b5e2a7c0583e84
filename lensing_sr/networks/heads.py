# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""From a network's plain numbers to a deflection field: polar components, a mass map, or a potential.

A head takes what the network puts out on the fine grid, ``(batch, outputs, rows, columns)``, and the size of a fine
pixel, and gives (alpha_x, alpha_y) in arcsec at the pixel centres, about the centre of the array.  It computes in
single precision or better, whatever autocast does around it.

A *polar* field is what the reference method has; nothing keeps it from having a curl, which no single lens plane has.
The other two are curl-free by construction.  In both, a global theta_E and shear stand for all mass that the frame
does not hold, and each is the mean of one output over the frame.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from lensing_sr.errors import InputError
from lensing_sr.lensing.relens import deflection_from_convergence, pixel_derivatives
from lensing_sr.losses.observed import Deflection
from lensing_sr.networks._layers import full_precision, pixel_offsets

__all__ = ["ConvergenceHead", "PolarHead", "PotentialHead"]

#: Bounds of the Einstein radius in arcsec, as published.
LOW, HIGH = 0.5, 1.6

#: Bound of the tangential component over that of the radial one, as published.
TANGENTIAL = 0.00125

#: Largest global shear, each component.
SHEAR = 0.3


def _check_bounds(low, high):
    if not 0.0 <= low < high < math.inf:
        raise InputError("low, high", "must be 0 <= low < high, in arcsec", (low, high))
    return float(low), float(high)


def _positions(raw, scale):
    """Return (x, y, r) of the pixels in arcsec; r is positive even where a pixel lies at the centre."""
    x, y = (scale * p for p in pixel_offsets(*raw.shape[-2:], device=raw.device, dtype=raw.dtype))
    r = torch.hypot(*torch.broadcast_tensors(x, y))
    return x, y, r.clamp_min(torch.finfo(raw.dtype).tiny)


def _plain(raw):
    return raw.to(torch.promote_types(raw.dtype, torch.float32))


class PolarHead(nn.Module):
    r"""Radial and tangential component at every pixel.

    .. math:: \alpha_r = l + (h - l)\,\sigma(z_1), \qquad \alpha_t = t\,(2 \sigma(z_2) - 1)

        \alpha_x = \alpha_r \cos\varphi - \alpha_t \sin\varphi, \qquad
        \alpha_y = \alpha_r \sin\varphi + \alpha_t \cos\varphi

    with the logistic function sigma and phi the angle of the pixel's centre about that of the array.

    Parameters
    ----------
    low, high : float
        l and h, arcsec: published 0.5 and 1.6.
    tangential : float, optional
        t, arcsec; by default 0.00125 (h - l), as published.  Elliptical lenses and shear want about 0.3.
    bounded : bool
        False makes both linear instead, :math:`\sigma(z) \to \tfrac12 + \tfrac14 z` (published for the RCAN).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import PolarHead
    >>> alpha_x, alpha_y = PolarHead()(torch.zeros(1, 2, 4, 4), 0.05)
    >>> float(torch.hypot(alpha_x, alpha_y).max())
    1.05
    """

    outputs = 2

    def __init__(self, low=LOW, high=HIGH, tangential=None, bounded=True):
        super().__init__()
        self.low, self.high = _check_bounds(low, high)
        self.tangential = TANGENTIAL * (self.high - self.low) if tangential is None else float(tangential)
        if not 0.0 <= self.tangential < math.inf:
            raise InputError("tangential", "must not be negative", tangential, "0 for none")
        self.bounded = bool(bounded)

    def components(self, raw):
        """Radial and tangential component in arcsec, each ``(batch, rows, columns)``."""
        raw = _plain(raw)
        share = raw.sigmoid() if self.bounded else 0.5 + 0.25 * raw
        return self.low + (self.high - self.low) * share[:, 0], self.tangential * (2.0 * share[:, 1] - 1.0)

    def forward(self, raw, scale):
        """Field of ``(batch, 2, rows, columns)`` with pixels of `scale` arcsec."""
        with full_precision(raw):
            alpha_r, alpha_t = self.components(raw)
            x, y, r = _positions(alpha_r, scale)
            cos, sin = x / r, y / r
            return Deflection(alpha_r * cos - alpha_t * sin, alpha_r * sin + alpha_t * cos)


class _MeanField(nn.Module):
    """An isothermal sphere and a shear, from the means of three outputs over the frame."""

    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = _check_bounds(low, high)

    def forward(self, raw):
        """Einstein radius in arcsec and both components of shear, each ``(batch, 1, 1)``, of ``(batch, 3, ...)``."""
        mean = raw.mean(dim=(-2, -1), keepdim=True)
        theta_E = self.low + (self.high - self.low) * mean[:, 0].sigmoid()
        return theta_E, SHEAR * mean[:, 1].tanh(), SHEAR * mean[:, 2].tanh()


class ConvergenceHead(nn.Module):
    r"""A mass map on the fine grid, and the deflection by it.

    .. math:: \kappa = \frac{\theta_E}{2 r}\, m, \quad m = \mathrm{softplus}(z_1 + z_0), \qquad
              \alpha = \theta_E\, \hat r + \Gamma \theta + \alpha\!\left[\frac{\theta_E}{2 r} (m - 1)\right]

    Convergence is positive everywhere.  `~lensing_sr.lensing.deflection_from_convergence` knows only the mass in the
    frame, and a galaxy's mass goes on beyond it: so the isothermal sphere that fits best is deflected analytically, and
    the map only says by which factor m the mass differs from it, inside (z_0 makes m = 1 of z_1 = 0).  The shear Gamma
    stands for what lies outside.  Without the mean field the map is all there is,
    :math:`\kappa = \mathrm{softplus}(z_1)`, and then the frame has to hold all mass.

    Parameters
    ----------
    low, high : float
        Bounds of theta_E, arcsec.
    mean_field : bool
        Whether there is such a sphere and shear.
    """

    def __init__(self, low=LOW, high=HIGH, mean_field=True):
        super().__init__()
        self.outputs = 4 if mean_field else 1
        self.mean_field = _MeanField(low, high) if mean_field else None

    def convergence(self, raw, scale):
        """Convergence in the frame, ``(batch, rows, columns)``, of pixels of `scale` arcsec."""
        with full_precision(raw):
            raw = _plain(raw)
            if self.mean_field is None:
                return functional.softplus(raw[:, 0])
            theta_E, _, _ = self.mean_field(raw[:, 1:])
            return _isothermal(raw, scale, theta_E) * _factor(raw[:, 0])

    def forward(self, raw, scale):
        """Field of ``(batch, outputs, rows, columns)`` with pixels of `scale` arcsec."""
        matrix = ((scale, 0.0), (0.0, scale))
        with full_precision(raw):
            raw = _plain(raw)
            if self.mean_field is None:
                return Deflection(*deflection_from_convergence(functional.softplus(raw[:, 0]), matrix))
            theta_E, gamma1, gamma2 = self.mean_field(raw[:, 1:])
            excess = _isothermal(raw, scale, theta_E) * (_factor(raw[:, 0]) - 1.0)
            alpha_x, alpha_y = deflection_from_convergence(excess, matrix)
            x, y, r = _positions(raw, scale)
            mean_x, mean_y = theta_E * x / r + gamma1 * x + gamma2 * y, theta_E * y / r + gamma2 * x - gamma1 * y
            return Deflection(alpha_x + mean_x, alpha_y + mean_y)


def _factor(z):
    return functional.softplus(z + math.log(math.e - 1.0))


def _isothermal(raw, scale, theta_E):
    # the pixel at the very centre, where there is one, holds what a disc of its area does
    return 0.5 * theta_E / _positions(raw, scale)[2].clamp_min(0.5 * scale / math.sqrt(math.pi))


class PotentialHead(nn.Module):
    r"""A potential on the fine grid, and its gradient.

    .. math:: \psi = \theta_E \sqrt{r^2 + p^2} + \tfrac12 \theta^T \Gamma\, \theta + s\, z_1, \qquad
              \alpha = \nabla \psi

    The gradient is taken by the differences that `~lensing_sr.lensing.distortion` takes of the field: those along x and
    those along y exchange, so that the curl which it finds is zero up to rounding, sphere and all.  The price is that
    within some three fine pixels p of its centre the sphere is softened.

    Parameters
    ----------
    low, high : float
        Bounds of theta_E, arcsec.
    strength : float
        s, arcsec^2: what a network's output of 1 is worth.
    """

    outputs = 4

    def __init__(self, low=LOW, high=HIGH, strength=0.02):
        super().__init__()
        self.mean_field = _MeanField(low, high)
        if not 0.0 < strength < math.inf:
            raise InputError("strength", "must be positive", strength, "give it in arcsec^2")
        self.strength = float(strength)

    def potential(self, raw, scale):
        """Potential in arcsec^2, ``(batch, rows, columns)``, on pixels of `scale` arcsec."""
        with full_precision(raw):
            raw = _plain(raw)
            theta_E, gamma1, gamma2 = self.mean_field(raw[:, 1:])
            x, y, _ = _positions(raw, scale)
            psi = theta_E * (x**2 + y**2 + scale**2).sqrt() + 0.5 * gamma1 * (x**2 - y**2) + gamma2 * x * y
            return psi + self.strength * raw[:, 0]

    def forward(self, raw, scale):
        """Field of ``(batch, 4, rows, columns)`` with pixels of `scale` arcsec."""
        with full_precision(raw):
            alpha_x, alpha_y = pixel_derivatives(self.potential(raw, scale) / scale)
            return Deflection(alpha_x, alpha_y)
