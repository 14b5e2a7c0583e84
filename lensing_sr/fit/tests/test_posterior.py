# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the posterior: the inverse of the whole precision, written down here once more without any shortcut."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lensing_sr.fit import posterior
from lensing_sr.fit.posterior import Posterior
from lensing_sr.fit.source_inversion import SourcePrior, invert
from lensing_sr.fit.tests.problems import PIXEL, formation, full_scene, prior, seen, whole_response
from lensing_sr.fit.tests.conftest import gaussian_kernel
from lensing_sr.forward.formation import ImageFormation

SIZE, NODES, DRAWS = 28, 8, 600


def refined(light=False):
    """A scene with everything, its source solved on few nodes, all of them lit."""
    truth = full_scene(light=light)
    expected = SourcePrior.of(truth.grid.with_size(NODES), truth, "matern", 0.15, 0.3)
    problem = seen(truth, size=SIZE, sigma=0.01, light=light)
    inversion = invert(problem, truth, expected, nonnegative=False)
    smooth = torch.ones(len(truth.p), dtype=torch.float64) * 100.0
    smooth[:13] = prior(truth.with_changes(p=truth.p[:13]))[1]
    precision = torch.block_diag(
        torch.diag(smooth), truth.potential.precision(0.03), 1e2 * torch.eye(6, dtype=torch.float64)
    )
    return SimpleNamespace(
        scene=inversion.scene, prior=expected, inversion=inversion, precision=precision, problem=problem
    )


@pytest.fixture(scope="module")
def refinement():
    return refined()


@pytest.fixture(scope="module")
def covariance(refinement):
    """Of amplitude, sky, structure and vector: curvature of chi-square and priors, inverted."""
    scene, problem = refinement.scene, refinement.problem
    rows = torch.cat([problem.linear(scene), whole_response(problem, scene, scene.grid), problem.derivatives(scene)])
    held = torch.block_diag(torch.zeros(2, 2).double(), refinement.prior.precision, refinement.precision)
    precision = rows @ rows.T + held
    scale = precision.diagonal().rsqrt()
    return torch.linalg.inv(precision * scale[:, None] * scale) * scale[:, None] * scale


@pytest.fixture(scope="module")
def many(refinement):
    """With draws enough to measure their covariance."""
    kept, posterior.DRAWS = posterior.DRAWS, DRAWS
    yield Posterior(refinement)
    posterior.DRAWS = kept


def test_errors_are_those_of_the_inverse(refinement, covariance):
    found = Posterior(refinement)
    errors = covariance.diagonal().sqrt()
    torch.testing.assert_close(found.errors, errors[2 + NODES**2 :], rtol=1e-2, atol=0)
    assert found.amplitude_error == pytest.approx(float(errors[0]), rel=1e-2)


def test_data_do_not_widen_the_prior(refinement):
    errors = Posterior(refinement).errors
    before = torch.linalg.inv(refinement.precision).diagonal().sqrt()
    assert (errors > 0).all() and (errors <= before * (1 + 1e-6)).all()
    assert errors[0] < 0.1 * before[0]  # of ln theta_E


def test_errors_do_not_depend_on_the_draws(refinement):
    one, other = Posterior(refinement, seed=0), Posterior(refinement, seed=1)
    torch.testing.assert_close(one.errors, other.errors, rtol=1e-12, atol=0)
    x, y = refinement.scene.grid.nodes()
    assert not torch.equal(one.source_error(x, y), other.source_error(x, y))
    torch.testing.assert_close(one.source_error(x, y), Posterior(refinement).source_error(x, y), rtol=1e-12, atol=0)


def test_the_source_errs_as_the_covariance_says(refinement, covariance, many):
    scene = refinement.scene
    x, y = scene.grid.with_size(11).nodes()
    index = torch.arange(x.numel()).view(x.shape)
    unit = scene.with_changes(structure=None, grid=None, amplitudes=torch.ones(2).double()).source(x, y)
    columns = scene.grid.taps(x, y).columns([(torch.ones_like(x), 0, 0)], index, x.numel())
    rows = torch.cat([unit.view(1, -1), columns])
    of = [0, *range(2, 2 + NODES**2)]
    expected = torch.einsum("ip,ij,jp->p", rows, covariance[of][:, of], rows).sqrt().view(x.shape)
    ratio = many.source_error(x, y) / expected
    assert abs(float(ratio.mean()) - 1) < 0.05 and float((ratio - 1).abs().max()) < 0.25


def test_the_image_errs_as_the_covariance_says(refinement, covariance, many):
    """Arcs by amplitude, structure and everything that bends rays; the sky is not part of them."""
    scene, problem = refinement.scene, refinement.problem
    rows = torch.cat([problem.linear(scene), whole_response(problem, scene, scene.grid), problem.derivatives(scene)])
    rows[1] = 0.0
    expected = torch.einsum("ip,ij,jp->p", rows, covariance, rows).view(SIZE, SIZE) * 0.01**2
    ratio = many.variance(problem.formation, (0.0, 0.0)) / expected
    assert abs(float(ratio.mean()) - 1) < 0.1 and float((ratio - 1).abs().max()) < 0.5


def test_variance_is_positive_with_lens_light_too():
    variance = Posterior(refined(light=True)).variance(formation(SIZE), (0.0, 0.0))
    assert variance.shape == (SIZE, SIZE) and torch.isfinite(variance).all() and (variance > 0).all()


def test_a_shifted_frame_has_the_same_variance(refinement):
    found, middle = Posterior(refinement), (SIZE - 1) / 2
    shifted = ImageFormation(
        (SIZE, SIZE), PIXEL * torch.eye(2, dtype=torch.float64), (middle - 0.3 / PIXEL, middle + 0.5 / PIXEL),
        gaussian_kernel(1), dtype=torch.float64,
    )  # fmt: skip
    # the fit's zero point lies at (0.3, -0.5) of that frame
    torch.testing.assert_close(
        found.variance(shifted, (0.3, -0.5)), found.variance(formation(SIZE), (0.0, 0.0)), rtol=1e-6, atol=0
    )


def test_dark_nodes_stay_dark(refinement):
    """What is held at zero does not scatter."""
    inversion = refinement.inversion
    passive = inversion.passive.clone()
    passive[2 + NODES : 2 + 2 * NODES] = False
    held = Posterior(SimpleNamespace(**{**vars(refinement), "inversion": replace(inversion, passive=passive)}))
    assert (held.errors <= Posterior(refinement).errors * (1 + 1e-6)).all()
