# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The reference protocol as tables of a page, made of the file that ``python -m benchmarks.reference`` wrote."""

import math
from pathlib import Path

import numpy as np
from astropy.table import Table

__all__ = ["cells", "overview", "provenance"]

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "reference.ecsv"
#: scores: heading and format
SCORES = {
    "fair_mse": ("Fair MSE", ".2e"),
    "fair_ssim": ("SSIM", ".4f"),
    "fair_psnr": ("PSNR", ".1f"),
    "clean_psnr": ("Stretched PSNR", ".1f"),
    "noisy_mse": ("As published MSE", ".6f"),
    "noisy_ssim": ("SSIM", ".3f"),
    "noisy_psnr": ("PSNR", ".3f"),
}
#: the order of an overview
GROUPS = ("fit", "network", "control", "interpolation", "published")


def _text(value, form):
    """One number of a table."""
    if np.ma.is_masked(value) or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(float(value), form)


def _name(row):
    """What a row is, in words."""
    method = str(row["method"]).replace("_", " ")
    if row["group"] == "published":
        return f"*published:* {method}"
    return method if np.ma.is_masked(row["image"]) else f"{method}, {row['image']}"


def _list_table(header, rows):
    lines = [".. list-table::", "    :header-rows: 1", ""]
    for first, *others in (header, *rows):
        lines += [f"    * - {first}", *(f"      - {cell}" for cell in others)]
    return "\n".join(lines) + "\n"


def provenance(path=PATH):
    """Which images the tables are of, as a sentence."""
    table = Table.read(path)
    return f"These tables are of {table.meta['images']} (``{table.meta['command']}``).\n"


def overview(score, path=PATH):
    """One score in all cells: a row a method, as reStructuredText; "-modelN" at the end of a name is left out."""
    table = Table.read(path)
    places = list(dict.fromkeys(zip(table["model"].tolist(), table["dark_matter"].tolist(), strict=True)))
    found = {}
    for row in table:
        if row["group"] not in GROUPS or row["image"] == "ceiling" or np.ma.is_masked(row[score]):
            continue
        name = _name(row).replace(f"-model{row['model']}", "")
        found.setdefault((GROUPS.index(row["group"]), name), {})[row["model"], row["dark_matter"]] = row[score]
    header = ["Method", *(f"{model} {dark_matter}" for model, dark_matter in places)]
    rows = []
    for (_, name), values in sorted(found.items(), key=lambda item: item[0][0]):  # keeps the order in a group
        rows.append([name, *(_text(values.get(place, math.nan), SCORES[score][1]) for place in places)])
    return _list_table(header, rows)


def cells(path=PATH):
    """Every score of every cell, a table each under its title, as reStructuredText."""
    table, parts = Table.read(path), []
    places = dict.fromkeys(zip(table["model"].tolist(), table["dark_matter"].tolist(), strict=True))
    header = ["Method", *(title for title, _ in SCORES.values())]
    for model, dark_matter in places:
        chosen = table[(table["model"] == model) & (table["dark_matter"] == dark_matter)]
        count = int(chosen["count"].max())
        parts.append(f".. rubric:: Model {model}, {dark_matter} ({count} images)\n")
        rows = [[_name(row), *(_text(row[key], form) for key, (_, form) in SCORES.items())] for row in chosen]
        parts.append(_list_table(header, rows))
    return "\n".join(parts)
