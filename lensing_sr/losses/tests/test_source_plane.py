# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of source reconstruction: the right place, the right way up, operators that are each other's transpose."""

import pytest
import torch

from lensing_sr.losses import Deflection, Observed, Reconstruction
from lensing_sr.losses.source_plane import deliver, gather, sample_source, shares
from lensing_sr.losses.tests.scenes import BRIGHTNESS, SOURCE, grid, lensed, scene, source


def sphere(x, y):
    r = (x * x + y * y).sqrt()
    return 0.9 * x / r, 0.9 * y / r


@pytest.mark.parametrize("scale", [2, 1, 0.5])
def test_published_source_of_an_isothermal_sphere_is_the_source(scale):
    observed, alpha = scene((60, 72), 0.06, deflection=sphere)
    reconstruction = Reconstruction(observed, alpha)
    x, y = reconstruction.positions(scale)
    found = reconstruction.source(scale)[0] / 0.06**2
    # inside, bilinear interpolation of the arcs is all that is wrong; the very centre has every direction at once
    inside = ((x * x + y * y).sqrt() > 0.07) & ((x - SOURCE["x_source"]).abs() < 0.5) & (y.abs() < 0.5)
    error = (found - source(x, y)).abs()
    peak = ((x - SOURCE["x_source"]) ** 2 + (y - SOURCE["y_source"]) ** 2).sqrt() < 0.12
    assert error[inside & ~peak].max() < 0.02 * source(x, y).max()
    mirrored = (found.flip(0) - source(x, y)).abs()[inside].max(), (found.flip(1) - source(x, y)).abs()[inside].max()
    assert min(mirrored) > 0.2 * source(x, y).max()


def test_brightest_pixel_is_where_the_source_is():
    observed, alpha = scene((60, 73), 0.06, deflection=sphere)
    found = Reconstruction(observed, alpha).fit("peak")
    assert abs(float(found.x) - SOURCE["x_source"]) <= 0.031
    assert abs(float(found.y) - SOURCE["y_source"]) <= 0.031


@pytest.mark.parametrize("scale", [1, 0.5])
def test_back_projected_source_is_the_source(scale):
    observed, alpha = scene((61, 72), 0.06)
    reconstruction = Reconstruction(observed, alpha)
    found, count = reconstruction.back_projected(scale)
    x, y = reconstruction.positions(scale)
    assert found.shape[1:] == x.shape
    # where many pixels arrive, cells smear little; their mean is then no more wrong than the source is curved
    truth = source(x, y)
    some = (count[0] > 2.0) & (truth < 0.5 * truth.max())
    assert some.sum() > 30
    assert ((found[0] / 0.06**2 - truth).abs()[some]).max() < 0.08 * truth.max()
    centre = [(found[0] * v).sum() / found.sum() for v in (x, y)]
    assert abs(centre[0] - SOURCE["x_source"]) < 0.03
    assert abs(centre[1] - SOURCE["y_source"]) < 0.03


def test_no_deflection_leaves_the_image_as_it_is():
    image = torch.rand(2, 7, 10, dtype=torch.float64)
    nothing = Deflection(*torch.zeros(2, 2, 14, 20, dtype=torch.float64))
    reconstruction = Reconstruction(Observed(image, torch.ones_like(image), 0.1), nothing)
    torch.testing.assert_close(reconstruction.source(1), image)
    found, count = reconstruction.back_projected(1)
    torch.testing.assert_close(found, image)
    torch.testing.assert_close(count, torch.ones_like(image))


def test_a_shift_moves_the_source_backwards():
    """beta = theta - alpha: a deflection of two pixels in x and one in y moves light by (-2, -1)."""
    image = torch.rand(1, 12, 9, dtype=torch.float64)
    alpha = Deflection(0.2 * torch.ones(1, 24, 18).double(), 0.1 * torch.ones(1, 24, 18).double())
    reconstruction = Reconstruction(Observed(image, torch.ones_like(image), 0.1), alpha)
    for method in ("published", "back-projected"):
        found = reconstruction.source(1, method)
        torch.testing.assert_close(found[:, :-1, :-2], image[:, 1:, 2:])
        assert float(found[:, -1:, :].abs().max() + found[:, :, -2:].abs().max()) < 1e-9


def test_delivering_and_gathering_are_transposes():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 3, 40, generator=generator, dtype=torch.float64)
    cells, weights = shares(x, y, (5, 8), 0.3, (3.5, 2.0))
    values = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    image = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64)
    left = (deliver(values, cells, weights, (5, 8)) * image).sum()
    torch.testing.assert_close(left, (values * gather(image, cells, weights)).sum())
    torch.testing.assert_close(deliver(None, cells, weights, (5, 8)).sum(), weights.sum())
    assert float(weights.min()) >= 0.0
    assert float(weights.sum(0).max()) <= 1.0 + 1e-12


def test_gathering_is_bilinear():
    x, y = grid((5, 8), 0.3)
    inside = torch.rand(2, 1, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.5
    u, v = 2.0 * inside[0], 1.0 * inside[1]
    plane = (1.0 + 2.0 * x - 3.0 * y)[None]
    torch.testing.assert_close(gather(plane, *shares(u, v, (5, 8), 0.3, (3.5, 2.0))), 1.0 + 2.0 * u - 3.0 * v)


def test_derivatives_by_the_deflection():
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(2, 5, 6, generator=generator, dtype=torch.float64)
    x, y = grid((4, 3), 0.1)
    alpha = torch.randn(2, 2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = 0.15

    def published(a):
        return sample_source(image, scale * a[0], scale * a[1], x, y, 0.1)

    def projected(a):
        cells, weights = shares(scale * a[0], scale * a[1], (5, 6), 0.1, (2.5, 2.0))
        return gather(image, cells, weights), deliver(None, cells, weights, (5, 6))

    assert torch.autograd.gradcheck(published, alpha)
    assert torch.autograd.gradcheck(projected, alpha)


def test_positions_far_away_are_harmless():
    x = torch.tensor([[1e30, -1e30, 0.0]])
    cells, weights = shares(x, -x, (4, 4), 0.1, (1.5, 1.5))
    assert torch.equal(weights.sum(0), torch.tensor([[0.0, 0.0, 1.0]]))
    assert torch.isfinite(sample_source(torch.ones(1, 4, 4), x[None], x[None], x, x, 0.1)).all()


def test_the_scene_is_what_it_says():
    image = lensed((36, 44), 0.08)
    assert image.shape == (1, 36, 44)
    assert float(image.max()) > 0.5 * BRIGHTNESS * 0.08**2
