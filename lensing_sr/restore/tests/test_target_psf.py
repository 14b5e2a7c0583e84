# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The stated PSF of the result, and the blurring that brings a residual to it."""

import astropy.units as u
import numpy as np
import pytest
import torch

from lensing_sr.errors import InputError, PSFError
from lensing_sr.image.psf import PSF
from lensing_sr.restore.target_psf import blur, matching_kernel, target_kernel


def gaussian(sigma, radius):
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = np.outer(taps, taps)
    return kernel / kernel.sum()


def width(kernel):
    """Root mean square width along the columns."""
    offset = np.arange(kernel.shape[1]) - kernel.shape[1] // 2
    return np.sqrt((kernel.sum(axis=0) * offset**2).sum())


@pytest.mark.parametrize("scale", [2, 2.5, 3])
def test_the_same_optics_are_as_wide_on_the_sky(scale):
    psf = PSF.from_fwhm(0.16 * u.arcsec)
    kernel, statement = target_kernel("same", psf, 0.1, scale)
    assert kernel.shape[0] % 2 == 1 and kernel.sum() == pytest.approx(1)
    assert width(kernel) * 0.1 / scale == pytest.approx(0.16 / np.sqrt(8 * np.log(2)), rel=0.01)
    assert "that of the input" in statement and "0.16 arcsec" in statement


def test_a_sampled_kernel_is_resampled():
    kernel, statement = target_kernel("same", PSF.from_kernel(gaussian(1.5, 8)), 0.1, 2)
    assert width(kernel) == pytest.approx(3, rel=0.03) and kernel.sum() == pytest.approx(1)
    assert statement.endswith("resampled to the output pixels")
    oversampled = PSF.from_kernel(gaussian(1.5, 8), oversampling=2)
    kernel, statement = target_kernel("same", oversampled, 0.1, 2)
    np.testing.assert_allclose(kernel, oversampled.kernel)
    assert statement.endswith("as given")


def test_unknown_stays_unknown_and_is_said():
    assert target_kernel("same", None, 0.1, 2) == (None, "output PSF: unknown, as that of the input")


def test_other_targets():
    wide, _ = target_kernel(0.4 * u.arcsec, None, 0.1, 2)
    assert width(wide) == pytest.approx(8 / np.sqrt(8 * np.log(2)), rel=0.01)
    given = gaussian(2.0, 9)
    np.testing.assert_allclose(target_kernel(given, None, 0.1, 2)[0], given)
    same, _ = target_kernel(PSF.from_fwhm(0.4 * u.arcsec), None, 0.1, 2)
    np.testing.assert_allclose(same, wide)


@pytest.mark.parametrize("target", ["sharp", 0 * u.arcsec, np.nan * u.arcsec, 3 * u.s])
def test_wrong_targets_are_refused(target):
    with pytest.raises(PSFError, match="^target_psf:"):
        target_kernel(target, None, 0.1, 2)


def test_matching_gaussians_gives_the_gaussian_in_between():
    matched = matching_kernel(gaussian(1.2, 7), gaussian(2.0, 12))
    assert width(matched) == pytest.approx(1.6, rel=0.01)
    image = torch.tensor(gaussian(1.2, 30))[None]
    np.testing.assert_allclose(blur(image, matched)[0].numpy(), gaussian(2.0, 30), atol=1e-4)


def test_a_sharper_target_amplifies_nothing():
    matched = matching_kernel(gaussian(2.0, 12), gaussian(1.0, 12))
    spectrum = np.abs(np.fft.rfft2(matched))
    assert spectrum.max() <= 1 + 1e-9
    image = torch.tensor(gaussian(2.0, 30))[None]
    np.testing.assert_allclose(blur(image, matched), image, atol=1e-4)


def test_blurring_conserves_flux_and_batches():
    image = torch.zeros(3, 31, 31, dtype=torch.float64)
    image[:, 15, 15] = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    blurred = blur(image, gaussian(1.5, 7))
    torch.testing.assert_close(blurred.sum(dim=(1, 2)), image.sum(dim=(1, 2)))
    np.testing.assert_allclose(blurred[2, 8:23, 8:23].numpy(), 3 * gaussian(1.5, 7), atol=1e-12)


def test_even_kernels_are_refused():
    with pytest.raises(InputError, match="^target: must be odd and square"):
        matching_kernel(gaussian(1, 3), np.ones((4, 4)))
