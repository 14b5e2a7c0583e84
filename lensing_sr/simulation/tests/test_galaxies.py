# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of lumpy galaxies: nothing but a Sersic at lumpiness 0, flux 1, structure in the plane of the disc."""

import dataclasses
import math
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.light.sersic import sersic_brightness, sersic_flux
from lensing_sr.simulation._components import Arcs, disc_frame, from_disc_frame, join, spiral_factor
from lensing_sr.simulation.galaxies import CLUMPS, draw_galaxies
from lensing_sr.simulation.randomness import Streams

few = settings(max_examples=15, deadline=None)
DISC = {"r_eff": 1.0, "n": 1.0, "e1": 0.15, "e2": -0.1, "x": 0.3, "y": -0.2}


def draw(count=8, first=0, seed=1, **changed):
    return draw_galaxies(Streams(seed, first, count, "source"), **DISC | changed)


def polar(galaxy, rows=220, angles=128, reach=40.0, start=0.0):
    """Positions in the frame of a galaxy's disc, as seen on the sky, and the area of each sample.

    The centre, within 0.003 arcsec, is left out.
    """
    step = math.log(reach / 0.003) / rows
    radius = 0.003 * torch.exp(step * (torch.arange(rows, dtype=torch.float64) + 0.5))
    angle = start + math.pi + (torch.arange(angles, dtype=torch.float64) + 0.5) * (2.0 * math.pi / angles)
    u, v = radius[:, None] * angle.cos(), radius[:, None] * angle.sin()
    centre = (getattr(galaxy, name)[:, None, None] for name in ("e1", "e2", "x", "y"))
    area = (radius**2 * step * (2.0 * math.pi / angles))[:, None]
    return radius, area, from_disc_frame(u, v, *centre)


def gaussian_parts(galaxies):
    """The galaxies with Gaussians of the same fluxes and sizes for their parts: without cusps."""
    return dataclasses.replace(galaxies, parts=dataclasses.replace(galaxies.parts, n=0 * galaxies.parts.n + 0.5))


