# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of reading again: a lens that was misread is recovered, what was read rightly stays as it was, and is told."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lensing_sr import LensImage, LensingSuperResolver, _readings
from lensing_sr._explanation import Verdict, left_in_the_middle
from lensing_sr._packing import LEFT_OVER, accounts_for
from lensing_sr._readings import better_readings, takes_over, worth_another
from lensing_sr.image.prepare import prepare, read_again
from lensing_sr.quality import Quality
from lensing_sr.simulation import LensPopulation

QUICK = {"scale": 1, "source": "sersic", "potential": False}


def _draw(population, seed, first=0, companion=None):
    """A simulated lens, perhaps with the lens galaxy once more some (rows, columns) away, and its Einstein radius."""
    drawn = population.draw(1, seed=seed, first=first, keys=("LR", "noise", "psf", "theta_E", "lens_light_LR"))
    data, noise, psf, light = (drawn[key][0].double().numpy() for key in ("LR", "noise", "psf", "lens_light_LR"))
    if companion is not None:
        data = data + 0.8 * ndimage.shift(light, companion, order=1)
    pixel = population.instrument.pixel_scale * u.arcsec / u.pix
    image = LensImage(data, noise=noise, pixel_scale=pixel, unit=population.units["LR"], psf=psf)
    return image, float(drawn["theta_E"][0])


def _theta(result):
    return float(result.parameters.loc["theta_E"]["value"])


@pytest.fixture(scope="module")
def misread():
    """Two lenses whose outer images are masked as neighbours at first, and one that is read rightly."""
    population = LensPopulation(
        "euclid-vis", shape=(80, 80), scale=1, arc_sn=(80.0, 120.0), neighbours=False, psf_error=False
    )
    return {seed: _draw(population, seed) for seed in (12, 7, 5)}


def test_a_lens_whose_outer_image_was_masked_is_recovered(misread):
    image, theta_E = misread[12]
    first = prepare(image)
    assert first.arc_radius < 0.5 * theta_E and first.neighbours == 1
    result = LensingSuperResolver(**QUICK).super_resolve(image)
    # its profile is told only roughly: which of two equally good ends of a flat valley is found, rounding decides
    found = result.parameters.loc["theta_E"]
    assert abs(found["value"] - theta_E) < found["error_95"] < 0.1 * theta_E
    assert result.quality.trustworthy
    assert result.quality.lens_evidence > 100
    # its galaxy, outshone by the images, had been overlooked
    assert "read again: a galaxy is taken for the lens" in result.quality.notes
    assert not any("masked" in note for note in result.quality.notes)


@pytest.fixture(scope="module")
def glances(misread):
    """The network alone is quick: its results one by one."""
    resolver = LensingSuperResolver(method="network", **QUICK)
    return resolver, {seed: resolver.super_resolve(misread[seed][0]) for seed in (7, 5)}


def test_a_batch_is_a_loop(misread, glances):
    resolver, alone = glances
    together = resolver.super_resolve_many([misread[seed][0] for seed in alone])
    for one, (seed, other) in zip(together, alone.items(), strict=True):
        np.testing.assert_allclose(one.parameters["value"], other.parameters["value"], rtol=1e-3, atol=1e-3)
        assert one.quality.notes == other.quality.notes
        assert _theta(one) == pytest.approx(misread[seed][1], rel=0.05)
    assert any(note.startswith("read again: ") for note in together[0].quality.notes)
    assert not any("again" in note for note in together[1].quality.notes)


def test_what_was_read_rightly_is_not_read_again(misread, glances, monkeypatch):
    resolver, alone = glances

    def refuse(*_, **settings):
        raise AssertionError("read again")

    monkeypatch.setattr(_readings, "read_again", refuse)
    result = resolver.super_resolve(misread[5][0])
    np.testing.assert_array_equal(result.parameters["value"], alone[5].parameters["value"])
    np.testing.assert_array_equal(result.image.data, alone[5].image.data)
    with pytest.raises(AssertionError, match="read again"):
        resolver.super_resolve(misread[7][0])


