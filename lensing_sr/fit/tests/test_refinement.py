# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what is kept: structure and mass where they are, and neither where they are not."""

import pytest
import torch

from lensing_sr.fit.refinement import WORTH, Settings, refine
from lensing_sr.fit.source_inversion import sersic_at_nodes
from lensing_sr.fit.tests.problems import PIXEL, bent_scene, lumpy_scene, minimum, prior, rendered, seen, smooth_scene

SIZE = 44


def refined(truth, settings=Settings(), sigma=0.02, **options):
    problem = seen(truth, size=SIZE, sigma=sigma, **options)
    return refine(problem, [minimum(problem)], prior(smooth_scene()), PIXEL, PIXEL, settings)


@pytest.fixture(scope="module")
def lumpy():
    return refined(lumpy_scene())


@pytest.fixture(scope="module")
def bent():
    return refined(bent_scene(), Settings(source="sersic"))


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
    assert torch.equal(smooth.scene.p, minimum(smooth.problem).p)


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


def test_mass_that_a_smooth_lens_lacks_is_seen(bent):
    assert "potential" in bent.kept and bent.gains["potential"] > 50
    assert 0.85 < bent.inversion.chi2 / SIZE**2 < 1.1
    truth = bent_scene()
    ticks = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    near = truth.arcs(x, y).clamp_min(0)
    near = (near > 0.2 * near.max()).double()
    maps = (s.potential.convergence(s.q, x, y) for s in (bent.scene, truth))
    assert correlation(*maps, near) > 0.5


def test_the_deflection_is_better_than_that_of_a_smooth_lens(bent):
    """Where the arcs shine; a shift of all rays only shifts the source."""
    truth, smooth = bent_scene(), minimum(bent.problem)
    x, y = bent.problem.centres
    arcs = truth.arcs(x, y)
    on = arcs > 0.2 * arcs.max()
    errors = []
    for scene in (bent.scene, smooth):
        wrong = [(a - b)[on] for a, b in zip(scene.deflection(x, y), truth.deflection(x, y), strict=True)]
        errors.append(sum(float(w.var()) for w in wrong) ** 0.5)
    assert errors[0] < 0.8 * errors[1]


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


def test_the_sersic_may_fade_away():
    """Structure that takes all of the light over is expected where the first Sersic was, on the last grid too."""
    found = refined(lumpy_scene(), Settings(potential=False, kind="curvature"))
    profile = smooth_scene().source(*found.scene.grid.nodes()).flatten()
    bright = profile > 0.5 * profile.max()
    assert (found.prior.envelope[bright] > 0.2 * profile[bright]).all()


def test_the_most_likely_minimum_goes_on():
    wrong = smooth_scene(log_theta_E=smooth_scene().p[0].item() + 0.15, x_source=0.0)
    problem = seen(lumpy_scene(), size=SIZE, sigma=0.02)
    scene = minimum(problem)
    found = refine(problem, [wrong, scene], prior(smooth_scene()), PIXEL, PIXEL, Settings(potential=False))
    assert abs(float(found.scene.p[0] - scene.p[0])) < 0.03


def test_masked_pixels_do_not_matter():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[10:14, 30:36] = True
    settings = Settings(potential=False)
    one = refined(lumpy_scene(), settings, mask=mask)
    problem = one.problem
    data = torch.where(mask, 1e6, problem.image(problem.target))
    other = refine(
        type(problem)(data, problem.weight, problem.formation, None), [minimum(problem)], prior(smooth_scene()),
        PIXEL, PIXEL, settings,
    )  # fmt: skip
    torch.testing.assert_close(other.scene.p, one.scene.p)
    torch.testing.assert_close(other.scene.structure, one.scene.structure)


def test_leverage_is_what_the_model_takes_of_the_noise(bent, lumpy, smooth):
    """0 to 1 a pixel; a fit that takes the share h leaves between (1 - h)^2 and 1 - h of the power."""
    assert smooth.leverage is None
    for found in (bent, lumpy):
        assert found.leverage.shape == (SIZE, SIZE)
        assert found.leverage.min() >= -1e-9 and found.leverage.max() <= 1 + 1e-9
        share, left = float(found.leverage.mean()), found.inversion.chi2 / SIZE**2
        assert 0.01 < share < 0.5
        assert (1 - share) ** 2 - 0.1 < left < 1 - share + 0.1
