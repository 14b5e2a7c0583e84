# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""An averaged prediction turns and mirrors with its image, and a field that does so already is left alone."""

import pytest
import torch

from lensing_sr.lensing.mass import shear_deflection, sie_deflection
from lensing_sr.losses import Deflection
from lensing_sr.networks import average_symmetries, build_network
from lensing_sr.networks.symmetry import SYMMETRIES, laid_down, taken_up


def positions(rows, columns, pixel=0.1):
    y, x = ((torch.arange(n, dtype=torch.float64) - 0.5 * (n - 1)) * pixel for n in (rows, columns))
    return torch.meshgrid(y, x, indexing="ij")[::-1]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_field_that_is_laid_down_and_taken_up_is_the_same(symmetry):
    # the field of a lens and of its mirror image, both computed; no two of its components alike
    x, y = positions(12, 16)
    numbers = torch.tensor([0.6, 0.2, -0.1, 0.13, -0.07, 0.05, 0.03], dtype=torch.float64)

    def field(x, y):
        theta_E, e1, e2, x0, y0, g1, g2 = numbers
        first, second = sie_deflection(x, y, theta_E, e1, e2, x0, y0), shear_deflection(x, y, g1, g2)
        return first[0] + second[0], first[1] + second[1]

    alpha = Deflection(*(a[None] for a in field(x, y)))
    transposed, columns, rows = symmetry
    # in the frame of the image that was laid down, the same sky is seen at these positions
    x_there, y_there = (laid_down(c, symmetry) for c in (x, y))
    alpha_x, alpha_y = field(x_there, y_there)
    if transposed:
        alpha_x, alpha_y = alpha_y, alpha_x
    there = Deflection((-alpha_x if columns else alpha_x)[None], (-alpha_y if rows else alpha_y)[None])
    for found, expected in zip(taken_up(there, symmetry), alpha, strict=True):
        assert torch.equal(found, expected)


def test_the_eight_are_all_there_are():
    square = torch.arange(9.0).view(3, 3)
    laid = {tuple(laid_down(square, symmetry).flatten().tolist()) for symmetry in SYMMETRIES}
    turned = {tuple(square.rot90(k).flatten().tolist()) for k in range(4)}
    assert len(laid) == 8 and turned <= laid


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    settings = {"network": "residual-cnn", "channels": 4, "blocks": 1, "scaling": "snr", "norm": "group"}
    return build_network(settings | {"inputs": ["x", "noise"], "head": "polar", "tangential": 0.3}).eval().double()


@pytest.mark.parametrize("symmetry", SYMMETRIES[1:])
def test_the_mean_goes_with_the_image(network, symmetry):
    generator = torch.Generator().manual_seed(3)
    image, noise = (torch.rand(2, 10, 14, dtype=torch.float64, generator=generator) for _ in range(2))
    how = {"pixel_scale": 0.1}
    mean, copies = average_symmetries(network, image, noise=noise + 0.5, **how)
    other, _ = average_symmetries(network, laid_down(image, symmetry), noise=laid_down(noise + 0.5, symmetry), **how)
    for found, expected in zip(taken_up(other, symmetry), mean, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    # the network itself is not equivariant, or this would show nothing
    assert copies.alpha_x.std(dim=1).max() > 1e-3


def test_the_first_copy_is_the_plain_prediction(network):
    image = torch.rand(1, 8, 8, dtype=torch.float64)
    noise = torch.full((1, 1, 1), 0.2, dtype=torch.float64)
    _, copies = average_symmetries(network, image, pixel_scale=0.1, noise=noise)
    plain = network(image, pixel_scale=0.1, noise=noise)
    assert torch.equal(copies.alpha_x[:, 0], plain.alpha_x.detach())
    assert torch.equal(copies.alpha_y[:, 0], plain.alpha_y.detach())
