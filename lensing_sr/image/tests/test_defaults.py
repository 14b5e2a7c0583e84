# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of an image with an instrument: it takes what nobody stated, and only that, and says so."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from lensing_sr.errors import InputError, PixelScaleError
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.noise import estimate_noise_map, photon_defaults
from lensing_sr.image.prepare import prepare
from lensing_sr.image.psf import PSF
from lensing_sr.instruments import instruments, load_instrument

VIS = load_instrument("euclid-vis")


def scene(shape=(80, 80), seed=0):
    """A galaxy on white noise of rms 0.1."""
    rows, columns = np.indices(shape)
    image = np.random.default_rng(seed).normal(scale=0.1, size=shape)
    return image + 20 * np.exp(-np.hypot(columns - shape[1] / 2, rows - shape[0] / 2) / 4)


def sky_wcs(scale=0.1):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [40, 40], [150, 2]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    wcs.wcs.set()
    return wcs


def hdu(**cards):
    return fits.PrimaryHDU(scene(), header=fits.Header({"BUNIT": "electron/s", **cards}))


def same(a, b):
    """Whether two images are the same in all that a fit sees."""
    np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert a.grid.shape == b.grid.shape and np.array_equal(a.grid.matrix, b.grid.matrix)
    assert (a.psf is None) == (b.psf is None)
    if a.psf is not None:
        assert a.psf.oversampling == b.psf.oversampling
        pixel = a.grid.pixel_scale.value
        np.testing.assert_array_equal(a.psf.kernel_at(pixel, 2), b.psf.kernel_at(pixel, 2))
    first, second = prepare(a), prepare(b)
    np.testing.assert_array_equal(first.full_noise, second.full_noise)
    assert first.flags == second.flags
    return True


# what is taken


@pytest.mark.parametrize("name", instruments())
def test_defaults_are_what_one_would_have_given(name):
    """Every figure that an instrument supplies could have been given by hand, with the same outcome."""
    instrument = load_instrument(name)
    image = LensImage(scene(), unit="electron/s", instrument=name)
    by_hand = LensImage(
        scene(),
        unit="electron/s",
        psf=PSF.from_instrument(instrument),
        pixel_scale=instrument.pixel_scale * u.arcsec / u.pix,
        header=fits.Header({"EXPTIME": instrument.total_exposure}),
    )
    assert same(image, by_hand)
    assert by_hand.notes == [] and by_hand.instrument is None
    assert image.instrument is instrument
    notes = " | ".join(image.notes)
    assert f"pixel scale of {instrument.title} taken: {instrument.pixel_scale:g} arcsec" in notes
    assert (f"PSF of {instrument.title} taken" in notes) is (instrument.psf_profile != "none")
    assert f"exposure time {instrument.total_exposure:g} s of {instrument.title} taken for the photon noise" in notes


def test_approximate_figures_are_said_to_be():
    notes = LensImage(scene(), noise=0.1, instrument="hsc-i", pixel_scale=0.168).notes
    assert "PSF of HSC i taken: Gaussian of FWHM 0.6 arcsec (approximate)" in notes
    notes = LensImage(scene(), noise=0.1, instrument="Model 3").notes
    assert "PSF of Model 3 taken: Gaussian of FWHM 0.08 arcsec" in notes
    assert "pixel scale of Model 3 taken: 0.08 arcsec" in notes


@pytest.mark.parametrize(
    ("unit", "electrons", "taken"),
    [
        ("adu", VIS.gain, ["gain"]),
        ("ct / s", VIS.gain * VIS.total_exposure, ["gain", "exposure time"]),
        ("electron", 1.0, []),
        ("electron / s", VIS.total_exposure, ["exposure time"]),
    ],
)
def test_photons_are_counted_with_its_exposure_and_gain(unit, electrons, taken):
    image = LensImage(scene(), unit=unit, pixel_scale=0.1, psf=0.2 * u.arcsec, instrument=VIS)
    assert [note.split(" 2264")[0].split(" 3.1")[0] for note in image.notes] == taken
    noise = prepare(image).full_noise
    photons = (noise[40, 40] ** 2 - noise[3, 3] ** 2) * electrons
    assert 10 < photons < 20  # the galaxy's peak, of 20, under the window that averages neighbours


