# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lensing_sr.simulation.randomness import Streams


@given(seed=st.integers(0, 2**40), first=st.integers(0, 10**6), count=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_numbers_belong_to_the_image_not_to_the_batch(seed, first, count):
    together = Streams(seed, first, count, "lens")
    together = together.uniform(3), together.normal(2, 2), together.normal_field(4, 5)
    for i in range(count):
        alone = Streams(seed, first + i, 1, "lens")
        alone = alone.uniform(3), alone.normal(2, 2), alone.normal_field(4, 5)
        for batch, single in zip(together, alone, strict=True):
            assert np.array_equal(batch[i], single[0])


@pytest.mark.parametrize("change", [{"seed": 2}, {"first": 1}, {"purpose": "noise"}])
def test_another_seed_image_or_purpose_gives_other_numbers(change):
    given = {"seed": 1, "first": 0, "count": 1, "purpose": "lens"}
    one, other = Streams(**given).uniform(1000)[0], Streams(**(given | change)).uniform(1000)[0]
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(1000)


def test_laws_of_the_numbers():
    streams = Streams(3, 0, 200, "laws")
    assert stats.kstest(streams.uniform(50).ravel(), "uniform").pvalue > 1e-4
    assert stats.kstest(streams.normal(50).ravel(), "norm").pvalue > 1e-4
    assert stats.kstest(streams.normal_field(5, 10).numpy().ravel(), "norm").pvalue > 1e-4


def test_types_and_shapes():
    streams = Streams(0, 0, 2, "types")
    assert streams.uniform().shape == (2,) and streams.uniform(3, 4).dtype == np.float64
    field = streams.normal_field(6, 7)
    assert field.shape == (2, 6, 7) and field.dtype == torch.float32 and field.device.type == "cpu"
    assert Streams(0, 0, 0, "none").normal(3).shape == (0, 3)
