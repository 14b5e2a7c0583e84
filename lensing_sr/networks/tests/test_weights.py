# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the files: what is read is what was written, and a changed file is found."""

import json
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lensing_sr.errors import InputError, LensingSRWarning, OutputError
from lensing_sr.networks import Classifier, DeflectionNetwork, file_sha256, load_network, read_metadata, save_network
from lensing_sr.networks import registry
from lensing_sr.networks.registry import FOLDER, REGISTRY, RegisteredWeights
from lensing_sr.networks.tests.probes import VARIANTS, make, observed


def trained(name):
    """A network whose running statistics are not those it was made with."""
    network = make(name)
    image, settings = observed(4)
    network.train()(image, **settings)
    return network


@pytest.mark.parametrize("name", VARIANTS)
def test_round_trip_is_exact_in_half_precision(name, tmp_path):
    network = trained(name)
    path = tmp_path / "network.safetensors"
    save_network(network, path)
    back = load_network(path)
    assert not back.training
    assert back.settings == network.settings
    for (key, a), b in zip(network.state_dict().items(), back.state_dict().values(), strict=True):
        assert torch.equal(a.half().float() if a.ndim > 1 else a, b), key
    # and from then on it loses nothing
    again = tmp_path / "again.safetensors"
    assert save_network(back, again) == file_sha256(path) == file_sha256(again)
    image, settings = observed()
    found, expected = load_network(again)(image, **settings), back(image, **settings)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_single_precision_keeps_every_bit(tmp_path):
    network = trained("context")
    path = tmp_path / "network.safetensors"
    save_network(network, path, dtype=torch.float32)
    for a, b in zip(network.state_dict().values(), load_network(path).state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_size_is_two_bytes_a_weight(tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(DeflectionNetwork(context=True), path)
    assert path.stat().st_size < 2e6


def test_metadata_comes_back(tmp_path):
    path = tmp_path / "network.safetensors"
    metadata = {"seed": 3, "recipe": "[network]\n", "scores": {"psnr": [30.5, None]}}
    network = make("published")
    save_network(network, path, metadata=metadata)
    found = read_metadata(path)
    assert found["metadata"] == metadata
    assert found["settings"] == network.settings
    assert found["response"] == load_network(path).response() == pytest.approx(network.response(), rel=1e-2)


def test_classifiers_are_stored_too(tmp_path):
    classifier = Classifier(widths=(4, 8), blocks=1).eval()
    path = tmp_path / "classifier.safetensors"
    save_network(classifier, path, dtype=torch.float32)
    image = torch.rand(2, 16, 16)
    assert torch.equal(load_network(path)(image), classifier(image))


def test_checksum_is_compared(tmp_path):
    path = tmp_path / "network.safetensors"
    sha256 = save_network(make("published"), path)
    assert re.fullmatch("[0-9a-f]{64}", sha256)
    load_network(path, sha256=sha256)
    with pytest.raises(InputError, match=r"network: must have the SHA-256 0{12}\.\.\., got .*; the file was changed"):
        load_network(path, sha256="0" * 64)


def test_a_damaged_file_is_found(tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(make("published"), path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # one bit of the last tensor
    path.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256 that it states .* the file is damaged"):
        load_network(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="network: must be a safetensors file"):
        load_network(path)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "network.safetensors"
    network = make("published")
    network.settings = network.settings | {"channels": 16}
    save_network(network, path)
    with pytest.raises(InputError, match="network: must have the weights that its settings ask for"):
        load_network(path)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="must be a file of the format"):
        load_network(path)
    save_file({"weight": torch.zeros(3)}, path, {"lensing_sr": "no JSON"})
    with pytest.raises(InputError, match="must be a file of the format"):
        read_metadata(path)
    torch.save({"weight": torch.zeros(3)}, path)  # a pickle is not even opened
    with pytest.raises(InputError, match="must be a safetensors file"):
        load_network(path)


def test_files_are_safetensors(tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(make("published"), path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    said = json.loads(header["__metadata__"]["lensing_sr"])
    assert set(said) == {"format", "settings", "metadata", "sha256", "response"}
    assert header["trunk.entry.0.weight"]["dtype"] == "F16"
    assert header["trunk.entry.0.bias"]["dtype"] == "F32"


def test_diverged_weights_are_not_stored(tmp_path):
    path = tmp_path / "network.safetensors"
    for value in (float("nan"), 1e6):  # the second is none in half precision
        network = make("published")
        nn.init.constant_(network.trunk.merge.weight, value)
        with pytest.raises(InputError, match="network: must have finite weights"):
            save_network(network, path)
    assert not list(tmp_path.iterdir())


def test_a_dead_network_is_not_stored_silently(tmp_path):
    network = make("published")
    nn.init.zeros_(network.trunk.output.weight)
    with pytest.warns(LensingSRWarning, match="does not look at its image"):
        save_network(network, tmp_path / "dead.safetensors")


def test_nothing_is_left_where_it_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        save_network(make("published"), tmp_path / "missing" / "network.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError):
        save_network(make("published"), tmp_path / "folder.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_an_unknown_name_says_what_there_is_and_how_to_train(monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", {})
    with pytest.raises(InputError, match=r"none, so far.*'residual-cnn-model3'; train one by 'python -m"):
        load_network("residual-cnn-model3")
    monkeypatch.setattr(registry, "REGISTRY", {"rcan-model3": RegisteredWeights("a", "b", "c")})
    with pytest.raises(InputError, match=r"those in the package \(rcan-model3\)"):
        load_network("residual-cnn-model3")
    with pytest.raises(InputError, match="must be an existing file"):
        load_network("elsewhere/network.safetensors")


def test_a_registered_network_is_found_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    network = make("context")
    sha256 = save_network(network, tmp_path / "tiny.safetensors")
    monkeypatch.setitem(REGISTRY, "tiny", RegisteredWeights("tiny.safetensors", sha256, "tiny.toml"))
    assert load_network("tiny").settings == network.settings
    monkeypatch.setitem(REGISTRY, "tiny", RegisteredWeights("tiny.safetensors", "1" * 64, "tiny.toml"))
    with pytest.raises(InputError, match="must have the SHA-256"):
        load_network("tiny")
    monkeypatch.setitem(REGISTRY, "tiny", RegisteredWeights("gone.safetensors", sha256, "tiny.toml"))
    with pytest.raises(InputError, match="must come with its file"):
        load_network("tiny")


def test_packaged_files_and_registry_agree():
    shipped = {path.name for path in FOLDER.glob("*.safetensors")}
    assert shipped == {entry.file for entry in REGISTRY.values()}
    for name, entry in REGISTRY.items():
        network = load_network(name)
        assert network.settings == read_metadata(FOLDER / entry.file)["settings"]
        assert not hasattr(network, "response") or network.response() > 1e-3
        assert (FOLDER / entry.recipe).is_file() and (FOLDER / f"{name}.log").is_file()
    models = [f"residual-cnn-model{model}" for model in (1, 2, 3)]
    assert sum((FOLDER / REGISTRY[name].file).stat().st_size for name in models) <= 6e6


def test_no_pickle_anywhere():
    for path in Path(FOLDER).parent.glob("*.py"):
        text = path.read_text()
        assert not re.search(r"^ *(import|from) (pickle|joblib|dill)|torch\.(load|save)\b", text, re.MULTILINE)
