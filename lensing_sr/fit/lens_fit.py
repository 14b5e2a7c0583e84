# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The fit of lens, source and lens light to a batch of images, from nothing to parameters with errors.

1. minima at coarse pixels (`coarse`);
2. the best that differ, at native pixels;
3. the same data without lensing, for the evidence (`evidence`);
4. the best once more, with the final supersampling and with errors widened by its own misfit.
"""

from dataclasses import dataclass

import torch

from lensing_sr.fit.coarse import FitSettings, arc_misfit, distinct, fit_coarsely, minimise, tempered
from lensing_sr.fit.evidence import lens_evidence
from lensing_sr.fit.objective import Objective, Solution
from lensing_sr.fit.priors import Priors
from lensing_sr.forward.model import has_slope
from lensing_sr.utils._threads import side_by_side

__all__ = ["LensFit", "fit_lenses"]

#: Reduced chi-square of the arcs up to which they may tell the slope: what no Sersic source explains would bend it.
SOUND = 1.5


@dataclass
class LensFit:
    """Result of `fit_lenses`: one row an image.

    Attributes
    ----------
    parameters : torch.Tensor
        Best parameters, ``(images, n)``, ordered as `lensing_sr.forward.model.names` says.
    objective : Objective
        The images at native pixels with the weights of the fit; evaluates any parameters.
    solution : Solution
        Amplitudes and images at the best parameters.
    priors : Priors
        Priors and bounds that applied.
    temperature : torch.Tensor
        By how much chi-square was divided for correlated noise and for what no smooth model fits, ``(images,)``.
    cost : torch.Tensor
        Chi-square over temperature, plus prior, ``(images,)``.
    modes, mode_costs : torch.Tensor
        Parameters and costs of the distinct minima at native pixels, ``(images, modes, n)`` and ``(images, modes)``.
    evidence : torch.Tensor
        ln of the evidence ratio, lens over no lens, ``(images,)``; NaN if not asked for.
    """

    parameters: torch.Tensor
    objective: Objective
    solution: Solution
    priors: Priors
    temperature: torch.Tensor
    cost: torch.Tensor
    modes: torch.Tensor
    mode_costs: torch.Tensor
    evidence: torch.Tensor

    @property
    def slope_held(self):
        """Which images' slopes were not fitted though the model has one, boolean ``(images,)``."""
        held = self.priors.lower[:, -1] == self.priors.upper[:, -1]
        return held if has_slope(self.parameters) else torch.zeros_like(held)


def fit_lenses(
    observation,
    centre,
    *,
    lens_light=True,
    correlation=None,
    psf_fwhm=0.0,
    arc_radius=None,
    supersampling=1,
    proposals=None,
    settings=FitSettings(),
):
    """Fit a power-law lens with shear, a Sersic source and the lens galaxy's light to every image of a batch.

    Parameters
    ----------
    observation : Observation
        The images.
    centre : torch.Tensor
        Lens centres in arcsec, ``(images, 2)`` float64.
    lens_light : bool
        Whether the lens galaxy shines.
    correlation : torch.Tensor, optional
        Lag-1 correlation of the noise, ``(images,)``.
    psf_fwhm : float
        Width of the PSF in arcsec: smaller Einstein radii are not looked for.
    arc_radius : torch.Tensor, optional
        Radius in arcsec about which the arcs' light gathers, ``(images,)``; 0 where unknown.  Einstein radii are looked
        for about it.
    supersampling : int
        Light samples a kernel pixel and axis in the last stage.
    proposals : torch.Tensor, optional
        Parameters of lens and source from which to start too, ``(images, k, 13)``; see
        `lensing_sr.networks.lens_estimator`.
    settings : FitSettings
        How hard to try.

    Returns
    -------
    LensFit
    """
    images = torch.arange(len(observation), device=observation.data.device)
    found = fit_coarsely(
        observation, centre, lens_light=lens_light, correlation=correlation, psf_fwhm=psf_fwhm, arc_radius=arc_radius,
        proposals=proposals, settings=settings,
    )  # fmt: skip
    minima, costs, priors, widths, temperature = (
        found.minima, found.costs, found.priors, found.widths, found.temperature
    )  # fmt: skip
    minima = distinct(minima, costs, settings.modes)[0]
    if settings.slope:  # what coarse pixels cannot tell
        priors = priors.with_slope()
        minima = torch.cat([minima, priors.mean[:, None, -1:].expand(-1, minima.shape[1], -1)], dim=2)
    best = minima[:, 0]
    # a model that no parameters make right must not be believed to its formal errors, nor outweigh its priors by them
    plain = Objective(
        observation.data, observation.weight, observation.formation(), priors.mean, priors.width, widths=widths
    )
    solution = plain.solve(best, images)
    missed = arc_misfit(plain, solution)
    free = priors
    if settings.slope:
        priors = priors.holding_slope(missed > SOUND)
    correlated, temperature = temperature, temperature * missed.to(temperature)
    light = solution.light if lens_light else None
    weight = tempered(observation.weight, light, temperature)
    objective = Objective(
        observation.data, weight, observation.formation(), priors.mean, priors.width, widths=widths
    )
    modes, costs = minimise(objective, minima, priors, settings.iterations, 0.1)
    rank = costs.argsort(dim=1)
    modes, costs = modes[images[:, None], rank], costs[images[:, None], rank]
    best, cost = modes[:, 0], costs[:, 0]
    # now that native pixels were fitted, their own misfit counts
    previous, solution = temperature, plain.solve(best, images)
    missed = arc_misfit(plain, solution)
    temperature = correlated * missed.to(temperature)
    if settings.slope:  # what coarse pixels missed may have been explained by them
        priors = free.holding_slope(missed > SOUND)
    costs = cost[:, None] + (costs - cost[:, None]) * (previous / temperature).to(costs)[:, None]
    weight = tempered(observation.weight, solution.light if lens_light else None, temperature)
    objective = Objective(
        observation.data, weight, observation.formation(), priors.mean, priors.width, widths=widths
    )

    def weighed():
        if not settings.evidence:
            return torch.full_like(cost, float("nan"))
        coarse_weight = tempered(found.coarse.weight, found.light, temperature)
        return lens_evidence(objective, found.coarse, coarse_weight, priors, best, settings.iterations // 3)

    def refined():
        last, p, lowest = objective, best, cost
        if supersampling > 1:
            formation = observation.formation(supersampling)
            last = Objective(observation.data, weight, formation, priors.mean, priors.width, widths=widths)
        if supersampling > 1 or bool((temperature < previous).any()):
            p, lowest = (t[:, 0] for t in minimise(last, p[:, None], priors, settings.iterations // 2, 0.1))
        return p, last, last.solve(p, images), lowest

    evidence, (best, objective, solution, cost) = side_by_side([weighed, refined], observation.data.device)
    return LensFit(best, objective, solution, priors, temperature, cost, modes, costs, evidence)
