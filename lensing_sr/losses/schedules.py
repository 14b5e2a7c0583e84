# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How the weight of a term changes from epoch to epoch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lensing_sr.errors import InputError

__all__ = ["SCHEDULES", "Constant", "CosineDecay", "ExponentialDecay", "LinearDecay", "build_schedule"]


@dataclass(frozen=True)
class Constant:
    """One weight for all epochs.

    Parameters
    ----------
    value : float
        The weight.

    Examples
    --------
    >>> from lensing_sr.losses import Constant
    >>> Constant(0.5)(100)
    0.5
    """

    value: float

    def __call__(self, epoch):
        """Weight at an epoch, counted from 0; fractions of epochs are fine."""
        return float(self.value)


@dataclass(frozen=True)
class LinearDecay:
    r"""A weight that falls (or rises) in a straight line and then stays.

    .. math:: w(t) = w_0 + (w_1 - w_0)\,\mathrm{clip}\!\left(\frac{t - t_0}{T}, 0, 1\right)

    Parameters
    ----------
    start, stop : float
        Weights before and after.
    epochs : float
        T, how long it takes.
    first : float
        :math:`t_0`, the epoch at which it begins.

    Examples
    --------
    >>> from lensing_sr.losses import LinearDecay
    >>> [LinearDecay(1.0, 0.0, epochs=10)(epoch) for epoch in (0, 5, 20)]
    [1.0, 0.5, 0.0]
    """

    start: float
    stop: float
    epochs: float
    first: float = 0.0

    def __call__(self, epoch):
        """Weight at an epoch, counted from 0; fractions of epochs are fine."""
        return self.start + (self.stop - self.start) * _progress(epoch, self.first, self.epochs)


@dataclass(frozen=True)
class ExponentialDecay:
    r"""A weight that halves again and again, down to a floor.

    .. math:: w(t) = \max\left(w_0\, 2^{-\max(0, t - t_0) / h}, w_\mathrm{min}\right)

    Parameters
    ----------
    start : float
        Weight at first.
    half_life : float
        h, epochs in which it halves.
    floor : float
        Weight below which it does not fall.
    first : float
        :math:`t_0`, the epoch at which it begins to fall.

    Examples
    --------
    >>> from lensing_sr.losses import ExponentialDecay
    >>> [ExponentialDecay(0.5, half_life=10)(epoch) for epoch in (0, 10, 20)]
    [0.5, 0.25, 0.125]
    """

    start: float
    half_life: float
    floor: float = 0.0
    first: float = 0.0

    def __call__(self, epoch):
        """Weight at an epoch, counted from 0; fractions of epochs are fine."""
        return max(self.start * 0.5 ** (max(0.0, epoch - self.first) / self.half_life), self.floor)


@dataclass(frozen=True)
class CosineDecay:
    r"""A weight that follows half a cosine and then stays: slowly off, slowly in.

    .. math:: w(t) = w_1 + \tfrac12 (w_0 - w_1)(1 + \cos \pi u), \qquad
              u = \mathrm{clip}\!\left(\frac{t - t_0}{T}, 0, 1\right)

    Parameters
    ----------
    start, stop : float
        Weights before and after.
    epochs : float
        T, how long it takes.
    first : float
        :math:`t_0`, the epoch at which it begins.

    Examples
    --------
    >>> from lensing_sr.losses import CosineDecay
    >>> [round(CosineDecay(1.0, 0.0, epochs=10)(epoch), 3) for epoch in (0, 5, 20)]
    [1.0, 0.5, 0.0]
    """

    start: float
    stop: float
    epochs: float
    first: float = 0.0

    def __call__(self, epoch):
        """Weight at an epoch, counted from 0; fractions of epochs are fine."""
        turn = math.cos(math.pi * _progress(epoch, self.first, self.epochs))
        return self.stop + 0.5 * (self.start - self.stop) * (1.0 + turn)


#: Schedules by the name that a recipe gives them.
SCHEDULES = {"constant": Constant, "linear": LinearDecay, "exponential": ExponentialDecay, "cosine": CosineDecay}


def build_schedule(settings):
    """Make a schedule of what a recipe says.

    Parameters
    ----------
    settings : float, mapping or callable
        A number (a constant weight), ``{"schedule": name, ...}`` with the schedule's own parameters, or a schedule.

    Returns
    -------
    callable
        Epoch to weight.

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no such schedule, or its parameters are others.

    Examples
    --------
    >>> from lensing_sr.losses import build_schedule
    >>> build_schedule({"schedule": "exponential", "start": 0.5, "half_life": 20})
    ExponentialDecay(start=0.5, half_life=20, floor=0.0, first=0.0)
    """
    if callable(settings):
        return settings
    if not isinstance(settings, Mapping):
        return Constant(float(settings))
    settings = dict(settings)
    name = settings.pop("schedule", None)
    if name not in SCHEDULES:
        raise InputError("schedule", f"must be one of {', '.join(SCHEDULES)}", repr(name))
    try:
        return SCHEDULES[name](**settings)
    except TypeError as error:
        raise InputError("schedule", f"{name}: {error}") from None


def _progress(epoch, first, epochs):
    return min(max((epoch - first) / epochs, 0.0), 1.0) if epochs > 0 else float(epoch >= first)
