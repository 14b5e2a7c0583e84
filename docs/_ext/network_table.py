# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The networks of the package as a table of a page, made of what their files say of themselves."""

from lensing_sr.networks.registry import FOLDER, REGISTRY
from lensing_sr.networks.weights import read_metadata

__all__ = ["table"]


def table():
    """One row a network, as reStructuredText."""
    lines = [".. list-table::", "    :header-rows: 1", ""]
    lines += ["    * - Name", "      - Trained as", "      - Passes", "      - ln chi-square", "      - Size"]
    for name, entry in REGISTRY.items():
        path = FOLDER / entry.file
        made = read_metadata(path)["metadata"]
        if "likelihood" not in made:  # the lens estimator predicts no deflection and has a page of its own
            continue
        cells = (made["title"], f"{made['passes']}", f"{made['likelihood']:.2f}", f"{path.stat().st_size / 1e6:.1f} MB")
        lines += [f"    * - ``{name}``", *(f"      - {cell}" for cell in cells)]
    lines += ["", "*Passes* counts images shown, each time anew; *ln chi-square* is the mean logarithm of the reduced"]
    lines += ["chi-square of the re-lensed images over images that never trained."]
    return "\n".join(lines) + "\n"
