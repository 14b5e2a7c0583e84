# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.forward.model import LENS, LIGHT, SOURCE, lensed_source
from lensing_sr.networks.mixture import MACRO, TOTAL, Mixture, free_of_scale, in_arcsec, laid_down_parameters
from lensing_sr.networks.symmetry import SYMMETRIES, laid_down

DOUBLE = {"dtype": torch.float64}
P = torch.tensor([[0.1, 0.2, -0.1, 0.05, -0.07, 0.04, 0.03, 0.2, -0.1, -1.5, 0.1, 0.2, 0.15]], **DOUBLE)
HALF, CENTRE = torch.tensor([2.56], **DOUBLE), torch.tensor([[0.02, -0.03]], **DOUBLE)


def mixture(images=3, components=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = 0.3 * torch.randn(images, components, TOTAL, TOTAL, generator=generator, **DOUBLE).tril()
    root[..., MACRO:, :MACRO] = 0.0
    root.diagonal(dim1=-2, dim2=-1).abs_().add_(1.0)
    mean = torch.randn(images, components, TOTAL, generator=generator, **DOUBLE)
    share = torch.randn(images, components, generator=generator, **DOUBLE).log_softmax(1)
    return Mixture(share, mean, root)


def test_there_are_as_many_numbers_as_parameters():
    assert (MACRO, TOTAL) == (len(LENS + SOURCE), len(LENS + SOURCE + LIGHT))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([MACRO, TOTAL]), st.integers(0, 1000))
def test_scale_goes_and_comes_back(count, seed):
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(4, count, generator=generator, **DOUBLE)
    half, centre = torch.rand(4, generator=generator, **DOUBLE) + 0.5, torch.randn(4, 2, generator=generator, **DOUBLE)
    assert torch.allclose(in_arcsec(free_of_scale(p, half, centre), half, centre), p, atol=1e-10)


def test_numbers_are_free_of_scale():
    """A field and everything in it three times as large has the same numbers."""
    large = P.clone()
    large[:, [0, 9]] += torch.log(torch.tensor(3.0, **DOUBLE))
    large[:, [3, 4, 7, 8]] *= 3
    assert torch.allclose(free_of_scale(large, 3 * HALF, 3 * CENTRE), free_of_scale(P, HALF, CENTRE), atol=1e-12)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_parameters_turn_with_their_image(symmetry):
    axis = (torch.arange(64, **DOUBLE) - 31.5) * 0.08
    x, y = axis.expand(64, 64), axis[:, None].expand(64, 64)
    zero = torch.zeros(1, 2, **DOUBLE)
    turned = in_arcsec(laid_down_parameters(free_of_scale(P, HALF, zero), symmetry), HALF, zero)
    assert torch.allclose(lensed_source(turned, x, y), laid_down(lensed_source(P, x, y), symmetry), atol=1e-10)


def test_density_is_that_of_gaussians():
    found, t = mixture(), torch.randn(3, TOTAL, generator=torch.Generator().manual_seed(1), **DOUBLE)
    for count in (MACRO, TOTAL):
        each = torch.stack([
            torch.distributions.MultivariateNormal(
                found.mean[:, k, :count], found.covariance()[:, k, :count, :count]
            ).log_prob(t[:, :count])
            for k in range(2)
        ], dim=1)  # fmt: skip
        expected = torch.logsumexp(found.log_share + each, dim=1)
        assert torch.allclose(found.log_density(t, count), expected, atol=1e-8)


def test_draws_have_the_moments_of_the_mixture():
    found = mixture(images=1)
    draws = found.sample(40_000, torch.Generator().manual_seed(2))[0]
    share = found.log_share[0].exp()
    mean = share @ found.mean[0]
    spread = found.mean[0] - mean
    covariance = torch.einsum("k,kij->ij", share, found.covariance()[0]) + torch.einsum(
        "k,ki,kj->ij", share, spread, spread
    )
    assert torch.allclose(draws.mean(0), mean, atol=0.05)
    assert torch.allclose(draws.T.cov(), covariance, atol=0.08)


def test_best_is_the_mean_of_the_highest_peak():
    found = mixture()
    peaks = torch.stack([found.log_density(found.mean[:, k]) for k in range(2)], dim=1)
    alone = Mixture(found.log_share, found.mean + 50 * torch.arange(2, **DOUBLE)[:, None], found.precision)
    peaks = torch.stack([alone.log_density(alone.mean[:, k]) for k in range(2)], dim=1)
    assert torch.equal(alone.best(), alone.mean[torch.arange(3), peaks.argmax(1)])


def test_near_is_what_bayes_says():
    """Shares become the chances that a draw came from each component."""
    found, t = mixture(images=1), torch.zeros(1, TOTAL, **DOUBLE)
    each = [
        torch.distributions.MultivariateNormal(found.mean[:, k], found.covariance()[:, k]).log_prob(t) for k in range(2)
    ]
    expected = torch.softmax(found.log_share[0] + torch.cat(each), dim=0)
    assert torch.allclose(found.near(t).log_share[0].exp(), expected, atol=1e-8)
