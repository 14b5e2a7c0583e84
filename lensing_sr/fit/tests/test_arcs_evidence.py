# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of whether there are any arcs at all."""

import math

import pytest
import torch

from lensing_sr.fit.evidence import LENSED, arcs_evidence


def random_arcs(images=3, shape=(40, 50)):
    generator = torch.Generator().manual_seed(2)
    arcs = torch.rand(images, *shape, generator=generator)
    weight = 0.5 + torch.rand(images, *shape, generator=generator)
    weight[:, :5, :7] = 0.0
    return arcs, weight


def test_it_is_what_arcs_lower_chi_square_by():
    """Where the arcs are the data, chi-square without them is their squared S/N; the price is that of 12 numbers."""
    arcs, weight = random_arcs()
    found = arcs_evidence(arcs, weight, torch.ones(3))
    chi2 = (arcs * weight).double().square().sum(dim=(1, 2))
    price = 0.5 * LENSED * math.log(40 * 50 - 35)
    torch.testing.assert_close(found, 0.5 * chi2 - price)


def test_noise_that_is_shared_counts_less():
    arcs, weight = random_arcs()
    white, shared = (arcs_evidence(arcs, weight, torch.full((3,), t)) for t in (1.0, 6.0))
    assert (shared < white).all()
    price = [0.5 * LENSED * math.log((40 * 50 - 35) / t) for t in (1.0, 6.0)]
    torch.testing.assert_close((shared + price[1]) * 6.0, white + price[0])


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_units_do_not_matter(factor):
    arcs, weight = random_arcs()
    torch.testing.assert_close(
        arcs_evidence(factor * arcs, weight / factor, torch.ones(3)), arcs_evidence(arcs, weight, torch.ones(3)),
        rtol=1e-4, atol=1e-3,
    )  # fmt: skip
