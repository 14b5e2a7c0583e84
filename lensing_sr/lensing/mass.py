# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Mass models as pure tensor functions: positions in, deflections out, all in arcsec.

Everything elliptical is written in the complex form that stays smooth at zero ellipticity.  With
:math:`\zeta = x + i y` about the lens, :math:`\epsilon = e_1 + i e_2` and

.. math:: w = \zeta - \epsilon \bar\zeta, \qquad s = \sqrt{1 - |\epsilon|^2},

the elliptical radius on the intermediate axis is :math:`r = |w| / s`, and no angle of the lens has to be computed.
Positions and parameters broadcast: give parameters the shape ``(batch, 1, 1)`` to lens a batch of images.
"""

import torch

from lensing_sr.lensing._power_law import angular_part

__all__ = [
    "epl_convergence",
    "epl_deflection",
    "epl_potential",
    "point_mass_deflection",
    "point_mass_potential",
    "shear_deflection",
    "shear_potential",
    "sie_convergence",
    "sie_deflection",
    "sie_deflection_jacobian",
    "sie_potential",
]

#: Squared distance (arcsec^2) below which a position counts as the centre: values and gradients stay finite there.
CENTRE = 1e-12

#: Ellipticity below which closed forms give way to their series, which have no 0/0.  There the curl of a deflection
#: does not tell that the series end (1e-11 theta_E / r), and in float32 the closed forms still hold.
ROUND = 1e-2


def _elliptical(x, y, e1, e2, x0, y0):
    """Return ``(zeta_x, zeta_y, w_x, w_y, |w|, s^2)`` of the module's complex form, the centre clamped."""
    x, y = x - x0, y - y0
    w_x = x - e1 * x - e2 * y
    w_y = y + e1 * y - e2 * x
    modulus = (w_x * w_x + w_y * w_y).clamp_min(CENTRE).sqrt()
    return x, y, w_x, w_y, modulus, 1.0 - e1 * e1 - e2 * e2


def _arctan_ratio(g_x, g_y, e1, e2):
    r"""Return :math:`F = \arctan(v) / v` (complex) for :math:`v^2 = \bar\epsilon g^2`, :math:`|g| \le 1`.

    F is even in v, so it is a smooth function of :math:`v^2`: the series serves small ellipticities, the closed
    form the rest.
    """
    g2_x, g2_y = g_x * g_x - g_y * g_y, 2.0 * g_x * g_y
    v2_x, v2_y = e1 * g2_x + e2 * g2_y, e1 * g2_y - e2 * g2_x
    e = e1 * e1 + e2 * e2
    small = e < ROUND**2
    if bool(small.any()):
        # 1 - V/3 + V^2/5 - V^3/7 + V^4/9 - V^5/11 by Horner's rule
        f_x, f_y = -v2_x / 11.0 + 1.0 / 9.0, -v2_y / 11.0
        for coefficient in (-1.0 / 7.0, 1.0 / 5.0, -1.0 / 3.0, 1.0):
            f_x, f_y = f_x * v2_x - f_y * v2_y + coefficient, f_x * v2_y + f_y * v2_x
        if bool(small.all()):
            return f_x, f_y, v2_x, v2_y
    # the square root of conj(epsilon): half the angle, kept away from the round lens where it has no derivative
    safe1 = torch.where(small, torch.full_like(e1, 0.5), e1)
    safe2 = torch.where(small, torch.zeros_like(e2), e2)
    e = (safe1 * safe1 + safe2 * safe2).sqrt()
    half = 0.5 * torch.atan2(safe2, safe1)
    root = e.sqrt()
    k_x, k_y = root * half.cos(), -root * half.sin()
    v_x, v_y = k_x * g_x - k_y * g_y, k_x * g_y + k_y * g_x
    a = 0.5 * torch.atan(2.0 * v_x / (1.0 - e))
    b = 0.5 * torch.atanh(2.0 * v_y / (1.0 + e))
    # at the clamped centre |v|^2 < e; only values off the centre matter there, and they are exact
    closed_x, closed_y = (a * v_x + b * v_y) / e, (b * v_x - a * v_y) / e
    if bool(small.any()):
        closed_x, closed_y = torch.where(small, f_x, closed_x), torch.where(small, f_y, closed_y)
    return closed_x, closed_y, v2_x, v2_y


