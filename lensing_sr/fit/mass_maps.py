# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Maps of the mass that a smooth lens misses: its convergence, and how sure it is.

.. math:: \delta\kappa = \tfrac12\nabla^2\delta\psi + \sum_k \frac{\theta_{E,k}^2}{2 w^2}
          e^{-|\theta-\theta_k|^2/2w^2}

A point mass has no convergence but at one point: it is shown as a Gaussian of width w, whose mass,
:math:`\pi\theta_{E,k}^2` times the critical surface density, is its own.
"""

import math
from typing import NamedTuple

import torch

__all__ = ["MassMaps", "mass_maps", "point_masses"]


class MassMaps(NamedTuple):
    """Maps of what bends the light besides the smooth lens.

    Attributes
    ----------
    convergence : torch.Tensor
        Of the correction and the point masses together.
    significance : torch.Tensor
        In sigma: the convergence of the correction over its error, or the significance of a point mass (see
        `point_masses`) times a Gaussian of peak 1 about it, whichever is larger in size.
    """

    convergence: torch.Tensor
    significance: torch.Tensor


def mass_maps(scene, posterior, x, y, width):
    """Make `MassMaps` of a scene at any positions.

    Parameters
    ----------
    scene : lensing_sr.forward.scene.Scene
        The lens.
    posterior : lensing_sr.fit.posterior.Posterior
        How well it is known.
    x, y : torch.Tensor
        Positions in arcsec in the scene's frame, ``(rows, columns)``.
    width : float
        w, in arcsec.
    """
    x, y = x.double(), y.double()
    convergence, significance = torch.zeros_like(x), torch.zeros_like(x)
    if scene.q is not None:
        convergence = scene.potential.convergence(scene.q, x, y)
        error = posterior.convergence_error(x, y)
        known = error > 0
        significance[known] = convergence[known] / error[known]
    for (strength, at_x, at_y), sure in zip(scene.perturbers.tolist(), _significances(scene, posterior), strict=True):
        profile = torch.exp(-0.5 * ((x - at_x) ** 2 + (y - at_y) ** 2) / width**2)
        convergence = convergence + strength / (2.0 * width**2) * profile
        own = profile * sure
        significance = torch.where(own > significance.abs(), own, significance)
    return MassMaps(convergence, significance)


def point_masses(scene, posterior):
    """The point masses of a scene as dictionaries, the surest first.

    theta_E, x, y and theta_E_err, x_err, y_err in arcsec; significance: theta_E^2 over the error that it has at its
    place, as in the search.  (Where a ray passes close by, place and mass are known together, and each alone hardly.)
    """
    found = []
    errors = posterior.errors[_first(scene) :].view(-1, 3).tolist()
    sure = _significances(scene, posterior)
    for (strength, x, y), (error, x_err, y_err), significance in zip(
        scene.perturbers.tolist(), errors, sure, strict=True
    ):
        theta_E = math.sqrt(strength)
        found.append(
            {
                "theta_E": theta_E, "theta_E_err": 0.5 * error / theta_E, "x": x, "x_err": x_err, "y": y,
                "y_err": y_err, "significance": significance,
            }
        )  # fmt: skip
    return sorted(found, key=lambda mass: -mass["significance"])


def _first(scene):
    """Where the masses begin in the scene's vector."""
    return len(scene.vector()) - scene.perturbers.numel()


def _significances(scene, posterior):
    """theta_E^2 of each mass over its error at its place."""
    first, sure = _first(scene), []
    for k, strength in enumerate(scene.perturbers[:, 0].tolist()):
        own = slice(first + 3 * k, first + 3 * k + 3)
        sure.append(strength * math.sqrt(float(torch.linalg.inv(posterior.covariance[own, own])[0, 0])))
    return sure
