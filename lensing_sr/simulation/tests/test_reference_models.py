# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from lensing_sr.errors import InputError
from lensing_sr.forward.binning import bin_sum
from lensing_sr.lensing.relens import distortion
from lensing_sr.simulation import _reference_engines
from lensing_sr.simulation.detector import noise_sigma
from lensing_sr.simulation.reference_models import ReferenceSimulator

STORED = Path(__file__).parents[4] / "shared" / "data" / "reference"
CELLS = list(itertools.product((1, 2, 3), ("no_sub", "axion", "cdm")))
MODELS = ("LR_model", "HR_model", "alpha_x", "alpha_y")
needs_stored = pytest.mark.skipif(not STORED.is_dir(), reason="samples of the reference simulations are not here")


def stored(model, dark_matter):
    with np.load(STORED / f"model{model}_{dark_matter}.npz", allow_pickle=False) as archive:
        return dict(archive)


def distance_to_masses(lens_json, n, pixel):
    """Distance in arcsec of every pixel centre to the nearest point mass of each image."""
    axis = (np.arange(n) - (n - 1) / 2) * pixel
    y, x = np.meshgrid(axis, axis, indexing="ij")
    found = []
    for text in lens_json:
        nearest = np.full((n, n), np.inf)
        for name, kwargs in zip(*json.loads(str(text)), strict=True):
            if name == "POINT_MASS":
                nearest = np.minimum(nearest, np.hypot(x - kwargs["center_x"], y - kwargs["center_y"]))
        found.append(nearest)
    return np.array(found)


@needs_stored
@pytest.mark.parametrize("engine", ["torch", "lenstronomy"])
@pytest.mark.parametrize(("model", "dark_matter"), CELLS)
def test_stored_lenses_render_as_stored(model, dark_matter, engine):
    if engine == "lenstronomy":
        pytest.importorskip("lenstronomy")
    count = 12 if engine == "torch" else 2
    truth = {key: value[:count] for key, value in stored(model, dark_matter).items()}
    simulator = ReferenceSimulator(model, dark_matter, engine=engine)
    ours = simulator.render(truth["lens_json"], truth["source_json"])
    for key in ("LR_model", "HR_model"):
        peak = truth[key].max(axis=(1, 2), keepdims=True)
        error = (ours[key].numpy() - truth[key]) / peak
        assert np.abs(error).max() < 2e-3
        assert np.sqrt((error**2).mean(axis=(1, 2))).max() < 2e-4
    far = distance_to_masses(truth["lens_json"], truth["HR"].shape[-1], truth["pixscale_HR"][0]) > 0.05
    for key in ("alpha_x", "alpha_y"):
        assert np.abs(ours[key].numpy() - truth[key])[far].max() < 1e-5


@needs_stored
@pytest.mark.parametrize("model", [1, 2, 3])
def test_numbers_equal_the_stored_ones(model):
    truth, ours = stored(model, "no_sub"), ReferenceSimulator(model).draw(3)
    for key in ("psf_fwhm", "pixscale_LR", "pixscale_HR", "theta_E_effective"):
        assert ours[key].numpy() == pytest.approx(truth[key][:3], rel=2e-6)
    if model > 1:
        for key in ("exp_time_LR", "exp_time_HR", "bkg_rms_LR", "bkg_rms_HR"):
            assert ours[key].numpy() == pytest.approx(truth[key][:3], rel=1e-9)
    for key in ("LR", "HR", *MODELS):
        assert ours[key].shape == (3, *truth[key].shape[1:])
    assert json.loads(ours["source_json"][0]).keys() == json.loads(str(truth["source_json"][0])).keys()
    assert set(truth) == set(ours)


