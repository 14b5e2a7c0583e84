# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the batched linear solvers; scipy is the oracle."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, nnls

from lensing_sr.solvers.linear import (
    BLOCK,
    RIDGE,
    nonnegative_least_squares,
    products,
    scaled_cholesky,
    solve_spd,
    weighted_amplitudes,
)


def _problem(seed, batch, rows, columns):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(batch, rows, columns)) + rng.uniform(0, 1)
    return torch.as_tensor(matrix), torch.as_tensor(rng.normal(size=(batch, rows)))


def _normal(matrix, target):
    return matrix.transpose(1, 2) @ matrix, (matrix.transpose(1, 2) @ target[:, :, None])[:, :, 0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_nonnegative_solution_is_scipys(seed, columns):
    matrix, target = _problem(seed, 3, 40, columns)
    amplitudes, passive = nonnegative_least_squares(*_normal(matrix, target))
    for a, b, c in zip(matrix.numpy(), target.numpy(), amplitudes.numpy(), strict=True):
        np.testing.assert_allclose(c, nnls(a, b)[0], atol=1e-6)
    assert (amplitudes >= 0).all()
    assert (amplitudes[~passive] == 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_free_columns_may_be_negative(seed):
    matrix, target = _problem(seed, 2, 30, 6)
    free = torch.tensor([False] * 5 + [True])
    amplitudes, _ = nonnegative_least_squares(*_normal(matrix, target), free)
    lower = np.where(free.numpy(), -np.inf, 0.0)
    for a, b, c in zip(matrix.numpy(), target.numpy(), amplitudes.numpy(), strict=True):
        np.testing.assert_allclose(c, lsq_linear(a, b, (lower, np.inf), tol=1e-12).x, atol=1e-5)


def test_a_batch_is_its_members():
    gram, rhs = _normal(*_problem(3, 5, 40, 8))
    together, _ = nonnegative_least_squares(gram, rhs)
    alone = torch.cat([nonnegative_least_squares(gram[i : i + 1], rhs[i : i + 1])[0] for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_an_empty_column_has_no_amplitude():
    matrix, target = _problem(4, 1, 20, 3)
    matrix[:, :, 1] = 0.0
    amplitudes, passive = nonnegative_least_squares(*_normal(matrix, target))
    assert amplitudes[0, 1] == 0 and not passive[0, 1]
    assert torch.isfinite(amplitudes).all()


def test_amplitudes_scale_with_their_columns():
    matrix, target = _problem(5, 1, 30, 4)
    factor = torch.tensor([1e-6, 1.0, 1e3, 1e8], dtype=torch.float64)
    plain, _ = nonnegative_least_squares(*_normal(matrix, target))
    scaled, _ = nonnegative_least_squares(*_normal(matrix * factor, target))
    torch.testing.assert_close(scaled * factor, plain, rtol=1e-6, atol=1e-9)


def test_solve_spd_survives_a_singular_matrix():
    singular = torch.ones(1, 3, 3, dtype=torch.float64)
    solution = solve_spd(singular, torch.ones(1, 3, 1, dtype=torch.float64))
    torch.testing.assert_close(singular @ solution, torch.ones(1, 3, 1, dtype=torch.float64), rtol=0, atol=1e-3)


def test_solve_spd_leaves_the_others_alone_where_one_is_not_finite():
    matrix = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1) * 2.0
    rhs = torch.ones(3, 3, 1, dtype=torch.float64)
    matrix[0, 1, 1], rhs[2, 0] = torch.nan, torch.inf
    solution = solve_spd(matrix, rhs)
    torch.testing.assert_close(solution[1], rhs[1] / 2.0)
    assert solution[[0, 2]].isnan().all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0.0, 12.0))
def test_a_scaled_cholesky_is_one_of_the_matrix_with_unit_diagonal(seed, size, decades):
    """Whatever the units: those of A u = b change neither the factor nor, but for the ridge, the solution."""
    matrix, rhs = _problem(seed, 1, 40, size)[0][0], torch.arange(1.0, size + 1.0, dtype=torch.float64)
    gram, unit = matrix.T @ matrix, torch.logspace(-0.5 * decades, 0.5 * decades, size, dtype=torch.float64)
    factor, scale = scaled_cholesky(gram * unit[:, None] * unit)
    torch.testing.assert_close(factor, scaled_cholesky(gram)[0], rtol=1e-6, atol=1e-9)
    assert (factor.triu(1) == 0).all()
    torch.testing.assert_close((factor @ factor.T).diagonal(), torch.full_like(scale, 1.0 + RIDGE))
    solved = torch.cholesky_solve((scale * unit * rhs)[:, None], factor)[:, 0] * scale * unit
    torch.testing.assert_close(gram @ solved, rhs, rtol=1e-5, atol=1e-5)


def test_a_scaled_cholesky_stands_equal_columns_and_leaves_its_matrix_alone():
    matrix = torch.ones(3, 3, dtype=torch.float64)
    factor, _ = scaled_cholesky(matrix, 1e-6)
    assert torch.isfinite(factor).all() and (matrix == 1.0).all()
    torch.testing.assert_close(factor @ factor.T, matrix + 1e-6 * torch.eye(3, dtype=torch.float64))


def test_weighted_amplitudes_are_scipys():
    matrix, target = _problem(7, 3, 24, 4)
    weight = torch.as_tensor(np.random.default_rng(8).uniform(0.0, 2.0, size=(3, 24)))
    images = matrix.mT.reshape(3, 4, 4, 6)
    amplitudes = weighted_amplitudes(images, target.view(3, 4, 6), weight.view(3, 4, 6), free=(False,) * 3 + (True,))
    for a, b, w, c in zip(matrix.numpy(), target.numpy(), weight.numpy(), amplitudes.numpy(), strict=True):
        expected = lsq_linear(a * w[:, None], b * w, ([0.0, 0.0, 0.0, -np.inf], np.inf), tol=1e-12).x
        np.testing.assert_allclose(c, expected, atol=1e-5)
    positive = weighted_amplitudes(images, target.view(3, 4, 6), weight.view(3, 4, 6))
    assert (positive >= 0).all()


def test_pixels_without_weight_do_not_count():
    matrix, target = _problem(9, 1, 24, 3)
    weight = torch.ones(1, 4, 6, dtype=torch.float64)
    weight[0, 0] = 0.0
    data = target.view(1, 4, 6).clone()
    expected = weighted_amplitudes(matrix.mT.reshape(1, 3, 4, 6), data, weight)
    data[0, 0] = 1e6
    assert torch.equal(weighted_amplitudes(matrix.mT.reshape(1, 3, 4, 6), data, weight), expected)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3 * BLOCK))
def test_products_are_all_of_them(seed, count):
    rows = torch.as_tensor(np.random.default_rng(seed).normal(size=(count, 7)))
    torch.testing.assert_close(products(rows), rows @ rows.T)
