# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the restored residual: noise stays out, signal comes in, flux adds up."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.restore.residual import restore_residual, shrink_residual


def noise(seed, shape=(8, 64, 64)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blob(amplitude, shape=(1, 64, 64), width=2.0, centre=(30.3, 33.8)):
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape[-2:]), indexing="ij")
    return (amplitude * torch.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))).expand(shape)


def correlated(seed, correlation, shape=(8, 64, 64)):
    """Noise whose pixels correlate by correlation^(lag^2): white noise filtered in Fourier space."""
    lags = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in shape[-2:]]
    wanted = correlation ** (lags[0][:, None] ** 2 + lags[1][None, :] ** 2)
    filtered = torch.fft.fft2(noise(seed, shape)) * torch.fft.fft2(wanted).real.clamp_min(0).sqrt()
    return torch.fft.ifft2(filtered).real


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_noise_stays_out(correlation):
    sigma = 0.7
    data = sigma * correlated(0, correlation, (64, 64, 64)) if correlation else sigma * noise(0, (64, 64, 64))
    kept = shrink_residual(data, sigma, correlation=correlation)
    assert (kept**2).mean() < 0.001 * sigma**2


def test_correlated_noise_would_come_in_if_taken_for_white():
    data = correlated(1, 0.4)
    assert (shrink_residual(data, 1.0) ** 2).mean() > 10 * (shrink_residual(data, 1.0, correlation=0.4) ** 2).mean()


def test_significant_structure_comes_in_whole():
    signal = blob(1000.0)
    kept = shrink_residual(signal + noise(2, signal.shape), 1.0)
    assert (kept - signal).abs().max() < 10  # one per cent of the peak
    assert ((kept - signal) ** 2).mean() < 0.5  # and less noise than there was


@given(amplitude=st.floats(0.1, 1e4), width=st.floats(1.0, 5.0), seed=st.integers(0, 1000))
def test_restoring_never_does_harm(amplitude, width, seed):
    """Whatever was missed, model + kept is no further from the truth than data or model, but for 5 % of the noise."""
    signal = blob(amplitude, width=width)
    kept = shrink_residual(signal + noise(seed, signal.shape), 1.0)
    error = ((kept - signal) ** 2).mean()
    assert error < 1.05 and error < (signal**2).mean() + 0.05


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
def test_sums_over_fine_pixels_give_the_kept_residual(scale):
    restored = restore_residual(blob(50.0) + noise(3, (1, 64, 64)), 1.0, scale)
    sums = restored.correction.reshape(1, 64, scale, 64, scale).sum(dim=(2, 4))
    torch.testing.assert_close(sums, restored.kept, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1, 3, 5])