def test_a_faint_galaxy_within_a_ring_is_not_overlooked():
    """Images outshine it, so that it is not seen at first; what it leaves in the middle of the residual tells of it."""
    population = LensPopulation("hsc-i", scale=1, arc_sn=(60.0, 200.0), lumpiness=0.0)
    image, theta_E = _draw(population, 65, 2)
    assert not prepare(image).lens_visible
    alone = LensingSuperResolver(lens_light=False, **QUICK).super_resolve(image)
    found = LensingSuperResolver(**QUICK).super_resolve(image)
    assert "lens light not modelled" in alone.quality.flags
    assert found.quality.flags == () and "read again: a galaxy is taken for the lens" in found.quality.notes
    assert found.quality.chi2 < 1.05 < alone.quality.chi2
    assert _theta(found) == pytest.approx(theta_E, rel=0.03)
    assert abs(_theta(alone) - theta_E) > 2.0 * abs(_theta(found) - theta_E)


@pytest.mark.parametrize("instrument, seed, number", [("euclid-vis", 31000, 4), ("hst-wfc3-f160w", 31002, 8)])
def test_a_galaxy_that_its_images_outshine_is_looked_for_in_the_middle(instrument, seed, number):
    """A galaxy within a bright ring, and one between images no further away than the PSF: neither is a peak."""
    settings = {"neighbours": False, "psf_error": False, "correlated_noise": 0.0, "gamma": 2.0, "lumpiness": 0.0}
    image, theta_E = _draw(LensPopulation(instrument, scale=1, arc_sn=(60.0, 200.0), **settings), seed, number)
    assert not prepare(image).lens_visible
    found = LensingSuperResolver(**QUICK).super_resolve(image)
    assert any("a galaxy is taken for the lens" in note for note in found.quality.notes)
    assert found.quality.trustworthy and found.quality.chi2 < 1.1
    assert _theta(found) == pytest.approx(theta_E, rel=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 5.0))
def test_light_in_the_middle_counts_as_it_stands_out(seed, brightness):
    """Noise alone leaves a number of order one, light its sum over the noise of it, what is further out nothing."""
    rows, columns = np.indices((40, 40)) - 19.5
    distance = torch.as_tensor(np.hypot(rows, columns))
    noise = torch.as_tensor(np.random.default_rng(seed).normal(size=distance.shape))
    inside, count = distance < 6.0, int((distance < 6.0).sum())
    assert abs(left_in_the_middle(noise, distance, 6.0, 0.0)) < 5.0
    light = left_in_the_middle(noise + brightness * inside, distance, 6.0, 0.0)
    assert light == pytest.approx(brightness * count**0.5 + left_in_the_middle(noise, distance, 6.0, 0.0), rel=1e-5)
    assert left_in_the_middle(brightness * ~inside, distance, 6.0, 0.0) == 0.0
    assert left_in_the_middle(noise + brightness * inside, distance, 6.0, 0.5) == pytest.approx(light / 2)


class _Told:
    """An explanation that says of each reading what it was told to say."""

    def __init__(self, batch, say):
        self._batch, self._say = batch, say

    def values(self, i):
        return {}, {}

    def verdict(self, i, values):
        evidence, flags, *doubt = self._say(self._batch.prepared[i].reading)
        return Verdict(1.0, evidence, flags, 0.5, *doubt)


@pytest.fixture(scope="module")
def first(misread):
    """An image, and how it is read first."""
    image, _ = misread[12]
    return image, prepare(image)


