# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Beyond a smooth lens and a Sersic source: each step is kept only if the evidence asks for it.

1. the minima of the parametric fit, each with the structure that its source would have: the most likely goes on;
2. structure of the source (`source_inversion`), a correction of the potential (`potential`): whichever gains most comes
   first, with lens and source adjusted together by Gauss-Newton steps, until nothing gains enough;
3. the source once more on its finest grid, positive.

Evidences are those of the model linearised about its best fit, all other unknowns integrated out, for noise as
correlated as it is measured.  A step must also predict pixels better than before that are left out of the fit: where
the model is wrong the evidence only says what fits best, and what is delivered lies between the pixels.
"""

from dataclasses import dataclass, field, replace

import torch

from lensing_sr.fit.joint import CHUNK, Problem
from lensing_sr.fit.perturbers import find_perturbers, restrained, strength_precision
from lensing_sr.fit.potential import choose_potential
from lensing_sr.fit.source_inversion import Inversion, SourcePrior, choose_prior, invert, source_region
from lensing_sr.forward.scene import Scene
from lensing_sr.solvers.linear import RIDGE, products, scaled_cholesky, solve_spd

__all__ = ["Refinement", "Settings", "refine"]

#: ln of the evidence ratio from which a step is kept.
WORTH = 10.0
#: So many times the gain of structure in the source must be gained by mass to come first.
LUMPY = 2.0
#: Nodes a side of the source while the rays still move, and at most in the end.
WHILE_MOVING, FINEST = 26, 44
#: Spacing of the nodes at the middle that is asked for: in pixels of the PSF kernel, and in FWHM of the PSF if that is
#: more.
SPACING, SPACING_PSF = 0.3, 0.2
#: Gauss-Newton steps after each change of the model, at most, and the gain in cost that ends them.
STEPS, GAIN = 4, 3.0
#: Least share of a pixel that its own prediction may leave free.
FREE = 1e-3
#: Times that a step is shortened before it is given up.
TRIES = 4
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
    leverage : torch.Tensor or None
        How much each pixel decides its own model value, ``(rows, columns)``, 0 where masked; None if nothing was kept.
        Of the source on the nodes that it had while the rays moved.
    """

    scene: Scene
    prior: SourcePrior | None
    inversion: Inversion
    precision: torch.Tensor
    problem: Problem
    leverage: torch.Tensor | None
    gains: dict = field(default_factory=dict)
    kept: tuple = ()


