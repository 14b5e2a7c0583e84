# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images explained by a fit that goes as far as the evidence: pixel source, potential correction, perturbers."""

from functools import cached_property

import torch

from lensing_sr._explanation import misfit
from lensing_sr._fitted import Fitted, at_bound, named
from lensing_sr._intervals import doubted
from lensing_sr.fit.joint import Problem
from lensing_sr.fit.coarse import tempered
from lensing_sr.fit.mass_maps import mass_maps, point_masses
from lensing_sr.fit.nearest_sersic import nearest_sersic
from lensing_sr.fit.posterior import Posterior
from lensing_sr.fit.refinement import Settings, refine
from lensing_sr.fit.rendering import render
from lensing_sr.forward.model import LENS, has_slope
from lensing_sr.forward.scene import Scene, mean_radial_correction
from lensing_sr.quality import WEAK_EVIDENCE

__all__ = ["Refined"]

#: As `lensing_sr._fitted.LEFT`, of models with structure: what they are unsure of leaves less of a residual.  From 18
#: simulated lenses with lumpy sources.
LEFT = 0.3


class Refined(Fitted):
    """A fit of smooth lens and Sersic source, and beyond it where the evidence asks for more.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    lens_light : bool
        Whether to model the lens galaxy's light.
    supersampling : "auto" or int
        As in `LensingSuperResolver`.
    network : lensing_sr.networks.lens_estimator.LensEstimator, optional
        Tells where to start.
    finder : lensing_sr.networks.lens_finder.LensFinder, optional
        Tells lenses from look-alikes.
    settings : lensing_sr.fit.refinement.Settings
        What may be tried.

    Attributes
    ----------
    refinements : list of Refinement
        What was tried on each image.
    """

    def __init__(self, batch, *, lens_light, supersampling, network=None, finder=None, settings=Settings()):
        optics = {"lens_light": lens_light, "supersampling": supersampling}
        super().__init__(batch, **optics, network=network, finder=finder)
        self._shifts = batch.shift.tolist()
        self.refinements = [self._refine(i, settings) for i in range(len(batch.observation))]
        self._scenes = [
            found.scene.shifted(*shift) if found.kept else None
            for found, shift in zip(self.refinements, self._shifts, strict=True)
        ]
        self._nearest = [self._profile(i) for i in range(len(self._scenes))]
        self._sky = super().sky.clone()
        for i, scene in enumerate(self._scenes):
            if scene is not None:
                self._sky[i] = scene.amplitudes[-1]

    def _refine(self, i, settings):
        """One image: its arrays fill a processor, so that images are taken in turn."""
        fit, observation = self._fit, self._batch.observation
        objective, one = fit.objective, slice(i, i + 1)
        # what no smooth lens and Sersic explain is about to be explained: only the noise's correlation widens errors
        temperature = (1.0 + 2.0 * self._batch.correlation[one].clamp(0.0, 1.0)) ** 2
        light = fit.solution.light[one] if objective.n_light else None
        weight = tempered(observation.weight[one], light, temperature.to(observation.weight))
        index = torch.tensor([i], device=weight.device)
        problem = Problem(observation.data[i], weight[0], objective.formation.select(index), objective.widths)
        amplitudes = fit.solution.amplitudes[i]
        # a slope that took the part of structure or clumps would hide them: what is refined is isothermal
        count = fit.parameters.shape[1] - has_slope(fit.parameters)
        minima = [Scene.of(p[:count], amplitudes) for p in (fit.parameters[i], *fit.modes[i][1:])]
        priors = [
            part[i, :count]
            for part in (objective.prior_mean, objective.prior_precision, fit.priors.lower, fit.priors.upper)
        ]
        settled = not has_slope(fit.parameters) or bool(fit.slope_held[i])
        kernel_pixel = observation.pixel / observation.oversampling
        # what is hardly a lens has no structure that lensing could tell
        if float(fit.evidence[i]) < WEAK_EVIDENCE:
            settings = Settings("pixel" if settings.source == "pixel" else "sersic", False, settings.kind)
        return refine(
            problem, minima, priors, observation.pixel, kernel_pixel, settings, psf_fwhm=self._batch.psf_fwhm,
            settled=settled,
        )

    def _profile(self, i):
        """Parameters and amplitude of the Sersic that stands for the source of image i."""
        scene, (x, y) = self._scenes[i], self._shifts[i]
        if scene is None:
            return None
        if scene.structure is None:
            return scene.p, float(scene.amplitudes[0])
        priors, own = self._fit.priors, self.refinements[i].scene
        p, amplitude = nearest_sersic(own, priors.lower[i], priors.upper[i])
        return own.with_changes(p=p).shifted(x, y).p, amplitude

    @cached_property
    def _posteriors(self):
        return [Posterior(found) if found.kept else None for found in self.refinements]

    @property
    def sky(self):
        """Level of the sky, flux a pixel, ``(images,)``."""
        return self._sky

    def render(self, formation, tolerance):
        """Arcs and lens light behind `formation`."""
        if all(scene is None for scene in self._scenes):
            return super().render(formation, tolerance)
        seen = []
        for i, scene in enumerate(self._scenes):
            one = slice(i, i + 1)
            part = formation.select(torch.tensor([i], device=self._parameters.device))
            limit = None if tolerance is None else tolerance[one]
            widths = self._fit.objective.widths
            if scene is None:
                seen.append(render(self._parameters[one], self._fit.solution.amplitudes[one], widths, part, limit))
            else:
                seen.append(render(scene.p[None], scene.amplitudes[None], widths, part, limit, source=scene.arcs))
        return tuple(torch.cat(kind) for kind in zip(*seen, strict=True))

    def deflection(self, x, y):
        """Deflection in arcsec."""
        smooth = super().deflection(x, y)
        for i, scene in enumerate(self._scenes):
            if scene is not None:
                for whole, own in zip(smooth, scene.deflection(x, y), strict=True):
                    whole[i] = own
        return smooth

    def variance(self, i, formation):
        """Variance of the model of one image."""
        if self._scenes[i] is None:
            return super().variance(i, formation)
        return LEFT * self._posteriors[i].variance(formation, self._shifts[i])

    def values(self, i):
        """Parameters of one image and their errors.

        Those of the source are of the Sersic nearest to it; theta_E is that of the whole lens, its correction included.
        """
        scene = self._scenes[i]
        if scene is None:
            return super().values(i)
        p, amplitude = self._nearest[i]
        values, errors = named(p.tolist(), self._posteriors[i].errors.tolist())
        values["theta_E"] += mean_radial_correction(scene)
        values["amplitude"], errors["amplitude"] = amplitude, self._posteriors[i].amplitude_error
        return values, errors

    def stated(self, i, values, errors, verdict):
        """Those of the posterior hold what the model misses; there remains the doubt about it."""
        if self._scenes[i] is None:
            return super().stated(i, values, errors, verdict)
        return doubted(values, errors, verdict)

    def structure(self, i):
        """Source of image i beyond its Sersic: brightness and error at source-plane positions, or None."""
        scene = self._scenes[i]
        if scene is None or scene.structure is None:
            return None
        shift = self._shifts[i]

        def error(x, y):
            return self._posteriors[i].source_error(x - shift[0], y - shift[1])

        return scene.source, error

    def leverage(self, i):
        """How much each pixel of the fit decides its own model value."""
        return self.refinements[i].leverage

    def substructure(self, i, x, y, width):
        """What bends the light of image i besides the smooth lens: maps and point masses, or None."""
        scene = self._scenes[i]
        if scene is None or (scene.q is None and not len(scene.perturbers)):
            return None
        found, posterior, shift = self.refinements[i].scene, self._posteriors[i], self._shifts[i]
        maps = mass_maps(found, posterior, x - shift[0], y - shift[1], width)
        return maps, point_masses(scene, posterior)

    def tried(self, i):
        """ln of the evidence ratio of every step beyond the Sersic that was tried, and which were kept."""
        return dict(self.refinements[i].gains), self.refinements[i].kept

    def verdict(self, i, values):
        """How good the explanation of one image is."""
        if self._scenes[i] is None:
            return super().verdict(i, values)
        found, fit, observation = self.refinements[i], self._fit, self._batch.observation
        problem, inversion = found.problem, found.inversion
        data = observation.data[i].double()
        model = data - problem.image(inversion.residual)
        columns = problem.linear(found.scene.with_changes(structure=None, grid=None))
        light = found.scene.amplitudes[1:] @ columns[1:]
        arcs = model - problem.image(light)
        arcs = torch.where(problem.weight > 0, arcs, torch.zeros_like(arcs))
        missed = misfit(data, model, arcs, problem.weight.double())
        p = found.scene.p
        lower, upper = (bound[i, : len(p)] for bound in (fit.priors.lower, fit.priors.upper))
        ended = at_bound(p, lower, upper, LENS)
        weight = observation.weight[i].double()
        normalised = (data - model) * weight
        used = int((weight > 0).sum())
        # the source decided between the minima: no rivals are left
        return self._judged(
            i, values, missed, normalised, chi2=float(normalised.square().sum()) / max(used - len(p), 1),
            at_bound=ended, rivals=[], magnification=self._magnification(found.scene, values, arcs),
        )  # fmt: skip

    def _magnification(self, scene, values, arcs):
        if scene.structure is None:
            return self.magnification(values, arcs)
        x, y = scene.grid.nodes(device=scene.p.device)
        flux = float((scene.source(x, y) * scene.grid.areas(device=scene.p.device)).sum())
        return float(arcs.sum()) / flux if flux > 0 else 0.0

    def history(self, i):
        """What was done to one image."""
        gains, kept = self.tried(i)
        return super().history(i) + [
            f"{name}: ln evidence {gain:+.1f}, {'kept' if name in kept else 'not kept'}" for name, gain in gains.items()
        ]