def test_unknown_unit_is_counted_in_electrons_a_second():
    image = LensImage(scene(), pixel_scale=0.1, instrument=VIS)
    assert image.unit is None  # what is written stays unknown
    assert "no unit: taken as light per pixel" in image.notes
    assert "unit electron / s of Euclid VIS taken for the photon noise" in image.notes
    assert same(image, LensImage(scene(), pixel_scale=0.1, unit="electron/s", instrument=VIS))
    assert np.ptp(prepare(LensImage(scene(), pixel_scale=0.1)).full_noise) == 0


def test_sky_is_measured_and_not_believed():
    """The instrument's own sky noise is nowhere near that of this image."""
    prepared = prepare(LensImage(scene(), unit="electron/s", instrument=VIS))
    assert prepared.full_noise[3, 3] == pytest.approx(0.1, rel=0.1)
    assert VIS.background_rms() < 0.02


def test_what_cannot_be_counted_is_not_taken():
    image = LensImage(scene(), unit="MJy/sr", pixel_scale=0.03, psf=0.05 * u.arcsec, instrument="jwst-nircam-f150w")
    assert image.notes == []
    assert np.ptp(prepare(image).full_noise) == 0
    noise, note = estimate_noise_map(scene(), unit="MJy/sr", instrument=image.instrument)
    assert np.ptp(noise) == 0 and "no photons can be counted" in note


# what is stated wins


def test_explicit_always_wins():
    psf, noise = PSF.from_fwhm(0.3 * u.arcsec), 0.2
    image = LensImage(scene(), psf=psf, noise=noise, pixel_scale=0.11, unit="electron/s", instrument=VIS)
    assert image.psf is psf and np.all(image.noise == noise)
    assert image.grid.pixel_scale.value == pytest.approx(0.11)
    assert image.notes == []  # nothing taken, nothing said
    assert same(image, LensImage(scene(), psf=psf, noise=noise, pixel_scale=0.11, unit="electron/s"))


def test_what_lies_in_the_file_wins():
    file = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(scene(), sky_wcs(0.09).to_header() + fits.Header({"BUNIT": "ct/s"}), name="SCI"),
            fits.ImageHDU(np.full((80, 80), 0.1), name="ERR"),
            fits.ImageHDU(PSF.from_fwhm(0.3 * u.arcsec).kernel_at(0.09, 1), name="PSF"),
        ]
    )
    image, bare = LensImage.read(file, instrument="euclid-vis"), LensImage.read(file)
    assert same(image, bare)
    assert image.notes == bare.notes and image.instrument is VIS


def test_header_wins_over_exposure_gain_and_pixel_scale():
    file = hdu(EXPTIME=100.0, GAIN=2.0, BUNIT="adu/s", PIXSCALE=0.12)
    image = LensImage.read(file, instrument="euclid-vis")
    assert image.grid.pixel_scale.value == pytest.approx(0.12)
    assert not any("photon noise" in note or "pixel scale of" in note for note in image.notes)
    assert same(image, LensImage.read(file, psf=PSF.from_instrument("euclid-vis")))
    only_gain = LensImage.read(hdu(GAIN=2.0, BUNIT="adu/s", PIXSCALE=0.12), instrument="euclid-vis")
    assert [note for note in only_gain.notes if "photon" in note] == [
        "exposure time 2264 s of Euclid VIS taken for the photon noise"
    ]


def test_a_file_without_pixel_scale():
    with pytest.raises(PixelScaleError, match="or an instrument"):
        LensImage.read(hdu())
    image = LensImage.read(hdu(), instrument="euclid-vis")
    assert image.grid.pixel_scale.value == pytest.approx(0.1)
    assert "pixel scale of Euclid VIS taken: 0.1 arcsec" in image.notes
    wcs = LensImage(scene(), wcs=sky_wcs(), noise=0.1, instrument="euclid-vis")
    assert not any("pixel scale" in note for note in wcs.notes)


@pytest.mark.parametrize(("scale", "odd"), [(0.1, False), (0.125, False), (0.08, False), (0.14, True), (0.05, True)])
def test_another_pixel_scale_is_noted(scale, odd):
    notes = LensImage(scene(), noise=0.1, pixel_scale=scale, instrument="euclid-vis").notes
    expected = f"pixels of {scale:g} arcsec where Euclid VIS has 0.1: check the instrument"
    assert (expected in notes) is odd


