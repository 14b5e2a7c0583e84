# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the kernels: light is kept, half of the peak is where the width says, pixels of any size tell one profile."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.models import Gaussian2D, Moffat2D
from hypothesis import given, settings
from hypothesis import strategies as st

import lensing_sr
from lensing_sr.errors import InputError
from lensing_sr.image.kernels import gaussian_kernel, moffat_kernel, psf_kernel
from lensing_sr.image.psf import PSF
from lensing_sr.instruments import instruments, load_instrument

REAL = Path(lensing_sr.__file__).parents[2] / "shared" / "data" / "real"
WIDTHS = st.floats(0.03, 1.0)
BETAS = st.floats(1.2, 12.0)
PIXELS = st.floats(0.02, 0.3)


def assert_good(kernel):
    assert kernel.dtype == np.float64 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-12) and kernel.min() >= 0
    for turned in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(turned, kernel, rtol=1e-12)
    middle = kernel.shape[0] // 2
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (middle, middle)


@settings(max_examples=25, deadline=None)
@given(WIDTHS, PIXELS)
def test_gaussian_is_the_formula(fwhm, pixel):
    kernel = gaussian_kernel(fwhm, pixel)
    assert_good(kernel)
    half = kernel.shape[0] // 2
    sigma = fwhm / 2.354820045
    assert half - 1 < 5 * sigma / pixel <= half + 1e-6
    axis = np.arange(-half, half + 1) * pixel
    expected = Gaussian2D(1, 0, 0, sigma, sigma)(*np.meshgrid(axis, axis))
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-7, atol=1e-300)


@settings(max_examples=25, deadline=None)
@given(WIDTHS, BETAS, PIXELS)
def test_moffat_is_the_formula(fwhm, beta, pixel):
    kernel = moffat_kernel(fwhm, beta, pixel)
    assert_good(kernel)
    half = kernel.shape[0] // 2
    axis = np.arange(-half, half + 1) * pixel
    gamma = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    expected = Moffat2D(1, 0, 0, gamma, beta)(*np.meshgrid(axis, axis))
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-10)


@pytest.mark.parametrize("beta", [1.0000001, 1.3, 2.0, 3.5, 50.0])
def test_moffat_is_half_at_half_its_width(beta):
    kernel = moffat_kernel(0.4, beta, 0.1)
    middle = kernel.shape[0] // 2
    assert kernel[middle, middle + 2] == pytest.approx(kernel[middle, middle] / 2)


def test_moffat_without_wings_is_a_gaussian():
    moffat, gaussian = moffat_kernel(0.4, 1e4, 0.05), gaussian_kernel(0.4, 0.05)
    half = moffat.shape[0] // 2
    middle = gaussian.shape[0] // 2
    inner = gaussian[middle - half : middle + half + 1, middle - half : middle + half + 1]
    np.testing.assert_allclose(moffat, inner / inner.sum(), atol=1e-3 * moffat.max())


@pytest.mark.parametrize("beta", [2.5, 4.0])
def test_moffat_ends_where_it_says(beta):
    """Of a profile that is not cut by its largest size, the stated part of the light lies within the radius."""
    enclosed = 0.98
    kernel = moffat_kernel(0.4, beta, 0.01, enclosed=enclosed)
    half = kernel.shape[0] // 2
    wide = moffat_kernel(0.4, beta, 0.01, enclosed=0.99999, largest=40)
    centre = wide.shape[0] // 2
    axis = np.arange(wide.shape[0]) - centre
    inside = np.hypot(axis, axis[:, None]) <= half
    assert wide[inside].sum() == pytest.approx(enclosed, abs=2e-3)
    assert moffat_kernel(0.4, 1.01, 0.01).shape[0] == 2 * 400 + 1  # ten times its width, and no more


