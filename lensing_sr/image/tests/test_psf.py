# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of PSF: light is kept, the centre stays, widths are what was said."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import PSFError
from lensing_sr.image.psf import PSF

REAL = Path(__file__).parents[4] / "shared" / "data" / "real"


def gaussian(shape, fwhm, centre=None):
    """Gaussian of a FWHM in pixels, on pixel centres; ``centre`` (row, col), default the middle."""
    rows, cols = np.indices(shape)
    r0, c0 = ((n - 1) / 2 for n in shape) if centre is None else centre
    return np.exp(-4 * np.log(2) * ((rows - r0) ** 2 + (cols - c0) ** 2) / fwhm**2)


def centroid(kernel):
    """Offset (row, col) of the centroid from the middle pixel."""
    axis = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    return np.array([axis @ kernel.sum(axis=1), axis @ kernel.sum(axis=0)]) / kernel.sum()


def assert_good(kernel):
    assert kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert kernel.dtype == np.float64 and np.all(np.isfinite(kernel))
    assert kernel.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("sampling", [1, 2, 2.5, 4])
def test_gaussian_is_analytic(sampling):
    kernel = PSF.from_fwhm(0.12 * u.arcsec).kernel_at(0.05, sampling)
    sigma = 0.12 / np.sqrt(8 * np.log(2)) / (0.05 / sampling)
    half = int(np.ceil(5 * sigma))
    assert kernel.shape == (2 * half + 1,) * 2
    assert_good(kernel)
    expected = gaussian(kernel.shape, sigma * np.sqrt(8 * np.log(2)))
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-12)


@pytest.mark.parametrize("sampling", [1, 2, 2.5, 4])
def test_moffat_is_analytic(sampling):
    psf = PSF.from_fwhm(0.12 * u.arcsec, beta=2.5)
    kernel = psf.kernel_at(0.05, sampling)
    assert_good(kernel)
    half, scale = kernel.shape[0] // 2, 0.12 / (2 * np.sqrt(2 ** (1 / 2.5) - 1))
    axis = np.arange(-half, half + 1) * 0.05 / sampling
    expected = (1 + (axis[:, None] ** 2 + axis**2) / scale**2) ** -2.5
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-12)
    assert psf.measured_fwhm(0.05) == 0.12
    assert PSF.from_kernel(psf.kernel_at(0.05, 8), 8).measured_fwhm(0.05) == pytest.approx(0.12, rel=0.01)


def test_profiles_say_what_they_are():
    assert repr(PSF.from_fwhm(0.1 * u.arcsec)) == "<PSF Gaussian of FWHM 0.1 arcsec>"
    assert repr(PSF.from_fwhm(0.1 * u.arcsec, 2.5)) == "<PSF Moffat of FWHM 0.1 arcsec and beta 2.5>"
    assert PSF.from_fwhm(0.1 * u.arcsec).beta is None and PSF.from_fwhm(0.1 * u.arcsec, 2.5).beta == 2.5
    assert PSF.from_kernel(gaussian((5, 5), 2.0)).profile is None


def test_profile_of_an_instrument():
    psf = PSF.from_instrument("des-i")
    assert psf.beta == 3.0 and psf.fwhm == 0.86 * u.arcsec and psf.kernel is None
    assert PSF.from_instrument("model-2").beta is None
    assert PSF.from_instrument("model-1") is None


@pytest.mark.parametrize("beta", [1, 0.5, np.nan, np.inf, "2", True])
def test_bad_beta(beta):
    with pytest.raises(PSFError, match="^beta: must be a number above 1"):
        PSF.from_fwhm(0.1 * u.arcsec, beta)


def test_narrow_gaussian_is_a_point():
    kernel = PSF.from_fwhm(1e-4 * u.arcsec).kernel_at(0.1, 1)
    assert_good(kernel)
    assert kernel[1, 1] == 1


