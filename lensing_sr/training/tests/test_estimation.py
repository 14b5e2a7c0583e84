# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what teaches the lens estimator: fits alone, the same from the same seed, and a network that learns."""

import dataclasses

import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.fit.coarse import fit_coarsely
from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.mixture import in_arcsec
from lensing_sr.networks.registry import FOLDER
from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.weights import load_network, save_network
from lensing_sr.training import estimation
from lensing_sr.training.bank import BLIND, Population, draw_observation, fit_images, fitted_shard
from lensing_sr.training.estimation import EstimatorRecipe, read_estimator_recipe, train_estimator
from lensing_sr.training.fine_tuning import fine_tune
from lensing_sr.training.history import TrainingError
from lensing_sr.training.teaching import Teaching, loss_of, validate

TINY = {"widths": (4, 4, 4, 4), "steps": (1, 1, 1, 1), "hidden": 8, "components": 2}
#: Bright, well-sampled lenses without light, so that a fit takes no time.
EASY = Population(
    instruments=("euclid-vis",), shapes=(46,), psf_pixels=(1.5, 1.6), lumpiness=(0.0,), correlations=(0.0,),
    arc_sn=(150.0, 200.0), lens_light=0.0, judged=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def shard():
    return fitted_shard(EASY, 3, 0, 8)


def test_same_seed_same_shard(shard):
    again = fitted_shard(EASY, 3, 0, 8)
    assert all(torch.equal(again[key].nan_to_num(), shard[key].nan_to_num()) for key in shard)
    other = fitted_shard(EASY, 4, 0, 8)
    assert not torch.equal(other["significance"], shard["significance"])


def test_what_is_stored_is_what_the_likelihood_says(shard):
    """The mean is a minimum of chi-square: nearby parameters, as far as the root says, cost more by about one."""
    observation, given, *_ = draw_observation(EASY, 3, 0, 8)
    found = fit_coarsely(observation, **given, settings=BLIND)
    half = torch.full((8,), observation.half_width, dtype=torch.float64)
    mean, root = shard["mean"].double()[:, :13], shard["root"].double()[:, :13, :13]
    images = torch.arange(8)
    evaluate = found.objective.evaluator(images)
    lowest = evaluate(in_arcsec(mean, half, given["centre"]), images)[0]
    best = found.costs.min(dim=1).values
    torch.testing.assert_close(lowest, best, rtol=1e-4, atol=0.1)
    good = (shard["gain"] > 100) & (shard["misfit"] < 1.5)
    assert good.sum() >= 4
    for direction in range(13):
        moved = in_arcsec(mean + 0.3 * root[:, :, direction], half, given["centre"])
        rise = evaluate(moved, images)[0] - lowest
        assert (rise[good] > -0.05).all() and rise[good].median() < 0.5


def test_no_truth_is_stored(shard):
    """What is stored follows from the image and its optics: the fit of the same arrays gives the same."""
    observation, given, *_ = draw_observation(EASY, 3, 0, 8)
    again = fit_images(observation, **given)
    assert all(torch.equal(again[key].nan_to_num(), shard[key].nan_to_num()) for key in shard)


def test_bad_fits_do_not_teach(shard):
    bad = {key: values.clone() for key, values in shard.items()}
    bad["misfit"][:] = 50.0
    estimate_network = LensEstimator(**TINY)
    losses = []
    for part in (bad, {**bad, "mean": bad["mean"] + 5}):
        taught = Teaching([part])
        assert not taught.teaches.any()
        views, *rest = taught.batch(torch.arange(8), SYMMETRIES[0], torch.Generator().manual_seed(0))
        losses.append(loss_of(estimate_network(views), views, *rest)[0].item())
    assert losses[0] == losses[1] == 0.0


def test_draws_scatter_as_the_posterior(shard):
    taught = Teaching([shard])
    index = torch.zeros(4000, dtype=torch.long)
    _, t, *_ = taught.batch(index, SYMMETRIES[0], torch.Generator().manual_seed(0))
    covariance = shard["root"][0] @ shard["root"][0].T
    torch.testing.assert_close(t.T.cov(), covariance, rtol=0.2, atol=0.02)


def test_rounds_train_resume_and_repeat(tmp_path, monkeypatch):
    """A run that was stopped after a round ends as one that was not; more workers change nothing."""
    monkeypatch.setattr(estimation, "SHARD", 4)
    recipe = EstimatorRecipe(
        population=EASY, network=TINY, blind=1, led=1, held=1, rounds=3, steps=2, last_steps=2, batch_size=4
    )
    monkeypatch.setattr(estimation, "_make", make_here)
    monkeypatch.setattr(estimation.multiprocessing, "get_context", lambda kind: Here())
    whole = train_estimator(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        stopped = dataclasses.replace(recipe)
        monkeypatch.setattr(estimation, "_round", stop_at(1, estimation._round))
        train_estimator(stopped, tmp_path / "parts")
    monkeypatch.undo()
    monkeypatch.setattr(estimation, "SHARD", 4)
    monkeypatch.setattr(estimation.multiprocessing, "get_context", lambda kind: Here())
    resumed = train_estimator(recipe, tmp_path / "parts", workers=2)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert load_network(tmp_path / "parts" / "best.safetensors").settings == whole.settings
    assert len((tmp_path / "parts" / "training.log").read_text().splitlines()) == 3
    with pytest.raises(InputError, match="folder: must be new, or of a run of the same recipe"):
        train_estimator(dataclasses.replace(recipe, rate=1.0), tmp_path / "parts")


def test_training_goes_on_from_weights(tmp_path, monkeypatch):
    """The network begins as it was, and starts the fits of the first images, too."""
    save_network(LensEstimator(**TINY), tmp_path / "first.safetensors", dtype=torch.float32)
    begun = []
    monkeypatch.setattr(estimation, "SHARD", 4)
    monkeypatch.setattr(estimation, "_make", lambda task: begun.append(task[4]) or make_here(task))
    monkeypatch.setattr(estimation.multiprocessing, "get_context", lambda kind: Here())
    recipe = EstimatorRecipe(
        population=EASY, begin=str(tmp_path / "first.safetensors"), blind=1, led=1, held=1, rounds=1, steps=1,
        last_steps=1, batch_size=4, rate=0.0,
    )  # fmt: skip
    trained = train_estimator(recipe, tmp_path / "run")
    for one, other in zip(trained.parameters(), load_network(tmp_path / "first.safetensors").parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert begun == [recipe.begin] * 2


def test_neighbours_are_shown_that_the_fit_does_not_see():
    """Parameters and evidence are of the masked image, whatever the network is shown of its neighbours."""
    crowded = dataclasses.replace(EASY, shapes=(64,), presets=("group",), masked=1.0)
    masked, shown = fitted_shard(crowded, 5, 1, 6), fitted_shard(dataclasses.replace(crowded, shown=1.0), 5, 1, 6)
    assert all(torch.equal(masked[key], shown[key]) for key in ("mean", "root", "misfit", "gain"))
    assert shown["seen"].all() and not masked["seen"].all()
    assert not torch.equal(masked["significance"], shown["significance"])


def test_wrong_recipes_are_refused(tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text("roundz = 3\n")
    for name, message in (("wrong.toml", "roundz"), ("none.toml", "No such file")):
        with pytest.raises(SystemExit):
            estimation.main([str(tmp_path / name), "--output", str(tmp_path / "run")])
        assert message in capsys.readouterr().err


class Here:
    """A pool of no processes."""

    def Pool(self, workers):  # noqa: N802
        return self

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return False

    def map(self, function, tasks, chunksize=1):
        return [function(task) for task in tasks]

    def map_async(self, function, tasks, chunksize=1):
        done = self.map(function, tasks)
        return type("Done", (), {"get": lambda self: done})()


def make_here(task):
    threads = torch.get_num_threads()
    _make(task)
    torch.set_num_threads(threads)


_make = estimation._make


def stop_at(k, inner):
    def stopping(network, mean, optimiser, taught, recipe, now):
        if now == k:
            raise KeyboardInterrupt
        return inner(network, mean, optimiser, taught, recipe, now)

    return stopping


def test_shipped_recipe_is_read():
    recipe = read_estimator_recipe(FOLDER / "lens-estimator.toml")
    assert recipe.population.shapes and LensEstimator(**recipe.network).settings["components"] >= 2


def test_fine_tuning_learns_from_fits(shard):
    torch.manual_seed(0)
    network = LensEstimator(**TINY)
    history = fine_tune(network, [shard], [shard], epochs=30, batch_size=8, rate=1e-2)
    totals = history.curves.column("validation_total")
    assert history.best == min(totals) < totals[0] - 1.0
    assert history.best_epoch > 1 and history.passes == 240
    # the network has the weights of the best epoch
    assert validate(network, Teaching([shard]))["parameters"] == pytest.approx(history.best)


def test_nothing_to_learn_is_an_error(shard):
    bad = shard | {"gain": torch.zeros(8)}
    with pytest.raises(TrainingError, match="none of the 8 images to train with"):
        fine_tune(LensEstimator(**TINY), [bad], [shard], epochs=1, batch_size=8, rate=1e-3)
