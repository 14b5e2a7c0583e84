# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""BUNIT as it is found in the wild, to an astropy unit."""

import re
import warnings

from astropy import units as u

from lensing_sr.errors import InputError

__all__ = []

# What observatories write, and what astropy reads.  Upper-case headers ('ELECTRONS/S') would otherwise turn
# seconds into siemens.
_WORDS = {
    r"counts?|cts": "ct",
    r"electrons?|e-": "electron",
    r"adus?": "adu",
    r"dns?": "DN",
    r"photons?": "ph",
    r"nanomagg(?:y|ies)|nmgy": "nmgy",
    r"mjy": "MJy",
    r"njy|nanojanskys?": "nJy",
    r"[uµ]jy|microjanskys?": "uJy",
    r"jy|janskys?": "Jy",
    r"sr|steradians?": "sr",
    r"arcsec(?:onds?)?": "arcsec",
    r"pix(?:els?)?": "pix",
    r"s|sec|seconds?": "s",
    r"ergs?": "erg",
    r"angstroms?": "Angstrom",
}
_NOT_LIGHT = {"time", "angle", "length", "mass", "temperature", "speed", "angular speed", "solid angle", "frequency"}


def parse_unit(text):
    """Unit of an image from its BUNIT.

    Parameters
    ----------
    text : str, `~astropy.units.Unit` or None
        ``'counts/s'``, ``'ELECTRONS/S'``, ``'e-/s'``, ``'MJy/sr'`` ...

    Returns
    -------
    unit : `~astropy.units.UnitBase` or None
        None where it is empty, says "no unit", or cannot be read.
    note : str or None
        Said where it could not be read.

    Raises
    ------
    lensing_sr.errors.InputError
        If it is a magnitude, an angle, a time...: no linear measure of light.

    Examples
    --------
    >>> from lensing_sr.image._units import parse_unit
    >>> [str(parse_unit(text)[0]) for text in ("counts/s", "e-/s", "ELECTRONS/S", "MJy/sr")]
    ['ct / s', 'electron / s', 'electron / s', 'MJy / sr']
    """
    if text is None:
        return None, None
    if isinstance(text, u.UnitBase | u.function.FunctionUnitBase):
        return _linear(text), None
    text = str(text).strip()
    if text.lower() in ("", "none", "unitless", "dimensionless", "unknown", "relative"):
        return None, None
    unit = _read(text)
    if unit is None:
        unit = _read(_translated(text))
    if unit is None:
        return None, f"BUNIT {text!r} is not understood: taken as light per pixel of unknown unit"
    return _linear(unit), None


def _read(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several slashes: "discouraged by the FITS standard"
        for unit_format in (None, "fits"):
            try:
                return u.Unit(text, format=unit_format)
            except (ValueError, TypeError):
                continue
    return None


def _translated(text):
    if text.strip().lower() == "cps":
        return "ct/s"

    def word(match):
        found = match.group(0)
        if found == "mJy":  # milli, where it is written as such; MJY and mjy are mega
            return found
        for pattern, replacement in _WORDS.items():
            if re.fullmatch(pattern, found, re.IGNORECASE):
                return replacement
        return found

    text = re.sub(r"\be(?=\s*/)", "electron", text)
    return re.sub(r"e-(?![\d])|[A-Za-zµ]+", word, text)


def _linear(unit):
    if isinstance(unit, u.function.FunctionUnitBase) or u.dex in unit.decompose().bases:
        raise InputError("unit", "must be linear in light", f"{unit}", "convert magnitudes to flux first")
    if str(unit.physical_type) in _NOT_LIGHT:
        raise InputError(
            "unit", "must measure light", f"{unit} ({unit.physical_type})", "if BUNIT is wrong, give unit='ct / s'"
        )
    return unit


def is_per_area(unit):
    """True where a value is light per solid angle (or per beam), and so does not change with the size of a pixel."""
    if unit is None:
        return False
    powers = {}
    for part, power in zip(*_bases(unit)):
        if part.is_equivalent(u.sr):
            powers["area"] = powers.get("area", 0) + power
        elif part.is_equivalent(u.rad):
            powers["area"] = powers.get("area", 0) + power / 2
        elif part == u.beam:
            powers["beam"] = powers.get("beam", 0) + power
    return any(power < 0 for power in powers.values())


def _bases(unit):
    return unit.bases, unit.powers
