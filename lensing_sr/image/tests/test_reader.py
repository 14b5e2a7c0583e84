# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the reader: every container of the same image gives the same LensImage; choices are said."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

from lensing_sr.errors import ImageReadError, InputError
from lensing_sr.geometry.tests.test_wcs import NX, NY, header_with_both, make_wcs
from lensing_sr.image.lens_image import LensImage

REAL = Path(__file__).parents[4] / "shared" / "data" / "real"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the real images (../shared/data/real) are not here")


@pytest.fixture
def data():
    return np.random.default_rng(5).normal(size=(NY, NX))


@pytest.fixture
def header():
    header = make_wcs().to_header()
    header["BUNIT"] = "ELECTRONS/S"
    return header


def kernel(n=7):
    rows, cols = np.indices((n, n)) - n // 2
    kernel = np.exp(-(rows**2 + cols**2) / 2)
    return kernel / kernel.sum()


def hst_file(data, header):
    primary = fits.PrimaryHDU()
    primary.header["EXPTIME"], primary.header["TELESCOP"], primary.header["TARGNAME"] = 2000.0, "HST", "J1234+5678"
    primary.header["CRVAL1"] = 99.0  # must not reach the science header
    quality = np.zeros(data.shape, dtype=np.int16)
    quality[2, 3], quality[4, 5] = 64, 8192
    weight = np.full(data.shape, 1800.0, dtype=np.float32)
    weight[:2] = 0
    hdus = [fits.ImageHDU(data, header, name="SCI"), fits.ImageHDU(np.full(data.shape, 0.5), name="ERR")]
    hdus += [fits.ImageHDU(quality, name="DQ"), fits.ImageHDU(weight, name="WHT")]
    return fits.HDUList([primary, *hdus, fits.ImageHDU(kernel(), name="PSF")])


def assert_same(a, b):
    np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert a.grid == b.grid and a.unit == b.unit and (a.noise is None) == (b.noise is None)
    if a.noise is not None:
        np.testing.assert_allclose(a.noise, b.noise)


def test_every_container_gives_the_same_image(data, header, tmp_path):
    wcs = make_wcs()
    expected = LensImage(data, wcs=wcs, unit="electron / s")
    hdu = fits.PrimaryHDU(data, header)
    hdu.writeto(tmp_path / "lens.fits")
    hdu.writeto(tmp_path / "lens.fits.gz")
    packed = fits.CompImageHDU(data, header, compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "fpack.fits")
    sources = [tmp_path / "lens.fits", str(tmp_path / "lens.fits.gz"), tmp_path / "fpack.fits", hdu]
    sources += [fits.HDUList([hdu]), CCDData(data, unit="electron / s", wcs=wcs)]
    sources += [NDData(data, unit="electron / s", wcs=wcs)]
    sources += [(data, header), [data, header], (data * u.electron / u.s, wcs)]
    for source in sources:
        assert_same(LensImage.read(source), expected)
    assert_same(LensImage.read((data, wcs), unit="ELECTRONS/S"), expected)
    assert LensImage.read(tmp_path / "lens.fits.gz").name == "lens"


def test_array_with_a_pixel_scale(data):
    expected = LensImage(data, pixel_scale=0.05)
    assert_same(LensImage.read((data, 0.05 * u.arcsec / u.pix)), expected)
    assert_same(LensImage.read(data, pixel_scale=0.05), expected)


def test_hst_file(data, header, tmp_path):
    hst_file(data, header).writeto(tmp_path / "hst_drz.fits")
    image = LensImage.read(tmp_path / "hst_drz.fits")
    np.testing.assert_array_equal(image.data, data)
    assert np.all(image.noise == 0.5) and image.psf.kernel.shape == (7, 7) and image.name == "J1234+5678"
    assert image.mask[2, 3] and image.mask[4, 5] and image.mask[:2].all() and image.mask.sum() == 2 * NX + 2
    assert image.header["EXPTIME"] == 2000 and image.header["CRVAL1"] == pytest.approx(1.5)
    assert image.bunit_original == "ELECTRONS/S" and str(image.unit) == "electron / s"
    for said in ("PSF from extension PSF", "noise from extension ERR", "masked by extension DQ", "extension WHT"):
        assert said in " ".join(image.notes)


def test_what_is_given_wins_over_the_file(data, header):
    mask = np.zeros(data.shape, dtype=bool)
    mask[9, 9] = True
    image = LensImage.read(hst_file(data, header), noise=2.0, psf=0.1 * u.arcsec, mask=mask, unit="adu")
    assert np.all(image.noise == 2) and image.psf.kernel is None and image.unit == u.adu
    assert image.mask[9, 9] and not image.mask[4, 5]


