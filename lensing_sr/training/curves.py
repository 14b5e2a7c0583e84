# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Learning curves: what every term of the loss did, epoch by epoch, as a table."""

import csv
import math
from pathlib import Path

from lensing_sr.errors import InputError
from lensing_sr.export.atomic import atomic_path
from lensing_sr.utils._repr import make_repr

__all__ = ["LearningCurves"]


class LearningCurves:
    """A table with one row an epoch.

    Columns: ``epoch`` (from 1), ``stage`` ("main" or "fine-tuning"), ``passes`` (images seen since the beginning),
    ``rate`` (of the epoch's last step), ``skipped`` (steps left out since their loss was not finite), then
    ``training_...`` and ``validation_...`` of the total and of every term, and ``weight_...`` of every term.

    Parameters
    ----------
    rows : sequence of dict
        The epochs so far.

    Examples
    --------
    >>> from lensing_sr.training import LearningCurves
    >>> curves = LearningCurves()
    >>> curves.append({"epoch": 1, "stage": "main", "training_total": 0.5, "validation_total": 0.6})
    >>> curves.append({"epoch": 2, "stage": "main", "training_total": 0.3, "validation_total": 0.4})
    >>> curves.column("validation_total"), curves.terms
    ([0.6, 0.4], ('total',))
    """

    def __init__(self, rows=()):
        self.rows = [dict(row) for row in rows]

    def __len__(self):
        return len(self.rows)

    def __repr__(self):
        return make_repr(self, {"epochs": len(self), "terms": self.terms})

    @property
    def columns(self):
        """Names of the columns, in order; a column may begin late."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def terms(self):
        """What there are curves of: the total, the terms, and what only the validation measures."""
        kinds = ("training_", "validation_")
        return tuple(dict.fromkeys(
            name.removeprefix(kind) for name in self.columns for kind in kinds if name.startswith(kind)
        ))  # fmt: skip

    def append(self, row):
        """Add an epoch, a dict of numbers and texts."""
        self.rows.append(dict(row))

    def column(self, name):
        """Values of one column, one an epoch; nan where an epoch has none.

        Parameters
        ----------
        name : str
            One of `columns`.

        Returns
        -------
        list
        """
        if name not in self.columns:
            raise InputError("name", f"must be one of {', '.join(self.columns) or 'no columns'}", repr(name))
        return [row.get(name, math.nan) for row in self.rows]

    def best(self, name):
        """The epoch in which a column was lowest, a dict of all its columns: which weights did best, for one.

        Parameters
        ----------
        name : str
            One of `columns`.

        Returns
        -------
        dict or None
            None where no value is finite.
        """
        known = [(value, row) for value, row in zip(self.column(name), self.rows, strict=True) if math.isfinite(value)]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    def plot(self, path=None, *, best_epoch=None, title="", overwrite=False):
        """Draw the curves: a panel for the total and for every term, with its weight where that changes.

        Parameters
        ----------
        path : str or path-like, optional
            Where to save the figure; its format follows the suffix.
        best_epoch : int, optional
            Marked in every panel.
        title : str, optional
            Above the figure.
        overwrite : bool
            Whether an existing file may be replaced.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`

        Raises
        ------
        lensing_sr.errors.InputError
            If there is no epoch yet.
        lensing_sr.errors.OutputError
            If the file exists already, or can't be written.
        """
        from lensing_sr.plotting import learning_figure, save_figure

        columns = {name: self.column(name) for name in self.columns}
        figure = learning_figure(columns, best_epoch=best_epoch, title=title)
        if path is not None:
            save_figure(figure, path, overwrite)
        return figure

    def write(self, path):
        """Write the table as CSV, whole or not at all; an older one is replaced.

        Numbers are written so that reading gives the very same ones.

        Parameters
        ----------
        path : str or path-like
            The file.
        """
        with atomic_path(path, overwrite=True) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows([_text(row.get(name, "")) for name in self.columns] for row in self.rows)

    @classmethod
    def read(cls, path):
        """Read what `write` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        LearningCurves
        """
        path = Path(path)
        if not path.is_file():
            raise InputError("path", "must be a table of learning curves", path.name, "there is no such file")
        with open(path, newline="", encoding="utf-8") as file:
            return cls({name: _value(text) for name, text in row.items() if text} for row in csv.DictReader(file))


def _text(value):
    return repr(value) if isinstance(value, float) else str(value)


def _value(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
