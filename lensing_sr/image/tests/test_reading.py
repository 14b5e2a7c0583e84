# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of fields and their readings: sky and noise come first; then light is told apart, and may be told otherwise."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lensing_sr.image.detect import find_lens, find_lights
from lensing_sr.image.field import Field, measure_field
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.pieces import Detections
from lensing_sr.image.prepare import cut_out, prepare, read_again
from lensing_sr.image.reading import ASIDE, INWARDS, READINGS, other_readings, read_field
from lensing_sr.simulation import LensPopulation

ROWS, COLUMNS = np.indices((121, 121))
MIDDLE = (60.0, 60.0)


def blob(distance, angle, width=2.0, peak=25.0):
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    return peak * np.exp(-0.5 * ((COLUMNS - 60 - x) ** 2 + (ROWS - 60 - y) ** 2) / width**2)


@st.composite
def lights(draw):
    """An inner image and up to five lights anywhere beyond its reach, as significance."""
    image = blob(12, draw(st.floats(-np.pi, np.pi)))
    for _ in range(draw(st.integers(1, 5))):
        where = draw(st.floats(25, 50)), draw(st.floats(-np.pi, np.pi))
        image = image + blob(*where, draw(st.floats(1.5, 4.0)), draw(st.floats(10, 200)))
    return image


class TestPieces:
    @settings(max_examples=20, deadline=None)
    @given(image=lights())
    def test_what_is_detected_is_arc_or_neighbour_and_never_both(self, image):
        pieces = Detections(image, MIDDLE).pieces(12.0)
        assert not (pieces.arcs & pieces.neighbours).any()
        bright, _ = ndimage.label(image > 8.0)
        # next to an arc a pixel is left to it
        told = pieces.arcs | pieces.neighbours | ndimage.binary_dilation(pieces.arcs)
        assert told[bright > 0].all()

    @settings(max_examples=20, deadline=None)
    @given(image=lights(), data=st.data())
    def test_neighbours_that_are_kept_are_arcs_and_the_others_stay(self, image, data):
        found = Detections(image, MIDDLE)
        first = found.pieces(12.0)
        assume(first.count)
        kept = data.draw(st.sets(st.sampled_from(first.others)))
        pieces = found.pieces(12.0, keep=kept)
        theirs = np.isin(found.parent, list(kept))[found.labels]
        assert pieces.arcs[theirs].all()
        assert not pieces.neighbours[theirs].any()
        assert pieces.arcs[first.arcs].all()
        assert not (pieces.arcs & pieces.neighbours).any()
        assert pieces.others == tuple(number for number in first.others if number not in kept)
        assert not (pieces.neighbours & ~first.neighbours).any()

    @settings(max_examples=10, deadline=None)
    @given(image=lights())
    def test_all_or_nothing(self, image):
        found = Detections(image, MIDDLE)
        first = found.pieces(12.0)
        everything = found.pieces(12.0, keep=first.others)
        assert everything.count == 0
        assert not everything.neighbours.any()
        np.testing.assert_array_equal(found.pieces(12.0, keep=()).arcs, first.arcs)

    @settings(max_examples=10, deadline=None)
    @given(far=st.permutations([26, 34, 42, 50]), turn=st.floats(-0.2, 0.2))
    def test_the_nearest_neighbour_comes_first(self, far, turn):
        # all on the side of the image, where none is opposite to it
        image = blob(12, 0.0) + sum(blob(r, 0.8 * k - 1.2 + turn, peak=100.0) for k, r in enumerate(far))
        found = Detections(image, MIDDLE)
        distances = [
            np.hypot(*(np.argwhere((found.parent == number)[found.labels]).mean(axis=0) - MIDDLE))
            for number in found.pieces(12.0).others
        ]
        np.testing.assert_allclose(distances, sorted(far), atol=1.0)


