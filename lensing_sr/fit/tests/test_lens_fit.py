# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the fit: the truth comes back within its errors, batches are loops, and no lens is no lens."""

import math

import pytest
import torch

from lensing_sr.fit.coarse import FitSettings
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.tests.conftest import SIGMA, observe
from lensing_sr.fit.uncertainty import image_variance, joint_covariance
from lensing_sr.fit.rendering import CONVERGED, render, tolerance
from lensing_sr.forward.model import LENS, SOURCE

N_MACRO = len(LENS) + len(SOURCE)
QUICK = FitSettings(evidence=False)


def _fit(observation, **options):
    return fit_lenses(observation, torch.zeros(len(observation), 2, dtype=torch.float64), psf_fwhm=0.18, **options)


@pytest.fixture(scope="module")
def arcs_fit(arcs_only):
    observation, truth = arcs_only
    return observation, truth, _fit(observation, lens_light=False)


def test_truth_comes_back_within_its_errors(arcs_fit):
    observation, truth, fit = arcs_fit
    images = torch.arange(len(observation))
    error = joint_covariance(fit.objective, fit.parameters, images).diagonal(dim1=1, dim2=2).sqrt()
    isothermal = torch.full_like(truth[:, :1], 2.0)
    names, truth = N_MACRO + 1, torch.cat([truth[:, :N_MACRO], isothermal], dim=1)
    pull = (fit.parameters - truth) / error[:, :names]
    assert pull.abs().max() < 5.0
    assert 0.3 < pull.square().mean() < 2.5
    assert (fit.parameters[:, 0].exp() / 1.3 - 1).abs().max() < 1e-2


def test_chi_square_is_that_of_noise(arcs_fit):
    observation, _, fit = arcs_fit
    chi2 = ((observation.data - fit.solution.model) / SIGMA).square().mean(dim=(1, 2))
    assert (chi2 - 1).abs().max() < 6 * math.sqrt(2 / observation.data[0].numel())
    assert (fit.temperature < 1.3).all()


def test_a_lens_has_evidence(arcs_fit):
    assert (arcs_fit[2].evidence > 100).all()


def test_a_batch_is_its_members(arcs_fit):
    observation, _, fit = arcs_fit
    single = observe(3)[0]
    single.data, single.weight = observation.data[1:2], observation.weight[1:2]
    alone = _fit(single, lens_light=False, settings=QUICK)
    torch.testing.assert_close(alone.parameters[0], fit.parameters[1], rtol=0, atol=2e-3)


def test_lens_light_is_told_from_arcs(with_light):
    observation, truth = with_light
    fit = _fit(observation, settings=QUICK)
    assert abs(float(fit.parameters[0, 0].exp()) / 1.3 - 1) < 1e-2
    inner = slice(18, 38)
    dark = observe(1, light=True, arcs=False, noise=False)[0]
    # a wide Gaussian and the sky are nearly one and the same in a small field: only their sum is well known
    found = (fit.solution.model - fit.solution.arcs)[:, inner, inner].sum()
    assert abs(float(found / dark.data[:, inner, inner].sum()) - 1) < 0.01
    torch.testing.assert_close(fit.parameters[0, 13:15], truth[0, 13:15], rtol=0, atol=2e-2)


def test_an_unlensed_galaxy_is_no_lens():
    observation, _ = observe(1, light=True, arcs=False, seed=4)
    assert float(_fit(observation).evidence[0]) < 10.0


def test_masked_pixels_do_not_matter(arcs_only):
    observation, _ = arcs_only
    masked = observe(1)[0]
    masked.data, masked.weight = observation.data[:1].clone(), observation.weight[:1].clone()
    masked.data[:, 5:9, 40:46] = 0.0
    masked.weight[:, 5:9, 40:46] = 0.0
    spoiled = observe(1)[0]
    spoiled.data, spoiled.weight = masked.data.clone(), masked.weight
    spoiled.data[:, 5:9, 40:46] = 1e6
    first, second = (_fit(o, lens_light=False, settings=QUICK) for o in (masked, spoiled))
    torch.testing.assert_close(first.parameters, second.parameters, rtol=0, atol=1e-6)


def test_correlated_noise_widens_the_errors(arcs_only):
    observation, _ = arcs_only
    one = observe(1)[0]
    one.data, one.weight = observation.data[:1], observation.weight[:1]
    spreads = []
    for rho in (0.0, 0.4):
        fit = _fit(one, lens_light=False, correlation=torch.tensor([rho]), settings=QUICK)
        spreads.append(joint_covariance(fit.objective, fit.parameters, torch.arange(1))[0, 0, 0].sqrt())
    assert 1.4 < float(spreads[1] / spreads[0]) < 2.0  # 1 + 2 rho where priors do not matter


def test_variance_of_the_image_is_that_of_its_parameters(arcs_fit):
    observation, _, fit = arcs_fit
    part = torch.arange(1)
    covariance = joint_covariance(fit.objective, fit.parameters[:1], part)
    formation = observation.formation(1)
    p, amplitudes = fit.parameters[:1], fit.solution.amplitudes[:1]
    variance = image_variance(fit.objective, p, amplitudes, covariance, formation)
    generator = torch.Generator().manual_seed(1)
    values, vectors = torch.linalg.eigh(covariance[0, :-1, :-1])
    root = vectors * values.clamp_min(0).sqrt()
    draws = 0.05 * torch.randn(400, len(root), generator=generator, dtype=torch.float64) @ root.T
    rows = torch.cat([p, amplitudes[:, :-1]], dim=1) + draws
    images = render(rows[:, : N_MACRO + 1], rows[:, N_MACRO + 1 :], None, formation)[0]
    sampled = images.double().var(dim=0) / 0.05**2
    bright = variance[0] > 0.1 * variance.max()
    ratio = sampled[bright] / variance[0][bright].double()
    assert abs(float(ratio.mean()) - 1) < 0.15


def test_sampling_is_refined_until_the_noise_cannot_tell(arcs_fit):
    observation, _, fit = arcs_fit
    state = fit.parameters, fit.solution.amplitudes, None
    limit = tolerance(observation.weight, observation.pixel**2)
    adaptive = sum(render(*state, observation.formation("auto"), limit))
    plain = sum(render(*state, observation.formation("auto")))
    finest = sum(render(*state, observation.formation(40)))
    assert ((adaptive - finest) * observation.weight).square().mean().sqrt() < CONVERGED
    assert ((plain - finest) * observation.weight).square().mean().sqrt() > 3 * CONVERGED


def test_everything_masked_but_a_corner_still_ends():
    observation, _ = observe(1)
    observation.weight[:, 20:, :] = 0.0
    fit = _fit(observation, lens_light=False, settings=QUICK)
    assert torch.isfinite(fit.parameters).all() and torch.isfinite(fit.cost).all()
