# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The folder of a run: checkpoint, best weights, learning curves, and a log in plain lines of text."""

import json
import logging
import platform
import warnings
from pathlib import Path

import numpy as np
import torch

from lensing_sr import __version__
from lensing_sr.errors import InputError, LensingSRWarning, OutputError
from lensing_sr.networks.weights import save_network
from lensing_sr.training.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["RunFolder", "duration", "machine"]

log = logging.getLogger("lensing_sr")


def machine(device):
    """Kind of machine, and nothing that tells whose: "CPU, 2 threads", or the name of the GPU.

    Parameters
    ----------
    device : torch.device or str
        Where the training runs.

    Returns
    -------
    str
    """
    if torch.device(device).type == "cuda":
        return f"CUDA, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def duration(seconds):
    """Time as a person says it.

    Examples
    --------
    >>> from lensing_sr.training.folder import duration
    >>> duration(42.31), duration(130), duration(5432)
    ('42.3 s', '2 min 10 s', '1 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


class RunFolder:
    """Where a run writes; without a folder it writes nothing, and its lines only go to the log of the package.

    Parameters
    ----------
    path : path-like, optional
        The folder.
    writes : bool
        Whether this process writes and talks: one of several does.
    """

    checkpoint_name, weights_name, curves_name, log_name = (
        "checkpoint.pt", "best.safetensors", "curves.csv", "training.log",
    )  # fmt: skip

    def __init__(self, path=None, *, writes=True):
        self.path, self._talks = None if path is None else Path(path), writes
        self._writes = writes and path is not None

    def check_free(self):
        """Raise where the folder holds a training already."""
        if self.path is not None and (self.path / self.checkpoint_name).exists():
            raise OutputError(f"{self.path}: holds a training already; resume it, or choose another folder")

    def make(self):
        """Make the folder."""
        if self._writes:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be made ({error.strerror or error})") from error

    def checkpoint(self):
        """Read the checkpoint."""
        if self.path is None:
            raise InputError("resume", "needs the folder of the interrupted training", None, "give a folder")
        return load_checkpoint(self.path / self.checkpoint_name)

    def write(self, curves, checkpoint):
        """Write learning curves and checkpoint, each whole or not at all."""
        if self._writes:
            curves.write(self.path / self.curves_name)
            save_checkpoint(self.path / self.checkpoint_name, checkpoint)

    def write_weights(self, network, metadata):
        """Write the best weights; gives what there is to warn of, which the log says too."""
        if not self._writes:
            return []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", LensingSRWarning)
            save_network(network, self.path / self.weights_name, metadata=metadata)
        texts = [str(warning.message).replace(f"{self.path}/", "") for warning in caught]
        for text in texts:
            self.line(f"warning: {text}")
        return texts

    def line(self, text):
        """Add a line to the log."""
        if self._talks:
            log.info(text)
        if self._writes:
            with open(self.path / self.log_name, "a", encoding="utf-8") as file:
                file.write(f"{text}\n")

    def begin(self, *, network, device, seed, amp, **facts):
        """Say what begins: facts as given, versions, machine, network."""
        settings = getattr(network, "settings", None)
        facts |= {
            "seed": seed,
            "versions": f"lensing_sr {__version__}, torch {torch.__version__}, numpy {np.__version__}, "
            f"python {platform.python_version()}",
            "machine": machine(device),
            "arithmetic": "bfloat16 in the network, float32 elsewhere" if amp else "float32",
            "network": type(network).__name__ if settings is None else json.dumps(settings),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        }
        for name, value in facts.items():
            self.line(f"{name.replace('_', ' ')}: {value}")
