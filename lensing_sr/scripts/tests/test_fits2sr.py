# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The command line, its messages and exit codes.  A stub stands for the resolver where only the command is tested."""

import os
import sys
from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits

from lensing_sr import __version__
from lensing_sr._network import ChosenNetwork
from lensing_sr.errors import FitError, InputError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.instruments import instruments, load_instrument
from lensing_sr.networks import build_network, file_sha256, save_network
from lensing_sr.networks.registry import CHOICES
from lensing_sr.scripts import fits2sr
from lensing_sr.tests.fake_result import make_result
from lensing_sr.validation import WithheldImages


class Stub:
    """A resolver that knows the answer and remembers the question."""

    def __init__(self):
        self.settings, self.calls, self.failing = None, [], {}
        self.result = make_result()

    def super_resolve(self, image, **reading):
        self.calls.append((image, reading))
        for part, error in self.failing.items():
            if part in str(image):
                raise error
        return self.result

    def validate(self, image, *, result, **reading):
        self.calls.append((image, reading))
        assert result is self.result
        if "validation" in self.failing:
            raise self.failing["validation"]
        return self.validation


@pytest.fixture(scope="module")
def shared_stub():
    return Stub()


@pytest.fixture
def stub(shared_stub, monkeypatch, tmp_path):
    shared_stub.calls.clear()
    shared_stub.failing = {}

    def make(options):
        shared_stub.settings = options
        return shared_stub

    monkeypatch.setattr(fits2sr, "_make_resolver", make)
    monkeypatch.chdir(tmp_path)
    for name in ("lens.fits", "other.fits.gz", "psf.fits", "noise.fits"):
        (tmp_path / name).write_bytes(b"")
    return shared_stub


def files(path):
    return sorted(os.listdir(path))


def test_one_image(stub, tmp_path, capsys):
    before = files(tmp_path)
    assert fits2sr.main(["lens.fits"]) == 0
    assert files(tmp_path) == sorted([*before, "lens_sr.fits"])
    assert fits.getheader("lens_sr.fits")["SRSCALE"] == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "lens.fits: theta_E = 1.200 +- 0.002 arcsec, chi2 = 1.01, a lens by 97%, no flags -> lens_sr.fits" in err


def test_named_output_and_figure(stub, tmp_path):
    assert fits2sr.main(["lens.fits", "-o", "a.fits", "--plot", "a.png", "-q"]) == 0
    assert {"a.fits", "a.png"} <= set(files(tmp_path))


def test_several_images_into_a_folder(stub, tmp_path):
    (tmp_path / "out").mkdir()
    assert fits2sr.main(["lens.fits", "other.fits.gz", "--output-dir", "out", "-q"]) == 0
    assert files(tmp_path / "out") == ["lens_sr.fits", "other_sr.fits"]


def test_one_failure_does_not_stop_the_others(stub, tmp_path, capsys):
    stub.failing = {"other": FitError("every pixel is masked")}
    assert fits2sr.main(["other.fits.gz", "lens.fits"]) == 1
    assert "lens_sr.fits" in files(tmp_path)
    err = capsys.readouterr().err
    assert "fits2sr: other.fits.gz: every pixel is masked" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error",
    [InputError("psf", "must have a positive sum", 0.0), OSError("disk"), MemoryError(), ZeroDivisionError("oops")],
)
def test_whatever_happens_is_a_message(stub, tmp_path, capsys, error):
    stub.failing = {"lens": error}
    before = files(tmp_path)
    assert fits2sr.main(["lens.fits"]) == 1
    assert files(tmp_path) == before
    err = capsys.readouterr().err
    assert err.startswith("fits2sr: lens.fits: ")
    assert "Traceback" not in err


