# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Laws of chance as functions of standard normal deviates: :math:`v = F^{-1}(\Phi(z))`, with F the law's distribution.

Correlated deviates then make parameters that go together, each with its own law (a Gaussian copula).  All of them are
monotone, take arrays, and draw nothing twice.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr, ndtri

__all__ = ["LogNormal", "LogUniform", "Pareto", "Quantiles", "Rayleigh", "TruncatedNormal", "Uniform"]

#: Probabilities of the percentiles that published tables give.
PUBLISHED = (0.05, 0.16, 0.50, 0.84, 0.95)

# Largest deviates: beyond them the distribution functions cannot be inverted in float64.
_FARTHEST = 8.0


@dataclass(frozen=True)
class Uniform:
    """Uniform between two values.

    Parameters
    ----------
    low, high : float
        The values.

    Examples
    --------
    >>> from lensing_sr.simulation.laws import Uniform
    >>> float(Uniform(2, 5)(0.0))
    3.5
    """

    low: float
    high: float

    def __call__(self, z):
        return self.low + (self.high - self.low) * ndtr(z)


@dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm between two positive values, `low` and `high`."""

    low: float
    high: float

    def __call__(self, z):
        return self.low * (self.high / self.low) ** ndtr(z)


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal with a mean and a standard deviation, within [low, high]."""

    mean: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf

    def __call__(self, z):
        return self.mean + self.sigma * _truncated(z, (self.low - self.mean) / self.sigma, self._last())

    def _last(self):
        return (self.high - self.mean) / self.sigma


@dataclass(frozen=True)
class LogNormal:
    """Normal in the natural logarithm about a median, within [low, high]; `high` may also be given a value at a time.

    Examples
    --------
    >>> from lensing_sr.simulation.laws import LogNormal
    >>> law = LogNormal(0.12, 0.8)
    >>> [round(float(law(z)), 4) for z in (-1, 0, 1)]
    [0.0539, 0.12, 0.2671]
    >>> bool(law(3.0, high=0.2) < 0.2)
    True
    """

    median: float
    sigma: float
    low: float = 0.0
    high: float = math.inf

    def __call__(self, z, high=None):
        last = np.minimum(self.high, math.inf if high is None else high)
        with np.errstate(divide="ignore"):
            ends = (np.log(np.asarray(end, float) / self.median) / self.sigma for end in (self.low, last))
            return self.median * np.exp(self.sigma * _truncated(z, *ends))


def _truncated(z, low, high):
    """Turn normal deviates into deviates of a normal within [low, high]."""
    # on the side of the smaller tail, where the distribution function keeps its digits
    flip = np.where(np.asarray(low) > 0, -1.0, 1.0)
    first, last = np.where(flip > 0, low, -np.asarray(high)), np.where(flip > 0, high, -np.asarray(low))
    chance = ndtr(first) + (ndtr(last) - ndtr(first)) * ndtr(flip * np.asarray(z, float))
    return flip * np.clip(ndtri(chance), np.maximum(first, -_FARTHEST), np.minimum(last, _FARTHEST))


@dataclass(frozen=True)
class Rayleigh:
    r"""Axis ratio whose :math:`1 - q` is Rayleigh, with q above a least one.

    Parameters
    ----------
    sigma : float
        Mode of 1 - q.
    least : float
        Smallest axis ratio.

    Examples
    --------
    >>> from lensing_sr.simulation.laws import Rayleigh
    >>> round(float(Rayleigh(0.25, 0.3)(0.0)), 2)
    0.71
    """

    sigma: float
    least: float

    def __call__(self, z):
        # more flattened with growing z: F(1 - q) = (1 - exp(-(1 - q)^2 / 2 s^2)) / F_max
        whole = -np.expm1(-0.5 * ((1.0 - self.least) / self.sigma) ** 2)
        return 1.0 - self.sigma * np.sqrt(-2.0 * np.log1p(-ndtr(z) * whole))


@dataclass(frozen=True)
class Pareto:
    """Counts above a threshold, :math:`N(> v) = (v / least)^{-slope}`."""

    least: float
    slope: float

    def __call__(self, z):
        # 1 - Phi(z) = Phi(-z), which keeps its digits
        return self.least * ndtr(-np.minimum(z, _FARTHEST)) ** (-1.0 / self.slope)


@dataclass(frozen=True)
class Quantiles:
    """A law through published percentiles: monotone between them, and going on beyond them as it ended.

    Parameters
    ----------
    values : tuple of float
        The percentiles, growing.
    scale : {"linear", "log", "logit"}
        In what the law is near to a normal: the value, its logarithm (positive values), or the logarithm of v / (1 - v)
        (fractions).
    low, high : float
        No value lies beyond them.
    probabilities : tuple of float
        Where the percentiles are; by default at 5, 16, 50, 84 and 95 %.

    Examples
    --------
    >>> from scipy.special import ndtri
    >>> from lensing_sr.simulation.laws import Quantiles
    >>> law = Quantiles((0.25, 0.37, 0.65, 1.11, 1.51), "log")
    >>> round(float(law(ndtri(0.84))), 6)
    1.11
    """

    values: tuple
    scale: str = "linear"
    low: float = -math.inf
    high: float = math.inf
    probabilities: tuple = PUBLISHED
    _curve: object = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self):
        places = ndtri(np.asarray(self.probabilities, float))
        heights = np.asarray(self.values, float)
        if self.scale == "log":
            heights = np.log(heights)
        elif self.scale == "logit":
            heights = np.log(heights / (1.0 - heights))
        # straight on in the tails, in the direction of the last two percentiles
        ends = np.array([-_FARTHEST - 1.0, _FARTHEST + 1.0])
        slopes = np.array([heights[1] - heights[0], heights[-1] - heights[-2]])
        slopes = slopes / np.array([places[1] - places[0], places[-1] - places[-2]])
        beyond = heights[[0, -1]] + slopes * (ends - places[[0, -1]])
        curve = PchipInterpolator(np.r_[ends[0], places, ends[1]], np.r_[beyond[0], heights, beyond[1]])
        object.__setattr__(self, "_curve", curve)

    def __call__(self, z):
        heights = self._curve(np.clip(z, -_FARTHEST, _FARTHEST))
        if self.scale == "log":
            heights = np.exp(heights)
        elif self.scale == "logit":
            heights = 1.0 / (1.0 + np.exp(-heights))
        return np.clip(heights, self.low, self.high)
