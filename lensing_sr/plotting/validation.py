# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a validation: what was withheld, what was given, and two accounts of it."""

import numpy as np

from lensing_sr.image._units import is_per_area
from lensing_sr.plotting.panels import color_bar, compass, inside, panel, show, window_around
from lensing_sr.plotting.scale_bar import scale_bar
from lensing_sr.plotting.stretch import LIGHT, asinh_norm, brightness_label

__all__ = ["validation_figure"]

# Shown field: half its width in Einstein radii, and at least so many coarse pixels.
_FIELD, _SMALLEST = 2.2, 10


def validation_figure(images, best, title=""):
    """
    Six panels: withheld, given, super-resolved; best interpolation, and the residuals of both in sigma.

    Light is shown as surface brightness in one stretch; a line bounds the scored pixels.

    Parameters
    ----------
    images : `~lensing_sr.validation.WithheldImages`
        The images.
    best : str
        Name of the interpolation.
    title : str, optional
        Above the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Unattached to any window; `save_figure` saves it.
    """
    from matplotlib.figure import Figure

    grid, coarse_grid = images.grid, images.coarse_grid
    figure = Figure(figsize=(12.6, 7.8))
    figure.subplots_adjust(left=0.075, right=0.94, bottom=0.085, top=0.895, wspace=0.42, hspace=0.24)
    radius = max(_FIELD * images.radius, _SMALLEST * float(coarse_grid.pixel_scale.value))
    window = window_around(grid, images.centre, radius)
    # the frame of the coarse grid has its zero point at that grid's own centre
    coarse_window = window_around(coarse_grid, _on(coarse_grid, grid, images.centre), radius)

    factor = images.data.shape[0] / images.coarse.shape[0]
    area = is_per_area(images.unit)
    sky, coarse_sky = images.sky, images.sky * (1.0 if area else factor**2)
    pixel, coarse_pixel = (1.0 if area else g.pixel_area.value for g in (grid, coarse_grid))
    withheld = np.where(np.isfinite(images.data), images.data, np.nan)
    light = (
        ("Withheld", grid, (withheld - sky) / pixel),
        ("Given", coarse_grid, (images.coarse - coarse_sky) / coarse_pixel),
        ("Super-resolved", grid, (images.super_resolved - sky) / pixel),
        (f"Interpolated ({best.replace('_', ' ')})", grid, (images.interpolated - sky) / pixel),
    )
    level = float(np.median(images.sigma[np.isfinite(images.sigma)])) / pixel
    stretch = asinh_norm(inside(light[0][2], grid, window), level)
    for number, (name, where, data) in enumerate(light, start=1):
        shown = coarse_window if where is coarse_grid else window
        axes = panel(figure, number, name, where, shown)
        color_bar(figure, axes, show(axes, data, where, cmap=LIGHT, norm=stretch), brightness_label(images.unit))
        scale_bar(axes, where, shown)
        if number == 1:
            compass(axes, grid)
            _edge(axes, images.where, "white")
    for number, (name, guess) in enumerate(
        (("Residual, super-resolved", images.super_resolved), ("Residual, interpolated", images.interpolated)), start=5
    ):
        axes = panel(figure, number, name, grid, window)
        ratio = (withheld - guess) / np.where(np.isfinite(images.sigma), images.sigma, np.nan)
        picture = show(axes, ratio, grid, cmap="RdBu_r", vmin=-5, vmax=5)
        color_bar(figure, axes, picture, r"(withheld $-$ image) / $\sigma$", extend="both")
        scale_bar(axes, grid, window, color="black")
        _edge(axes, images.where, "black")
    figure.suptitle(title, fontsize=12)
    return figure


def _on(grid, other, position):
    """A position of another grid's frame in the frame of this one, which is coarser and shares its first edge."""
    column, row = other.to_pixel(*position)
    factor = float(grid.pixel_scale.value / other.pixel_scale.value)
    x, y = grid.to_arcsec((column + 0.5) / factor - 0.5, (row + 0.5) / factor - 0.5)
    return x.value, y.value


def _edge(axes, where, color):
    """The line about the scored pixels."""
    if where.any():
        axes.contour(where.astype(float), levels=[0.5], colors=color, linewidths=0.5, alpha=0.8)
