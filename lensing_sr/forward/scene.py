# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""One lens with all that a fit may find in it: a smooth lens, its corrections, and a source of any shape.

.. math:: \beta = \theta - \alpha_\mathrm{smooth} - \nabla\delta\psi - \sum_k \theta_k^2\,\frac{\theta - \theta_k}
          {|\theta - \theta_k|^2}, \qquad S(\beta) = a\,S_\mathrm{Sersic}(\beta) + \delta S(\beta)
"""

import math
from dataclasses import dataclass, replace

import torch

from lensing_sr.forward.model import LENS, LIGHT, SOURCE, deflection, source_jacobian, source_light
from lensing_sr.lensing.potential_grid import PotentialGrid
from lensing_sr.light.source_grid import SourceGrid

__all__ = ["SOFTENING", "Scene", "by_mass", "mean_radial_correction"]

#: Places on the circle of the Einstein radius.
DIRECTIONS = 180
#: Distance in arcsec within which a point mass no longer deflects more.
SOFTENING = 1e-3


@dataclass(frozen=True, eq=False)
class Scene:
    """A lens and its source in one frame; all tensors are float64.

    Attributes
    ----------
    p : torch.Tensor
        Smooth lens, Sersic source (and lens light), ``(n,)``, ordered as `LENS` + `SOURCE` (+ `LIGHT`).
    amplitudes : torch.Tensor
        Of the Sersic source, of the Gaussians of the lens light, and of the sky, ``(L,)``.
    grid : SourceGrid or None
        Nodes of the structure of the source.
    structure : torch.Tensor or None
        Its coefficients, added to the Sersic, flux per arcsec^2, ``(size, size)``.
    potential : PotentialGrid or None
        Nodes of the correction of the potential.
    q : torch.Tensor or None
        Its coefficients in arcsec^2, ``(size, size)``.
    perturbers : torch.Tensor
        Point masses: theta_E^2 in arcsec^2, x, y in arcsec, ``(K, 3)``.
    """

    p: torch.Tensor
    amplitudes: torch.Tensor
    perturbers: torch.Tensor
    grid: SourceGrid | None = None
    structure: torch.Tensor | None = None
    potential: PotentialGrid | None = None
    q: torch.Tensor | None = None

    @classmethod
    def of(cls, p, amplitudes):
        """A smooth lens with a Sersic source."""
        return cls(p.double(), amplitudes.double(), p.new_zeros(0, 3, dtype=torch.float64))

    def with_changes(self, **changes):
        """A copy in which some attributes are others."""
        return replace(self, **changes)

    def shifted(self, dx, dy):
        """The same scene in a frame whose zero point lies at (-dx, -dy)."""
        p, perturbers = self.p.clone(), self.perturbers.clone()
        for j, name in enumerate((LENS + SOURCE + LIGHT)[: len(p)]):
            if name.startswith(("x_", "y_")):
                p[j] += dx if name[0] == "x" else dy
        perturbers[:, 1] += dx
        perturbers[:, 2] += dy
        return replace(
            self, p=p, perturbers=perturbers,
            grid=None if self.grid is None else self.grid.shifted(dx, dy),
            potential=None if self.potential is None else self.potential.shifted(dx, dy),
        )  # fmt: skip

    # The nonlinear parameters as one vector: p, q and the perturbers --------------------------------------------------

    def vector(self):
        """All parameters that bend rays or shape the light, ``(n + size^2 + 3 K,)``."""
        q = self.p.new_zeros(0) if self.q is None else self.q.flatten()
        return torch.cat([self.p, q, self.perturbers.flatten()])

    def moved(self, vector):
        """The scene with another `vector`."""
        n, m = len(self.p), 0 if self.q is None else self.q.numel()
        q = None if self.q is None else vector[n : n + m].view_as(self.q)
        return replace(self, p=vector[:n], q=q, perturbers=vector[n + m :].view(-1, 3))

    # Rays and light ---------------------------------------------------------------------------------------------------

    def correction(self, x, y):
        """Deflection by what the smooth lens misses, (alpha_x, alpha_y) in arcsec at positions ``(rows, columns)``."""
        alpha_x, alpha_y = torch.zeros_like(x), torch.zeros_like(y)
        if self.q is not None:
            alpha_x, alpha_y = self.potential.deflection(self.q, x, y)
        for strength, x_k, y_k in self.perturbers.tolist():
            u, v = x - x_k, y - y_k
            factor = strength / (u * u + v * v + SOFTENING**2)
            alpha_x, alpha_y = alpha_x + factor * u, alpha_y + factor * v
        return alpha_x, alpha_y

    def deflection(self, x, y):
        """Whole deflection, (alpha_x, alpha_y) in arcsec at positions ``(rows, columns)``."""
        smooth_x, smooth_y = deflection(self.p[None].to(x), x, y)
        more_x, more_y = self.correction(x, y)
        return smooth_x[0] + more_x, smooth_y[0] + more_y

    def source(self, beta_x, beta_y):
        """Surface brightness of the source at source-plane positions ``(rows, columns)``, flux per arcsec^2."""
        light = source_light(self.p[None].to(beta_x), beta_x, beta_y)[0] * float(self.amplitudes[0])
        if self.structure is None:
            return light
        return light + self.grid.evaluate(self.structure, beta_x, beta_y)

    def slopes(self, beta_x, beta_y):
        """The unit Sersic, the slope of the whole source, and its derivatives by the `SOURCE` parameters.

        Parameters
        ----------
        beta_x, beta_y : torch.Tensor
            Source-plane positions in arcsec, ``(rows, columns)``.

        Returns
        -------
        unit : torch.Tensor
            Sersic of amplitude 1.
        slope_x, slope_y : torch.Tensor
            Derivatives of the source, structure included, flux per arcsec^3.
        derivatives : list of torch.Tensor
            Six, flux per arcsec^2.
        """
        unit, slope_x, slope_y, own = source_jacobian(self.p[None].to(beta_x), beta_x, beta_y)
        amplitude = self.amplitudes[0].to(beta_x)
        slope_x, slope_y = slope_x[0] * amplitude, slope_y[0] * amplitude
        if self.structure is not None:
            more_x, more_y = self.grid.gradient(self.structure, beta_x, beta_y)
            slope_x, slope_y = slope_x + more_x, slope_y + more_y
        return unit[0], slope_x, slope_y, [amplitude * derivative[0] for derivative in own]

    def arcs(self, x, y):
        """Surface brightness of the lensed source at positions of any shape."""
        shape = x.shape
        x, y = (c.reshape(-1, shape[-1]) for c in (x, y))
        alpha_x, alpha_y = self.deflection(x, y)
        return self.source(x - alpha_x, y - alpha_y).view(shape)


def by_mass(mass, x, y, slope_x, slope_y):
    """Derivatives of the lensed light by theta_E^2, x and y of a point mass.

    Parameters
    ----------
    mass : sequence of float
        theta_E^2 in arcsec^2, x and y in arcsec.
    x, y : torch.Tensor
        Positions in arcsec.
    slope_x, slope_y : torch.Tensor
        Slope of the source where their rays land.

    Yields
    ------
    torch.Tensor
        Three, shaped as the positions.
    """
    strength, x_k, y_k = mass
    u, v = x - x_k, y - y_k
    r2 = u * u + v * v + SOFTENING**2
    along = (slope_x * u + slope_y * v) / r2
    yield -along
    yield strength * (slope_x - 2.0 * along * u) / r2
    yield strength * (slope_y - 2.0 * along * v) / r2


def mean_radial_correction(scene):
    r"""How much the corrections of a lens add to its Einstein radius, in arcsec.

    The mean convergence within a circle is the mean radial deflection on it over its radius, so that
    :math:`\bar\kappa(\theta_E + \delta) = 1` for :math:`\delta = \langle \delta\alpha_r \rangle` of an isothermal lens.
    """
    radius = scene.p[0].exp()
    angle = torch.arange(DIRECTIONS, dtype=torch.float64, device=radius.device) * (2.0 * math.pi / DIRECTIONS)
    x, y = angle.cos(), angle.sin()
    alpha_x, alpha_y = scene.correction((scene.p[3] + radius * x)[None], (scene.p[4] + radius * y)[None])
    return float((alpha_x[0] * x + alpha_y[0] * y).mean())
