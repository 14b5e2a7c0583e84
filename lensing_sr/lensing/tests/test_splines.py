# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the splines: scipy's B-splines are the oracle, and columns are the values taken apart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from lensing_sr.lensing._splines import Taps, axis_taps, cubic_spline

SIZE = 7


def one(position, node, order):
    """The spline of one node, or its derivative, by scipy."""
    basis = BSpline.basis_element(np.arange(-2.0, 3.0) + node, extrapolate=False)
    return np.nan_to_num(basis.derivative(order)(position) if order else basis(position))


def drawn(seed=0, shape=(9, 11), spread=None):
    """Coefficients and positions: from two spacings before the grid to two after it, or within `spread`."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (-3.0, SIZE + 2.0) if spread is None else spread
    u, v = low + (high - low) * torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    return torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64), u, v


@pytest.mark.parametrize("by_u, by_v", [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2)])
def test_values_and_derivatives_are_scipys(by_u, by_v):
    c, u, v = drawn()
    expected = sum(
        float(c[j, i]) * one(v.numpy(), j, by_v) * one(u.numpy(), i, by_u) for j in range(SIZE) for i in range(SIZE)
    )
    found = Taps(u, v, SIZE, 2).value(c, by_u, by_v)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_beyond_two_spacings_there_is_nothing(order):
    u = torch.tensor([[-1e6, -2.0, SIZE + 1.0, 1e6]], dtype=torch.float64)
    taps = Taps(u, torch.full_like(u, 3.2), SIZE, order)
    for by_u in range(order + 1):
        edge = taps.value(torch.ones(SIZE, SIZE, dtype=torch.float64), by_u=by_u)
        # the second derivative of a cubic spline runs linearly into zero
        assert edge.abs().max() < 1e-12


def test_a_constant_is_a_constant_inside():
    _, u, v = drawn(1, spread=(1.0, SIZE - 2.0))
    taps = Taps(u, v, SIZE, 2)
    flat = torch.full((SIZE, SIZE), 3.5, dtype=torch.float64)
    torch.testing.assert_close(taps.value(flat), torch.full_like(u, 3.5))
    for by_u, by_v in ((1, 0), (0, 1), (2, 0), (0, 2)):
        assert taps.value(flat, by_u, by_v).abs().max() < 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(0, 0), (1, 0), (0, 1), (2, 0)]))
def test_columns_are_the_value_summed_over_pixels(seed, derivatives):
    c, u, v = drawn(seed)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(u.shape, generator=generator, dtype=torch.float64)
    index = torch.randint(5, u.shape, generator=generator)
    taps = Taps(u, v, SIZE, 2)
    columns = taps.columns([(weight, *derivatives)], index, 5)
    assert columns.shape == (SIZE**2, 5)
    summed = torch.zeros(5, dtype=torch.float64)
    summed.scatter_add_(0, index.flatten(), (weight * taps.value(c, *derivatives)).flatten())
    torch.testing.assert_close(c.flatten() @ columns, summed)


def test_terms_of_columns_add_up():
    _, u, v = drawn(2)
    taps, weight, index = Taps(u, v, SIZE, 1), u - v, torch.zeros(u.shape, dtype=torch.long)
    both = taps.columns([(weight, 1, 0), (2 * weight, 0, 1)], index, 1)
    apart = taps.columns([(weight, 1, 0)], index, 1) + taps.columns([(2 * weight, 0, 1)], index, 1)
    torch.testing.assert_close(both, apart)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_rows_of_columns_are_the_columns(seed, count):
    _, u, v = drawn(seed, shape=(4, 5))
    taps, index = Taps(u, v, SIZE, 1), torch.arange(20).view(4, 5) % count
    terms = [(u * v, 1, 0), (u + v, 0, 1)]
    rows = [row.clone() for row in taps.column_rows(terms, index, count)]
    assert len(rows) == SIZE and torch.equal(torch.cat(rows), taps.columns(terms, index, count))


def test_the_spline_is_scipys():
    t = torch.linspace(-2.5, 2.5, 101, dtype=torch.float64)
    for order, found in enumerate(cubic_spline(t)):
        np.testing.assert_allclose(found.numpy(), one(t.numpy(), 0, order), atol=1e-15)


def test_positions_may_need_gradients():
    c, u, v = drawn(3)
    u.requires_grad_(True)
    taps = Taps(u, v, SIZE, 1)
    slope = torch.autograd.grad(taps.value(c).sum(), u)[0]
    torch.testing.assert_close(slope, taps.value(c, by_u=1).detach())


def test_a_ray_from_nowhere_hits_nothing():
    """Not a number is no position: no index may leave the coefficients."""
    first, weights = axis_taps(torch.tensor([torch.nan, torch.inf, -torch.inf]), SIZE, 2)
    assert int(first.min()) >= 0 and int(first.max()) + 3 < SIZE + 6
    assert all(torch.isfinite(w[1:]).all() for order in weights for w in order)
