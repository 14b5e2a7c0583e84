# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the training loop, bit for bit where they can be."""

import copy
import re

import pytest
import torch
from safetensors.torch import load_file

from lensing_sr.errors import InputError, OutputError
from lensing_sr.training import ConstantRate, FineTuning, LearningCurves, Trainer, TrainingError, WarmupCosine
from lensing_sr.training.checkpoint import load_checkpoint
from lensing_sr.training.tests.tiny import Interrupted, TinyLoss, TinyNetwork, tiny_images


def trainer(folder=None, *, network=None, seed=0, **settings):
    """A tiny training that always begins with the same weights."""
    if network is None:
        torch.manual_seed(11)
        network = TinyNetwork("batch", dropout=0.2)
    train, validation = tiny_images().split(0.75)
    settings = {"epochs": 4, "rate": WarmupCosine(3e-3, warmup=0.25), "loss": TinyLoss(), "train": train} | settings
    return Trainer(network, validation=validation, folder=folder, seed=seed, progress=False, **settings)


def same(first, second):
    """Whether two states are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or (first != first and second != second)


@pytest.mark.parametrize(
    ("epoch", "fine_tuning"), [(2, None), (4, None), *((epoch, FineTuning(2, 1e-4)) for epoch in (3, 5, 6))]
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, epoch, fine_tuning):
    """Weights, running means, optimiser, curves and what is best: bit for bit, with dropout and batch norm."""
    settings = {"fine_tuning": fine_tuning, "loss": TinyLoss(0.5), "criterion": "image"}
    whole = trainer(tmp_path / "whole", **settings)
    history = whole.run()
    images = whole.train
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "parts", train=Interrupted(images, (epoch - 1) * len(images) + 2), **settings).run()
    torch.manual_seed(99)  # whatever else has drawn numbers meanwhile
    network = TinyNetwork("batch", dropout=0.2)
    resumed = trainer(tmp_path / "parts", network=network, **settings)
    again = resumed.run(resume=True)
    states = [load_checkpoint(tmp_path / part / "checkpoint.pt") for part in ("whole", "parts")]
    for state in states:
        assert state["run"].pop("seconds") > 0
    assert same(*states)
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert same(history.evaluation, again.evaluation) and history.best_epoch == again.best_epoch
    assert (tmp_path / "whole/curves.csv").read_bytes() == (tmp_path / "parts/curves.csv").read_bytes()
    assert same(*(load_file(tmp_path / part / "best.safetensors") for part in ("whole", "parts")))


def test_a_run_without_a_finished_epoch_cannot_be_resumed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, train=Interrupted(trainer().train, 2)).run()
    with pytest.raises(InputError, match="checkpoint: .* there is no such file: start without resuming"):
        trainer(tmp_path).run(resume=True)
    trainer(tmp_path, epochs=1).run()  # and may begin anew


def test_runs_of_one_seed_are_equal_and_of_others_are_not():
    first, again, other = (trainer(seed=seed) for seed in (1, 1, 2))
    for one in (first, again, other):
        one.run()
    assert same(first.network.state_dict(), again.network.state_dict())
    assert not same(first.network.state_dict(), other.network.state_dict())  # dropout draws other numbers


def test_a_step_is_one_of_adam_on_the_loss():
    torch.manual_seed(5)
    network = TinyNetwork()
    expected, loss = copy.deepcopy(network), TinyLoss()
    train = tiny_images(batch_size=12, shuffle=False)
    plain = {"amp": False, "channels_last": False}
    run = trainer(network=network, loss=loss, train=train, epochs=1, steps=2, rate=1e-2, **plain)
    optimiser = torch.optim.Adam(expected.parameters(), lr=1e-2)
    for number in range(2):
        reconstruction = run._reconstructed(train.batch(number), expected)
        optimiser.zero_grad()
        loss(reconstruction, 0)[0].backward()
        optimiser.step()
    run.run()
    for one, two in zip(network.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-6, atol=1e-8)


def test_best_weights_are_a_copy():
    """Later steps, which make it worse, don't change what was best; the run ends with that."""
    run = trainer(epochs=3, rate=lambda step, steps: 1e-3 if step < steps // 3 else 5.0, amp=False)
    seen = []
    epoch = run._epoch

    def watched():
        epoch()
        seen.append(copy.deepcopy(run.network.state_dict()))

    run._epoch = watched
    history = run.run()
    assert history.best_epoch == 1 and history.curves.column("validation_total")[2] > history.best
    assert same(run.network.state_dict(), seen[0]) and not same(seen[0], seen[2])
    assert history.evaluation["total"] == pytest.approx(history.best, rel=1e-6)


def test_the_best_is_what_the_criterion_says(tmp_path):
    calls = []

    def rising(reconstruction):
        calls.append(reconstruction)
        return torch.tensor(float(len(calls)))

    history = trainer(tmp_path, monitors={"rising": rising}, criterion="rising").run()
    assert history.best_epoch == 1
    assert "validation_rising" in history.curves.columns and "training_rising" not in history.curves.columns


def test_early_stop():
    history = trainer(
        epochs=20, early_stop=3, criterion="rising", monitors={"rising": counter()}, fine_tuning=FineTuning(9, 1e-5)
    ).run()
    # the first is best; three more, and from there on the fine-tuning, which gains nothing either
    assert history.curves.column("stage") == ["main"] * 4 + ["fine-tuning"] * 3 and history.stopped == "early"


def counter():
    count = iter(range(1000))
    return lambda reconstruction: float(next(count))


def test_fine_tuning_begins_at_the_best_epoch_with_its_weights():
    """The decaying weight is frozen where the validation was best, and the rate is that of the stage."""
    loss = TinyLoss(0.5)
    scripted = iter([3.0, 1.0, 2.0, 4.0, 5.0, 0.5])
    run = trainer(
        loss=loss, criterion="scripted", monitors={"scripted": Once(scripted)}, fine_tuning=FineTuning(2, 1e-5)
    )
    starts = []
    enter = run._enter_stage

    def watched():
        enter()
        starts.append((copy.deepcopy(run._state.best), copy.deepcopy(run.network.state_dict())))

    run._enter_stage = watched
    history = run.run()
    best, weights = starts[4]
    assert best["epoch"] == 2 and same(best["weights"], weights), "the fine-tuning must begin with the best network"
    weights = history.curves.column("weight_smooth")
    assert weights == [0.1, 0.05, 0.025, 0.0125, 0.05, 0.05]
    assert history.curves.column("rate")[4:] == [1e-5, 1e-5]
    assert history.curves.column("epoch") == [1, 2, 3, 4, 5, 6] and history.best_epoch == 6
    assert max(loss.epochs) == 3


class Once:
    """One scripted number for each validation, whatever its batches; the last stays."""

    def __init__(self, numbers):
        self.numbers, self.number, self.seen = numbers, None, 0

    def __call__(self, reconstruction):
        if self.seen % 2 == 0:  # six images in batches of four
            self.number = next(self.numbers, self.number)
        self.seen += 1
        return self.number


class Poisoned:
    """Images of which some batches are not numbers."""

    def __init__(self, batches, bad):
        self._batches, self.bad, self.batch_size = batches, bad, batches.batch_size

    def __len__(self):
        return len(self._batches)

    def batch(self, number, rank=0, world=1):
        observed = self._batches.batch(number, rank, world)
        if number in self.bad:
            observed.image[1, 2, 3] = torch.nan
        return observed


def test_a_step_without_finite_loss_changes_nothing():
    """Neither weights nor running means nor Adam's averages: the run is that without the step."""
    images = trainer().train
    torch.manual_seed(4)
    network = TinyNetwork("batch")
    poisoned = trainer(network=copy.deepcopy(network), train=Poisoned(images, {2}), rate=1e-3, epochs=1, steps=5)
    history = poisoned.run()

    class Without(Poisoned):
        def batch(self, number, rank=0, world=1):
            return self._batches.batch(number + (number >= 2), rank, world)

    clean = trainer(network=copy.deepcopy(network), train=Without(images, ()), rate=1e-3, epochs=1, steps=4)
    clean.run()
    assert history.skipped == 1 and history.curves.column("skipped") == [1]
    assert same(poisoned.network.state_dict(), clean.network.state_dict())
    assert torch.isfinite(torch.tensor(history.curves.column("training_total"))).all()


def test_a_training_that_is_never_finite_stops_with_a_clear_error():
    images = trainer().train
    with pytest.raises(TrainingError, match=r"not finite in 25 steps in a row \(epoch 7\); lower the rate, clip"):
        trainer(train=Poisoned(images, range(1000)), epochs=50, monitors={"one": counter()}, criterion="one").run()


def test_a_validation_that_is_never_finite_is_an_error():
    with pytest.raises(TrainingError, match="nothing: was not finite on the validation images in any epoch"):
        trainer(monitors={"nothing": lambda reconstruction: torch.nan}, criterion="nothing").run()


def test_clipping_bounds_the_step():
    """Plain steps of a gradient of length one: Adam's own scale is taken out by looking at its first average."""
    run = trainer(clip=1e-3, epochs=1, steps=1, rate=ConstantRate(1e-3), amp=False)
    optimisers = []
    new = run._new_optimiser
    run._new_optimiser = lambda: (new(), optimisers.append(run._optimiser))
    run.run()
    averages = [state["exp_avg"] for state in optimisers[0].state.values()]
    length = torch.cat([average.flatten() for average in averages]).norm() / 0.1
    assert float(length) == pytest.approx(1e-3, rel=1e-3)


def test_bfloat16_is_for_the_network_only():
    """The field that the physics gets is in full precision, and differs from the exact one by rounding."""
    seen = []

    class Watched(TinyNetwork):
        def forward(self, image, **known):
            deflection = super().forward(image, **known)
            seen.append(self.layers[0](image[:, None]).dtype)
            return deflection

    for amp in (True, False):
        torch.manual_seed(0)
        run = trainer(network=Watched(), amp=amp)
        reconstruction = run._reconstructed(run.train.batch(0), run.network)
        assert reconstruction.deflection.alpha_x.dtype == torch.float32
        run.run()
    assert set(seen) == {torch.bfloat16, torch.float32}
    with pytest.raises(InputError, match="amp: must be 'auto', True or False"):
        trainer(amp="fast")


@pytest.mark.parametrize("last", [True, False])
def test_layout_of_the_channels(last):
    run = trainer(channels_last=last)
    kernel = run.network.layers[4].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) is last and kernel.is_contiguous() is not last


