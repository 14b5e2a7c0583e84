# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""``python -m lensing_sr.training`` as a user meets it."""

import os
import sys

import pytest
import torch

from lensing_sr.networks.weights import load_network
from lensing_sr.training import LearningCurves, list_recipes
from lensing_sr.training.__main__ import main
from lensing_sr.training.tests.test_recipe import written
from lensing_sr.training.trainer import Trainer

FILES = {"best.safetensors", "checkpoint.pt", "curves.csv", "curves.png", "recipe.toml", "training.log"}


def test_a_run_and_its_continuation(tmp_path, capsys):
    path, folder = written(tmp_path, ("[fine_tuning]\nepochs = 1\nrate = 1e-4\n", "")), tmp_path / "runs" / "first"
    assert main([str(path), "--output", str(folder), "--epochs", "1"]) == 0
    assert {one.name for one in folder.iterdir()} == FILES
    told = capsys.readouterr().err
    assert "epoch 1, 8 passes" in told and "tiny: 8 passes, best likelihood" in told
    assert main([str(path), "--output", str(folder), "--resume", "-q"]) == 0
    assert capsys.readouterr().err == ""
    curves = LearningCurves.read(folder / "curves.csv")
    assert curves.column("epoch") == [1, 2] and curves.column("weight_variation") == [1.0, 0.5]
    assert {"training_source", "validation_source", "validation_likelihood"} <= set(curves.columns)
    network = load_network(folder / "best.safetensors")
    field = network(torch.rand(1, 64, 64), pixel_scale=0.08)
    assert field.alpha_x.shape == (1, 128, 128)
    log = (folder / "training.log").read_text()
    assert "command: python -m lensing_sr.training tiny.toml --epochs 1" in log
    assert str(tmp_path) not in log and os.uname().nodename not in log.replace("localhost", "")
    assert (folder / "recipe.toml").read_text() == path.read_text()


def test_the_folder_is_named_after_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(written(tmp_path)), "--epochs", "1", "-q"]) == 0
    assert {one.name for one in (tmp_path / "tiny").iterdir()} == FILES


def test_without_matplotlib_the_table_is_enough(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(written(tmp_path)), "--output", str(tmp_path / "run"), "--epochs", "1", "-q"]) == 0
    assert {one.name for one in (tmp_path / "run").iterdir()} == FILES - {"curves.png"}


def test_list_shows_what_there_is(capsys):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(list_recipes())


def test_help_and_version(capsys):
    assert main(["--help"]) == 0 and main(["--version"]) == 0
    assert "CONFIG" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "CONFIG is needed"),
        (["no-such"], "recipe: must be a TOML file, or one of"),
        (["{path}", "--epochs", "0"], "must be a whole number, 1 or more, got '0'"),
        (["{path}", "--resume", "--output", "{folder}/none"], "--resume: there is no checkpoint in"),
        (["{bad}"], r"bad.toml: [training] epoch: is not a known key"),
    ],
)
def test_wrong_usage(tmp_path, capsys, arguments, message):
    path = written(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_text(path.read_text().replace("steps = 2", "steps = 2\nepoch = 3"))
    names = {"path": path, "bad": bad, "folder": tmp_path}
    assert main([argument.format(**names) for argument in arguments]) == 2
    assert message in capsys.readouterr().err
    assert {one.name for one in tmp_path.iterdir()} == {"tiny.toml", "bad.toml"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(tmp_path, capsys):
    assert main([str(written(tmp_path)), "--device", "cuda"]) == 2
    assert "--device: cuda is not there" in capsys.readouterr().err


def test_what_is_there_is_kept_and_not_mixed(tmp_path, capsys):
    path, folder = written(tmp_path), tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"something")
    assert main([str(path), "--output", str(folder)]) == 1
    assert "holds a training already; resume it, or choose another folder" in capsys.readouterr().err
    assert main([str(path), "--output", str(folder), "--resume"]) == 1
    assert "checkpoint: must be a checkpoint of a training" in capsys.readouterr().err
    (folder / "recipe.toml").write_text(path.read_text().replace("seed = 5", "seed = 6"))
    assert main([str(path), "--output", str(folder), "--resume"]) == 2
    assert "--resume: seed differs from the recipe of the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; --resume goes on"),
        (MemoryError(), 1, "not enough memory"),
        (ZeroDivisionError("oh"), 1, "internal error (ZeroDivisionError: oh); please report it"),
    ],
)
def test_every_end_has_a_status_and_a_message(tmp_path, capsys, monkeypatch, error, status, message):
    def fail(self, *, resume=False):
        raise error

    monkeypatch.setattr(Trainer, "run", fail)
    assert main([str(written(tmp_path)), "--output", str(tmp_path / "run"), "-q"]) == status
    assert message in capsys.readouterr().err
