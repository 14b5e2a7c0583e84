# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of patches: what is somewhere only looks, patch by patch, as it does in the whole image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.forward.formation import ImageFormation
from lensing_sr.forward.patches import Patches

SAMPLINGS = [(1, 1), (2, 1), (1, 3), (2, 2), (3, 2)]
MATRICES = [[[0.05, 0.0], [0.0, 0.05]], [[-0.05, 0.01], [0.02, 0.06]]]


def made(sampling, size, matrix):
    kernel = torch.as_tensor(np.random.default_rng(0).uniform(size=(size, size)))
    return ImageFormation((9, 12), matrix, (4.0, 3.0), kernel / kernel.sum(), *sampling, dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SAMPLINGS), st.sampled_from([1, 3, 7]), st.sampled_from(MATRICES), st.integers(0, 10**6),
    st.floats(0.01, 0.3),
)  # fmt: skip
def test_patches_are_the_images_of_what_is_within_reach(sampling, size, matrix, seed, reach):
    """Of places in the field and beyond it."""
    formation, rng = made(sampling, size, matrix), np.random.default_rng(seed)
    places = torch.as_tensor(rng.uniform(-0.6, 0.6, size=(2, 5)))
    patches = Patches(formation, *places, reach)
    light = torch.as_tensor(rng.normal(size=tuple(formation.x.shape)))
    near = ((c - p[:, None, None]).abs() < reach for c, p in zip(formation.positions, places, strict=True))
    light = light * math.prod(near)
    row, column = patches.samples
    images = torch.zeros(5, math.prod(formation.shape) + 1, dtype=torch.float64)
    images.scatter_(1, patches.pixels, patches.observe(light[torch.arange(5)[:, None, None], row, column]))
    torch.testing.assert_close(images[:, :-1].view(5, *formation.shape), formation.observe(light))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_some_patches_are_some_of_all(sampling):
    formation, places = made(sampling, 5, MATRICES[0]), torch.linspace(-0.2, 0.2, 6, dtype=torch.float64)
    patches = Patches(formation, places, places.flip(0), 0.07)
    light = torch.as_tensor(np.random.default_rng(1).normal(size=(6, *patches.shape)))
    torch.testing.assert_close(patches.observe(light[2:5], slice(2, 5)), patches.observe(light)[2:5])