@needs_stored
@pytest.mark.parametrize("dark_matter", ["no_sub", "axion", "cdm"])
def test_numbers_follow_the_stored_laws(dark_matter):
    cells = [stored(model, dark_matter) for model in (1, 2, 3)]
    keys = ("src_x", "src_y", "exp_time_LR", "exp_time_HR", "axion_mass")
    ours = {key: value.numpy() for key, value in ReferenceSimulator(1, dark_matter).draw(400, keys=keys).items()}
    for key in ("src_x", "src_y"):
        assert stats.ks_2samp(ours[key], np.concatenate([cell[key] for cell in cells])).pvalue > 1e-3
        assert np.abs(ours[key]).max() <= 0.35
    for key in ("exp_time_LR", "exp_time_HR"):
        assert stats.ks_2samp(ours[key], cells[0][key]).pvalue > 1e-3
    if dark_matter == "axion":
        masses = np.concatenate([cell["axion_mass"] for cell in cells])
        assert stats.ks_2samp(np.log10(ours["axion_mass"]), np.log10(masses)).pvalue > 1e-3


def moments(set_, model, key):
    """Mean, rms and skewness of the noise in the sky and in bright pixels, in units of its Gaussian sigma."""
    noisy, truth = (np.asarray(set_[name], dtype=float) for name in (key, f"{key}_model"))
    exposure, background = (np.asarray(set_[f"{name}_{key}"])[:, None, None] for name in ("exp_time", "bkg_rms"))
    if model == 1:  # counts
        noisy, background = noisy / exposure, background / exposure
    if not background.any():  # the truth of Model 1 has no sky noise; a floor keeps blank pixels from dividing by zero
        background = 1e-3
    residual = (noisy - truth) / np.sqrt(background**2 + np.maximum(truth, 0) / exposure)
    peak = truth.max(axis=(1, 2), keepdims=True)
    parts = residual[truth < 3e-3 * peak], residual[truth > 0.3 * peak]
    return np.array([f(part) for part in parts for f in (np.mean, np.std, stats.skew)])


@needs_stored
@pytest.mark.parametrize("key", ["LR", "HR"])
@pytest.mark.parametrize(("model", "dark_matter"), CELLS)
def test_noise_has_the_stored_moments(model, dark_matter, key):
    names = (key, f"{key}_model", f"exp_time_{key}", f"bkg_rms_{key}")
    fresh = ReferenceSimulator(model, dark_matter).draw(204, seed=7, keys=names)
    groups = [{name: value[12 * i : 12 * i + 12] for name, value in fresh.items()} for i in range(17)]
    groups = np.array([moments(group, model, key) for group in groups])
    # the sampling error of 12 images is the scatter between 17 sets of 12 fresh ones, and the error of their mean adds
    # a quarter of it; 5 sigma of Student's law with 16 degrees of freedom is a chance of 1e-4 a comparison
    error = groups.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 17)
    truth = moments(stored(model, dark_matter), model, key)
    assert np.all(np.abs(truth - groups.mean(axis=0)) < 5 * error)
    # and the test can tell: the rms is known to a few per cent
    assert np.all(error[[1, 4]] < 0.06 * groups.mean(axis=0)[[1, 4]])


def test_corrected_noise_is_what_its_map_says():
    for model in (1, 2, 3):
        lenses = ReferenceSimulator(model, faithful=False).draw(40, seed=2)
        exposure = lenses["exp_time_LR"][:, None, None]
        scale, rms = (exposure, 0.01) if model == 1 else (1.0, lenses["bkg_rms_LR"][:, None, None])
        sigma = (rms**2 + lenses["LR_model"] / exposure).sqrt()
        chi = ((lenses["LR"] / scale - lenses["LR_model"]) / sigma).double()
        error = 1 / np.sqrt(chi.numel())
        assert abs(float(chi.mean())) < 5 * error
        assert float(chi.var()) == pytest.approx(1, abs=10 * error)


@pytest.mark.parametrize("dark_matter", ["axion", "cdm", "subhalos"])
def test_engines_agree_on_fresh_lenses(dark_matter):
    pytest.importorskip("lenstronomy")
    ours, oracle = (ReferenceSimulator(2, dark_matter, engine=e, dtype=torch.float64) for e in ("torch", "lenstronomy"))
    ours, oracle = (simulator.draw(2, seed=9, keys=MODELS) for simulator in (ours, oracle))
    for key in MODELS:
        # the edge: light beyond the field scatters in here, and not there
        assert float((ours[key] - oracle[key]).abs().max() / oracle[key].abs().max()) < 1e-5


