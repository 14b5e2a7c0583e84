# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Bad input ends in an error that names argument, value and remedy, or in an image that says what it did."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from lensing_sr.errors import ImageReadError, InputError, NoiseError, PixelScaleError, PSFError
from lensing_sr.geometry.tests.test_wcs import CASES, NX, NY, SCALE, make_wcs
from lensing_sr.image.lens_image import LensImage

GOOD = np.random.default_rng(7).normal(size=(NY, NX))


@pytest.fixture
def write(tmp_path):
    """Write HDUs to a file and return its path."""

    def write(*hdus, name="lens.fits"):
        fits.HDUList(list(hdus)).writeto(tmp_path / name)
        return tmp_path / name

    return write


def scaled(data=GOOD, **cards):
    return fits.PrimaryHDU(data, fits.Header([("PIXSCALE", 0.05), *cards.items()]))


def refused(kind, match, source, **arguments):
    with pytest.raises(kind, match=match) as caught:
        LensImage.read(source, **arguments)
    assert isinstance(caught.value, InputError) and "\n" not in str(caught.value)


# the file


def test_missing_file(tmp_path):
    refused(ImageReadError, "^image: must be an existing file, got .*none.fits; check", tmp_path / "none.fits")


def test_folder(tmp_path):
    refused(ImageReadError, "^image: must be a file, got the folder", tmp_path)


def test_unreadable_file(write, monkeypatch):
    path = write(scaled())

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(fits, "open", forbidden)  # permissions themselves do not stop root, who often runs containers
    refused(ImageReadError, "^image: must be a file that you may read", path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" * 100, b"SIMPLE  =                    T"])
def test_not_a_fits_file(tmp_path, content):
    (tmp_path / "image.fits").write_bytes(content)
    refused(ImageReadError, "^image: must be a readable FITS file, got .*image.fits", tmp_path / "image.fits")


@pytest.mark.parametrize("keep", [1000, 2880, 20000, -100])
@pytest.mark.parametrize("extension", [False, True])
def test_truncated_fits(write, tmp_path, keep, extension):
    whole = write(*([fits.PrimaryHDU(), fits.ImageHDU(GOOD)] if extension else [scaled()])).read_bytes()
    cut = tmp_path / "cut.fits"
    cut.write_bytes(whole[: keep + 2880 * extension if keep > 0 else keep])
    refused(ImageReadError, "^image: must .*", cut, pixel_scale=0.05)


def test_truncated_gzip(tmp_path):
    scaled().writeto(tmp_path / "a.fits.gz")
    (tmp_path / "b.fits.gz").write_bytes((tmp_path / "a.fits.gz").read_bytes()[:5000])
    refused(ImageReadError, "^image: must be a readable FITS file", tmp_path / "b.fits.gz")


def test_invalid_bitpix(write, tmp_path):
    path = tmp_path / "bitpix.fits"
    good, bad = (f"BITPIX  = {n:>20}".encode() for n in (-64, 12))
    path.write_bytes(write(scaled()).read_bytes().replace(good, bad))
    refused(ImageReadError, "^image: must .*", path)


def test_no_image(write):
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])], name="CAT")
    path = write(fits.PrimaryHDU(), table)
    refused(ImageReadError, r"^image: must hold an image, .*it has: PRIMARY \(empty\), CAT \(table\)", path)


def test_spectrum(write):
    refused(ImageReadError, "^image: must hold an image", write(fits.PrimaryHDU(np.arange(100.0))))


def test_cube(write):
    cube = np.ones((3, NY, NX)) * GOOD
    refused(ImageReadError, "^image: must be two-dimensional.*3 x 80 x 101.*cut one plane", write(scaled(cube)))
    refused(ImageReadError, "two-dimensional image, got .*3 x 80 x 101", write(scaled(cube), name="b.fits"), ext=0)
    refused(ImageReadError, "^image: must be two-dimensional", (cube, make_wcs()))


def test_wrong_extension_name(write):
    path = write(fits.PrimaryHDU(), fits.ImageHDU(GOOD, name="SCI"))
    have = r"it has: PRIMARY \(empty\), SCI \(80 x 101\)"
    refused(ImageReadError, f"^ext: must name an extension .*'SCY'; {have}", path, ext="SCY")
    refused(ImageReadError, "^ext: must name an extension", path, ext=7)
    refused(ImageReadError, "^image: must be an image.*name another", path, ext=0, pixel_scale=0.05)