def test_a_bug_shows_its_traceback_to_who_asks(stub, capsys):
    stub.failing = {"lens": ZeroDivisionError("oops")}
    assert fits2sr.main(["lens.fits", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_missing_image_fails_alone(tmp_path, monkeypatch, capsys):
    """With the real reader."""
    monkeypatch.chdir(tmp_path)
    assert fits2sr.main(["absent.fits"]) == 1
    err = capsys.readouterr().err
    assert "absent.fits" in err
    assert "Traceback" not in err
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no IMAGE given"),
        ("lens.fits other.fits.gz -o a.fits", "--output: is for one IMAGE, got 2; use --output-dir"),
        ("lens.fits other.fits.gz --plot a.png", "--plot: is for one IMAGE"),
        ("lens.fits -o absent/a.fits", "the folder absent does not exist; make it first"),
        ("lens.fits --output-dir absent", "there is no folder absent; make it first"),
        ("lens.fits -o psf.fits", "psf.fits: exists already"),
        ("lens.fits -o lens.fits --overwrite", "is the input itself"),
        ("lens.fits -o a.fits --plot a.gif", "--plot: must end in .png, .pdf or .svg"),
        ("lens.fits -o a.fits --plot a.fits", "would be written to a.fits"),
        ("lens.fits ./lens.fits", "several images would be written to lens_sr.fits"),
        ("lens.fits --psf absent.fits", "--psf: there is no file absent.fits"),
        ("lens.fits --noise absent.fits,ERR", "--noise: there is no file absent.fits,ERR"),
        ("lens.fits --method fit --network x", "--network: has no use with --method fit"),
        ("lens.fits --psf-oversampling 3", "give the kernel with --psf"),
        ("lens.fits --psf psf.fits --psf-oversampling 0", "--psf-oversampling: must be at least 1"),
        ("lens.fits --cutout here there 5", "--cutout: must be RA DEC SIZE"),
        ("lens.fits --cutout 10 20 0", "--cutout: the size must be a positive number"),
        ("lens.fits --cutout 10 95 5", "--cutout: must be RA DEC SIZE"),
        ("--example lens.fits", "leave out lens.fits"),
        ("--example --psf psf.fits", "leave out --psf"),
        ("--example --instrument euclid-vis", "leave out --instrument"),
    ],
)
def test_wrong_usage_is_told_before_any_work(stub, tmp_path, capsys, line, message):
    before = files(tmp_path)
    assert fits2sr.main(line.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("fits2sr: ")
    assert err.count("\n") == 1
    assert stub.calls == []
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "line",
    [
        "lens.fits --scale 0.5",
        "lens.fits --scale 17",
        "lens.fits --scale nan",
        "lens.fits --scale two",
        "lens.fits --scale -2",
        "lens.fits --psf a.fits --psf-fwhm 0.1",
        "lens.fits --psf-fwhm 0",
        "lens.fits --noise-rms -1",
        "lens.fits --noise a --noise-rms 1",
        "lens.fits -o a --output-dir b",
        "lens.fits --pixel-scale 0",
        "lens.fits -v -q",
        "lens.fits --psf psf.fits --psf-oversampling 1.5",
        "lens.fits --seed -1",
        "lens.fits --method magic",
        "lens.fits --device tpu",
        "lens.fits --cutout 1 2",
        "lens.fits --network",
        "lens.fits --jobs 2",
        "lens.fits --instrument euclid",
        "lens.fits --instrument absent.toml",
    ],
)
def test_options_that_make_no_sense(stub, capsys, line):
    assert fits2sr.main(line.split()) == 2
    err = capsys.readouterr().err
    assert "fits2sr: error:" in err
    assert "Traceback" not in err
    assert stub.calls == []


def test_options_reach_the_resolver(stub):
    line = "lens.fits --scale 2.5 --ext 3 --psf psf.fits,PSF --psf-oversampling 4 --noise noise.fits --pixel-scale 0.05"
    settings = "--seed 7 --no-lens-light --source pixel --no-potential --method fit --device cpu -q"
    assert fits2sr.main([*line.split(), *settings.split()]) == 0
    ((image, reading),) = stub.calls
    assert image == "lens.fits"
    assert reading == {
        "ext": 3,
        "psf": "psf.fits,PSF",
        "psf_oversampling": 4,
        "noise": "noise.fits",
        "mask": None,
        "pixel_scale": 0.05 * u.arcsec / u.pix,
        "cutout": None,
        "instrument": None,
    }
    assert (stub.settings.scale, stub.settings.seed, stub.settings.no_lens_light) == (2.5, 7, True)
    assert (stub.settings.source, stub.settings.no_potential) == ("pixel", True)


def test_numbers_reach_the_reader_with_their_units(stub):
    assert fits2sr.main("lens.fits --psf-fwhm 0.16 --noise-rms 0.002 --ext SCI -q".split()) == 0
    ((_, reading),) = stub.calls
    assert reading["psf"] == 0.16 * u.arcsec
    assert reading["noise"] == 0.002
    assert reading["ext"] == "SCI"


