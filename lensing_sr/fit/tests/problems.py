# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Small scenes and their images, in double precision: lenses whose every unknown is known."""

import math

import torch

from lensing_sr.fit.joint import Problem
from lensing_sr.fit.refinement import _Model
from lensing_sr.fit.tests.conftest import TRUTH, gaussian_kernel
from lensing_sr.forward.formation import ImageFormation
from lensing_sr.forward.model import LENS, LIGHT, SOURCE, lens_light
from lensing_sr.forward.scene import Scene
from lensing_sr.lensing.potential_grid import PotentialGrid
from lensing_sr.light.gaussians import gaussian_widths
from lensing_sr.light.source_grid import SourceGrid

PIXEL, SIGMA = 0.1, 0.05
WIDTHS = gaussian_widths(0.5 * PIXEL, 1.5)
#: Prior mean and width of the smooth parameters: the truth is well within.
PRIOR_WIDTHS = (0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.5, 0.5, 0.8, 0.5, 0.2, 0.2)


def smooth_scene(*, light=False, **changes):
    """A smooth lens with a Sersic source, and the lens galaxy's light."""
    order = LENS + SOURCE + (LIGHT if light else ())
    p = torch.tensor([(TRUTH | {"log_n": math.log(0.8)} | changes)[name] for name in order], dtype=torch.float64)
    k = len(WIDTHS)
    amplitudes = torch.zeros(2 + 2 * k if light else 2, dtype=torch.float64)
    amplitudes[0], amplitudes[-1] = 12.0, 0.02
    if light:
        amplitudes[1 + k // 2], amplitudes[1 + k + k // 2] = 30.0, 20.0
    return Scene.of(p, amplitudes)


def full_scene(*, light=False):
    """The same with structure of the source, a potential correction and two point masses."""
    scene = smooth_scene(light=light)
    generator = torch.Generator().manual_seed(7)
    x, y = scene.p[7:9].tolist()
    return scene.with_changes(
        grid=SourceGrid((x, y), 0.15, 0.6, 11),
        structure=2.0 * torch.rand(11, 11, generator=generator, dtype=torch.float64),
        potential=PotentialGrid(scene.p[3:5].tolist(), 2.2, 9),
        q=0.004 * torch.randn(9, 9, generator=generator, dtype=torch.float64),
        perturbers=torch.tensor([[0.01, 1.233, 0.412], [0.004, -0.917, -0.871]], dtype=torch.float64),
    )


def formation(size=40, supersampling=1, oversampling=1, dtype=torch.float64):
    """Pixels behind a Gaussian PSF."""
    middle = ((size - 1) / 2, (size - 1) / 2)
    matrix = PIXEL * torch.eye(2, dtype=torch.float64)
    return ImageFormation(
        (size, size), matrix, middle, gaussian_kernel(oversampling), oversampling, supersampling, dtype=dtype
    )


def rendered(scene, optics):
    """The image of a scene: arcs, lens light and sky."""
    x, y = optics.positions
    image = optics.observe(scene.arcs(x, y)) + float(scene.amplitudes[-1])
    if len(scene.p) > len(LENS + SOURCE):
        columns = lens_light(scene.p[None].to(x), x, y, WIDTHS.to(x))[0]
        image = image + optics.observe(torch.einsum("k,kij->ij", scene.amplitudes[1:-1].to(x), columns))
    return image


def seen(scene, *, size=40, sigma=SIGMA, seed=0, noise=1.0, mask=None, light=False, dtype=torch.float64, **sampling):
    """The `Problem` of an image of a scene, with noise."""
    optics = formation(size, dtype=dtype, **sampling)
    generator = torch.Generator().manual_seed(seed)
    clean = rendered(scene, optics)
    data = clean + (noise * sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)).to(clean)
    weight = torch.full_like(data, 1.0 / sigma)
    if mask is not None:
        weight[mask] = 0.0
    return Problem(data, weight, optics, WIDTHS.to(data) if light else None)


def prior(scene):
    """Mean, precision, lower and upper bounds of the smooth parameters about a scene without lens light."""
    width = torch.tensor(PRIOR_WIDTHS, dtype=torch.float64)
    mean = scene.p + 0.1 * width
    return mean, width**-2, mean - 6 * width, mean + 6 * width


def lumpy_scene(clump=60.0):
    """A Sersic source with two clumps beside its centre, of `clump` times flux per arcsec^2."""
    scene = smooth_scene()
    x, y = scene.p[7:9].tolist()
    grid = SourceGrid((x, y), 0.15, 0.6, 21)
    u, v = grid.nodes()
    light = sum(
        torch.exp(-0.5 * ((u - x - a) ** 2 + (v - y - b) ** 2) / 0.04**2) for a, b in ((0.12, 0.08), (-0.1, 0.14))
    )
    return scene.with_changes(grid=grid, structure=clump * light)


def bent_scene(kappa=0.1, seed=0):
    """A smooth lens and what it lacks: a potential drawn for a convergence of this rms."""
    scene = smooth_scene()
    grid = PotentialGrid(scene.p[3:5].tolist(), 2.2, 15)
    noise = torch.randn(grid.size**2, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    root = torch.linalg.cholesky(grid.precision(kappa))
    q = torch.linalg.solve_triangular(root.T, noise, upper=True).view(grid.size, grid.size)
    return scene.with_changes(potential=grid, q=q)


def minimum(problem, scene=None):
    """The best smooth lens with a Sersic source."""
    model = _Model(problem, prior(smooth_scene()), "matern", PIXEL)
    model.begin([smooth_scene() if scene is None else scene], structured=False)
    for _ in range(4):
        model.descend(model.inversion.scene)
    return model.inversion.scene


def whole_response(problem, scene, grid):
    """`Problem.response` on all unmasked pixels, ``(size**2, pixels)``."""
    rows, lit = problem.response(scene, grid)
    whole = torch.zeros(len(rows), len(problem.target), dtype=rows.dtype)
    whole[:, lit] = rows
    return whole
