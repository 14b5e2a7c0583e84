# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The fit of lens, source and lens light to a batch of images, from nothing to parameters with errors.

1. lens light alone, arcs clipped, at coarse pixels: where the galaxy is and how it is shaped;
2. a scan of Einstein radii and source positions (`start`);
3. Levenberg-Marquardt from the best starts at coarse pixels, all at once;
4. the best that differ, at native pixels;
5. the same data without lensing, for the evidence (`evidence`);
6. the best once more, with the final supersampling and with errors widened by its own misfit.
"""

from dataclasses import dataclass

import torch

from lensing_sr.fit.evidence import lens_evidence
from lensing_sr.fit.priors import Priors, lens_priors
from lensing_sr.fit.objective import Objective, Solution
from lensing_sr.fit.start import lensing_templates, scan, trial_shapes
from lensing_sr.forward.model import LENS, LIGHT
from lensing_sr.light.gaussians import gaussian_widths
from lensing_sr.solvers.levenberg import levenberg_marquardt

__all__ = ["FitSettings", "LensFit", "fit_lenses", "tempered"]

#: Einstein radii to look for, in units of the radius where the arcs' light gathers; the outer image of a pair, at up to
#: 1.8 theta_E, pulls that radius up, so it is more often too large than too small.
ARC_RANGE = (0.4, 1.25)
#: Relative error of the lens light's model: no galaxy is a sum of two families of concentric ellipses, no PSF exact.
LIGHT_ERROR = 0.03
#: Pixels a side that a coarse image should not exceed by much.
COARSE = 60
#: Widths of the lens light's Gaussians: from this many pixels to this part of the field's half-width.
NARROWEST, WIDEST = 0.5, 0.5
#: Smoothed residual, in sigma, above which a coarse pixel belongs to arcs or neighbours, not to the lens light.
CLIP = 3.0


@dataclass(frozen=True)
class FitSettings:
    """How hard the fit tries.

    Attributes
    ----------
    starts : int
        Starts an image at coarse pixels, with the lens's shape held.
    survivors : int
        How many of them go on with the shape set free.
    modes : int
        Distinct minima taken to native pixels.
    iterations : int
        Levenberg-Marquardt steps a stage, at most.
    evidence : bool
        Whether to fit the data without lensing too.
    """

    starts: int = 24
    survivors: int = 6
    modes: int = 3
    iterations: int = 20
    evidence: bool = True


@dataclass
class LensFit:
    """Result of `fit_lenses`: one row an image.

    Attributes
    ----------
    parameters : torch.Tensor
        Best parameters, ``(images, n)``, ordered as `LENS` + `SOURCE` (+ `LIGHT`).
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


