# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Networks as files: safetensors with the settings that rebuild the network, and checksums.

Nothing here can run code from a file: there is no pickle.
"""

import copy
import hashlib
import json
import os
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lensing_sr.errors import InputError, LensingSRWarning, OutputError
from lensing_sr.networks import registry
from lensing_sr.networks.deflection_network import build_network

__all__ = ["file_sha256", "load_network", "read_metadata", "save_network"]

#: What the files say they are.
FORMAT = "lensing_sr network 1"

#: rms difference of fields in arcsec below which a network is taken not to look at its image.
RESPONSE = 1e-3


def file_sha256(path):
    """SHA-256 of a file, in hexadecimal.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    str
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(tensors):
    """SHA-256 of named tensors: names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_network(network, path, *, dtype=torch.float16, metadata=None):
    """Write a network: weights, settings, and whatever is to be remembered with them.

    Kernels and matrices are stored in `dtype`; vectors (biases, gains, running statistics), of which there are few,
    stay as they are.  An existing file is replaced at once and as a whole.

    Parameters
    ----------
    network : DeflectionNetwork or Classifier
        Has ``settings``.
    path : str or path-like
        The file; its name should end in ".safetensors".
    dtype : torch.dtype
        Half precision by default: 1.8 MB for the residual CNN.
    metadata : mapping, optional
        Anything that JSON can hold: the recipe, seed, scores.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    lensing_sr.errors.InputError
        If a weight is not finite, or not in `dtype`.
    lensing_sr.errors.OutputError
        If the file cannot be written.

    Warns
    -----
    lensing_sr.errors.LensingSRWarning
        If the network gives the same field for every image (`DeflectionNetwork.response`).
    """
    tensors = {}
    for name, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point() and tensor.ndim > 1:
            tensor = tensor.to(dtype)
        if not torch.isfinite(tensor).all():
            raise InputError("network", f"must have finite weights in {dtype}", name, "do not store what has diverged")
        tensors[name] = tensor.contiguous()
    header = {
        "format": FORMAT,
        "settings": network.settings,
        "metadata": dict(metadata or {}),
        "sha256": _digest(tensors),
    }
    if hasattr(network, "response"):
        stored = copy.deepcopy(network)
        stored.load_state_dict(tensors)
        header["response"] = response = stored.response()
        if not response >= RESPONSE:
            text = f"its fields for two lenses and for pure noise differ by {response:.2g} arcsec only"
            warnings.warn(f"{path}: the network does not look at its image: {text}", LensingSRWarning, stacklevel=2)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # one entry: safetensors writes several in any order, and the same network would have any checksum
        temporary.write_bytes(save(tensors, {"lensing_sr": json.dumps(header)}))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error}") from error
    return file_sha256(path)


def _open(path):
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise InputError("network", "must be a safetensors file of this package", path, str(error)) from error


def read_metadata(path):
    """What a file of `save_network` says about itself.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict
        "settings", "metadata" (as given to `save_network`), "sha256" (of the tensors), "format" and, where it was
        measured, "response" in arcsec.

    Raises
    ------
    lensing_sr.errors.InputError
        If it is no such file.
    """
    with _open(path) as file:
        text = (file.metadata() or {}).get("lensing_sr", "null")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError("network", f"must be a file of the format {FORMAT!r}", path, "write it with save_network")
    return found


def load_network(name, *, sha256=None, device="cpu"):
    """Read a network by its name in the package, or from a file.

    Parameters
    ----------
    name : str or path-like
        A name of `lensing_sr.networks.registry.REGISTRY`, or a path (that exists, or ends in ".safetensors").
    sha256 : str, optional
        Checksum that the file must have; by default that of the registry.
    device : str or torch.device
        Where the network shall be.

    Returns
    -------
    DeflectionNetwork or Classifier
        In single precision and in `eval` mode.

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no such network, the checksum differs, or the file is damaged.
    """
    path = Path(name)
    if str(name) in registry.REGISTRY:
        entry = registry.REGISTRY[str(name)]
        path, sha256 = registry.FOLDER / entry.file, sha256 or entry.sha256
    elif not path.is_file():
        if path.suffix == ".safetensors":
            raise InputError("network", "must be an existing file", path)
        names = ", ".join(sorted(registry.REGISTRY)) or "none, so far"
        remedy = "train one by 'python -m lensing_sr.training RECIPE.toml' and give the path of what it writes"
        raise InputError("network", f"must be a path or one of those in the package ({names})", repr(str(name)), remedy)
    if not path.is_file():
        raise InputError("network", "must come with its file", path, "install the package again")
    if sha256 is not None and file_sha256(path) != sha256:
        found = f"{path} with {file_sha256(path)[:12]}..."
        raise InputError("network", f"must have the SHA-256 {sha256[:12]}...", found, "the file was changed")
    header = read_metadata(path)
    with _open(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if _digest(tensors) != header["sha256"]:
        raise InputError("network", "must have the SHA-256 that it states for its weights", path, "the file is damaged")
    network = build_network(header["settings"])
    expected = network.state_dict()
    if {key: value.shape for key, value in expected.items()} != {key: value.shape for key, value in tensors.items()}:
        raise InputError("network", "must have the weights that its settings ask for", path, "train it again")
    network.load_state_dict(tensors)
    return network.to(device).eval()
