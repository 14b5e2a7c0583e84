# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the instruments: every figure has a unit and a source, a wrong file is told what is wrong with it."""

import copy
import dataclasses
import pickle
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lensing_sr
from lensing_sr.errors import InputError
from lensing_sr.instruments import Instrument, instruments, load_instrument
from lensing_sr.instruments.load import UNITS

NAMES = (
    "model-1", "model-2", "model-3", "euclid-vis", "euclid-nisp-h", "hst-acs-f814w", "hst-wfc3-f140w",
    "hst-wfc3-f160w", "jwst-nircam-f150w", "jwst-nircam-f277w", "lsst-i", "hsc-i", "des-i",
)  # fmt: skip
REAL = [name for name in NAMES if not name.startswith("model")]


@pytest.fixture
def text():
    """A file that is right."""
    return (files("lensing_sr.instruments") / "euclid-vis.toml").read_text()


@pytest.fixture
def written(tmp_path):
    """Write a file and load it."""

    def load(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return load_instrument(path)

    return load


def test_all_are_there():
    assert set(instruments()) == set(NAMES)
    assert list(instruments()) == sorted(NAMES)
    titles = [instrument.title for instrument in instruments().values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_its_source(name):
    instrument = load_instrument(name)
    stated = {key for key in UNITS if getattr(instrument, key) is not None}
    assert set(instrument.sources) == stated
    assert instrument.approximate <= stated
    assert instrument.name == name and "approximate" not in " ".join(instrument.sources.values())


@pytest.mark.parametrize("name", NAMES)
def test_figures_make_sense(name):
    """Sampled between a fifth of and five pixels a FWHM; a cut-out that holds a lens; noise that detects galaxies."""
    instrument = load_instrument(name)
    rows, columns = instrument.shape
    if instrument.psf_profile != "none":
        assert 0.2 < instrument.psf_fwhm / instrument.pixel_scale < 5
    if name in REAL:
        assert rows % 2 == columns % 2 == 0 and 64 <= min(rows, columns) and max(rows, columns) <= 200
        assert min(rows, columns) * instrument.pixel_scale > 6
        # magnitude of a square arcsecond that stands out by 5 sigma, against what these surveys reach
        limit = instrument.magnitude(5 * instrument.background_rms() / instrument.pixel_scale)
        assert 23.5 < limit < 28


@pytest.mark.parametrize(
    ("name", "scale", "rms"),
    [("model-1", None, 0.01), ("model-2", None, 0.0058691), ("model-2", 0.0505, 0.00435576),
     ("model-3", None, 0.00591997), ("model-3", 0.04, 0.0030287)],
)  # fmt: skip
def test_noise_of_the_reference_models(name, scale, rms):
    assert load_instrument(name).background_rms(scale) == pytest.approx(rms, rel=1e-5)


def test_reference_models_are_as_stored():
    folder = Path(lensing_sr.__file__).parents[2] / "shared" / "data" / "reference"
    if not folder.is_dir():
        pytest.skip("samples of the reference simulations are not here")
    for number in (1, 2, 3):
        instrument = load_instrument(f"model-{number}")
        stored = np.load(folder / f"model{number}_no_sub.npz")
        assert stored["LR"].shape[1:] == instrument.shape
        np.testing.assert_allclose(stored["pixscale_LR"], instrument.pixel_scale)
        np.testing.assert_allclose(stored["psf_fwhm"], instrument.psf_fwhm)
        if number > 1:
            np.testing.assert_allclose(stored["bkg_rms_LR"], instrument.background_rms(), rtol=1e-6)
            fine = instrument.background_rms(stored["pixscale_HR"][0])
            np.testing.assert_allclose(stored["bkg_rms_HR"], fine, rtol=1e-6)
            np.testing.assert_allclose(stored["exp_time_LR"], instrument.total_exposure)


@pytest.mark.parametrize("name", NAMES)
def test_noise_agrees_with_lenstronomy(name):
    band = pytest.importorskip("lenstronomy.SimulationAPI.observation_api")
    instrument = load_instrument(name)
    if instrument.background is not None:
        noise = {"read_noise": None, "background_noise": instrument.background}
    else:
        noise = {"read_noise": instrument.read_noise, "sky_brightness": instrument.sky_brightness}
    for scale in (instrument.pixel_scale, instrument.pixel_scale / 3):
        oracle = band.SingleBand(
            pixel_scale=scale, exposure_time=instrument.exposure_time, num_exposures=instrument.exposures,
            magnitude_zero_point=instrument.zero_point, ccd_gain=instrument.gain, seeing=0.1, psf_type="GAUSSIAN",
            **noise,
        )  # fmt: skip
        assert instrument.background_rms(scale) == pytest.approx(float(oracle.background_noise), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(10, 35), st.sampled_from(REAL))
def test_flux_and_magnitude_are_inverse(magnitude, name):
    instrument = load_instrument(name)
    assert instrument.magnitude(instrument.flux(magnitude)) == pytest.approx(magnitude, abs=1e-9)
    assert instrument.flux(instrument.zero_point) == 1.0
    # five magnitudes are a factor of a hundred
    assert instrument.flux(magnitude) == pytest.approx(100 * instrument.flux(magnitude + 5))


def test_flux_takes_arrays_and_tensors():
    instrument = load_instrument("des-i")
    magnitudes = np.array([[20.0, 25.0]])
    flux = instrument.flux(magnitudes)
    assert isinstance(flux, np.ndarray) and flux.shape == (1, 2)
    tensor = instrument.flux(torch.tensor(magnitudes, dtype=torch.float32))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), flux, rtol=1e-5)
    np.testing.assert_allclose(instrument.magnitude(tensor).numpy(), magnitudes, rtol=1e-6)
    assert instrument.magnitude(0.0) == np.inf and np.isnan(instrument.magnitude(-1.0))