def same(one, other):
    """Whether two sets hold the same numbers, bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))


def grid(half=3.0, pixels=61):
    axis = torch.linspace(-half, half, pixels, dtype=torch.float64)
    return axis, axis[:, None]


@few
@given(n=st.floats(0.4, 5.0), r_eff=st.floats(0.02, 2.0), e=st.floats(-0.5, 0.5), seed=st.integers(0, 99))
def test_smooth_is_exactly_a_sersic(n, r_eff, e, seed):
    disc = DISC | {"n": n, "r_eff": r_eff, "e1": e}
    galaxies = draw(seed=seed, **disc, lumpiness=0.0)
    x, y = grid()
    number = {name: torch.full((8, 1, 1), value, dtype=torch.float64) for name, value in disc.items()}
    amplitude = 1.0 / sersic_flux(torch.ones_like(number["n"]), number["r_eff"], number["n"])
    centre = {"x_source": number.pop("x"), "y_source": number.pop("y")}
    assert torch.equal(galaxies.brightness(x, y), sersic_brightness(x, y, amplitude, **number, **centre))


@few
@given(seed=st.integers(0, 10**6), n=st.floats(0.5, 2.0), lumpiness=st.sampled_from([0.3, 1.0, 2.0]))
def test_the_flux_is_one(seed, n, lumpiness):
    """To 1e-3 of quadrature, for which parts are made Gaussians, none too narrow for its steps."""
    galaxies = gaussian_parts(draw(3, seed=seed, n=n, lumpiness=lumpiness, smallest=0.15))
    _, area, (x, y) = polar(galaxies)
    flux = (galaxies.brightness(x, y) * area).sum((1, 2))
    np.testing.assert_allclose(flux, 1.0, atol=1e-3)


def test_the_shares_add_up_to_one():
    galaxies = draw(200, lumpiness=2.0)
    shares = galaxies.flux + galaxies.parts.flux.sum(1) + galaxies.rings.flux.sum(1)
    np.testing.assert_allclose(shares, 1.0, atol=1e-14)
    assert galaxies.flux.min() > 0


@few
@given(
    strength=st.floats(0.0, 2.0),
    arms=st.integers(1, 4),
    pitch=st.floats(10.0, 60.0),
    sense=st.sampled_from([-1, 1]),
    radius=st.floats(1e-3, 10.0),
)
def test_arms_take_nothing_from_any_radius(strength, arms, pitch, sense, radius):
    """Mean over azimuth 1, contrast tanh(kappa), m-fold symmetry, and the same pattern turned at another radius."""
    winding = torch.tensor(sense / math.tan(math.radians(pitch)), dtype=torch.float64)
    number = lambda value: torch.tensor(float(value), dtype=torch.float64)
    angle = torch.arange(240, dtype=torch.float64) * (math.pi / 120)

    def factor(radius, turned=0.0, inner=0.5, outer=2.0):
        u, v = radius * torch.cos(angle + turned), radius * torch.sin(angle + turned)
        pattern = (number(strength), number(arms), winding, number(0.4), number(inner), number(outer))
        return spiral_factor(u, v, number(1.0), *pattern)

    here = factor(radius)
    assert (here > 0).all()
    np.testing.assert_allclose(here.mean(), 1.0, rtol=1e-9)
    kappa = strength * (1 - math.exp(-(radius**2) / 0.25)) * math.exp(-(radius**2) / 8)
    contrast = (here.max() - here.min()) / (here.max() + here.min())
    assert math.tanh(kappa) * 0.98 - 1e-9 <= contrast <= math.tanh(kappa) + 1e-9
    np.testing.assert_allclose(factor(radius, 2 * math.pi / arms), here, rtol=1e-6)
    # without fading the pattern at 1.3 times the radius is the same, turned by winding times ln 1.3
    endless = {"inner": 1e-6, "outer": 1e6}
    turned = factor(1.3 * radius, float(winding) * math.log(1.3), **endless)
    np.testing.assert_allclose(turned, factor(radius, **endless), rtol=1e-6)


@few
@given(
    width=st.floats(0.03, 0.3),
    strength=st.floats(0.0, 30.0),
    angle=st.floats(-3.0, 3.0),
    opening=st.floats(-0.6, 0.6),
    e=st.floats(-0.4, 0.4),
)
def test_the_flux_of_an_arc(width, strength, angle, opening, e):
    """Rings, arcs and tails hold what they were given, whatever their shape."""
    fields = {"flux": 3.0, "radius": 0.7, "width": width, "strength": strength, "angle": angle, "opening": opening}
    fields |= {"e1": e, "e2": -0.5 * e, "x": 0.2, "y": 0.1}
    arc = Arcs.from_arrays(**{name: [[value]] for name, value in fields.items()})
    first = {name: torch.tensor([value], dtype=torch.float64) for name, value in fields.items()}
    _, area, (x, y) = polar(types.SimpleNamespace(**first), rows=1500, angles=64, start=angle)
    np.testing.assert_allclose((arc.brightness(x, y) * area).sum(), 3.0, rtol=1e-6)


def test_structure_lies_in_the_plane_of_the_disc():
    """Arms and rings are those of the round galaxy seen under the ellipse; clumps lie where the round one has them."""
    inclined, round_one = draw(30), draw(30, e1=0.0, e2=0.0, x=0.0, y=0.0)
    ellipse = [DISC[name] for name in ("e1", "e2", "x", "y")]
    u, v = disc_frame(inclined.parts.x[:, 2:], inclined.parts.y[:, 2:], *ellipse)
    np.testing.assert_allclose(u, round_one.parts.x[:, 2:], atol=1e-12)
    np.testing.assert_allclose(v, round_one.parts.y[:, 2:], atol=1e-12)
    u, v = grid(pixels=60)  # the very centre of the arms, less than 1e-6 arcsec wide, is left out
    x, y = from_disc_frame(u, v, *ellipse)
    no_parts = lambda g: dataclasses.replace(g, parts=dataclasses.replace(g.parts, flux=0 * g.parts.flux))
    light = no_parts(inclined).brightness(x, y)
    np.testing.assert_allclose(light, no_parts(round_one).brightness(u, v), rtol=1e-9, atol=1e-12)


def test_what_is_drawn():
    galaxies = draw(1500, n=1.2)
    clumps = (galaxies.parts.flux[:, 2:] > 0).sum(1)
    assert set(clumps.tolist()) == set(range(CLUMPS + 1))
    rest = galaxies.flux + galaxies.parts.flux[:, 2:].sum(1)
    share = galaxies.parts.flux[:, 2:].sum(1) / rest
    lumpy = share > 0.05  # a sixth has a tenth of all that
    assert share.max() < 0.4 + 1e-9
    assert 0.15 < float(share[lumpy].mean()) < 0.25
    size = galaxies.parts.r_eff[:, 2:]
    assert 0.05 <= size.min() and size.max() <= 0.3 and size.median() == pytest.approx(math.sqrt(0.05 * 0.3), rel=0.05)
    # frequencies, within 4 standard deviations
    for found, chance in (
        (galaxies.arm_strength > 0, 0.6),
        (galaxies.parts.flux[:, 0] > 0, 0.45),
        (galaxies.parts.flux[:, 1] > 0, 0.2),
        (galaxies.rings.flux[:, 0] > 0, 0.08),
    ):
        assert float(found.double().mean()) == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 1500))
    contrast = torch.tanh(galaxies.arm_strength)
    assert contrast.max() <= 0.8 and contrast.max() > 0.75
    pitch = torch.rad2deg(torch.atan(1.0 / galaxies.arm_winding.abs()))
    assert pitch.min() >= 10 - 1e-9 and pitch.max() <= 35 + 1e-9


def test_the_half_light_radius_stays():
    """At lumpiness 1: the median is within 4 % of r_eff, and nine in ten, give or take five, within a fourth."""
    galaxies = draw(100, smallest=0.1)
    radius, area, (x, y) = polar(galaxies, rows=120, angles=32)
    growth = (galaxies.brightness(x, y) * area).sum(2).cumsum(1)
    edge = radius * (radius[1] / radius[0]) ** 0.5
    half = np.array([np.interp(0.5 * float(g[-1]), g, edge) for g in growth])
    assert abs(np.median(half) - 1) < 0.04
    assert np.mean(abs(half - 1) < 0.25) > 0.85


def test_lumpier_is_farther_from_a_sersic():
    x, y = grid()
    smooth = draw(20, lumpiness=0.0).brightness(x, y)
    away = [float(((draw(20, lumpiness=k).brightness(x, y) - smooth) ** 2).mean()) for k in (0.1, 0.4, 1.0)]
    assert 0 < away[0] < away[1] < away[2]


def test_high_sersic_indices_have_less_structure():
    disc, early = draw(50, n=1.5), draw(50, n=4.0)
    np.testing.assert_allclose(early.arm_strength, 0.25 * disc.arm_strength)
    assert (early.flux >= disc.flux).all()


def test_no_part_below_the_smallest():
    galaxies = draw(50, smallest=0.17)
    assert galaxies.parts.r_eff.min() == 0.17
    assert galaxies.parts.r_eff.max() > 0.2


def test_the_same_image_whatever_the_batch():
    many = draw(9)
    assert same(many[4:5], draw(1, first=4))
    assert same(many[[2, 7]], many[np.isin(np.arange(9), [2, 7])])
    assert same(join([many[[0, 2]], many[[1]]], [0, 2, 1]), many[:3])
    assert len(many[3:]) == 6
    x, y = grid()
    np.testing.assert_allclose(many.brightness(x, y)[4:5], draw(1, first=4).brightness(x, y), rtol=1e-12)


def test_as_many_numbers_whatever_the_values():
    """What follows in an image's stream does not depend on the galaxy."""
    after = []
    for changed in ({}, {"lumpiness": 0.0, "n": 4.0, "r_eff": 0.1}):
        streams = Streams(1, 0, 3, "source")
        draw_galaxies(streams, **DISC | changed)
        after.append(streams.uniform(2))
    np.testing.assert_array_equal(*after)


