# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What may stand in a recipe: every key, its kind, and what goes with what."""

import dataclasses
import inspect

from lensing_sr.errors import InputError
from lensing_sr.losses.schedules import build_schedule
from lensing_sr.losses.total import TERMS
from lensing_sr.networks.deflection_network import NETWORKS, DeflectionNetwork
from lensing_sr.simulation.population import LensPopulation
from lensing_sr.simulation.reference_models import ReferenceSimulator
from lensing_sr.training.schedule import ConstantRate, WarmupCosine

__all__ = ["SCHEDULES", "SIMULATORS", "TABLES", "check_tables", "keywords"]

SIMULATORS = {"reference": ReferenceSimulator, "population": LensPopulation}
SCHEDULES = {"warmup-cosine": WarmupCosine, "constant": ConstantRate}
#: What a simulator is told by others than the recipe.
NOT_OF_A_RECIPE = {"seed", "device", "dtype", "engine"}

WHOLE, NUMBER, TEXT, FLAG, TEXTS, NUMBERS = "a whole number", "a number", "a text", "true or false", "texts", "numbers"
RATE = {"rate": NUMBER, "schedule": TEXT, "warmup": NUMBER, "final": NUMBER}
#: Keys of each table, beside those that come from a network, a simulator or a term.
TABLES = {
    "": {"title": TEXT, "seed": WHOLE, "begin": TEXT},
    "data": {
        "simulator": TEXT, "batch_size": WHOLE, "images": WHOLE, "split": NUMBER, "validation": WHOLE, "augment": FLAG,
    },
    "training": {
        "epochs": WHOLE, "steps": WHOLE, "weight_decay": NUMBER, "clip": NUMBER, "criterion": TEXT, "early_stop": WHOLE,
        "amp": FLAG, "channels_last": FLAG,
    } | RATE,
    "fine_tuning": {"epochs": WHOLE} | RATE,
    "adversary": {"rate": NUMBER, "betas": NUMBERS, "channels": WHOLE, "layers": WHOLE, "hidden": WHOLE, "norm": TEXT},
    "features": {"steps": WHOLE, "batch_size": WHOLE, "rate": NUMBER},
}  # fmt: skip
#: Keys that must be there.
NEEDED = {
    "": ("seed", "network", "data", "loss", "training"), "data": ("simulator", "batch_size"),
    "training": ("epochs", "rate"), "fine_tuning": ("epochs", "rate"), "adversary": ("rate",),
}  # fmt: skip


def check_tables(tables):
    """Raise where a key is unknown, missing or of the wrong kind."""
    parts = ("network", "loss", "monitors", *(table for table in TABLES if table))
    _check_table("", tables, TABLES[""], (*TABLES[""], *parts))
    _check_needed("", tables)
    for table in parts:
        if table in tables and not isinstance(tables[table], dict):
            raise InputError(f"[{table}]", "must be a table", repr(tables[table]))
    _check_table("network", tables["network"], {}, keywords(DeflectionNetwork))
    data = tables["data"]
    _check_needed("data", data)
    if data["simulator"] not in SIMULATORS:
        raise InputError("[data] simulator", f"must be {' or '.join(map(repr, SIMULATORS))}", repr(data["simulator"]))
    own = [key for key in keywords(SIMULATORS[data["simulator"]]) if key not in NOT_OF_A_RECIPE]
    _check_table("data", data, TABLES["data"], (*TABLES["data"], *own))
    if ("images" in data) == ("validation" in data):
        rule = "must say either images, a finite set to be split, or validation, images beside an endless stream"
        raise InputError("[data]", rule, "both" if "images" in data else "neither")
    for table in ("training", "fine_tuning", "adversary", "features"):
        if table in tables:
            _check_needed(table, tables[table])
            _check_table(table, tables[table], TABLES[table])
    for table in ("training", "fine_tuning"):
        schedule = tables.get(table, {}).get("schedule", "constant")
        if schedule not in SCHEDULES:
            raise InputError(f"[{table}] schedule", f"must be {' or '.join(map(repr, SCHEDULES))}", repr(schedule))
    if "validation" in data and "steps" not in tables["training"]:
        raise InputError("[training] steps", "must be given for an endless stream", None, "say how many make an epoch")
    _check_terms(tables)


def _check_terms(tables):
    """The terms of loss and monitors, and the tables that some of them need."""
    loss = tables["loss"]
    if "published" in loss:
        if loss != {"published": True}:
            raise InputError("[loss] published", "must be true, and the only key", repr(loss))
        kind = NETWORKS.get(tables["network"].get("network"))
        needs = {"adversarial": kind is not None and kind.adversarial, "features": kind is not None and kind.features}
        used = {term for term, needed in needs.items() if needed}
    else:
        used = {term.get("term", name) for name, term in loss.items() if isinstance(term, dict)}
    for table in ("loss", "monitors"):
        for name, term in tables.get(table, {}).items():
            if name == "published":
                continue
            if not isinstance(term, dict):
                rule = "must be a table, one a term"
                raise InputError(f"[{table}] {name}", rule, repr(term), f"say [{table}.{name}]")
            kind = term.get("term", name)
            if kind not in TERMS:
                rule = f"must be one of {', '.join(TERMS)}"
                raise InputError(f"[{table}.{name}]", rule, repr(kind), "or say which one with term = ...")
            settings = {one.name for one in dataclasses.fields(TERMS[kind])} - {"discriminators", "extractor"}
            _check_table(f"{table}.{name}", term, {}, ("term", "weight", *sorted(settings)))
            _check_weight(f"[{table}.{name}] weight", term.get("weight", 1.0))
    for term, table in (("adversarial", "adversary"), ("features", "features")):
        if (term in used) != (table in tables):
            raise InputError(f"[{table}]", f"must be there where the loss has the term {term!r}, and only there")


def _check_weight(name, weight):
    """A number, or a schedule whose first value is one."""
    try:
        first = build_schedule(weight)(0)
    except InputError as error:
        raise InputError(name, error.rule, error.value) from None
    except (TypeError, ValueError):
        first = None
    if isinstance(weight, bool) or first is None:
        raise InputError(name, "must be a number, or a table with a schedule and its numbers", repr(weight))


def _check_table(table, values, kinds, known=None):
    """Raise where a key is not known, or its value not of the kind that it must be."""
    known = tuple(kinds if known is None else known)
    for key, value in values.items():
        name = f"[{table}] {key}" if table else key
        if key not in known:
            raise InputError(name, f"is not a known key; known are {', '.join(known)}", repr(value))
        if key in kinds and not _is(kinds[key], value):
            raise InputError(name, f"must be {kinds[key]}", repr(value))


def _check_needed(table, values):
    for key in NEEDED.get(table, ()):
        if key not in values:
            raise InputError(f"[{table}] {key}" if table else key, "must be given")


def _is(kind, value):
    several = {TEXTS: str, NUMBERS: int | float}
    if kind in several:
        return isinstance(value, list) and all(isinstance(one, several[kind]) for one in value)
    if isinstance(value, bool):
        return kind == FLAG
    return isinstance(value, {WHOLE: int, NUMBER: int | float, TEXT: str, FLAG: bool}[kind])


def keywords(make):
    return [name for name in inspect.signature(make).parameters if name != "self"]