def test_samples_at_pixel_centres_give_the_kept_residual(scale):
    restored = restore_residual(blob(50.0) + noise(4, (1, 64, 64)), 1.0, scale, binned=False)
    samples = restored.correction[:, scale // 2 :: scale, scale // 2 :: scale] * scale**2
    torch.testing.assert_close(samples, restored.kept, rtol=0, atol=1e-9)


@given(scale=st.floats(1, 4), ny=st.integers(4, 30), nx=st.integers(4, 30))
def test_any_scale_and_shape_conserves_the_flux(scale, ny, nx):
    restored = restore_residual(10 + noise(5, (2, ny, nx)), 1.0, scale)
    assert restored.correction.shape == (2, int(np.ceil(ny * scale - 1e-9)), int(np.ceil(nx * scale - 1e-9)))
    torch.testing.assert_close(restored.correction.sum(dim=(1, 2)), restored.kept.sum(dim=(1, 2)))


@pytest.mark.parametrize("binned", [True, False])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_the_uncertainty_is_the_scatter_of_the_noise_that_came_in(binned, correlation):
    """Realisations of the noise on structure that is kept whole scatter as stated."""
    signal = blob(1e5, width=8.0).expand(400, 64, 64)
    data = signal + (correlated(6, correlation, signal.shape) if correlation else noise(6, signal.shape))
    restored = restore_residual(data, 1.0, 2, binned=binned, correlation=correlation)
    middle = (slice(None), slice(50, 78), slice(50, 78))
    scatter = restored.correction.std(dim=0)[middle[1:]].pow(2).mean().sqrt()
    stated = restored.uncertainty[middle].pow(2).mean().sqrt()
    assert stated == pytest.approx(float(scatter), rel=0.05)


def test_where_nothing_is_kept_something_may_hide_below_the_noise():
    """Zero, give or take less than the interpolated noise; arcs of a model whose error was measured hide little."""
    nothing, dark = torch.zeros(1, 32, 32), torch.zeros(1, 32, 32)
    restored = restore_residual(nothing, 1.0, 2)
    whole = restore_residual(blob(1e5, (1, 32, 32), width=8.0, centre=(16.0, 16.0)), 1.0, 2).uncertainty.max()
    assert restored.correction.abs().max() == 0
    assert (restored.uncertainty > 0.1 * whole).all() and (restored.uncertainty < whole).all()
    sure = restore_residual(nothing, 1.0, 2, model=(torch.full_like(nothing, 50.0), dark))
    assert 0 < sure.uncertainty.max() < restored.uncertainty.min()


@given(unit=st.floats(1e-12, 1e12))
def test_the_flux_unit_does_not_matter(unit):
    data = blob(20.0) + noise(7, (1, 64, 64))
    one, other = (restore_residual(factor * data, factor, 2) for factor in (1.0, unit))
    torch.testing.assert_close(other.correction, unit * one.correction)
    torch.testing.assert_close(other.uncertainty, unit * one.uncertainty)


def test_bad_pixels_neither_come_in_nor_spread():
    data = noise(8, (1, 64, 64)) + blob(100.0)
    clean = shrink_residual(data, 1.0)
    spoiled, sigma, mask = data.clone(), torch.ones_like(data), torch.zeros_like(data, dtype=torch.bool)
    spoiled[0, 10, 10], spoiled[0, 50, 20], sigma[0, 5, 40], spoiled[0, 15, 50] = torch.nan, torch.inf, 0, 1e9
    mask[0, 15, 50] = True
    kept = shrink_residual(spoiled, sigma, mask=mask)
    assert torch.isfinite(kept).all()
    assert (kept - clean).abs().max() < 1
    # in the middle of the structure the neighbours bridge the gap
    spoiled, mask = data.clone(), torch.zeros_like(data, dtype=torch.bool)
    spoiled[0, 30, 34], mask[0, 30, 34] = -1e9, True
    assert shrink_residual(spoiled, 1.0, mask=mask)[0, 30, 34] == pytest.approx(100, rel=0.3)
    assert shrink_residual(data, 1.0, mask=torch.ones_like(mask)).abs().max() == 0


def test_images_of_a_batch_do_not_mix():
    data = noise(9, (4, 40, 33)) * torch.tensor([1.0, 3.0, 10.0, 0.1], dtype=torch.float64)[:, None, None]
    sigma = torch.ones(4, 1, 1, dtype=torch.float64)
    together = restore_residual(data, sigma, 2.5)
    alone = restore_residual(data[2:3], 1.0, 2.5)
    torch.testing.assert_close(together.correction[2:3], alone.correction)


def test_single_precision_agrees_with_double():
    data = blob(200.0) + noise(10, (1, 64, 64))
    single = restore_residual(data.float(), 1.0, 2)
    assert single.correction.dtype == single.uncertainty.dtype == torch.float32
    double = restore_residual(data, 1.0, 2)
    torch.testing.assert_close(single.correction.double(), double.correction, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_tiny_images(size):
    restored = restore_residual(torch.full((1, size, size), 100.0), 1.0, 2)
    assert restored.correction.sum() == pytest.approx(100 * size**2, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        ((torch.ones(4, 4), 1.0, 2), {}, "residual"),
        ((torch.ones(1, 8, 8), torch.ones(1, 7, 8), 2), {}, "sigma"),
        ((torch.ones(1, 8, 8), 1.0, 0.5), {}, "scale"),
        ((torch.ones(1, 8, 8), 1.0, 2), {"correlation": 1.0}, "correlation"),
        ((torch.ones(1, 8, 8), 1.0, 2), {"mask": torch.zeros(7, 8, dtype=torch.bool)}, "mask"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, named):
    with pytest.raises(InputError, match=f"^{named}:"):
        restore_residual(*arguments, **options)
