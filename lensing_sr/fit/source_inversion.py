# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The source as it is: regularised linear inversion, its strength chosen by the evidence.

For given rays the image is linear in the source's coefficients t, the lens light and the sky.  Best are those that
minimise

.. math:: \left\| \frac{d - A c - F t}{\sigma} \right\|^2 + (t - a s)^T P\, (t - a s), \qquad t \ge 0,\ c \ge 0

with the Sersic profile s at the nodes, of amplitude a, as the mean of the prior: what the data do not ask for is not
there, and a source that is demagnified to the image itself is as unlikely as its light is far from the Sersic.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from lensing_sr.fit.regularisation import correlation, envelope
from lensing_sr.forward.model import source_light
from lensing_sr.light.source_grid import SourceGrid
from lensing_sr.solvers.linear import RIDGE, products, scaled_cholesky, solve_spd

__all__ = ["Inversion", "SourcePrior", "System", "choose_prior", "invert", "reduced", "source_region"]

#: Lengths of the correlation that are tried, in units of the grid's `width`, and strengths.
LENGTHS = (0.25, 0.5, 1.0, 2.0)
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
#: Nodes a side with which they are tried: they hardly depend on it.
COARSE = 20
#: Signal-to-noise of a pixel, averaged with its neighbours, above which its rays say where the source is.
BRIGHT = 1.0
#: What counts no more than this much, so that one bright knot does not decide alone.
SATURATED = 10.0
#: Rays this close to the lens, in Einstein radii, say nothing: what is left of the galaxy's light is there.
INSIDE = 0.4
#: Exchanges of columns between zero and free.
ROUNDS = 8


class SourcePrior(NamedTuple):
    """Prior of the coefficients of a source about its Sersic.

    Attributes
    ----------
    grid : SourceGrid
    kind : str
        Of the correlation.
    length : float
        Of the correlation in arcsec.
    strength : float
        Structure over the envelope.
    envelope : torch.Tensor
        Scatter at the nodes, without `strength`, ``(M,)``.
    precision : torch.Tensor
        P, ``(M, M)``.
    """

    grid: SourceGrid
    kind: str
    length: float
    strength: float
    envelope: torch.Tensor
    precision: torch.Tensor

    @classmethod
    def of(cls, grid, scene, kind, length, strength):
        """Make the prior for the Sersic of a scene."""
        scatter = _scatter(scene, grid)
        whole = strength * scatter
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(correlation(kind, grid, length).to(whole)))
        return cls(grid, kind, length, strength, scatter, inverse / (whole[:, None] * whole))

    def on(self, grid, scene):
        """The same prior on other nodes."""
        return SourcePrior.of(grid, scene, self.kind, self.length, self.strength)


@dataclass(frozen=True, eq=False)
class Inversion:
    """Linear unknowns of a scene, solved.

    Attributes
    ----------
    scene : Scene
        With the amplitudes and the structure found.
    residual : torch.Tensor
        Weighted, ``(pixels,)``.
    cost : float
        Chi-square plus the prior of the source.
    chi2 : float
    system : System
        Rows and normal matrix of the unknowns, those of the source's nodes after the amplitudes.
    passive : torch.Tensor
        Boolean, ``(L + M,)``: not at zero.
    """

    scene: object
    residual: torch.Tensor
    cost: float
    chi2: float
    system: "System"
    passive: torch.Tensor

    @property
    def inside(self):
        """Indices of the unknowns that are not at zero."""
        return self.passive.nonzero()[:, 0]

    @cached_property
    def gram(self):
        """Normal matrix of the unknowns that are not at zero, prior included."""
        return self.system.gram[self.inside][:, self.inside]

    @cached_property
    def rows(self):
        """Weighted rows of the unknowns that are not at zero, ``(k, pixels)`` float64."""
        return self.system.rows()[self.inside]

    def across(self, rows):
        """Products of those rows with others ``(m, pixels)``: ``(k, m)``."""
        return self.system.times(rows)[self.inside]

    def joint(self, rows, precision):
        """Normal matrix of those unknowns and of others whose rows and prior precision are given."""
        across = self.across(rows)
        return torch.cat(
            [torch.cat([self.gram, across], dim=1), torch.cat([across.T, products(rows) + precision], dim=1)]
        )


