# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the image formation: adjointness, flux, exact edges, order of sampling, batches; scipy is the oracle."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from lensing_sr.forward.binning import bin_mean, bin_sum, unbin_sum
from lensing_sr.forward.convolve import Convolver, fast_length
from lensing_sr.forward.formation import ImageFormation, sample_positions

MATRIX = [[0.05, 0.0], [0.0, 0.06]]


def _kernel(size, seed=0, batch=()):
    kernel = torch.as_tensor(np.random.default_rng(seed).uniform(size=(*batch, size, size)))
    return kernel / kernel.sum(dim=(-2, -1), keepdim=True)


def _formation(shape=(9, 12), size=5, oversampling=1, supersampling=1, kernel="random"):
    kernel = _kernel(size) if isinstance(kernel, str) else kernel
    return ImageFormation(shape, MATRIX, (4.0, 3.0), kernel, oversampling, supersampling, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 7, 61, 97, 121, 513, 1023])
def test_fast_length_has_small_factors(n):
    length = fast_length(n)
    assert length >= n
    for factor in (2, 3, 5):
        while length % factor == 0:
            length //= factor
    assert length == 1


def test_convolution_is_scipys():
    image, kernel = torch.as_tensor(np.random.default_rng(1).normal(size=(2, 16, 19))), _kernel(5)
    blurred = Convolver(kernel, (12, 15)).forward(image)
    for a, b in zip(image.numpy(), blurred.numpy(), strict=True):
        np.testing.assert_allclose(b, fftconvolve(a, kernel.numpy(), mode="valid"), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4), st.sampled_from([1, 3, 7, 15]), st.tuples(st.integers(1, 6), st.integers(1, 6)), st.booleans()
)  # fmt: skip
def test_blocks_are_the_sums_of_the_pixels(factor, size, blocks, alike):
    """However large the kernel is beside the field, and with a kernel for each image too."""
    kernel = _kernel(size, batch=() if alike else (2,))
    shape = tuple(n * factor for n in blocks)
    padded = tuple(n + size - 1 for n in shape)
    image = torch.as_tensor(np.random.default_rng(1).normal(size=(2, 3, *padded)))
    fine, coarse = Convolver(kernel, shape), Convolver(kernel, shape, factor)
    torch.testing.assert_close(coarse.forward(image), bin_sum(fine.forward(image), factor))
    answer = torch.as_tensor(np.random.default_rng(2).normal(size=(2, 3, *blocks)))
    torch.testing.assert_close(coarse.adjoint(answer), fine.adjoint(unbin_sum(answer, factor)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1, 1), (2, 1), (1, 3), (3, 2)]), st.sampled_from([1, 3, 7]))
def test_adjoint(seed, sampling, size):
    formation = _formation((7, 6), size, *sampling)
    rng = np.random.default_rng(seed)
    light = torch.as_tensor(rng.normal(size=(2, *formation.x.shape)))
    image = torch.as_tensor(rng.normal(size=(2, 7, 6)))
    left = (formation.observe(light) * image).sum()
    right = (light * formation.adjoint(image)).sum()
    assert abs(left - right) < 1e-10 * (1 + abs(left))


@pytest.mark.parametrize("sampling", [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_flux_of_light_inside_is_conserved(sampling):
    formation = _formation((40, 40), 5, *sampling)
    x, y = formation.positions
    centre = formation.x.mean(), formation.y.mean()
    light = torch.exp(-0.5 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 0.15**2) / (2 * np.pi * 0.15**2)
    assert abs(formation.observe(light[None]).sum() - 1.0) < 2e-4


def test_uniform_light_stays_uniform_up_to_the_edge():
    formation = _formation(oversampling=2, supersampling=2)
    image = formation.observe(torch.ones_like(formation.x)[None])
    torch.testing.assert_close(image, torch.full_like(image, formation.pixel_area), rtol=1e-12, atol=0)


def test_quadrature_integrates_polynomials_exactly():
    formation = _formation((4, 5), supersampling=2, kernel=None)
    x, y = formation.positions
    centre_x, centre_y = sample_positions((4, 5), MATRIX, (4.0, 3.0))
    # mean of x^2 over a pixel is its centre's plus h^2 / 12
    expected = (centre_x**2 + 0.05**2 / 12 + centre_y**3 + centre_y * 0.06**2 / 4) * formation.pixel_area
    torch.testing.assert_close(formation.observe((x**2 + y**3)[None])[0], expected, rtol=1e-11, atol=1e-15)


def test_one_sample_lies_at_the_pixel_centre():
    x, y = sample_positions((3, 4), MATRIX, (1.0, 2.0))
    assert float(x[0, 1]) == 0.0 and float(y[2, 0]) == 0.0
    assert float(x[0, 2] - x[0, 1]) == pytest.approx(0.05) and float(y[2, 0] - y[1, 0]) == pytest.approx(0.06)


def test_finer_cells_share_the_pixels_edges():
    x, _ = sample_positions((2, 2), MATRIX, (0.5, 0.5))
    fine, _ = sample_positions((2, 2), MATRIX, (0.5, 0.5), factor=3)
    torch.testing.assert_close(bin_mean(fine, 3), x, rtol=0, atol=1e-15)


def test_kernels_by_image_are_each_their_own():
    kernels = _kernel(3, 2, (3,))
    together = _formation((8, 8), kernel=kernels)
    light = torch.as_tensor(np.random.default_rng(5).normal(size=(3, *together.x.shape)))
    images = together.observe(light)
    for i in range(3):
        alone = _formation((8, 8), kernel=kernels[i]).observe(light[i : i + 1])
        torch.testing.assert_close(images[i : i + 1], alone, rtol=0, atol=1e-14)
        chosen = together.select(torch.tensor([i])).observe(light[i : i + 1])
        torch.testing.assert_close(chosen, alone, rtol=0, atol=1e-14)
    channels = together.observe(light[:, None].expand(-1, 2, -1, -1))
    torch.testing.assert_close(channels[:, 1], images, rtol=0, atol=1e-14)


def test_binning_and_its_adjoint():
    rng = np.random.default_rng(7)
    fine, coarse = torch.as_tensor(rng.normal(size=(6, 9))), torch.as_tensor(rng.normal(size=(2, 3)))
    assert abs((bin_sum(fine, 3) * coarse).sum() - (fine * unbin_sum(coarse, 3)).sum()) < 1e-12
    assert float(bin_sum(fine, 3)[1, 2]) == pytest.approx(float(fine[3:6, 6:9].sum()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu():
    cpu = _formation(oversampling=2, supersampling=2)
    cuda = ImageFormation((9, 12), MATRIX, (4.0, 3.0), _kernel(5), 2, 2, dtype=torch.float64, device="cuda")
    light = torch.as_tensor(np.random.default_rng(8).normal(size=(1, *cpu.x.shape)))
    torch.testing.assert_close(cuda.observe(light.cuda()).cpu(), cpu.observe(light), rtol=0, atol=1e-12)