def test_jwst_data_quality_counts_do_not_use_only(data, header):
    quality = np.full(data.shape, 4, dtype=np.uint32)  # "jump detected": nearly everywhere, and harmless
    quality[3, 3] = 5
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header, name="SCI"), fits.ImageHDU(quality, name="DQ")])
    hdus[0].header["TELESCOP"] = "JWST"
    assert LensImage.read(hdus).mask.sum() == 1
    hdus[0].header["TELESCOP"] = "HST"
    image = LensImage.read(hdus)
    assert not image.mask.any() and "DQ ignored: it flags 100 %" in " ".join(image.notes)


@pytest.mark.parametrize("name, value", [("VAR", 0.25), ("IVM", 4.0), ("RMS", 0.5)])
def test_kinds_of_noise_extensions(data, header, name, value):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, header, name="SCI")]
    image = LensImage.read(fits.HDUList([*hdus, fits.ImageHDU(np.full(data.shape, value), name=name)]))
    np.testing.assert_allclose(image.noise, 0.5)


def test_weights_alone_are_no_noise(data, header):
    weights = fits.ImageHDU(np.full(data.shape, 9.0), name="WHT")
    image = LensImage.read(fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header, name="SCI"), weights]))
    assert image.noise is None and "only the zeros of WHT" in " ".join(image.notes)


@pytest.mark.parametrize("uncertainty", [StdDevUncertainty, VarianceUncertainty])
def test_ccddata_round_trip_through_a_file(data, tmp_path, uncertainty):
    mask = data > 2
    values = np.full(data.shape, 0.25 if uncertainty is VarianceUncertainty else 0.5)
    ccd = CCDData(data, unit="electron / s", wcs=make_wcs(), uncertainty=uncertainty(values), mask=mask, psf=kernel())
    ccd.write(tmp_path / "ccd.fits")
    for source in (ccd, tmp_path / "ccd.fits"):
        image = LensImage.read(source)
        np.testing.assert_array_equal(image.mask, mask)
        np.testing.assert_allclose(image.noise, 0.5)
        assert image.psf.kernel.shape == (7, 7) and image.unit == u.electron / u.s
        assert image.grid.wcs is not None


def test_two_chips_are_ambiguous_until_one_is_named(data, header):
    chips = [fits.ImageHDU(data + i, header, name="SCI", ver=i) for i in (1, 2)]
    errors = [fits.ImageHDU(np.full(data.shape, float(i)), name="ERR", ver=i) for i in (1, 2)]
    hdus = fits.HDUList([fits.PrimaryHDU(), chips[0], errors[0], chips[1], errors[1]])
    with pytest.raises(ImageReadError, match="^image: must hold one image, got 2: SCI, SCI,2; .*ext='SCI'"):
        LensImage.read(hdus)
    for ext in ("SCI,2", "sci, 2", ("SCI", 2), 3, "3"):
        image = LensImage.read(hdus, ext=ext)
        np.testing.assert_array_equal(image.data, data + 2)
        assert np.all(image.noise == 2)  # the noise of the same chip


def test_linear_axes_carry_a_pixel_scale(data):
    header = fits.Header([("CDELT1", 0.05), ("CDELT2", 0.05), ("CUNIT1", "arcsec"), ("CUNIT2", "arcsec")])
    image = LensImage.read((data, header))
    assert image.grid.wcs is None and image.grid.pixel_scale.value == pytest.approx(0.05)
    assert "linear axes" in image.notes[0]


