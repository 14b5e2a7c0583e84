# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a deflection field."""

import numpy as np

from lensing_sr.plotting.panels import CRITICAL, draw_curves, panel_row
from lensing_sr.plotting.saving import save_figure
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
    size = np.hypot(field.alpha_x, field.alpha_y).to_value("arcsec")
    kappa = shown_convergence(field.convergence)
    panels = (
        ("Deflection", size, r"$|\alpha|$ [arcsec]", {"cmap": "cividis"}),
        ("Convergence", kappa, r"$\kappa$", {"cmap": "viridis", "norm": log_norm(*KAPPA)}),
        ("Magnification", np.abs(field.magnification), r"$|\mu|$", {"cmap": LIGHT, "norm": log_norm(0.5, 50.0)}),
    )
    figure, axes = panel_row(field.grid, panels)
    draw_curves(axes["Convergence"], field.critical_curves(), field.grid, CRITICAL, "critical curve")
    return save_figure(figure, path, overwrite)
