# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Runs on many drawn images that go on where they stopped: recipe, images as shards, log, command."""

import argparse
import dataclasses
import json
import logging
import tomllib
from pathlib import Path

from safetensors.torch import save_file

from lensing_sr.errors import InputError
from lensing_sr.training.bank import Population

__all__ = ["note", "population_recipe", "run_command", "start_run", "write_shard"]

log = logging.getLogger("lensing_sr")


def population_recipe(cls, path, **defaults):
    """Read a recipe of a class from a TOML file whose tables are ``[population]`` and ``[network]``.

    Parameters
    ----------
    cls : type
        Dataclass with a field ``population``.
    path : path-like
        The file.
    **defaults
        Of `Population`, where they are others than its own.
    """
    with open(path, "rb") as file:
        table = tomllib.load(file)
    population = {k: tuple(v) if isinstance(v, list) else v for k, v in table.pop("population", {}).items()}
    return cls(population=Population(**defaults | population), **table)


def start_run(recipe, folder, images):
    """Make the folder of a run and that of its images in it, or find those of a run of the same recipe.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    lensing_sr.errors.InputError
        If the folder holds a run of another recipe.
    """
    folder = Path(folder)
    (folder / images).mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(recipe), indent=1)
    written = folder / "recipe.json"
    if written.exists() and written.read_text(encoding="utf-8") != text:
        raise InputError("folder", "must be new, or of a run of the same recipe", folder, "take another folder")
    written.write_text(text, encoding="utf-8")
    return folder


def write_shard(shard, path):
    """Write the tensors of a shard, at once and as a whole."""
    temporary = path.with_suffix(".part")
    save_file({key: value.contiguous() for key, value in shard.items()}, temporary)
    temporary.replace(path)


def note(folder, text):
    """Say a line, and add it to the log of the run."""
    log.info(text)
    with open(folder / "training.log", "a", encoding="utf-8") as file:
        file.write(text + "\n")


def run_command(name, summary, read, train, arguments=None, *, device=False):
    """The command of a training: a recipe, a folder, processes that make images, and perhaps a device.

    Parameters
    ----------
    name, summary : str
        What it is called, and what it does.
    read, train : callable
        Make the recipe from a file; train by a recipe in a folder.
    arguments : list of str, optional
        Of the command line.
    device : bool
        Whether there is a choice where to learn.

    Returns
    -------
    int
        0; the command ends the program where something is wrong.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=summary)
    parser.add_argument("recipe", metavar="RECIPE", help="TOML file")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="folder of the run")
    parser.add_argument("--workers", type=int, default=1, help="processes that make images (default: 1)")
    if device:
        parser.add_argument("--device", default="cpu", help="where the network learns (default: cpu)")
    options = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path, folder = options.pop("recipe"), options.pop("output")
    try:
        recipe = read(path)
    except (OSError, TypeError, tomllib.TOMLDecodeError) as error:
        parser.error(f"{path}: {error}")
    try:
        train(recipe, folder, **options)
    except InputError as error:
        parser.error(str(error))
    return 0
