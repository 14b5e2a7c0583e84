# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images explained by a fit of the forward model: the method "fit" as an `Explanation`."""

import math

import torch

from lensing_sr._explanation import Explanation, Verdict, left_in_the_middle, misfit
from lensing_sr._finding import look_again, look_behind, open_views
from lensing_sr._intervals import doubted, far_reaching
from lensing_sr.fit.coarse import FitSettings, noise_temperature
from lensing_sr.fit.estimate import propose_starts
from lensing_sr.fit.evidence import arcs_evidence
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.objective import Solution
from lensing_sr.fit.rendering import render, tolerance
from lensing_sr.fit.uncertainty import image_variance, joint_covariance
from lensing_sr.forward.formation import sample_positions
from lensing_sr.forward.model import LENS, SLOPE, SOURCE, deflection, names
from lensing_sr.quality import DOUBT, MISSED, ODDS, POOR_FIT, judge, probability_of, weighed
from lensing_sr.solvers.linear import weighted_amplitudes

__all__ = ["Fitted", "at_bound", "named"]

#: Supersampling of the fit where it is free; the images are evaluated more finely where they need it.
FIT_SUPERSAMPLING = 2
#: How hard a fit tries that a network starts: a few starts of its own guard against what the network has never seen.
LED = FitSettings(shapes=1, starts=6, survivors=3, modes=2)
#: How hard where the question is only whether there is a lens.
HASTY = FitSettings(shapes=1, starts=6, survivors=2, modes=1, guard=False, slope=False)
#: By what the errors of parameters are widened for what the model cannot be (lumpy sources, a PSF and a noise that are
#: not as stated): a factor, and a power of the arcs' reduced chi-square, which tells how far it is from that.  Powers
#: are from 144 simulated lenses, factors from the 576 of `lensing_sr._intervals.TAILS`.
WIDER = {
    "theta_E": (1.09, 0.9), "e1": (1.16, 0.5), "e2": (1.16, 0.5), "gamma1": (1.05, 0.3), "gamma2": (1.05, 0.3),
    "x_source": (1.18, 0.3), "y_source": (1.18, 0.3), "r_eff": (1.3, 0.3),
}  # fmt: skip
#: Share of the model's variance that the restored residual does not take back, for its own error measures how far the
#: model is off.  From 83 simulated lenses, a part of those above and others.
LEFT = 0.1
#: How probable arcs remain where a fit finds none: a bright galaxy may hide them from it.
OVERLOOKED = 0.05
#: Part of the Einstein radius within which the light of an overlooked lens galaxy is.
MIDDLE = 0.3
#: Distance to a bound at which a parameter counts as having ended there.
NEAR = 1e-3