class TestBetterReadings:
    def choose(self, image, first, say, evidence=0.0, flags=(), doubt=math.nan):
        quality = Quality(chi2=1.0, noise_scale=1.0, flags=flags, lens_evidence=evidence, doubt=doubt)
        return better_readings([image], [first], [quality], lambda batch, _: _Told(batch, say), batch=64, device="cpu")

    def test_the_best_is_chosen_and_cut_out_for_itself(self, first):
        image, before = first
        readings = [part.reading for part in read_again(image, before)]
        for best in readings:
            # readings are made anew: told apart by what they keep, and about where
            own = best.kept, best.centre
            (found,) = self.choose(image, before, lambda r: (90.0 if (r.kept, r.centre) == own else 50.0, ()))
            assert (found.reading.kept, found.reading.centre) == own
            assert [note for note in found.notes if note.startswith("read again: ")] == found.notes[-1:]
            assert ("neighbour" in found.notes[-1]) == bool(best.kept)
            assert ("galaxy is" in found.notes[-1]) == (best.found is not before.reading.found)

    @settings(max_examples=10, deadline=None)
    @given(before=st.floats(-50.0, 100.0), gain=st.floats(-50.0, 50.0))
    def test_it_must_be_clearly_better(self, first, before, gain):
        (found,) = self.choose(*first, lambda _: (before + gain, ()), evidence=before)
        assert (found is not None) == (before + gain > max(before, 10.0) + 10.0)

    @settings(max_examples=10, deadline=None)
    @given(before=st.floats(0.0, 1.0), after=st.floats(0.0, 1.0))
    def test_half_of_the_doubt_makes_up_for_evidence_and_flags(self, first, before, after):
        (found,) = self.choose(*first, lambda _: (-20.0, ("poor fit",), after), doubt=before)
        assert (found is not None) == (after < 0.5 * before)

    @pytest.mark.parametrize(
        "best, rest, before",
        [
            pytest.param((0.0, (), 0.1), (1e3, (), 0.21), {"doubt": 0.9}, id="the least doubtful"),
            # of a flawed lens, though nothing is clearly better
            pytest.param((-20.0, ("swapped",)), (-30.0, ("swapped",)), {"flags": ("edge",)}, id="the most evident"),
        ],
    )
    def test_the_likeliest_is_chosen(self, first, best, rest, before):
        image, prepared = first
        for own in [(part.reading.kept, part.reading.centre) for part in read_again(image, prepared)]:
            (found,) = self.choose(image, prepared, lambda r: best if (r.kept, r.centre) == own else rest, **before)
            assert (found.reading.kept, found.reading.centre) == own

    def test_a_flagged_lens_is_none_where_nothing_tells_of_doubt(self, first):
        assert self.choose(*first, lambda _: (1e4, ("swapped",))) == [None]

    def test_an_odd_lens_that_does_not_shine_has_no_say(self, first):
        assert not first[1].lens_visible
        assert self.choose(*first, lambda _: (50.0, ()), evidence=1e4) == [None]
        assert self.choose(*first, lambda _: (50.0, ()), evidence=1e4, flags=("swapped",)) != [None]

    def test_no_images_no_readings(self):
        assert better_readings([], [], [], None, batch=64, device="cpu") == []


def test_worth_another(misread):
    part = prepare(misread[12][0])
    sound = Quality(chi2=1.0, noise_scale=1.0, lens_evidence=500.0)
    odd = dataclasses.replace(sound, flags=("swapped",))
    assert not worth_another(part, sound, {})
    assert worth_another(part, dataclasses.replace(sound, lens_evidence=50.0), {})
    assert worth_another(part, odd, {})
    # what preparation itself found is no reason, but for a second galaxy that may be an image
    assert not worth_another(dataclasses.replace(part, flags=["swapped"]), odd, {})
    rival = dataclasses.replace(sound, flags=("second galaxy",))
    assert worth_another(dataclasses.replace(part, flags=["second galaxy"]), rival, {})
    # nor is anything that is said of a galaxy where one is expected
    reading = dataclasses.replace(part.reading, visible=True, centre=part.reading.middle)
    shining = dataclasses.replace(part, lens_visible=True, reading=reading)
    assert not worth_another(shining, odd, {})
    off = dataclasses.replace(reading, centre=tuple(c + reading.radius for c in reading.middle))
    assert worth_another(dataclasses.replace(shining, reading=off), odd, {})
    # what the networks see elsewhere is one
    assert not worth_another(shining, sound, {"apart": 0.1})
    assert worth_another(shining, sound, {"apart": 0.2})
    assert worth_another(shining, dataclasses.replace(sound, doubt=0.3), {"apart": 0.1})