def test_two_images(write):
    path = write(fits.PrimaryHDU(), fits.ImageHDU(GOOD, name="F110W"), fits.ImageHDU(GOOD, name="F160W"))
    refused(ImageReadError, "^image: must hold one image, got 2: F110W, F160W; name one.*--ext", path)


def test_not_an_image_at_all():
    refused(InputError, "^image: must be a FITS file, HDUList, CCDData.*got int", 5)
    refused(ImageReadError, "^image: must be of real numbers", (GOOD.astype(complex), make_wcs()))


# the pixels


def test_all_nan(write):
    refused(ImageReadError, "^image: must have a finite value, got none", write(scaled(np.full((NY, NX), np.nan))))


def test_constant_image(write):
    refused(ImageReadError, "^image: must show something, got the same value, 0", write(scaled(np.zeros((NY, NX)))))


def test_nan_stripes_are_masked(write):
    data = GOOD.copy()
    data[::4], data[:, 3] = np.nan, np.inf
    image = LensImage.read(write(scaled(data)))
    np.testing.assert_array_equal(image.mask, ~np.isfinite(data))
    assert any("not finite masked" in note for note in image.notes)


@pytest.mark.parametrize("shape", [(8, 8), (8, 100), (1, 1)])
def test_too_small(shape):
    data = np.arange(np.prod(shape), dtype=float).reshape(shape) + (shape == (1, 1))
    refused(ImageReadError, "^image: must ", (data, 0.05 * u.arcsec))


def test_too_large_names_cutout():
    data = np.zeros((4000, 4000), dtype=np.float32)
    data[0, 0] = 1
    refused(ImageReadError, "^image: must have at most .* got 4000 x 4000; .*--cutout", (data, 0.05 * u.arcsec))


def test_saturated_integers_are_masked(write):
    data = np.arange(400, dtype=np.int16).reshape(20, 20)
    data[3:5, 3:5] = 32767
    image = LensImage.read(write(scaled(data)))
    assert image.mask.sum() == 4 and "4 saturated pixels" in " ".join(image.notes)


def test_values_beyond_float32_are_masked(write):
    data = GOOD.copy()
    data[3, 4] = 1e300
    assert LensImage.read(write(scaled(data))).mask.sum() == 1


@pytest.mark.parametrize("bunit", ["mag", "mag/arcsec2", "arcsec", "s"])
def test_wrong_unit(write, bunit):
    refused(InputError, "^unit: must", write(scaled(BUNIT=bunit)))
    assert LensImage.read(scaled(BUNIT=bunit), unit="ct / s").unit == u.ct / u.s


def test_everything_masked():
    refused(InputError, "^mask: must leave a pixel", (GOOD, 0.05 * u.arcsec), mask=np.ones((NY, NX)))
    refused(InputError, r"^mask: must have the shape \(80, 101\)", (GOOD, 0.05 * u.arcsec), mask=np.ones((3, 3)))


# noise


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1e8, 1e16])
def test_noise_map_with_no_good_pixel(write, value):
    path = write(fits.PrimaryHDU(np.full((NY, NX), value)), name="noise.fits")
    refused(NoiseError, "^noise: must have a .*; give a map", (GOOD, 0.05 * u.arcsec), noise=path)


@pytest.mark.parametrize("value", [0, -3.0, np.nan])
def test_noise_rms_not_positive(value):
    refused(NoiseError, "^noise: must be positive", (GOOD, 0.05 * u.arcsec), noise=value)


def test_noise_of_wrong_shape_unit_or_kind(write, tmp_path):
    source = GOOD, 0.05 * u.arcsec
    shapes = r"\(80, 101\) of the image, got \(80, 100\); crop"
    refused(NoiseError, f"^noise: must have the shape {shapes}", source, noise=GOOD[:, 1:])
    refused(NoiseError, "^noise: must be in the unit of the image, ct / s, got Jy", source, noise=1 * u.Jy, unit="ct/s")
    refused(NoiseError, "^noise: must be a number, a map", source, noise=["a", "b"])
    refused(ImageReadError, "^noise: must be an existing file", source, noise=tmp_path / "none.fits")
    maps = write(fits.PrimaryHDU(), fits.ImageHDU(GOOD, name="A"), fits.ImageHDU(GOOD, name="B"), name="maps.fits")
    refused(ImageReadError, "^noise: must be one image of .*A .*name one: .*maps.fits,A", source, noise=maps)
    refused(ImageReadError, "^noise: must name an extension of .*'C'", source, noise=f"{maps},C")


