# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a command line may hold: texts become values here, or errors that say what was expected."""

import argparse
import re

__all__ = []

SMALLEST_SCALE, LARGEST_SCALE = 1.0, 16.0


def scale(text):
    """Number within the range of scales; whole ones as integers."""
    value = number(text)
    if not SMALLEST_SCALE <= value <= LARGEST_SCALE:
        raise argparse.ArgumentTypeError(f"must lie between {SMALLEST_SCALE:g} and {LARGEST_SCALE:g}, got {text}")
    return int(value) if value == int(value) else value


def number(text):
    """Any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def positive(text):
    """Positive, finite number."""
    value = number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def whole(text):
    """Whole number, 0 or more."""
    if not re.fullmatch(r"\d{1,18}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)


def instrument(text):
    """Instrument of this name or file; "list" stays as it is."""
    from lensing_sr.errors import InputError
    from lensing_sr.instruments import load_instrument

    if text == "list":
        return text
    try:
        return load_instrument(text)
    except InputError as error:
        # argparse names the option itself
        raise argparse.ArgumentTypeError(str(error).removeprefix("instrument: ")) from None
