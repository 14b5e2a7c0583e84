# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Beyond a smooth lens and a Sersic source: each step is kept only if the evidence asks for it.

1. the minima of the parametric fit, each with the structure that its source would have: the most likely goes on;
2. structure of the source (`source_inversion`), with lens and source adjusted together by Gauss-Newton steps;
3. a correction of the potential (`potential`), likewise;
4. compact perturbers (`perturbers`), one by one;
5. the source once more on its finest grid, positive, and the covariance of everything.

Evidences are those of the model linearised about its best fit, all other unknowns integrated out, for noise as
correlated as it is measured.
"""

from dataclasses import dataclass, field

import torch

from lensing_sr.fit.joint import Problem
from lensing_sr.fit.potential import choose_potential
from lensing_sr.fit.source_inversion import Inversion, SourcePrior, choose_prior, invert, source_region
from lensing_sr.forward.scene import Scene
from lensing_sr.solvers.linear import RIDGE, solve_spd

__all__ = ["Refinement", "Settings", "refine"]

#: ln of the evidence ratio from which a step is kept.
WORTH = 10.0
#: Nodes a side of the source while the rays still move, and at most in the end.
WHILE_MOVING, FINEST = 26, 44
#: Spacing of the nodes at the middle that is asked for, in pixels of the PSF kernel.
SPACING = 0.3
#: Gauss-Newton steps after each change of the model, at most, and the gain in cost that ends them.
STEPS, GAIN = 4, 3.0
#: Minima of the parametric fit that are tried.
MINIMA = 3
#: A minimum differs from another by this much in ln theta_E, or in source position over theta_E.
DIFFERENT = 0.01, 0.05


@dataclass(frozen=True)
class Settings:
    """What may be tried.

    Attributes
    ----------
    source : {"auto", "sersic", "pixel"}
        "auto": structure where the evidence asks for it; "pixel": always.
    potential : "auto" or False
        Whether a correction of the potential, and perturbers, may be added.
    kind : {"matern", "gradient", "curvature"}
        Regularisation of the source.
    """

    source: str = "auto"
    potential: str | bool = "auto"
    kind: str = "matern"


@dataclass
class Refinement:
    """What became of one image.

    Attributes
    ----------
    scene : Scene
        The model, in the frame of the fit.
    prior : SourcePrior or None
        Of the structure, where there is any.
    inversion : Inversion
        Its linear part.
    precision : torch.Tensor
        Prior precision of the scene's `vector`.
    gains : dict
        ln of the evidence ratio of each step that was tried, by name.
    kept : tuple of str
        Those that were kept.
    problem : Problem
        The image.
    """

    scene: Scene
    prior: SourcePrior | None
    inversion: Inversion
    precision: torch.Tensor
    problem: Problem
    gains: dict = field(default_factory=dict)
    kept: tuple = ()


def refine(problem, minima, priors, pixel, kernel_pixel, settings=Settings()):
    """Take one image beyond a smooth lens and a Sersic source, as far as the evidence goes.

    Parameters
    ----------
    problem : lensing_sr.fit.joint.Problem
        The image.
    minima : list of Scene
        Models to begin with, the best first.
    priors : tuple of torch.Tensor
        Mean, precision, lower and upper bound of the smooth parameters, each ``(n,)`` float64.
    pixel, kernel_pixel : float
        Sizes in arcsec of a pixel and of a pixel of the PSF kernel.
    settings : Settings
        What may be tried.

    Returns
    -------
    Refinement
    """
    mean, smooth_precision, lower, upper = priors
    gains, kept = {}, []
    precision = torch.diag(smooth_precision)
    may_pixel = settings.source != "sersic"
    trials = []
    for scene in _different(minima)[: MINIMA if may_pixel else 1]:
        inversion = invert(problem, scene)
        scene = inversion.scene
        offset = scene.vector() - mean
        gain, prior = 0.0, None
        if may_pixel:
            grid = source_region(problem, scene, pixel)
            prior, gain = choose_prior(problem, scene, precision, offset, grid, kind=settings.kind)
        total = gain - 0.5 * (inversion.cost + float(offset @ precision @ offset))
        trials.append((total, gain, scene, prior, inversion))
    _, gain, scene, prior, inversion = max(trials, key=lambda trial: trial[0])
    if may_pixel:
        gains["pixel source"] = gain
        if gain < WORTH and settings.source != "pixel":
            prior = None
        else:
            kept.append("pixel source")
    bounds = lower, upper
    if prior is not None:
        prior = prior.on(prior.grid.with_size(WHILE_MOVING), scene)
        inversion = _descend(problem, scene, prior, mean, precision, bounds)
    if settings.potential == "auto":
        scene = inversion.scene
        potential, wide, gain = choose_potential(problem, inversion, mean, precision)
        gains["potential"] = gain
        if gain > WORTH:
            kept.append("potential")
            precision = torch.block_diag(precision, wide)
            scene = scene.with_changes(potential=potential, q=scene.p.new_zeros(potential.size, potential.size))
            inversion = _descend(problem, scene, prior, mean, precision, bounds)
    if prior is not None:
        size = min(max(prior.grid.nodes_for(SPACING * kernel_pixel), WHILE_MOVING), FINEST)
        prior = prior.on(prior.grid.with_size(size), inversion.scene)
        inversion = invert(problem, inversion.scene, prior)
    return Refinement(inversion.scene, prior, inversion, precision, problem, gains, tuple(kept))


def _different(minima):
    """Minima that differ in Einstein radius or source position, in their order."""
    chosen = []
    for scene in minima:
        radius, far = DIFFERENT
        if all(
            abs(float(scene.p[0] - other.p[0])) > radius
            or float((scene.p[7:9] - other.p[7:9]).norm()) > far * float(scene.p[0].exp())
            for other in chosen
        ):
            chosen.append(scene)
    return chosen


def _descend(problem, scene, prior, mean, precision, bounds):
    """Gauss-Newton steps in all parameters, the linear unknowns solved inside; returns the `Inversion` at the end."""

    def offset(scene):
        vector = scene.vector()
        return torch.cat([vector[: len(mean)] - mean, vector[len(mean) :]])

    def total(inversion):
        away = offset(inversion.scene)
        return inversion.cost + float(away @ precision @ away)

    best = invert(problem, scene, prior, nonnegative=False)
    cost, damping = total(best), 1e-2
    for _ in range(STEPS):
        derivatives = problem.derivatives(best.scene)
        inside = best.passive.nonzero()[:, 0]
        cross = best.rows[inside] @ derivatives.T
        gram = best.gram[inside][:, inside]
        gram = gram + RIDGE * torch.diag(gram.diagonal())
        curvature = derivatives @ derivatives.T - cross.T @ solve_spd(gram[None], cross[None])[0] + precision
        slope = derivatives @ best.residual - precision @ offset(best.scene)
        for _ in range(4):
            damped = curvature + damping * torch.diag(curvature.diagonal())
            step = solve_spd(damped[None], slope[None, :, None])[0, :, 0]
            vector = best.scene.vector() + step
            smooth = torch.minimum(torch.maximum(vector[: len(mean)], bounds[0]), bounds[1])
            trial = best.scene.moved(torch.cat([smooth, vector[len(mean) :]]))
            trial = invert(problem, trial, prior, nonnegative=False)
            if total(trial) < cost:
                damping *= 0.2
                break
            damping *= 8.0
        else:
            return best
        gained = cost - total(trial)
        best, cost = trial, total(trial)
        if gained < GAIN:
            return best
    return best
