# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of computations side by side: the same answers in the same order, the same modes, and errors come through."""

import threading

import pytest
import torch

from lensing_sr.utils._threads import side_by_side


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_answers_come_in_the_order_of_the_tasks(threads):
    gate = threading.Event()

    def late():
        gate.wait(10.0 if threads > 1 else 0.0)  # the second ends first
        return "first"

    def early():
        gate.set()
        return "second"

    assert side_by_side([late, early]) == ["first", "second"]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("graded", [True, False])
def test_gradients_are_on_where_they_are_outside(threads, graded):
    with torch.set_grad_enabled(graded):
        assert side_by_side([torch.is_grad_enabled, torch.is_grad_enabled]) == [graded, graded]


def test_an_error_comes_through(threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: 1, lambda: 1 / 0])
    assert torch.get_num_threads() == threads


def test_an_accelerator_is_not_shared():
    here = threading.current_thread()
    assert side_by_side([threading.current_thread, threading.current_thread], "cuda") == [here, here]
