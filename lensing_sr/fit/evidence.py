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
from lensing_sr.forward.model import LENS
from lensing_sr.solvers.levenberg import levenberg_marquardt

__all__ = ["lens_evidence"]

#: Parameters that the lens adds.
EXTRA = 5

#: ln of an Einstein radius in arcsec that deflects nothing.
NO_LENS = -14.0


def lens_evidence(coarse, weight, priors, best, widths, iterations):
    """ln of the evidence ratio of a lens over no lens; positive favours the lens.

    Parameters
    ----------
    coarse : Observation
        The images at coarse pixels.
    weight : torch.Tensor
        Weights of their pixels, as tempered for the fit.
    priors : Priors
        Priors of the lens model; those of the lens do not apply to its rival.
    best : torch.Tensor
        Parameters of the lens model, ``(images, n)``.
    widths : torch.Tensor or None
        Widths of the lens light's Gaussians.
    iterations : int
        Levenberg-Marquardt steps of either model, at most.

    Returns
    -------
    torch.Tensor
        ``(images,)`` float64.
    """
    images = torch.arange(len(best), device=best.device)
    formation = coarse.formation()

    def lowest_cost(start, lower, upper, mean, width):
        owner = images.repeat_interleave(start.shape[1])
        search = Objective(coarse.data, weight, formation, mean, width, widths=widths)
        minimum = levenberg_marquardt(
            search.evaluator(owner),
            start.reshape(-1, start.shape[2]),
            lower[owner],
            upper[owner],
            iterations=iterations,
            tolerance=0.5,
        )
        return minimum.cost.view(len(best), -1).amin(dim=1)

    cost = lowest_cost(best[:, None], priors.lower, priors.upper, priors.mean, priors.width)

    start = best.clone()
    start[:, 0] = NO_LENS
    start[:, 5:7] = 0.0
    rival = priors.frozen(start, LENS)
    width, lower, upper = rival.width.clone(), rival.lower.clone(), rival.upper.clone()
    width[:, : len(LENS)] = math.inf
    width[:, 7:9] = math.inf
    reach = coarse.half_width
    lower[:, 7:9], upper[:, 7:9] = start[:, 3:5] - reach, start[:, 3:5] + reach
    null = Objective(coarse.data, weight, formation, rival.mean, width, widths=widths, source=False)
    starts, _ = scan(null, start, unlensed_templates(reach, coarse.pixel), start[:, None, 1:3], 2)
    rival_cost = lowest_cost(starts, lower, upper, rival.mean, width)
    pixels = (weight > 0).sum(dim=(1, 2)).to(cost)
    return 0.5 * (rival_cost - cost) - 0.5 * EXTRA * pixels.clamp_min(2.0).log()
