# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what a loss may see: images, noise and optics, and nothing true."""

import dataclasses

import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.image.kernels import gaussian_kernel
from lensing_sr.losses import Observed
from lensing_sr.losses.grids import centre_matrix, grid_length

IMAGE = torch.arange(96.0).reshape(2, 6, 8)


def test_there_is_no_place_for_a_truth():
    names = {field.name for field in dataclasses.fields(Observed)}
    assert names == {"image", "noise", "pixel_scale", "psf_fwhm", "kernels", "pixel_centres"}
    with pytest.raises(TypeError):
        Observed(IMAGE, IMAGE, 0.1, HR=IMAGE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Observed(IMAGE, IMAGE, 0.1).image = IMAGE


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((IMAGE[0], IMAGE[0], 0.1), "image"),
        ((IMAGE, IMAGE[:1], 0.1), "noise"),
        ((IMAGE, IMAGE, 0.0), "pixel_scale"),
        ((IMAGE, IMAGE, 0.1, -1.0), "psf_fwhm"),
        ((IMAGE, IMAGE, 0.1, float("nan")), "psf_fwhm"),
    ],
)
def test_errors_name_the_argument(arguments, name):
    with pytest.raises(InputError, match=f"^{name}:"):
        Observed(*arguments)


@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_gaussian_is_the_instruments(scale):
    kernel = Observed(IMAGE, IMAGE, 0.1, 0.16).kernel(scale)
    torch.testing.assert_close(kernel.double(), torch.as_tensor(gaussian_kernel(0.16, 0.1 / scale)), rtol=0, atol=1e-7)
    assert Observed(IMAGE, IMAGE, 0.1).kernel(scale) is None


def test_kernels_by_scale_and_by_image():
    each = torch.rand(2, 3, 3)
    observed = Observed(IMAGE, IMAGE, 0.1, kernels={1: each, 2: None})
    assert observed.kernel(2) is None
    torch.testing.assert_close(observed.kernel(1), each)
    chosen = observed.select([1])
    torch.testing.assert_close(chosen.kernel(1), each[1:])
    torch.testing.assert_close(chosen.image, IMAGE[1:])
    assert len(chosen) == 1
    with pytest.raises(InputError, match="^kernels: .*0.5"):
        observed.kernel(0.5)
    assert Observed(IMAGE, IMAGE, 0.1, kernels=lambda scale: None).kernel(7) is None


def test_another_type_of_number():
    observed = Observed(IMAGE, IMAGE, 0.1, 0.2).to(dtype=torch.float64)
    assert observed.noise.dtype == observed.kernel(1).dtype == torch.float64


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("scale", [0.5, 1, 2, 3, 1.5])
def test_centres_of_other_grids(n, scale):
    fine = (torch.arange(2 * n, dtype=torch.float64) + 0.5) / 2  # in detector pixels from the first edge
    coarse = (torch.arange(grid_length(n, scale), dtype=torch.float64) + 0.5) / scale
    matrix = torch.tensor(centre_matrix(n, scale))
    torch.testing.assert_close(matrix @ (1.0 + 2.0 * fine), 1.0 + 2.0 * coarse.clamp(max=n))
    inner = (coarse > 1) & (coarse < n - 1)
    torch.testing.assert_close((matrix @ fine**2)[inner], (coarse**2)[inner])
    if scale == 2:
        torch.testing.assert_close(matrix, torch.eye(2 * n, dtype=torch.float64))


def test_margins_repeat_the_edge():
    matrix = torch.tensor(centre_matrix(5, 1, 3))
    line = matrix @ torch.arange(10.0, dtype=torch.float64)
    torch.testing.assert_close(line[:3], torch.full((3,), -0.5, dtype=torch.float64))
    torch.testing.assert_close(line[3:8], torch.arange(5.0, dtype=torch.float64) * 2 + 0.5)
    torch.testing.assert_close(matrix[3:8], torch.tensor(centre_matrix(5, 1)))
