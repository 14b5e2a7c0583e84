# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Trained networks that come with the package: name, file, checksum, recipe."""

from pathlib import Path
from typing import NamedTuple

__all__ = ["FOLDER", "REGISTRY", "RegisteredWeights"]

#: Where the files are.
FOLDER = Path(__file__).parent / "weights"


class RegisteredWeights(NamedTuple):
    """A trained network of the package.

    Attributes
    ----------
    file : str
        Name of its safetensors file in `FOLDER`.
    sha256 : str
        Checksum of that file.
    recipe : str
        Name of the TOML file in `FOLDER` from which it was trained (``python -m lensing_sr.training``).
    """

    file: str
    sha256: str
    recipe: str


#: The networks by name, as in "residual-cnn-model3".
REGISTRY = {
    "residual-cnn-model1": RegisteredWeights(
        "residual-cnn-model1.safetensors",
        "02d333715c94adb276037c00b89095cc38a3e1a977d4adfd57e95af9559cf07f",
        "residual-cnn-model1.toml",
    ),
    "residual-cnn-model2": RegisteredWeights(
        "residual-cnn-model2.safetensors",
        "a181767fc1db2af98eed160fd66e68e0de4bc1ea1a80dee74fd369e1d72d7378",
        "residual-cnn-model2.toml",
    ),
    "residual-cnn-model3": RegisteredWeights(
        "residual-cnn-model3.safetensors",
        "210602b63020e1e944645a7d9b12c61ac24ac93ceb6b451871c5cfc2f920dc66",
        "residual-cnn-model3.toml",
    ),
}
