# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images explained by one look of the lens estimator: the method "network" with "lens-estimator"."""

import math

import torch

from lensing_sr._fitted import Fitted
from lensing_sr.fit.estimate import estimate_lenses

__all__ = ["Estimated"]

#: By what the network's errors are widened or narrowed: calibrated as those of the fit (`lensing_sr._fitted.WIDER`), on
#: the same lenses.
WIDER = {
    "theta_E": (0.98, 0.0), "e1": (0.77, 0.0), "e2": (0.77, 0.0), "gamma1": (0.95, 0.0), "gamma2": (0.95, 0.0),
    "x_source": (0.96, 0.0), "y_source": (0.96, 0.0), "r_eff": (1.15, 0.0),
}  # fmt: skip
#: As `lensing_sr.quality.ODDS` and `DOUBT`, without a fit (``python -m benchmarks.calibration``).
ODDS = {
    "offset": 0.10, "seen": 1.66, "behind": 1.50, "evidence": 0.23, "arc_chi2": -0.23, "shear": 0.09, "size": -0.05,
}  # fmt: skip
DOUBT = {
    "offset": -1.61, "seen": -0.67, "behind": -0.47, "evidence": -0.29, "arc_chi2": -0.51, "apart": 0.67,
    "unlikely": -0.85, "others": 0.92, "shear": 0.51, "size": 0.05,
}  # fmt: skip
#: A look does not meet bright arcs to the noise, nor need it to be right: a poor one misses half of their power.
TOLERATED = math.inf, 0.5


class Estimated(Fitted):
    """Lens, source and lens light as a network estimates them; nothing is fitted but fluxes.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    network : lensing_sr.networks.lens_estimator.LensEstimator
        In `eval` mode, on the device of the batch.
    lens_light : bool
        Whether to model the lens galaxy's light.
    supersampling : "auto" or int
        As in `LensingSuperResolver`.
    """

    _wider, _odds, _doubt, _tolerated = WIDER, ODDS, DOUBT, TOLERATED

    def variance(self, i, formation):
        """None: a look may be far off, and what is restored from its residual says by how much."""
        return torch.zeros(formation.shape, dtype=formation.x.dtype, device=formation.x.device)

    def _found(self, observation, *, arc_radius, **optics):  # the network has seen the arcs itself
        fit, self._scatter = estimate_lenses(self._network, observation, **optics)
        return fit

    def _errors(self, images):
        """Covariance: that of the network for the parameters; amplitudes as these say, and nothing more."""
        objective, p = self._fit.objective, self._fit.parameters
        columns, n = self._fit.solution.amplitudes.shape[1], p.shape[1]
        covariance = torch.zeros(len(p), n + columns, n + columns, dtype=p.dtype, device=p.device)
        covariance[:, :n, :n] = self._scatter
        state = objective.linear_state(p, images)
        inside = state.passive.to(p)
        inverse = torch.linalg.inv(state.active_gram())
        covariance[:, n:, n:] = inverse * inside[:, :, None] * inside[:, None, :]
        return covariance

    def history(self, i):
        """What was done to one image."""
        return [
            "model: isothermal ellipsoid, external shear, elliptical Sersic source"
            + (", lens light of Gaussians" if self._fit.objective.n_light else ", no lens light"),
            "parameters: the likeliest of what the network holds possible, nothing fitted but fluxes; errors: scatter "
            "of what the network holds possible",
        ]