@pytest.mark.parametrize("name", ["euclid-vis", "Euclid VIS"])
def test_instrument_reaches_the_reader(stub, name):
    assert fits2sr.main(["lens.fits", "--instrument", name, "-q"]) == 0
    assert stub.calls[0][1]["instrument"] is load_instrument("euclid-vis")


def test_instruments_are_listed(stub, capsys):
    for line in ("--instrument list", "lens.fits --instrument list"):
        assert fits2sr.main(line.split()) == 0
        out, err = capsys.readouterr()
        assert [text.split()[0] for text in out.splitlines()] == list(instruments())
        assert "hst-acs-f814w      HST ACS F814W" in out and err == ""
    assert stub.calls == []


def test_networks_are_listed(stub, capsys):
    assert fits2sr.main(["--network", "list"]) == 0
    out, err = capsys.readouterr()
    names = [text.split()[0] for text in out.splitlines()]
    assert names == list(CHOICES) and err == ""
    assert stub.calls == []
    assert [ChosenNetwork(name).name for name in names] == names  # each can be chosen


def test_a_network_goes_to_the_resolver(tmp_path, monkeypatch, capsys):
    torch.manual_seed(1)
    save_network(build_network({"network": "residual-cnn", "channels": 4, "blocks": 1}), tmp_path / "tiny.safetensors")
    monkeypatch.chdir(tmp_path)
    assert fits2sr.main(["--example", "--network", "tiny.safetensors", "--no-lens-light"]) == 0
    header = fits.getheader("lensing_sr_example.fits")
    assert (header["SRMETHOD"], header["SRNET"]) == ("network", "tiny")
    assert header["SRWTSHA"] == file_sha256("tiny.safetensors")
    capsys.readouterr()
    assert fits2sr.main(["--example", "--overwrite", "--network", "nothing"]) == 2
    assert "network: must be a path or one of those in the package" in capsys.readouterr().err


def test_unknown_instrument_lists_the_known(stub, tmp_path, capsys):
    assert fits2sr.main(["lens.fits", "--instrument", "euclid"]) == 2
    err = capsys.readouterr().err
    assert "argument --instrument: must be one of " in err and "got 'euclid'" in err
    assert all(name in err for name in instruments())
    (tmp_path / "mine.toml").write_text('title = "Mine"\n')
    assert fits2sr.main(["lens.fits", "--instrument", "mine.toml"]) == 2
    assert "argument --instrument: mine.toml: pixel_scale: is missing" in capsys.readouterr().err


@pytest.mark.parametrize("position", ["150.1163 -2.2058", "10h00m27.912s -02d12m20.88s", "10:00:27.912 -2:12:20.88"])
def test_cutout_positions(stub, position):
    assert fits2sr.main(["lens.fits", "--cutout", *position.split(), "8", "-q"]) == 0
    centre, size = stub.calls[0][1]["cutout"]
    np.testing.assert_allclose((centre.ra.deg, centre.dec.deg), (150.1163, -2.2058), atol=1e-6)
    assert size == 8 * u.arcsec


def test_whole_scales_are_whole_numbers(stub):
    assert fits2sr.main(["lens.fits", "--scale", "3", "-q"]) == 0
    assert isinstance(stub.settings.scale, int)


def test_overwrite(stub, tmp_path):
    (tmp_path / "a.fits").write_text("old")
    assert fits2sr.main(["lens.fits", "-o", "a.fits"]) == 2
    assert (tmp_path / "a.fits").read_text() == "old"
    assert fits2sr.main(["lens.fits", "-o", "a.fits", "--overwrite"]) == 0
    assert fits.getheader("a.fits")["SRSCALE"] == 2


def test_flags_are_said_and_are_no_failure(stub, monkeypatch, capsys):
    monkeypatch.setattr(stub, "result", make_result(flags=("poor fit", "edge")))
    assert fits2sr.main(["lens.fits"]) == 0
    assert "flags: poor fit, edge" in capsys.readouterr().err