def test_names_of_axes_alone_are_no_wcs(data):
    header = fits.Header([("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("PIXSCALE", 0.05)])
    image = LensImage.read((data, header))
    assert image.grid.wcs is None and image.grid.pixel_scale.value == pytest.approx(0.05)


def test_header_with_cd_and_pc(data):
    image = LensImage.read((data, header_with_both()))
    assert image.grid.upsampled(2).pixel_scale.value * 2 == pytest.approx(image.grid.pixel_scale.value)


def test_degenerate_axes_are_dropped(data, header):
    image = LensImage.read(fits.HDUList([fits.PrimaryHDU(data[None, None], header)]))
    assert image.shape == data.shape


def test_scaled_integers_and_blank(header):
    """BZERO, BSCALE and BLANK are applied; unsigned 16-bit counts do not wrap around."""
    counts = np.arange(60000, 60400, dtype=np.uint16).reshape(20, 20)
    assert LensImage.read(fits.HDUList([fits.PrimaryHDU(counts)]), pixel_scale=0.05).data.max() == 60399
    hdu = fits.PrimaryHDU(np.arange(400, dtype=np.int16).reshape(20, 20))
    hdu.header["BLANK"] = 7
    blank = fits.HDUList.fromstring(_bytes(hdu))
    image = LensImage.read(blank, pixel_scale=0.05)
    assert image.mask.sum() == 1 and image.mask[0, 7]


def _bytes(hdu):
    import io
    import warnings

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdu.writeto(stream)
    return stream.getvalue()


def test_cutout_of_a_large_image(header, tmp_path):
    data = np.random.default_rng(1).normal(size=(4000, 4000)).astype(np.float32)
    fits.PrimaryHDU(data, header).writeto(tmp_path / "mosaic.fits")
    with pytest.raises(ImageReadError, match="^image: must have at most .* got 4000 x 4000; .*--cutout"):
        LensImage.read(tmp_path / "mosaic.fits")
    target = make_wcs().pixel_to_world(1200.0, 3000.0)
    image = LensImage.read(tmp_path / "mosaic.fits", cutout=(target, 5.05 * u.arcsec))
    np.testing.assert_array_equal(image.data, data[2950:3051, 1150:1251])
    assert image.grid.to_sky(0, 0).separation(target).arcsec < 1e-6


def test_ext_is_for_files(data):
    for source in ((data, make_wcs()), LensImage(data, pixel_scale=0.05)):
        with pytest.raises(InputError, match="^ext: applies to FITS files only"):
            LensImage.read(source, ext="SCI")


# real images


@needs_real
def test_all_slacs():
    folders = sorted((REAL / "slacs").glob("J*"))
    assert len(folders) == 32
    for folder in folders:
        image = LensImage.read(
            folder / "image.fits", psf=folder / "psf.fits", noise=folder / "noise.fits", pixel_scale=0.05
        )
        noise = fits.getdata(folder / "noise.fits")
        np.testing.assert_array_equal(image.mask, noise > 1e7)
        assert image.name == folder.name and 0.07 < image.psf.measured_fwhm(0.05) < 0.09


@needs_real
def test_all_desi():
    files = sorted((REAL / "desi_f140w").glob("*.fits"))
    assert len(files) == 10
    for file in files:
        image = LensImage.read(file)
        assert image.unit == u.electron / u.s and image.psf.kernel.shape == (61, 61) and image.noise is not None
        assert image.grid.pixel_scale.value == pytest.approx(0.08, rel=1e-6) and image.grid.handedness == -1


@needs_real
def test_euclid_bands():
    file = next((REAL / "euclid_q1").glob("*.fits"))
    image = LensImage.read(file)
    assert "VIS_BGSUB used" in image.notes[0] and "NIR_H_BGSUB" in image.notes[0]
    assert 0.15 < image.psf.measured_fwhm(0.1) < 0.17
    np.testing.assert_array_equal(image.mask, fits.getdata(file, "VIS_RMS") > 1e15)
    for ext in ("NIR_H", "NIR_H_BGSUB", "nir_h"):
        other = LensImage.read(file, ext=ext)
        np.testing.assert_array_equal(other.data, fits.getdata(file, "NIR_H_BGSUB"))
        np.testing.assert_array_equal(other.noise, fits.getdata(file, "NIR_H_RMS"))
        assert other.psf.kernel.shape == (33, 33)
    # the reference pixel lies 8500 pixels off: North here is not North there
    assert image.grid.position_angle(90 * u.deg).deg == pytest.approx(0.3, abs=0.1)


@needs_real
@pytest.mark.parametrize("scale", [2, 2.5, 3])
def test_euclid_corners_stay_on_the_sky(scale):
    """The corners of the field map to the same sky on the finer grid, through a written header too, to 1e-6 arcsec."""
    grid = LensImage.read(next((REAL / "euclid_q1").glob("*.fits"))).grid
    fine = grid.upsampled(scale).wcs
    for wcs in (fine, WCS(fine.to_header(relax=True))):
        for corner in [(-0.5, -0.5), (99.5, -0.5), (-0.5, 99.5), (99.5, 99.5)]:
            there = wcs.pixel_to_world(*((p + 0.5) * scale - 0.5 for p in corner))
            assert grid.wcs.pixel_to_world(*corner).separation(there).arcsec < 1e-6


@needs_real
@pytest.mark.parametrize("band, scale", [("F150W", 0.03), ("F277W", 0.06)])
def test_jwst_ring(band, scale):
    folder = REAL / "cosmos_web_ring" / band
    image = LensImage.read(folder / "data.fits", psf=folder / "psf.fits", noise=folder / "noise_map.fits")
    assert image.grid.pixel_scale.value == pytest.approx(scale) and "PIXSCALE" in image.notes[0]


@needs_real
def test_mask_of_neighbours():
    folder = REAL / "slacs_j0946"
    image = LensImage.read(
        folder / "data.fits", psf=folder / "psf.fits", noise=folder / "noise_map.fits",
        mask=folder / "mask_extra_galaxies.fits",
    )  # fmt: skip
    assert image.mask.sum() == 10230 and not image.mask[120:160, 120:160].any()  # non-zero = ignore; the lens is kept
    assert image.grid.pixel_scale.value == pytest.approx(0.05)
