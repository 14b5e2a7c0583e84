# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How fast a network learns, step by step, and how it is fine-tuned at the end."""

import math
from dataclasses import dataclass

from lensing_sr.errors import InputError

__all__ = ["ConstantRate", "FineTuning", "WarmupCosine", "as_rate"]


@dataclass(frozen=True)
class ConstantRate:
    """The same learning rate in every step, as published.

    Parameters
    ----------
    rate : float
        Learning rate.

    Examples
    --------
    >>> from lensing_sr.training import ConstantRate
    >>> ConstantRate(1e-5)(7, 100)
    1e-05
    """

    rate: float

    def __post_init__(self):
        _check_positive(rate=self.rate)

    def __call__(self, step, steps):
        """Rate of a step, from 0, of so many."""
        return self.rate


@dataclass(frozen=True)
class WarmupCosine:
    r"""A learning rate that rises in a straight line, then falls along a cosine.

    .. math:: \eta_k = \eta \frac{k + 1}{w}\ (k < w), \qquad
              \eta_k = \eta \left[f + \frac{1 - f}{2}\left(1 + \cos \pi \frac{k - w}{n - w}\right)\right]\ (k \ge w)

    The first steps of Adam, whose averages know little yet, are kept small; the last ones settle.

    Parameters
    ----------
    rate : float
        :math:`\eta`, the highest rate.
    warmup : float
        Share of the steps in which the rate rises, w / n, from 0 to 1.
    final : float
        f, the last rate over the highest, from 0 to 1.

    References
    ----------
    Loshchilov and Hutter 2017, ICLR (arXiv:1608.03983).

    Examples
    --------
    >>> from lensing_sr.training import WarmupCosine
    >>> rate = WarmupCosine(1e-3, warmup=0.1, final=0.0)
    >>> [round(rate(step, 100), 6) for step in (0, 9, 10, 55, 99)]
    [0.0001, 0.001, 0.001, 0.0005, 0.0]
    """

    rate: float
    warmup: float = 0.05
    final: float = 0.01

    def __post_init__(self):
        _check_positive(rate=self.rate)
        for name, value in (("warmup", self.warmup), ("final", self.final)):
            if not 0 <= value <= 1:
                raise InputError(name, "must lie between 0 and 1", value)

    def __call__(self, step, steps):
        """Rate of a step, from 0, of so many."""
        warm = round(self.warmup * steps)
        if step < warm:
            return self.rate * (step + 1) / warm
        turn = (step - warm) / max(steps - warm, 1)
        return self.rate * (self.final + 0.5 * (1.0 - self.final) * (1.0 + math.cos(math.pi * turn)))


@dataclass(frozen=True)
class FineTuning:
    """The last stage: from the best epoch on, its loss weights frozen, at a lower rate.

    While the weights of a loss decay, each epoch tries other ones.  The epoch whose network does best on the validation
    images, by a criterion that no decaying weight enters, tells which were right.  From that network the training goes
    on with these.

    Parameters
    ----------
    epochs : int
        How many.
    rate : float, `ConstantRate` or `WarmupCosine`
        Learning rate of this stage.
    """

    epochs: int
    rate: object

    def __post_init__(self):
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 1:
            raise InputError("epochs", "must be a whole number of at least 1", repr(self.epochs))
        object.__setattr__(self, "rate", as_rate(self.rate))


def as_rate(rate):
    """Schedule of a rate: a number is a constant one; anything called with (step, steps) stays as it is."""
    return rate if callable(rate) else ConstantRate(rate)


def _check_positive(**numbers):
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InputError(name, "must be positive and finite", repr(value))