@settings(max_examples=25, deadline=None)
@given(
    st.integers(4, 8),
    st.floats(2.0, 4.0),
    st.sampled_from([1, 2, 3, 4]),
    st.floats(0.5, 6.0),
)
def test_centring_law(half, fwhm, oversampling, sampling):
    """At any sampling the centroid of a symmetric kernel is the central pixel, the sum is 1, no light is negative."""
    psf = PSF.from_kernel(gaussian((2 * half + 1,) * 2, fwhm), oversampling)
    kernel = psf.kernel_at(0.05, sampling)
    assert_good(kernel)
    np.testing.assert_allclose(centroid(kernel), 0, atol=1e-12)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (kernel.shape[0] // 2,) * 2
    assert kernel.min() >= 0


def test_kernel_at_its_own_sampling_is_itself():
    given_kernel = gaussian((9, 9), 2.2)
    psf = PSF.from_kernel(given_kernel, 2)
    kernel = psf.kernel_at(0.1, 2)
    np.testing.assert_array_equal(kernel, psf.kernel)
    kernel[:] = 0  # a copy: nothing that a caller does reaches the PSF
    assert psf.kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(psf.kernel, given_kernel / given_kernel.sum(), rtol=1e-14)


@pytest.mark.parametrize("sampling", [2, 2.5, 3, 5])
def test_finer_kernel_is_the_same_profile(sampling):
    """A well sampled Gaussian interpolated to finer pixels is the Gaussian there, at arcsec, not pixel, distances."""
    kernel = PSF.from_kernel(gaussian((25, 25), 4.0)).kernel_at(0.05, sampling)
    expected = gaussian(kernel.shape, 4.0 * sampling)
    np.testing.assert_allclose(kernel, expected / expected.sum(), atol=6e-3 * kernel.max())


def test_coarser_kernel_sums_the_area():
    """Binning 3 x 3 of an odd kernel of 9: exact sums; binning 4 x 4 splits the pixels on the edges in halves."""
    fine = gaussian((9, 9), 5.0)
    fine /= fine.sum()
    np.testing.assert_allclose(
        PSF.from_kernel(fine, 3).kernel_at(0.1, 1), fine.reshape(3, 3, 3, 3).sum(axis=(1, 3)), rtol=1e-12
    )
    coarse = PSF.from_kernel(fine, 4).kernel_at(0.1, 1)
    weights = np.array([0.5, 1, 1, 1, 0.5])
    assert coarse[1, 1] == pytest.approx(weights @ fine[2:7, 2:7] @ weights)
    assert_good(coarse)


@pytest.mark.parametrize("oversampling", [1, 2, 5])
def test_measured_width(oversampling):
    psf = PSF.from_kernel(gaussian((31, 31), 3.7), oversampling)
    assert psf.measured_fwhm(0.08) == pytest.approx(3.7 * 0.08 / oversampling, rel=0.01)
    assert PSF.from_fwhm(0.3 * u.arcsec).measured_fwhm(0.08) == 0.3


def test_resampling_keeps_the_width():
    psf = PSF.from_kernel(gaussian((31, 31), 4.0), 2)
    finer = PSF.from_kernel(psf.kernel_at(0.1, 4), 4)
    assert finer.measured_fwhm(0.1) == pytest.approx(psf.measured_fwhm(0.1), rel=0.02)


# what is repaired, and said


def test_unnormalised():
    psf = PSF.from_kernel(7 * gaussian((9, 9), 2.0))
    assert_good(psf.kernel)
    assert any("normalised" in note for note in psf.notes)
    assert PSF.from_kernel(psf.kernel).notes == ()


@pytest.mark.parametrize("n", [10, 16])
def test_even_kernel_centred_between_pixels(n):
    """The half-pixel bug: the centre of an even kernel lies on a corner, and is moved onto a pixel."""
    psf = PSF.from_kernel(gaussian((n, n), 2.5))
    assert_good(psf.kernel)
    np.testing.assert_allclose(centroid(psf.kernel), 0, atol=1e-9)
    half = psf.kernel.shape[0] // 2
    expected = gaussian(psf.kernel.shape, 2.5)
    np.testing.assert_allclose(psf.kernel, expected / expected.sum(), atol=0.04 * expected.max() / expected.sum())
    assert np.unravel_index(psf.kernel.argmax(), psf.kernel.shape) == (half, half)
    assert any("recentred" in note for note in psf.notes)


@pytest.mark.parametrize("peak", [4, 5])
def test_even_kernel_centred_on_a_pixel_is_not_interpolated(peak):
    psf = PSF.from_kernel(gaussian((10, 10), 2.0, (peak, peak)))
    expected = gaussian(psf.kernel.shape, 2.0)
    np.testing.assert_allclose(psf.kernel, expected / expected.sum(), atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(19, 22), st.integers(19, 22))
def test_off_centre_and_oblong(dy, dx, ny, nx):
    """Wherever the peak lies, the repaired kernel is centred to its tolerance, in row and column."""
    psf = PSF.from_kernel(gaussian((ny, nx), 2.5, ((ny - 1) / 2 + dy, (nx - 1) / 2 + dx)))
    assert_good(psf.kernel)
    assert np.abs(centroid(psf.kernel)).max() <= 0.26
    if max(abs(dy), abs(dx)) > 0.26:
        assert any("off the middle" in note for note in psf.notes)


def test_off_centre_note_says_column_and_row():
    psf = PSF.from_kernel(gaussian((21, 21), 2.5, (10.0, 11.4)))
    assert "(+1.40, +0.00) pixel (column, row)" in psf.notes[-1]
    np.testing.assert_allclose(centroid(psf.kernel), 0, atol=1e-3)


def test_lopsided_kernel_is_left_alone():
    kernel = gaussian((21, 21), 2.5) + 0.02 * gaussian((21, 21), 3.0, (14, 14))
    psf = PSF.from_kernel(kernel / kernel.sum())
    assert psf.notes == ()
    np.testing.assert_allclose(psf.kernel, kernel / kernel.sum(), rtol=1e-12)


def test_nan_edges():
    kernel = gaussian((15, 15), 2.5)
    kernel[0], kernel[:, -1] = np.nan, np.inf
    psf = PSF.from_kernel(kernel)
    assert_good(psf.kernel)
    assert "29 values" in psf.notes[0]


# what is refused


@pytest.mark.parametrize(
    "kernel, rule",
    [
        (np.zeros((5, 5)), "positive sum"),
        (-gaussian((5, 5), 2.0), "positive sum"),
        (np.full((5, 5), np.nan), "finite values"),
        (np.ones(5), "two-dimensional"),
        (np.ones((2, 5, 5)), "two-dimensional"),
        (0.3, "FWHM with a unit"),
        (0.3 * u.kg, "angle"),
        (-0.3 * u.arcsec, "positive"),
        (np.nan * u.arcsec, "positive"),
        ("missing.fits", "existing file"),
    ],
)
def test_bad_psf_names_itself(kernel, rule):
    with pytest.raises(PSFError, match=f"^psf: must.*{rule}"):
        PSF.coerce(kernel)


def test_nan_in_the_core_is_refused():
    kernel = gaussian((9, 9), 3.0)
    kernel[4, 5] = np.nan
    with pytest.raises(PSFError, match="around its peak"):
        PSF.from_kernel(kernel)


@pytest.mark.parametrize("oversampling", [0, -1, 1.5, "2", np.nan, True])
def test_bad_oversampling(oversampling):
    with pytest.raises(PSFError, match="^psf_oversampling: must be an integer"):
        PSF.from_kernel(gaussian((5, 5), 2.0), oversampling)


# files


def test_read_extension_and_oversampling_card(tmp_path):
    """An STPSF-like file: the extension may be named, its OVERSAMP card is obeyed, a contradiction refused."""
    fine = fits.ImageHDU(gaussian((21, 21), 6.0), name="OVERDIST")
    fine.header["OVERSAMP"] = 4
    path = tmp_path / "psf.fits"
    fits.HDUList([fits.PrimaryHDU(), fine, fits.ImageHDU(gaussian((9, 9), 2.0), name="DET_DIST")]).writeto(path)
    assert PSF.read(path).kernel.shape == (9, 9)
    psf = PSF.read(f"{path},OVERDIST")
    assert psf.oversampling == 4 and "header" in psf.notes[0]
    assert PSF.read(f"{path},1", oversampling=4).oversampling == 4
    with pytest.raises(PSFError, match="OVERSAMP = 4"):
        PSF.read(f"{path},OVERDIST", oversampling=2)
    with pytest.raises(PSFError, match="'NOPE'.*OVERDIST"):
        PSF.read(f"{path},NOPE")


def test_coerce():
    psf = PSF.from_fwhm(1 * u.arcsec)
    assert PSF.coerce(psf) is psf and PSF.coerce(None) is None
    ccd = CCDData(gaussian((5, 5), 2.0), unit="adu")
    assert PSF.coerce(ccd, 3).oversampling == 3
    assert "Gaussian" in repr(psf) and "5 x 5" in repr(PSF.coerce(ccd))


@pytest.mark.skipif(not REAL.exists(), reason="the real images (../shared/data/real) are not here")
@pytest.mark.parametrize(
    "spec, scale, fwhm",
    [
        ("slacs/J0946+1006/psf.fits", 0.05, 0.078),
        ("cosmos_web_ring/F150W/psf.fits", 0.03, 0.060),
        ("cosmos_web_ring/F277W/psf.fits", 0.06, 0.124),
        ("euclid_q1/102018665_NEG570040238507752998.fits,VIS_PSF", 0.1, 0.163),
    ],
)
def test_real_kernels(spec, scale, fwhm):
    psf = PSF.read(REAL / spec)
    assert_good(psf.kernel)
    assert psf.measured_fwhm(scale) == pytest.approx(fwhm, rel=0.06)
    assert not any("recentred" in note for note in psf.notes)
    for sampling in (2, 2.5):
        finer = psf.kernel_at(scale, sampling)
        assert_good(finer)
        np.testing.assert_allclose(centroid(finer) / sampling, centroid(psf.kernel), atol=0.05)
