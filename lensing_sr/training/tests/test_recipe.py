# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A training as a text file: what is written is done, and what is not understood is refused by name."""

import re
import tomllib

import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.losses.published import PUBLISHED
from lensing_sr.networks import build_network, save_network
from lensing_sr.simulation import ReferenceSimulator
from lensing_sr.training import ConstantRate, ImageBatches, SimulatedBatches, WarmupCosine, list_recipes, read_recipe

TINY = """
title = "A tiny one"
seed = 5

[network]
network = "residual-cnn"
channels = 4
blocks = 1

[data]
simulator = "reference"
model = 3
dark_matter = ["no_sub", "cdm"]
batch_size = 4
validation = 6

[loss.source]
fit = "peak"

[loss.variation]
weight = { schedule = "exponential", start = 1.0, half_life = 1 }

[monitors.likelihood]
fit = "peak"
log = true

[training]
epochs = 2
steps = 2
rate = 1e-3
schedule = "warmup-cosine"
warmup = 0.5
criterion = "likelihood"

[fine_tuning]
epochs = 1
rate = 1e-4
"""


def written(folder, *changes):
    """The tiny recipe with some lines replaced."""
    text = TINY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def test_what_is_written_is_done(tmp_path):
    recipe = read_recipe(written(tmp_path))
    assert (recipe.name, recipe.title, recipe.seed) == ("tiny", "A tiny one", 5)
    trainer = recipe.trainer(device="cpu")
    assert trainer.network.settings["channels"] == 4 and trainer.seed == trainer.train.seed == 5
    assert isinstance(trainer.train, SimulatedBatches) and trainer.train.batch_size == 4
    assert [one.dark_matter for one in trainer.train.simulators] == ["no_sub", "cdm"]
    assert isinstance(trainer.validation, ImageBatches) and trainer.validation.count == 6
    assert trainer.loss.weights(1) == {"source": 1.0, "variation": 0.5} and list(trainer.monitors) == ["likelihood"]
    assert trainer.rate == WarmupCosine(1e-3, warmup=0.5) and (trainer.epochs, trainer.steps) == (2, 2)
    assert trainer.fine_tuning.rate == ConstantRate(1e-4) and trainer.adversary is None
    assert recipe.trainer(device="cpu", epochs=7).epochs == 7


def test_a_seed_gives_the_same_training(tmp_path):
    first, again = (read_recipe(written(tmp_path)).trainer(device="cpu") for _ in range(2))
    other = read_recipe(written(tmp_path, ("seed = 5", "seed = 6"))).trainer(device="cpu")
    assert all(map(torch.equal, first.network.state_dict().values(), again.network.state_dict().values()))
    assert torch.equal(first.train.batch(3).image, again.train.batch(3).image)
    assert not torch.equal(first.train.batch(3).image, other.train.batch(3).image)
    assert not torch.equal(next(first.network.parameters()), next(other.network.parameters()))


def test_a_finite_set_is_split_four_to_one(tmp_path):
    path = written(tmp_path, ("validation = 6", "images = 20\naugment = true"), ("steps = 2\n", ""))
    trainer = read_recipe(path).trainer(device="cpu")
    assert (trainer.train.count, trainer.validation.count, trainer.steps) == (16, 4, 4)
    assert trainer.train.augment and not trainer.validation.augment


def test_a_population_can_be_trained_on(tmp_path):
    settings = 'simulator = "population"\ninstrument = "euclid-vis"\nshape = [32, 32]\nlens_light = false'
    settings += "\nneighbours = false\npsf_error = false\ncorrelated_noise = 0.0"
    path = written(
        tmp_path, ('simulator = "reference"\nmodel = 3', settings), ('["no_sub", "cdm"]', '"no_sub"')
    )
    observed = read_recipe(path).trainer(device="cpu").train.batch(0)
    assert observed.image.shape == (4, 32, 32) and observed.pixel_scale == 0.1 and not observed.pixel_centres
    assert observed.kernel(2).shape[-1] % 2 == 1


