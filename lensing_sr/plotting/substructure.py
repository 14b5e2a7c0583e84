# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of mass that a smooth lens lacks."""

import numpy as np

from lensing_sr.errors import InputError
from lensing_sr.plotting.panels import panel_row
from lensing_sr.plotting.saving import save_figure
from lensing_sr.plotting.stretch import LIGHT, brightness_label

__all__ = ["substructure_figure"]

#: Significance and convergence at which the colours end, at least.
SIGNIFICANCE, CONVERGENCE = 5.0, 0.01


def substructure_figure(result, path=None, overwrite=False):
    """
    Draw what a result has besides its smooth lens: arcs, correction of the convergence, and its significance.

    Circles mark the point masses.

    Parameters
    ----------
    result : `~lensing_sr.result.SuperResolution`
        With a ``significance``.
    path, overwrite : optional
        Where to save it, as in `save_figure`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    lensing_sr.errors.InputError
        If the lens of the result is smooth.
    """
    if result.significance is None:
        raise InputError("result", "must have a correction or point masses", None, "the evidence asked for none")
    grid = result.grid
    columns, rows = grid.to_pixel(*(np.asarray(result.perturbers[name], dtype=float) for name in ("x", "y")))
    arcs, kappa, sigma = (image.data for image in (result.arcs, result.convergence_correction, result.significance))
    panels = [
        ("Lensed source", arcs, brightness_label(result.arcs.unit), {"cmap": LIGHT, "vmin": 0, "vmax": arcs.max()}),
        ("Convergence beside the smooth lens", kappa, r"$\delta\kappa$", _diverging(kappa, CONVERGENCE)),
        ("Significance", sigma, r"$\sigma$", _diverging(sigma, SIGNIFICANCE)),
    ]
    figure, drawn = panel_row(grid, panels)
    for axes in drawn.values():
        axes.scatter(columns, rows, s=60, facecolors="none", edgecolors="tab:green", linewidths=0.9)
    return save_figure(figure, path, overwrite)


def _diverging(data, least):
    limit = max(np.nanmax(np.abs(data)), least)
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