@pytest.mark.parametrize("beta", [None, 2.5])
def test_finer_pixels_tell_the_same_profile(beta):
    coarse, fine = (
        gaussian_kernel(0.4, pixel) if beta is None else moffat_kernel(0.4, beta, pixel) for pixel in (0.05, 0.05 / 3)
    )
    middle, reach = fine.shape[0] // 2, 6
    picked = fine[middle - 3 * reach : middle + 3 * reach + 1 : 3, middle - 3 * reach : middle + 3 * reach + 1 : 3]
    middle = coarse.shape[0] // 2
    inner = coarse[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    np.testing.assert_allclose(picked / picked.max(), inner / inner.max(), rtol=1e-10)


@pytest.mark.parametrize("wrong", [0.0, -0.1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["fwhm", "pixel", "beta", "enclosed", "largest"])
def test_what_makes_no_kernel(name, wrong):
    right = {"fwhm": 0.1, "beta": 2.5, "pixel": 0.05, "enclosed": 0.99, "largest": 10.0}
    with pytest.raises(InputError, match=f"^{name}: must be positive"):
        moffat_kernel(**{**right, name: wrong})
    if name in ("fwhm", "pixel"):
        with pytest.raises(InputError, match=f"^{name}: must be positive"):
            gaussian_kernel(**{"fwhm": 0.1, "pixel": 0.05, name: wrong})


def test_wings_without_end():
    with pytest.raises(InputError, match="^beta: must be above 1"):
        moffat_kernel(0.1, 1.0, 0.05)
    with pytest.raises(InputError, match="^enclosed: must be below 1"):
        moffat_kernel(0.1, 2.0, 0.05, enclosed=1.0)


@pytest.mark.parametrize("name", instruments())
def test_kernel_of_an_instrument_is_that_of_its_psf(name):
    instrument = load_instrument(name)
    for sampling in (1, 2, 2.5):
        kernel = psf_kernel(instrument, instrument.pixel_scale / sampling)
        if instrument.psf_profile == "none":
            assert kernel is None and PSF.from_instrument(instrument) is None
        else:
            assert_good(kernel)
            expected = PSF.from_instrument(instrument).kernel_at(instrument.pixel_scale, sampling)
            np.testing.assert_array_equal(kernel, expected)


def kernels_on_disk():
    """Instrument, file and extension of a published kernel, and its pixels in arcsec."""
    if not REAL.is_dir():
        return
    yield "hst-acs-f814w", REAL / "slacs" / "J0008-0004" / "psf.fits", None, 0.05
    for path in sorted((REAL / "desi_f140w").glob("*.fits"))[:1]:
        yield "hst-wfc3-f140w", path, "PSF", 0.08
    for path in sorted((REAL / "euclid_q1").glob("*.fits"))[:1]:
        yield "euclid-vis", path, "VIS_PSF", 0.1
    yield "jwst-nircam-f150w", REAL / "cosmos_web_ring" / "F150W" / "psf.fits", None, 0.03
    yield "jwst-nircam-f277w", REAL / "cosmos_web_ring" / "F277W" / "psf.fits", None, 0.06


@pytest.mark.parametrize(("name", "path", "ext", "pixel"), list(kernels_on_disk()))
def test_moffat_profiles_describe_published_kernels(name, path, ext, pixel):
    """Summed over the pixels, an instrument's PSF is the kernel that was published for such images."""
    published = PSF.from_kernel(fits.getdata(path, ext) if ext else fits.getdata(path))
    fine = PSF.from_kernel(psf_kernel(load_instrument(name), pixel / 9), 9)
    ours = PSF.from_kernel(fine.kernel_at(pixel, 1))
    assert ours.measured_fwhm(pixel) == pytest.approx(published.measured_fwhm(pixel), rel=0.05)
    half = min(kernel.shape[0] for kernel in (ours.kernel, published.kernel)) // 2
    middles = [kernel.shape[0] // 2 for kernel in (ours.kernel, published.kernel)]
    a, b = (
        kernel[m - half : m + half + 1, m - half : m + half + 1]
        for kernel, m in zip((ours.kernel, published.kernel), middles, strict=True)
    )
    a, b = a / a.sum(), b / b.sum()
    assert np.sqrt(np.mean((a - b) ** 2)) < 0.01 * b.max()


def test_needs_no_astropy():
    folder = str(Path(lensing_sr.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {folder!r})\n"
        "for name in ('astropy', 'torch', 'photutils'): sys.modules[name] = None\n"
        "from lensing_sr.image.kernels import moffat_kernel\nprint(moffat_kernel(0.1, 2.0, 0.1).sum())"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert float(done.stdout) == pytest.approx(1), done.stderr
