# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Derivatives of the elliptical power law in closed form, for fits that need its Jacobian at every pixel.

The notation is that of `lensing_sr.lensing.mass`: :math:`\zeta = x + i y` about the lens,
:math:`w = \zeta - \epsilon\bar\zeta`, :math:`s^2 = 1 - |\epsilon|^2`, and, with the slope :math:`t = \gamma - 1`,

.. math:: \alpha = A\, F(z), \qquad A = \left(\frac{\theta_E s}{|w|}\right)^{t} w, \qquad
          z = -\bar\epsilon\, \frac{w}{\bar w}, \qquad F = {}_2F_1(1, b; 2 - b; z), \quad b = \tfrac t2 .

F obeys :math:`z (1 - z) F' + (1 - b - b z) F = 1 - b`.  Its series gives :math:`H = (F - 1) / z` as readily as F, and
so :math:`F' = (b F - (1 - b) H) / (1 - z)`, which has no 0/0 for a round lens.
"""

import math

import torch

from lensing_sr.lensing._power_law import TERMS, _coefficients
from lensing_sr.lensing.mass import CENTRE

__all__ = ["epl_deflection_jacobian"]


def _times(a_x, a_y, b_x, b_y):
    """Return the product of two complex numbers."""
    return torch.addcmul(a_x * b_x, a_y, b_y, value=-1.0), torch.addcmul(a_x * b_y, a_y, b_x)


def _count(e1, e2, dtype):
    """Return how many terms of the series reach the last digit of `dtype` for the flattest lens."""
    most = TERMS.get(dtype, 28)
    ellipticity2 = e1 * e1 + e2 * e2
    e = math.sqrt(float(ellipticity2.detach().max())) if ellipticity2.numel() else 0.0
    if not e < 2.0 / 3.0:  # as many as `epl_deflection` has, also where the ellipticity is not a number
        return most
    # the largest |v| on the circle |z| = e is that of z = e
    v = max(e / (1.0 + math.sqrt(1.0 - e)) ** 2, 1e-6)
    return min(most, max(2, math.ceil(math.log(0.1 * torch.finfo(dtype).eps) / math.log(v))))


def _coefficients_by_slope(half, count):
    """Return the coefficients of F in powers of v, and their derivatives by t, for t / 2 = `half`."""
    terms = _coefficients(half, count)
    by_half = [torch.zeros_like(half)]
    for k in range(1, count):
        top = 6.0 * terms[k - 1] + (6.0 * half - 2.0) * by_half[k - 1] + terms[k]
        if k == 1:
            top = top - 2.0
        else:
            top = top + terms[k - 2] + (k - 3.0 + half) * by_half[k - 2]
            if k == 2:
                top = top - 1.0
        by_half.append(top / (k + 1.0 - half))
    return terms, [0.5 * term for term in by_half]


def _clenshaw(terms, twice, modulus2):
    """Return ``(one, two)`` with sum of terms[k] v^(k-1) over k > 0 equal to one - conj(v) two."""
    one, two = terms[-1] + torch.zeros_like(twice), torch.zeros_like(twice)
    for term in terms[-2:0:-1]:
        one, two = torch.addcmul(torch.addcmul(term, twice, one), modulus2, two, value=-1.0), one
    return one, two


def _angular_parts(u_x, u_y, slope, count):
    """Return F, dF/dz and dF/dt (each real, then imaginary) at z = -u; see `_power_law.angular_part`."""
    p_x = 1.0 + u_x
    p2 = torch.addcmul(p_x * p_x, u_y, u_y)
    root_x = (0.5 * (p2.sqrt() + p_x)).sqrt()
    d_x, d_y = 1.0 + root_x, 0.5 * u_y / root_x
    # k = 1 / (1 + sqrt(1 - z))^2, v = z k
    norm = torch.addcmul(d_x * d_x, d_y, d_y)
    norm = norm * norm
    k_x, k_y = torch.addcmul(d_x * d_x, d_y, d_y, value=-1.0) / norm, -2.0 * d_x * d_y / norm
    v_x, v_y = _times(-u_x, -u_y, k_x, k_y)
    twice, modulus2 = 2.0 * v_x, torch.addcmul(v_x * v_x, v_y, v_y)
    # a few numbers for each lens: in float64 they cost nothing
    terms, by_slope = _coefficients_by_slope(0.5 * slope.double(), count)
    one, two = _clenshaw([term.to(v_x.dtype) for term in terms], twice, modulus2)
    f_x, f_y = torch.addcmul(terms[0].to(v_x.dtype) + v_x * one, modulus2, two, value=-1.0), v_y * one
    # H = (F - 1) / z = k (one - conj(v) two)
    h_x, h_y = _times(torch.addcmul(one, v_x, two, value=-1.0), v_y * two, k_x, k_y)
    half = 0.5 * slope
    j_x, j_y = half * f_x - (1.0 - half) * h_x, half * f_y - (1.0 - half) * h_y
    j_x, j_y = _times(j_x, j_y, p_x / p2, -u_y / p2)
    one, two = _clenshaw([term.to(v_x.dtype) for term in by_slope], twice, modulus2)
    return f_x, f_y, j_x, j_y, torch.addcmul(v_x * one, modulus2, two, value=-1.0), v_y * one


def epl_deflection_jacobian(x, y, theta_E, gamma, e1, e2, x_lens=0.0, y_lens=0.0):
    r"""Deflection of an elliptical power law with its derivatives in closed form.

    The deflection has no curl, its divergence is twice the convergence :math:`\kappa`, and it is homogeneous of degree
    :math:`2 - \gamma` about the centre; the three fix the derivatives by the position.  With
    :math:`r_1 = -\bar\zeta / w`, :math:`r_2 = i r_1` (the changes of :math:`\ln w`),

    .. math:: \frac{\partial\alpha}{\partial e_j} &= \alpha\left((1 - t)\,\mathrm{Re}\,r_j - \frac{t e_j}{s^2}\right)
              + i\,\mathrm{Im}\,r_j\,(\alpha + 2 A z F') - (-i)^{j-1} A F' \frac{w}{\bar w}, \\
              \frac{\partial\alpha}{\partial\gamma} &= \alpha \ln\frac{\theta_E s}{|w|}
              + A\,\frac{\partial F}{\partial t}.

    Parameters
    ----------
    x, y, theta_E, gamma, e1, e2, x_lens, y_lens
        As in `~lensing_sr.lensing.mass.epl_deflection`.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec, that of `~lensing_sr.lensing.mass.epl_deflection`.
    by_x, by_y, by_e1, by_e2, by_gamma : tuple of torch.Tensor
        Pairs of derivatives of (alpha_x, alpha_y) by the position, by the ellipticity and by the slope.  The derivative
        by theta_E is (gamma - 1) alpha / theta_E, by the centre minus that by the position.  ``by_x[1]`` and
        ``by_y[0]`` are one tensor.  On the centre itself, where there is no derivative, all are zero.

    References
    ----------
    Tessore & Metcalf 2015, A&A 580, A79.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.power_law_jacobian import epl_deflection_jacobian
    >>> one, zero = torch.ones(()), torch.zeros(())
    >>> alpha_x, alpha_y, by_x, by_y, *_ = epl_deflection_jacobian(2 * one, zero, one, 2 * one, zero, zero)
    >>> round(float(alpha_x), 6), round(float(by_x[0]), 6), round(float(by_y[1]), 6)
    (1.0, 0.0, 0.5)
    """
    x, y = x - x_lens, y - y_lens
    w_x, w_y = (1.0 - e1) * x - e2 * y, (1.0 + e1) * y - e2 * x
    modulus = torch.addcmul(w_x * w_x, w_y, w_y).clamp_min(CENTRE).sqrt()
    s2 = 1.0 - e1 * e1 - e2 * e2
    g_x, g_y = w_x / modulus, w_y / modulus
    g2_x, g2_y = torch.addcmul(g_x * g_x, g_y, g_y, value=-1.0), 2.0 * g_x * g_y
    u_x, u_y = e1 * g2_x + e2 * g2_y, e1 * g2_y - e2 * g2_x
    f_x, f_y, j_x, j_y, t_x, t_y = _angular_parts(u_x, u_y, gamma - 1.0, _count(e1, e2, g_x.dtype))

    scale = theta_E * s2.sqrt()
    log = (scale / modulus).clamp_min(CENTRE).log()
    scale = scale * torch.exp((gamma - 2.0) * log)
    a_x, a_y = scale * g_x, scale * g_y
    alpha_x, alpha_y = _times(a_x, a_y, f_x, f_y)

    # position: Euler's theorem (x, y) . grad alpha = (2 - gamma) alpha, no curl, divergence 2 kappa
    r2 = torch.addcmul(x * x, y, y).clamp_min(CENTRE)
    x_r, y_r = x / r2, y / r2
    twice_kappa = (3.0 - gamma) * scale / modulus
    xx = (2.0 - gamma) * torch.addcmul(x_r * alpha_x, y_r, alpha_y, value=-1.0)
    xy = (2.0 - gamma) * torch.addcmul(x_r * alpha_y, y_r, alpha_x)
    kappa_x = twice_kappa * x_r
    by_xy = torch.addcmul(xy, kappa_x, y, value=-1.0)
    by_xx, by_yy = torch.addcmul(xx, twice_kappa * y_r, y), torch.addcmul(-xx, kappa_x, x)

    # ellipticity: n = -A F' w / conj(w), m = alpha + 2 A z F' = alpha + 2 conj(eps) n
    m_x, m_y = _times(a_x, a_y, j_x, j_y)
    n_x, n_y = _times(-m_x, -m_y, g2_x, g2_y)
    m_x, m_y = alpha_x + 2.0 * (e1 * n_x + e2 * n_y), alpha_y + 2.0 * (e1 * n_y - e2 * n_x)
    # r_1 = -conj(zeta) conj(w) / |w|^2
    g_x, g_y = g_x / modulus, g_y / modulus
    re, im = torch.addcmul(y * g_y, x, g_x, value=-1.0), torch.addcmul(x * g_y, y, g_x)
    stretch1 = (2.0 - gamma) * re - (gamma - 1.0) * e1 / s2
    stretch2 = (gamma - 2.0) * im - (gamma - 1.0) * e2 / s2
    by_e1 = (
        torch.addcmul(torch.addcmul(n_x, alpha_x, stretch1), im, m_y, value=-1.0),
        torch.addcmul(torch.addcmul(n_y, alpha_y, stretch1), im, m_x),
    )
    by_e2 = (
        torch.addcmul(torch.addcmul(n_y, alpha_x, stretch2), re, m_y, value=-1.0),
        torch.addcmul(torch.addcmul(-n_x, alpha_y, stretch2), re, m_x),
    )

    by_gamma = _times(a_x, a_y, t_x, t_y)
    by_gamma = (torch.addcmul(by_gamma[0], log, alpha_x), torch.addcmul(by_gamma[1], log, alpha_y))
    return alpha_x, alpha_y, (by_xx, by_xy), (by_xy, by_yy), by_e1, by_e2, by_gamma
