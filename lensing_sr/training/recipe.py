# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A training as a text file: network, loss, images and schedule in one TOML, and from it everything that trains.

Tables and keys are those of `Recipe`; whatever is not known is an error that names file, key and rule.
"""

import json
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import torch

from lensing_sr.errors import InputError
from lensing_sr.losses.published import published_loss
from lensing_sr.losses.total import build_loss
from lensing_sr.networks.deflection_network import build_network
from lensing_sr.networks.features import FeatureExtractor
from lensing_sr.networks.srgan import discriminators
from lensing_sr.networks.weights import load_network, save_network
from lensing_sr.training import parallel
from lensing_sr.training._recipe_keys import SCHEDULES, SIMULATORS, TABLES, check_tables, keywords
from lensing_sr.training.adversary import Adversary
from lensing_sr.training.data import SimulatedBatches
from lensing_sr.training.folder import RunFolder
from lensing_sr.training.pretraining import train_classifier
from lensing_sr.training.schedule import FineTuning
from lensing_sr.training.trainer import Trainer

__all__ = ["Recipe", "list_recipes", "read_recipe"]


@dataclass(frozen=True)
class Recipe:
    """What a training consists of, checked.

    Attributes
    ----------
    name : str
        That of the file, without its ending.
    text : str
        The file.
    title : str
        One line on what is trained.
    seed : int
        Of weights, images and order.
    begin : str
        Network whose weights the training begins with (a name in the package, or a file); "" for random ones.
    tables : dict of {str: dict}
        ``network`` (settings of `lensing_sr.networks.build_network`); ``data`` (``simulator`` "reference" or
        "population" and its own settings, of which ``dark_matter`` may be several; ``batch_size``; ``images`` for a
        finite set with its ``split`` and ``augment``, or ``validation``, how many images beside an endless stream);
        ``loss`` (a table a term with ``weight`` and its settings, or ``published = true``); ``monitors`` (more terms,
        measured on the validation images); ``training`` (``epochs``, ``steps``, ``rate``, ``schedule`` "constant" or
        "warmup-cosine" with ``warmup`` and ``final``, ``weight_decay``, ``clip``, ``criterion``, ``early_stop``,
        ``amp``, ``channels_last``); ``fine_tuning`` (``epochs``, ``rate``, ...); ``adversary`` (``rate``, ``betas`` and
        settings of `lensing_sr.networks.Discriminator`); ``features`` (``steps``, ``batch_size``, ``rate`` of the
        classifier).

    Examples
    --------
    >>> from lensing_sr.training import read_recipe
    >>> recipe = read_recipe("residual-cnn-model3")
    >>> recipe.tables["network"]["network"], recipe.tables["data"]["dark_matter"]
    ('residual-cnn', ['no_sub', 'axion', 'cdm'])
    """

    name: str
    text: str = field(repr=False)
    title: str
    seed: int
    begin: str
    tables: dict = field(repr=False)

    def trainer(self, folder=None, *, device="auto", epochs=None, resume=False, progress=None):
        """Make network, images, loss and the trainer of them.

        Parameters
        ----------
        folder : path-like, optional
            Of the run, see `Trainer`.
        device : str or torch.device
            "auto", "cpu", "cuda".
        epochs : int, optional
            Instead of the recipe's.
        resume : bool
            Whether the trainer will go on with the run in the folder: a classifier for features is then read from it.
        progress : bool, optional
            Whether to show progress bars.

        Returns
        -------
        Trainer
            ``trainer.run(resume=resume)`` trains.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if not resume:
            RunFolder(folder).check_free()
        torch.manual_seed(self.seed)
        settings = dict(self.tables["training"])
        with self._named("network"):
            network = build_network(self.tables["network"])
        if self.begin:
            with self._named("begin"):
                _take_weights(network, self.begin)
        with self._named("data"):
            simulators = self._simulators(device)
            train, validation = self._batches(simulators)
        loss, monitors, adversary = self._losses(simulators, validation, folder, device, resume, progress)
        with self._named("training"):
            settings |= {"rate": _schedule(settings), "epochs": epochs or settings["epochs"]}
        for key in ("schedule", "warmup", "final"):
            settings.pop(key, None)
        tuning = self.tables.get("fine_tuning")
        with self._named("fine_tuning"):
            tuning = tuning and FineTuning(tuning["epochs"], _schedule(tuning))
        images = json.dumps(self.tables["data"])
        facts = {"recipe": self.name, "title": self.title, "images": images, "loss": _one_line(loss)}
        facts |= {"begin": self.begin} if self.begin else {}
        with self._named("training"):
            return Trainer(
                network, loss, train, validation, monitors=monitors, fine_tuning=tuning, adversary=adversary,
                seed=self.seed, device=device, folder=folder, progress=progress, facts=facts, **settings,
            )  # fmt: skip

    def _simulators(self, device):
        data = self.tables["data"]
        own = {key: tuple(value) if isinstance(value, list) else value for key, value in self._own("data").items()}
        kinds = own.pop("dark_matter", ("no_sub",))
        make = SIMULATORS[data["simulator"]]
        return [make(dark_matter=kind, device=device, **own) for kind in ([kinds] if isinstance(kinds, str) else kinds)]

    def _batches(self, simulators):
        """Images to train with and images to validate with."""
        data = self.tables["data"]
        batches = SimulatedBatches(simulators, data["batch_size"], self.seed)
        if "images" in data:
            return batches.images(data["images"], augment=data.get("augment", False)).split(data.get("split", 0.8))
        validation = SimulatedBatches(simulators, data["batch_size"], self.seed, purpose="validation")
        return batches, validation.images(data["validation"], shuffle=False)

    def _losses(self, simulators, validation, folder, device, resume, progress):
        """The loss, the monitors, and the adversary if there is one."""
        adversary, extractor = self.tables.get("adversary"), None
        judges = None
        if adversary is not None:
            with self._named("adversary"):
                judges = discriminators(validation.batch(0).shape, **self._own("adversary"))
        if "features" in self.tables:
            with self._named("features"):
                extractor = self._extractor(simulators, folder, device, resume, progress)
        networks = {"discriminators": judges, "extractor": extractor}
        with self._named("loss"):
            if self.tables["loss"].get("published") is True:
                kind, model = self.tables["network"]["network"], self.tables["data"].get("model", 2)
                loss = published_loss(kind, model, **networks)
            else:
                loss = build_loss(self.tables["loss"], **networks)
        with self._named("monitors"):
            monitors = build_loss(self.tables["monitors"], **networks).terms if "monitors" in self.tables else {}
        monitors = {name: term for name, (term, _) in monitors.items()}
        if adversary is not None:
            betas = tuple(adversary.get("betas", (0.5, 0.999)))
            adversary = Adversary(loss.adversary, rate=adversary["rate"], betas=betas)
        return loss, monitors, adversary

    def _extractor(self, simulators, folder, device, resume, progress):
        """Features of a classifier: taught now, or by the run that is resumed."""
        path = None if folder is None else Path(folder) / "features.safetensors"
        if resume and path is not None and path.is_file():
            return FeatureExtractor(load_network(path, device=device))
        classifier, accuracy = train_classifier(
            simulators, seed=self.seed, device=device, progress=progress, **self.tables["features"]
        )
        files = RunFolder(folder, writes=parallel.rank() == 0)
        files.make()
        if path is not None and parallel.rank() == 0:
            # full precision: a resumed run must go on with the very same features
            save_network(classifier, path, dtype=torch.float32, metadata={"accuracy": accuracy, "seed": self.seed})
        files.line(f"classifier for the features: {100 * accuracy:.1f} % right on images that it has not seen")
        return FeatureExtractor(classifier)

    def _own(self, table):
        """Keys of a table that are not ours but of what is made of it."""
        ours = {"rate", "betas"} if table == "adversary" else TABLES[table]
        return {key: value for key, value in self.tables[table].items() if key not in ours}

    @contextmanager
    def _named(self, table):
        """Errors name file and table."""
        with _named(f"{self.name}.toml: {table if table == 'begin' else f'[{table}]'}"):
            yield


