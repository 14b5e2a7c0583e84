# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""An image of which only the instrument is known: what is taken reaches the fit, and the file that is written."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from scipy.signal import fftconvolve

from lensing_sr import DeflectionField, LensImage, LensingSuperResolver, PixelGrid, SersicSource
from lensing_sr.image.kernels import psf_kernel
from lensing_sr.image.psf import PSF
from lensing_sr.instruments import load_instrument
from lensing_sr.scripts import fits2sr

VIS = load_instrument("euclid-vis")
FINE = 5


def _data(n=48):
    """A lensed source as Euclid's VIS sees it: blurred on fine pixels, summed up, with photon and sky noise."""
    pixel = VIS.pixel_scale / FINE
    grid = PixelGrid((n * FINE, n * FINE), pixel_scale=pixel)
    field = DeflectionField.from_sie(1.1 * u.arcsec, 0.1, 0.05, grid=grid)
    source = SersicSource.from_components(25.0 * u.electron / u.s / u.arcsec**2, 0.25, 1.0, 0.15, -0.1, 0.1, 0.0)
    light = fftconvolve(field.lens(source).value, psf_kernel(VIS, pixel), mode="same")
    clean = np.maximum(light.reshape(n, FINE, n, FINE).sum(axis=(1, 3)), 0.0)
    rng = np.random.default_rng(1)
    sigma = np.sqrt(VIS.background_rms() ** 2 + clean / VIS.total_exposure)
    return clean + sigma * rng.normal(size=clean.shape)


@pytest.fixture(scope="module")
def data():
    return _data()


@pytest.fixture(scope="module")
def resolver():
    return LensingSuperResolver(lens_light=False)


@pytest.fixture(scope="module")
def result(data, resolver):
    return resolver.super_resolve(fits.PrimaryHDU(data), instrument="euclid-vis")


def test_the_instrument_is_enough(result):
    assert abs(result.parameters.loc["theta_E"]["value"] / 1.1 - 1) < 0.01
    assert 0.9 < result.quality.chi2 < 1.1
    assert result.quality.flags == ()


def test_as_if_given_by_hand(data, resolver, result):
    header = fits.Header({"EXPTIME": VIS.total_exposure, "PIXSCALE": VIS.pixel_scale, "BUNIT": "electron/s"})
    by_hand = resolver.super_resolve(fits.PrimaryHDU(data, header), psf=PSF.from_instrument(VIS))
    np.testing.assert_array_equal(by_hand.image.data, result.image.data)
    np.testing.assert_array_equal(by_hand.image.uncertainty.array, result.image.uncertainty.array)
    assert not any("Euclid" in note for note in by_hand.quality.notes)


def test_images_of_different_profiles_are_no_batch(data, resolver, result):
    gaussian = LensImage(data, psf=VIS.psf_fwhm * u.arcsec, instrument=VIS)
    moffat = LensImage(data, instrument=VIS)
    for one, other in zip(resolver.super_resolve_many([gaussian, moffat]), (None, result), strict=True):
        if other is None:
            # seen through the other profile it is another sky
            assert np.abs(one.image.data - result.image.data).max() > 1e-3 * result.image.data.max()
        else:
            np.testing.assert_allclose(one.image.data, other.image.data, atol=1e-6 * other.image.data.max())


def test_what_was_taken_is_written(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fits.writeto("lens.fits", data)
    assert fits2sr.main("lens.fits --instrument euclid-vis --no-lens-light -q".split()) == 0
    notes = fits.getheader("lens_sr.fits")["SRNOTES"]
    for taken in (
        "pixel scale of Euclid VIS taken: 0.1 arcsec",
        "PSF of Euclid VIS taken: Moffat of FWHM 0.13 arcsec and beta 1.71",
        "unit electron / s of Euclid VIS taken for the photon noise",
        "exposure time 2264 s of Euclid VIS taken for the photon noise",
    ):
        assert taken in notes
