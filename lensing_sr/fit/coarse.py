# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The first half of the fit, at coarse pixels: from nothing, or from what a network proposes, to minima that differ.

1. lens light alone, arcs clipped: where the galaxy is and how it is shaped;
2. a scan of Einstein radii and source positions (`start`), and proposals if there are any;
3. Levenberg-Marquardt from the best starts, all at once, the lens light's shape held at first.
"""

from dataclasses import dataclass

import torch

from lensing_sr.fit.objective import Objective
from lensing_sr.fit.observation import Observation
from lensing_sr.fit.priors import Priors, lens_priors
from lensing_sr.fit.start import lensing_templates, scan, trial_shapes
from lensing_sr.forward.model import LENS, LIGHT
from lensing_sr.light.gaussians import gaussian_widths
from lensing_sr.solvers.levenberg import levenberg_marquardt
from lensing_sr.utils._threads import side_by_side

__all__ = [
    "CoarseFit",
    "FitSettings",
    "arc_misfit",
    "distinct",
    "explained",
    "fit_coarsely",
    "light_widths",
    "minimise",
    "noise_temperature",
    "search_range",
    "tempered",
]

#: Einstein radii to look for, in units of the radius where the arcs' light gathers; the outer image of a pair, at up to
#: 1.8 theta_E, pulls that radius up, so it is more often too large than too small.
ARC_RANGE = (0.4, 1.25)
#: Relative error of the lens light's model: no galaxy is a sum of two families of concentric ellipses, no PSF exact.
LIGHT_ERROR = 0.03
#: Pixels a side that a coarse image should not exceed by much.
COARSE = 60
#: Widths of the lens light's Gaussians: from this many pixels to this part of the field's half-width.
NARROWEST, WIDEST = 0.5, 0.5
#: Proposals that may widen the range of Einstein radii, and by what factor.
TRUSTED, MARGIN = 4, 1.2
#: What came of proposals is doubted where the arcs' reduced chi-square is above the first and more than a share of
#: their power is left over, and where the gain in chi-square is below the last.
DOUBT, LEFT_OVER, FAINT = 2.0, 0.1, 60.0
#: Smoothed residual, in sigma, above which a coarse pixel belongs to arcs or neighbours, not to the lens light.
CLIP = 3.0


@dataclass(frozen=True)
class FitSettings:
    """How hard the fit tries.

    Attributes
    ----------
    shapes : int
        Mass ellipticities that the scan tries, at most 6; 0 scans round lenses in the middle of the field, which all
        images share.
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
    guard : bool
        Whether images that proposals do not explain are searched with all starts.
    slope : bool
        Whether the slope of the lens is free at native pixels.
    """

    shapes: int = 6
    starts: int = 24
    survivors: int = 6
    modes: int = 3
    iterations: int = 20
    evidence: bool = True
    guard: bool = True
    slope: bool = True


@dataclass
class CoarseFit:
    """What `fit_coarsely` found.

    Attributes
    ----------
    minima, costs : torch.Tensor
        Parameters and costs, ``(images, survivors, n)`` and ``(images, survivors)``.
    objective : Objective
        The images at coarse pixels.
    priors : Priors
        Priors and bounds.
    widths : torch.Tensor or None
        Of the lens light's Gaussians, arcsec.
    temperature : torch.Tensor
        By what chi-square is divided for the noise's correlation, ``(images,)``.
    coarse : Observation
        The images in coarse pixels.
    light : torch.Tensor or None
        The lens light there, as fitted alone.
    """

    minima: torch.Tensor
    costs: torch.Tensor
    objective: Objective
    priors: Priors
    widths: torch.Tensor | None
    temperature: torch.Tensor
    coarse: Observation
    light: torch.Tensor | None


def fit_coarsely(
    observation, centre, *, lens_light=True, correlation=None, psf_fwhm=0.0, arc_radius=None, proposals=None,
    settings=FitSettings(),
):  # fmt: skip
    """Minima at coarse pixels; arguments as in `lensing_sr.fit.lens_fit.fit_lenses`.

    Returns
    -------
    CoarseFit
    """
    side = min(observation.data.shape[1:])
    coarse = observation.binned(max(1, round(side / COARSE), 2 if side >= 48 else 1))
    pixel = observation.pixel
    smallest, largest = search_range(observation, psf_fwhm, arc_radius)
    if proposals is not None:
        # where arcs were mistaken for neighbours, or neighbours for arcs, the network may know better
        theta_E = proposals[:, :TRUSTED, 0].exp()
        smallest = torch.minimum(smallest, theta_E.amin(dim=1) / MARGIN).clamp_min(pixel)
        largest = torch.maximum(largest, theta_E.amax(dim=1) * MARGIN).clamp_max(observation.half_width)
    widths = light_widths(observation) if lens_light else None
    temperature = noise_temperature(observation, correlation)
    limits = {"smallest": smallest, "largest": largest, "pixel": pixel, "lens_light": lens_light}

    if lens_light:
        centre, shape, light = _fit_lens_light(coarse, centre, widths, limits)
        priors = lens_priors(centre, light_shape=shape, **limits)
        start = priors.mean.clone()
        start[:, -len(LIGHT) :] = torch.cat([centre, shape, shape], dim=1)
    else:
        # nothing marks the lens but its arcs
        priors = lens_priors(centre, centre_width=max(0.1, 2.0 * pixel), **limits)
        start, light = priors.mean.clone(), None

    weight = tempered(coarse.weight, light, temperature)
    objective = Objective(coarse.data, weight, coarse.formation(), priors.mean, priors.width, widths=widths)
    limits = smallest, largest
    if proposals is None:
        minima, costs = _search(objective, start, priors, coarse.pixel, limits, settings)
    else:
        minima, costs = _follow(objective, start, priors, coarse.pixel, limits, proposals, settings)
        index = _doubtful(objective, minima, costs).nonzero()[:, 0]
        if settings.guard and len(index):
            part = objective.select(index), start[index], priors.select(index), coarse.pixel, [c[index] for c in limits]
            others, other_costs = _search(*part, FitSettings())
            both = torch.cat([minima[index], others], dim=1), torch.cat([costs[index], other_costs], dim=1)
            minima[index], costs[index] = distinct(*both, settings.survivors)
    return CoarseFit(minima, costs, objective, priors, widths, temperature, coarse, light)


def _search(objective, start, priors, pixel, limits, settings):
    """Minima from a scan, best ones first taken further."""
    held, steps = objective.holding_light(start), settings.iterations // 4
    starts = _scanned(objective, start, pixel, limits, settings)
    # an ellipse and a shear free from the start can bend a wrong ring into shape: size and source come first
    minima, costs = minimise(held, starts, priors, steps, 3.0, held=LENS[1:], damping=1.0)
    better, _ = distinct(minima, costs, 2 * settings.survivors)
    minima, costs = minimise(held, better, priors, steps, 3.0, held=LENS[1:])
    better, _ = distinct(minima, costs, settings.survivors)
    return minimise(objective, better, priors, settings.iterations, 1.0)


def _follow(objective, start, priors, pixel, limits, proposals, settings):
    """Minima from proposals, and from a few starts of a scan beside them."""
    held, steps = objective.holding_light(start), settings.iterations // 4
    proposed = start[:, None].expand(-1, proposals.shape[1], -1).clone()
    proposed[:, :, : proposals.shape[2]] = proposals

    def scanned():
        starts = _scanned(objective, start, pixel, limits, settings)
        return minimise(held, starts, priors, steps, 3.0, held=LENS[1:], damping=1.0)

    def followed():
        return minimise(held, proposed, priors, steps, 3.0)

    (minima, costs), (proposed, proposed_costs) = side_by_side([scanned, followed], start.device)
    better, _ = distinct(
        torch.cat([minima, proposed], dim=1), torch.cat([costs, proposed_costs], dim=1), settings.survivors
    )
    return minimise(objective, better, priors, settings.iterations, 1.0)


def _doubtful(objective, minima, costs):
    """Whether the best minimum of each image explains its arcs badly, or hardly has any; boolean ``(images,)``."""
    images = torch.arange(len(minima), device=minima.device)
    best = minima[images, costs.argmin(dim=1)]
    misfit, gain = explained(objective, best)
    # arcs of a lumpy source are never met to the noise where they are bright: what counts is how much of them is missed
    solution = objective.solve(best, images)
    power = _mean_on_arcs(objective, solution, solution.arcs * objective.weight)
    return ((misfit > DOUBT) & (misfit - 1.0 > LEFT_OVER * power)) | (gain < FAINT)


def explained(objective, p):
    """How well parameters ``(images, n)`` explain the arcs: `arc_misfit`, and by how much the source lowers chi2."""
    images = torch.arange(len(p), device=p.device)
    solution = objective.solve(p, images)
    return arc_misfit(objective, solution), objective.without_source().solve(p, images).chi2 - solution.chi2


def arc_misfit(objective, solution):
    """Reduced chi-square where the arcs are, at least 1: how far to believe formal errors of the lens."""
    normalised = (objective.data - solution.model) * objective.weight
    return _mean_on_arcs(objective, solution, normalised).clamp_min(1.0)


def _mean_on_arcs(objective, solution, normalised):
    """Mean square of a map ``(images, rows, columns)`` where the arcs stand out of the noise."""
    arcs = (solution.arcs * objective.weight > 1.0) & (objective.weight > 0)
    total = torch.where(arcs, normalised.square(), torch.zeros_like(normalised)).sum(dim=(1, 2))
    return total / arcs.sum(dim=(1, 2)).clamp_min(1)


def _scanned(objective, start, pixel, limits, settings):
    """Starts ``(images, starts, n)`` from the scan."""
    templates = lensing_templates(float(limits[0].min()), float(limits[1].max()), pixel)
    null = objective.without_source()
    if settings.shapes:
        shapes = trial_shapes(start[:, 1:3])[:, : settings.shapes]
        return scan(null, start, templates, shapes, settings.starts, limits)[0]
    middle = start.clone()
    middle[:, : len(LENS)] = 0.0
    starts, _ = scan(null, middle, templates, torch.zeros_like(start[:, None, 1:3]), settings.starts, limits)
    starts[:, :, 1 : len(LENS)] = start[:, None, 1 : len(LENS)]
    starts[:, :, 7:9] += start[:, None, 3:5]
    return starts


def noise_temperature(observation, correlation):
    """By how much chi-square is too large for noise of this lag-1 correlation, ``(images,)``; None is none.

    Neighbours share their noise: a sum over m pixels has m (1 + 2 rho)^2 times one pixel's variance.
    """
    correlation = torch.zeros(len(observation)) if correlation is None else correlation
    return ((1.0 + 2.0 * correlation.clamp(0.0, 1.0)) ** 2).to(observation.data)


def light_widths(observation):
    """Widths of the lens light's Gaussians in arcsec."""
    return gaussian_widths(NARROWEST * observation.pixel, WIDEST * observation.half_width)


