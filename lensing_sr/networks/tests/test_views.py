# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.networks.symmetry import SYMMETRIES, laid_down
from lensing_sr.networks.views import SIDE, make_views, overlaps

DOUBLE = {"dtype": torch.float64}


def frame(rows, columns, pixel=0.1):
    return pixel * torch.eye(2, **DOUBLE), ((columns - 1) / 2, (rows - 1) / 2)


def noisy(rows, columns, seed=0):
    return torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(seed), **DOUBLE)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 90), st.floats(-10, 10), st.floats(0.2, 4.0))
def test_overlaps_share_every_pixel_once(count, first, width):
    shares = overlaps(count, torch.tensor([first], **DOUBLE), torch.tensor([width], **DOUBLE))[0]
    assert shares.min() >= 0
    assert torch.all(shares.sum(0) <= 1 + 1e-9) and torch.all(shares.sum(1) <= width + 1e-9)
    # a pixel inside all of the intervals is shared out completely
    low, high = first, first + SIDE * width
    inside = (torch.arange(count) - 0.5 >= low) & (torch.arange(count) + 0.5 <= high)
    assert torch.allclose(shares.sum(0)[inside], torch.ones(int(inside.sum()), **DOUBLE))


@pytest.mark.parametrize("side", [64, 128, 192])
def test_significance_of_white_noise_is_one(side):
    """Means over whole pixels are divided by the noise of such means."""
    views = make_views(noisy(side, side), torch.ones(2, side, side, **DOUBLE), *frame(side, side), torch.zeros(2, 2))
    assert views.significance[:, 0].std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("side", [46, 100, 163])
def test_pixels_cut_in_parts_are_smoother(side):
    """Means that share pixels scatter less, never more."""
    views = make_views(noisy(side, side), torch.ones(2, side, side, **DOUBLE), *frame(side, side), torch.zeros(2, 2))
    assert 0.5 * min(1.0, side / SIDE) < views.significance[:, 0].std() < 1.05


def test_views_have_no_scale():
    """The same pixels called larger are the same views."""
    data, weight = noisy(80, 80), torch.ones(2, 80, 80, **DOUBLE)
    small = make_views(data, weight, *frame(80, 80, 0.05), torch.full((2, 2), 0.1), psf_fwhm=0.1)
    large = make_views(1e3 * data, 1e-3 * weight, *frame(80, 80, 0.2), torch.full((2, 2), 0.4), psf_fwhm=0.4)
    assert torch.allclose(small.significance, large.significance, atol=1e-6)
    assert torch.allclose(small.conditions, large.conditions)
    assert torch.allclose(4 * small.half_width, large.half_width)


def test_the_lens_is_in_the_middle():
    """Light at the stated centre is in the middle of both views, wherever in the field it is."""
    matrix, origin = frame(90, 90)
    axis = (torch.arange(90, **DOUBLE) - 44.5) * 0.1
    centre = torch.tensor([[0.83, -1.21]], **DOUBLE)
    data = torch.exp(-((axis - centre[0, 0]) ** 2 + (axis[:, None] - centre[0, 1]) ** 2) / 0.18)[None]
    views = make_views(data, 100 * torch.ones_like(data), matrix, origin, centre)
    place = torch.arange(SIDE, **DOUBLE) - 0.5 * (SIDE - 1)
    for view in views.significance[0]:
        light = view.clamp_min(0)
        for axis in (0, 1):
            assert float((light.sum(axis) * place).sum() / light.sum()) == pytest.approx(0.0, abs=0.1)


def test_what_is_masked_or_outside_is_not_seen():
    data, weight = noisy(64, 64), torch.ones(2, 64, 64, **DOUBLE)
    weight[0, 10:20, 10:20] = 0
    data[0, 10:20, 10:20] = 1e9
    views = make_views(data, weight, *frame(64, 64), torch.zeros(2, 2))
    assert views.seen[0, 0, 10:20, 10:20].sum() == 0 and views.seen[1, 0].all()
    assert views.significance.abs().max() < 10
    shifted = make_views(data, weight, *frame(64, 64), torch.tensor([[1.0, 0.0]] * 2))
    assert shifted.seen[1, 0, :, -10:].sum() == 0 and shifted.seen[1, 0, :, :-10].all()


def test_a_sky_level_changes_nothing():
    data, weight = noisy(64, 64), torch.ones(2, 64, 64, **DOUBLE)
    one, other = (make_views(d, weight, *frame(64, 64), torch.zeros(2, 2)) for d in (data, data + 37.0))
    assert torch.allclose(one.significance, other.significance, atol=1e-9)


def test_oblong_pixels_show_the_sky_as_it_is():
    """A round galaxy on pixels twice as high as wide is round in the views."""
    matrix, origin = torch.diag(torch.tensor([0.05, 0.1], **DOUBLE)), (79.5, 39.5)
    x, y = (torch.arange(160, **DOUBLE) - 79.5) * 0.05, ((torch.arange(80, **DOUBLE) - 39.5) * 0.1)[:, None]
    data = torch.exp(-(x**2 + y**2) / (2 * 0.8**2))[None]
    view = make_views(data, 1e3 * torch.ones_like(data), matrix, origin, torch.zeros(1, 2)).significance[0, 0]
    assert torch.allclose(view, view.T, atol=0.02 * view.max())


def test_turned_pixels_are_straightened():
    """A galaxy seen by a turned camera has the views that a straight one gives."""
    angle = np.radians(30.0)
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], **DOUBLE)

    def light(matrix):
        row, column = torch.meshgrid(torch.arange(80, **DOUBLE), torch.arange(80, **DOUBLE), indexing="ij")
        x, y = torch.einsum("ij,jrc->irc", matrix, torch.stack([column - 39.5, row - 39.5]))
        return torch.exp(-((x - 0.6) ** 2 + (y / 0.6) ** 2) / 1.5)[None]

    views = []
    for matrix in (0.1 * torch.eye(2, **DOUBLE), 0.1 * turn):
        data = light(matrix)
        views.append(make_views(data, 100 * torch.ones_like(data), matrix, (39.5, 39.5), torch.zeros(1, 2)))
    seen = (views[0].seen * views[1].seen) > 0
    off = (views[0].significance - views[1].significance)[seen].abs().max()
    assert off < 0.02 * views[0].significance.max()


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_views_of_a_turned_image_are_turned_views(symmetry):
    data, weight = noisy(70, 70), torch.ones(2, 70, 70, **DOUBLE)
    views = make_views(data, weight, *frame(70, 70), torch.zeros(2, 2))
    turned = make_views(laid_down(data, symmetry), weight, *frame(70, 70), torch.zeros(2, 2))
    assert torch.allclose(turned.significance, laid_down(views.significance, symmetry), atol=1e-9)
