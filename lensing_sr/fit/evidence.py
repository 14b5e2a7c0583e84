# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Is it a lens?  The same data with and without lensing, judged by their evidence.

.. math:: \ln E = \tfrac12 (C_0 - C_1) - \tfrac12 k \ln N

C is the cost (chi-square over temperature, plus priors) of the best model without (0) and with (1) lensing, k = 5 the
number of parameters that only the lens has (theta_E, two ellipticities, two shears; its centre is that of the light),
N the number of pixels: Schwarz's criterion.  The rival is not a straw man: lens light and a source of any shape
anywhere in the field, seen as it is.
"""

import math

import torch

from lensing_sr.fit.objective import Objective
from lensing_sr.fit.start import scan, unlensed_templates
from lensing_sr.forward.model import LENS, SLOPE, has_slope
from lensing_sr.solvers.levenberg import levenberg_marquardt

__all__ = ["arcs_evidence", "lens_evidence"]

#: Parameters that the lens adds; those that a lensed source adds (a lens has no centre of its own): its lens, itself.
EXTRA, LENSED = 5, 12

#: ln of an Einstein radius in arcsec that deflects nothing.
NO_LENS = -14.0


def lens_evidence(objective, coarse, coarse_weight, priors, best, iterations):
    """ln of the evidence ratio of a lens over no lens; positive favours the lens.

    Parameters
    ----------
    objective : Objective
        The images at native pixels with the weights of the fit.
    coarse : Observation
        The same at coarse pixels, where the rival is looked for.
    coarse_weight : torch.Tensor
        Weights of the coarse pixels, tempered as those of the fit.
    priors : Priors
        Priors of the lens model; those of the lens do not apply to its rival.
    best : torch.Tensor
        Parameters of the lens model, ``(images, n)``.
    iterations : int
        Levenberg-Marquardt steps a stage, at most.

    Returns
    -------
    torch.Tensor
        ``(images,)`` float64.
    """
    images = torch.arange(len(best), device=best.device)
    start = best.clone()
    # without deflection its centre and shape mean nothing; equal ones let all images share the scan's templates
    start[:, 0] = NO_LENS
    start[:, 1 : len(LENS)] = 0.0
    rival = priors.frozen(start, LENS + SLOPE if has_slope(start) else LENS)
    rival.width = rival.width.clone()
    rival.width[:, : len(LENS)] = math.inf
    rival.width[:, 7:9] = math.inf
    reach = coarse.half_width
    rival.lower[:, 7:9], rival.upper[:, 7:9] = start[:, 3:5] - reach, start[:, 3:5] + reach

    search = Objective(
        coarse.data, coarse_weight, coarse.formation(), rival.mean, rival.width, widths=objective.widths
    )
    null = search.without_source()
    starts, _ = scan(null, start, unlensed_templates(reach, coarse.pixel), start[:, None, 1:3], 2)
    owner = images.repeat_interleave(starts.shape[1])
    found = _minimum(search, starts.flatten(0, 1), rival, owner, iterations)
    pick = found.cost.view(starts.shape[:2]).argmin(dim=1)
    found = found.parameters.view(starts.shape)[images, pick]

    rival_objective = Objective(
        objective.data, objective.weight, objective.formation, rival.mean, rival.width, widths=objective.widths
    )
    rival_cost = _minimum(rival_objective, found, rival, images, iterations).cost
    cost = _minimum(objective, best, priors, images, iterations).cost
    pixels = (objective.weight > 0).sum(dim=(1, 2)).to(cost)
    return 0.5 * (rival_cost - cost) - 0.5 * EXTRA * pixels.clamp_min(2.0).log()


def arcs_evidence(arcs, weight, noise):
    r"""ln of the evidence ratio of a lensed source over none at all; positive if there are any arcs.

    .. math:: \ln E = \frac{1}{2 T} \sum \frac{a^2}{\sigma^2} - \tfrac12 k \ln \frac{N}{T}

    a is the light of the fitted arcs, whose squared signal-to-noise ratio is what they lower chi-square by, k = 12 the
    number of parameters of lens and source, N that of the pixels, of which correlation leaves N / T independent ones.
    Noise is soon explained by some lens or other; this says whether there was anything to explain.

    Parameters
    ----------
    arcs, weight : torch.Tensor
        Flux of the arcs, and 1 / sigma, 0 where masked, ``(images, rows, columns)``.
    noise : torch.Tensor
        T, by how much chi-square is too large for correlated noise, ``(images,)``.

    Returns
    -------
    torch.Tensor
        ``(images,)`` float64.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.fit.evidence import arcs_evidence
    >>> arcs, weight = torch.zeros(2, 50, 50), torch.ones(2, 50, 50)
    >>> arcs[0, 10:20, 10:12] = 5.0
    >>> (arcs_evidence(arcs, weight, torch.ones(2)) > 0).tolist()
    [True, False]
    """
    power, pixels = (arcs * weight).double().square().sum(dim=(1, 2)), (weight > 0).sum(dim=(1, 2))
    noise = noise.to(power)
    return 0.5 * power / noise - 0.5 * LENSED * (pixels / noise).clamp_min(2.0).log()


def _minimum(objective, start, priors, owner, iterations):
    lower, upper = priors.lower[owner], priors.upper[owner]
    return levenberg_marquardt(
        objective.evaluator(owner), start, lower, upper, iterations=iterations, tolerance=0.5
    )
