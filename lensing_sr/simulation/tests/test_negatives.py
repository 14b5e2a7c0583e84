# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of galaxies that are no lenses: both parts of flux 1, what is beside the galaxy lies where arcs would be."""

import math

import numpy as np
import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.simulation.negatives import KINDS, draw_negatives
from lensing_sr.simulation.randomness import Streams
from lensing_sr.simulation.tests.test_galaxies import gaussian_parts, same

GALAXY = {"radius": 1.0, "r_eff": 0.5, "e1": 0.1, "e2": -0.05, "x": 0.0, "y": 0.0}


def draw(kind, count=8, first=0, seed=3, **changed):
    index = np.full(count, KINDS.index(kind)) if isinstance(kind, str) else kind
    return draw_negatives(Streams(seed, first, len(index), "negatives"), index, **GALAXY | changed)


def grid(half=20.0, step=0.05):
    axis = torch.arange(-half + step / 2, half, step, dtype=torch.float64)
    return axis, axis[:, None]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_beside_the_galaxy_has_flux_one(seed):
    """Shares add up to it exactly; samples of the light do where the grid resolves it (parts made Gaussians)."""
    other = draw(np.arange(len(KINDS)), seed=seed, smallest=0.1).other
    np.testing.assert_allclose(other.flux + other.parts.flux.sum(1) + other.rings.flux.sum(1), 1.0, atol=1e-12)
    x, y = grid(10.0)
    flux = gaussian_parts(other).brightness(x, y).sum((1, 2)) * 0.05**2
    np.testing.assert_allclose(flux, 1.0, atol=3e-3)


def test_the_whole_is_both_parts():
    negatives = draw(np.arange(len(KINDS)))
    x, y = grid(3.0)
    share = negatives.other_fraction[:, None, None]
    whole = (1 - share) * negatives.central.brightness(x, y) + share * negatives.other.brightness(x, y)
    assert torch.equal(negatives.brightness(x, y), whole)
    assert torch.isfinite(whole).all() and (whole >= 0).all()
    assert (negatives.central.flux == 1).all()


@pytest.mark.parametrize(
    "kind, low, high",
    [
        ("elliptical", 0.0, 0.4),
        ("spiral", 0.6, 0.92),
        ("ring", 0.15, 0.6),
        ("merger", 0.3, 0.65),
        ("companions", 0.05, 0.4),
        ("alignment", 0.05, 0.3),
    ],
)
def test_the_usual_fractions(kind, low, high):
    fraction = draw(kind, 200).other_fraction
    assert low <= fraction.min() <= low + 0.05 and high - 0.05 <= fraction.max() <= high
    assert (0.3 < float((fraction == 0).double().mean()) < 0.7) == (kind == "elliptical")


def test_rings_are_hollow():
    """But for the faint discs inside some: the light peaks in the ring, at 0.8 to 1.2 radii, and is dark inside."""
    rings = draw("ring", 40).other
    hollow = rings.flux == 0
    assert 10 < int(hollow.sum()) < 40
    radius = torch.linspace(0.05, 2.0, 79, dtype=torch.float64)
    azimuth = torch.arange(96, dtype=torch.float64) * (math.pi / 48)
    # seen face on: the ellipse of each ring undone
    e1, e2 = (value[:, :1, None] for value in (rings.rings.e1, rings.rings.e2))
    u, v = radius[:, None] * azimuth.cos(), radius[:, None] * azimuth.sin()
    scale = (1 - e1**2 - e2**2) ** -0.5
    light = rings.brightness((u + e1 * u + e2 * v) * scale, (v - e1 * v + e2 * u) * scale)[hollow].mean(2)
    where, width = rings.rings.radius[hollow, 0], rings.rings.width[hollow, 0]
    assert where.min() >= 0.8 and where.max() <= 1.2
    assert ((radius[light.argmax(1)] - where).abs() < 1.5 * width * where + 0.05).all()
    assert (light[:, radius < 0.3].amax(1) < 0.1 * light.amax(1)).all()


