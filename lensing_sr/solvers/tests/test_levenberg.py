# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the batched Levenberg-Marquardt solver; scipy is the oracle."""

import numpy as np
import torch
from scipy.optimize import least_squares

from lensing_sr.solvers.levenberg import levenberg_marquardt

T = torch.linspace(0, 4, 60, dtype=torch.float64)


def _decays(seed, batch):
    rng = np.random.default_rng(seed)
    truth = np.column_stack([rng.uniform(1, 4, batch), rng.uniform(0.3, 2, batch), rng.normal(size=batch)])
    clean = truth[:, :1] * np.exp(-truth[:, 1:2] * T.numpy()) + truth[:, 2:]
    return torch.as_tensor(clean + 0.01 * rng.normal(size=clean.shape))


def _evaluator(data):
    def evaluate(p, index):
        a, k, c = (column[:, None] for column in p.unbind(1))
        decay = torch.exp(-k * T)
        residual = a * decay + c - data[index]
        jacobian = torch.stack([decay, -a * T * decay, torch.ones_like(decay)], dim=2)
        gradient = (jacobian.transpose(1, 2) @ residual[:, :, None])[:, :, 0]
        return (residual**2).sum(1), gradient, jacobian.transpose(1, 2) @ jacobian

    return evaluate


def _bounds(low=-50.0, high=50.0):
    return torch.full((1, 3), low, dtype=torch.float64), torch.full((1, 3), high, dtype=torch.float64)


def test_minimum_is_scipys():
    data = _decays(0, 6)
    start = torch.ones(6, 3, dtype=torch.float64)
    minimum = levenberg_marquardt(_evaluator(data), start, *_bounds(), iterations=60, tolerance=1e-12)
    for i, row in enumerate(data.numpy()):
        oracle = least_squares(lambda p, row=row: p[0] * np.exp(-p[1] * T.numpy()) + p[2] - row, np.ones(3))
        np.testing.assert_allclose(minimum.parameters[i].numpy(), oracle.x, atol=1e-4)
    assert minimum.converged.all()


def test_a_batch_is_its_members():
    data = _decays(1, 4)
    start = torch.ones(4, 3, dtype=torch.float64)
    together = levenberg_marquardt(_evaluator(data), start, *_bounds(), iterations=12)
    for i in range(4):
        alone = levenberg_marquardt(_evaluator(data[i : i + 1]), start[:1], *_bounds(), iterations=12)
        torch.testing.assert_close(together.parameters[i], alone.parameters[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(together.curvature[i], alone.curvature[0], rtol=0, atol=1e-9)


def test_bounds_hold_and_the_rest_is_optimal():
    data = _decays(2, 3)
    lower, upper = _bounds()
    upper[0, 1] = 0.2
    minimum = levenberg_marquardt(
        _evaluator(data), torch.ones(3, 3, dtype=torch.float64), lower, upper, iterations=60, tolerance=1e-12
    )
    assert (minimum.parameters[:, 1] <= 0.2).all()
    _, gradient, _ = _evaluator(data)(minimum.parameters, torch.arange(3))
    assert gradient[:, [0, 2]].abs().max() < 1e-4
    assert (gradient[:, 1] < 0).all()  # it would go on beyond the bound


def test_equal_bounds_freeze_a_parameter():
    lower, upper = _bounds()
    lower[0, 2] = upper[0, 2] = 0.7
    minimum = levenberg_marquardt(_evaluator(_decays(3, 2)), torch.ones(2, 3, dtype=torch.float64), lower, upper)
    assert (minimum.parameters[:, 2] == 0.7).all()


def test_cost_never_rises():
    data = _decays(4, 5)
    start = 3.0 * torch.ones(5, 3, dtype=torch.float64)
    before, _, _ = _evaluator(data)(start, torch.arange(5))
    costs = [before]
    for iterations in (1, 2, 4, 8):
        costs.append(levenberg_marquardt(_evaluator(data), start, *_bounds(), iterations=iterations).cost)
    assert all((later <= earlier + 1e-12).all() for earlier, later in zip(costs, costs[1:], strict=False))


def test_a_model_that_breaks_is_stepped_back_from():
    def evaluate(p, index):
        value = torch.where(p > 2, torch.full_like(p, float("nan")), (p - 3) ** 2)
        return value.sum(1), (p - 3), torch.eye(1, dtype=p.dtype).expand(len(p), 1, 1)

    start = torch.zeros(1, 1, dtype=torch.float64)
    minimum = levenberg_marquardt(evaluate, start, start - 9, start + 9, iterations=40)
    assert torch.isfinite(minimum.cost).all() and minimum.parameters[0, 0] <= 2
