# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The simple lens that is nearest to a deflection field: a singular isothermal ellipsoid and a shear.

.. math:: \min_p \sum_i w_i\, |\alpha_\mathrm{SIE}(\theta_i; p) + \Gamma(p)(\theta_i - \theta_0) - \alpha_i|^2
"""

import torch

from lensing_sr.lensing.mass import sie_deflection_jacobian
from lensing_sr.solvers.levenberg import levenberg_marquardt

__all__ = ["nearest_sie"]

#: Largest ellipticity and shear, each component.
ELLIPTICITY, SHEAR = 0.7, 0.5
#: Part of a typical deflection that the fit may miss before it goes on, all pixels together.
TOLERANCE = 1e-6


def nearest_sie(alpha_x, alpha_y, x, y, weight, start):
    """Singular isothermal ellipsoid and external shear nearest to deflection fields, by least squares.

    Parameters
    ----------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec, ``(batch, points)``.
    x, y : torch.Tensor
        Positions in arcsec, ``(points,)`` or ``(batch, points)``.
    weight : torch.Tensor
        Of each point, >= 0, ``(batch, points)``.
    start : torch.Tensor
        Einstein radius in arcsec to begin with, ``(batch,)``, positive.

    Returns
    -------
    torch.Tensor
        ``(batch, 7)`` float64: logarithm of theta_E, e1, e2, x_lens, y_lens, gamma1, gamma2, the order of
        `lensing_sr.forward.model.LENS`.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.mass import sie_deflection
    >>> from lensing_sr.lensing.nearest import nearest_sie
    >>> y, x = (c.flatten() for c in torch.meshgrid(*2 * [torch.linspace(-2, 2, 20).double()], indexing="ij"))
    >>> alpha = [a[None] for a in sie_deflection(x, y, *torch.tensor([1.2, 0.1, -0.05, 0.02, 0.03]).double())]
    >>> p = nearest_sie(*alpha, x, y, torch.ones(1, 400), torch.tensor([1.0]))
    >>> round(float(p[0, 0].exp()), 5), [round(float(v), 5) for v in p[0, 1:5]]
    (1.2, [0.1, -0.05, 0.02, 0.03])
    """
    alpha_x, alpha_y, weight = (t.double() for t in (alpha_x, alpha_y, weight))
    x, y = (t.double().expand(alpha_x.shape) for t in (x, y))
    theta_E = start.double()
    weight = weight / (weight.sum(1, keepdim=True).clamp_min(1e-300) * theta_E[:, None] ** 2)
    begin = torch.zeros(len(alpha_x), 7, dtype=torch.float64, device=alpha_x.device)
    begin[:, 0] = theta_E.log()
    reach = torch.stack([x.abs().amax(1), y.abs().amax(1)], dim=1).amax(1)
    far = torch.full_like(theta_E, ELLIPTICITY), torch.full_like(theta_E, SHEAR)
    upper = torch.stack([(2.0 * reach).log(), far[0], far[0], 0.5 * reach, 0.5 * reach, far[1], far[1]], dim=1)
    lower = torch.cat([begin[:, :1] - 5.0, -upper[:, 1:]], dim=1)

    def evaluate(p, index):
        columns = (c[:, None] for c in p.unbind(1))
        log_theta_E, e1, e2, x0, y0, g1, g2 = columns
        xs, ys = x[index], y[index]
        a_x, a_y, by_x, by_y, by_e1, by_e2 = sie_deflection_jacobian(xs, ys, log_theta_E.exp(), e1, e2, x0, y0)
        u, v = xs - x0, ys - y0
        left = torch.stack(
            [a_x + g1 * u + g2 * v - alpha_x[index], a_y + g2 * u - g1 * v - alpha_y[index]], dim=1
        )  # (m, 2, points)
        jacobian = torch.stack(
            [
                torch.stack([a_x, by_e1[0], by_e2[0], -by_x[0] - g1, -by_y[0] - g2, u, v], dim=1),
                torch.stack([a_y, by_e1[1], by_e2[1], -by_x[1] - g2, -by_y[1] + g1, -v, u], dim=1),
            ],
            dim=1,
        )  # (m, 2, 7, points)
        scaled = jacobian * weight[index][:, None, None]
        cost = (left.square() * weight[index][:, None]).sum((1, 2))
        gradient = torch.einsum("ackp,acp->ak", scaled, left)
        return cost, gradient, torch.einsum("ackp,aclp->akl", scaled, jacobian)

    # the cost is a fraction of theta_E^2: what remains to be gained counts in that unit
    return levenberg_marquardt(
        evaluate, torch.minimum(begin, upper), lower, upper, iterations=30, tolerance=TOLERANCE**2
    ).parameters