def sie_deflection(x, y, theta_E, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Deflection of a singular isothermal ellipsoid.

    .. math:: \alpha = \theta_E\, s\, \frac{w}{|w|}\, \frac{\arctan v}{v}, \qquad
              v^2 = \bar\epsilon\, \frac{w}{\bar w}

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, any shapes that broadcast with the parameters.
    theta_E : torch.Tensor
        Einstein radius on the intermediate axis in arcsec, as in lenstronomy.
    e1, e2 : torch.Tensor
        Ellipticity :math:`(1-q)/(1+q)\,(\cos 2\phi, \sin 2\phi)`.
    x_lens, y_lens : torch.Tensor or float
        Centre in arcsec.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec.

    References
    ----------
    Kormann, Schneider & Bartelmann 1994, A&A 284, 285; Tessore & Metcalf 2015, A&A 580, A79.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.mass import sie_deflection
    >>> one, zero = torch.ones(()), torch.zeros(())
    >>> alpha_x, alpha_y = sie_deflection(3 * one, 4 * one, theta_E=one, e1=zero, e2=zero)
    >>> round(float(alpha_x), 6), round(float(alpha_y), 6)
    (0.6, 0.8)
    """
    _, _, w_x, w_y, modulus, s2 = _elliptical(x, y, e1, e2, x_lens, y_lens)
    g_x, g_y = w_x / modulus, w_y / modulus
    f_x, f_y, _, _ = _arctan_ratio(g_x, g_y, e1, e2)
    scale = theta_E * s2.sqrt()
    return scale * (g_x * f_x - g_y * f_y), scale * (g_x * f_y + g_y * f_x)


def sie_deflection_jacobian(x, y, theta_E, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Deflection of a singular isothermal ellipsoid with its derivatives in closed form.

    A change :math:`dw` of w at fixed ellipticity turns the deflection by
    :math:`d\alpha = i\,\mathrm{Im}(dw/w)\,\theta_E s\,(w/|w|)/(1+v^2)`; the explicit ellipticity adds the rest.

    Parameters
    ----------
    x, y, theta_E, e1, e2, x_lens, y_lens
        As in `sie_deflection`.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec.
    by_x, by_y, by_e1, by_e2 : tuple of torch.Tensor
        Pairs of derivatives of (alpha_x, alpha_y) by the position and by the ellipticity.  The derivative by theta_E is
        alpha / theta_E, by the centre minus that by the position.
    """
    zeta_x, zeta_y, w_x, w_y, modulus, s2 = _elliptical(x, y, e1, e2, x_lens, y_lens)
    g_x, g_y = w_x / modulus, w_y / modulus
    f_x, f_y, v2_x, v2_y = _arctan_ratio(g_x, g_y, e1, e2)
    scale = theta_E * s2.sqrt()
    alpha_x, alpha_y = scale * (g_x * f_x - g_y * f_y), scale * (g_x * f_y + g_y * f_x)
    # T = 1 / (1 + v^2)
    norm = (1.0 + v2_x) ** 2 + v2_y * v2_y
    t_x, t_y = (1.0 + v2_x) / norm, -v2_y / norm
    # i * theta_E s g / (1 + v^2)
    p_x, p_y = -scale * (g_x * t_y + g_y * t_x), scale * (g_x * t_x - g_y * t_y)
    h_x, h_y = g_x / modulus, g_y / modulus  # w / |w|^2: Im(dw / w) = dw_y h_x - dw_x h_y

    def turned(dw_x, dw_y):
        turn = dw_y * h_x - dw_x * h_y
        return p_x * turn, p_y * turn

    by_x = turned(1.0 - e1, -e2)
    by_y = turned(-e2, 1.0 + e1)
    # dF/dX for X = -v^2: (T - F) / (2 X), its series for a nearly round lens
    e = e1 * e1 + e2 * e2
    small = e < ROUND**2
    q = torch.where(small, torch.ones_like(e), e)
    d_x, d_y = t_x - f_x, t_y - f_y
    closed_x, closed_y = -0.5 * (d_x * v2_x + d_y * v2_y) / q, -0.5 * (d_y * v2_x - d_x * v2_y) / q
    # 1/3 - 2 V/5 + 3 V^2/7 - 4 V^3/9 + 5 V^4/11 by Horner's rule
    series_x, series_y = (5.0 / 11.0) * v2_x - 4.0 / 9.0, (5.0 / 11.0) * v2_y
    for coefficient in (3.0 / 7.0, -2.0 / 5.0, 1.0 / 3.0):
        series_x, series_y = (
            series_x * v2_x - series_y * v2_y + coefficient,
            series_x * v2_y + series_y * v2_x,
        )
    k_x, k_y = torch.where(small, series_x, closed_x), torch.where(small, series_y, closed_y)
    # explicit part: -theta_E s g F' (w / conj(w)) d(conj eps), and ds
    g2_x, g2_y = g_x * g_x - g_y * g_y, 2.0 * g_x * g_y
    m_x, m_y = k_x * g2_x - k_y * g2_y, k_x * g2_y + k_y * g2_x
    n_x, n_y = scale * (g_x * m_x - g_y * m_y), scale * (g_x * m_y + g_y * m_x)
    turn1_x, turn1_y = turned(-zeta_x, zeta_y)
    turn2_x, turn2_y = turned(-zeta_y, -zeta_x)
    by_e1 = (turn1_x - n_x - alpha_x * e1 / s2, turn1_y - n_y - alpha_y * e1 / s2)
    by_e2 = (turn2_x - n_y - alpha_x * e2 / s2, turn2_y + n_x - alpha_y * e2 / s2)
    return alpha_x, alpha_y, by_x, by_y, by_e1, by_e2


def sie_convergence(x, y, theta_E, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Convergence of a singular isothermal ellipsoid, :math:`\kappa = \theta_E / (2 r)`, dimensionless.

    Parameters are those of `sie_deflection`.
    """
    modulus, s2 = _elliptical(x, y, e1, e2, x_lens, y_lens)[4:]
    return 0.5 * theta_E * s2.sqrt() / modulus


def sie_potential(x, y, theta_E, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Potential of a singular isothermal ellipsoid in arcsec^2, :math:`\psi = \theta\cdot\alpha` about its centre.

    Parameters are those of `sie_deflection`.
    """
    alpha_x, alpha_y = sie_deflection(x, y, theta_E, e1, e2, x_lens, y_lens)
    return (x - x_lens) * alpha_x + (y - y_lens) * alpha_y


def epl_deflection(x, y, theta_E, gamma, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Deflection of an elliptical power law, :math:`\kappa = \frac{3-\gamma}{2}(\theta_E/r)^{\gamma-1}`.

    .. math:: \alpha = \left(\frac{\theta_E s}{|w|}\right)^{t} w\;
              {}_2F_1\left(1, \tfrac t2; 2 - \tfrac t2; -\bar\epsilon\,\frac{w}{\bar w}\right), \qquad t = \gamma - 1

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, any shapes that broadcast with the parameters.
    theta_E : torch.Tensor
        Einstein radius on the intermediate axis in arcsec, as in lenstronomy.
    gamma : torch.Tensor
        Slope of the mass density in three dimensions, between 1 and 3; 2 is isothermal.
    e1, e2 : torch.Tensor
        Ellipticity :math:`(1-q)/(1+q)\,(\cos 2\phi, \sin 2\phi)`.
    x_lens, y_lens : torch.Tensor or float
        Centre in arcsec.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec, good to 1e-13 of it down to an axis ratio of 0.2 (float64), to 1e-6 down to 0.05.

    References
    ----------
    Tessore & Metcalf 2015, A&A 580, A79.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.mass import epl_deflection
    >>> one, zero = torch.ones(()), torch.zeros(())
    >>> alpha_x, alpha_y = epl_deflection(3 * one, 4 * one, theta_E=one, gamma=2 * one, e1=zero, e2=zero)
    >>> round(float(alpha_x), 6), round(float(alpha_y), 6)
    (0.6, 0.8)
    """
    _, _, w_x, w_y, modulus, s2 = _elliptical(x, y, e1, e2, x_lens, y_lens)
    g_x, g_y = w_x / modulus, w_y / modulus
    g2_x, g2_y = g_x * g_x - g_y * g_y, 2.0 * g_x * g_y
    f_x, f_y = angular_part(e1 * g2_x + e2 * g2_y, e1 * g2_y - e2 * g2_x, gamma - 1.0)
    scale = theta_E * s2.sqrt()
    scale = scale * _power(scale / modulus, gamma - 2.0)
    return scale * (g_x * f_x - g_y * f_y), scale * (g_x * f_y + g_y * f_x)


def _power(base, exponent):
    """Return base^exponent for a base that may be zero, with finite gradients."""
    return torch.exp(exponent * base.clamp_min(CENTRE).log())


def epl_convergence(x, y, theta_E, gamma, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Convergence of an elliptical power law, :math:`\kappa = \frac{3-\gamma}{2}(\theta_E/r)^{\gamma-1}`.

    Parameters are those of `epl_deflection`.
    """
    modulus, s2 = _elliptical(x, y, e1, e2, x_lens, y_lens)[4:]
    return 0.5 * (3.0 - gamma) * _power(theta_E * s2.sqrt() / modulus, gamma - 1.0)


def epl_potential(x, y, theta_E, gamma, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Potential of an elliptical power law in arcsec^2, :math:`\theta\cdot\alpha / (3 - \gamma)` about its centre.

    Parameters are those of `epl_deflection`.
    """
    alpha_x, alpha_y = epl_deflection(x, y, theta_E, gamma, e1, e2, x_lens, y_lens)
    return ((x - x_lens) * alpha_x + (y - y_lens) * alpha_y) / (3.0 - gamma)


def shear_deflection(x, y, gamma1, gamma2, x0=0.0, y0=0.0):
    r"""Deflection of an external shear, :math:`\alpha = (\gamma_1 x + \gamma_2 y,\ \gamma_2 x - \gamma_1 y)`.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec.
    gamma1, gamma2 : torch.Tensor
        Shear components, dimensionless; positive gamma1 stretches images along x.
    x0, y0 : torch.Tensor or float
        Where the shear does not deflect, in arcsec.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec.
    """
    x, y = x - x0, y - y0
    return gamma1 * x + gamma2 * y, gamma2 * x - gamma1 * y


def shear_potential(x, y, gamma1, gamma2, x0=0.0, y0=0.0):
    r"""Potential of an external shear in arcsec^2, :math:`\psi = \gamma_1 (x^2 - y^2) / 2 + \gamma_2 x y`.

    Parameters are those of `shear_deflection`.
    """
    x, y = x - x0, y - y0
    return 0.5 * gamma1 * (x * x - y * y) + gamma2 * x * y


def point_mass_deflection(x, y, theta_E, x0=0.0, y0=0.0, softening=1e-8):
    r"""Deflection of a point mass, :math:`\alpha = \theta_E^2\, \theta / (|\theta|^2 + \varepsilon^2)`.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec.
    theta_E : torch.Tensor
        Einstein radius in arcsec.
    x0, y0 : torch.Tensor or float
        Position of the mass in arcsec.
    softening : float
        :math:`\varepsilon` in arcsec: a core that keeps the deflection finite on the mass itself.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.mass import point_mass_deflection
    >>> alpha_x, alpha_y = point_mass_deflection(torch.tensor(2.0), torch.tensor(0.0), torch.tensor(1.0))
    >>> round(float(alpha_x), 6), round(float(alpha_y), 6)
    (0.5, 0.0)
    """
    x, y = x - x0, y - y0
    pull = theta_E * theta_E / (x * x + y * y + softening**2)
    return pull * x, pull * y


def point_mass_potential(x, y, theta_E, x0=0.0, y0=0.0, softening=1e-8):
    r"""Potential of a point mass in arcsec^2, :math:`\psi = \frac12\theta_E^2 \ln(|\theta|^2 + \varepsilon^2)`.

    Parameters are those of `point_mass_deflection`.
    """
    x, y = x - x0, y - y0
    return 0.5 * theta_E * theta_E * (x * x + y * y + softening**2).log()
