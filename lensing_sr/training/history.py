# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Where a training stands, and what it did."""

import dataclasses
import math
from dataclasses import dataclass, field

from lensing_sr.errors import LensingSRError
from lensing_sr.training.checkpoint import copied
from lensing_sr.training.curves import LearningCurves

__all__ = ["History", "RunState", "TrainingError"]

MAIN, TUNING = "main", "fine-tuning"


class TrainingError(LensingSRError, RuntimeError):
    """A training cannot go on: the loss or the validation is not finite, again and again."""


@dataclass(frozen=True)
class History:
    """What a training did.

    Attributes
    ----------
    curves : LearningCurves
        Every epoch.
    best_epoch : int
        The epoch, from 1, whose network did best on the validation images; the network has its weights.
    best : float
        Its value of the criterion.
    evaluation : dict of {str: float}
        Total, terms and monitors of that network on the validation images.
    passes, skipped : int
        Images seen, each pass of an image counted; steps left out since their loss was not finite.
    seconds : float
        Time taken, that of interrupted runs included.
    stopped : str
        "end", or "early" where the validation had stopped improving.
    """

    curves: LearningCurves
    best_epoch: int
    best: float
    evaluation: dict
    passes: int
    skipped: int
    seconds: float
    stopped: str

    def plot(self, path=None, *, title="", overwrite=False):
        """Draw the curves, the best epoch marked; see `LearningCurves.plot`."""
        return self.curves.plot(path, best_epoch=self.best_epoch, title=title, overwrite=overwrite)


@dataclass
class RunState:
    """Where a training stands after an epoch: plain values, for the checkpoint.

    Attributes
    ----------
    stage : str
        "main" or "fine-tuning".
    stage_epoch, since_best : int
        Epochs of the stage so far, and those since the last that was best.
    loss_epoch : int
        Epoch, from 0, whose loss weights count.
    step, passes, skipped, in_a_row : int
        Steps so far, images seen, steps left out, and how many of these were the last ones.
    seconds : float
        Time taken.
    stopped : str
        Why the last stage ended.
    best : dict or None
        "weights" (a copy), "value", "epoch" and "loss_epoch" of the best network so far.
    curves : LearningCurves
        Every epoch.
    """

    stage: str = MAIN
    stage_epoch: int = 0
    since_best: int = 0
    loss_epoch: int = 0
    step: int = 0
    passes: int = 0
    skipped: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    stopped: str = "end"
    best: dict | None = None
    curves: LearningCurves = field(default_factory=LearningCurves)

    def keep_if_best(self, value, network):
        """Copy the weights of a network if it does better than all before; says whether it does."""
        better = math.isfinite(value) and (self.best is None or value < self.best["value"])
        self.since_best = 0 if better else self.since_best + 1
        if better:
            weights = copied(network.state_dict())
            self.best = {"weights": weights, "value": value, "epoch": len(self.curves), "loss_epoch": self.loss_epoch}
        return better

    def begin_tuning(self):
        """Enter the last stage: the loss weights are those of the best epoch from here on."""
        self.stage, self.stage_epoch, self.since_best = TUNING, 0, 0
        self.loss_epoch = self.best["loss_epoch"]

    def plain(self):
        """The state as a dict of tensors and plain values."""
        names = [one.name for one in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names} | {"curves": self.curves.rows}

    @classmethod
    def from_plain(cls, values):
        """The state that `plain` gave."""
        return cls(**values | {"curves": LearningCurves(values["curves"])})
