# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Exceptions and warnings, with when to use each.

Every error that a user can cause is an `InputError` (or one of its kinds).  Its message names the argument, the rule,
the value and the remedy, in that order, so that the console tool can print it as it is::

    noise: needs one positive sigma a pixel, got a map of shape (8, 9) for an image of shape (8, 8); crop both alike
"""

__all__ = [
    "FitError",
    "ImageReadError",
    "InputError",
    "LensingSRError",
    "LensingSRWarning",
    "NoiseError",
    "OutputError",
    "PSFError",
    "PixelScaleError",
]


class LensingSRError(Exception):
    """Base class of every error raised on purpose by this package."""


class InputError(LensingSRError, ValueError):
    """An argument breaks a rule.

    Parameters
    ----------
    argument : str
        Name of the argument, as the user typed it.
    rule : str
        What the argument must be.
    value : object, optional
        What was given instead; anything with a short text.
    remedy : str, optional
        What to do about it.

    Examples
    --------
    >>> from lensing_sr.errors import InputError
    >>> print(InputError("scale", "must be at least 1", 0.5, "use 2 for twice the sampling"))
    scale: must be at least 1, got 0.5; use 2 for twice the sampling
    """

    def __init__(self, argument, rule, value=None, remedy=None):
        self.argument, self.rule, self.value, self.remedy = argument, rule, value, remedy
        text = f"{argument}: {rule}"
        if value is not None:
            text += f", got {value}"
        if remedy is not None:
            text += f"; {remedy}"
        super().__init__(text)


class ImageReadError(InputError):
    """A file, or an extension of it, cannot be read as one two-dimensional image."""


class PixelScaleError(InputError):
    """The size of a pixel on the sky is unknown, ambiguous or cannot be represented."""


class PSFError(InputError):
    """A point-spread function has the wrong shape, sum, sampling or size."""


class NoiseError(InputError):
    """A noise map has the wrong shape, or no good pixel."""


class FitError(LensingSRError, RuntimeError):
    """The data leave nothing to fit (say, every pixel of the cut-out is masked)."""


class OutputError(LensingSRError, OSError):
    """A result cannot be written: it exists, its folder is missing, the disk is full."""


class LensingSRWarning(UserWarning):
    """Something was assumed, repaired or left out; the result stands, and says so in its notes."""
