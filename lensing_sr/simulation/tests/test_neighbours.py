# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of neighbours: a Poisson number, spread evenly over what is left of the field, number counts, kept fluxes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, poisson

from lensing_sr.errors import InputError
from lensing_sr.simulation.neighbours import draw_neighbours, free_area, place_outside
from lensing_sr.simulation.randomness import Streams

few = settings(max_examples=20, deadline=None)
FIELD = {"half_width": 4.0, "clear_radius": 1.5, "surface_density": 0.03, "star_sigma": 0.05}
FIELD |= {"faintest": 2.0, "brightest": 200.0}


def draw(count=6, first=0, seed=2, **changed):
    return draw_neighbours(Streams(seed, first, count, "neighbours"), **FIELD | changed)


@few
@given(h=st.floats(0.1, 10.0), ratio=st.floats(0.0, 1.41), seed=st.integers(0, 10**6))
def test_places_are_spread_evenly(h, ratio, seed):
    """Outside the circle, inside the square; as many in each of 16 pieces of equal area as chance allows."""
    c = ratio * h
    along, outwards = np.random.default_rng(seed).random((2, 4000))
    x, y = place_outside(along, outwards, h, c)
    radius = np.hypot(x, y)
    assert radius.min() >= c * (1 - 1e-9) and max(abs(x).max(), abs(y).max()) <= h * (1 + 1e-9)
    # quadrants, halves of their area by azimuth (symmetry), and halves by the area within a larger circle
    quadrant = (x > 0) * 2 + (y > 0)
    steep = abs(y) > abs(x)
    between = 0.5 * (c + math.sqrt(2) * h)
    outer = radius > between
    share = free_area(h, between) / free_area(h, c)
    expected = np.array([1 - share, share]) * 4000 / 8
    counts = np.bincount(quadrant * 4 + steep * 2 + outer, minlength=16).reshape(8, 2)
    assert ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < chi2.isf(1e-6, 15)


def test_the_free_area():
    """Against counting points of a grid; none is left where the circle holds the square."""
    x, y = np.meshgrid(*[(np.arange(2000) - 999.5) / 500] * 2)
    for c in (0.0, 0.7, 2.0, 2.4, 2.7):
        assert free_area(2.0, c) == pytest.approx((np.hypot(x, y) > c).mean() * 16, abs=5e-3)
    assert free_area(2.0, 3.0) == pytest.approx(0.0, abs=1e-12)


def test_their_number_is_poisson():
    """The frequency of each number within 5 standard deviations, those beyond the slots in the last."""
    number = draw(3000).number.numpy()
    mean = 0.03 * (64 - math.pi * 1.5**2)
    expected = poisson.pmf(range(7), mean)
    expected[6] = poisson.sf(5, mean)
    found = np.bincount(number, minlength=7) / 3000
    assert (abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / 3000)).all()


def test_no_room_no_neighbours():
    neighbours = draw(clear_radius=[0.0, 1.0, 3.9, 4.1, 5.7, 100.0], surface_density=10.0)
    assert neighbours.number.tolist() == [6, 6, 6, 6, 0, 0]
    assert draw(surface_density=0.0).number.sum() == 0


def test_number_counts():
    """Each magnitude has 10^slope times more neighbours than the brighter one."""
    flux = draw(2000, surface_density=1.0, slope=0.4).lights.flux.numpy()
    assert flux.min() >= 2.0 and flux.max() <= 200.0
    magnitude = -2.5 * np.log10(flux / 200.0)
    brighter = lambda m: (10 ** (0.4 * m) - 1) / (10 ** (0.4 * 5.0) - 1)
    for m in (2.0, 3.0, 4.0):
        chance = brighter(m)
        assert np.mean(magnitude < m) == pytest.approx(chance, abs=5 * math.sqrt(chance / flux.size))


def test_galaxies_and_stars():
    neighbours = draw(2000, surface_density=1.0, star_fraction=0.3)
    star = neighbours.star > 0
    assert float(star.double().mean()) == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / star.numel()))
    size = torch.log10(neighbours.lights.r_eff[~star] / 0.4)
    assert float(size.mean()) == pytest.approx(0, abs=0.01) and float(size.std()) == pytest.approx(0.2, abs=0.01)
    lights = neighbours.lights
    assert (lights.n[star] == 0.5).all() and (lights.e1[star] == 0).all() and (lights.e2[star] == 0).all()
    e = torch.hypot(lights.e1, lights.e2)[~star]
    assert ((1 - e) / (1 + e)).min() >= 0.3 - 1e-12


@pytest.mark.parametrize("step, error", [(0.05 / 0.5, 3e-2), (0.05 / 0.6, 3.3e-3), (0.05 / 0.7, 3e-4)])
def test_samples_of_a_star_add_up(step, error):
    """As `star_sigma` says, wherever the star lies between the samples."""
    neighbours = draw(40, star_fraction=1.0, surface_density=10.0, half_width=2.0, slots=1)
    axis = (torch.arange(-40, 41, dtype=torch.float64)) * step
    flux = neighbours.brightness(axis, axis[:, None]).sum((1, 2)) * step**2
    np.testing.assert_allclose(flux, neighbours.lights.flux[:, 0], rtol=error)


def test_the_flux_of_all_of_them():
    """Light within 40 arcsec is their flux, for Sersic indices and sizes that the grid resolves."""
    neighbours = draw(4, surface_density=0.1, star_fraction=0.0)
    lights = neighbours.lights
    axis = (torch.arange(800, dtype=torch.float64) - 399.5) * 0.1
    discs = replace(neighbours, lights=replace(lights, n=torch.full_like(lights.n, 0.8), r_eff=0 * lights.r_eff + 0.5))
    flux = discs.brightness(axis, axis[:, None]).sum((1, 2)) * 0.1**2
    np.testing.assert_allclose(flux, lights.flux.sum(1), rtol=2e-3)


def test_the_same_field_whatever_the_batch():
    many, one = draw(6), draw(1, first=4)
    for name in ("flux", "r_eff", "n", "e1", "e2", "x", "y"):
        assert torch.equal(getattr(many.lights, name)[4:5], getattr(one.lights, name))
    axis = torch.linspace(-4, 4, 41)
    light = many[4:5].to(dtype=torch.float32).brightness(axis, axis[:, None])
    np.testing.assert_allclose(light, one.to(dtype=torch.float32).brightness(axis, axis[:, None]), rtol=1e-5)
    assert light.dtype == torch.float32 and light.shape == (1, 41, 41) and (light >= 0).all()


@pytest.mark.parametrize(
    "changed, argument",
    [
        ({"half_width": 0.0}, "half_width"),
        ({"clear_radius": -1.0}, "clear_radius"),
        ({"surface_density": np.inf}, "surface_density"),
        ({"brightest": 1.0}, "brightest"),
        ({"slope": 0.0}, "slope"),
        ({"star_fraction": 1.5}, "star_fraction"),
        ({"slots": 0}, "slots"),
    ],
)
def test_wrong_parameters_are_named(changed, argument):
    with pytest.raises(InputError) as error:
        draw(**changed)
    assert error.value.argument == argument
