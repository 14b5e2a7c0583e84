# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What each constraint of the loss is worth, made of the file that ``python -m benchmarks.ablation`` wrote."""

import math
from pathlib import Path

from astropy.table import Table

__all__ = ["table"]

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "ablation.ecsv"
#: scores: heading and format
SCORES = {
    "no_sub": ("no_sub", ".1f"),
    "axion": ("axion", ".1f"),
    "cdm": ("cdm", ".1f"),
    "full": ("Full fit", ".1f"),
    "alpha": ("Alpha", ".3f"),
    "worth": ("Worth", "+.1f"),
}


def _text(value, form):
    return format(float(value), form) if math.isfinite(value) else "–"


def table(path=PATH):
    """One row a training, as reStructuredText, and how it was made."""
    rows = Table.read(path)
    header = ["Row", "What it changes", *(heading for heading, _ in SCORES.values())]
    lines = [".. list-table::", "    :header-rows: 1", ""]
    lines += [f"    {'*' if k == 0 else ' '} - {text}" for k, text in enumerate(header)]
    for row in rows:
        against = str(row["against"])
        changes = str(row["changes"]) + (f" (against *{against}*)" if against not in ("", "ours") else "")
        cells = [str(row["row"]), changes, *(_text(row[key], form) for key, (_, form) in SCORES.items())]
        lines += [f"    {'*' if k == 0 else ' '} - {text}" for k, text in enumerate(cells)]
    made = rows.meta
    lines += ["", f"Model {made['model']}, {made['passes']} passes a row, {made['count']} fresh images a class."]
    return "\n".join(lines) + "\n"
