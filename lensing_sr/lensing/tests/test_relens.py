# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of fields on a grid: interpolation, differentiation, integration and their inverses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.lensing import relens
from lensing_sr.lensing.mass import sie_convergence, sie_deflection, sie_potential

SQUARE = np.array([[0.05, 0.0], [0.0, 0.05]])
SKEWED = np.array([[0.05, 0.01], [0.0, 0.06]])
matrices = pytest.mark.parametrize("matrix", [SQUARE, SKEWED], ids=["square", "skewed"])


def pixels(ny, nx):
    line = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (ny, nx)]
    row, col = torch.meshgrid(*line, indexing="ij")
    return col, row


def positions(matrix, ny=121, nx=130):
    col, row = pixels(ny, nx)
    return matrix[0, 0] * col + matrix[0, 1] * row, matrix[1, 0] * col + matrix[1, 1] * row


def sie(**other):
    values = {"theta_E": 1.2, "e1": 0.15, "e2": -0.1, "x_lens": 0.013, "y_lens": 0.021, **other}
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_bilinear_is_that_of_torch():
    torch.manual_seed(0)
    image = torch.rand(4, 7, 9, dtype=torch.float64)
    col, row = torch.rand(4, 5, 6).double() * 12 - 2, torch.rand(4, 5, 6).double() * 10 - 2
    ours = relens.sample_image(image, col, row)
    grid = torch.stack([(2 * col + 1) / 9 - 1, (2 * row + 1) / 7 - 1], dim=-1)
    theirs = torch.nn.functional.grid_sample(image[:, None], grid, align_corners=False)[:, 0]
    torch.testing.assert_close(ours, theirs)


@settings(max_examples=20, deadline=None)
@given(c=st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_what_the_kernels_reproduce(c):
    """Planes by both kernels, also beyond the edge; parabolas by the bicubic one."""
    torch.manual_seed(1)
    col, row = pixels(12, 14)
    col, row = col + 6.5, row + 5.5
    q, w = torch.rand(50).double() * 16 - 1.5, torch.rand(50).double() * 14 - 1.5
    for mode in ("bilinear", "bicubic"):
        value = relens.sample_image(c[0] + c[1] * col + c[2] * row, q, w, mode, "extrapolate")
        torch.testing.assert_close(value, c[0] + c[1] * q + c[2] * w)
    q, w = 1 + torch.rand(50).double() * 11, 1 + torch.rand(50).double() * 9
    value = relens.sample_image(c[3] * col**2 + c[4] * col * row + c[5] * row**2, q, w, "bicubic")
    torch.testing.assert_close(value, c[3] * q**2 + c[4] * q * w + c[5] * w**2)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("outside", ["zero", "extrapolate"])
def test_sampling_at_the_centres_returns_the_pixels(mode, outside):
    image = torch.rand(2, 5, 4)
    col, row = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="xy")
    torch.testing.assert_close(relens.sample_image(image, col, row, mode, outside), image)
    far = torch.full((1, 1), 1e6)
    assert torch.isfinite(relens.sample_image(image, far, -far, mode, outside)).all()
    if outside == "zero":
        assert (relens.sample_image(image, far, -far, mode, outside) == 0).all()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_sampling_is_differentiable(mode):
    torch.manual_seed(2)
    image = torch.rand(5, 6, dtype=torch.float64, requires_grad=True)
    col = (torch.rand(3, 4).double() * 8 - 1.5).requires_grad_()
    row = (torch.rand(3, 4).double() * 7 - 1.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda *leaves: relens.sample_image(*leaves, mode), (image, col, row))


def test_back_projection_conserves_brightness_and_counts():
    image = torch.full((8, 9), 3.0, dtype=torch.float64)
    col, row = torch.rand(8, 9).double() * 3 + 1, torch.rand(8, 9).double() * 3 + 1
    source, weight = relens.back_project(image, col, row, (6, 6))
    assert weight.sum().item() == pytest.approx(72)
    assert torch.allclose(source[weight > 1e-3], torch.tensor(3.0).double())
    assert torch.isnan(source[0, 0])
    image[0, 0] = torch.nan
    assert relens.back_project(image, col, row, (6, 6))[1].sum().item() == pytest.approx(71)


@matrices
def test_derivatives_of_quartics_are_exact(matrix):
    col, row = pixels(9, 11)
    by_col, by_row = relens.pixel_derivatives(col**4 - 2 * col * row**3)
    torch.testing.assert_close(by_col, 4 * col**3 - 2 * row**3)
    torch.testing.assert_close(by_row, -6 * col * row**2)
    x, y = positions(matrix, 9, 11)
    kappa, gamma1, gamma2, curl = relens.distortion(0.3 * x + 0.1 * y, 0.2 * x - 0.1 * y, matrix)
    for value, expected in ((kappa, 0.1), (gamma1, 0.2), (gamma2, 0.15), (curl, 0.1)):
        torch.testing.assert_close(value, torch.full_like(value, expected))