def refine(problem, minima, priors, pixel, kernel_pixel, settings=Settings(), psf_fwhm=0.0, settled=True):
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
    psf_fwhm : float
        Width of the PSF in arcsec.
    settled : bool
        Whether these models are minima already, or only near them.

    Returns
    -------
    Refinement
    """
    model = _Model(problem, priors, settings.kind, pixel)
    gains, kept = {}, []
    model.begin(_different(minima)[:MINIMA], structured=settings.source != "sersic", settled=settled)
    if settings.source == "pixel":
        prior, gains["pixel source"] = model.offer_structure()
        model.accept_structure(prior)
        kept.append("pixel source")
    steps = {
        "pixel source": (model.offer_structure, model.accept_structure),
        "potential": (model.offer_potential, model.accept_potential),
        "perturbers": (model.offer_perturbers, model.accept_perturbers),
    }
    offers, refused = {}, set()

    def ask(name):
        """Have a step offered: once for each model, and never again once it was refused."""
        if name not in offers and name not in refused:
            offers[name] = steps[name][0]()
            if name not in kept:
                gains[name] = offers[name][1]

    while True:
        # what explains most comes first: the source's structure must not be asked to mimic a clump of mass; but
        # galaxies are lumpy more often than lenses are
        if settings.source != "sersic" and model.prior is None:
            ask("pixel source")
        if settings.potential and model.wide is None:
            ask("potential")
        # a source of any shape and masses at any place can stand for each other: masses are looked for only where
        # structure of the source explains less than mass does
        mass = gains.get("potential", 0.0) if model.wide is None else 0.0
        lumpy = "pixel source" in offers and LUMPY * gains["pixel source"] > max(mass, LUMPY * WORTH)
        if settings.potential and model.prior is None and not lumpy:
            ask("perturbers")
        worthy = [name for name, (_, gain) in offers.items() if gain > WORTH]
        if not worthy:
            break
        name = max(worthy, key=lambda name: offers[name][1] * (LUMPY if name == "pixel source" else 1.0))
        offer, gain = offers.pop(name)
        missed, before = model.left_out, model.state  # in this order: the state holds what was weighed
        steps[name][1](offer)
        if model.left_out < missed:
            offers.clear()  # they were made for another model
            if name in kept:
                gains[name] += gain
            else:
                kept.append(name)
        else:
            model.state = before
            refused.add(name)
    # finer nodes say no more of what the data decide, and take long to weigh
    leverage = problem.spread(model.leverage) if kept else None
    model.finish(max(SPACING * kernel_pixel, SPACING_PSF * psf_fwhm))
    return Refinement(
        model.inversion.scene, model.prior, model.inversion, model.precision, problem, leverage, gains, tuple(kept)
    )


class _Model:
    """The best model so far of one image, and what could be added to it."""

    def __init__(self, problem, priors, kind, pixel):
        self.problem, self.kind, self.pixel = problem, kind, pixel
        self.mean, self._smooth, self._lower, self._upper = priors
        self.prior = self.wide = self.inversion = self._searched = self._expected = self._offered = self._weighed = None

    @property
    def precision(self):
        """Prior precision of the scene's vector."""
        blocks = [torch.diag(self._smooth)]
        if self.wide is not None:
            blocks.append(self.wide)
        masses = len(self.inversion.scene.perturbers)
        return torch.block_diag(*blocks, strength_precision(masses, self._smooth))

    def offset(self, scene):
        """How far a scene is from the mean of its prior."""
        vector = scene.vector()
        return torch.cat([vector[: len(self.mean)] - self.mean, vector[len(self.mean) :]])

    def cost(self, inversion):
        """Chi-square plus all priors."""
        away = self.offset(inversion.scene)
        return inversion.cost + float(away @ self.precision @ away)

    def begin(self, minima, structured, settled=True):
        """Take the most likely of some minima, given the structure that each one's source would have."""
        best = None
        for scene in minima if structured else minima[:1]:
            if settled:
                self.inversion = invert(self.problem, scene)
            else:
                self.descend(scene)
            total = -0.5 * self.cost(self.inversion)
            if structured and len(minima) > 1:
                total += max(self.offer_structure()[1], 0.0)
            if best is None or total > best[0]:
                best = total, self.inversion, self._offered
        _, self.inversion, self._offered = best

    @property
    def state(self):
        """All that an added step changes."""
        return self.prior, self.wide, self.inversion, self._weighed

    @state.setter
    def state(self, state):
        self.prior, self.wide, self.inversion, self._weighed = state

    @property
    def leverage(self):
        """How much each pixel decides its own model value: diagonal of the matrix from data to model, ``(pixels,)``."""
        # the same model is asked before and after a step
        if self._weighed is None or self._weighed[0] is not self.inversion:
            self._weighed = self.inversion, self._leverage()
        return self._weighed[1]

    def _leverage(self):
        inversion = self.inversion
        derivatives = self.problem.derivatives(inversion.scene)
        normal = inversion.joint(derivatives, self.precision)
        count, single = len(inversion.scene.amplitudes), torch.float32
        # the source's nodes first: pixels without its light then need the few other unknowns alone
        nodes = inversion.inside >= count
        order = torch.cat([nodes.nonzero()[:, 0], (~nodes).nonzero()[:, 0], torch.arange(len(nodes), len(normal))])
        normal = normal[order.to(normal.device)][:, order.to(normal.device)]
        factor, scale = scaled_cholesky(normal)
        few = torch.cat([inversion.system.linear[inversion.inside[~nodes]], derivatives])
        many = int(nodes.sum())
        few *= scale[many:, None]
        leverage = torch.linalg.solve_triangular(factor[many:, many:], few, upper=False).square_().sum(dim=0)
        if many:
            response, lit = inversion.system.response, inversion.system.lit
            nodes, factor, scale = inversion.inside[nodes] - count, factor.to(single), scale[:many, None].to(single)
            for part in torch.arange(len(lit), device=lit.device).split(max(1, CHUNK // len(normal))):
                rows = torch.cat([response[:, part[0] : part[-1] + 1][nodes] * scale, few[:, lit[part]].to(single)])
                rows = torch.linalg.solve_triangular(factor, rows, upper=False)
                leverage[lit[part]] = rows.square_().sum(dim=0).double()
        return leverage

    @property
    def left_out(self):
        r"""Chi-square of each pixel as predicted by all others, :math:`\sum_i (r_i / (1 - h_i))^2` (Allen 1974).

        A source that mimics what bends the arcs fits each pixel and predicts none.  The pixel that a point mass lies in
        says where in it the mass is, which no other can: it counts as if it decided half of itself at most.
        """
        leverage, masses = self.leverage, self.inversion.scene.perturbers
        if len(masses):
            x, y = (c.flatten()[self.problem.used, None] for c in self.problem.centres)
            nearest = ((x - masses[:, 1]).square() + (y - masses[:, 2]).square()).amin(dim=1)
            leverage = torch.where(nearest < self.pixel**2, leverage.clamp_max(0.5), leverage)
        return float((self.inversion.residual / (1.0 - leverage).clamp_min(FREE)).square().sum())

    def offer_structure(self):
        """Prior of the structure that the data make most likely, and what it gains."""
        if self._offered is not None and self._offered[0] is self.inversion:
            return self._offered[1]
        scene = self.inversion.scene
        grid = source_region(self.problem, scene, self.pixel)
        offer = choose_prior(self.problem, scene, self.precision, self.offset(scene), grid, kind=self.kind)
        self._offered = self.inversion, offer
        return offer

    def accept_structure(self, prior):
        """Give the source structure."""
        self._expected = self.inversion.scene
        self.prior = prior.on(prior.grid.with_size(WHILE_MOVING), self._expected)
        self.descend(self.inversion.scene)

    def offer_potential(self):
        """Correction of the potential that the data make most likely, and what it gains."""
        scene = self.inversion.scene
        return choose_potential(self.problem, self.inversion, self.offset(scene), self.precision)

    def accept_potential(self, offer):
        """Let the potential be corrected."""
        potential, self.wide = offer
        zero = self.mean.new_zeros(potential.size, potential.size)
        # nothing is bent yet: the source is the same
        begun = replace(self.inversion, scene=self.inversion.scene.with_changes(potential=potential, q=zero))
        self.descend(begun.scene, begun)

    def offer_perturbers(self):
        """The model with the point masses that the data ask for, and what they gain."""
        if self.inversion is self._searched:
            return self.state, 0.0
        before = self.state
        # masses must not be paid for what the smooth lens alone can gain
        self.descend(self.inversion.scene)
        gain = find_perturbers(self)
        found, self.state = self.state, before
        return found, gain

    def accept_perturbers(self, found):
        """Take the point masses that were found."""
        self.state = found
        self._searched = self.inversion

    def finish(self, spacing):
        """Solve once more for a source that is positive, on its finest grid."""
        if self.prior is not None:
            size = min(max(self.prior.grid.nodes_for(spacing), WHILE_MOVING), FINEST)
            # structure may have taken the light over from the Sersic since: what it was expected to be has not changed
            self.prior = self.prior.on(self.prior.grid.with_size(size), self._expected)
            self.inversion = invert(self.problem, self.inversion.scene, self.prior)

    def descend(self, scene, solved=None):
        """Gauss-Newton steps in all parameters of a scene, the linear unknowns (``solved`` if known) solved inside."""
        self.inversion = solved or invert(self.problem, scene, self.prior, nonnegative=False)
        cost, damping, precision = self.cost(self.inversion), 1e-2, self.precision
        for _ in range(STEPS):
            best = self.inversion
            derivatives = self.problem.derivatives(best.scene)
            cross = best.across(derivatives)
            gram = best.gram + RIDGE * torch.diag(best.gram.diagonal())
            curvature = products(derivatives) - cross.T @ solve_spd(gram[None], cross[None])[0] + precision
            slope = derivatives @ best.residual - precision @ self.offset(best.scene)
            for _ in range(TRIES):
                damped = curvature + damping * torch.diag(curvature.diagonal())
                trial = self._moved(best.scene, solve_spd(damped[None], slope[None, :, None])[0, :, 0])
                trial = invert(self.problem, trial, self.prior, nonnegative=False)
                if self.cost(trial) < cost:
                    break
                damping *= 8.0
            else:
                return
            damping *= 0.2
            gained, self.inversion = cost - self.cost(trial), trial
            cost -= gained
            if gained < GAIN:
                return

    def _moved(self, scene, step):
        vector, smooth = scene.vector() + step, len(self.mean)
        bounded = torch.minimum(torch.maximum(vector[:smooth], self._lower), self._upper)
        return restrained(scene, scene.moved(torch.cat([bounded, vector[smooth:]])))


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