def test_positions_broadcast():
    galaxies = draw(5)
    x, y = grid(pixels=21)
    plane = galaxies.brightness(x, y)
    assert plane.shape == (5, 21, 21)
    full = [p.expand(5, 21, 21) for p in (x[None, None], y[None])]
    for positions in ((x[None, None], y[None]), full):
        np.testing.assert_allclose(galaxies.brightness(*positions), plane, rtol=1e-12)
    # positions of its own for each image, as behind a lens
    shift = torch.arange(5, dtype=torch.float64)[:, None, None]
    moved = dataclasses.replace(galaxies, x=galaxies.x + shift[:, 0, 0])
    moved = dataclasses.replace(moved, parts=dataclasses.replace(moved.parts, x=moved.parts.x + shift[:, 0]))
    moved = dataclasses.replace(moved, rings=dataclasses.replace(moved.rings, x=moved.rings.x + shift[:, 0]))
    np.testing.assert_allclose(moved.brightness(full[0] + shift, full[1]), plane, rtol=1e-9)


def test_single_precision_will_do():
    galaxies = draw(40, r_eff=0.2, x=1.3, smallest=0.003)
    x, y = grid(half=2.0, pixels=101)
    exact = galaxies.brightness(x, y)
    light = galaxies.to(dtype=torch.float32).brightness(x.float(), y.float())
    assert light.dtype == torch.float32
    assert (light.double() - exact).abs().amax((1, 2)).div(exact.amax((1, 2))).max() < 1e-4


def test_nowhere_negative_and_smooth_at_the_centre():
    galaxies = draw(30, x=0.0, y=0.0)
    x, y = (p.expand(30, 61, 61).clone().requires_grad_() for p in grid())
    light = galaxies.brightness(x, y)
    assert torch.isfinite(light).all() and (light >= 0).all()
    for slope in torch.autograd.grad(light.sum(), (x, y)):
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize(
    "changed, argument",
    [
        ({"r_eff": -1.0}, "r_eff"),
        ({"n": [1.0, 2.0]}, "n"),
        ({"e1": 0.9, "e2": 0.9}, "e1, e2"),
        ({"x": np.nan}, "x"),
        ({"lumpiness": 3.0}, "lumpiness"),
        ({"smallest": -0.1}, "smallest"),
    ],
)
def test_wrong_parameters_are_named(changed, argument):
    with pytest.raises(InputError) as error:
        draw(**changed)
    assert error.value.argument == argument


def test_one_image_is_a_list_of_one():
    with pytest.raises(InputError, match="index"):
        draw(3)[1]