def test_too_few_pixels_to_differentiate():
    with pytest.raises(ValueError, match="at least 5 pixels"):
        relens.pixel_derivatives(torch.zeros(4, 9))


@matrices
def test_convergence_and_curl_of_an_sie_from_its_arrays(matrix):
    x, y = positions(matrix)
    p = sie()
    kappa, _, _, curl = relens.distortion(*sie_deflection(x, y, **p), matrix)
    col, row = pixels(*x.shape)
    far = torch.hypot(col, row) > 30
    assert (kappa / sie_convergence(x, y, **p) - 1)[far].abs().max() < 1e-4
    assert curl[far].abs().max() < 1e-4


@matrices
def test_potential_from_deflection(matrix):
    x, y = positions(matrix)
    # a lens beyond the field: smooth within it
    p = sie(x_lens=4.5, y_lens=0.3)
    psi = relens.integrate_deflection(*sie_deflection(x, y, **p), matrix)
    expected = sie_potential(x, y, **p)
    torch.testing.assert_close(psi, expected - expected.min(), rtol=0, atol=1e-5)


def test_curl_is_left_out_of_the_potential():
    """What is added as the curl of a stream function that vanishes at the border changes nothing."""
    x, y = positions(SQUARE, 80, 80)
    width = 40 * 0.05
    p = sie(x_lens=4.5, y_lens=0.3)
    alpha_x, alpha_y = sie_deflection(x, y, **p)
    phase_x, phase_y = np.pi * x / width, np.pi * y / width
    turn_x = 0.1 * (1 + torch.cos(phase_x)) * torch.sin(phase_y)
    turn_y = -0.1 * torch.sin(phase_x) * (1 + torch.cos(phase_y))
    clean = relens.integrate_deflection(alpha_x, alpha_y, SQUARE)
    turned = relens.integrate_deflection(alpha_x + turn_x, alpha_y + turn_y, SQUARE)
    torch.testing.assert_close(turned, clean, rtol=0, atol=1e-4)


@matrices
def test_inverse_of_the_convergence(matrix):
    """Analytic deflection of a Gaussian mass, and back to the mass."""
    x, y = positions(matrix)
    sigma = 0.5
    r2 = (x - 0.1) ** 2 + (y + 0.2) ** 2
    kappa = torch.exp(-0.5 * r2 / sigma**2)
    pull = 2 * sigma**2 * -torch.expm1(-0.5 * r2 / sigma**2) / r2.clamp_min(1e-12)
    alpha_x, alpha_y = relens.deflection_from_convergence(kappa, matrix)
    torch.testing.assert_close(alpha_x, pull * (x - 0.1), rtol=0, atol=1e-4)
    torch.testing.assert_close(alpha_y, pull * (y + 0.2), rtol=0, atol=1e-4)
    back, _, _, curl = relens.distortion(alpha_x, alpha_y, matrix)
    torch.testing.assert_close(back, kappa, rtol=0, atol=2e-4)
    assert curl.abs().max() < 2e-4
    psi = relens.potential_from_convergence(kappa, matrix)
    (c, r), inverse = relens.pixel_derivatives(psi), np.linalg.inv(matrix)
    torch.testing.assert_close(c * inverse[0, 0] + r * inverse[1, 0], alpha_x, rtol=0, atol=1e-4)
    torch.testing.assert_close(c * inverse[0, 1] + r * inverse[1, 1], alpha_y, rtol=0, atol=1e-4)


def test_mass_of_one_pixel_far_away_is_a_point():
    kappa = torch.zeros(41, 61, dtype=torch.float64)
    kappa[20, 20] = 2.0
    alpha_x, alpha_y = relens.deflection_from_convergence(kappa, SQUARE)
    distance = 40 * 0.05
    assert alpha_x[20, 60].item() == pytest.approx(2.0 * 0.05**2 / np.pi / distance, rel=2e-3)
    assert abs(alpha_y[20, 60].item()) < 1e-12
    assert alpha_x[20, 20].item() == pytest.approx(0.0, abs=1e-12)


def test_mirrored_pixels_mirror_the_deflection():
    kappa = torch.rand(12, 13, dtype=torch.float64)
    alpha = relens.deflection_from_convergence(kappa, SQUARE)
    mirrored = relens.deflection_from_convergence(kappa, SQUARE * [[-1.0], [1.0]])
    torch.testing.assert_close(mirrored[0], -alpha[0])
    torch.testing.assert_close(mirrored[1], alpha[1])


def test_contours_close_and_lie_on_the_zero():
    col, row = pixels(31, 33)
    [curve] = relens.zero_contours((torch.hypot(col, row) - 8).numpy())
    assert np.array_equal(curve[0], curve[-1])
    np.testing.assert_allclose(np.hypot(curve[:, 0] - 16, curve[:, 1] - 15), 8, atol=0.02)
    assert relens.zero_contours(np.ones((5, 5))) == []
