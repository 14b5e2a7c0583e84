# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the noise: its scale is right on white noise whatever lies in the field; its units are those of the image."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lensing_sr.image.noise import estimate_noise_map, noise_correlation, noise_scale
from lensing_sr.image.sky import blank_sky, clipped_std, sky_level, smoothed_snr

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def white(shape=(100, 100), seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def galaxies(shape, seed, number=6, brightness=60.0):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    image = np.zeros(shape)
    places = rng.uniform((0, 0, 1), (shape[1], shape[0], 6), size=(number, 3))
    for x, y, size in places:
        image += brightness * np.exp(-np.hypot(columns - x, rows - y) / size)
    return image


class TestNoiseScale:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6), side=st.sampled_from([64, 101, 150]))
    def test_right_on_white_noise(self, seed, scale, side):
        image = white((side, side), seed, scale)
        assert noise_scale(image, np.ones(image.shape)) == pytest.approx(scale, rel=0.05)

    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10**6))
    def test_unmoved_by_galaxies(self, seed):
        shape = (150, 150)
        image = white(shape, seed) + galaxies(shape, seed)
        assert noise_scale(image, np.ones(shape)) == pytest.approx(1.0, rel=0.05)

    def test_unmoved_by_a_sloping_sky(self):
        image = white((120, 120)) + np.linspace(0, 30, 120)
        assert noise_scale(image, np.ones(image.shape)) == pytest.approx(1.0, rel=0.05)

    def test_follows_a_map_that_varies(self):
        noise = np.linspace(0.5, 3.0, 120) * np.ones((120, 1))
        assert noise_scale(0.65 * noise * white((120, 120)), noise) == pytest.approx(0.65, rel=0.05)

    def test_masked_pixels_do_not_count(self):
        image = white((100, 100))
        mask = np.random.default_rng(1).random(image.shape) < 0.1
        image[mask] = 1e9
        assert noise_scale(image, np.ones(image.shape), mask) == pytest.approx(1.0, rel=0.05)

    def test_bad_pixels_need_no_mask(self):
        image, noise = white((100, 100)), np.ones((100, 100))
        image[3, 4], noise[50, 50], noise[20, 20] = np.nan, np.inf, 0.0
        assert noise_scale(image, noise) == pytest.approx(1.0, rel=0.05)

    def test_one_where_nothing_can_be_told(self):
        image = white((100, 100), scale=3.0)
        mask = np.ones(image.shape, bool)
        assert noise_scale(image, np.ones(image.shape), mask) == 1.0
        mask[40:48, 40:48] = False
        assert noise_scale(image, np.ones(image.shape), mask) == 1.0

    @pytest.mark.parametrize("model", [2, 3])
    def test_reference_simulations_have_the_right_map(self, model):
        path = DATA / "reference" / f"model{model}_no_sub.npz"
        if not path.exists():
            pytest.skip(f"reference data not found: {path.name}")
        with np.load(path) as cell:
            images, models = cell["LR"].astype(float), cell["LR_model"].astype(float)
            sky, exposure = cell["bkg_rms_LR"], cell["exp_time_LR"]
        scales = [
            noise_scale(image, np.sqrt(s**2 + np.maximum(truth, 0) / t))
            for image, truth, s, t in zip(images, models, sky, exposure)
        ]
        np.testing.assert_allclose(scales, 1.0, atol=0.07)
        assert np.median(scales) == pytest.approx(1.0, abs=0.02)

    def test_slacs_maps_are_too_large(self):
        folders = sorted((DATA / "real" / "slacs").glob("J*"))[:6]
        if not folders:
            pytest.skip("real data not found")
        for folder in folders:
            image, noise = (fits.getdata(folder / f"{name}.fits").astype(float) for name in ("image", "noise"))
            assert 0.58 < noise_scale(image, noise, noise > 1e6) < 0.72


class TestCorrelation:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
    def test_none_in_white_noise(self, seed, scale):
        assert abs(noise_correlation(white((120, 120), seed, scale), np.ones((120, 120)))) < 0.08

    @pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
    def test_of_smoothed_noise(self, sigma):
        image = ndimage.gaussian_filter(white((200, 200)), sigma)
        image /= image.std()
        expected = np.mean(image[:, 1:] * image[:, :-1])
        assert noise_correlation(image, np.ones(image.shape)) == pytest.approx(expected, abs=0.05)

    def test_zero_where_nothing_can_be_told(self):
        assert noise_correlation(white((20, 20)), np.ones((20, 20)), np.ones((20, 20), bool)) == 0.0