def test_quiet_is_silent(stub, capsys):
    assert fits2sr.main(["lens.fits", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_log_and_warnings(stub, capsys, monkeypatch):
    import warnings

    from lensing_sr.errors import LensingSRWarning

    def chatty(image, **reading):
        fits2sr.log.info("cut-out of 64 pixels")
        warnings.warn("no PSF given", LensingSRWarning, stacklevel=1)
        warnings.warn("a date was repaired", UserWarning, stacklevel=1)
        return stub.result

    monkeypatch.setattr(stub, "super_resolve", chatty)
    for option, log, ours, others in (
        ("-v", True, True, True),
        (None, False, True, False),
        ("-q", False, False, False),
    ):
        assert fits2sr.main(["lens.fits", "--overwrite"] + ([option] if option else [])) == 0
        err = capsys.readouterr().err
        assert ("cut-out of 64 pixels" in err) is log
        assert ("warning: no PSF given" in err) is ours
        assert ("a date was repaired" in err) is others


def _drawn(validation):
    """The same with something to draw."""
    grid = PixelGrid((40, 40), pixel_scale=0.05)
    blank, coarse_grid = np.ones(grid.shape), PixelGrid((20, 20), pixel_scale=0.1)
    images = (blank, blank, blank, blank, blank > 2, np.ones((20, 20)), grid, coarse_grid, (0.0, 0.0), 0.5, 0.1, None)
    return replace(validation, images=WithheldImages(*images))


def test_validation_is_said_and_written(stub, tmp_path, capsys):
    stub.validation = replace(stub.result.validation, chi2=0.66, chi2_unshared=0.53, interpolation_unshared=1.06)
    assert fits2sr.main(["lens.fits", "--noise-rms", "0.1", "--validate"]) == 0
    assert stub.calls[0] == stub.calls[1]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"lens.fits: {stub.validation.verdict}"
    assert last.startswith("lens.fits: closer to 640 withheld pixels")
    assert last.endswith("ratio 0.50 (shared noise: 0.50)")
    header = fits.getheader("lens_sr.fits")
    assert (header["VALRATIO"], header["VALUCHI2"], header["VALUINTR"]) == pytest.approx((0.5, 0.53, 1.06))
    assert fits2sr.main(["lens.fits", "--validate", "-q", "--overwrite"]) == 0
    assert capsys.readouterr().err == ""


def test_validation_has_a_figure_beside_that_of_the_result(stub, tmp_path, capsys):
    stub.validation = _drawn(stub.result.validation)
    before = files(tmp_path)
    assert fits2sr.main(["lens.fits", "--plot", "a.png", "--validate"]) == 0
    assert files(tmp_path) == sorted([*before, "a.png", "a_validation.png", "lens_sr.fits"])
    assert "-> lens_sr.fits, a.png, a_validation.png" in capsys.readouterr().err
    (tmp_path / "lens_sr.fits").unlink()
    (tmp_path / "a.png").unlink()
    assert fits2sr.main(["lens.fits", "--plot", "a.png", "--validate"]) == 2
    assert "a_validation.png: exists already" in capsys.readouterr().err


def test_what_cannot_be_validated_is_written_all_the_same(stub, tmp_path, capsys, monkeypatch):
    stub.failing = {"validation": InputError("scale", "must leave 16 coarse pixels a side", 2)}
    monkeypatch.setattr(stub.result, "validation", None)
    assert fits2sr.main(["lens.fits", "--plot", "a.png", "--validate"]) == 0
    assert {"lens_sr.fits", "a.png"} <= set(files(tmp_path)) and "a_validation.png" not in files(tmp_path)
    assert "VALRATIO" not in fits.getheader("lens_sr.fits")
    assert "lens.fits: not validated: scale: must leave 16 coarse pixels a side" in capsys.readouterr().err


def test_interruption_is_no_traceback(stub, capsys):
    stub.failing = {"lens": KeyboardInterrupt()}
    assert fits2sr.main(["lens.fits"]) == 130
    assert capsys.readouterr().err == "fits2sr: interrupted\n"


def test_example_writes_two_files_and_nothing_else(stub, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert fits2sr.main(["--example"]) == 0
    assert files(folder) == ["lensing_sr_example.fits", "lensing_sr_example.png"]
    assert stub.calls[0][0].endswith("example_lens.fits")
    assert fits2sr.main(["--example"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_version_and_help(capsys, monkeypatch):
    assert fits2sr.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fits2sr {__version__}\n"
    monkeypatch.setattr(sys, "argv", ["fits2sr", "--help"])
    assert fits2sr.main() == 0
    text = capsys.readouterr().out
    for option in (
        "--catalogue",
        "--jobs",
        "--scheduler",
    ):
        assert option not in text  # they come with what they need


def test_help_and_mistakes_do_not_wait_for_torch():
    import subprocess

    code = (
        "import sys; from lensing_sr.scripts.fits2sr import main; assert main(['x.fits', '-o', 'no/a.fits']) == 2; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