class Fitted(Explanation):
    """Lens, source and lens light fitted to a batch.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    lens_light : bool
        Whether to model the lens galaxy's light.
    supersampling : "auto" or int
        As in `LensingSuperResolver`.
    network : lensing_sr.networks.lens_estimator.LensEstimator, optional
        Tells where to start; in `eval` mode, on the device of the batch.
    finder : lensing_sr.networks.lens_finder.LensFinder, optional
        Tells lenses from look-alikes; likewise.
    settings : lensing_sr.fit.coarse.FitSettings, optional
        How hard to try.
    """

    _wider, _odds, _doubt, _tolerated = WIDER, ODDS, DOUBT, (POOR_FIT, MISSED)

    def __init__(self, batch, *, lens_light, supersampling, network=None, finder=None, settings=None):
        observation = batch.observation
        free = supersampling == "auto"
        self._network, self._effort = network, settings or (FitSettings() if network is None else LED)
        fit = self._found(
            observation, centre=batch.centre, lens_light=lens_light, correlation=batch.correlation,
            psf_fwhm=batch.psf_fwhm, arc_radius=batch.arc_radius,
            supersampling=FIT_SUPERSAMPLING if free else supersampling,
        )  # fmt: skip
        views, self._look = (None, None) if finder is None else _looked(network, finder, batch)
        images = torch.arange(len(observation), device=observation.data.device)
        noise = noise_temperature(observation, batch.correlation)
        self._arcs_evidence = arcs_evidence(fit.solution.arcs, observation.weight, noise)
        if free:
            fit.solution = _rescaled(fit, observation)
        if finder is not None:
            self._behind = look_behind(finder, views, batch, fit.solution.light)
        self._batch, self._fit, self.supersampling = batch, fit, supersampling
        self._covariance = self._errors(images)
        self._parameters = fit.parameters.clone()  # in the images' frame
        for j, name in enumerate(names(self._parameters.shape[1])):
            if name.startswith(("x_", "y_")):
                self._parameters[:, j] += batch.shift[:, "xy".index(name[0])]

    def _found(self, observation, **optics):
        """The minimum, as a `lensing_sr.fit.lens_fit.LensFit`."""
        if self._network is None:
            return fit_lenses(observation, **optics, settings=self._effort)
        seen = {name: optics[name] for name in ("centre", "lens_light", "correlation", "psf_fwhm")}
        proposals = propose_starts(self._network, observation, **seen)
        return fit_lenses(observation, **optics, proposals=proposals, settings=self._effort)

    def _errors(self, images):
        """Covariance of parameters and amplitudes, ``(images, n + L, n + L)``."""
        return joint_covariance(self._fit.objective, self._fit.parameters, images, self._fit.slope_held)

    @property
    def sky(self):
        """Level of the sky, flux a pixel, ``(images,)``."""
        return self._fit.solution.amplitudes[:, -1]

    def render(self, formation, tolerance):
        """Arcs and lens light behind `formation`."""
        return render(
            self._parameters, self._fit.solution.amplitudes, self._fit.objective.widths, formation, tolerance
        )

    def deflection(self, x, y):
        """Deflection in arcsec."""
        return deflection(self._parameters, x, y)

    def variance(self, i, formation):
        """Variance of the model of one image, by the covariance of its parameters, as far as nothing else tells it."""
        part = slice(i, i + 1)
        return LEFT * image_variance(
            self._fit.objective, self._parameters[part], self._fit.solution.amplitudes[part], self._covariance[part],
            formation,
        )[0]  # fmt: skip

    def _judged(self, i, values, found, normalised, *, chi2, at_bound, rivals, magnification):
        """The `Verdict` on image i, with arcs that are explained as well as the `Misfit` `found` says.

        ``normalised`` is its residual over sigma, 0 where masked.
        """
        evidence, probability, doubt = float(self._fit.evidence[i]), math.nan, math.nan
        facts = {"arc_chi2": found.arc_chi2, "missed": found.missed, "at_bound": at_bound, "rivals": rivals}
        facts |= {"evidence": evidence, "magnification": magnification, "overlooked": self._overlooked(i, normalised)}
        grounds, there = {}, probability_of(float(self._arcs_evidence[i]))
        belief = min(there, probability_of(evidence))
        if self._look is not None:
            apart, unlikely = self._look.apart(i, values["theta_E"])
            # reasons that the fit itself gives
            others = len(judge(values, **facts, probability=1.0, doubt=0.0))
            grounds = {
                "seen": float(self._look.odds[i]), "behind": float(self._behind[i]), "evidence": evidence,
                "arc_chi2": found.arc_chi2, "apart": apart, "unlikely": unlikely, "others": others,
                "shear": math.hypot(values["gamma1"], values["gamma2"]), "size": values["r_eff"] / values["theta_E"],
            }  # fmt: skip
            probability = max(there, OVERLOOKED) * weighed(grounds, self._odds)
            doubt, belief = weighed(grounds, self._doubt), min(there, probability)
        flags = judge(values, **facts, probability=probability, doubt=doubt, tolerated=self._tolerated)
        return Verdict(chi2, evidence, tuple(flags), probability, doubt, grounds, belief, found.arc_chi2)

    def _overlooked(self, i, normalised):
        """Signal-to-noise ratio of light about a lens that was taken not to shine; 0 where it was not."""
        if self._fit.objective.n_light:
            return 0.0
        observation, p = self._batch.observation, self._fit.parameters[i]
        x, y = sample_positions(normalised.shape, observation.matrix, observation.origin, device=p.device)
        radius = max(MIDDLE * float(p[0].exp()), 1.5 * observation.pixel)
        correlation = float(self._batch.correlation[i])
        return left_in_the_middle(normalised, torch.hypot(x - p[3], y - p[4]), radius, correlation)

    def values(self, i):
        """Parameters of one image and their formal errors."""
        p = self._parameters[i].tolist()
        spread = self._covariance[i].diagonal().clamp_min(0.0).sqrt().tolist()
        values, errors = named(p, spread)
        values["amplitude"], errors["amplitude"] = float(self._fit.solution.amplitudes[i, 0]), spread[len(p)]
        return values, errors

    def stated(self, i, values, errors, verdict):
        """Formal errors, widened for what the model misses of the arcs and for the doubt about it."""
        misfit = max(verdict.arc_chi2, 1.0)
        factors = {name: factor * misfit**power for name, (factor, power) in self._wider.items()}
        return doubted(values, {name: error * factors.get(name, 1.0) for name, error in errors.items()}, verdict)

    def wide(self, values, errors, verdict):
        """Wider by `TAILS`, and as far as radii that are off are found, where the doubt is more than is left out."""
        return far_reaching(values, errors, verdict.doubt)

    def verdict(self, i, values):
        """How good the fit of one image is."""
        fit, solution = self._fit, self._fit.solution
        found = misfit(
            fit.objective.data[i], solution.model[i], solution.arcs[i], fit.objective.weight[i], fit.temperature[i]
        )
        ended = at_bound(fit.parameters[i], fit.priors.lower[i], fit.priors.upper[i], LENS + SOURCE)
        rivals = [
            (float(mode[0].exp()), float(cost - fit.mode_costs[i, 0]))
            for mode, cost in zip(fit.modes[i][1:], fit.mode_costs[i][1:], strict=True)
        ]
        observation = self._batch.observation
        used = observation.weight[i] > 0
        normalised = (observation.data[i] - solution.model[i]) * observation.weight[i]
        dof = max(int(used.sum()) - fit.parameters.shape[1] - solution.amplitudes.shape[1], 1)
        return self._judged(
            i, values, found, normalised, chi2=float((normalised**2).sum()) / dof, at_bound=ended, rivals=rivals,
            magnification=self.magnification(values, solution.arcs[i]),
        )  # fmt: skip

    def history(self, i):
        """What was done to one image."""
        return [
            "model: elliptical power law, external shear, elliptical Sersic source"
            + (", lens light of Gaussians" if self._fit.objective.n_light else ", no lens light")
            + (", slope held: the arcs are not explained well enough to tell it" if self._fit.slope_held[i] else ""),
            f"fit: batched Levenberg-Marquardt, supersampling {self.supersampling}, "
            f"chi-square divided by {float(self._fit.temperature[i]):.3g} for correlation and misfit",
        ]


