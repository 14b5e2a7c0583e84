# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The networks of a resolver: where they come from, what they are called, and which weights they have."""

import functools
import os
from pathlib import Path

import torch

from lensing_sr.errors import InputError
from lensing_sr.networks.deflection_network import DeflectionNetwork
from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.registry import FOLDER, REGISTRY
from lensing_sr.networks.weights import file_sha256, load_network, save_network

__all__ = ["ChosenNetwork", "lens_finder"]

#: The network that tells lenses from look-alikes.
FINDER = "lens-finder"


@functools.cache
def lens_finder(device):
    """The package's `~lensing_sr.networks.LensFinder` on a device, loaded once; nobody changes it."""
    return load_network(FINDER, device=device).to(memory_format=torch.channels_last)


class ChosenNetwork:
    """A network by its name in the package, from a file, or as it is.

    Parameters
    ----------
    network : str, path, DeflectionNetwork or LensEstimator
        What a user gave.

    Attributes
    ----------
    module : DeflectionNetwork or LensEstimator
        The network.
    name : str
        That of the package, else the file's without its ending, else "unnamed".
    sha256 : str
        Checksum of its file; "" for weights that are in no file.

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no such network, or it predicts neither deflection nor lens.
    """

    def __init__(self, network):
        self._metadata = {}
        if isinstance(network, DeflectionNetwork | LensEstimator):
            self.module, self.name, self.sha256 = network, "unnamed", ""
            return
        if not isinstance(network, str | os.PathLike):
            rule = "must be a name, a file of weights, a DeflectionNetwork or a LensEstimator"
            raise InputError("network", rule, type(network).__name__)
        self.module = load_network(network)
        if not isinstance(self.module, DeflectionNetwork | LensEstimator):
            rule = "must predict a deflection, or lens and source"
            raise InputError("network", rule, f"{network}, a {type(self.module).__name__}")
        known = REGISTRY.get(str(network))
        self.name = str(network) if known else Path(network).stem
        self.sha256 = file_sha256(FOLDER / known.file if known else network)

    @property
    def estimates(self):
        """Whether it estimates lens and source; otherwise it predicts a deflection field."""
        return isinstance(self.module, LensEstimator)

    def on(self, device):
        """The network on a device, ready to predict."""
        # channels last: a third less time on processors
        self.module = self.module.to(device=device, memory_format=torch.channels_last)
        return self.module.eval()

    def trained(self, history):
        """Note that the weights are in no file any more, and how they came about."""
        self.sha256 = ""
        self._metadata = {"passes": history.passes, "epoch": history.best_epoch, "evaluation": history.evaluation}

    def save(self, path):
        """Write the weights; from now on these are called after the file."""
        self.sha256 = save_network(self.module, path, metadata=self._metadata)
        self.name = Path(path).stem
