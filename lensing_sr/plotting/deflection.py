# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a deflection field."""

import numpy as np

from lensing_sr.plotting.panels import CRITICAL, color_bar, draw_curves, panel, show
from lensing_sr.plotting.saving import save_figure
from lensing_sr.plotting.scale_bar import scale_bar
from lensing_sr.plotting.stretch import KAPPA, LIGHT, log_norm, shown_convergence

__all__ = ["plot_deflection"]


def plot_deflection(field, path=None, overwrite=False):
    """
    Draw a deflection field: its size, the convergence with the critical curves, and the magnification.

    Parameters
    ----------
    field : `~lensing_sr.lensing.deflection.DeflectionField`
        The field.
    path, overwrite : optional
        Where to save it, as in `save_figure`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.8))
    figure.subplots_adjust(left=0.075, right=0.94, bottom=0.13, top=0.91, wspace=0.42)
    size = np.hypot(field.alpha_x, field.alpha_y).to_value("arcsec")
    kappa = shown_convergence(field.convergence)
    panels = (
        ("Deflection", size, r"$|\alpha|$ [arcsec]", {"cmap": "cividis"}),
        ("Convergence", kappa, r"$\kappa$", {"cmap": "viridis", "norm": log_norm(*KAPPA)}),
        ("Magnification", np.abs(field.magnification), r"$|\mu|$", {"cmap": LIGHT, "norm": log_norm(0.5, 50.0)}),
    )
    for number, (name, data, label, style) in enumerate(panels, start=1):
        axes = panel(figure, number, name, field.grid, field.grid.extent, rows=1)
        color_bar(figure, axes, show(axes, data, field.grid, **style), label)
        scale_bar(axes, field.grid, field.grid.extent)
        if name == "Convergence":
            draw_curves(axes, field.critical_curves(), field.grid, CRITICAL, "critical curve")
    if path is not None:
        save_figure(figure, path, overwrite)
    return figure
