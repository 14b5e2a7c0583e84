# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a training.  Needs numpy and matplotlib only: it is drawn where networks are trained."""

import numpy as np

from lensing_sr.errors import InputError

__all__ = ["learning_figure"]

#: Kinds of curves, and their colours.
_KINDS = {"training_": "C0", "validation_": "C1"}
#: Panels in a row, at most.
_ACROSS = 3


def learning_figure(columns, *, best_epoch=None, title=""):
    """
    Learning curves: a panel for the total and for every term, with its weight where that changes.

    An axis is logarithmic where all values are positive and span more than a factor of ten.  Epochs of fine-tuning lie
    on grey.

    Parameters
    ----------
    columns : mapping of str to sequence
        Columns of a table of learning curves (`lensing_sr.training.LearningCurves`): ``epoch``, ``stage``,
        ``training_...``, ``validation_...``, ``weight_...``, one value an epoch.
    best_epoch : int, optional
        Marked in every panel.
    title : str, optional
        Above the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Unattached to any window; `save_figure` saves it.

    Raises
    ------
    lensing_sr.errors.InputError
        If there is nothing to draw.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(
        name.removeprefix(kind) for name in columns for kind in _KINDS if name.startswith(kind)
    ))  # fmt: skip
    if not names or not len(columns["epoch"]):
        raise InputError("columns", "must hold curves of an epoch at least", sorted(columns), "train first")
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(4.2 * across, 2.9 * down + 0.4), layout="constrained")
    epoch = np.asarray(columns["epoch"])
    tuning = epoch[np.asarray(columns["stage"]) == "fine-tuning"]
    for place, name in enumerate(names):
        axes = figure.add_subplot(down, across, place + 1)
        _draw_term(axes, epoch, name, columns)
        if tuning.size:
            axes.axvspan(tuning[0] - 0.5, tuning[-1] + 0.5, color="0.93", zorder=0)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.3", ls=":", lw=1, label="best")
        if place == 0:
            axes.legend(fontsize="small", frameon=False)
    figure.suptitle(title)
    return figure


def _draw_term(axes, epoch, name, columns):
    """Both curves of a term, and its weight on an axis of its own."""
    from matplotlib.ticker import MaxNLocator

    shown = []
    for kind, color in _KINDS.items():
        if kind + name in columns:
            values = np.asarray(columns[kind + name], dtype=float)
            axes.plot(epoch, values, color=color, marker=".", ms=3, label=kind.rstrip("_"))
            shown.append(values[np.isfinite(values)])
    shown = np.concatenate(shown)
    if shown.size and shown.min() > 0 and shown.max() > 10 * shown.min():
        axes.set_yscale("log")
    weight = np.asarray(columns.get(f"weight_{name}", []), dtype=float)
    known = weight[np.isfinite(weight)]
    if known.size and np.ptp(known) > 0:
        other = axes.twinx()
        other.plot(epoch, weight, color="0.5", ls="--", lw=1)
        other.set_ylabel("weight", color="0.5")
        other.set_ylim(bottom=min(0.0, known.min()))
    axes.set_title(name, fontsize="medium")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
