# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what teaches the lens finder: two simulations, the same from the same seed, and a network that learns."""

import dataclasses

import numpy as np
import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.networks.registry import FOLDER
from lensing_sr.networks.weights import load_network
from lensing_sr.training import finding
from lensing_sr.training.bank import Population
from lensing_sr.training.finding import FinderRecipe, drawn_shard, read_finder_recipe, train_finder, validate
from lensing_sr.training.tests.test_estimation import Here

TINY = {"widths": (8, 8, 8, 8), "steps": (1, 1, 1, 1), "hidden": 16}
#: Bright arcs, small images.
EASY = Population(
    instruments=("euclid-vis",), shapes=(46,), psf_pixels=(1.5, 1.6), lumpiness=(0.0,), correlations=(0.0,),
    arc_sn=(150.0, 200.0), lens_light=0.0, judged=1.0, masked=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def shard():
    return drawn_shard(EASY, 3, 0, 24)


def test_same_seed_same_shard(shard):
    again = drawn_shard(EASY, 3, 0, 24)
    assert all(torch.equal(again[key], shard[key]) for key in shard)
    other = drawn_shard(EASY, 4, 0, 24)
    assert not torch.equal(other["significance"], shard["significance"])


def test_both_sorts_are_drawn(shard):
    assert 4 <= int(shard["is_lens"].sum()) <= 20
    assert shard["significance"].shape == (24, 2, 64, 64) and bool(shard["significance"].isfinite().all())


def test_some_images_have_dead_spots_of_one_pixel_or_more():
    alive = finding._alive((400, 60, 60), np.random.default_rng(1))
    assert set(alive.unique().tolist()) == {0.0, 1.0}
    dead = (1.0 - alive).mean((1, 2))
    assert 0.2 < float((dead > 0).double().mean()) < finding.DEAD + 0.1
    assert float(dead.max()) <= 2.0 * finding.DEAD_PIXELS[1] * finding.DEAD_SIDE**2


def test_steps_train_resume_and_repeat(tmp_path, monkeypatch):
    """A run that was stopped ends as one that was not; more workers change nothing."""
    monkeypatch.setattr(finding, "SHARD", 8)
    monkeypatch.setattr(finding, "PART", 2)
    monkeypatch.setattr(finding.multiprocessing, "get_context", lambda kind: Here())
    recipe = FinderRecipe(population=EASY, network=TINY, shards=2, held=1, steps=6, batch_size=4)
    whole = train_finder(recipe, tmp_path / "whole")
    with monkeypatch.context() as stopping:
        stopping.setattr(finding, "_step", stop_at(4, finding._step))
        with pytest.raises(KeyboardInterrupt):
            train_finder(recipe, tmp_path / "parts")
    resumed = train_finder(recipe, tmp_path / "parts", workers=2)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert load_network(tmp_path / "parts" / "best.safetensors").settings == whole.settings
    assert len((tmp_path / "parts" / "training.log").read_text().splitlines()) == 3
    with pytest.raises(InputError, match="folder: must be new, or of a run of the same recipe"):
        train_finder(dataclasses.replace(recipe, rate=1.0), tmp_path / "parts")


def test_it_learns_what_can_be_told(tmp_path, monkeypatch):
    """Two sorts that differ in one respect are told apart after few steps, on images that did not teach."""
    monkeypatch.setattr(finding, "drawn_shard", bright_or_not)
    monkeypatch.setattr(finding, "SHARD", 64)
    monkeypatch.setattr(finding.multiprocessing, "get_context", lambda kind: Here())
    recipe = FinderRecipe(population=EASY, network=TINY, shards=2, held=1, steps=60, batch_size=16, rate=3e-3)
    network = train_finder(recipe, tmp_path)
    held = bright_or_not(EASY, 0, 99, 64)
    scores = validate(network, held)
    assert scores["held area"] > 0.95 and scores["held loss"] < 0.68  # ln 2 for one that knows nothing


def test_wrong_recipes_are_refused(tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text("roundz = 3\n")
    for name, message in (("wrong.toml", "roundz"), ("none.toml", "No such file")):
        with pytest.raises(SystemExit):
            finding.main([str(tmp_path / name), "--output", str(tmp_path / "run")])
        assert message in capsys.readouterr().err


def test_the_shipped_recipe_is_that_of_the_shipped_weights():
    recipe = read_finder_recipe(FOLDER / "lens-finder.toml")
    settings = load_network("lens-finder").settings
    assert {"network": "lens-finder"} | recipe.network == settings


def stop_at(number, step):
    def stopping(network, optimiser, bank, recipe, k, device):
        if k == number:
            raise KeyboardInterrupt
        return step(network, optimiser, bank, recipe, k, device)

    return stopping


def bright_or_not(population, seed, shard, count):
    generator = torch.Generator().manual_seed(shard)
    is_lens = torch.rand(count, generator=generator) < 0.5
    images = torch.randn(count, 2, 64, 64, generator=generator)
    images[is_lens, :, 24:40, 24:40] += 5.0
    seen = torch.ones(count, 2, 64, 64, dtype=torch.uint8)
    images = {"significance": images.half(), "bare": images.half(), "seen": seen}
    return images | {"conditions": torch.zeros(count, 4), "is_lens": is_lens.byte()}
