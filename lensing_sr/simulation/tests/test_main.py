# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""``python -m lensing_sr.simulation``: what is asked for is what is written; whatever goes wrong is one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from lensing_sr.errors import OutputError
from lensing_sr.instruments import instruments
from lensing_sr.simulation import LensPopulation, ReferenceSimulator, __main__ as program, read_set
from lensing_sr.simulation.presets import PRESETS
from lensing_sr.simulation.substructure import CLASSES
from lensing_sr.simulation.tests.tiny_simulator import TinySimulator


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(monkeypatch):
    """In the place of the real simulators."""
    simulator = TinySimulator()
    monkeypatch.setattr(program, "_make_simulator", lambda options: simulator)
    return simulator


def run(line):
    return program.main(line.split())


def made(line):
    """The simulator that a command line makes."""
    return program._make_simulator(program.build_parser().parse_args(line.split()))


def test_a_set_is_written_and_told_of(tiny, capsys):
    assert run("2 cdm -n 5 -o set.fits --seed 3 --first 2 --batch 2 --keys LR,kind") == 0
    read = read_set("set.fits")
    drawn = TinySimulator().draw(5, seed=3, first=2, keys=["LR", "kind"])
    assert list(read) == ["LR", "kind"]
    assert torch.equal(read["LR"], drawn["LR"])
    assert read["kind"].tolist() == drawn["kind"].tolist()
    assert tiny.batches == [2, 2, 1]
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"lensing_sr.simulation: 2 cdm: 5 images, {os.path.getsize('set.fits') / 1e6:.1f} MB -> set.fits\n"


def test_quiet_means_quiet(tiny, capsys):
    assert run("2 cdm -n 3 -o set.fits -q") == 0
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(tiny, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run("2 cdm -n 3 -o set.fits --batch 1") == 0
    assert "3/3" in capsys.readouterr().err
    assert run("2 cdm -n 3 -o set.fits --batch 1 -q --overwrite") == 0
    assert capsys.readouterr().err == ""


def test_an_existing_file_is_replaced_only_on_request(tiny, folder, capsys):
    (folder / "set.fits").write_text("old")
    assert run("2 cdm -n 2 -o set.fits") == 2
    assert "exists already" in capsys.readouterr().err
    assert (folder / "set.fits").read_text() == "old"
    assert tiny.batches == []
    assert run("2 cdm -n 2 -o set.fits --overwrite") == 0
    assert len(read_set("set.fits")["LR"]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "MODEL and CLASS are needed; --list shows them"),
        ("2 -o set.fits", "MODEL and CLASS are needed"),
        ("2 cdm", "no output file given; add -o SET.fits"),
        ("2 cdm -o absent/set.fits", "the folder absent does not exist; make it first"),
        ("2 cdm -o set.fits.gz", "path: must end in .fits"),
        ("2 cdm -o set.fits --keys LR,SR", "keys: must be among those of the set, got 'SR'; there are LR, "),
        ("2 cdm -o set.fits --keys ,", "keys: must be among those of the set, got none"),
        ("2 lens -o set.fits", "CLASS: must be one of no_sub, axion, cdm, subhalos for model-2, got lens"),
        ("2 cdm -o set.fits --preset hst", "--preset: is for instruments only, not for 2"),
        ("2 cdm -o set.fits --arc-sn 10 20", "--arc-sn: is for instruments only, not for 2"),
        ("4 cdm -o set.fits", "instrument: must be one of"),
        ("euclid-vis cdm -o set.fits", "CLASS: must be one of lens, negative, mixed for euclid-vis, got cdm"),
        ("euclid-vis lens -o set.fits --corrected", "--corrected: is for reference telescopes only"),
        ("euclid-vis lens -o set.fits --engine torch", "--engine: is for reference telescopes only"),
        (
            "euclid-vis lens -o set.fits --preset lsst",
            "preset: must be 'broad' or 'bright' or 'group' or 'euclid' or 'hst', got 'lsst'",
        ),
        ("euclid-vis lens -o set.fits --arc-sn 20 10", "--arc-sn: LOW must not be above HIGH, got 20 10"),
    ],
)
def test_wrong_usage_is_one_line(folder, capsys, line, message):
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("lensing_sr.simulation: ")
    assert err.count("\n") == 1
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 cdm -n 0", "argument -n: must be a whole number, 1 or more, got '0'"),
        ("2 cdm -n many", "argument -n: must be a whole number"),
        ("2 cdm --seed -1", "argument --seed: "),
        ("2 cdm --batch 0", "argument --batch: must be a whole number, 1 or more"),
        ("2 cdm --arc-sn 0 5", "argument --arc-sn: must be positive, got 0"),
        ("2 cdm --arc-sn few 5", "argument --arc-sn: must be a number, got 'few'"),
        ("2 cdm --engine pen", "argument --engine: invalid choice"),
        ("2 cdm -q -v", "not allowed with"),
    ],
)
def test_wrong_values_are_told_by_the_parser(capsys, line, message):
    assert run(line) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(capsys):
    assert run("2 cdm -o set.fits --device cuda") == 2
    assert "--device: cuda is not there" in capsys.readouterr().err