def _looked(network, finder, batch):
    """Views of a batch where nothing is masked, and what both networks see there."""
    views = open_views(batch)
    return views, look_again(network, finder, views)


def _rescaled(fit, observation):
    """The solution with arcs and light sampled to convergence: each gets one factor, and the sky its best level."""
    weight, amplitudes = fit.objective.weight, fit.solution.amplitudes
    parts = render(
        fit.parameters,
        amplitudes,
        fit.objective.widths,
        observation.formation("auto"),
        tolerance(observation.weight, observation.pixel**2),
    )
    columns = torch.stack([*parts, torch.ones_like(weight)], dim=1)
    factors = weighted_amplitudes(columns, observation.data, weight, free=(False, False, True))
    source, gaussians = amplitudes[:, :1] * factors[:, :1], amplitudes[:, 1:-1] * factors[:, 1:2]
    amplitudes = torch.cat([source, gaussians, factors[:, 2:]], dim=1)
    arcs, light, sky = (columns * factors[:, :, None, None].to(columns)).unbind(1)
    model = arcs + light + sky
    chi2 = ((observation.data - model) * weight).double().square().sum(dim=(1, 2))
    return Solution(amplitudes, chi2, model, arcs, light)


def named(p, errors):
    """Values and errors of parameters ordered as `lensing_sr.forward.model.names` says, by name; logarithms undone.

    Parameters
    ----------
    p, errors : list of float
        The parameters, and at least as many errors; what follows those is not read.

    Returns
    -------
    values, errors : dict
        With the slope gamma = 2 of an isothermal lens, without error, where it was not fitted.
    """
    values, spread = {}, {}
    for name, value, error in zip(names(len(p)), p, errors, strict=False):
        if name.startswith("log_"):
            name, value = name.removeprefix("log_"), math.exp(value)
            error *= value
        values[name], spread[name] = value, error
    values.setdefault("gamma", 2.0)
    spread.setdefault("gamma", 0.0)
    # the lens comes first
    order = [name.removeprefix("log_") for name in (LENS[0], *SLOPE)]
    order += [name for name in values if name not in order]
    return tuple({name: part[name] for name in order} for part in (values, spread))


def at_bound(p, lower, upper, names):
    """Which of the first parameters, called `names`, ended at a bound; the logarithm is not part of a name."""
    near = torch.minimum(p - lower, upper - p) < NEAR
    return [name.removeprefix("log_") for name, ended in zip(names, near.tolist(), strict=False) if ended]