def search_range(observation, psf_fwhm, arc_radius):
    """Smallest and largest Einstein radius to look for, ``(images,)`` float64."""
    like = torch.ones(len(observation), dtype=torch.float64, device=observation.data.device)
    smallest = like * max(2.5 * observation.pixel, 1.2 * psf_fwhm)
    largest = torch.maximum(like * 0.8 * observation.half_width, 1.5 * smallest)
    if arc_radius is not None:
        known = arc_radius > 0
        smallest = torch.where(known, (ARC_RANGE[0] * arc_radius).clamp(smallest, 0.5 * largest), smallest)
        largest = torch.where(known, (ARC_RANGE[1] * arc_radius).clamp(1.5 * smallest, largest), largest)
    return smallest, largest


def tempered(weight, light, temperature):
    """1 / sigma with the uncertainty of the lens light, if there is any, divided by the root of the temperature."""
    if light is not None:
        weight = weight * (1.0 + (LIGHT_ERROR * light * weight) ** 2).rsqrt()
    return weight * temperature.rsqrt()[:, None, None]


def minimise(objective, starts, priors, iterations, tolerance, held=(), damping=1e-2):
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


def distinct(minima, costs, keep):
    """Best minima that differ in Einstein radius or source position, the best fill up; and their costs.

    Returns ``(images, keep, n)`` and ``(images, keep)``.
    """
    chosen, kept = [], []
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
        kept.append(values[picked])
    return torch.stack(chosen), torch.stack(kept)


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
