# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the source's prior: correlations of unit diagonal that know their length."""

import pytest
import torch

from lensing_sr.fit.regularisation import FLOOR, JITTER, KINDS, correlation, envelope
from lensing_sr.light.source_grid import SourceGrid

GRID = SourceGrid((0.1, 0.2), 0.2, 0.6, 14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0.02, 0.1, 0.5])
def test_they_are_correlations(kind, length):
    k = correlation(kind, GRID, length)
    assert k.dtype == torch.float64
    torch.testing.assert_close(k, k.T, rtol=0, atol=1e-9)
    torch.testing.assert_close(k.diagonal(), torch.ones(len(k), dtype=k.dtype), rtol=0, atol=2 * JITTER)
    assert torch.linalg.eigvalsh(0.5 * (k + k.T))[0] > 0
    assert k.abs().max() <= 1 + 2 * JITTER


@pytest.mark.parametrize("kind", KINDS)
def test_longer_is_smoother(kind):
    """Neighbours agree better, and distant nodes too."""
    middle = 7 * 14 + 7
    near, far = [], []
    for length in (0.05, 0.1, 0.2, 0.4):
        k = correlation(kind, GRID, length)
        near.append(float(k[middle, middle + 1]))
        far.append(float(k[middle, middle + 4]))
    assert near == sorted(near) and near[0] > 0
    assert far == sorted(far)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_correlate_more_than_distant_nodes(kind):
    k = correlation(kind, GRID, 0.1)[7 * 14 + 7].view(14, 14)[7]
    assert (k[7:].diff() < 0).all()


def test_the_matern_depends_on_distance_alone():
    x, y = (c.flatten() for c in GRID.nodes())
    r = torch.hypot(x[:, None] - x, y[:, None] - y)
    k = correlation("matern", GRID, 0.1)
    order = r.flatten().argsort()
    assert (k.flatten()[order][len(x) :].diff() < 1e-9).all()
    # what is one length away: (1 + sqrt 3) exp(-sqrt 3)
    expected = (1 + 3**0.5) * torch.exp(torch.tensor(-(3**0.5), dtype=torch.float64))
    close = ((r - 0.1).abs() < 2e-3) & (r > 0)
    assert close.any() and (k[close] - expected).abs().max() < 0.02


def test_the_envelope_follows_the_light_and_never_vanishes():
    profile = torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(envelope(profile), profile + 5.0 * FLOOR)
