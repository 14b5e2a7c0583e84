# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the inversion: a quadratic form at its minimum, what was there comes back, and evidence is a likelihood."""

import pytest
import torch
from scipy.optimize import nnls

from lensing_sr.fit.regularisation import KINDS
from lensing_sr.fit.source_inversion import (
    SourcePrior,
    _bounded,
    choose_prior,
    invert,
    reduced,
    sersic_at_nodes,
    source_region,
)
from lensing_sr.fit.tests.problems import PIXEL, lumpy_scene, prior, rendered, seen, smooth_scene, whole_response
from lensing_sr.light.source_grid import SourceGrid

SIZE = 14


def structured(scene, strength=0.5, kind="matern", size=SIZE):
    grid = SourceGrid(scene.p[7:9].tolist(), 0.15, 0.6, size)
    return SourcePrior.of(grid, scene, kind, 0.15, strength)


def drawn(prior, seed):
    """Structure from a prior."""
    root = torch.linalg.cholesky(prior.precision)
    noise = torch.randn(len(root), 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.solve_triangular(root.T, noise, upper=True).view(prior.grid.size, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_precision_is_the_inverse_of_what_is_expected(kind):
    found = structured(smooth_scene(), kind=kind)
    assert torch.linalg.eigvalsh(found.precision)[0] > 0
    scatter = torch.linalg.inv(found.precision).diagonal().sqrt()
    torch.testing.assert_close(scatter, 0.5 * found.envelope, rtol=1e-3, atol=0)


def test_without_a_prior_the_source_is_the_sersic():
    scene = smooth_scene(light=True)
    found = invert(seen(scene, noise=0.0, light=True), scene)
    assert found.scene.structure is None
    torch.testing.assert_close(found.scene.amplitudes[0], scene.amplitudes[0], rtol=1e-6, atol=0)
    assert found.chi2 < 1e-6 and found.cost == found.chi2


def test_a_sersic_has_no_structure():
    scene = smooth_scene()
    found = invert(seen(scene, noise=0.0, size=48), scene, structured(scene)).scene
    # what the nodes cannot follow of the profile is taken out of it and put back: the truth costs nothing
    assert found.structure.abs().max() < 1e-3 * float(scene.amplitudes[0])
    torch.testing.assert_close(found.amplitudes, scene.amplitudes, rtol=1e-3, atol=1e-4)


def test_a_structure_drawn_from_the_prior_comes_back():
    """Without noise the minimum costs no more than the truth, and misses it by less than the prior allows."""
    scene = smooth_scene()
    expected = structured(scene)
    truth = drawn(expected, 0)
    problem = seen(scene.with_changes(grid=expected.grid, structure=truth), noise=0.0, sigma=0.02, size=48)
    found = invert(problem, scene, expected, nonnegative=False)
    energy = float(truth.flatten() @ expected.precision @ truth.flatten())
    assert found.cost <= energy * (1 + 1e-6)
    error = torch.cat([found.scene.amplitudes - scene.amplitudes, (found.scene.structure - truth).flatten()])
    error[2:] += (found.scene.amplitudes[0] - scene.amplitudes[0]) * sersic_at_nodes(scene, expected.grid)
    assert float(error @ found.gram @ error) < energy
    x, y = expected.grid.nodes()
    near = (x - scene.p[7]) ** 2 + (y - scene.p[8]) ** 2 < 0.2**2
    errors = found.scene.source(x, y) - scene.with_changes(grid=expected.grid, structure=truth).source(x, y)
    assert float(errors[near].square().mean() / truth[near].square().mean()) < 0.1


def test_it_is_the_minimum():
    """No step away from it, in any unknown, costs less."""
    scene = smooth_scene()
    problem, expected = seen(lumpy_scene()), structured(scene)
    found = invert(problem, scene, expected, nonnegative=False)
    t = found.scene.structure.flatten() + found.scene.amplitudes[0] * sersic_at_nodes(scene, expected.grid)
    gradient = found.gram @ torch.cat([found.scene.amplitudes, t]) - found.rows @ problem.target
    relative = gradient / (found.gram.diagonal().sqrt() * problem.target.norm())
    assert relative.abs().max() < 1e-6
    assert found.cost == pytest.approx(
        found.chi2 + float(found.scene.structure.flatten() @ expected.precision @ found.scene.structure.flatten())
    )


def test_its_residual_is_that_of_the_rendered_scene():
    scene = smooth_scene()
    problem = seen(lumpy_scene())
    found = invert(problem, scene, structured(scene))
    image = problem.rows(rendered(found.scene, problem.formation)[None])[0]
    torch.testing.assert_close(problem.target - image, found.residual, rtol=0, atol=1e-6)
    assert found.chi2 == pytest.approx(float(found.residual.square().sum()))


def test_the_source_is_nowhere_negative():
    scene = smooth_scene()
    problem = seen(scene.with_changes(amplitudes=scene.amplitudes * 0.05), seed=3)  # mostly noise
    for strength in (0.3, 3.0):
        found = invert(problem, scene, structured(scene, strength)).scene
        t = found.structure.flatten() + found.amplitudes[0] * sersic_at_nodes(scene, found.grid)
        assert t.min() > -1e-9 * t.abs().max() and found.amplitudes[0] >= 0


def test_bounded_solutions_are_nearly_the_best():
    """Against scipy's non-negative least squares: feasible, and within a hundredth of its gain."""
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(60, 40, generator=generator, dtype=torch.float64) + 0.5
        b = torch.randn(60, generator=generator, dtype=torch.float64) + 1.0
        best = nnls(a.numpy(), b.numpy())[1] ** 2
        found, passive = _bounded(a.T @ a, a.T @ b, torch.ones(40, dtype=torch.bool))
        assert (found >= 0).all() and (found[~passive] == 0).all()
        cost, none = float((a @ found - b).square().sum()), float(b.square().sum())
        assert best * (1 - 1e-6) <= cost < best + 0.01 * (none - best)


def test_unbounded_solutions_are_solutions():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(60, 20, generator=generator, dtype=torch.float64)
    b = torch.randn(60, generator=generator, dtype=torch.float64)
    found, passive = _bounded(a.T @ a, a.T @ b, torch.zeros(20, dtype=torch.bool))
    assert passive.all()
    torch.testing.assert_close(found, torch.linalg.lstsq(a, b[:, None]).solution[:, 0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_the_unit_of_flux_does_not_matter(factor):
    scene = smooth_scene()
    problem = seen(lumpy_scene())
    grown = scene.with_changes(amplitudes=factor * scene.amplitudes)
    other = type(problem)(factor * problem.image(problem.target), problem.weight / factor, problem.formation, None)
    one, two = invert(problem, scene, structured(scene)), invert(other, grown, structured(grown))
    torch.testing.assert_close(two.scene.structure, factor * one.scene.structure, rtol=1e-4, atol=factor * 1e-4)
    torch.testing.assert_close(two.scene.amplitudes, factor * one.scene.amplitudes, rtol=1e-4, atol=0)
    assert two.cost == pytest.approx(one.cost, rel=1e-6)


def test_reduced_is_the_likelihood_with_the_others_integrated_out():
    """Against the dense covariance of the pixels."""
    generator = torch.Generator().manual_seed(1)
    others, rows = (torch.randn(k, 50, generator=generator, dtype=torch.float64) for k in (6, 9))
    residual, offset = (torch.randn(k, generator=generator, dtype=torch.float64) for k in (50, 6))
    held = torch.diag(torch.rand(6, generator=generator, dtype=torch.float64) + 0.1)
    slope = others @ residual - held @ offset
    gram, pull = reduced(others @ others.T + held, slope, others @ rows.T, rows @ rows.T, rows @ residual)
    inverse = torch.linalg.inv(torch.eye(50, dtype=torch.float64) + others.T @ torch.linalg.inv(held) @ others)
    torch.testing.assert_close(gram, rows @ inverse @ rows.T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pull, rows @ inverse @ (residual + offset @ others), rtol=1e-6, atol=1e-6)


def test_the_gain_is_that_of_the_likelihood(monkeypatch):
    """ln of the Gaussian likelihood of the image with structure over that without, by dense covariances."""
    monkeypatch.setattr("lensing_sr.fit.source_inversion.COARSE", 8)
    scene = smooth_scene()
    problem = seen(lumpy_scene(), size=24)
    scene = invert(problem, scene).scene
    mean, precision, _, _ = prior(scene)
    grid = SourceGrid(scene.p[7:9].tolist(), 0.2, 0.6, 8)
    found, gain = choose_prior(problem, scene, torch.diag(precision), scene.p - mean, grid)
    derivatives, linear = problem.derivatives(scene), problem.linear(scene)
    residual = problem.target - scene.amplitudes @ linear + (scene.p - mean) @ derivatives
    wide = linear.square().sum(dim=1).rsqrt() * 1e4  # the amplitudes are free
    covariance = torch.eye(len(residual), dtype=torch.float64) + derivatives.T @ (derivatives / precision[:, None])
    covariance = covariance + (linear.T * wide**2) @ linear
    response = whole_response(problem, scene, found.grid)
    with_structure = covariance + response.T @ torch.linalg.inv(found.precision) @ response

    def likelihood(covariance):
        return torch.distributions.MultivariateNormal(torch.zeros_like(residual), covariance).log_prob(residual)

    assert gain == pytest.approx(float(likelihood(with_structure) - likelihood(covariance)), rel=1e-3, abs=0.05)


def test_lumps_are_evident_and_their_absence_is_too():
    gains = []
    for truth in (smooth_scene(), lumpy_scene()):
        problem = seen(truth, size=48, sigma=0.02)
        scene = invert(problem, smooth_scene()).scene
        mean, precision, _, _ = prior(scene)
        grid = source_region(problem, scene, PIXEL)
        gains.append(choose_prior(problem, scene, torch.diag(precision), scene.p - mean, grid)[1])
    assert gains[0] < 5.0 and gains[1] > 100.0


def test_the_region_holds_the_source():
    scene = smooth_scene()
    grid = source_region(seen(scene, size=48), scene, PIXEL)
    assert grid.centre == tuple(scene.p[7:9].tolist())
    assert PIXEL / 3 <= grid.width <= grid.reach <= float(scene.p[0].exp())
    assert 0.2 < grid.reach  # the half-light radius


def test_an_image_of_nothing_has_a_region_too():
    scene = smooth_scene()
    problem = seen(scene.with_changes(amplitudes=0 * scene.amplitudes), noise=0.0)
    grid = source_region(problem, scene, PIXEL)
    assert 0 < grid.width <= grid.reach <= float(scene.p[0].exp())


def test_the_prior_on_other_nodes_is_the_same_prior():
    one = structured(smooth_scene())
    other = one.on(one.grid.with_size(20), smooth_scene())
    assert (other.kind, other.length, other.strength) == (one.kind, one.length, one.strength)
    assert other.envelope.max() == pytest.approx(float(one.envelope.max()), rel=0.2)
