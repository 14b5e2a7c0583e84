# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of a potential on a grid: free of curl, half the divergence is the convergence, and its image is linear."""

import math

import pytest
import torch

from lensing_sr.lensing._splines import Taps
from lensing_sr.lensing.potential_grid import HOLD, PotentialGrid

GRID = PotentialGrid((0.1, -0.2), reach=1.8, size=13)
STEP = 1e-5


@pytest.fixture(scope="module")
def q():
    return 0.01 * torch.randn(13, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def places():
    """Positions in the grid, where it runs out, and beyond."""
    return 2.6 * (2 * torch.rand(2, 12, 15, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1)


def differences(q, x, y):
    """Derivatives of the deflection: xx, xy, yx, yy."""
    along_x = [(a - b) / (2 * STEP) for a, b in zip(GRID.deflection(q, x + STEP, y), GRID.deflection(q, x - STEP, y))]
    along_y = [(a - b) / (2 * STEP) for a, b in zip(GRID.deflection(q, x, y + STEP), GRID.deflection(q, x, y - STEP))]
    return along_x[0], along_y[0], along_x[1], along_y[1]


def test_the_deflection_is_the_gradient_of_the_potential(q, places):
    x, y = places

    def psi(x, y):
        u, v = ((c - o) / GRID.spacing + 6 for c, o in zip((x, y), GRID.centre, strict=True))
        return Taps(u, v, 13).value(q)

    alpha_x, alpha_y = GRID.deflection(q, x, y)
    torch.testing.assert_close(alpha_x, (psi(x + STEP, y) - psi(x - STEP, y)) / (2 * STEP), rtol=0, atol=1e-9)
    torch.testing.assert_close(alpha_y, (psi(x, y + STEP) - psi(x, y - STEP)) / (2 * STEP), rtol=0, atol=1e-9)


def test_there_is_no_curl(q, places):
    """In closed form to rounding: the mixed derivative does not ask which comes first."""
    x, y = (c.clone().requires_grad_(True) for c in places)
    alpha_x, alpha_y = GRID.deflection(q, x, y)
    by_y = torch.autograd.grad(alpha_x.sum(), y, retain_graph=True)[0]
    by_x = torch.autograd.grad(alpha_y.sum(), x)[0]
    assert (by_y - by_x).abs().max() < 1e-10


def test_the_convergence_is_half_the_divergence(q, places):
    xx, _, _, yy = differences(q, *places)
    torch.testing.assert_close(GRID.convergence(q, *places), 0.5 * (xx + yy), rtol=0, atol=1e-7)


def test_convergence_columns_are_the_convergence_taken_apart(q, places):
    columns = GRID.convergence_columns(*places)
    assert columns.shape == (169, *places[0].shape)
    whole = torch.einsum("k,kij->ij", q.flatten(), columns)
    torch.testing.assert_close(whole, GRID.convergence(q, *places))


def test_changes_of_the_light_are_minus_slope_times_deflection(q, places):
    generator = torch.Generator().manual_seed(2)
    slopes = torch.randn(2, *places[0].shape, generator=generator, dtype=torch.float64)
    change = -sum(s * a for s, a in zip(slopes, GRID.deflection(q, *places), strict=True))
    everywhere = (c.expand(q.numel(), *c.shape) for c in (*slopes, *places))
    changes = GRID.light_changes(*everywhere)
    torch.testing.assert_close(torch.einsum("k,kij->ij", q.flatten(), changes), change)
    some = (c.expand(5, *c.shape) for c in (*slopes, *places))
    assert torch.equal(GRID.light_changes(*some, slice(7, 12)), changes[7:12])


def test_a_spline_ends_where_its_extent_says(places):
    x, y = GRID.nodes()
    flat = (torch.ones_like(c) for c in places)
    changes = GRID.light_changes(*(c.expand(169, *c.shape) for c in (*flat, *places)))
    far = [(c - m[:, None, None]).abs() > GRID.extent for c, m in zip(places, (x, y), strict=True)]
    assert (changes[far[0] | far[1]] == 0).all() and (changes != 0).any()


def test_a_shifted_grid_bends_alike_at_shifted_positions(q, places):
    x, y = places
    there = GRID.shifted(0.7, -1.3).deflection(q, x + 0.7, y - 1.3)
    for a, b in zip(GRID.deflection(q, x, y), there, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_precision_is_symmetric_and_positive():
    precision = GRID.precision(0.02)
    assert torch.equal(precision, precision.T)
    assert torch.linalg.eigvalsh(precision)[0] > 0


def test_strength_scales_the_precision():
    torch.testing.assert_close(GRID.precision(0.01), 9 * GRID.precision(0.03))


@pytest.mark.parametrize("kappa", [0.003, 0.03])
def test_draws_have_the_convergence_asked_for(kappa):
    """Its rms at the inner nodes, over many draws."""
    root = torch.linalg.cholesky(GRID.precision(kappa))
    noise = torch.randn(169, 400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    draws = torch.linalg.solve_triangular(root.T, noise, upper=True)
    ticks = torch.linspace(-0.75, 0.75, 7, dtype=torch.float64)
    y, x = torch.meshgrid(ticks - 0.2, ticks + 0.1, indexing="ij")
    rms = torch.einsum("kd,kij->dij", draws, GRID.convergence_columns(x, y)).square().mean().sqrt()
    assert 0.5 * kappa < rms < 1.5 * kappa


def test_the_energy_of_an_isotropic_bump_is_that_of_its_laplacian():
    """Where nothing reaches the edge, psi_xx^2 + 2 psi_xy^2 + psi_yy^2 integrates to (laplacian psi)^2."""
    grid = PotentialGrid((0.0, 0.0), reach=3.0, size=25)
    ticks = torch.linspace(-3.0, 3.0, 25, dtype=torch.float64)
    r2 = ticks[:, None] ** 2 + ticks**2
    width, height = 0.8, 0.01
    bump = height * torch.exp(-0.5 * r2 / width**2)
    precision = grid.precision(1.0)
    plate = precision - HOLD / (1 + HOLD) * precision.diagonal().mean() * torch.eye(25**2)
    found = 8.0 * float(bump.flatten() @ plate @ bump.flatten()) * grid.spacing**2
    # the coefficients are smoothed once more by the spline: width^2 grows by a third of the spacing's square
    width, height = math.hypot(width, grid.spacing / 3**0.5), height * width**2 / (width**2 + grid.spacing**2 / 3)
    # int (laplacian)^2 of h exp(-r^2 / 2 w^2) = 2 pi h^2 / w^2
    assert found == pytest.approx(2 * math.pi * height**2 / width**2, rel=0.05)