def test_batches_without_end_need_a_number_of_steps():
    class Endless:
        batch_size = 4
        batch = trainer().train.batch

    with pytest.raises(InputError, match="steps: must be given"):
        trainer(train=Endless())
    assert trainer(train=Endless(), steps=3, epochs=1).run().passes == 12


def test_totals_of_changing_weights_are_no_criterion():
    with pytest.raises(InputError, match="must be a term or a monitor where the weights of the loss change"):
        trainer(loss=TinyLoss(0.5))
    with pytest.raises(InputError, match="criterion: must be one of total, image, smooth, got 'likelihood'"):
        trainer(criterion="likelihood")


def test_a_folder_with_a_training_is_not_overwritten(tmp_path):
    trainer(tmp_path, epochs=1).run()
    with pytest.raises(OutputError, match="holds a training already; resume it, or choose another folder"):
        trainer(tmp_path, epochs=1).run()


def test_another_training_is_not_resumed(tmp_path):
    trainer(tmp_path, epochs=1).run()
    with pytest.raises(InputError, match="seed: must be 0 as in the training to be resumed, got 3"):
        trainer(tmp_path, epochs=2, seed=3).run(resume=True)
    with pytest.raises(InputError, match="resume: needs the folder"):
        trainer().run(resume=True)
    # more epochs are welcome
    assert len(trainer(tmp_path, epochs=2).run(resume=True).curves) == 2


