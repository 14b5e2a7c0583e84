# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what lies between the pixels: points are missed by as much as is said, anything smoother by less."""

import pytest
import torch

from lensing_sr.metrics.interpolation import apply_axes, conserving_matrix
from lensing_sr.restore.between_pixels import missed_share, missed_variance

N = 24


def gaussian(fwhm, factor):
    """A PSF of so many pixels FWHM, on pixels `factor` times finer."""
    x = torch.arange(-20 * factor, 20 * factor + 1, dtype=torch.float64) / factor
    profile = torch.exp(-(x**2) / 2 / (fwhm / 2.3548) ** 2)
    profile = profile[profile > 1e-12]
    return profile[:, None] * profile / profile.sum() ** 2


def spots(fwhm, factor):
    """Spots at every place of the fine pixels of a pixel, on fine pixels."""
    y, x = torch.meshgrid(*(torch.arange(N * factor, dtype=torch.float64),) * 2, indexing="ij")
    places = [(N // 2 * factor + j, N // 2 * factor + i) for j in range(factor) for i in range(factor)]
    width = fwhm * factor / 2.3548
    fine = [torch.exp(-((y - j) ** 2 + (x - i) ** 2) / 2 / width**2) for j, i in places]
    return torch.stack([spot / spot.sum() for spot in fine])


def interpolated(fine, factor):
    """Binned images, and what a spline through them misses."""
    coarse = fine.reshape(-1, N, factor, N, factor).sum(dim=(2, 4))
    matrix = conserving_matrix(N, factor)
    return coarse, apply_axes(coarse, matrix, matrix) - fine


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("fwhm", [1.0, 1.7, 2.5])
def test_points_are_missed_by_as_much_as_is_said(fwhm, factor):
    coarse, error = interpolated(spots(fwhm, factor), factor)
    stated = missed_variance(coarse, gaussian(fwhm, factor), factor, factor)
    torch.testing.assert_close(stated.sum(), error.square().sum(), rtol=0.01, atol=0)


@pytest.mark.parametrize("wider", [1.3, 2.0, 3.0])
def test_what_is_smoother_than_a_point_is_missed_by_less(wider):
    coarse, error = interpolated(spots(wider * 1.7, 2), 2)
    stated = missed_variance(coarse, gaussian(1.7, 2), 2, 2)
    assert 0 < error.square().sum() < stated.sum()


def test_nothing_is_missed_where_nothing_is_interpolated():
    assert missed_share(gaussian(1.5, 1), 1) < 1e-20


def test_the_sharper_the_optics_the_more_is_missed():
    shares = [missed_share(gaussian(fwhm, 2), 2) for fwhm in (1.0, 1.5, 2.0, 3.0)]
    assert shares == sorted(shares, reverse=True)


def test_variance_goes_with_the_square_of_the_flux_and_images_do_not_mix():
    kernel = gaussian(1.7, 3)
    kept = torch.randn(3, 11, 14, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = missed_variance(kept, kernel, 3, 2.5)
    assert together.shape == (3, 28, 35) and bool((together >= 0).all())
    torch.testing.assert_close(missed_variance(-7.0 * kept, kernel, 3, 2.5), 49.0 * together)
    torch.testing.assert_close(missed_variance(kept[1:2], kernel, 3, 2.5), together[1:2])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images(size):
    assert missed_variance(torch.ones(1, size, size), gaussian(1.7, 2), 2, 2).isfinite().all()
