# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a command line may hold: texts become values here, or errors that say what was expected."""

import argparse

from lensing_sr.utils._console import number

__all__ = []

SMALLEST_SCALE, LARGEST_SCALE = 1.0, 16.0


def scale(text):
    """Number within the range of scales; whole ones as integers."""
    value = number(text)
    if not SMALLEST_SCALE <= value <= LARGEST_SCALE:
        raise argparse.ArgumentTypeError(f"must lie between {SMALLEST_SCALE:g} and {LARGEST_SCALE:g}, got {text}")
    return int(value) if value == int(value) else value


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