class System:
    """Weighted rows of amplitudes and of a source's coefficients, and their normal matrix with the prior.

    The rows of the coefficients are kept in single precision, and only where any of them is not zero: they are most of
    all numbers.

    Parameters
    ----------
    problem : lensing_sr.fit.joint.Problem
        The image.
    scene : Scene
        Its rays and its Sersic.
    prior : SourcePrior or None
        Of the structure; None without one.
    """

    def __init__(self, problem, scene, prior):
        self.linear, self.response = problem.linear(scene), None
        size = len(self.linear)
        if prior is None:
            self.gram = products(self.linear)
            return
        self.response, self.lit = response, _ = problem.response(scene, prior.grid)
        profile = sersic_at_nodes(scene, prior.grid)
        self.linear[0, self.lit] -= (profile.to(response) @ self.response).double()
        precision = prior.precision
        gram = torch.empty((size + len(response),) * 2, dtype=torch.float64, device=response.device)
        gram[:size, :size] = products(self.linear)
        gram[size:, :size] = self._times_lit(self.linear)
        gram[size:, size:] = products(self.response).double() + precision
        pull = precision @ profile
        gram[0, 0] += profile @ pull
        gram[size:, 0] -= pull
        gram[:size, size:] = gram[size:, :size].T
        self.gram = gram

    def __len__(self):
        return len(self.gram)

    def _times_lit(self, rows):
        return (self.response @ rows[:, self.lit].to(self.response).T).double()

    def times(self, rows):
        """Products of all rows with others ``(m, pixels)``: ``(L + M, m)``."""
        few = self.linear @ rows.T
        return few if self.response is None else torch.cat([few, self._times_lit(rows)])

    def image(self, solution):
        """Weighted image of a solution, ``(pixels,)``."""
        image = solution[: len(self.linear)] @ self.linear
        if self.response is not None:
            image[self.lit] += (solution[len(self.linear) :].to(self.response) @ self.response).double()
        return image

    def rows(self):
        """All rows, ``(L + M, pixels)`` float64."""
        if self.response is None:
            return self.linear
        whole = self.linear.new_zeros(len(self.response), self.linear.shape[1])
        whole[:, self.lit] = self.response.double()
        return torch.cat([self.linear, whole])


def sersic_at_nodes(scene, grid):
    """Unit Sersic of a scene at the nodes, ``(M,)``."""
    x, y = grid.nodes(device=scene.p.device)
    return source_light(scene.p[None], x, y)[0].flatten()


def _scatter(scene, grid):
    """Envelope of the structure at the nodes: the Sersic without its cusp, in flux per arcsec^2."""
    p = scene.p.clone()
    p[10] = p[10].clamp_max(0.0)  # n <= 1
    p[9] = p[9].clamp_min(math.log(grid.spacing))
    smooth = sersic_at_nodes(scene.with_changes(p=p), grid)
    return envelope(smooth) * scene.amplitudes[0].clamp_min(1e-30)


def source_region(problem, scene, pixel):
    """Where a source has to be looked for: a grid whose nodes lie where the rays of bright arcs land.

    Parameters
    ----------
    problem : lensing_sr.fit.joint.Problem
        The image.
    scene : Scene
        A first model of it.
    pixel : float
        Pixel size in arcsec.

    Returns
    -------
    SourceGrid
    """
    x, y = problem.centres
    beta_x, beta_y = (c.flatten()[problem.used].double() for c in problem.land(scene, x, y))
    linear = problem.linear(scene)
    seen = problem.target - scene.amplitudes[1:] @ linear[1:]  # all but the lens galaxy and the sky, in sigma
    whole = torch.zeros(problem.weight.numel(), dtype=seen.dtype, device=seen.device)
    whole[problem.used] = seen
    smooth = torch.nn.functional.avg_pool2d(whole.view(1, *problem.shape), 3, 1, 1).flatten()[problem.used]
    theta_E = float(scene.p[0].exp())
    outside = ((x - scene.p[3]) ** 2 + (y - scene.p[4]) ** 2).flatten()[problem.used] > (INSIDE * theta_E) ** 2
    share = torch.where((smooth > BRIGHT) & outside, smooth.clamp_max(SATURATED).square(), torch.zeros_like(seen))
    radius = ((beta_x - scene.p[7]) ** 2 + (beta_y - scene.p[8]) ** 2).sqrt()
    order = radius.argsort()
    share = share[order].cumsum(0)
    if not float(share[-1]) > 0:
        share = torch.linspace(0.0, 1.0, len(share), dtype=share.dtype, device=share.device)
    ranks = (int(torch.searchsorted(share, part * share[-1])) for part in (0.5, 0.9))
    half, most = (float(radius[order[rank]]) for rank in ranks)
    width = min(max(0.7 * half, pixel / 3.0), 0.3 * theta_E)
    reach = min(max(1.3 * most, 3.0 * width, 0.3 * theta_E), theta_E)
    return SourceGrid(scene.p[7:9].tolist(), width, reach, COARSE)


