# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of LensImage: what is bad is masked and said, units cross once, cut-outs stay where they are on the sky."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty

from lensing_sr.errors import InputError, NoiseError, PixelScaleError
from lensing_sr.geometry.tests.test_wcs import CASES, NX, NY, make_wcs
from lensing_sr.image._units import is_per_area, parse_unit
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.psf import PSF

SCALE = 0.05 * u.arcsec / u.pix


@pytest.fixture
def data():
    return np.random.default_rng(3).normal(size=(NY, NX))


def test_from_arrays(data):
    data = data.astype(np.float32)
    image = LensImage(data, noise=0.5, psf=0.1 * u.arcsec, pixel_scale=SCALE, unit="ct / s", name="J1")
    assert image.data.dtype == image.noise.dtype == np.float64 and image.mask.dtype == bool
    assert image.shape == (NY, NX) == image.grid.shape
    assert np.all(image.noise == 0.5) and not image.mask.any() and image.notes == []
    assert image.unit == u.ct / u.s and not image.per_area and image.grid.pixel_scale == SCALE
    assert repr(image) == (
        "<LensImage 'J1' 80 x 101 pixels of 0.05 arcsec, ct / s, noise 0.5, PSF FWHM 0.1 arcsec, no pixels masked>"
    )


def test_big_endian_and_read_only_data_are_copied(data):
    swapped = data.astype(">f8")
    swapped.flags.writeable = False
    image = LensImage(swapped, pixel_scale=SCALE)
    assert image.data.dtype.isnative and np.array_equal(image.data, data)
    image.data[0, 0] = 9
    assert swapped[0, 0] != 9


def test_nan_inf_and_fill_values_are_masked_and_kept(data):
    data[5], data[:, 7], data[0, 0], data[1, 1] = np.nan, np.inf, -1e30, 3e38
    image = LensImage(data, pixel_scale=SCALE)
    expected = np.zeros_like(image.mask)
    expected[5], expected[:, 7], expected[0, 0], expected[1, 1] = True, True, True, True
    np.testing.assert_array_equal(image.mask, expected)
    assert np.isnan(image.data[5, 0]) and f"{expected.sum()} pixels that are not finite masked" in image.notes


