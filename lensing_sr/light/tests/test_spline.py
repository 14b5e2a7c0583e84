# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The spline: through the pixels, smooth between them and into the dark, the same as scipy's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lensing_sr.light.spline import cubic_spline_coefficients, sample_spline

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def noise(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def pixels(ny, nx):
    row, column = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (ny, nx)), indexing="ij")
    return column, row


@given(shapes)
@settings(max_examples=25, deadline=None)
def test_passes_through_the_pixels(shape):
    image = noise(*shape)
    torch.testing.assert_close(sample_spline(cubic_spline_coefficients(image), *pixels(*shape)), image)


@given(shapes, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_same_as_scipy_between_the_pixels(shape, seed):
    """Its coefficients beyond the image are zeros too in this mode."""
    coefficients = cubic_spline_coefficients(noise(*shape))
    rng = np.random.default_rng(seed)
    column, row = rng.uniform(-4, shape[1] + 3, 40), rng.uniform(-4, shape[0] + 3, 40)
    theirs = ndimage.map_coordinates(
        coefficients.numpy(), [row, column], order=3, prefilter=False, mode="grid-constant"
    )
    ours = sample_spline(coefficients, torch.from_numpy(column), torch.from_numpy(row))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_coefficients_are_scipys_away_from_the_border():
    """A border's influence falls by 0.27 a pixel, whatever is assumed beyond it."""
    image = noise(60, 50)
    image[[0, -1]], image[:, [0, -1]] = 0.0, 0.0
    ours, theirs = cubic_spline_coefficients(image).numpy(), ndimage.spline_filter(image.numpy(), 3, mode="mirror")
    np.testing.assert_allclose(ours[18:-18, 18:-18], theirs[18:-18, 18:-18], atol=1e-9)


def test_dark_beyond_two_pixels_and_smooth_until_there():
    coefficients = cubic_spline_coefficients(torch.ones(7, 9, dtype=torch.float64))
    column = torch.linspace(-4, 12, 3201, dtype=torch.float64)
    light = sample_spline(coefficients, column, torch.full_like(column, 3.0))
    outside = (column <= -2) | (column >= 10)
    assert (light[outside] == 0).all()
    assert (light[~outside] > -1e-12).all()
    # steps of 1/200 pixel: neither the values nor the slopes jump
    step = column[1] - column[0]
    assert light.diff().abs().max() < 2.0 * step
    assert (light.diff().diff() / step).abs().max() < 5.0 * step


def test_sum_of_coefficients_is_the_integral():
    coefficients = cubic_spline_coefficients(noise(6, 5))
    row, column = torch.meshgrid(*(torch.arange(-2, n + 1, 0.125).double() for n in (6, 5)), indexing="ij")
    # the trapezoidal rule is exact for splines sampled at a fraction of their knots
    total = sample_spline(coefficients, column, row).sum() / 64
    assert float(total) == pytest.approx(float(coefficients.sum()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_image_of_a_batch_as_if_alone(dtype):
    images, column, row = noise(3, 5, 6).to(dtype), 5 * noise(3, 4, 7).to(dtype), 4 * noise(3, 4, 7).to(dtype)
    together = sample_spline(cubic_spline_coefficients(images), column, row)
    assert together.dtype == dtype and together.shape == column.shape
    for image, c, r, values in zip(images, column, row, together):
        torch.testing.assert_close(sample_spline(cubic_spline_coefficients(image), c, r), values)
    # one image at many positions, many images at the same
    torch.testing.assert_close(sample_spline(cubic_spline_coefficients(images[0]), column, row)[0], together[0])
    same = sample_spline(cubic_spline_coefficients(images), column[:1], row[:1])
    assert same.shape == (3, 4, 7)
    torch.testing.assert_close(same[0], together[0])


def test_gradients():
    image, column, row = noise(4, 5), noise(6, seed=2) + 2.0, noise(6, seed=3) + 2.0
    arguments = [value.requires_grad_() for value in (image, column, row)]
    law = lambda image, column, row: sample_spline(cubic_spline_coefficients(image), column, row)
    assert torch.autograd.gradcheck(law, arguments)
    assert torch.autograd.gradgradcheck(law, arguments)


def test_a_position_that_is_none_gives_no_value():
    coefficients = cubic_spline_coefficients(noise(4, 5))
    nan, inf = torch.tensor([float("nan"), 1.0]), torch.tensor([float("inf"), 1.0])
    one = torch.ones(2)
    assert torch.isnan(sample_spline(coefficients, nan, one)).tolist() == [True, False]
    assert sample_spline(coefficients, inf, -inf)[0] == 0