def _field(shape, window, factor):
    """A field of which only the geometry matters."""
    start, side = window
    part = tuple(slice(start, start + n) for n in side)
    small = tuple(n // factor for n in side)
    maps = [np.zeros(shape), np.ones(shape), np.zeros(shape, bool)]
    seen = [np.zeros(small), np.ones(small), np.zeros(small, bool), np.ones(small, bool)]
    return Field(*maps, 0.0, 1.0, 1.0, 0.0, part, factor, *seen, [])


class TestField:
    @settings(max_examples=15, deadline=None)
    @given(level=st.floats(-50, 50), scatter=st.floats(0.1, 10.0), wrong=st.floats(0.3, 3.0), seed=st.integers(0, 999))
    def test_sky_and_noise_are_recovered(self, level, scatter, wrong, seed):
        galaxy = 40 * np.exp(-np.hypot(COLUMNS - 60, ROWS - 60) / 5)
        noise = np.random.default_rng(seed).normal(size=galaxy.shape)
        image = LensImage(level + scatter * (galaxy + noise), noise=wrong * scatter, pixel_scale=0.05)
        field = measure_field(image)
        assert abs(field.sky - level) < 0.1 * scatter
        assert field.sky_rms == pytest.approx(scatter, rel=0.05)
        assert field.noise_scale * wrong == pytest.approx(1.0, rel=0.05)
        np.testing.assert_allclose(field.noise, field.noise_scale * wrong * scatter)
        np.testing.assert_array_equal(field.light, image.data - field.sky)
        assert not field.blank[55:66, 55:66].any()

    @settings(max_examples=25, deadline=None)
    @given(
        factor=st.integers(1, 3), start=st.integers(0, 9), side=st.tuples(st.integers(9, 30), st.integers(9, 30)),
        data=st.data(),
    )  # fmt: skip
    def test_binned_pixels_lie_where_their_own_do(self, factor, start, side, data):
        """The centre of a binned pixel, to the half pixel, is that of the pixels of which it is made."""
        field = _field((45, 50), (start, side), factor)
        rows, columns = field.light.shape
        row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
        part = np.zeros(field.light.shape, bool)
        part[row, column] = True
        full = np.zeros(field.data.shape, bool)
        full[field.window] = field.unbinned(part)
        where = np.argwhere(full)
        assert len(where) == factor**2
        np.testing.assert_allclose(field.in_image((column, row)), where.mean(axis=0)[::-1])

    def test_a_large_field_is_binned_and_keeps_its_places(self):
        rows, columns = np.indices((301, 290))
        galaxy = 100 * np.exp(-np.hypot(columns - 143.3, rows - 154.6) / 8)
        image = LensImage(galaxy + np.random.default_rng(1).normal(size=galaxy.shape), noise=1.0, pixel_scale=0.05)
        field = measure_field(image)
        assert (field.factor, field.light.shape) == (2, (150, 145))
        np.testing.assert_allclose(
            field.light, (image.data - field.sky)[:300].reshape(150, 2, 145, 2).mean((1, 3)), atol=1e-12
        )
        np.testing.assert_allclose(field.sigma, 0.5 * field.noise_scale)
        # half a pixel would be an error of 0.7
        assert np.hypot(*np.subtract(field.in_image(read_field(field).centre), (143.3, 154.6))) < 0.2


class TestLights:
    @settings(max_examples=25, deadline=None)
    @given(image=lights(), x=st.floats(-6, 6), y=st.floats(-6, 6), seed=st.integers(0, 999))
    def test_the_lens_is_the_first_of_all_lights(self, image, x, y, seed):
        image = image + 60 * np.exp(-np.hypot(COLUMNS - 60 - x, ROWS - 60 - y) / 3)
        image = image + np.random.default_rng(seed).normal(size=image.shape)
        given = image, np.ones(image.shape), np.zeros(image.shape, bool)
        found = find_lights(*given)
        assert found[0] == find_lens(*given)
        assert len({light for light, _ in found}) == len(found)
        assert all(snr > 5.0 for _, snr in found)

    def test_of_equal_lights_both_take_the_same(self):
        image = blob(10, 0.0) + blob(10, np.pi)
        given = image + image[:, ::-1], np.full(image.shape, 0.1), np.zeros(image.shape, bool)
        assert find_lights(*given)[0] == find_lens(*given)

    def test_none_in_an_empty_field(self):
        empty = np.zeros((80, 80))
        assert find_lights(empty, empty + 1.0, empty > 0) == []


@pytest.fixture(scope="module", params=[True, False], ids=["shining", "dark"])
def images(request):
    """Simulated lenses among neighbours."""
    population = LensPopulation("euclid-vis", shape=(80, 80), scale=1, arc_sn=(60.0, 200.0), lens_light=request.param)
    drawn = population.draw(5, seed=3, keys=("LR", "noise"))
    pixel = population.instrument.pixel_scale * u.arcsec / u.pix
    return [
        LensImage(data, noise=noise, pixel_scale=pixel, unit=population.units["LR"])
        for data, noise in zip(*(drawn[key].double().numpy() for key in ("LR", "noise")), strict=True)
    ]


def _crowd():
    """A galaxy with an arc, four stars and another galaxy: as many readings as there may be."""
    galaxy = 80 * np.exp(-np.hypot(COLUMNS - 60, ROWS - 60) / 4) + 60 * np.exp(-np.hypot(COLUMNS - 60, ROWS - 78) / 4)
    arc = 15 * np.exp(-0.5 * ((np.hypot(COLUMNS - 60, ROWS - 60) - 14) / 1.5) ** 2) * (COLUMNS > 66)
    stars = sum(blob(r, angle, 1.5, 100.0) for r, angle in ((36, 0.3), (40, 2.0), (44, 3.6), (48, 5.0)))
    noise = np.random.default_rng(2).normal(size=galaxy.shape)
    return LensImage(galaxy + arc + stars + noise, noise=1.0, pixel_scale=0.05)


class TestOtherReadings:
    def check(self, field, first, readings):
        assert len(readings) <= READINGS
        for reading in readings:
            for part in (reading.pieces.arcs, reading.pieces.neighbours, reading.pieces.compact):
                assert part.shape == field.light.shape
            assert not (reading.pieces.arcs & reading.pieces.neighbours).any()
            theirs = np.isin(reading.found.parent, reading.kept)[reading.found.labels]
            assert reading.pieces.arcs[theirs].all()
            assert not reading.pieces.neighbours[theirs].any()
            assert reading.kept or reading.found is not first.found
            assert reading.found is first.found or reading.visible

    def test_of_simulated_lenses(self, images):
        found = 0
        for image in images:
            field = measure_field(image)
            first = read_field(field)
            readings = other_readings(field, first)
            self.check(field, first, readings)
            found += len(readings)
            neighbours = first.pieces.others
            ours = [reading.kept for reading in readings if reading.found is first.found]
            assert len(set(ours)) == len(ours)
            assert ours[:1] == ([neighbours] if neighbours else [])
            assert ours[1:] == ([(number,) for number in neighbours[:3]] if len(neighbours) > 1 else [])
        assert found

    def test_no_more_than_eight(self):
        field = measure_field(_crowd())
        first = read_field(field)
        readings = other_readings(field, first)
        assert first.pieces.count >= 4
        self.check(field, first, readings)
        assert len(readings) == READINGS
        assert not readings[0].pieces.neighbours.any()
        others = {id(reading.found) for reading in readings} - {id(first.found)}
        assert len(others) == 2

    def test_a_galaxy_in_the_very_middle_is_looked_for_where_none_is_seen(self, images):
        seen = set()
        for image in [*images, _crowd()]:
            field = measure_field(image)
            first = read_field(field)
            middle = tuple(0.5 * (n - 1) for n in field.light.shape[::-1])
            away = np.hypot(*np.subtract(first.centre, middle))
            aside = not first.visible or away > max(ASIDE, INWARDS * first.radius)
            others = [reading for reading in other_readings(field, first) if reading.found is not first.found]
            there = [reading for reading in others if reading.centre == middle]
            assert bool(there) == first.aside == aside
            assert not any(reading.aside for reading in there)
            seen.add(bool(aside))
        assert seen == {True, False}

    def test_no_galaxy_shines_where_none_may(self, images):
        field = measure_field(images[0])
        first = read_field(field, lens_light=False)
        assert not any(reading.visible for reading in [first, *other_readings(field, first, lens_light=False)])

    def test_nothing_else_to_read_on_empty_sky(self):
        image = LensImage(np.random.default_rng(0).normal(size=(80, 80)), noise=1.0, pixel_scale=0.1)
        assert read_again(image, prepare(image)) == []


class TestReadAgain:
    def test_fit_regions_are_alike_and_hold_the_arcs(self, images):
        for image in [*images, _crowd()]:
            first = prepare(image)
            again = read_again(image, first)
            assert len({part.data.shape for part in again}) <= 1
            for part in again:
                assert part.field is first.field
                np.testing.assert_array_equal(part.full_noise, first.full_noise)
                np.testing.assert_array_equal(part.data, first.field.data[part.slices])
                arcs = np.zeros(image.shape, bool)
                arcs[part.field.window] = part.field.unbinned(part.reading.pieces.arcs)
                np.testing.assert_array_equal(part.mask[arcs[part.slices]], image.mask[part.slices][arcs[part.slices]])

    def test_a_largest_radius_is_heeded(self):
        image = _crowd()
        first = prepare(image, max_radius=1.5)
        assert {part.data.shape for part in [first, *read_again(image, first)]} == {(60, 60)}


class TestCutOut:
    def test_the_first_reading_gives_the_image_as_it_was_prepared(self, images):
        for image in [*images, _crowd()]:
            first = prepare(image)
            same = cut_out(image, first)
            for name in ("slices", "lens_position", "lens_size", "arc_radius", "neighbours", "notes", "flags"):
                assert getattr(same, name) == getattr(first, name)
            for name in ("data", "noise", "mask"):
                np.testing.assert_array_equal(getattr(same, name), getattr(first, name))

    def test_it_is_no_larger_than_needed(self):
        image = _crowd()
        for part in read_again(image, prepare(image)):
            own = cut_out(image, part)
            assert own.reading is part.reading
            assert all(a.stop - a.start <= b.stop - b.start for a, b in zip(own.slices, part.slices, strict=True))


class TestRival:
    @settings(max_examples=8, deadline=None)
    @given(angle=st.floats(-np.pi, np.pi), share=st.floats(0.8, 1.0))
    def test_it_is_where_the_other_galaxy_is(self, angle, share):
        x, y = 60 + 22 * np.cos(angle), 60 + 22 * np.sin(angle)
        image = 60 * np.exp(-np.hypot(COLUMNS - 60, ROWS - 60) / 3)
        image = image + 60 * share * np.exp(-np.hypot(COLUMNS - x, ROWS - y) / 3)
        image = image + np.random.default_rng(0).normal(size=image.shape)
        part = prepare(LensImage(image, noise=1.0, pixel_scale=0.05))
        assert "second galaxy" in part.flags
        np.testing.assert_allclose(np.argwhere(part.rival).mean(axis=0)[::-1], (x, y), atol=1.5)
        assert part.rival.shape == image.shape

    def test_none_is_nowhere(self, images):
        for image in [*images, _crowd()]:
            part = prepare(image)
            assert (part.rival is None) == ("second galaxy" not in part.flags)
            dropped = dataclasses.replace(part.reading, rival=0.0)
            assert cut_out(image, dataclasses.replace(part, reading=dropped)).rival is None


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_shared_noise_is_no_galaxy(seed):
    """Noise that neighbours share shines over wide patches; none of them is taken for a lens galaxy."""
    taps = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
    noise = np.random.default_rng(seed).standard_normal((84, 84))
    for axis in (0, 1):
        noise = np.apply_along_axis(np.convolve, axis, noise, taps, "same")
    noise = noise[2:-2, 2:-2] / noise[2:-2, 2:-2].std()
    every = np.ones(noise.shape, bool)
    image = noise, np.ones(noise.shape), ~every
    assert find_lens(*image)[1] > 5.0
    assert find_lens(*image, every)[1] < 5.0 and find_lights(*image, every) == []