def fit_lenses(
    observation,
    centre,
    *,
    lens_light=True,
    correlation=None,
    psf_fwhm=0.0,
    arc_radius=None,
    supersampling=1,
    settings=FitSettings(),
):
    """Fit an isothermal lens with shear, a Sersic source and the lens galaxy's light to every image of a batch.

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
    settings : FitSettings
        How hard to try.

    Returns
    -------
    LensFit
    """
    images = torch.arange(len(observation), device=observation.data.device)
    factor = max(1, round(min(observation.data.shape[1:]) / COARSE), 2 if min(observation.data.shape[1:]) >= 48 else 1)
    coarse = observation.binned(factor)
    pixel = observation.pixel
    smallest, largest = _search_range(observation, psf_fwhm, arc_radius)
    widths = gaussian_widths(NARROWEST * pixel, WIDEST * observation.half_width) if lens_light else None
    correlation = torch.zeros(len(images)) if correlation is None else correlation
    # neighbours share their noise: a sum over m pixels has m (1 + 2 rho)^2 times one pixel's variance
    temperature = ((1.0 + 2.0 * correlation.clamp(0.0, 1.0)) ** 2).to(observation.data)
    limits = {"smallest": smallest, "largest": largest, "pixel": pixel, "lens_light": lens_light}

    if lens_light:
        centre, shape, coarse_light = _fit_lens_light(coarse, centre, widths, limits)
        priors = lens_priors(centre, light_shape=shape, **limits)
        start = priors.mean.clone()
        start[:, -len(LIGHT) :] = torch.cat([centre, shape, shape], dim=1)
    else:
        # nothing marks the lens but its arcs
        priors = lens_priors(centre, centre_width=max(0.1, 2.0 * pixel), **limits)
        start, coarse_light = priors.mean.clone(), None

    weight = tempered(coarse.weight, coarse_light, temperature)
    objective = Objective(coarse.data, weight, coarse.formation(), priors.mean, priors.width, widths=widths)
    templates = lensing_templates(float(smallest.min()), float(largest.max()), coarse.pixel)
    shapes = trial_shapes(start[:, 1:3])
    starts, _ = scan(objective.without_source(), start, templates, shapes, settings.starts, (smallest, largest))
    # an ellipse and a shear free from the start can bend a wrong ring into shape: size and source come first
    minima, costs = _minimise(objective, starts, priors, settings.iterations // 4, 3.0, held=LENS[1:], damping=1.0)
    better = _distinct(minima, costs, 2 * settings.survivors)
    minima, costs = _minimise(objective, better, priors, settings.iterations // 4, 3.0, held=LENS[1:])
    minima, costs = _minimise(objective, _distinct(minima, costs, settings.survivors), priors, settings.iterations, 1.0)
    best = minima[images, costs.argmin(dim=1)]
    # a model that no parameters make right must not be believed to its formal errors, nor outweigh its priors by them
    plain = Objective(
        observation.data, observation.weight, observation.formation(), priors.mean, priors.width, widths=widths
    )
    solution = plain.solve(best, images)
    correlated, temperature = temperature, temperature * _arc_misfit(plain, solution).to(temperature)
    light = solution.light if lens_light else None
    weight = tempered(observation.weight, light, temperature)
    objective = Objective(
        observation.data, weight, observation.formation(), priors.mean, priors.width, widths=widths
    )
    modes, costs = _minimise(objective, _distinct(minima, costs, settings.modes), priors, settings.iterations, 0.1)
    rank = costs.argsort(dim=1)
    modes, costs = modes[images[:, None], rank], costs[images[:, None], rank]
    best, cost = modes[:, 0], costs[:, 0]
    # now that native pixels were fitted, their own misfit counts
    previous, solution = temperature, plain.solve(best, images)
    temperature = correlated * _arc_misfit(plain, solution).to(temperature)
    costs = cost[:, None] + (costs - cost[:, None]) * (previous / temperature).to(costs)[:, None]
    weight = tempered(observation.weight, solution.light if lens_light else None, temperature)
    objective = Objective(
        observation.data, weight, observation.formation(), priors.mean, priors.width, widths=widths
    )
    evidence = torch.full_like(cost, float("nan"))
    if settings.evidence:
        coarse_weight = tempered(coarse.weight, coarse_light, temperature)
        evidence = lens_evidence(objective, coarse, coarse_weight, priors, best, settings.iterations // 3)
    if supersampling > 1:
        objective = Objective(
            observation.data, weight, observation.formation(supersampling), priors.mean, priors.width, widths=widths
        )
    if supersampling > 1 or bool((temperature < previous).any()):
        best, cost = (t[:, 0] for t in _minimise(objective, best[:, None], priors, settings.iterations // 2, 0.1))
    solution = objective.solve(best, images)
    return LensFit(best, objective, solution, priors, temperature, cost, modes, costs, evidence)


def _search_range(observation, psf_fwhm, arc_radius):
    """Smallest and largest Einstein radius to look for, ``(images,)`` float64."""
    like = torch.ones(len(observation), dtype=torch.float64, device=observation.data.device)
    smallest = like * max(2.5 * observation.pixel, 1.2 * psf_fwhm)
    largest = torch.maximum(like * 0.8 * observation.half_width, 1.5 * smallest)
    if arc_radius is not None:
        known = arc_radius > 0
        smallest = torch.where(known, (ARC_RANGE[0] * arc_radius).clamp(smallest, 0.5 * largest), smallest)
        largest = torch.where(known, (ARC_RANGE[1] * arc_radius).clamp(1.5 * smallest, largest), largest)
    return smallest, largest


def _arc_misfit(objective, solution):
    """Reduced chi-square where the arcs are, at least 1: how far to believe formal errors of the lens."""
    arcs = (solution.arcs * objective.weight > 1.0) & (objective.weight > 0)
    normalised = (objective.data - solution.model) * objective.weight
    chi2 = torch.where(arcs, normalised.square(), torch.zeros_like(normalised)).sum(dim=(1, 2))
    return (chi2 / arcs.sum(dim=(1, 2)).clamp_min(1)).clamp_min(1.0)


def tempered(weight, light, temperature):
    """1 / sigma with the uncertainty of the lens light, if there is any, divided by the root of the temperature."""
    if light is not None:
        weight = weight * (1.0 + (LIGHT_ERROR * light * weight) ** 2).rsqrt()
    return weight * temperature.rsqrt()[:, None, None]


def _minimise(objective, starts, priors, iterations, tolerance, held=(), damping=1e-2):
    """Minimise from ``(images, k, n)`` starts at once; returns parameters and costs ``(images, k, ...)``.

    Parameters named in `held` stay where each start has them.
    """
    images, k, n = starts.shape
    owner = torch.arange(images, device=starts.device).repeat_interleave(k)
    starts = starts.reshape(-1, n)
    bounds = Priors(None, None, priors.lower[owner], priors.upper[owner]).frozen(starts, held)
    minimum = levenberg_marquardt(
        objective.evaluator(owner),
        starts,
        bounds.lower,
        bounds.upper,
        iterations=iterations,
        tolerance=tolerance,
        damping=damping,
    )
    return minimum.parameters.view(images, k, n), minimum.cost.view(images, k)


def _distinct(minima, costs, keep):
    """Best minima ``(images, keep, n)`` that differ in Einstein radius or source position; the best fill up."""
    chosen = []
    for rows, values in zip(minima, costs, strict=True):
        order = values.argsort().tolist()
        picked = []
        for i in order:
            scale = float(rows[i, 0].exp())
            if all(
                abs(float(rows[i, 0] - rows[j, 0])) > 0.03
                or float((rows[i, 7:9] - rows[j, 7:9]).norm()) > 0.1 * scale
                for j in picked
            ):
                picked.append(i)
            if len(picked) == keep:
                break
        picked += [i for i in order if i not in picked][: keep - len(picked)]
        chosen.append(rows[picked])
    return torch.stack(chosen)


def _fit_lens_light(coarse, centre, widths, limits):
    """Fit the lens light alone, arcs and neighbours clipped; returns centre, ellipticity and the light's image."""
    images = torch.arange(len(coarse), device=coarse.data.device)
    priors = lens_priors(centre, **limits)
    formation = coarse.formation()
    weight, p = coarse.weight, priors.mean.clone()
    for _ in range(3):
        objective = Objective(
            coarse.data, weight, formation, priors.mean, priors.width, widths=widths, source=False
        )
        p = levenberg_marquardt(objective.evaluator(images), p, priors.lower, priors.upper, iterations=8).parameters
        solution = objective.solve(p, images)
        sigma = tempered(coarse.weight, 2.0 * solution.light, torch.ones_like(coarse.weight[:, 0, 0]))
        normalised = (coarse.data - solution.model) * sigma
        smooth = 3.0 * torch.nn.functional.avg_pool2d(normalised[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
        weight = torch.where(smooth > CLIP, torch.zeros_like(sigma), sigma)
    centre, inner, outer = p[:, -6:-4], p[:, -4:-2], p[:, -2:]
    flux = solution.amplitudes[:, : 2 * len(widths)].view(-1, 2, len(widths)).sum(dim=2)
    share = (flux[:, :1] / flux.sum(dim=1, keepdim=True).clamp_min(1e-30)).clamp(0.0, 1.0)
    return centre, share * inner + (1.0 - share) * outer, solution.light
