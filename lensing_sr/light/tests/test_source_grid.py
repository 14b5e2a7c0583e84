# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the stretched source plane: nodes, values, slopes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.light.source_grid import SourceGrid

GRID = SourceGrid((0.2, -0.1), width=0.1, reach=0.8, size=15)


@pytest.fixture(scope="module")
def coefficients():
    return torch.randn(15, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def places(seed=1, reach=1.2):
    generator = torch.Generator().manual_seed(seed)
    x, y = reach * (2 * torch.rand(2, 12, 9, generator=generator, dtype=torch.float64) - 1)
    return x + 0.2, y - 0.1


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 1.0), st.floats(0.05, 20.0), st.integers(4, 60), st.floats(-2, 2), st.floats(-2, 2))
def test_nodes_span_the_region_and_are_finest_at_its_middle(width, ratio, size, x0, y0):
    grid = SourceGrid((x0, y0), width, width * ratio, size)
    x, y = grid.nodes()
    reach = width * ratio
    assert float(x[0, 0]) == pytest.approx(x0 - reach, abs=1e-6 * (1 + reach))
    assert float(y[-1, 0]) == pytest.approx(y0 + reach, abs=1e-6 * (1 + reach))
    steps = x[0].diff()
    assert (steps > 0).all() and float(steps.argmin() + 1 - size / 2) ** 2 <= 1
    assert grid.spacing <= float(steps.min()) * (1 + 1e-9)
    torch.testing.assert_close(x, (y.T - y0) + x0)


def test_a_coefficient_shines_at_its_node():
    x, y = GRID.nodes()
    single = torch.zeros(15, 15, dtype=torch.float64)
    single[4, 9] = 1.0
    seen = GRID.evaluate(single, x, y)
    assert seen.argmax() == 4 * 15 + 9
    assert float(seen[4, 9]) == pytest.approx(4 / 9)  # of a cubic B-spline in two dimensions


def test_the_gradient_is_the_difference(coefficients):
    x, y = places()
    step = 1e-6
    by_x, by_y = GRID.gradient(coefficients, x, y)
    numeric = []
    for dx, dy in ((step, 0.0), (0.0, step)):
        ahead, behind = (GRID.evaluate(coefficients, x + sign * dx, y + sign * dy) for sign in (1, -1))
        numeric.append((ahead - behind) / (2 * step))
    torch.testing.assert_close(by_x, numeric[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(by_y, numeric[1], rtol=1e-6, atol=1e-6)


def test_taps_are_the_values_taken_apart(coefficients):
    x, y = places(2)
    index = torch.arange(x.numel()).view(x.shape)
    columns = GRID.taps(x, y).columns([(torch.ones_like(x), 0, 0)], index, x.numel())
    torch.testing.assert_close((coefficients.flatten() @ columns).view(x.shape), GRID.evaluate(coefficients, x, y))


def test_a_shifted_grid_shines_alike_at_shifted_positions(coefficients):
    x, y = places(3)
    there = GRID.shifted(0.5, -2.0).evaluate(coefficients, x + 0.5, y - 2.0)
    torch.testing.assert_close(GRID.evaluate(coefficients, x, y), there, rtol=0, atol=1e-10)


def test_another_size_is_the_same_region():
    finer = GRID.with_size(40)
    assert (finer.centre, finer.width, finer.reach) == (GRID.centre, GRID.width, GRID.reach)
    torch.testing.assert_close(finer.nodes()[0][0, [0, -1]], GRID.nodes()[0][0, [0, -1]])
    assert finer.spacing < GRID.spacing


@settings(max_examples=25, deadline=None)
@given(st.floats(0.005, 0.2))
def test_nodes_for_a_spacing_give_it(spacing):
    size = GRID.nodes_for(spacing)
    assert GRID.with_size(max(size, 2)).spacing <= spacing * (1 + 1e-6)
    if size > 4:
        assert GRID.with_size(size - 2).spacing > spacing * (1 - 1e-6)


def test_beyond_the_grid_it_is_dark(coefficients):
    far = torch.tensor([[50.0, -50.0]], dtype=torch.float64)
    assert (GRID.evaluate(coefficients, far, far) == 0).all()
    assert all((slope == 0).all() for slope in GRID.gradient(coefficients, far, far))


@pytest.mark.parametrize("ratio, size", [(0.5, 8), (3.0, 9), (10.0, 20)])
def test_it_shines_to_its_extent_and_no_further(ratio, size):
    grid = SourceGrid((0.0, 0.0), 0.1, 0.1 * ratio, size)
    lit, edge = torch.ones(size, size, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    for axis in ((edge, edge + 1), (edge + 1, edge)):
        assert (grid.evaluate(lit, *(1.0001 * grid.extent * c for c in axis)) < 1e-12).all()
        assert (grid.evaluate(lit, *(0.95 * grid.extent * c for c in axis)) > 0).all()


def test_single_precision_agrees(coefficients):
    x, y = places(4)
    single = GRID.evaluate(coefficients, x.float(), y.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), GRID.evaluate(coefficients, x, y), rtol=0, atol=1e-4)
