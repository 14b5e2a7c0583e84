# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the Sersic fit: its profile is the public one, it finds the truth, and it knows how it depends on alpha."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from lensing_sr.light.sersic import sersic_brightness
from lensing_sr.losses import Deflection, Observed, Reconstruction
from lensing_sr.losses.sersic_fit import sersic_light, sersic_light_jacobian
from lensing_sr.losses.tests.scenes import BRIGHTNESS, SOURCE, directions, reference, scaled, scene, slopes

TIGHT = {"tolerance": 1e-12, "iterations": 60}


def _parameters(seed, batch=2):
    p = torch.as_tensor(np.random.default_rng(seed).normal(size=(batch, 6)) * 0.2)
    p[:, 2] -= 1.0
    return p


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_light_is_the_public_profile(seed):
    p = _parameters(seed)
    x, y = torch.as_tensor(np.random.default_rng(seed + 1).normal(size=(2, 2, 5, 7)))
    x0, y0, log_r, log_n, e1, e2 = (c[:, None, None] for c in p.unbind(1))
    expected = sersic_brightness(x, y, torch.ones_like(x0), log_r.exp(), log_n.exp(), e1, e2, x0, y0)
    torch.testing.assert_close(sersic_light(x, y, p), expected, rtol=1e-4, atol=0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_derivatives_are_autograds(seed):
    p = _parameters(seed)
    x, y = torch.as_tensor(np.random.default_rng(seed + 1).normal(size=(2, 2, 1, 40)) * 0.5)
    columns = sersic_light_jacobian(x, y, p)
    torch.testing.assert_close(columns[:, 0], sersic_light(x, y, p), rtol=1e-12, atol=0)
    rows = torch.func.jacrev(lambda q: sersic_light(x, y, q))(p)
    expected = torch.stack([rows[i, 0, :, i].T for i in range(2)])
    size = expected.abs().amax(2, keepdim=True).clamp_min(1e-6)
    torch.testing.assert_close(columns[:, 1:, 0] / size, expected / size, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_at_the_centre_and_far_away(dtype):
    far = torch.tensor([0.0, 1e-30, 1e-6, 1.0, 1e4, 1e15], dtype=dtype)
    for n in (0.3, 1.0, 6.0):
        p = torch.tensor([[0.0, 0.0, -4.0, np.log(n), 0.6, -0.6]], dtype=dtype)
        x = far[None, None].clone().requires_grad_()
        columns = sersic_light_jacobian(x, 0.5 * x, p)
        assert torch.isfinite(columns).all()
        assert torch.isfinite(torch.autograd.grad(columns.sum(), x)[0]).all()
        q = p.clone().requires_grad_()
        for value in torch.autograd.grad(sersic_light(x, 0.5 * x, q).sum(), (x, q)):
            assert torch.isfinite(value).all()


def test_fit_finds_the_source_exactly():
    observed, alpha = scene()
    found = Reconstruction(observed, alpha, **TIGHT).fit()
    for name in ("x", "y", "r_eff", "n", "e1", "e2"):
        wanted = SOURCE.get(name, SOURCE.get(f"{name}_source"))
        # what is left is the interpolation of alpha from the fine to the detector's grid
        assert abs(float(getattr(found, name)) - wanted) < 1e-3, name
    assert abs(float(found.amplitude) / BRIGHTNESS - 1) < 1e-2


@pytest.mark.parametrize("model", [1, 2, 3])
@pytest.mark.parametrize("faithful", [True, False])
def test_fit_finds_the_sources_of_the_reference_simulations(model, faithful):
    observed, alpha, truth = reference(model, 4, torch.float32, faithful, noisy=False)
    reconstruction = Reconstruction(observed, alpha)
    found = reconstruction.fit()
    assert reconstruction.converged.all()
    assert (found.x - truth["src_x"]).abs().max() < 1e-3
    assert (found.y - truth["src_y"]).abs().max() < 1e-3
    for value, wanted in ((found.r_eff, 0.2509), (found.n, 1.0), (found.e1 - 1, -1.1), (found.e2 + 1, 1.1)):
        assert (value / wanted - 1).abs().max() < 0.02


def test_noise_moves_the_fit_by_no_more_than_its_error():
    observed, alpha, truth = reference(2, 8)
    reconstruction = Reconstruction(observed, alpha)
    found, curvature = reconstruction.fit(), reconstruction._minimum().curvature
    wanted = torch.tensor([0.0, 0.0, np.log(0.2509), 0.0, -0.1, 0.1]).double().expand(8, 6).clone()
    wanted[:, 0], wanted[:, 1] = truth["src_x"], truth["src_y"]
    off = found.parameters - wanted
    chi2 = torch.einsum("bi,bij,bj->b", off, curvature, off)
    assert 1.0 < float(chi2.mean()) < 13.0  # 6 expected
    assert float(chi2.max()) < 30.0


def _by_scipy(reconstruction, start):
    """The same minimum by another code: residuals only, numerical derivatives."""
    problem, image, weight = reconstruction._problem(), reconstruction.flux, reconstruction.weight
    mean, precision = problem.prior

    def residuals(p):
        q = torch.as_tensor(p)[None]
        model = problem.formation.observe(sersic_light(*problem.beta, q))
        left = (image - problem.amplitude(model)[:, None, None] * model) * weight
        return torch.cat([left.flatten(), ((q - mean) * precision.sqrt()).flatten()]).numpy()

    return least_squares(residuals, start, jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-15).x


@pytest.mark.parametrize("wrong", [1.0, 0.9, 1.1])
def test_parameters_know_how_they_depend_on_alpha(wrong):
    """The implicit derivative against fits again and again by scipy, right and 10 % wrong deflections alike."""
    observed, alpha = scene((28, 32), 0.1, noise=0.03, seed=1)
    alpha = scaled(alpha, wrong)
    direction, step = directions(alpha, 1, seed=4)[0], 1e-3

    def moved(t):
        return Deflection(*(a + t * d for a, d in zip(alpha, direction, strict=True)))

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    reconstruction = Reconstruction(observed, moved(t), **TIGHT)
    fitted = reconstruction.fit().parameters[0]
    found = torch.stack([torch.autograd.grad(value, t, retain_graph=True)[0] for value in fitted])
    best = _by_scipy(reconstruction, fitted.detach().numpy())
    np.testing.assert_allclose(fitted.detach().numpy(), best, rtol=0, atol=1e-5)
    ends = []
    for sign in (1, -1):
        other = Reconstruction(observed, moved(sign * step))
        other.fit()
        ends.append(_by_scipy(other, best))
    expected = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("centres", [True, False])
def test_relensed_image_knows_how_it_depends_on_alpha(centres):
    observed, alpha = scene((24, 28), 0.12, noise=0.05, seed=2, pixel_centres=centres)
    weight = torch.randn(1, 48, 56, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for direction in directions(alpha, 3):
        found, expected = slopes(
            lambda r: (weight * r.relensed(2)).sum(), observed, scaled(alpha, 0.95), direction, 1e-4, **TIGHT
        )
        assert abs(found - expected) < 5e-3 * abs(expected) + 1e-4


def test_no_derivative_is_computed_where_none_is_asked_for():
    observed, alpha = scene((20, 24), 0.14)
    assert not Reconstruction(observed, alpha).fit().parameters.requires_grad
    alpha.alpha_x.requires_grad_()
    reconstruction = Reconstruction(observed, alpha)
    assert not reconstruction.fit(implicit=False).parameters.requires_grad
    with torch.no_grad():
        assert not reconstruction.fit().parameters.requires_grad
    assert reconstruction.fit().parameters.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_its_images(dtype):
    observed, alpha, _ = reference(2, 4, dtype)
    whole = Reconstruction(observed, alpha).fit()
    for i in range(4):
        one = Reconstruction(observed.select([i]), Deflection(*(a[[i]] for a in alpha))).fit()
        torch.testing.assert_close(one.parameters, whole.parameters[[i]], rtol=0, atol=3e-4)


def test_images_without_light_get_a_source_without_light():
    for image in (torch.zeros(1, 12, 14), torch.full((1, 12, 14), -1.0), torch.full((1, 12, 14), torch.nan)):
        observed = Observed(image, torch.ones_like(image), 0.1, 0.15)
        alpha = Deflection(*torch.zeros(2, 1, 24, 28).requires_grad_())
        reconstruction = Reconstruction(observed, alpha)
        assert float(reconstruction.fit().amplitude.detach()) == 0.0
        assert float(reconstruction.relensed(2).detach().abs().sum()) == 0.0
        assert torch.isfinite(reconstruction.fit().parameters).all()


def test_a_source_whose_light_never_arrives_has_no_pull():
    """At a corner of its bounds, far from all rays, the square of its light is no float32 any more."""
    observed, alpha = scene((24, 24), 0.1, noise=0.05, seed=1)
    reconstruction = Reconstruction(observed.to(dtype=torch.float32), alpha)
    problem = reconstruction._problem()
    problem.prior = problem._prior(problem.start())
    corner = torch.where(torch.arange(6) == 1, problem.upper, problem.lower)[None]
    corner[:, 2] = np.log(0.05)
    p, cost, gradient, curvature = problem._evaluate(corner, torch.tensor([0]))
    assert all(bool(torch.isfinite(value).all()) for value in (cost, gradient, curvature))
    data = (problem.image * problem.weight).double().square().sum()
    assert cost[0] >= data * (1.0 - 1e-5)