def test_masked_array_and_mask_add_up(data):
    array = np.ma.masked_array(data, mask=np.eye(NY, NX, dtype=bool))
    mask = np.zeros((NY, NX))
    mask[3, 4], mask[6, 2] = 7, np.nan
    image = LensImage(array, mask=mask, pixel_scale=SCALE)
    np.testing.assert_array_equal(image.mask, np.eye(NY, NX, dtype=bool) | (mask != 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_saturated_integers(dtype):
    data = np.arange(400, dtype=dtype).reshape(20, 20) % 100
    data[4, 5] = np.iinfo(dtype).max
    image = LensImage(data, pixel_scale=SCALE)
    assert image.mask.sum() == 1 and image.mask[4, 5] and "saturated" in " ".join(image.notes)
    assert image.data[4, 5] == np.iinfo(dtype).max  # no wrap-around


def test_quantity_data_brings_its_unit(data):
    image = LensImage(data * u.MJy / u.sr, noise=2 * u.kJy / u.sr, pixel_scale=SCALE)
    assert image.unit == u.MJy / u.sr and image.per_area
    np.testing.assert_allclose(image.noise, 2e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e8, 1e16, 1.1e3])
def test_bad_sigma_is_masked(data, bad):
    noise = np.full(data.shape, 1.0)
    noise[2, 3] = bad
    image = LensImage(data, noise=noise, pixel_scale=SCALE)
    assert image.mask.sum() == 1 and image.mask[2, 3] and np.isinf(image.noise[2, 3])
    assert "1 pixels without a good sigma masked" in image.notes


def test_bad_sigma_may_be_the_majority(data):
    """With 70 % of 1e8 in a map its median is 1e8: the good pixels are those that remain."""
    noise = np.full(data.shape, 1e8)
    noise[:24] = 1.0
    image = LensImage(data, noise=noise, pixel_scale=SCALE)
    np.testing.assert_array_equal(image.mask, noise > 1)


def test_bright_poisson_noise_is_not_huge(data):
    noise = np.ones_like(data)
    noise[10, 10] = 300.0
    assert not LensImage(data, noise=noise, pixel_scale=SCALE).mask.any()


@pytest.mark.parametrize(
    "uncertainty",
    [StdDevUncertainty(np.full((NY, NX), 0.5)), VarianceUncertainty(np.full((NY, NX), 0.25)),
     InverseVariance(np.full((NY, NX), 4.0)), 0.5, 500 * u.mJy, np.full((NY, NX), 0.5) * u.Jy],
)  # fmt: skip
def test_kinds_of_noise_are_one(data, uncertainty):
    image = LensImage(data, noise=uncertainty, pixel_scale=SCALE, unit="Jy")
    np.testing.assert_allclose(image.noise, 0.5)


def test_noise_and_mask_from_files(data, tmp_path):
    names = fits.ImageHDU(np.full((NY, NX), 4.0), name="VAR"), fits.ImageHDU(np.eye(NY, NX), name="MASK")
    fits.HDUList([fits.PrimaryHDU(), *names]).writeto(tmp_path / "maps.fits")
    path = str(tmp_path / "maps.fits")
    image = LensImage(data, noise=f"{path},VAR", mask=path, pixel_scale=SCALE)
    assert np.all(image.noise == 2.0) and np.array_equal(image.mask, np.eye(NY, NX, dtype=bool))


def test_noise_file_in_another_unit(data, tmp_path):
    fits.PrimaryHDU(np.full((NY, NX), 500.0), fits.Header([("BUNIT", "mJy")])).writeto(tmp_path / "noise.fits")
    image = LensImage(data, noise=tmp_path / "noise.fits", pixel_scale=SCALE, unit="Jy")
    np.testing.assert_allclose(image.noise, 0.5)
    with pytest.raises(NoiseError, match="^noise: must be in the unit of the image, ct / s"):
        LensImage(data, noise=tmp_path / "noise.fits", pixel_scale=SCALE, unit="ct/s")


@pytest.mark.parametrize(
    "text, unit, per_area",
    [
        ("counts/s", "ct / s", False),
        ("COUNTS/S", "ct / s", False),
        ("ELECTRONS/S", "electron / s", False),
        ("e-/s", "electron / s", False),
        ("e/s", "electron / s", False),
        ("electrons s-1", "electron / s", False),
        ("e-", "electron", False),
        ("ADU", "adu", False),
        ("DN/s", "DN / s", False),
        ("cps", "ct / s", False),
        ("nanomaggies", "nmgy", False),
        ("mJy", "mJy", False),
        ("Jy/pixel", "Jy / pix", False),
        ("MJy/sr", "MJy / sr", True),
        ("MJY/SR", "MJy / sr", True),
        ("uJy/arcsec^2", "uJy / arcsec2", True),
        ("Jy/beam", "Jy / beam", True),
        ("erg/s/cm2/Angstrom", "erg / (Angstrom s cm2)", False),
        ("erg s-1 cm-2 arcsec-2", "erg / (arcsec2 s cm2)", True),
    ],
)
def test_units_in_the_wild(data, text, unit, per_area):
    image = LensImage(data, pixel_scale=SCALE, unit=text)
    assert image.unit == u.Unit(unit) and image.per_area is per_area and image.bunit_original == text
    assert u.Unit(str(image.unit)) == image.unit  # what will be written can be read


@pytest.mark.parametrize("text", ["", None, "UNITLESS", "furlongs per fortnight", "???"])
def test_unknown_units_are_said(data, text):
    image = LensImage(data, pixel_scale=SCALE, unit=text)
    assert image.unit is None and not image.per_area and any("light per pixel" in note for note in image.notes)
    assert parse_unit(text)[0] is None and is_per_area(None) is False


# cut-outs


@pytest.mark.parametrize("name", CASES)
def test_cutout_stays_on_the_sky(data, name):
    image = LensImage(data, noise=1.0, wcs=CASES[name])
    target = image.grid.to_sky(0.4, -0.3)
    sides = np.hypot(*image.grid.matrix)
    part = image.cutout(target, 30 * sides.mean() * u.arcsec)
    # what lies at a sky position is the same pixel value before and after
    for row, col in [(0, 0), (part.shape[0] - 1, part.shape[1] - 1), (7, 11)]:
        there = part.grid.to_sky(*part.grid.to_arcsec(col, row))
        c, r = image.grid.to_pixel(*image.grid.from_sky(there))
        assert image.data[int(np.rint(r)), int(np.rint(c))] == part.data[row, col]
        assert abs(r - np.rint(r)) < 1e-5 and abs(c - np.rint(c)) < 1e-5
    assert part.noise.shape == part.mask.shape == part.shape == part.grid.shape
    offset = u.Quantity(part.grid.from_sky(target)).to_value("arcsec")
    assert np.all(np.abs(offset) < 0.75 * sides.max())


def test_cutout_in_arcsec_without_wcs(data):
    image = LensImage(data, pixel_scale=SCALE)
    part = image.cutout((0.0 * u.arcsec, 1.0 * u.arcsec), 1.05 * u.arcsec)
    assert part.shape == (21, 21) and part.grid.origin == (10, 10)
    assert part.data[10, 10] in (image.data[59, 50], image.data[60, 50])


def test_cutout_is_trimmed_at_the_edge_and_said(data):
    image = LensImage(data, pixel_scale=SCALE)
    part = image.cutout((2.4 * u.arcsec, 0 * u.arcsec), 2 * u.arcsec)
    assert part.shape[1] < 40 and part.shape[0] == 40 and "trimmed" in part.notes[-1]
    assert image.notes == ["no unit: taken as light per pixel"]  # the parent's notes are its own


def test_cutout_pair_is_height_and_width(data):
    assert LensImage(data, pixel_scale=SCALE).cutout((0, 0), [1.0, 2.0] * u.arcsec).shape == (20, 40)


def test_cutout_refusals(data):
    bare, placed = LensImage(data, pixel_scale=SCALE), LensImage(data, wcs=make_wcs())
    here = placed.grid.to_sky(0, 0)
    with pytest.raises(PixelScaleError, match="^cutout: needs an image with a celestial WCS"):
        bare.cutout(here, 1 * u.arcsec)
    for position in [SkyCoord(200, 50, unit="deg"), here.directional_offset_by(0 * u.deg, 5 * u.arcsec)]:
        with pytest.raises(InputError, match="^cutout: must lie in the image, got .*h.*m"):
            placed.cutout(position, 1 * u.arcsec)
    for size in [-1 * u.arcsec, 0 * u.arcsec, np.nan * u.arcsec]:
        with pytest.raises(InputError, match="^cutout: must have a positive size"):
            placed.cutout(here, size)
    for size in [3, 3 * u.s, "3"]:
        with pytest.raises(InputError, match="^cutout: must have a size that is an angle"):
            placed.cutout(here, size)
    with pytest.raises(InputError, match="^cutout: must be one position"):
        placed.cutout(SkyCoord([1, 2], [3, 4], unit="deg"), 1 * u.arcsec)
    with pytest.raises(InputError, match="^cutout: must be a SkyCoord"):
        placed.cutout((1 * u.s, 2 * u.s), 1 * u.arcsec)


def test_read_of_a_lens_image_replaces_what_is_given(data):
    image = LensImage(data, noise=1.0, psf=0.1 * u.arcsec, pixel_scale=SCALE, unit="ct/s")
    assert LensImage.read(image) is image
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1
    other = LensImage.read(image, psf=kernel, psf_oversampling=2, noise=2.0, mask=data > 1, unit="adu", pixel_scale=0.1)
    assert np.all(other.noise == 2) and other.psf.oversampling == 2 and np.array_equal(other.mask, data > 1)
    assert other.unit == u.adu and other.grid.pixel_scale.value == pytest.approx(0.1)
    assert np.all(image.noise == 1) and image.psf.kernel is None and not image.mask.any()  # the first is untouched


def test_psf_from_anything(data):
    kernel = np.outer([1, 2, 1], [1, 2, 1])
    for psf in (kernel, kernel / 16, PSF.from_kernel(kernel), CCDData(kernel.astype(float), unit="")):
        image = LensImage(data, psf=psf, pixel_scale=SCALE)
        np.testing.assert_allclose(image.psf.kernel, kernel / 16)
    assert any("normalised" in note for note in LensImage(data, psf=kernel, pixel_scale=SCALE).notes)
