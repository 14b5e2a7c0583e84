# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what is kept: structure and mass where they are, and neither where they are not."""

import pytest
import torch

from lensing_sr.fit.refinement import WORTH, Settings, refine
from lensing_sr.fit.source_inversion import sersic_at_nodes
from lensing_sr.fit.tests.problems import PIXEL, bent_scene, lumpy_scene, prior, rendered, seen, smooth_scene

SIZE = 44


def refined(truth, settings=Settings(), sigma=0.02, minima=(), **options):
    scene = smooth_scene()
    problem = seen(truth, size=SIZE, sigma=sigma, **options)
    return refine(problem, [scene, *minima], prior(scene), PIXEL, PIXEL, settings)


@pytest.fixture(scope="module")
def lumpy():
    return refined(lumpy_scene())


@pytest.fixture(scope="module")
def bent():
    return refined(bent_scene(), sigma=0.01)


@pytest.fixture(scope="module")
def smooth():
    return refined(smooth_scene())


def correlation(a, b, weight):
    a, b = (c - (c * weight).sum() / weight.sum() for c in (a, b))
    return float((weight * a * b).sum() / ((weight * a * a).sum() * (weight * b * b).sum()).sqrt())


def test_a_smooth_lens_stays_smooth(smooth):
    assert smooth.kept == () and smooth.prior is None
    assert set(smooth.gains) >= {"pixel source", "potential"}
    assert all(gain < WORTH for gain in smooth.gains.values())
    assert smooth.scene.structure is None and smooth.scene.q is None and len(smooth.scene.perturbers) == 0
    assert torch.equal(smooth.scene.p, smooth_scene().p)


def test_a_lumpy_source_is_seen(lumpy):
    assert "pixel source" in lumpy.kept and lumpy.gains["pixel source"] > 100
    assert 0.85 < lumpy.inversion.chi2 / SIZE**2 < 1.05
    truth = lumpy_scene()
    x, y = truth.grid.with_size(40).nodes()
    near = (torch.hypot(x - truth.p[7], y - truth.p[8]) < 0.4).double()
    assert correlation(lumpy.scene.source(x, y), truth.source(x, y), near) > 0.9
    sersic = smooth_scene().source(x, y)
    assert correlation(sersic, truth.source(x, y), near) < 0.85


def test_the_source_is_nowhere_negative(lumpy):
    scene = lumpy.scene
    nodes = scene.structure.flatten() + scene.amplitudes[0] * sersic_at_nodes(scene, scene.grid)
    assert nodes.min() >= -1e-9 * nodes.max()


def test_a_lumpy_source_does_not_move_the_lens(lumpy):
    truth = smooth_scene().p
    torch.testing.assert_close(lumpy.scene.p[:7], truth[:7], rtol=0, atol=0.03)


def test_a_clump_of_mass_is_seen(bent):
    assert "potential" in bent.kept and bent.gains["potential"] > 50
    assert 0.85 < bent.inversion.chi2 / SIZE**2 < 1.1
    truth = bent_scene()
    ticks = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    near = truth.arcs(x, y).clamp_min(0)
    near = (near > 0.2 * near.max()).double()
    maps = (s.potential.convergence(s.q, x, y) for s in (bent.scene, truth))
    assert correlation(*maps, near) > 0.5


def test_its_inversion_is_of_its_scene(bent, lumpy):
    for found in (bent, lumpy):
        image = found.problem.rows(rendered(found.scene, found.problem.formation)[None])[0]
        torch.testing.assert_close(found.problem.target - image, found.inversion.residual, rtol=0, atol=1e-5)


def test_precision_fits_the_vector(bent, lumpy, smooth):
    for found in (bent, lumpy, smooth):
        assert found.precision.shape == (len(found.scene.vector()),) * 2
        torch.testing.assert_close(found.precision, found.precision.T)


def test_pixel_is_always():
    found = refined(smooth_scene(), Settings(source="pixel", potential=False))
    assert found.kept == ("pixel source",) and found.scene.structure is not None
    assert found.scene.structure.abs().max() < 0.3 * float(found.scene.amplitudes[0])


def test_what_is_not_allowed_is_not_tried():
    found = refined(lumpy_scene(), Settings(source="sersic", potential=False))
    assert found.kept == () and found.gains == {}
    found = refined(bent_scene(), Settings(potential=False))
    assert "potential" not in found.gains and "perturbers" not in found.gains and found.scene.q is None


@pytest.mark.parametrize("kind", ["gradient", "curvature"])
def test_any_regularisation_finds_the_lumps(kind, lumpy):
    found = refined(lumpy_scene(), Settings(potential=False, kind=kind))
    assert found.kept == ("pixel source",) and found.prior.kind == kind
    assert found.inversion.chi2 < 1.1 * lumpy.inversion.chi2


def test_the_most_likely_minimum_goes_on():
    wrong = smooth_scene(log_theta_E=smooth_scene().p[0].item() + 0.15, x_source=0.0)
    scene = smooth_scene()
    problem = seen(lumpy_scene(), size=SIZE, sigma=0.02)
    found = refine(problem, [wrong, scene], prior(scene), PIXEL, PIXEL, Settings(potential=False))
    assert abs(float(found.scene.p[0] - scene.p[0])) < 0.03


def test_masked_pixels_do_not_matter():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[10:14, 30:36] = True
    settings = Settings(potential=False)
    one = refined(lumpy_scene(), settings, mask=mask)
    problem = one.problem
    data = torch.where(mask, 1e6, problem.image(problem.target))
    other = refine(
        type(problem)(data, problem.weight, problem.formation, None), [smooth_scene()], prior(smooth_scene()),
        PIXEL, PIXEL, settings,
    )  # fmt: skip
    torch.testing.assert_close(other.scene.p, one.scene.p)
    torch.testing.assert_close(other.scene.structure, one.scene.structure)
