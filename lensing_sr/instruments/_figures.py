# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figures of an instrument: their units, what each may be, and how a TOML file states them."""

import math
import tomllib

import numpy as np

from lensing_sr.errors import InputError

__all__ = []

PROFILES = "gaussian", "moffat", "none"
#: Unit of each figure, as the files state it; None for those without one.
UNITS = {
    "pixel_scale": "arcsec",
    "psf_fwhm": "arcsec",
    "psf_profile": None,
    "psf_beta": None,
    "zero_point": "mag",
    "exposure_time": "s",
    "exposures": None,
    "sky_brightness": "mag / arcsec2",
    "read_noise": "electron",
    "gain": "electron / adu",
    "background": "electron / s",
    "shape": "pix",
}
REQUIRED = "pixel_scale", "psf_fwhm", "psf_profile", "exposure_time", "exposures", "gain", "shape"
_POSITIVE = "pixel_scale", "exposure_time", "gain"
#: The smallest cut-out in which a lens can be seen, in pixels a side.
_SMALLEST = 16


def read_figures(text, file):
    """Arguments of an instrument, all but its name, from the text of a TOML file; errors name the file.

    Parameters
    ----------
    text : str
        What the file holds.
    file : str
        What to call it.

    Returns
    -------
    dict
        title, sources, approximate, and the value of each figure, whose type and sign are still to be checked.

    Raises
    ------
    lensing_sr.errors.InputError
        If it is no TOML, a key is unknown or missing, a unit is not the one it must be, or a source is not told.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(file, "must be a TOML file", str(error)) from None
    if "title" not in table:
        raise InputError(f"{file}: title", "is missing")
    values, sources, approximate = {"title": table.pop("title")}, {}, set()
    for key, entry in table.items():
        if key not in UNITS:
            raise InputError(f"{file}: {key}", "is not known", None, f"known are title, {', '.join(UNITS)}")
        values[key] = _figure(entry, key, file)
        sources[key] = entry["source"]
        if entry.get("approximate", False):
            approximate.add(key)
    for key in REQUIRED:
        if key not in values:
            raise InputError(f"{file}: {key}", "is missing")
    return {**values, "sources": sources, "approximate": frozenset(approximate)}


def _figure(entry, key, file):
    """The value of one table of a file, whose other keys are checked here."""
    where = f"{file}: {key}"
    if not isinstance(entry, dict):
        raise InputError(where, "must be a table with value and source", repr(entry))
    for inner in entry:
        if inner not in ("value", "unit", "source", "approximate"):
            raise InputError(f"{where}.{inner}", "is not known", None, "known are value, unit, source, approximate")
    for inner in ("value", "source"):
        if inner not in entry:
            raise InputError(f"{where}.{inner}", "is missing")
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise InputError(f"{where}.source", "must say where the figure is from", repr(entry["source"]))
    if not isinstance(entry.get("approximate", False), bool):
        raise InputError(f"{where}.approximate", "must be true or false", repr(entry["approximate"]))
    if entry.get("unit") != UNITS[key]:
        rule = "must be left out" if UNITS[key] is None else f"must be {UNITS[key]!r}"
        raise InputError(f"{where}.unit", rule, repr(entry.get("unit")))
    return entry["value"]


def checked(key, value):
    """A figure of the right type and sign."""
    if value is None and key not in REQUIRED:
        return None
    if key == "psf_profile":
        if value not in PROFILES:
            raise InputError(key, f"must be {' or '.join(map(repr, PROFILES))}", repr(value))
        return value
    if key == "exposures":
        if not _is_whole(value) or value < 1:
            raise InputError(key, "must be a whole number of at least 1", repr(value))
        return int(value)
    if key == "shape":
        good = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_whole, value))
        if not good or min(value) < _SMALLEST:
            raise InputError(key, f"must be two whole numbers of at least {_SMALLEST}", repr(value))
        return tuple(int(side) for side in value)
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise InputError(key, "must be a finite number", repr(value))
    value = float(value)
    if key == "psf_beta" and value <= 1:
        raise InputError(key, "must be above 1: wider wings hold infinite light", f"{value:g}")
    if value < 0 or (key in _POSITIVE and value == 0):
        raise InputError(key, "must be positive" if key in _POSITIVE else "must not be negative", f"{value:g}")
    return value


def _is_whole(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
