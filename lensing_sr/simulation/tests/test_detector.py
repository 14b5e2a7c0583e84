# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lensing_sr.simulation.detector import (
    FEW, REACH, correlated, correlation_taps, noise_sigma, photon_counts, poisson_quantile,
)  # fmt: skip
from lensing_sr.simulation.randomness import Streams


def deviates(count, seed=1):
    return Streams(seed, 0, 1, "deviates").normal_field(1, count)[0, 0]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5, 3.0, 0.999 * FEW])
def test_few_counts_are_exact(rate):
    z = deviates(20_000)
    counts = poisson_quantile(torch.full(z.shape, rate), z).numpy()
    expected = stats.poisson.ppf(stats.norm.cdf(z.double().numpy()), np.float32(rate)) if rate else 0.0
    assert np.mean(counts != np.maximum(expected, 0.0)) < 1e-4


@pytest.mark.parametrize("rate", [FEW, 15.0, 60.0, 400.0, 3e4])
def test_many_counts_err_by_one_and_rarely(rate):
    z = deviates(100_000)
    counts = poisson_quantile(torch.full(z.shape, rate), z).numpy()
    expected = stats.poisson.ppf(stats.norm.cdf(z.double().numpy()), rate)
    assert np.abs(counts - expected).max() <= 1
    assert np.mean(counts != expected) < 1e-3 * FEW / rate + 1e-4


@given(rate=st.floats(0, 1e5), z=st.floats(-5, 5), more=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_counts_grow_with_the_rate(rate, z, more):
    rates = torch.tensor([rate, rate * (1 + more) + more], dtype=torch.float64)
    # the two branches meet at FEW: there the series may be one count low
    low, high = poisson_quantile(rates, torch.full((2,), z, dtype=torch.float64))
    assert high >= low - 1 and low >= 0


@pytest.mark.parametrize("rate", [2.0, 12.0, 1000.0])
def test_mean_and_variance_of_photons(rate):
    z = deviates(200_000, seed=2)
    counts = photon_counts(torch.full(z.shape, rate / 50.0), 50.0, z)
    error = np.sqrt(rate / len(z))
    assert abs(float(counts.mean()) - rate) < 5 * error
    assert abs(float(counts.var()) / rate - 1) < 5 * np.sqrt((2 + 1 / rate) / len(z))


def test_a_rounding_error_of_the_image_stays_one():
    z = deviates(50_000)
    rate = 10 ** (4 * Streams(5, 0, 1, "rate").uniform(50_000)[0])
    counts = poisson_quantile(torch.from_numpy(rate), z)
    moved = poisson_quantile(torch.from_numpy(rate * (1 + 1e-7)), z)
    assert float((counts - moved).abs().max()) <= 1
    assert float((counts != moved).double().mean()) < 1e-4


def test_no_light_below_zero():
    assert photon_counts(torch.tensor([-3.0]), 100.0, torch.tensor([2.0])).item() == 0
    assert noise_sigma(torch.tensor([-3.0]), 0.5, 100.0).item() == 0.5


def test_sigma_adds_in_quadrature():
    image = torch.linspace(0, 3, 7, dtype=torch.float64)
    assert torch.allclose(noise_sigma(image, 0.2, 40.0) ** 2, 0.04 + image / 40.0, rtol=1e-12)


@pytest.mark.parametrize("lag1", [0.0, 0.1, 0.25, 0.5, 0.8, 0.95])
def test_neighbours_share_noise_as_asked(lag1):
    taps = correlation_taps(lag1)
    assert taps @ taps == pytest.approx(1, abs=1e-12)
    assert taps[1:] @ taps[:-1] == pytest.approx(lag1, abs=1e-9)
    field = Streams(4, 0, 40, "field").normal_field(64 + 2 * REACH, 64 + 2 * REACH).double()
    noise = correlated(field, torch.from_numpy(taps)).numpy()
    assert noise.shape == (40, 64, 64)
    # pixels that share noise count as fewer
    independent = noise.size / (1 + 2 * (np.convolve(taps, taps[::-1])[: 2 * REACH] ** 2).sum()) ** 2
    assert noise.var() == pytest.approx(1, abs=5 * np.sqrt(2 / independent))
    for one, other in ((noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])):
        assert (one * other).mean() == pytest.approx(lag1, abs=5 * np.sqrt(2 / independent))


def test_every_image_has_its_own_correlation():
    field = Streams(4, 0, 2, "field").normal_field(30 + 2 * REACH, 20 + 2 * REACH).double()
    taps = torch.from_numpy(np.stack([correlation_taps(0.0), correlation_taps(0.7)]))
    both = correlated(field, taps)
    assert torch.allclose(both[0], field[0, REACH:-REACH, REACH:-REACH], atol=1e-12)
    assert torch.allclose(both[1:], correlated(field[1:], taps[1]), atol=1e-12)


@pytest.mark.parametrize("lag1", [-0.1, 0.96])
def test_impossible_correlation(lag1):
    with pytest.raises(ValueError, match="between 0 and 0.95"):
        correlation_taps(lag1)
