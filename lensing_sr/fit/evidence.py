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


def lens_evidence(objective, coarse, priors, best, cost, light, temperature, widths, settings):
    """ln of the evidence ratio of a lens over no lens; positive favours the lens.

    Parameters
    ----------
    objective : Objective
        The images at native pixels, as fitted.
    coarse : Observation
        The same at coarse pixels, where the search begins.
    priors : Priors
        Priors of the lens model; those of the lens do not apply to its rival.
    best, cost : torch.Tensor
        Parameters ``(images, n)`` and costs ``(images,)`` of the lens model.
    light : torch.Tensor or None
        Lens light at native pixels, ``(images, rows, columns)``.
    temperature : torch.Tensor
        As in `lensing_sr.fit.lens_fit.LensFit`.
    widths : torch.Tensor or None
        Widths of the lens light's Gaussians.
    settings : lensing_sr.fit.lens_fit.FitSettings
        How hard to try.

    Returns
    -------
    torch.Tensor
        ``(images,)`` float64.
    """
    images = torch.arange(len(best), device=best.device)
    start = best.clone()
    start[:, 0] = NO_LENS
    start[:, 5:7] = 0.0
    rival = priors.frozen(start, LENS)
    width = rival.width.clone()
    width[:, : len(LENS)] = math.inf
    width[:, 7:9] = math.inf
    rows, columns = coarse.data.shape[1:]
    weight = coarse.weight * temperature.rsqrt()[:, None, None]
    null = Objective(
        coarse.data, weight, coarse.formation(), rival.mean, width, widths=widths, source=False
    )
    starts, _ = scan(null, start, unlensed_templates(coarse.half_width, coarse.pixel), start[:, None, 1:3], 2)
    n = starts.shape[2]
    owner = images.repeat_interleave(starts.shape[1])
    search = Objective(objective.data, objective.weight, objective.formation, rival.mean, width, widths=widths)
    lower, upper = rival.lower.clone(), rival.upper.clone()
    reach = coarse.half_width
    lower[:, 7:9], upper[:, 7:9] = start[:, 3:5] - reach, start[:, 3:5] + reach
    minimum = levenberg_marquardt(
        search.evaluator(owner),
        starts.reshape(-1, n),
        lower[owner],
        upper[owner],
        iterations=settings.iterations // 2,
        tolerance=0.5,
    )
    rival_cost = minimum.cost.view(len(best), -1).amin(dim=1)
    pixels = (objective.weight > 0).sum(dim=(1, 2)).to(cost)
    # independent pixels, and priors of the lens that the rival does not pay
    return 0.5 * (rival_cost - cost) - 0.5 * EXTRA * (pixels / temperature.to(cost)).clamp_min(2.0).log()
