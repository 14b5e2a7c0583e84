# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Radial functions of the truncated NFW profile, written so that float32 holds from the centre to far outside.

Baltz, Marshall & Oguri (2009, JCAP 01, 015) give, with :math:`x = r / r_s`, :math:`\tau = r_t / r_s`,
:math:`S = \sqrt{\tau^2 + x^2}` and :math:`L = \ln(x / (\tau + S))`, the projected mass

.. math:: g = \frac{\tau^2}{(\tau^2 + 1)^2} \Big\{ [\tau^2 + 1 + 2 (x^2 - 1)] F + \tau \pi + (\tau^2 - 1) \ln \tau
              + S \Big[ -\pi + \frac{\tau^2 - 1}{\tau} L \Big] \Big\}, \qquad
              F = \frac{\operatorname{arccosh}(1/x)}{\sqrt{1 - x^2}} .

Its terms are of order 1 near the centre, where g falls as :math:`x^2`, and grow as x far outside, where g is constant.
Here the terms that cancel are taken together: in the inner form every term carries :math:`x^2`, in the outer one every
term is bounded.
"""

import math

import torch

__all__ = ["projected_mass", "surface_density"]

#: Smallest x^2, where the logarithm of the cusp ends.
FLOOR = 1e-20

#: Below this :math:`|1 - x^2|` a series stands for F, which is 0/0 at x = 1.
NEAR_SCALE = 0.1

#: The x^2 where the inner form of the projected mass gives way to the outer one; both are good from 1 to 4.
OUTER = 2.0


def _around_scale(x2):
    r"""Return F and (1 - F) / (x^2 - 1), smooth through x = 1.

    With :math:`u = 1 - x^2`, :math:`F = \operatorname{artanh}(\sqrt u) / \sqrt u = 1 + u/3 + u^2/5 + \dots`, which
    turns into :math:`\arctan(\sqrt{-u}) / \sqrt{-u}` where u is negative.
    """
    u = 1.0 - x2
    close, inside = u.abs() < NEAR_SCALE, u > 0.0
    # each branch is fed a harmless number where another one answers: its gradient would be NaN there, times zero
    root = torch.where(close, torch.full_like(u, 0.5), u.abs()).sqrt()
    x = torch.where(inside, x2, torch.ones_like(u)).sqrt()
    F = torch.where(inside, ((1.0 + root) / x).log(), root.atan()) / root
    slope = (F - 1.0) / torch.where(close, torch.ones_like(u), u)
    small = torch.where(close, u, torch.zeros_like(u))
    series = torch.full_like(u, 1.0 / 25.0)
    for k in range(11, 0, -1):
        series = series * small + 1.0 / (2 * k + 1)
    return torch.where(close, 1.0 + small * series, F), torch.where(close, series, slope)


def projected_mass(x2, tau):
    r"""Return :math:`g / x^2`: the deflection is :math:`4 \kappa_s\, (g / x^2)\, \theta`.

    Parameters
    ----------
    x2 : torch.Tensor
        Squared radius in units of the squared scale radius.
    tau : torch.Tensor
        Truncation radius in units of the scale radius, positive.
    """
    x2 = x2.clamp_min(FLOOR)
    F = _around_scale(x2)[0]
    t2 = tau * tau
    S = (t2 + x2).sqrt()
    inner = x2 < OUTER

    # inner: S - tau = x^2 / (S + tau) and F = l + x^2 phi with l = ln(2 / x)
    y = torch.where(inner, x2, torch.ones_like(x2))
    log = math.log(2.0) - 0.5 * y.log()
    central = y < 0.5
    w = torch.where(central, y, torch.zeros_like(y) + 0.25)
    s = (1.0 - w).sqrt()
    phi = (log / (1.0 + s) + torch.log1p(-0.5 * w / (1.0 + s)) / w) / s
    phi = torch.where(central, phi, (F - log) / y)
    near = 2.0 * F + (t2 - 1.0) * phi - ((t2 - 1.0) * (log + tau.log()) / tau + math.pi) / (S + tau)
    near = near - (t2 - 1.0) * S / tau * torch.log1p(0.5 * y / (tau * (tau + S))) / y

    # outer: 2 (x^2 - 1) F = pi C - 2 C arctan(1 / C) with C^2 = x^2 - 1, and C - S = -(1 + tau^2) / (C + S)
    z = torch.where(inner, torch.full_like(x2, OUTER), x2)
    C = (z - 1.0).sqrt()
    far = (t2 + 1.0) * F - 2.0 * C * (1.0 / C).atan() - math.pi * (t2 + 1.0) / (C + S) + math.pi * tau
    far = far + (t2 - 1.0) * (tau.log() - S / tau * (tau / z.sqrt()).asinh())
    return t2 / (t2 + 1.0) ** 2 * torch.where(inner, near, far / z)


def surface_density(x2, tau):
    r"""Return :math:`\kappa / (2 \kappa_s)`; parameters are those of `projected_mass`."""
    x2 = x2.clamp_min(FLOOR)
    F, slope = _around_scale(x2)
    t2 = tau * tau
    S = (t2 + x2).sqrt()
    bracket = (t2 + 1.0) * slope + 2.0 * F - math.pi / S - (t2 - 1.0) / (tau * S) * (tau / x2.sqrt()).asinh()
    return t2 / (t2 + 1.0) ** 2 * bracket
