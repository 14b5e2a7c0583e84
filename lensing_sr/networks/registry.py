# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Trained networks that come with the package: name, file, checksum, recipe."""

from pathlib import Path
from typing import NamedTuple

__all__ = ["CHOICES", "FOLDER", "REGISTRY", "RegisteredWeights"]

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
    "lens-estimator": RegisteredWeights(
        "lens-estimator.safetensors",
        "4abc6ca0c690f07d46ab0a75ddf276234aad30cdf0f87d0dae88fffeac52f66e",
        "lens-estimator.toml",
    ),
    "lens-finder": RegisteredWeights(
        "lens-finder.safetensors",
        "d78b9567674d2e801badd994445300015f2ee11a231224556be999dc333213e2",
        "lens-finder.toml",
    ),
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
    "rcan-model3": RegisteredWeights(
        "rcan-model3.safetensors",
        "afede79630d7420fcf37247fa1f1fb9d98ef44557e89b744448c28767240d626",
        "rcan-model3.toml",
    ),
    "srgan-model3": RegisteredWeights(
        "srgan-model3.safetensors",
        "c0a37f83c9ea8f611eb602cff9f954a633bb9b064d42993c62788228a68af6af",
        "srgan-model3.toml",
    ),
    "feature-srgan-model3": RegisteredWeights(
        "feature-srgan-model3.safetensors",
        "b7b6f5ea5ca19b3c4d5dc8c462c029db8ee23359f2605c0cde0d393bd2a704cf",
        "feature-srgan-model3.toml",
    ),
    "residual-cnn-population": RegisteredWeights(
        "residual-cnn-population.safetensors",
        "51546893aab5cd04ddc99d11f399c0a9c3eb72db7742d45ceeda02812deadcf0",
        "residual-cnn-population.toml",
    ),
}

#: Those that a user may choose to explain an image; the finder only judges what others explain.
CHOICES = tuple(name for name in REGISTRY if name != "lens-finder")
