# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images explained by a fit of the forward model: the method "fit" as an `Explanation`."""

import math

import torch

from lensing_sr._explanation import Explanation, Verdict, misfit
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.objective import Solution
from lensing_sr.fit.rendering import render, tolerance
from lensing_sr.fit.uncertainty import image_variance, joint_covariance
from lensing_sr.forward.model import LENS, LIGHT, SOURCE, deflection
from lensing_sr.quality import judge
from lensing_sr.solvers.linear import nonnegative_least_squares

__all__ = ["Fitted"]

#: Supersampling of the fit where it is free; the images are evaluated more finely where they need it.
FIT_SUPERSAMPLING = 2
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
    """

    def __init__(self, batch, *, lens_light, supersampling):
        observation = batch.observation
        free = supersampling == "auto"
        fit = fit_lenses(
            observation,
            batch.centre,
            lens_light=lens_light,
            correlation=batch.correlation,
            psf_fwhm=batch.psf_fwhm,
            arc_radius=batch.arc_radius,
            supersampling=FIT_SUPERSAMPLING if free else supersampling,
        )
        images = torch.arange(len(observation), device=observation.data.device)
        if free:
            fit.solution = _rescaled(fit, observation)
        self._batch, self._fit, self.supersampling = batch, fit, supersampling
        self._covariance = joint_covariance(fit.objective, fit.parameters, images)
        self._parameters = fit.parameters.clone()  # in the images' frame
        order = LENS + SOURCE + LIGHT
        for j, name in enumerate(order[: self._parameters.shape[1]]):
            if name.startswith(("x_", "y_")):
                self._parameters[:, j] += batch.shift[:, "xy".index(name[0])]

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
        """Variance of the model of one image, by the covariance of its parameters."""
        part = slice(i, i + 1)
        return image_variance(
            self._fit.objective, self._parameters[part], self._fit.solution.amplitudes[part], self._covariance[part],
            formation,
        )[0]  # fmt: skip

    def values(self, i):
        """Parameters of one image and their errors."""
        p = self._parameters[i].tolist()
        spread = self._covariance[i].diagonal().clamp_min(0.0).sqrt().tolist()
        values, errors = {}, {}
        for name, value, error in zip(LENS + SOURCE + LIGHT, p, spread, strict=False):
            if name.startswith("log_"):
                name, value = name.removeprefix("log_"), math.exp(value)
                error *= value
            values[name], errors[name] = value, error
            if name == "theta_E":
                values["gamma"], errors["gamma"] = 2.0, 0.0
        values["amplitude"], errors["amplitude"] = float(self._fit.solution.amplitudes[i, 0]), spread[len(p)]
        return values, errors

    def verdict(self, i, values):
        """How good the fit of one image is."""
        fit, solution = self._fit, self._fit.solution
        found = misfit(
            fit.objective.data[i], solution.model[i], solution.arcs[i], fit.objective.weight[i], fit.temperature[i]
        )
        p = fit.parameters[i]
        at_bound = [
            name.removeprefix("log_")
            for j, name in enumerate((LENS + SOURCE)[: len(p)])
            if float(p[j] - fit.priors.lower[i, j]) < NEAR or float(fit.priors.upper[i, j] - p[j]) < NEAR
        ]
        rivals = [
            (float(mode[0].exp()), float(cost - fit.mode_costs[i, 0]))
            for mode, cost in zip(fit.modes[i][1:], fit.mode_costs[i][1:], strict=True)
        ]
        evidence = float(fit.evidence[i])
        flags = judge(
            values, arc_chi2=found.arc_chi2, missed=found.missed, evidence=evidence, at_bound=at_bound, rivals=rivals,
            magnification=self.magnification(values, solution.arcs[i]),
        )  # fmt: skip
        observation = self._batch.observation
        used = observation.weight[i] > 0
        normalised = (observation.data[i] - solution.model[i]) * observation.weight[i]
        dof = max(int(used.sum()) - fit.parameters.shape[1] - solution.amplitudes.shape[1], 1)
        return Verdict(float((normalised**2).sum()) / dof, evidence, tuple(flags))

    def history(self, i):
        """What was done to one image."""
        return [
            "model: singular isothermal ellipsoid, external shear, elliptical Sersic source"
            + (", lens light of Gaussians" if self._fit.objective.n_light else ", no lens light"),
            f"fit: batched Levenberg-Marquardt, supersampling {self.supersampling}, "
            f"chi-square divided by {float(self._fit.temperature[i]):.3g} for correlation and misfit",
        ]


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
    weighted = (columns * weight[:, None]).flatten(2).double()
    target = (observation.data * weight).flatten(1).double()
    gram, rhs = weighted @ weighted.transpose(1, 2), (weighted @ target[:, :, None])[:, :, 0]
    factors, _ = nonnegative_least_squares(gram, rhs, torch.tensor([False, False, True], device=gram.device))
    source, gaussians = amplitudes[:, :1] * factors[:, :1], amplitudes[:, 1:-1] * factors[:, 1:2]
    amplitudes = torch.cat([source, gaussians, factors[:, 2:]], dim=1)
    arcs, light, sky = (columns * factors[:, :, None, None].to(columns)).unbind(1)
    left = target - (factors[:, None] @ weighted)[:, 0]
    return Solution(amplitudes, left.square().sum(dim=1), arcs + light + sky, arcs, light)