def test_no_training_reads_a_truth(tmp_path, monkeypatch):
    """Training, validation and the classifier of the features: low-resolution images and their headers only."""
    asked, draw = set(), ReferenceSimulator.draw

    def spied(self, n, *, keys=None, **settings):
        assert keys is not None, "everything was asked for"
        asked.update(keys)
        return draw(self, n, keys=keys, **settings)

    monkeypatch.setattr(ReferenceSimulator, "draw", spied)
    features = '[loss.features]\nfit = "peak"\n[features]\nsteps = 1\nbatch_size = 4\n'
    path = written(tmp_path, ("[monitors", f"{features}[monitors"))
    read_recipe(path).trainer(device="cpu", progress=False)
    read_recipe(written(tmp_path)).trainer(device="cpu", progress=False).run()
    assert asked == {"LR", "psf_fwhm", "pixscale_LR", "exp_time_LR", "bkg_rms_LR"}


@pytest.mark.parametrize("network", ["srgan", "feature-srgan"])
def test_adversarial_recipes_train(tmp_path, network):
    terms = "[loss.adversarial]\nweight = 1e-3\nfit = \"peak\"\n[adversary]\nrate = 1e-4\nchannels = 2\n"
    if network == "feature-srgan":
        terms += "[loss.features]\nfit = \"peak\"\n[features]\nsteps = 1\nbatch_size = 4\n"
    path = written(tmp_path, ('"residual-cnn"', f'"{network}"'), ("[monitors", f"{terms}[monitors"))
    recipe = read_recipe(path)
    trainer = recipe.trainer(tmp_path / "run", device="cpu", epochs=1, progress=False)
    before = [one.clone() for one in trainer.adversary.module.parameters()]
    history = trainer.run()
    assert {"adversarial", "discriminator"} <= set(history.curves.terms)
    assert not all(map(torch.equal, before, trainer.adversary.module.parameters()))
    if network == "feature-srgan":
        # a resumed run compares by the very same features
        again = recipe.trainer(tmp_path / "run", device="cpu", epochs=1, resume=True, progress=False)
        first, second = (one.loss.terms["features"][0].extractor.state_dict() for one in (trainer, again))
        assert all(map(torch.equal, first.values(), second.values()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 5", "sead = 5", r"tiny.toml: sead: is not a known key; known are title, seed, begin, network"),
        ("seed = 5", "seed = 1.5", "tiny.toml: seed: must be a whole number, got 1.5"),
        ("seed = 5", "", "tiny.toml: seed: must be given"),
        ("channels = 4", "chanels = 4", r"tiny.toml: \[network\] chanels: is not a known key; known are network, chan"),
        ("model = 3", "modell = 3", r"tiny.toml: \[data\] modell: is not a known key"),
        ("model = 3", "seed = 3", r"tiny.toml: \[data\] seed: is not a known key"),
        ('"reference"', '"real"', r"tiny.toml: \[data\] simulator: must be 'reference' or 'population', got 'real'"),
        ("validation = 6", "", r"tiny.toml: \[data\]: must say either images, .* got neither"),
        ("validation = 6", "validation = 6\nimages = 9", r"tiny.toml: \[data\]: must say either images, .* got both"),
        ('fit = "peak"\n\n[loss.v', 'fits = "peak"\n\n[loss.v', r"tiny.toml: \[loss.source\] fits: is not a known key"),
        ("[loss.variation]", "[loss.vdl]", r"tiny.toml: \[loss.vdl\]: must be one of source, image, .* say which one"),
        ("[loss.source]", "[loss]\nsource = 1.0\n[loss.image]", r"tiny.toml: \[loss\] source: must be a table"),
        ('"exponential"', '"exponent"', r"tiny.toml: \[loss.variation\] weight: must be one of constant, linear"),
        ("half_life = 1", "half_live = 1", r"tiny.toml: \[loss.variation\] weight: exponential: .*half_live"),
        ("epochs = 2", "epochs = true", r"tiny.toml: \[training\] epochs: must be a whole number, got True"),
        ("epochs = 2", "epoch = 2", r"tiny.toml: \[training\] epochs: must be given"),
        ("steps = 2", "", r"tiny.toml: \[training\] steps: must be given for an endless stream"),
        ("warmup-cosine", "cosine", r"tiny.toml: \[training\] schedule: must be 'warmup-cosine' or 'con"),
        ("[fine_tuning]", "[finetuning]", r"tiny.toml: finetuning: is not a known key"),
        ("[monitors", "[adversary]\nrate = 1e-4\n[monitors", r"tiny.toml: \[adversary\]: must be there where the loss"),
        ("[loss.source]", "[loss.adversarial]", r"tiny.toml: \[adversary\]: must be there where the loss has"),
        ("[network]", "[network", "tiny.toml: must be a TOML file"),
    ],
)  # fmt: skip
def test_errors_name_file_key_and_rule(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        read_recipe(written(tmp_path, (old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("channels = 4", "channels = 0", r"tiny.toml: \[network\] channels: must be an integer of at least 1"),
        ("model = 3", "model = 4", r"tiny.toml: \[data\] model: must be 1 or 2 or 3, got 4"),
        ('"no_sub"', '"wimps"', r"tiny.toml: \[data\] dark_matter: must be"),
        ('fit = "peak"\n\n[loss.v', 'fit = "top"\n\n[loss.v', r"tiny.toml: \[loss\] fit: must be 'full' or 'peak'"),
        ("rate = 1e-3", "rate = -1.0", r"tiny.toml: \[training\] rate: must be positive"),
        ('criterion = "likelihood"', 'criterion = "total"', r"tiny.toml: \[training\] criterion: must be a term"),
    ],
)
def test_errors_of_what_is_made_name_the_file_too(tmp_path, old, new, message):
    recipe = read_recipe(written(tmp_path, (old, new)))
    with pytest.raises(InputError, match=message):
        recipe.trainer(device="cpu")


def test_a_training_may_begin_with_trained_weights(tmp_path):
    settings = {"network": "residual-cnn", "channels": 4, "blocks": 1}
    held = build_network(settings)
    save_network(held, tmp_path / "held.safetensors", dtype=torch.float32)
    begin = ("seed = 5", f'seed = 5\nbegin = "{tmp_path / "held.safetensors"}"')
    trainer = read_recipe(written(tmp_path, begin)).trainer(device="cpu")
    ours, theirs = trainer.network.state_dict(), held.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert "held" in trainer.facts["begin"]
    wider = read_recipe(written(tmp_path, begin, ("channels = 4", "channels = 8")))
    with pytest.raises(InputError, match="tiny.toml: begin network: must have weights that fit"):
        wider.trainer(device="cpu")
    lost = read_recipe(written(tmp_path, ("seed = 5", 'seed = 5\nbegin = "lost.safetensors"')))
    with pytest.raises(InputError, match="tiny.toml: begin network: must be an existing file"):
        lost.trainer(device="cpu")


def test_unknown_recipes_name_the_known_ones():
    with pytest.raises(InputError, match="must be a TOML file, or one of .*residual-cnn-model3.*, got 'model-9'"):
        read_recipe("model-9")


def test_what_comes_with_the_package():
    names = {f"residual-cnn-model{model}" for model in (1, 2, 3)}
    names |= {f"{kind}-model3" for kind in ("rcan", "srgan", "feature-srgan", "published-residual-cnn")}
    assert names <= set(list_recipes())


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_our_recipes_are_complete(name):
    recipe = read_recipe(name)
    data, training = recipe.tables["data"], recipe.tables["training"]
    images = "population" if data["simulator"] == "population" else f"model{data['model']}"
    assert name.endswith(f"{recipe.tables['network']['network']}-{images}")
    if images != "population":
        assert data["dark_matter"] == ["no_sub", "axion", "cdm"], "all three kinds of dark matter"
    assert re.match(r"# ([\d ]+) passes", recipe.text), "the first line says how many passes"
    passes = int(re.match(r"# ([\d ]+) passes", recipe.text)[1].replace(" ", ""))
    steps = training.get("steps") or int(0.8 * data.get("images", 0)) // data["batch_size"]
    epochs = training["epochs"] + recipe.tables.get("fine_tuning", {}).get("epochs", 0)
    assert passes == epochs * steps * data["batch_size"]
    assert tomllib.loads(recipe.text)["title"] == recipe.title


def test_the_published_recipe_is_the_published_one():
    recipe = read_recipe("published-residual-cnn-model3")
    published, tables = PUBLISHED["residual-cnn"], recipe.tables
    assert tables["training"]["rate"] == published.rate[2] and tables["training"]["epochs"] == published.epochs[2]
    assert tables["data"]["batch_size"] == 5 and tables["loss"] == {"published": True}
    assert tables["network"] == {"network": "residual-cnn"} and "fine_tuning" not in tables