class TestEstimate:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6))
    def test_sky_rms_without_a_header(self, seed, scale):
        image = scale * (white((120, 120), seed) + galaxies((120, 120), seed, 3))
        noise, note = estimate_noise_map(image)
        assert np.ptp(noise) == 0
        assert noise[0, 0] == pytest.approx(scale, rel=0.06)
        assert "sky rms only" in note

    @pytest.mark.parametrize(
        ("header", "electrons"),
        [
            ({"BUNIT": "electron/s", "EXPTIME": 500.0, "GAIN": 7.0}, 500.0),
            ({"BUNIT": "ELECTRONS", "EXPTIME": 500.0}, 1.0),
            ({"BUNIT": "counts/s", "TEXPTIME": 200.0, "CCDGAIN": 2.0}, 400.0),
            ({"BUNIT": "adu", "GAIN": 1.5}, 1.5),
            ({"BUNIT": "DN/s", "EXPOSURE": 100.0}, 100.0),
        ],
    )
    def test_photon_noise_of_a_known_exposure(self, header, electrons):
        rng = np.random.default_rng(3)
        rows, columns = np.indices((120, 120))
        sky_rms = 5.0 / electrons
        truth = 4000.0 / electrons * np.exp(-0.5 * ((columns - 60) ** 2 + (rows - 60) ** 2) / 8.0**2)
        image = rng.poisson(truth * electrons) / electrons + rng.normal(scale=sky_rms, size=truth.shape)
        noise, note = estimate_noise_map(image, header=header)
        expected = np.sqrt(sky_rms**2 + truth / electrons)
        assert np.median(noise / expected) == pytest.approx(1.0, rel=0.05)
        assert noise[60, 60] == pytest.approx(expected[60, 60], rel=0.1)
        assert "photon noise" in note

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            (None, "unit of the image is unknown"),
            ({"BUNIT": "electron/s"}, "no exposure time"),
            ({"BUNIT": "electron/s", "EXPTIME": -1.0}, "no exposure time"),
            ({"BUNIT": "electron/s", "EXPTIME": "long"}, "no exposure time"),
            ({"BUNIT": "MJy/sr", "EXPTIME": 100.0}, "no photons can be counted"),
        ],
    )
    def test_says_why_photons_are_left_out(self, header, reason):
        assert reason in estimate_noise_map(white(), header=header)[1]

    def test_positive_everywhere_even_without_scatter(self):
        image = np.zeros((50, 50))
        image[20:30, 20:30] = 7.0
        noise, _ = estimate_noise_map(image)
        assert np.all(noise > 0)
        assert np.all(np.isfinite(noise))

    def test_bad_pixels_are_left_out(self):
        image = white((100, 100))
        image[10:12] = np.nan
        image[40, 40] = 1e20
        mask = image > 1e10
        noise, _ = estimate_noise_map(image, mask, {"BUNIT": "electron/s", "EXPTIME": 100.0})
        assert np.all(np.isfinite(noise))
        assert np.median(noise) == pytest.approx(1.0, rel=0.05)


class TestSky:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10**6), level=st.floats(-50, 50))
    def test_level_and_rms(self, seed, level):
        image = level + white((150, 150), seed) + galaxies((150, 150), seed, 4)
        found, rms = sky_level(image, blank_sky(image, np.ones(image.shape)))
        # the exponential wings of galaxies never quite end
        assert found - level == pytest.approx(0.0, abs=0.6)
        assert rms == pytest.approx(1.0, rel=0.15)

    def test_galaxies_are_not_blank(self):
        image = white((120, 120))
        image[50:70, 50:70] += 10.0
        blank = blank_sky(image, np.ones(image.shape))
        assert not blank[50:70, 50:70].any()
        assert blank.mean() > 0.7

    def test_nothing_to_measure(self):
        level, rms = sky_level(white(), np.zeros((100, 100), bool))
        assert level == 0.0
        assert np.isnan(rms)
        assert np.isnan(clipped_std(np.array([])))
        assert not blank_sky(white(), np.ones((100, 100)), np.ones((100, 100), bool)).any()

    @pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
    def test_smoothed_white_noise_has_unit_scatter(self, sigma):
        mask = np.random.default_rng(5).random((200, 200)) < 0.2
        noise = np.full((200, 200), 4.0)
        snr = smoothed_snr(white((200, 200), scale=4.0), noise, mask, sigma)
        assert snr[20:-20, 20:-20].std() == pytest.approx(1.0, rel=0.1)

    def test_clipped_std_survives_values_piled_up_at_zero(self):
        values = np.maximum(white((300, 300)), 0.0)  # half of them: a median deviation would be zero
        assert clipped_std(values) == pytest.approx(values.std(), rel=0.25)
