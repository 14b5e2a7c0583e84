# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the search for compact masses: what is there is found where it is, and nothing else."""

import math

import pytest
import torch

from lensing_sr.fit.mass_maps import mass_maps, point_masses
from lensing_sr.fit.perturbers import find_perturbers, restrained, score_places
from lensing_sr.fit.posterior import Posterior
from lensing_sr.fit.refinement import Settings, _Model, refine
from lensing_sr.fit.tests.problems import PIXEL, minimum, prior, seen, smooth_scene

SIZE = 44
MASSES = torch.tensor([[0.012, 1.25, 0.33], [0.008, -0.87, -0.95]], dtype=torch.float64)


def begun(problem):
    model = _Model(problem, prior(smooth_scene()), "matern", PIXEL)
    model.begin([minimum(problem)], structured=False)
    return model


def with_masses(**options):
    return seen(smooth_scene().with_changes(perturbers=MASSES), size=SIZE, sigma=0.005, **options)


@pytest.fixture(scope="module")
def found():
    problem = with_masses()
    return refine(problem, [minimum(problem)], prior(smooth_scene()), PIXEL, PIXEL, Settings(source="sersic"))


def matched(masses, truth):
    """Distance from each true mass to the nearest one found, and their ratio of strength."""
    distance = torch.cdist(truth[:, 1:], masses[:, 1:])
    nearest = distance.argmin(dim=1)
    return distance.amin(dim=1), masses[nearest, 0] / truth[:, 0]


def test_masses_are_found_where_they_are(found):
    assert "perturbers" in found.kept and len(found.scene.perturbers) == 2
    distance, ratio = matched(found.scene.perturbers, MASSES)
    assert distance.max() < 0.05
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=0.3)
    assert 0.85 < found.inversion.chi2 / SIZE**2 < 1.1


def test_no_mass_is_found_where_there_is_none():
    model = begun(seen(smooth_scene(), size=SIZE, sigma=0.005))
    before = model.inversion
    assert find_perturbers(model) == pytest.approx(0.0, abs=1e-9)
    assert model.inversion is before
    # the score of noise has unit variance and no mean
    significance = score_places(model).significance
    assert significance.abs().max() < 4.5
    assert 0.6 < float(significance.square().mean().sqrt()) < 1.5


def test_the_score_is_highest_at_a_mass():
    scores = score_places(begun(with_masses()))
    best = int(scores.significance.argmax())
    place = torch.tensor([[0.0, float(scores.x[best]), float(scores.y[best])]], dtype=torch.float64)
    assert float(scores.significance[best]) > 10
    assert float(torch.cdist(place[:, 1:], MASSES[:, 1:]).min()) < 1.5 * PIXEL
    assert (scores.error > 0).all()


def test_the_gain_is_the_cost_less_what_the_masses_cost():
    model = begun(with_masses())
    start = model.cost(model.inversion)
    gain = find_perturbers(model)
    count = len(model.inversion.scene.perturbers)
    assert count > 0 and gain == pytest.approx(0.5 * (start - model.cost(model.inversion)) - 10.0 * count)


def test_masked_pixels_do_not_matter():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[5:9, 5:9] = True
    problem = with_masses(mask=mask)
    data = torch.where(mask, 1e6, problem.image(problem.target))
    other = type(problem)(data, problem.weight, problem.formation, None)
    scores = [score_places(begun(p)).significance for p in (problem, other)]
    torch.testing.assert_close(*scores)


def test_a_dark_image_has_no_places():
    scene = smooth_scene()
    problem = seen(scene.with_changes(amplitudes=0.0 * scene.amplitudes), size=24)
    model = _Model(problem, prior(scene), "matern", PIXEL)
    model.begin([scene.with_changes(amplitudes=1e-6 * scene.amplitudes)], structured=False)
    assert find_perturbers(model) == pytest.approx(0.0)


def test_a_step_keeps_masses_positive_and_near():
    before = smooth_scene().with_changes(perturbers=MASSES)
    wild = MASSES + torch.tensor([[-1.0, 3.0, -3.0], [1.0, 0.0, 0.01]], dtype=torch.float64)
    after = restrained(before, before.with_changes(perturbers=wild)).perturbers
    assert (after[:, 0] > 0).all() and (after[:, 1:] - MASSES[:, 1:]).abs().max() < 0.0501
    torch.testing.assert_close(after[1, 2], MASSES[1, 2] + 0.01)
    assert restrained(smooth_scene(), smooth_scene()).perturbers.shape == (0, 3)


def test_maps_hold_the_mass_and_its_significance(found):
    scene = found.scene.with_changes(potential=None, q=None)
    posterior = Posterior(found)
    ticks = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    listed = point_masses(found.scene, posterior)
    if found.scene.q is None:
        maps = mass_maps(scene, posterior, x, y, PIXEL)
        mass = float(maps.convergence.sum() * (ticks[1] - ticks[0]) ** 2)
        assert mass == pytest.approx(math.pi * float(scene.perturbers[:, 0].sum()), rel=1e-3)
        assert float(maps.significance.max()) == pytest.approx(listed[0]["significance"], rel=0.05)
    assert [m["significance"] for m in listed] == sorted((m["significance"] for m in listed), reverse=True)
    for one in listed:
        assert one["significance"] > 5 and one["theta_E_err"] > 0
        true = min(MASSES.tolist(), key=lambda m: math.hypot(m[1] - one["x"], m[2] - one["y"]))
        assert abs(one["x"] - true[1]) < 5 * one["x_err"] + 0.01
        assert abs(one["theta_E"] - math.sqrt(true[0])) < 5 * one["theta_E_err"] + 0.003
