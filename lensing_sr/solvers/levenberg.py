# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Batched Levenberg-Marquardt: many small least-squares problems in step, each with its own damping.

Knows nothing of lenses: the caller supplies the cost with its gradient and Gauss-Newton matrix, this module the steps.
"""

from typing import NamedTuple

import torch

from lensing_sr.solvers.linear import solve_spd

__all__ = ["Minimum", "levenberg_marquardt"]

#: Damping at the start, its bounds, and its factors after a success and a failure.
DAMPING = 1e-2
DAMPING_RANGE = (1e-7, 1e7)
EASE, HARDEN = 0.2, 5.0
#: Damping below which a step is as good as that of Gauss and Newton.
NEARLY_FREE = 0.05


class Minimum(NamedTuple):
    """Where `levenberg_marquardt` ended.

    Attributes
    ----------
    parameters : torch.Tensor
        Shape ``(batch, n)``.
    cost : torch.Tensor
        Shape ``(batch,)``.
    curvature : torch.Tensor
        Gauss-Newton matrix there, ``(batch, n, n)``: half the second derivative of the cost.
    converged : torch.Tensor
        Boolean, ``(batch,)``.
    evaluations : int
        How often the model was evaluated.
    """

    parameters: torch.Tensor
    cost: torch.Tensor
    curvature: torch.Tensor
    converged: torch.Tensor
    evaluations: int


def levenberg_marquardt(evaluate, start, lower, upper, *, iterations=30, tolerance=1e-3, damping=DAMPING):
    r"""Minimise sums of squares :math:`\chi^2(p)` within bounds, for a batch of problems at once.

    Steps solve :math:`(H + \lambda\,\mathrm{diag} H)\,\delta = -g` with :math:`g = \tfrac12 \nabla \chi^2` and the
    Gauss-Newton matrix H; parameters that a step would push over a bound are held there and the step is solved again
    without them.  Problems that have converged leave the batch.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(p, index)`` with p of shape ``(m, n)`` and index the m members of the batch that they belong to;
        returns cost ``(m,)``, g ``(m, n)`` and H ``(m, n, n)``, all float64.
    start : torch.Tensor
        Where to begin, ``(batch, n)``, float64.
    lower, upper : torch.Tensor
        Bounds that broadcast to ``(batch, n)``.
    iterations : int
        Steps at most.
    tolerance : float
        Converged once an accepted, hardly damped step lowers the cost by less than this (in units of chi-square) plus a
        millionth of the cost, or once no step is accepted however short.

    damping : float
        Relative damping of the first step.  From a poor start a bold step may end in any valley: 1 is careful.

    Returns
    -------
    Minimum

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.solvers.levenberg import levenberg_marquardt
    >>> def evaluate(p, index):
    ...     return ((p - 3) ** 2).sum(1), p - 3, torch.eye(1, dtype=p.dtype).expand(len(p), 1, 1)
    >>> start = torch.zeros(1, 1, dtype=torch.float64)
    >>> float(levenberg_marquardt(evaluate, start, start - 9, start + 9).parameters.round(decimals=2))
    3.0
    """
    batch = len(start)
    lower, upper = lower.expand_as(start), upper.expand_as(start)
    p = torch.minimum(torch.maximum(start, lower), upper)
    index = torch.arange(batch, device=start.device)
    cost, gradient, curvature = evaluate(p, index)
    best = [p.clone(), cost.clone(), curvature.clone()]
    damping = torch.full((batch,), damping, dtype=start.dtype, device=start.device)
    converged = torch.zeros(batch, dtype=torch.bool, device=start.device)
    evaluations = 1
    for _ in range(iterations):
        trial = _step(p, gradient, curvature, damping[index], lower[index], upper[index])
        new_cost, new_gradient, new_curvature = evaluate(trial, index)
        evaluations += 1
        gain = cost - new_cost
        accepted = gain >= 0.0  # False for NaN
        damping[index] = (damping[index] * torch.where(accepted, EASE, HARDEN)).clamp(*DAMPING_RANGE)
        pick = accepted[:, None]
        p = torch.where(pick, trial, p)
        gradient = torch.where(pick, new_gradient, gradient)
        curvature = torch.where(pick[:, :, None], new_curvature, curvature)
        cost = torch.where(accepted, new_cost, cost)
        best[0][index], best[1][index], best[2][index] = p, cost, curvature
        # a damped step gains little for being short: only a nearly free one can tell that nothing is left to gain
        damped = damping[index] > NEARLY_FREE
        still = (accepted & ((gain > tolerance + 1e-6 * cost) | damped)) | (~accepted & (damping[index] < 1e4))
        converged[index] = ~still
        if not bool(still.any()):
            break
        index, p, cost, gradient, curvature = (t[still] for t in (index, p, cost, gradient, curvature))
    return Minimum(*best, converged, evaluations)


def _step(p, gradient, curvature, damping, lower, upper):
    """Damped Gauss-Newton step within bounds: one re-solve with the parameters held that point out of the box."""
    diagonal = curvature.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)
    damped = curvature + torch.diag_embed(damping[:, None] * diagonal)
    held = ((p <= lower) & (gradient > 0)) | ((p >= upper) & (gradient < 0))
    for _ in range(2):
        free = (~held).to(p.dtype)
        matrix = damped * free[:, :, None] * free[:, None, :] + torch.diag_embed((1.0 - free) * diagonal)
        delta = -solve_spd(matrix, (gradient * free)[:, :, None])[:, :, 0]
        trial = p + delta
        held = held | (trial < lower) | (trial > upper)
        trial = torch.minimum(torch.maximum(trial, lower), upper)
    return trial
