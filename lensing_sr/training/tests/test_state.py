# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a run remembers: rates, curves, checkpoints, and what its folder says of the machine."""

import math
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError, OutputError
from lensing_sr.training import ConstantRate, FineTuning, LearningCurves, WarmupCosine, load_checkpoint, save_checkpoint
from lensing_sr.training.checkpoint import copied, random_state, set_random_state
from lensing_sr.training.folder import RunFolder, machine
from lensing_sr.training.history import RunState
from lensing_sr.training.trainer import bfloat16_pays


@settings(max_examples=25, deadline=None)
@given(
    steps=st.integers(1, 400), rate=st.floats(1e-7, 1.0), warmup=st.floats(0.0, 1.0), final=st.floats(0.0, 1.0)
)
def test_warmup_and_cosine_stay_within_bounds(steps, rate, warmup, final):
    """The rate rises to its highest value, then falls and never below the last one."""
    schedule = WarmupCosine(rate, warmup, final)
    rates = np.array([schedule(step, steps) for step in range(steps)])
    warm = round(warmup * steps)
    assert np.all(rates >= 0) and np.all(rates <= rate * (1 + 1e-12))
    assert np.all(np.diff(rates[:warm]) > 0) and np.all(np.diff(rates[warm:]) <= 1e-12 * rate)
    assert np.all(rates[warm:] >= final * rate * (1 - 1e-12))
    if 0 < warm <= steps:
        assert rates[warm - 1] == pytest.approx(rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantRate(0.0), "rate: must be positive and finite, got 0.0"),
        (lambda: ConstantRate("fast"), "rate: must be positive and finite, got 'fast'"),
        (lambda: WarmupCosine(1e-3, warmup=2.0), "warmup: must lie between 0 and 1, got 2.0"),
        (lambda: FineTuning(0, 1e-3), "epochs: must be a whole number of at least 1, got 0"),
    ],
)
def test_schedules_refuse_what_makes_no_sense(make, message):
    with pytest.raises(InputError, match=message):
        make()


values = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False), st.sampled_from(["main", "fine-tuning"]))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.dictionaries(st.sampled_from(["epoch", "stage", "training_total"]), values, min_size=1)))
def test_curves_are_read_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("curves") / "curves.csv"
    curves = LearningCurves(rows)
    curves.write(path)
    assert LearningCurves.read(path).rows == [dict(row) for row in rows]


def test_the_best_epoch_tells_its_weights():
    scores = (3.0, 1.0, 2.0)
    rows = [{"epoch": k, "validation_chi2": score, "weight_variation": 0.5**k} for k, score in enumerate(scores)]
    assert LearningCurves([*rows, {"epoch": 3, "validation_chi2": math.nan}]).best("validation_chi2") == rows[1]
    assert LearningCurves([{"validation_chi2": math.nan}]).best("validation_chi2") is None


def test_curves_of_late_columns():
    curves = LearningCurves([{"epoch": 1}, {"epoch": 2, "training_new": 3.0}])
    assert math.isnan(curves.column("training_new")[0]) and curves.column("training_new")[1] == 3.0
    with pytest.raises(InputError, match="name: must be one of epoch, training_new, got 'loss'"):
        curves.column("loss")
    with pytest.raises(InputError, match="there is no such file"):
        LearningCurves.read("no_such.csv")


def test_a_checkpoint_brings_back_tensors_and_layout(tmp_path):
    tensor = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {"a": tensor, "b": {"c": [1, 2.5, "x", None, True], "d": (1, 2)}, "e": torch.tensor([], dtype=torch.int64)}
    save_checkpoint(tmp_path / "one.pt", state)
    again = load_checkpoint(tmp_path / "one.pt")
    assert torch.equal(again["a"], tensor) and again["a"].stride() == tensor.stride() and again["b"] == state["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["one.pt"]


class Harmful:
    """Something that runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("run",)


def test_nothing_in_a_checkpoint_is_run(tmp_path, capsys):
    ways = {"torch.pt": torch.save, "pickle.pt": lambda state, path: path.write_bytes(pickle.dumps(state))}
    for name, write in ways.items():
        write({"format": "lensing_sr training 1", "state": Harmful()}, tmp_path / name)
        with pytest.raises(InputError, match="damaged, or another kind of file"):
            load_checkpoint(tmp_path / name)
    assert capsys.readouterr().out == ""
    torch.save({"other": 1}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="its format is not"):
        load_checkpoint(tmp_path / "other.pt")
    with pytest.raises(InputError, match="there is no such file: start without resuming"):
        load_checkpoint(tmp_path / "none.pt")


def test_random_states_survive_a_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "state.pt", random_state())

    def numbers():
        return [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.standard_normal()]

    first = numbers()
    numbers()
    set_random_state(load_checkpoint(tmp_path / "state.pt"))
    assert numbers() == first


def test_copies_share_no_memory():
    state = {"weights": [torch.zeros(3)], "pair": (torch.ones(2), "text")}
    copy = copied(state)
    state["weights"][0] += 1
    state["pair"][0].mul_(5)
    assert copy["weights"][0].tolist() == [0, 0, 0] and copy["pair"][0].tolist() == [1, 1] and copy["pair"][1] == "text"


def test_the_state_of_a_run_is_plain_and_complete():
    state = RunState(step=7, curves=LearningCurves([{"epoch": 1}]))
    assert state.keep_if_best(2.0, torch.nn.Linear(1, 1)) and not state.keep_if_best(3.0, torch.nn.Linear(1, 1))
    assert not state.keep_if_best(math.nan, torch.nn.Linear(1, 1)) and state.since_best == 2
    again = RunState.from_plain(copied(state.plain()))
    assert again.curves.rows == state.curves.rows
    assert again.best["value"] == 2.0 and (again.step, again.since_best) == (7, 2)


def test_the_log_names_no_machine():
    assert machine("cpu") in (f"CPU, {torch.get_num_threads()} threads", "CPU, 1 thread")
    assert isinstance(bfloat16_pays("cpu"), bool)


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run").make()
    nowhere = RunFolder(None)
    nowhere.make()
    nowhere.line("said to nobody")
    assert nowhere.write_weights(None, {}) == []
