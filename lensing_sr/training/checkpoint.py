# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The whole state of a training as one file: a run that goes on from it ends at the very same weights, bit for bit.

Files hold tensors and plain values only and are read as such: nothing in them is ever run.  They are for going on with
a run; weights that are handed on are written by `lensing_sr.networks.weights`.
"""

import random

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.export.atomic import atomic_path

__all__ = ["copied", "load_checkpoint", "random_state", "save_checkpoint", "set_random_state"]

FORMAT = "lensing_sr training 1"


def copied(state):
    """Copy of a state: every tensor is cloned to the CPU, so that later steps cannot change it.

    Parameters
    ----------
    state : object
        Tensors and plain values, in dicts, lists and tuples.

    Returns
    -------
    object
        The same, sharing no memory with the original.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.training.checkpoint import copied
    >>> weights = {"weight": torch.zeros(2)}
    >>> best = copied(weights)
    >>> _ = weights["weight"].add_(1.0)
    >>> best["weight"]
    tensor([0., 0.])
    """
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(copied(value) for value in state)
    return state


def random_state():
    """States of all generators that a training may draw from: torch's (of every device), numpy's, Python's.

    Returns
    -------
    dict
        Tensors and plain values.
    """
    name, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, [int(key) for key in keys], *rest],
        "python": [version, list(numbers), gauss],
    }


def set_random_state(state):
    """Set all generators to a state of `random_state`.

    Parameters
    ----------
    state : dict
        As `random_state` gives it; devices that aren't there are left out.
    """
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, device)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


def save_checkpoint(path, state):
    """Write a state whole or not at all; an older file of that name is replaced.

    Parameters
    ----------
    path : str or path-like
        The file.
    state : dict
        Tensors and plain values.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from lensing_sr.training import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder) / "run.ckpt", {"epoch": 3, "weights": {"w": torch.ones(1)}})
    ...     load_checkpoint(Path(folder) / "run.ckpt")
    {'epoch': 3, 'weights': {'w': tensor([1.])}}
    """
    with atomic_path(path, overwrite=True) as temporary:
        torch.save({"format": FORMAT, "state": state}, temporary)


def load_checkpoint(path):
    """Read a state, its tensors on the CPU.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict
        What `save_checkpoint` was given.

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no such file, or it is not one of these.
    """
    rule = "must be a checkpoint of a training"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError("checkpoint", rule, str(path), "there is no such file: start without resuming") from None
    except Exception as error:  # what a damaged file makes of the reader has no bounds
        raise InputError("checkpoint", rule, str(path), "the file is damaged, or another kind of file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError("checkpoint", rule, str(path), f"its format is not {FORMAT!r}")
    return content["state"]