# PSF


def test_psf_larger_than_the_image():
    kernel, source = np.ones((121, 121)), (GOOD, 0.05 * u.arcsec)
    refused(PSFError, r"^psf: must not be larger than the image \(80 x 101 pixels\), got 121", source, psf=kernel)
    assert LensImage.read(source, psf=kernel, psf_oversampling=4).psf.oversampling == 4
    refused(PSFError, "^psf: must not be larger than the image.*FWHM", source, psf=10 * u.arcsec)


@pytest.mark.parametrize("kernel", [np.zeros((9, 9)), np.full((9, 9), np.nan), -np.ones((9, 9))])
def test_psf_without_light(write, kernel):
    path = write(fits.PrimaryHDU(kernel), name="psf.fits")
    refused(PSFError, "^psf: must have", (GOOD, 0.05 * u.arcsec), psf=path)


def test_psf_in_wrong_units(tmp_path):
    source = GOOD, 0.05 * u.arcsec
    refused(PSFError, "^psf: must be an angle", source, psf=3 * u.kg)
    refused(PSFError, "^psf: must be a kernel, a file or a FWHM with a unit, got 0.1", source, psf=0.1)
    refused(PSFError, "^psf: must be an existing file", source, psf=tmp_path / "none.fits")
    refused(PSFError, "^psf_oversampling: must be an integer", source, psf=np.ones((5, 5)), psf_oversampling=0)


# coordinates


def test_no_wcs_and_no_pixel_scale(write):
    refused(PixelScaleError, "^pixel_scale: is unknown.*--pixel-scale ARCSEC", write(fits.PrimaryHDU(GOOD)))
    refused(PixelScaleError, "^pixel_scale: is unknown", GOOD)


@pytest.mark.parametrize("scale", [0, -0.05, np.nan, 0.05 * u.s, 1e-9, 180 * u.arcsec, 1 * u.deg / u.pix])
def test_wrong_pixel_scale(scale):
    refused(PixelScaleError, "^pixel_scale: must", GOOD, pixel_scale=scale)


def test_pixel_scale_against_the_wcs():
    refused(PixelScaleError, "^pixel_scale: must agree with the WCS", (GOOD, make_wcs()), pixel_scale=0.2)


def test_non_square_pixels_are_read():
    image = LensImage.read((GOOD, CASES["oblong"]))
    assert not image.grid.is_square
    np.testing.assert_allclose(image.grid.matrix, [[0.05, 0], [0, 0.1]], atol=1e-6)


@pytest.mark.parametrize("card", ["D2IMDIS1", "CPDIS1"])
def test_table_distortions(write, card):
    hdu = fits.PrimaryHDU(GOOD, make_wcs().to_header())
    hdu.header[card] = "LOOKUP"
    refused(PixelScaleError, f"^image: must have no table distortions.*{card}; use a drizzled", write(hdu))


def test_broken_wcs(write):
    hdu = fits.PrimaryHDU(GOOD, make_wcs().to_header())
    hdu.header["PC1_1"] = hdu.header["PC2_2"] = 0.0
    refused(PixelScaleError, "^(image|wcs): must have a", write(hdu))
    hdu.header["CTYPE2"] = "DEC--SIN"
    refused(PixelScaleError, "^(image|wcs): must have a", hdu)


def test_wcs_in_wrong_units():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [-SCALE * 3600, SCALE * 3600]  # arcsec where degrees are meant
    refused(PixelScaleError, "^pixel_scale: must lie between.*got 179.* arcsec", (GOOD, wcs))


def test_wcs_that_does_not_reach_the_image():
    refused(PixelScaleError, "^wcs: must reach the image", (GOOD, make_wcs(crpix=(1e8, 1e8), projection="SIN")))


def test_cutout_that_cannot_be():
    source = GOOD, 0.05 * u.arcsec
    sky = make_wcs().pixel_to_world(50, 40)
    refused(PixelScaleError, "^cutout: needs an image with a celestial WCS", source, cutout=(sky, 3 * u.arcsec))
    refused(InputError, "^cutout: must be a position and a size", source, cutout=3)
    refused(ImageReadError, "^image: must have at least", (GOOD, make_wcs()), cutout=(sky, 0.3 * u.arcsec))
    kernel = np.ones((31, 31))
    refused(PSFError, "^psf: must not be larger", (GOOD, make_wcs()), cutout=(sky, 1 * u.arcsec), psf=kernel)