FLAGS = st.frozensets(st.sampled_from(["poor fit", "edge", "swapped"]))


@settings(max_examples=200, deadline=None)
@given(flags=FLAGS, before=FLAGS, evidence=st.floats(-50, 500), least=st.floats(-50, 500))
def test_what_takes_the_place_of_a_first_result(flags, before, evidence, least):
    """Fewer flags do, and what is better upon flags; nothing that has flags does, upon a lens that has none."""
    first = Quality(chi2=1.0, noise_scale=1.0, flags=tuple(before), lens_evidence=least)
    other = dataclasses.replace(first, flags=tuple(flags), lens_evidence=evidence)
    assert takes_over(other, first) or not (flags < before and evidence > 10.0)
    assert not takes_over(other, first) or flags < before or not flags or (before and least < min(100.0, evidence))
    clearer = takes_over(dataclasses.replace(other, doubt=0.19), dataclasses.replace(first, doubt=0.4))
    assert clearer or not before  # half of the doubt, where there were reasons against the first
    assert not (takes_over(other, first) or clearer) or before or not flags


class TestRival:
    """A second galaxy, or an image of the source?"""

    population = LensPopulation("euclid-vis", shape=(64, 64), scale=1, arc_sn=(60.0, 200.0))

    def test_an_image_that_the_lens_explains_is_no_rival(self):
        image, theta_E = _draw(self.population, 5, first=81)
        assert "second galaxy" in prepare(image).flags
        result = LensingSuperResolver(**QUICK).super_resolve(image)
        assert _theta(result) == pytest.approx(theta_E, rel=0.02)
        assert result.quality.trustworthy
        assert "what looks like a second galaxy is explained as an image of the source" in result.quality.notes

    def test_a_galaxy_that_it_does_not_explain_is_one(self):
        image, _ = _draw(self.population, 5, first=81, companion=(9, -6))
        result = LensingSuperResolver(**QUICK).super_resolve(image)
        assert result.quality.flags == ("second galaxy",)
        assert not any("explained" in note for note in result.quality.notes)

    @settings(max_examples=25, deadline=None)
    @given(
        share=st.floats(0.0, 1.5), peak=st.floats(100.0, 1e4), unit=st.floats(1e-6, 1e6), seed=st.integers(0, 999)
    )
    def test_arcs_account_for_what_they_leave_nothing_of(self, share, peak, unit, seed):
        rows, columns = np.indices((40, 40))
        light = peak * np.exp(-0.5 * ((rows - 12) ** 2 + (columns - 25) ** 2) / 9)
        noise = np.random.default_rng(seed).normal(size=light.shape)
        given = (light * (1 - share) + noise) * unit, share * light * unit, np.full(light.shape, unit)
        left = ((1 - share) / max(share, 1e-9)) ** 2
        if not math.isclose(left, LEFT_OVER, rel_tol=0.3):
            assert accounts_for(*given, light > 2.0) == (left < LEFT_OVER)
        # elsewhere the arcs account for nothing
        assert not accounts_for(noise * 2 * unit, 0 * light, given[2], light < 0.1)

    def test_without_arcs_nothing_is_accounted_for(self):
        one = np.ones((5, 5))
        assert accounts_for(0 * one, 9 * one, one, one > 0)
        assert not accounts_for(0 * one, 9 * one, one, one < 0)
        assert not accounts_for(0 * one, 0 * one, one, one > 0)