def test_alignments_are_tangential():
    """Straight ones within 15 deg of the tangent, 0.85 to 1.2 radii away; bent ones are arcs about the centre."""
    other = draw("alignment", 200, x=0.3, y=0.1).other
    used = other.parts.flux > 0
    x, y = other.parts.x[used] - 0.3, other.parts.y[used] - 0.1
    distance = torch.hypot(x, y)
    assert distance.min() >= 0.85 and distance.max() <= 1.2
    angle = 0.5 * torch.atan2(other.parts.e2[used], other.parts.e1[used])
    off = torch.remainder(angle - torch.atan2(y, x), math.pi) - 0.5 * math.pi
    assert off.abs().max() <= math.radians(15.0) + 1e-9
    e = torch.hypot(other.parts.e1[used], other.parts.e2[used])
    assert ((1 - e) / (1 + e)).max() <= 0.5 + 1e-9
    bent = other.rings.flux > 0
    assert 0.3 < float(bent.sum() / (bent.sum() + used.sum())) < 0.7
    assert (other.rings.x[bent] == 0.3).all() and (other.rings.y[bent] == 0.1).all()
    number = bent.sum(1) + used.sum(1)
    assert set(number.tolist()) == {1, 2, 3}


def test_companions_are_beside_the_galaxy():
    other = draw("companions", 200).other
    used = other.parts.flux > 0
    distance = torch.hypot(other.parts.x, other.parts.y)[used]
    assert distance.min() >= 0.7 and distance.max() <= 1.6
    assert set(used.sum(1).tolist()) == {1, 2, 3, 4, 5}


def test_arms_and_tails():
    spirals, mergers = draw("spiral", 50).other, draw("merger", 50).other
    contrast = torch.tanh(spirals.arm_strength)
    assert contrast.min() >= 0.6 and contrast.max() <= 0.95
    assert (spirals.r_eff >= 0.7).all() and (spirals.r_eff <= 1.1).all()
    assert ((mergers.rings.flux > 0).sum(1) == 2).all()
    assert (mergers.rings.opening[:, 0] * mergers.rings.opening[:, 1] > 0).all()


def test_the_same_image_whatever_the_batch():
    """And whatever the kinds of the others."""
    kind = np.array([4, 2, 0, 5, 1, 3, 2])
    many = draw(kind)
    assert many.kind.tolist() == [KINDS[k] for k in kind]
    for i in range(len(kind)):
        assert same(many[[i]], draw(kind[i : i + 1], first=i))


def test_sizes_scale():
    """Lengths ten times longer: the same image on a grid ten times coarser."""
    kind = np.arange(len(KINDS))
    small, large = draw(kind), draw(kind, radius=10.0, r_eff=5.0)
    x, y = grid(2.0, 0.1)
    np.testing.assert_allclose(100 * large.brightness(10 * x, 10 * y), small.brightness(x, y), rtol=1e-6)


def test_single_precision_will_do():
    negatives = draw(np.arange(60) % len(KINDS))
    x, y = grid(3.0)
    exact = negatives.other.brightness(x, y)
    light = negatives.to(dtype=torch.float32).other.brightness(x.float(), y.float())
    assert light.dtype == torch.float32
    assert (light.double() - exact).abs().amax((1, 2)).div(exact.amax((1, 2))).max() < 1e-4


@pytest.mark.parametrize("kind", [[6], [-1], [0, 1], [0.0], ["ring"]])
def test_unknown_kinds(kind):
    with pytest.raises(InputError, match="kind: must be 1 whole numbers"):
        draw_negatives(Streams(1, 0, 1, "negatives"), kind, **GALAXY)


def test_wrong_parameters_are_named():
    for name in ("radius", "r_eff", "x"):
        with pytest.raises(InputError, match=name):
            draw("ring", 1, **{name: np.nan})
