# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The angular part of the elliptical power law, as a series that converges fast for any flattening.

Tessore & Metcalf (2015, A&A 580, A79) write the deflection of the elliptical power law with

.. math:: F = {}_2F_1(1, t/2;\ 2 - t/2;\ z), \qquad z = -\bar\epsilon\, w / \bar w, \quad |z| = |\epsilon| < 1 .

Their own series in z gains a digit every six terms at q = 0.2.  F is singular only at z = 1, so it is expanded here in
:math:`v = z / (1 + \sqrt{1 - z})^2`, which maps the plane cut along z > 1 onto the unit disc: at q = 0.2, |v| < 0.27,
and 28 terms reach the last digit of float64.
"""

import torch

__all__ = ["angular_part"]

#: Terms of the series: F is then good to 1e-14 (float64) and 1e-7 (float32) down to an axis ratio of 0.2.
TERMS = {torch.float64: 28, torch.float32: 14}


def _coefficients(half, count):
    """Return the first `count` coefficients of F in powers of v for t / 2 = `half`, from F's differential equation."""
    # v (1 - v^2) F' + [(1 - b)(1 + v)^2 - 4 b v] F = (1 - b)(1 + v)^2, with b = t / 2
    terms = [torch.ones_like(half)]
    for k in range(1, count):
        top = (6.0 * half - 2.0) * terms[k - 1]
        if k == 1:
            top = top + 2.0 * (1.0 - half)
        else:
            top = top + (k - 3.0 + half) * terms[k - 2]
            if k == 2:
                top = top + (1.0 - half)
        terms.append(top / (k + 1.0 - half))
    return terms


def angular_part(u_x, u_y, slope):
    r"""Return :math:`F = {}_2F_1(1, t/2; 2 - t/2; -u)` for complex u, with :math:`|u| < 1`.

    Parameters
    ----------
    u_x, u_y : torch.Tensor
        Real and imaginary part of u.
    slope : torch.Tensor
        Slope t of the convergence, between 0 and 2; broadcasts with u.

    Returns
    -------
    f_x, f_y : torch.Tensor
        Real and imaginary part of F; 1 at u = 0, where it is smooth.
    """
    # the root of 1 + u has a positive real part, because |u| < 1
    p_x = 1.0 + u_x
    root_x = (0.5 * ((p_x * p_x + u_y * u_y).sqrt() + p_x)).sqrt()
    d_x, d_y = 1.0 + root_x, 0.5 * u_y / root_x
    d2_x, d2_y = d_x * d_x - d_y * d_y, 2.0 * d_x * d_y
    norm = d2_x * d2_x + d2_y * d2_y
    v_x, v_y = -(u_x * d2_x + u_y * d2_y) / norm, -(u_y * d2_x - u_x * d2_y) / norm
    # a polynomial with real coefficients at a complex point: a real two-term recurrence (Clenshaw's)
    terms = _coefficients(0.5 * slope, TERMS.get(v_x.dtype, 28))
    twice, modulus2 = 2.0 * v_x, v_x * v_x + v_y * v_y
    one, two = terms[-1] + torch.zeros_like(v_x), torch.zeros_like(v_x)
    for term in terms[-2:0:-1]:
        one, two = term + twice * one - modulus2 * two, one
    return terms[0] + v_x * one - modulus2 * two, v_y * one
