# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the coarse fit: holding the light changes nothing but what is held, and a good proposal is all it takes."""

import pytest
import torch

from lensing_sr.fit.coarse import FitSettings, fit_coarsely, light_widths
from lensing_sr.fit.estimate import CANDIDATES, estimate_lenses, look, propose_starts
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.objective import Objective
from lensing_sr.forward.model import LIGHT
from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.mixture import MACRO, TOTAL

CENTRE = torch.zeros(1, 2, dtype=torch.float64)
QUICK = {"lens_light": True, "psf_fwhm": 0.18}


@pytest.fixture(scope="module")
def objective(with_light):
    observation, truth = with_light
    flat = torch.full_like(truth, float("inf"))
    return Objective(
        observation.data, observation.weight, observation.formation(), truth, flat, widths=light_widths(observation)
    ), truth  # fmt: skip


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    return LensEstimator(widths=(8, 8, 8, 8), steps=(1, 1, 1, 1), hidden=16).eval()


def test_held_light_costs_what_light_costs(objective):
    whole, truth = objective
    images = torch.arange(len(truth))
    held, p = whole.holding_light(truth), truth.clone()
    p[:, :MACRO] += 0.01
    cost, gradient, curvature = whole.evaluator(images)(p, images)
    other_cost, other_gradient, other_curvature = held.evaluator(images)(p, images)
    torch.testing.assert_close(other_cost, cost, rtol=1e-6, atol=1e-3)
    n = MACRO
    torch.testing.assert_close(other_gradient[:, :n], gradient[:, :n], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(other_curvature[:, :n, :n], curvature[:, :n, :n], rtol=1e-4, atol=1e-1)
    # what is held moves nothing
    assert not other_gradient[:, n:].any() and not other_curvature[:, n:].any() and not other_curvature[:, :, n:].any()


def test_held_light_has_the_same_image(objective):
    whole, truth = objective
    images = torch.arange(len(truth))
    one, other = (o.solve(truth, images) for o in (whole, whole.holding_light(truth)))
    torch.testing.assert_close(other.model, one.model, rtol=1e-5, atol=1e-5)


def test_light_is_held_where_it_was_told(objective):
    whole, truth = objective
    images, moved = torch.arange(len(truth)), truth.clone()
    moved[:, -len(LIGHT) :] += 0.1
    held = whole.holding_light(truth)
    torch.testing.assert_close(held.solve(moved, images).model, held.solve(truth, images).model)


def test_a_proposal_near_the_truth_is_found(with_light):
    """With no start of its own worth anything, the fit ends where the proposal points."""
    observation, truth = with_light
    proposals = truth[:, None, :MACRO].clone()
    proposals[:, :, 0] += 0.05
    settings = FitSettings(shapes=0, starts=1, survivors=1)
    found = fit_coarsely(observation, CENTRE, **QUICK, proposals=proposals, settings=settings)
    assert abs(float(found.minima[0, 0, 0] - truth[0, 0])) < 0.02


def test_wrong_proposals_do_no_harm(with_light):
    """The scan guards against a network that knows nothing."""
    observation, truth = with_light
    nonsense = truth[:, None, :MACRO].clone().repeat(1, 3, 1)
    nonsense[:, :, 0] -= 1.0
    nonsense[:, :, 7:9] = torch.tensor([[0.9, 0.9], [-0.9, 0.9], [0.0, -0.9]], dtype=torch.float64)
    settings = FitSettings(shapes=1, starts=6, survivors=3, modes=2, evidence=False)
    led = fit_lenses(observation, CENTRE, **QUICK, proposals=nonsense, settings=settings)
    alone = fit_lenses(observation, CENTRE, **QUICK, settings=FitSettings(evidence=False))
    assert float(led.cost[0]) < 1.01 * float(alone.cost[0])


def test_shared_scan_starts_at_each_lens(with_light):
    """Round templates in the middle of the field serve all images; the lens of each start is that of its image."""
    observation, truth = with_light
    found = fit_coarsely(observation, CENTRE, **QUICK, settings=FitSettings(shapes=0, starts=8, survivors=2))
    assert abs(float(found.minima[0, 0, 0] - truth[0, 0])) < 0.05


def test_starts_are_those_of_the_network(network, with_light):
    observation, _ = with_light
    starts = propose_starts(network, observation, CENTRE, 5, **QUICK)
    expected = network.propose(look(observation, CENTRE, **QUICK), 5)[:, :, :MACRO]
    assert torch.equal(starts, expected)


def test_an_estimate_is_the_likeliest_proposal(network, with_light):
    observation, _ = with_light
    fit, covariance = estimate_lenses(network, observation, CENTRE, **QUICK)
    assert fit.parameters.shape == (1, TOTAL) and covariance.shape == (1, TOTAL, TOTAL)
    images = torch.arange(1)
    costs = torch.cat([fit.objective.solve(fit.modes[:, k], images).chi2 for k in range(CANDIDATES)])
    assert torch.equal(costs, costs.sort().values) and torch.equal(fit.modes[:, 0], fit.parameters)
    assert (torch.linalg.eigvalsh(covariance) > -1e-9).all()
    assert ((fit.parameters >= fit.priors.lower) & (fit.parameters <= fit.priors.upper)).all()