def test_without_zero_point_there_are_no_magnitudes():
    for ask in (lambda i: i.flux(20.0), lambda i: i.magnitude(1.0)):
        with pytest.raises(InputError, match="no meaning for Model 1"):
            ask(load_instrument("model-1"))


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf])
def test_background_of_no_pixel(scale):
    with pytest.raises(InputError, match="^pixel_scale: must be positive"):
        load_instrument("des-i").background_rms(scale)


@pytest.mark.parametrize("name", ["euclid-vis", "Euclid VIS", "EUCLID_VIS", " euclidvis "])
def test_names_in_any_spelling(name):
    assert load_instrument(name) is load_instrument("euclid-vis")
    assert load_instrument(load_instrument(name)) is load_instrument(name)


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_names_too(name):
    assert load_instrument(load_instrument(name).title) is load_instrument(name)


@pytest.mark.parametrize("name", ["euclid", "", "vis", None, 3, "hst-acs-f814"])
def test_unknown_names_list_the_known(name):
    with pytest.raises(InputError, match="^instrument: must be one of des-i, .*model-3, or a .toml file, got"):
        load_instrument(name)


def test_frozen_and_still_picklable():
    instrument = load_instrument("hsc-i")
    with pytest.raises(dataclasses.FrozenInstanceError):
        instrument.gain = 1.0
    with pytest.raises(TypeError):
        instrument.sources["gain"] = "nowhere"
    for other in (pickle.loads(pickle.dumps(instrument)), copy.deepcopy(instrument)):
        assert other == instrument and hash(other) == hash(instrument)
        assert other.sources == instrument.sources and other.approximate == instrument.approximate
    longer = dataclasses.replace(instrument, exposures=24)
    assert longer.background_rms() < instrument.background_rms()
    with pytest.raises(InputError, match="^exposures"):
        dataclasses.replace(instrument, exposures=0)


def test_repr_tells_the_science():
    assert repr(load_instrument("model-2")) == (
        "<Instrument Model 2: pixels of 0.101 arcsec, gaussian PSF of FWHM 0.16 arcsec, 4 x 565 s, "
        "sky rms 0.005869 electron / s>"
    )
    assert "no PSF" in repr(load_instrument("model-1"))


# a file of one's own


def test_a_users_file(written, text):
    mine = written(text.replace('title = "Euclid VIS"', 'title = "My telescope"'))
    assert (mine.name, mine.title) == ("mine", "My telescope")
    assert dataclasses.replace(mine, name="euclid-vis", title="Euclid VIS") == load_instrument("euclid-vis")


