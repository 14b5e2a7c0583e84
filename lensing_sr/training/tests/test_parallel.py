# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Several processes train as one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lensing_sr
from lensing_sr.training import LearningCurves
from lensing_sr.training.parallel import average_gradients, gathered, mean_over_processes, rank, world
from lensing_sr.training.tests.two_processes import adversarial_trainer


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Folder of a training in two processes, started by torchrun."""
    folder = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("two_processes.py")
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(Path(lensing_sr.__file__).parents[1]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(folder)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_with_half_a_batch_each_equal_one_with_all(two):
    """Weights to rounding, though each process began with weights of its own."""
    states = [torch.load(two / f"rank{number}.pt", weights_only=True) for number in (0, 1)]
    alone = adversarial_trainer(None, seed=0)
    history = alone.run()
    for name, value in alone.network.state_dict().items():
        assert torch.equal(states[0][name], states[1][name]), "the processes have drifted apart"
        assert torch.allclose(states[0][name], value, rtol=1e-4, atol=2e-6), name
    curves = LearningCurves.read(two / "curves.csv")
    assert curves.columns == history.curves.columns
    for name in ("training_total", "training_discriminator", "validation_total", "passes"):
        assert curves.column(name) == pytest.approx(history.curves.column(name), rel=1e-4), name


def test_only_the_first_process_writes(two):
    names = {"best.safetensors", "checkpoint.pt", "curves.csv", "training.log", "rank0.pt", "rank1.pt"}
    assert {path.name for path in two.iterdir()} == names
    log = (two / "training.log").read_text()
    assert log.count("batch: 8 images in 2 process(es)") == 1 and log.count("resumed after epoch 1") == 1
    assert log.count("epoch 1,") == 1


def test_alone_nothing_is_exchanged():
    values = torch.ones(2)
    assert (rank(), world(), gathered("one")) == (0, 1, ["one"]) and mean_over_processes(values) is values
    parameter = torch.nn.Parameter(values)
    parameter.grad = torch.full((2,), 3.0)
    average_gradients([parameter])
    assert parameter.grad.tolist() == [3.0, 3.0]
