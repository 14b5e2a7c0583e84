# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of a coarser image: the same light, the noise that it states, the same sky, the same optics."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.wcs import WCS

from lensing_sr.errors import InputError
from lensing_sr.image import LensImage, degrade
from lensing_sr.image.degradation import unshared
from lensing_sr.image.noise import noise_correlation, noise_scale
from lensing_sr.simulation.detector import REACH, correlated, correlation_taps

SIDE = 240


def noise_field(seed=0, correlation=0.0, side=SIDE):
    white = torch.as_tensor(np.random.default_rng(seed).standard_normal((1, side + 2 * REACH, side + 2 * REACH)))
    return correlated(white, torch.as_tensor(correlation_taps(correlation)))[0].numpy()


def image_of(data, **changes):
    return LensImage(data, **{"noise": 1.0, "pixel_scale": 0.05, "unit": "electron/s"} | changes)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_scatter_is_the_stated_sigma(scale, correlation):
    coarse = degrade(image_of(noise_field(1, correlation)), scale)
    assert np.allclose(coarse.noise / scale**2, coarse.noise[0, 0] / scale**2)
    assert coarse.noise[0, 0] == pytest.approx(scale**2, rel=0.02)  # the noise scale is measured: 1 to a per cent
    assert coarse.data.std() / coarse.noise[0, 0] == pytest.approx(1.0, abs=3.5 / np.sqrt(2 * coarse.data.size))


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_little_noise_is_shared_with_the_native_pixels(correlation):
    """White noise leaves a share of 1 / s^2 of the variance; binning alone would leave all of it."""
    scale, data = 2, noise_field(2, correlation)
    coarse = degrade(image_of(data), scale)
    binned = data.reshape(SIDE // scale, scale, SIDE // scale, scale).sum(axis=(1, 3))
    share = np.mean(coarse.data * binned) / np.mean(coarse.data**2)
    expected = (1 + 2 * correlation + correlation**2) / scale**2
    assert share == pytest.approx(expected, abs=0.05)
    assert abs(noise_correlation(coarse.data, coarse.noise, blank=np.ones(coarse.shape, bool))) < 0.12


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_what_is_unshared_does_not_correlate_with_the_coarse_noise(scale, correlation):
    """Whatever place it has in its coarse pixel, and whatever sigma; and its scatter is as stated."""
    rng = np.random.default_rng(5)
    sigma = np.repeat(rng.uniform(0.8, 1.2, (SIDE // 24, SIDE // 24)), 24, axis=0).repeat(24, axis=1)
    image = image_of(sigma * noise_field(6, correlation), noise=sigma)
    coarse = degrade(image, scale, seed=3).data.repeat(scale, axis=0).repeat(scale, axis=1) / scale**2
    data, stated = unshared(image, scale, seed=3)
    assert np.std(data / stated) == pytest.approx(1.0, abs=0.03)
    limit = 4.5 / np.sqrt(data.size / scale**2)
    for i in range(scale):
        for j in range(scale):
            apart, native = data[i::scale, j::scale], image.data[: len(data), : len(data)][i::scale, j::scale]
            for shift in (0, 1):  # its own coarse pixel, and the next one
                near = np.roll(coarse, shift * scale, axis=1)[i::scale, j::scale]
                assert abs(np.mean(apart * near)) < limit
            assert np.mean(native * coarse[i::scale, j::scale]) > 0.5 / scale**2
    other = unshared(image, scale, seed=4)[0]
    assert np.mean(other * coarse) > 0.05  # noise of another seed does not help


def test_the_noise_scale_of_the_map_is_taken_into_account():
    """A map that is too large by half is corrected before noise is added."""
    data = noise_field(3)
    coarse = degrade(image_of(data, noise=1.5), 2)
    assert noise_scale(coarse.data, coarse.noise) == pytest.approx(1.0, rel=0.04)


@pytest.mark.parametrize("scale", [2, 3])
def test_flux_is_conserved_and_sigma_follows_the_block(scale):
    """With noise that is tiny, the coarse image is the sums, of whatever is left of full blocks."""
    rng = np.random.default_rng(4)
    sides = 61, 70
    data = rng.uniform(1.0, 2.0, sides)
    noise = 1e-7 * rng.uniform(1.0, 3.0, sides)
    coarse = degrade(image_of(data, noise=noise), scale, prepared=SimpleNamespace(full_noise=noise, correlation=0.0))
    ny, nx = (n // scale for n in sides)
    assert coarse.shape == (ny, nx)
    kept = data[: ny * scale, : nx * scale]
    assert coarse.data.sum() == pytest.approx(kept.sum(), rel=1e-6)
    squares = (noise**2)[: ny * scale, : nx * scale].reshape(ny, scale, nx, scale).sum(axis=(1, 3))
    np.testing.assert_allclose(coarse.noise, scale * np.sqrt(squares))


def test_per_area_images_are_averaged():
    data = 5.0 + 1e-6 * noise_field(5, side=60)
    coarse = degrade(image_of(data, noise=1e-6, unit="MJy/sr"), 2)
    np.testing.assert_allclose(coarse.data, 5.0, atol=1e-5)
    assert np.median(coarse.noise) == pytest.approx(1e-6, rel=0.1)  # four times the sigma, over four pixels


def test_a_masked_pixel_masks_its_coarse_pixel_alone():
    mask = np.zeros((64, 64), dtype=bool)
    mask[10, 21] = mask[40, 40] = mask[41, 41] = True
    data = noise_field(6, side=64)
    data[10, 21] = np.nan
    coarse = degrade(image_of(data, mask=mask), 2)
    assert np.argwhere(coarse.mask).tolist() == [[5, 10], [20, 20]]
    assert np.isfinite(coarse.data[~coarse.mask]).all()


@pytest.mark.parametrize("scale", [2, 3])
def test_corners_stay_where_they_are_on_the_sky(scale):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10.0, -30.0], [12.3, 45.6]
    wcs.wcs.cd = np.array([[-0.8, 0.6], [0.6, 0.8]]) * 0.05 / 3600
    coarse = degrade(LensImage(noise_field(7, side=65), noise=1.0, wcs=wcs), scale)
    last = coarse.shape[0] * scale - 0.5
    for here, there in (((-0.5, -0.5), (-0.5, -0.5)), ((last, last), (coarse.shape[0] - 0.5,) * 2)):
        separation = wcs.pixel_to_world(*here).separation(coarse.grid.wcs.pixel_to_world(*there))
        assert separation.arcsec < 1e-6
    assert coarse.grid.pixel_scale.value == pytest.approx(scale * 0.05)


def test_optics_stay_the_same():
    data = noise_field(8, side=64)
    kernel = np.outer(*[np.exp(-0.5 * (np.arange(-4, 5) / 1.3) ** 2)] * 2)
    coarse = degrade(image_of(data, psf=kernel, psf_oversampling=3), 2)
    native = image_of(data, psf=kernel, psf_oversampling=3)
    assert coarse.psf.oversampling == 6
    np.testing.assert_allclose(coarse.psf.kernel, native.psf.kernel)
    # on the pixels of the native image both are one kernel
    np.testing.assert_allclose(coarse.psf.kernel_at(0.1, 2), native.psf.kernel_at(0.05, 1))
    assert degrade(image_of(data, psf=0.1 * u.arcsec), 2).psf.fwhm == 0.1 * u.arcsec
    assert degrade(image_of(data), 2).psf is None


def test_seeds():
    image = image_of(noise_field(9, side=64))
    again, other = degrade(image, 2, seed=0), degrade(image, 2, seed=1)
    np.testing.assert_array_equal(degrade(image, 2).data, again.data)
    assert not np.array_equal(again.data, other.data)


@pytest.mark.parametrize("scale", [1, 2.5, 0, -2, "2", None, True, np.nan])
def test_scales_that_do_not_bin(scale):
    with pytest.raises(InputError, match="scale: must be a whole number of at least 2"):
        degrade(image_of(noise_field(side=64)), scale)


def test_too_few_coarse_pixels():
    with pytest.raises(InputError, match="must leave 16 coarse pixels a side.*4 for 60 x 60"):
        degrade(image_of(noise_field(side=60)), 4)
