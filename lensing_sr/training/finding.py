# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Training of the lens finder: simulated lenses, and simulated galaxies that only look like lenses.

The network learns by the logistic loss which of two simulations an image was drawn from,

.. math:: L = \ln(1 + e^{-\ln B}) \;\mathrm{(lenses)}, \qquad L = \ln(1 + e^{\ln B}) \;\mathrm{(others)},

whose minimum is ln of the ratio of the two likelihoods, with everything else that was drawn integrated out.  No
parameter of a lens, no real image and nobody's eye enters.

``python -m lensing_sr.training.finding RECIPE.toml --output FOLDER`` does all of it, and goes on where it stopped.
"""

import copy
import dataclasses
import math
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from lensing_sr.networks.lens_finder import LensFinder
from lensing_sr.networks.symmetry import SYMMETRIES, laid_down
from lensing_sr.networks.views import Views, make_views
from lensing_sr.networks.weights import load_network, save_network
from lensing_sr.training.bank import BATCH, Population, draw_observation
from lensing_sr.training.folder import duration, machine
from lensing_sr.training.resumable import note, population_recipe, run_command, start_run, write_shard

__all__ = ["FinderRecipe", "drawn_shard", "read_finder_recipe", "train_finder"]

#: Images a shard.
SHARD = 512
#: Smallest part of a field's side that is shown.
CROPPED = 0.6
#: Share of images with dead pixels, how many of the pixels are, at least and at most, and the side of what is masked.
DEAD, DEAD_PIXELS, DEAD_SIDE = 0.3, (1e-4, 5e-3), 3
#: Decay of the weights' running mean, which is what is kept; longest gradient; steps in which the rate rises, and
#: between two entries of the log.
MEAN, CLIP, WARMUP, PART = 0.998, 2.0, 200, 200


@dataclasses.dataclass(frozen=True)
class FinderRecipe:
    """What is trained, on what, for how long.

    Attributes
    ----------
    title : str
        For the reader.
    seed : int
        Of everything.
    population : Population
        The images; half of them are no lenses.
    network : dict
        Settings of `LensFinder`.
    begin : str
        Name or file of a network whose trunk this one begins with; "" for random weights.
    shards, held : int
        How many shards teach, and how many only validate.
    steps : int
        How many, with a rate that falls to zero.
    batch_size : int
        Images a step.
    rate : float
        Learning rate of Adam.
    """

    title: str = "lens finder"
    seed: int = 0
    population: Population = Population(judged=1.0, masked=0.3)
    network: dict = dataclasses.field(default_factory=dict)
    begin: str = ""
    shards: int = 200
    held: int = 4
    steps: int = 4000
    batch_size: int = 96
    rate: float = 5e-4


def read_finder_recipe(path):
    """Read a `FinderRecipe` from a TOML file whose tables are ``[population]`` and ``[network]``."""
    return population_recipe(FinderRecipe, path, judged=1.0)


@torch.no_grad()
def drawn_shard(population, seed, shard, count):
    """Draw lenses and galaxies that are none, as the finder sees them.

    Parameters
    ----------
    population : Population
        Of what; a part of each field is shown, at least `CROPPED` of it.
    seed, shard : int
        Which.
    count : int
        How many images.

    Returns
    -------
    dict of torch.Tensor
        ``significance``, ``bare`` (float16), ``seen`` (uint8), ``conditions``, as in `Views`; ``is_lens`` (uint8).
    """
    parts = []
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        # shards of the estimator have small numbers: none is seen by both
        drawn, given, _, is_lens = draw_observation(population, seed, 10**6 + shard, size, first)
        side = drawn.data.shape[1]
        rng = np.random.default_rng([seed, shard, first, 1])
        kept = round(side * (CROPPED + (1.0 - CROPPED) * rng.random()))
        low = (side - kept) // 2
        window = slice(low, low + kept)
        alive = _alive(drawn.data.shape, rng)
        views = make_views(
            (drawn.data * alive)[:, window, window], (drawn.weight * alive)[:, window, window], drawn.matrix,
            (0.5 * (side - 1) - low,) * 2,
            given["centre"], psf_fwhm=given["psf_fwhm"], correlation=given["correlation"],
            lens_light=given["lens_light"],
        )  # fmt: skip
        half = {"significance": views.significance, "bare": views.bare}
        part = {key: values.clamp(-6e4, 6e4).half() for key, values in half.items()}
        part |= {"seen": views.seen.byte(), "conditions": views.conditions, "is_lens": is_lens.byte()}
        parts.append(part)
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _alive(shape, rng):
    """1 where a pixel can be used, else 0: some images have dead spots, from one pixel to `DEAD_SIDE` a side."""
    count = shape[0]
    rate = np.exp(rng.uniform(*np.log(DEAD_PIXELS), count)) * (rng.random(count) < DEAD)
    dead = torch.from_numpy((rng.random(shape) < rate[:, None, None]).astype(np.float32))
    spots = torch.nn.functional.max_pool2d(dead, DEAD_SIDE, 1, DEAD_SIDE // 2)
    wide = torch.from_numpy(rng.random(count) < 0.5)[:, None, None]
    return 1.0 - torch.where(wide, spots, dead)


def _make(task):
    """One shard, in a process of its own; one that is there is kept."""
    population, seed, number, path = task
    if path.exists():
        return
    torch.set_num_threads(1)
    write_shard(drawn_shard(population, seed, number, SHARD), path)


def train_finder(recipe, folder, *, workers=1, device="cpu"):
    """Train a `LensFinder`.

    Parameters
    ----------
    recipe : FinderRecipe
        What, on what, how long.
    folder : path-like
        Of images, weights and log; a run that was stopped goes on from its last entry in the log.
    workers : int
        Processes that draw images.  The result does not depend on it.
    device : str or torch.device
        Where the network learns.

    Returns
    -------
    LensFinder
        With the running mean of the weights; also written as ``best.safetensors``.

    Raises
    ------
    lensing_sr.errors.InputError
        If the folder holds a run of another recipe.
    """
    folder = start_run(recipe, folder, "images")
    began = time.perf_counter()
    paths = [folder / "images" / f"shard-{number:05d}.safetensors" for number in range(recipe.held + recipe.shards)]
    tasks = [(recipe.population, recipe.seed, number, path) for number, path in enumerate(paths)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_make, tasks, chunksize=1)
    held, taught = (_joined(part) for part in (paths[: recipe.held], paths[recipe.held :]))
    torch.manual_seed(recipe.seed)
    network = LensFinder(**recipe.network)
    if recipe.begin:
        begin = load_network(recipe.begin).state_dict()
        network.load_state_dict({key: value for key, value in begin.items() if not key.startswith("answer")}, False)
    network.to(device).train()
    mean = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=1e-3)
    parts = {"network": network, "mean": mean, "optimiser": optimiser}
    first, state = 0, folder / "state.pt"
    if state.exists():
        kept = torch.load(state, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(kept[name])
        first = kept["step"]
    total = 0.0
    for step in range(first, recipe.steps):
        rate = recipe.rate * min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        total += _step(network, optimiser, taught, recipe, step, device)
        decay = min(MEAN, 0.9 + 0.1 * step / 1000)
        with torch.no_grad():
            for slow, new in zip(mean.parameters(), network.parameters(), strict=True):
                slow.lerp_(new, 1.0 - decay)
        if (step + 1) % PART == 0 or step + 1 == recipe.steps:
            scores = {"loss": total / ((step - first) % PART + 1)} | validate(mean, held, device)
            first, total = step + 1, 0.0
            torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step + 1}, f"{state}.part")
            Path(f"{state}.part").replace(state)
            say = f"step {step + 1} of {recipe.steps}, {len(taught['is_lens'])} images: "
            say += ", ".join(f"{key} {value:.4f}" for key, value in scores.items())
            say += f"; {duration(time.perf_counter() - began)} on {machine(device)}"
            note(folder, say)
    save_network(mean, folder / "best.safetensors", metadata={"title": recipe.title, "seed": recipe.seed})
    return mean


def _joined(paths):
    shards = [load_file(path) for path in paths]
    return {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}


def _views(bank, index, symmetry, device):
    part = {key: values[index].to(device) for key, values in bank.items()}
    maps = (laid_down(part[key].float(), symmetry) for key in ("significance", "seen", "bare"))
    return Views(*maps, part["conditions"], None, None), part["is_lens"].float()


def _step(network, optimiser, bank, recipe, step, device):
    """One step; returns its loss."""
    generator = torch.Generator().manual_seed(recipe.seed * 10**6 + step)
    index = torch.randint(len(bank["is_lens"]), (recipe.batch_size,), generator=generator)
    symmetry = SYMMETRIES[int(torch.randint(8, (1,), generator=generator))]
    views, is_lens = _views(bank, index, symmetry, device)
    with torch.autocast(views.significance.device.type, torch.bfloat16):
        found = network(views)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(found, is_lens)
    optimiser.zero_grad()
    loss.backward()
    if torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP).isfinite():
        optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def validate(network, held, device="cpu"):
    """Logistic loss on images that do not teach, and how often a lens is found more probable than another galaxy."""
    found, is_lens = [], held["is_lens"].bool()
    for index in torch.arange(len(is_lens)).split(256):
        views, _ = _views(held, index, SYMMETRIES[0], device)
        found.append(network(views).cpu())
    found = torch.cat(found)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(found, is_lens.float())
    area = (found[is_lens][:, None] > found[~is_lens]).double().mean()
    return {"held loss": float(loss), "held area": float(area)}


def main(arguments=None):
    """The command."""
    summary = __doc__.split("\n")[0]
    return run_command(
        "lensing_sr.training.finding", summary, read_finder_recipe, train_finder, arguments, device=True
    )


if __name__ == "__main__":
    raise SystemExit(main())