def test_lenstronomy_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lenstronomy", None)
    assert run("2 cdm -o set.fits --engine lenstronomy") == 2
    assert '--engine lenstronomy needs the package lenstronomy; install it with' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (OutputError("set.fits: cannot be written (No space left on device)"), 1, "No space left on device"),
        (OSError("disk"), 1, "disk"),
        (MemoryError(), 1, "not enough memory; use a smaller --batch"),
        (ZeroDivisionError("oops"), 1, "internal error (ZeroDivisionError: oops); please report it, run with -v"),
        (KeyboardInterrupt(), 130, "interrupted, nothing was written"),
    ],
)
def test_whatever_happens_is_a_message_and_no_file(tiny, folder, capsys, monkeypatch, error, status, message):
    def fail(n, first=0, **more):
        if first == 0:
            return TinySimulator().draw(n, **more)
        raise error

    monkeypatch.setattr(tiny, "draw", fail)
    assert run("2 cdm -n 4 --batch 2 -o set.fits") == status
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert os.listdir(folder) == []


def test_a_bug_shows_its_traceback_to_who_asks(tiny, capsys, monkeypatch):
    monkeypatch.setattr(tiny, "draw", lambda *_, **__: 1 / 0)
    assert run("2 cdm -o set.fits -v") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2", "model-2", "Model 2", "MODEL_2", "model2"])
def test_a_model_has_many_spellings(name):
    options = program.build_parser().parse_args([name, "axion"])
    simulator = program._make_simulator(options)
    assert isinstance(simulator, ReferenceSimulator)
    assert (simulator.model, simulator.dark_matter, simulator.faithful) == (2, "axion", True)


def test_options_reach_the_simulators():
    assert not made("3 subhalos --corrected").faithful
    assert made("1 no_sub --engine lenstronomy").engine == "lenstronomy"
    population = made("Euclid_VIS mixed --preset euclid --arc-sn 30 60")
    assert isinstance(population, LensPopulation)
    drawn = population.draw(24, keys=["is_lens", "arc_sn"])
    is_lens = drawn["is_lens"] > 0
    assert 0 < is_lens.sum() < 24
    arc_sn = drawn["arc_sn"][is_lens]
    assert bool(((arc_sn > 29.9) & (arc_sn < 60.1)).all())
    for kind, expected in (("lens", 1.0), ("negative", 0.0)):
        assert (made(f"euclid-vis {kind}").draw(4, keys=["is_lens"])["is_lens"] == expected).all()


def test_the_list_names_everything(capsys):
    assert run("--list") == 0
    out = capsys.readouterr().out
    for name in (*instruments(), *CLASSES, *PRESETS, *program.POPULATION):
        assert name in out
    for key in (*ReferenceSimulator().keys, *LensPopulation().keys):
        assert key in out


@pytest.mark.parametrize("line", ["1 axion", "3 cdm --corrected", "hst-wfc3-f160w mixed --preset hst"])
def test_a_real_set(capsys, line):
    """The images in the file are those that the simulator draws."""
    assert run(f"{line} -n 3 --seed 5 -o set.fits -q") == 0
    with fits.open("set.fits", checksum=True, lazy_load_hdus=False) as hdus:
        hdus.verify("exception")
    drawn = made(line).draw(3, seed=5)
    read = read_set("set.fits")
    assert set(read) == set(drawn)
    for key, value in drawn.items():
        if torch.is_tensor(value):
            np.testing.assert_array_equal(read[key].numpy(), value.numpy(), err_msg=key)
        else:
            assert read[key].tolist() == value.tolist()


def test_the_module_runs_as_a_program():
    code = [sys.executable, "-W", "error", "-m", "lensing_sr.simulation", "--version"]
    root = Path(program.__file__).resolve().parents[2]
    done = subprocess.run(code, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(root)}, timeout=99)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lensing_sr ")
