# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the image formation taken apart: a window is a piece of the whole, cells and blur make up `observe`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.forward.formation import ImageFormation

SAMPLINGS = [(1, 1), (2, 1), (1, 3), (3, 2)]


def made(oversampling, supersampling, size=5, shape=(9, 12)):
    kernel = torch.as_tensor(np.random.default_rng(0).uniform(size=(size, size)))
    matrix = [[0.05, 0.01], [-0.01, 0.06]]
    return ImageFormation(
        shape, matrix, (4.0, 3.0), kernel / kernel.sum(), oversampling, supersampling, dtype=torch.float64
    )


def light(formation, seed=1):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=tuple(formation.x.shape)))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SAMPLINGS), st.sampled_from([1, 3, 7]),
    st.tuples(st.integers(0, 8), st.integers(1, 9)), st.tuples(st.integers(0, 11), st.integers(1, 12)),
)  # fmt: skip
def test_a_window_is_a_piece_of_the_whole(sampling, size, rows, columns):
    formation = made(*sampling, size)
    rows, columns = (slice(a, min(a + n, m)) for (a, n), m in zip((rows, columns), formation.shape, strict=True))
    part = formation.window(rows, columns)
    per = sampling[0] * sampling[1]
    inside = tuple(slice(k.start * per, k.start * per + n) for k, n in zip((rows, columns), part.x.shape, strict=True))
    assert torch.equal(part.x, formation.x[inside]) and torch.equal(part.y, formation.y[inside])
    image = light(formation)
    torch.testing.assert_close(part.observe(image[inside]), formation.observe(image)[rows, columns])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_window_leaves_the_whole_alone(sampling):
    formation = made(*sampling)
    before = formation.observe(light(formation))
    formation.window(slice(2, 5), slice(3, 9))
    assert torch.equal(before, formation.observe(light(formation)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_cells_and_blur_are_observe(sampling):
    formation = made(*sampling)
    image = light(formation)
    shape, index, share = formation.cells
    cells = torch.zeros(shape[0] * shape[1], dtype=torch.float64)
    cells.scatter_add_(0, index.flatten(), (image * share).flatten())
    torch.testing.assert_close(formation.blur(cells.view(shape)), formation.observe(image))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_shares_of_a_cell_add_up_to_one(sampling):
    formation = made(*sampling)
    shape, index, share = formation.cells
    total = torch.zeros(shape[0] * shape[1], dtype=torch.float64)
    total.scatter_add_(0, index.flatten(), share.flatten())
    torch.testing.assert_close(total, torch.ones_like(total))


def test_cells_of_a_window_are_its_own():
    part = made(3, 2).window(slice(2, 6), slice(1, 4))
    shape, index, _ = part.cells
    assert index.shape == part.x.shape and int(index.max()) == shape[0] * shape[1] - 1