@pytest.mark.parametrize("model", [1, 2, 3])
def test_corrected_pixels_integrate_light(model, monkeypatch):
    simulator = ReferenceSimulator(model, faithful=False, dtype=torch.float64)
    keys = ("LR_model", "HR_model", "exp_time_LR", "bkg_rms_LR", "lens_json", "source_json")
    lenses = simulator.draw(4, seed=3, keys=keys)
    assert torch.allclose(lenses["LR_model"], bin_sum(lenses["HR_model"], 2), rtol=1e-12)
    monkeypatch.setattr(_reference_engines, "NODES", 10)
    fine = ReferenceSimulator(model, faithful=False, dtype=torch.float64).draw(4, seed=3, keys=keys)["LR_model"]
    exposure, rms = lenses["exp_time_LR"][:, None, None], lenses["bkg_rms_LR"][:, None, None]
    error = (lenses["LR_model"] - fine) / noise_sigma(fine, rms / exposure if model == 1 else rms, exposure)
    assert float(error.abs().max()) < 0.15 and float(error.square().mean().sqrt()) < 3e-3
    monkeypatch.undo()
    pytest.importorskip("lenstronomy")
    oracle = ReferenceSimulator(model, faithful=False, engine="lenstronomy", dtype=torch.float64)
    other = oracle.render(lenses["lens_json"], lenses["source_json"], keys=("HR_model",))["HR_model"]
    assert float((other - lenses["HR_model"]).square().mean().sqrt() / other.max()) < 2e-4


def test_centres_of_pixels_hold_two_per_cent_more_or_less():
    lenses = ReferenceSimulator(2).draw(4, keys=("LR_model", "HR_model"))
    ratio = bin_sum(lenses["HR_model"], 2) / lenses["LR_model"]
    bright = lenses["LR_model"] > 0.5 * lenses["LR_model"].amax((1, 2), keepdim=True)
    assert 1e-3 < float((ratio[bright] - 1).abs().mean()) < 0.05