@pytest.mark.parametrize("name", ["euclid", 3, "no/such/file.toml"])
def test_unknown_instrument(name):
    for ask in (lambda: LensImage(scene(), instrument=name), lambda: LensImage.read(hdu(), instrument=name)):
        with pytest.raises(InputError, match="^instrument: must be"):
            ask()


# an image that is there already


def test_instrument_of_an_image_that_exists():
    image = LensImage(scene(), pixel_scale=0.1, unit="electron/s")
    late = LensImage.read(image, instrument="euclid-vis")
    assert same(late, LensImage(scene(), pixel_scale=0.1, unit="electron/s", instrument="euclid-vis"))
    assert image.psf is None and image.instrument is None and image.notes == []  # the first is left alone
    assert LensImage.read(late) is late


def test_another_instrument_replaces_the_first_ones_defaults():
    first = LensImage(scene(), unit="electron/s", instrument="euclid-vis")
    second = LensImage.read(first, instrument="model-3")
    fresh = LensImage(scene(), unit="electron/s", instrument="model-3")
    assert same(second, fresh) and second.notes == fresh.notes
    assert not any("Model 3" in note for note in first.notes)
    # what was given is not replaced
    given = LensImage(scene(), unit="electron/s", psf=0.3 * u.arcsec, pixel_scale=0.11, instrument="euclid-vis")
    kept = LensImage.read(given, instrument="model-3")
    assert kept.psf is given.psf and kept.grid.pixel_scale == given.grid.pixel_scale


def test_what_is_given_later_wins_too():
    image = LensImage(scene(), unit="electron/s", instrument="euclid-vis")
    later = LensImage.read(image, psf=0.3 * u.arcsec, noise=0.1, pixel_scale=0.11)
    assert later.psf.fwhm == 0.3 * u.arcsec and later.grid.pixel_scale.value == pytest.approx(0.11)
    assert later.notes == []
    again = LensImage.read(later, instrument="model-3")
    assert again.psf is later.psf and again.grid.pixel_scale == later.grid.pixel_scale


def test_cutouts_keep_it():
    image = LensImage(scene(), unit="electron/s", instrument="euclid-vis")
    part = image.cutout((0 * u.arcsec, 0 * u.arcsec), 4 * u.arcsec)
    assert part.instrument is VIS and part.psf.beta == VIS.psf_beta and set(image.notes) <= set(part.notes)


def test_photon_defaults_alone():
    assert photon_defaults(None, "electron/s", VIS) == ["exposure time 2264 s"]
    assert photon_defaults({"EXPTIME": 3.0}, "electron/s", VIS) == []
    assert photon_defaults({"BUNIT": "adu"}, None, VIS) == ["gain 3.1"]
    assert photon_defaults({}, None, VIS) == ["unit electron / s", "exposure time 2264 s"]


@pytest.mark.parametrize("name", [name for name, i in instruments().items() if i.psf_profile != "none"])
def test_a_star_is_a_point_for_every_instrument(name):
    instrument = load_instrument(name)
    fine = PSF.from_instrument(name).kernel_at(instrument.pixel_scale, 9)
    star = PSF.from_kernel(fine, 9).kernel_at(instrument.pixel_scale, 1)
    image = np.random.default_rng(1).normal(scale=1.0, size=(101, 101))
    half = star.shape[0] // 2
    image[50 - half : 51 + half, 50 - half : 51 + half] += 1e4 * star
    assert "point source" in prepare(LensImage(image, noise=1.0, unit="electron/s", instrument=name)).flags
    # and a galaxy three times as wide is none
    rows, columns = np.indices(image.shape) - 50
    sigma = 3 * instrument.psf_fwhm / instrument.pixel_scale
    image = np.random.default_rng(1).normal(scale=1.0, size=(101, 101))
    image += 100 * np.exp(-0.5 * (rows**2 + columns**2) / sigma**2)
    assert "point source" not in prepare(LensImage(image, noise=1.0, unit="electron/s", instrument=name)).flags