@pytest.mark.parametrize("path", ["absent.toml", Path("absent.toml")])
def test_missing_file(path):
    with pytest.raises(InputError, match=r"^instrument: must be a file that can be read, got absent.toml \("):
        load_instrument(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[gain]", "[gian]", r"mine.toml: gian: is not known; known are title, pixel_scale"),
        ("value = 3.1\n", "", r"mine.toml: gain.value: is missing"),
        ("value = 3.1", "value = -3.1", r"mine.toml: gain: must be positive, got -3.1"),
        ("value = 3.1", "value = 0.0", r"mine.toml: gain: must be positive, got 0"),
        ("value = 3.1", 'value = "3.1"', r"mine.toml: gain: must be a finite number, got '3.1'"),
        ("value = 3.1", "value = true", r"mine.toml: gain: must be a finite number, got True"),
        ("value = 3.1", "value = nan", r"mine.toml: gain: must be a finite number, got nan"),
        ("value = 3.1", "value = 3.1\nerror = 0.1", r"mine.toml: gain.error: is not known; known are value"),
        ('unit = "electron / adu"', 'unit = "adu"', r"gain.unit: must be 'electron / adu', got 'adu'"),
        ('unit = "electron / adu"\n', "", r"gain.unit: must be 'electron / adu', got None"),
        ("value = 4.2", "value = -4.2", r"mine.toml: read_noise: must not be negative, got -4.2"),
        ("value = 4\n", 'value = 4\nunit = "pix"\n', r"exposures.unit: must be left out, got 'pix'"),
        ("value = 4\n", "value = 4.0\n", r"mine.toml: exposures: must be a whole number of at least 1, got 4.0"),
        ("value = 4\n", "value = 0\n", r"mine.toml: exposures: must be a whole number"),
        ("value = [100, 100]", "value = [100]", r"mine.toml: shape: must be two whole numbers of at least 16"),
        ("value = [100, 100]", "value = [100, 8]", r"mine.toml: shape: must be two whole numbers"),
        ("value = [100, 100]", "value = 100", r"mine.toml: shape: must be two whole numbers"),
        ("approximate = true", 'approximate = "yes"', r"approximate: must be true or false, got 'yes'"),
        ("value = 1.71", "value = 1.0", r"mine.toml: psf_beta: must be above 1"),
        ('value = "moffat"', 'value = "airy"', r"psf_profile: must be 'gaussian' or 'moffat' or 'none', got 'airy'"),
        ('value = "moffat"', 'value = "gaussian"', r"psf_beta: must be given for a Moffat profile, and only there"),
        ('value = "moffat"', 'value = "none"', r"psf_fwhm: must be 0 where the PSF profile is 'none'"),
        ("value = 0.13", "value = 0.0", r"psf_fwhm: must be 0 where the PSF profile is 'none', and only there"),
        ('title = "Euclid VIS"', "", r"mine.toml: title: is missing"),
        ('title = "Euclid VIS"', "title = 3", r"mine.toml: title: must be a text"),
        ('title = "Euclid VIS"', 'title = "Euclid VIS"\ngain = 3.1', r"mine.toml: must be a TOML file"),
        ("[gain]", "[gain", r"mine.toml: must be a TOML file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_what_is_wrong(written, text, old, new, message):
    assert old in text
    with pytest.raises(InputError, match=message):
        written(text.replace(old, new))


@pytest.mark.parametrize("key", sorted({*UNITS} - {"background"}))
def test_no_figure_can_be_left_out(written, text, key):
    start = text.index(f"[{key}]")
    end = text.find("\n[", start)
    without = text[:start] + (text[end + 1 :] if end > 0 else "")
    with pytest.raises(InputError, match=rf"mine.toml: {key}: (is missing|must be given)"):
        written(without)


def test_a_source_says_something(written, text):
    source = tomllib.loads(text)["gain"]["source"]
    with pytest.raises(InputError, match="mine.toml: gain.source: must say where the figure is from, got ' '"):
        written(text.replace(f'"{source}"', '" "'))
    with pytest.raises(InputError, match="mine.toml: gain: must be a table with value and source, got 3.1"):
        written("gain = 3.1\n" + text.replace(text[text.index("[gain]") : text.index("[shape]")], ""))


def test_a_stated_background_stands_alone(written):
    text = (files("lensing_sr.instruments") / "model-1.toml").read_text()
    assert written(text).background == 0.01
    extra = '[read_noise]\nvalue = 4.0\nunit = "electron"\nsource = "guessed"\n'
    with pytest.raises(InputError, match="background: takes the place of sky_brightness and read_noise"):
        written(text + extra)


def test_made_by_hand():
    made = Instrument(
        name="toy", title="Toy", pixel_scale=0.1, psf_fwhm=0, psf_profile="none", exposure_time=100, exposures=1,
        gain=1, shape=[64, 64], background=0.1,
    )  # fmt: skip
    assert made.psf_fwhm == 0.0 and made.shape == (64, 64) and hash(made)
    with pytest.raises(InputError, match="^sources: must be of figures of an instrument, got colour"):
        dataclasses.replace(made, sources={"colour": "seen"})
    with pytest.raises(InputError, match="^title: must be a text"):
        dataclasses.replace(made, title="")


def test_needs_no_astropy():
    code = (
        "import sys\nfor name in ('astropy', 'torch', 'photutils'): sys.modules[name] = None\n"
        "from lensing_sr.instruments import instruments\nprint(len(instruments()))"
    )
    folder = str(Path(lensing_sr.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {folder!r})\n{code}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(len(NAMES)), done.stderr