@pytest.mark.parametrize(("model", "dark_matter"), CELLS)
def test_same_seed_same_images_whatever_the_batch(model, dark_matter):
    simulator = ReferenceSimulator(model, dark_matter)
    together = simulator.draw(70, seed=5)
    for first in (0, 3, 67):
        alone = simulator.draw(2, seed=5, first=first)
        for key in simulator.keys:
            batch = together[key][first : first + 2]
            if key.endswith("json"):
                assert np.array_equal(alone[key], batch)
            elif key in MODELS:
                assert torch.allclose(alone[key], batch, rtol=1e-4, atol=1e-5 * float(batch.abs().max()))
            elif key in ("LR", "HR") and model == 1:
                # rounding of the rate may move a count by one
                assert float((alone[key] - batch).abs().max()) <= 1
                assert float((alone[key] != batch).double().mean()) < 1e-3
            else:
                assert torch.allclose(alone[key], batch, rtol=1e-4, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("keys", [("LR",), ("HR", "alpha_y"), ("lens_json",), "LR_model"])
def test_what_else_is_asked_for_changes_nothing(keys):
    simulator = ReferenceSimulator(3, "cdm")
    everything, some = simulator.draw(3, seed=1), simulator.draw(3, seed=1, keys=keys)
    assert tuple(some) == ((keys,) if isinstance(keys, str) else keys)
    for key, value in some.items():
        assert np.array_equal(value, everything[key])


def test_stream_is_draw_without_end():
    simulator = ReferenceSimulator(2, "axion")
    batches = list(itertools.islice(simulator.stream(3, seed=4, keys=("LR",)), 3))
    assert torch.equal(torch.cat([b["LR"] for b in batches]), simulator.draw(9, seed=4, keys=("LR",))["LR"])


@pytest.mark.parametrize("dark_matter", ["no_sub", "axion", "cdm"])
def test_what_is_told_of_a_lens_renders_it(dark_matter):
    simulator = ReferenceSimulator(2, dark_matter, dtype=torch.float64)
    lenses = simulator.draw(3, seed=8)
    again = simulator.render(lenses["lens_json"], lenses["source_json"])
    for key in MODELS:
        assert torch.allclose(again[key], lenses[key], rtol=1e-9, atol=1e-12)


def test_deflection_has_no_curl_and_the_mass_of_its_radius():
    lenses = ReferenceSimulator(2, dtype=torch.float64).draw(1)
    pixel = float(lenses["pixscale_HR"][0])
    kappa, *_, curl = distortion(lenses["alpha_x"], lenses["alpha_y"], np.eye(2) * pixel)
    axis = (torch.arange(128) - 63.5).double() * pixel
    r = torch.hypot(axis[:, None], axis)
    away = r > 0.7
    assert float(curl[0][away].abs().max()) < 1e-4
    assert torch.allclose(kappa[0][away], 0.5 * lenses["theta_E_effective"][0] / r[away], rtol=2e-3)


def test_options_switch_one_thing_each():
    plain = ReferenceSimulator(1).draw(6, seed=2)
    for option in ("double_poisson", "clipped_sky"):
        changed = ReferenceSimulator(1, **{option: False}).draw(6, seed=2)
        assert torch.equal(changed["LR_model"], plain["LR_model"]) and torch.equal(changed["HR"], plain["HR"])
        assert not torch.equal(changed["LR"], plain["LR"])
    assert float(plain["LR"].min()) == 0 > float(ReferenceSimulator(1, clipped_sky=False).draw(1)["LR"].min())
    full = ReferenceSimulator(2, effective_theta_E=False).draw(1)
    assert float(full["theta_E_effective"][0]) == pytest.approx(1.2814905676, rel=1e-9)


def test_units_cards_and_keys_agree():
    from astropy import units as u
    from astropy.io import fits

    for simulator in (ReferenceSimulator(1), ReferenceSimulator(2)):
        drawn = simulator.draw(1)
        assert set(simulator.units) == set(simulator.keys) == set(drawn)
        assert set(simulator.pixel_scales) == {key for key, value in drawn.items() if value.ndim == 3}
        for unit in simulator.units.values():
            u.Unit(unit)
        header = fits.Header([(key, *card) for key, card in simulator.cards.items()])
        assert header["MODEL"] == simulator.model


def test_repr_tells_the_science():
    assert repr(ReferenceSimulator(3, "cdm")) == (
        "<ReferenceSimulator(model=3, dark_matter='cdm', faithful=True, engine='torch', device='cpu')>"
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"model": 4}, "model"), ({"dark_matter": "wimp"}, "dark_matter"), ({"engine": "galsim"}, "engine"),
        ({"dtype": torch.float16}, "dtype"),
    ],
)  # fmt: skip
def test_wrong_settings(settings, name):
    with pytest.raises(InputError, match=name):
        ReferenceSimulator(**settings)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n": 1.5}, "n"), ({"n": 0}, "n"), ({"n": 1, "seed": -1}, "seed"), ({"n": 1, "keys": ("SR",)}, "keys"),
    ],
)  # fmt: skip
def test_wrong_draws(arguments, name):
    with pytest.raises(InputError, match=name):
        ReferenceSimulator().draw(**arguments)


def test_only_spheres_and_point_masses_are_rendered():
    lens = json.dumps([["SIE"], [{"theta_E": 1.0}]])
    with pytest.raises(InputError, match="SIS"):
        ReferenceSimulator().render([lens], ['{"center_x": 0, "center_y": 0}'])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("model", "dark_matter"), CELLS)
def test_cuda_draws_the_same_images(model, dark_matter):
    cpu, cuda = (ReferenceSimulator(model, dark_matter, device=d).draw(4, seed=6) for d in ("cpu", "cuda"))
    for key in ("LR", "HR", "LR_model", "HR_model"):
        assert cuda[key].device.type == "cuda"
        allowed = 1.0 if model == 1 and key in ("LR", "HR") else 2e-5 * float(cpu[key].abs().max())
        assert float((cuda[key].cpu() - cpu[key]).abs().max()) <= allowed