def test_what_a_run_leaves_behind(tmp_path):
    run = trainer(tmp_path / "run", facts={"command": "python -m lensing_sr.training tiny.toml"})
    history = run.run()
    names = {"best.safetensors", "checkpoint.pt", "curves.csv", "training.log"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    curves = LearningCurves.read(tmp_path / "run" / "curves.csv")
    assert curves.rows == history.curves.rows and curves.terms == ("total", "image", "smooth")
    assert curves.column("passes") == [16, 32, 48, 64] and history.passes == 64
    log = (tmp_path / "run" / "training.log").read_text()
    for text in ("command: python -m", "seed: 0", "versions: lensing_sr", "machine: C", "best epoch", "64 passes in 4"):
        assert text in log
    assert str(tmp_path) not in log and len(re.findall("^epoch ", log, re.M)) == 4
    assert "loss weights: image 1, smooth 0.1" in log


def test_best_weights_on_disk_are_those_of_the_run(tmp_path):
    run = trainer(tmp_path)
    run.run()
    written = load_file(tmp_path / "best.safetensors")
    for name, value in run.network.state_dict().items():
        assert torch.allclose(written[name].to(value.dtype), value, rtol=1e-3, atol=1e-3)


def test_training_teaches():
    torch.manual_seed(0)
    history = trainer(network=TinyNetwork(), epochs=12, rate=WarmupCosine(1e-2)).run()
    total = history.curves.column("validation_total")
    assert total[-1] < 0.5 * total[0] and history.stopped == "end"
