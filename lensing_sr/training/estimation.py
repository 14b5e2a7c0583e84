# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Training of the lens estimator: the fit teaches the network, the network starts the fit.

In rounds: images are drawn and fitted (`bank`), at first from a scan alone, then from what the network of the round
before last proposes; the network learns from all of them (`teaching`).

``python -m lensing_sr.training.estimation RECIPE.toml --output FOLDER`` does all of it, and goes on where it stopped.
"""

import copy
import dataclasses
import multiprocessing
import time

import torch
from safetensors.torch import load_file

from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.weights import load_network, save_network
from lensing_sr.training.bank import Population, fitted_shard
from lensing_sr.training.folder import duration, machine
from lensing_sr.training.resumable import note, population_recipe, run_command, start_run, write_shard
from lensing_sr.training.teaching import Teaching, learn, validate

__all__ = ["EstimatorRecipe", "read_estimator_recipe", "train_estimator"]

#: Images a shard.
SHARD = 256
#: Decay of the weights' running mean, which is what is kept.
MEAN = 0.998
#: Steps in which the learning rate rises.
WARMUP = 200


@dataclasses.dataclass(frozen=True)
class EstimatorRecipe:
    """What is trained, on what, for how long.

    Attributes
    ----------
    title : str
        For the reader.
    seed : int
        Of everything.
    population : Population
        The images.
    network : dict
        Settings of `LensEstimator`, where it does not `begin` with another's.
    begin : str
        Name or file of an estimator that this one goes on from; "" for random weights.
    blind, led, held : int
        Shards of the first bank, shards a round after it, shards that only validate.
    rounds : int
        How many, the last with a falling learning rate.
    steps, last_steps : int
        Steps a round, and of the last one.
    batch_size : int
        Images a step.
    rate : float
        Learning rate of Adam.
    """

    title: str = "lens estimator"
    seed: int = 0
    population: Population = Population()
    network: dict = dataclasses.field(default_factory=dict)
    begin: str = ""
    blind: int = 24
    led: int = 8
    held: int = 2
    rounds: int = 10
    steps: int = 500
    last_steps: int = 1500
    batch_size: int = 96
    rate: float = 1e-3


def read_estimator_recipe(path):
    """Read an `EstimatorRecipe` from a TOML file whose tables are ``[population]`` and ``[network]``."""
    return population_recipe(EstimatorRecipe, path)


def _make(task):
    """One shard, in a process of its own; one that is there is kept."""
    population, seed, number, path, weights = task
    if path.exists():
        return
    torch.set_num_threads(1)
    network = None if weights is None else load_network(weights)
    write_shard(fitted_shard(population, seed, number, SHARD, network), path)


def train_estimator(recipe, folder, *, workers=1):
    """Train a `LensEstimator`.

    Parameters
    ----------
    recipe : EstimatorRecipe
        What, on what, how long.
    folder : path-like
        Of bank, weights and log; a run that was stopped goes on from its last complete round.
    workers : int
        Processes that draw and fit images while the network learns.  The result does not depend on it.

    Returns
    -------
    LensEstimator
        With the running mean of the weights; also written as ``best.safetensors``.

    Raises
    ------
    lensing_sr.errors.InputError
        If the folder holds a run of another recipe.
    """
    folder = start_run(recipe, folder, "bank")
    began = time.perf_counter()
    torch.manual_seed(recipe.seed)
    network = load_network(recipe.begin) if recipe.begin else LensEstimator(**recipe.network)
    mean = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=1e-4)
    first = 0
    done = sorted(folder.glob("round-*.pt"))
    if done:
        state = torch.load(done[-1], weights_only=True)
        network.load_state_dict(state["network"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["round"] + 1

    def paths(numbers):
        return [folder / "bank" / f"shard-{number:05d}.safetensors" for number in numbers]

    held, blind = range(recipe.held), range(recipe.held, recipe.held + recipe.blind)

    def order(numbers, weights):
        tasks = zip(numbers, paths(numbers), strict=True)
        return [(recipe.population, recipe.seed, number, path, weights) for number, path in tasks]

    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        pool.map(_make, order([*held, *blind], recipe.begin or None), chunksize=1)
        for j in range(first - 1):  # those of a run that was stopped while they were made
            pool.map(_make, order(_led(recipe, j), folder / f"round-{j:03d}.safetensors"), chunksize=1)
        validation = Teaching([load_file(path) for path in paths(held)])
        shards = {path: load_file(path) for path in paths(blind)}
        for k in range(first, recipe.rounds):
            # what the network of the round before last proposed is ready; that of the last is being fitted meanwhile
            for j in range(k - 1):
                shards |= {path: load_file(path) for path in paths(_led(recipe, j)) if path not in shards}
            pending = None
            if k and k < recipe.rounds - 1:
                weights = folder / f"round-{k - 1:03d}.safetensors"
                pending = pool.map_async(_make, order(_led(recipe, k - 1), weights), chunksize=1)
            taught = Teaching(list(shards.values()))
            scores = _round(network, mean, optimiser, taught, recipe, k)
            scores |= {f"held {key}": value for key, value in validate(mean, validation).items()}
            _keep(folder, k, network, mean, optimiser, recipe.title)
            say = f"round {k + 1} of {recipe.rounds}, {len(taught)} images ({int(taught.teaches.sum())} teach): "
            say += ", ".join(f"{key} {value:.4g}" for key, value in scores.items())
            say += f"; {duration(time.perf_counter() - began)} on {machine('cpu')} and {workers} workers"
            note(folder, say)
            if pending is not None:
                pending.get()
    save_network(mean, folder / "best.safetensors", metadata={"title": recipe.title, "seed": recipe.seed})
    return mean


def _led(recipe, k):
    """Numbers of the shards that the network of round k starts."""
    start = recipe.held + recipe.blind + k * recipe.led
    return range(start, start + recipe.led)


def _round(network, mean, optimiser, taught, recipe, k):
    """Steps of round k; returns the mean losses."""
    generator = torch.Generator().manual_seed(1000 * recipe.seed + k)
    last = k == recipe.rounds - 1
    steps = recipe.last_steps if last else recipe.steps
    totals = torch.zeros(2)
    network.train()
    for step in range(steps):
        rate = recipe.rate * (1.0 - step / steps if last else min(1.0, (k * steps + step + 1) / WARMUP))
        for group in optimiser.param_groups:
            group["lr"] = rate
        index = torch.randint(len(taught), (recipe.batch_size,), generator=generator)
        symmetry = SYMMETRIES[int(torch.randint(8, (1,), generator=generator))]
        losses, finite = learn(network, optimiser, taught, index, symmetry, generator)
        totals += losses
        if finite:
            decay = min(MEAN, 0.9 + 0.1 * (k * recipe.steps + step) / 1000)
            with torch.no_grad():
                for kept, new in zip(mean.parameters(), network.parameters(), strict=True):
                    kept.lerp_(new, 1.0 - decay)
    return {"parameters": float(totals[0] / steps), "evidence": float(totals[1] / steps)}


def _keep(folder, k, network, mean, optimiser, title):
    parts = {"network": network, "mean": mean, "optimiser": optimiser}
    state = {name: part.state_dict() for name, part in parts.items()} | {"round": k}
    torch.save(state, folder / f"round-{k:03d}.part")
    save_network(mean, folder / f"round-{k:03d}.safetensors", metadata={"title": title, "round": k})
    (folder / f"round-{k:03d}.part").replace(folder / f"round-{k:03d}.pt")


def main(arguments=None):
    """The command."""
    summary = __doc__.split("\n")[0]
    return run_command(
        "lensing_sr.training.estimation", summary, read_estimator_recipe, train_estimator, arguments
    )


if __name__ == "__main__":
    raise SystemExit(main())
