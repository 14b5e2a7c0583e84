# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""How well a refined model is known: draws from the joint distribution of all its unknowns.

Laplace's approximation at the best fit, the source's nodes that are dark held dark:

.. math:: \mathrm{precision} = \begin{pmatrix} R R^T + P & R D^T \\ D R^T & D D^T + Q \end{pmatrix}

with the weighted rows R of the linear unknowns and D of the others.
"""

import torch

from lensing_sr.fit.source_inversion import sersic_at_nodes
from lensing_sr.forward.model import lens_light, lens_light_jacobian, ray_jacobian, source_jacobian
from lensing_sr.forward.scene import by_mass
from lensing_sr.solvers.linear import RIDGE, scaled_cholesky

__all__ = ["Posterior"]

#: Draws; their scatter is known to 1 / sqrt(2 DRAWS).
DRAWS = 32


class Posterior:
    """Draws about the best fit of a `~lensing_sr.fit.refinement.Refinement`.

    Parameters
    ----------
    refinement : Refinement
        The best fit.
    seed : int
        Of the draws: the same numbers for every image.

    Attributes
    ----------
    covariance : torch.Tensor
        Of the scene's `vector`.
    errors : torch.Tensor
        Its standard deviations.
    amplitude_error : float
        Of the source's amplitude.
    """

    def __init__(self, refinement, seed=0):
        scene, inversion, problem = refinement.scene, refinement.inversion, refinement.problem
        derivatives = problem.derivatives(scene)
        inside, precision = inversion.inside, inversion.joint(derivatives, refinement.precision)
        # what the data leave open is as wide as rounding allows
        factor, scale = scaled_cholesky(precision, 100.0 * RIDGE)
        noise = torch.randn(len(scale), DRAWS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        drawn = torch.linalg.solve_triangular(factor.T, noise.to(scale.device), upper=True) * scale[:, None]
        bent = len(scene.vector())
        unit = torch.zeros(len(scale), bent + 1, dtype=torch.float64, device=scale.device)
        unit[len(inside) :, :bent] = torch.eye(bent, dtype=torch.float64, device=scale.device)
        unit[0, bent] = 1.0
        half = torch.linalg.solve_triangular(factor, unit, upper=False)
        half = half * torch.cat([scale[len(inside) :], scale[:1]])
        self.covariance = half[:, :bent].T @ half[:, :bent]
        self.errors = self.covariance.diagonal().sqrt()
        self.amplitude_error = float(half[:, bent].norm())
        linear = torch.zeros(len(inversion.passive), DRAWS, dtype=torch.float64, device=scale.device)
        linear[inside] = drawn[: len(inside)]
        self._scene, self._widths = scene, problem.widths
        self._vector = drawn[len(inside) :].T
        count = len(scene.amplitudes)
        self._amplitudes = linear[:count].T
        self._structure = None
        if scene.structure is not None:
            profile = sersic_at_nodes(scene, scene.grid)
            self._structure = (linear[count:] - profile[:, None] * linear[0]).T.view(DRAWS, *scene.structure.shape)

    def source_error(self, x, y):
        """Standard deviation of the source at source-plane positions ``(rows, columns)`` of the fit's frame."""
        unit = source_jacobian(self._scene.p[None].to(x), x, y)[0][0]
        total = torch.zeros_like(x)
        for amplitude, structure in zip(self._amplitudes[:, 0].tolist(), self._structure, strict=True):
            total += (unit * amplitude + self._scene.grid.evaluate(structure, x, y)).square()
        return (total / DRAWS).sqrt()

    def convergence_error(self, x, y):
        """Standard deviation of the correction's convergence at positions ``(rows, columns)`` of the fit's frame."""
        scene, first = self._scene, len(self._scene.p)
        drawn = self._vector[:, first : first + scene.q.numel()].view(DRAWS, *scene.q.shape)
        total = sum(scene.potential.convergence(q, x, y).square() for q in drawn)
        return (total / DRAWS).sqrt()

    def variance(self, formation, shift):
        """Variance of arcs and lens light on the pixels of `formation`, ``(rows, columns)``.

        Parameters
        ----------
        formation : lensing_sr.forward.formation.ImageFormation
            The pixels.
        shift : tuple of float
            Position of the fit's zero point in the frame of `formation`.
        """
        x, y = (c - float(s) for c, s in zip(formation.positions, shift, strict=True))
        scene, p = self._scene, self._scene.p[None].to(x)
        beta_x, beta_y, by_lens = ray_jacobian(p, x, y)
        more_x, more_y = scene.correction(x, y)
        beta_x, beta_y = beta_x[0] - more_x, beta_y[0] - more_y
        unit, slope_x, slope_y, by_source = scene.slopes(beta_x, beta_y)
        rows = [slope_x * u[0] + slope_y * v[0] for u, v in by_lens] + by_source
        smooth = len(scene.p)
        weights = [self._vector[:, :smooth]]
        if self._widths is not None:
            light = lens_light(p, x, y, self._widths)
            rows += list(lens_light_jacobian(p, x, y, self._widths, light, scene.amplitudes[None, 1:-1].to(x))[0])
            rows += list(light[0])
            weights.append(self._amplitudes[:, 1:-1])
        rows.append(unit)
        weights.append(self._amplitudes[:, :1])
        size = 0 if scene.q is None else scene.q.numel()
        for mass in scene.perturbers.tolist():
            rows += list(by_mass(mass, x, y, slope_x, slope_y))
        weights.append(self._vector[:, smooth + size :])
        rows, weights = torch.stack(rows), torch.cat(weights, dim=1).to(x)
        total = torch.zeros(formation.shape, dtype=x.dtype, device=x.device)
        for k in range(DRAWS):
            light = torch.einsum("k,kij->ij", weights[k], rows)
            if self._structure is not None:
                light = light + scene.grid.evaluate(self._structure[k], beta_x, beta_y)
            if scene.q is not None:
                q = self._vector[k, smooth : smooth + size].view_as(scene.q)
                alpha_x, alpha_y = scene.potential.deflection(q, x, y)
                light = light - slope_x * alpha_x - slope_y * alpha_y
            total += formation.observe(light[None])[0].square()
        return total / DRAWS