def invert(problem, scene, prior=None, *, nonnegative=True):
    """Solve for source, lens light and sky of a scene whose rays are given.

    Parameters
    ----------
    problem : lensing_sr.fit.joint.Problem
        The image.
    scene : Scene
        The rays and the Sersic.
    prior : SourcePrior, optional
        Of the structure; without it the source is the Sersic.
    nonnegative : bool
        Whether the source must be positive everywhere (amplitudes always are).

    Returns
    -------
    Inversion
    """
    grid = None if prior is None else prior.grid
    system, count = System(problem, scene, prior), len(scene.amplitudes)
    bound = torch.full((len(system),), nonnegative, device=system.gram.device)
    bound[: count - 1], bound[count - 1] = True, False
    solution, passive = _bounded(system.gram, system.times(problem.target[None])[:, 0], bound)
    residual = problem.target - system.image(solution)
    chi2 = float(residual @ residual)
    amplitudes, cost, structure = solution[:count], chi2, None
    if grid is not None:
        structure = solution[count:] - amplitudes[0] * sersic_at_nodes(scene, grid)
        cost += float(structure @ prior.precision @ structure)
        structure = structure.view(grid.size, grid.size)
    scene = scene.with_changes(amplitudes=amplitudes, grid=grid, structure=structure)
    return Inversion(scene, residual, cost, chi2, system, passive)


def _bounded(gram, rhs, bound):
    """Minimise a quadratic form with some unknowns not below zero; those that end there leave the system."""
    scale = gram.diagonal().clamp_min(1e-300).rsqrt()
    gram = gram * scale[:, None] * scale + RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    rhs = rhs * scale
    passive = torch.ones_like(bound)
    for turn in range(ROUNDS):
        inside = passive.nonzero()[:, 0]
        solution = torch.zeros_like(rhs)
        solution[inside] = solve_spd(gram[inside][:, inside][None], rhs[inside][None, :, None])[0, :, 0]
        tolerance = 1e-4 * solution.abs().amax()
        wrong = bound & passive & (solution < -tolerance)
        if turn < ROUNDS // 2:  # later, nothing comes back, so that the exchanges end
            wrong = wrong | (~passive & (gram @ solution - rhs < -tolerance))
        if not bool(wrong.any()):
            break
        passive = passive ^ wrong
    return torch.where(bound, solution.clamp_min(0.0), solution) * scale, passive


def choose_prior(problem, scene, precision, offset, grid, *, kind="matern"):
    """Length and strength of the structure that the data make most likely, and what it gains over the Sersic.

    The evidence is that of the model linearised about the scene, all its other unknowns integrated out.

    Parameters
    ----------
    problem : lensing_sr.fit.joint.Problem
        The image.
    scene : Scene
        Its best model without structure, amplitudes solved.
    precision : torch.Tensor
        Inverse prior covariance of the scene's `vector`.
    offset : torch.Tensor
        How far that is from the prior's mean.
    grid : SourceGrid
        The region.
    kind : str
        "matern", "gradient" or "curvature".

    Returns
    -------
    SourcePrior
        On a coarse grid.
    gain : float
        ln of the evidence over that of the Sersic alone.
    """
    grid = grid.with_size(COARSE)
    derivatives, linear = problem.derivatives(scene), problem.linear(scene)
    on = scene.amplitudes > 0
    on[-1] = True
    residual = problem.target - scene.amplitudes @ linear
    others = torch.cat([derivatives, linear[on]])
    held = torch.block_diag(precision, torch.zeros(int(on.sum()), int(on.sum())).to(precision))
    response, lit = problem.response(scene, grid)
    offset = torch.cat([offset, offset.new_zeros(int(on.sum()))])
    double = response.double()
    gram, pull = reduced(
        products(others) + held, others @ residual - held @ offset, others[:, lit] @ double.T,
        products(response).double(), double @ residual[lit],
    )  # fmt: skip
    scatter = _scatter(scene, grid)
    best = None
    for length in LENGTHS:
        root = scatter[:, None] * torch.linalg.cholesky(correlation(kind, grid, length * grid.width).to(scatter))
        values, vectors = torch.linalg.eigh(root.T @ gram @ root)
        along = vectors.T @ (root.T @ pull)
        for strength in STRENGTHS:
            grown = strength**2
            gain = 0.5 * float((grown * along**2 / (1.0 + grown * values) - (1.0 + grown * values).log()).sum())
            if best is None or gain > best[0]:
                best = gain, length * grid.width, strength
    gain, length, strength = best
    return SourcePrior.of(grid, scene, kind, length, strength), gain


def reduced(normal, slope, cross, gram, pull):
    """Normal matrix and right-hand side of some unknowns, others integrated out: Schur's complement.

    Parameters
    ----------
    normal, slope : torch.Tensor
        Of the others, ``(K, K)`` and ``(K,)``, priors included.
    cross : torch.Tensor
        Between the others and those in question, ``(K, M)``.
    gram, pull : torch.Tensor
        Of those in question, ``(M, M)`` and ``(M,)``.
    """
    factor, scale = scaled_cholesky(normal)
    cross = torch.linalg.solve_triangular(factor, cross * scale[:, None], upper=False)
    left = torch.linalg.solve_triangular(factor, (slope * scale)[:, None], upper=False)[:, 0]
    return gram - cross.T @ cross, pull - cross.T @ left