@contextmanager
def _named(where):
    try:
        yield
    except InputError as error:
        raise InputError(f"{where} {error.argument}", error.rule, error.value, error.remedy) from None


def list_recipes():
    """Recipes that come with the package.

    Returns
    -------
    dict of {str: pathlib.Path}
        Their files by name.
    """
    folder = Path(str(files("lensing_sr.training"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(name):
    """Read a recipe and check it.

    Parameters
    ----------
    name : str or path-like
        A TOML file, or the name of one of `list_recipes`.

    Returns
    -------
    Recipe

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no such file, it is no TOML, or a key is unknown, missing, or of the wrong kind.

    Examples
    --------
    >>> from lensing_sr.training import read_recipe
    >>> read_recipe("residual-cnn-model3").title
    'Residual CNN for Model 3 (HST)'
    """
    path = list_recipes().get(str(name), Path(name))
    if not path.is_file():
        known = ", ".join(list_recipes())
        raise InputError("recipe", f"must be a TOML file, or one of {known}", repr(str(name)), "there is no such file")
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(path.name, "must be a TOML file", str(error)) from None
    with _named(f"{path.name}:"):
        check_tables(tables)
    title = tables.pop("title", path.stem)
    return Recipe(path.stem, text, title, tables.pop("seed"), tables.pop("begin", ""), tables)


def _take_weights(network, name):
    """Give a network the weights of a trained one, which may have been trained otherwise but must be alike."""
    held = load_network(name)
    own, theirs = ({key: value.shape for key, value in one.state_dict().items()} for one in (network, held))
    if own != theirs:
        differing = min(key for key in own.keys() | theirs.keys() if own.get(key) != theirs.get(key))
        raise InputError("network", f"must have weights that fit [network]; {differing!r} does not", repr(str(name)))
    network.load_state_dict(held.state_dict())


def _schedule(settings):
    """Learning rate of a table."""
    make = SCHEDULES[settings.get("schedule", "constant")]
    return make(**{key: float(settings[key]) for key in keywords(make) if key in settings})


def _one_line(loss):
    return "; ".join(" ".join(line.split()) for line in loss.describe().splitlines())
