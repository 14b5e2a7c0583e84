# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""One image on the sky: axes, colours, curves, compass."""

import math

import numpy as np
from astropy import units as u
from astropy.wcs import WCS

from lensing_sr.export.fits_layout import linear_header
from lensing_sr.plotting.scale_bar import scale_bar

__all__ = [
    "CAUSTIC",
    "CRITICAL",
    "color_bar",
    "compass",
    "draw_curves",
    "inside",
    "panel",
    "panel_row",
    "show",
    "window_around",
]

#: Colours of curves.
CAUSTIC, CRITICAL = "#4fd1ff", "#ffffff"
#: Maps of colours that are pale where nothing is.
PALE = ("RdBu_r",)


def window_around(grid, centre, radius):
    """Shown field (xmin, xmax, ymin, ymax) in arcsec."""
    left, right, bottom, top = grid.extent
    if radius is None:
        return left, right, bottom, top
    x, y = (float(u.Quantity(value, u.arcsec).value) for value in centre)
    radius = float(u.Quantity(radius, u.arcsec).value)
    return max(left, x - radius), min(right, x + radius), max(bottom, y - radius), min(top, y + radius)


def _limits(grid, window):
    """Pixel limits (columns, rows) of the box in which a field in arcsec lies."""
    left, right, bottom, top = window
    column, row = grid.to_pixel(np.array([left, right, left, right]), np.array([bottom, bottom, top, top]))
    return (column.min(), column.max()), (row.min(), row.max())


def inside(data, grid, window):
    """Pixels of an image that lie in the shown field."""
    (left, right), (bottom, top) = _limits(grid, window)
    rows, columns = (slice(max(math.floor(a), 0), math.ceil(b) + 1) for a, b in ((bottom, top), (left, right)))
    return data[rows, columns]


def panel(figure, number, name, grid, window, rows=2):
    """Axes in the pixels of a grid, labelled on the sky, or in arcsec where the sky is unknown."""
    celestial = grid.wcs is not None
    wcs = grid.wcs if celestial else WCS(linear_header(grid.matrix, grid.origin))
    axes = figure.add_subplot(rows, 3, number, projection=wcs)
    axes.set_facecolor("0.85")
    for limits, set_limits in zip(_limits(grid, window), (axes.set_xlim, axes.set_ylim)):
        set_limits(*limits)
    axes.set_title(name, fontsize=11)
    names = ("RA", "Dec") if celestial else ("x", "y")
    for index, coordinate in enumerate(axes.coords):
        world = index
        if celestial:
            world = 0 if coordinate.coord_type == "longitude" else 1
        coordinate.set_ticks(number=4)
        coordinate.tick_params(direction="in", color="white", labelsize=8)
        coordinate.set_axislabel(names[world] if celestial else f"{names[world]} [arcsec]", fontsize=9, minpad=0.6)
        # Labels on the outer panels only; the inner ones show the same field.
        outer = number % 3 == 1 if world == 1 else number > 3 * (rows - 1)
        if not outer:
            coordinate.set_ticklabel_visible(False)
            coordinate.set_axislabel("")
        if not celestial:
            coordinate.set_format_unit(u.arcsec)
            coordinate.set_major_formatter("%.1f")
            # "Simplified" labels lose the minus sign.
            coordinate.set_ticklabel(simplify=False)
    return axes


def panel_row(grid, panels):
    """
    A figure with up to three images of one grid side by side, each with its bar of colours and a length.

    Parameters
    ----------
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Of all images.
    panels : sequence of tuple
        (name, image, label of the bar, options of `show`).

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    axes : dict
        Those of each panel by its name.
    """
    from matplotlib.figure import Figure

    figure, drawn = Figure(figsize=(12.6, 3.8)), {}
    figure.subplots_adjust(left=0.075, right=0.92, bottom=0.13, top=0.91, wspace=0.42)
    for number, (name, data, label, style) in enumerate(panels, start=1):
        axes = drawn[name] = panel(figure, number, name, grid, grid.extent, rows=1)
        color_bar(figure, axes, show(axes, data, grid, **style), label)
        scale_bar(axes, grid, grid.extent, color="black" if style["cmap"] in PALE else "white")
    return figure, drawn


def show(axes, data, grid, **style):
    """Draw an image into a panel, its pixels as they are."""
    sx, sy = np.diag(grid.matrix)
    return axes.imshow(data, origin="lower", interpolation="nearest", aspect=sy / sx, **style)


def color_bar(figure, axes, picture, label, **options):
    """Draw the bar of a panel, with its label."""
    # Inset, so that the bar is exactly as tall as the panel whatever its shape.
    bar = figure.colorbar(picture, cax=axes.inset_axes([1.025, 0, 0.045, 1], projection="rectilinear"), **options)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return bar


def draw_curves(axes, curves, grid, color, label):
    """Draw curves given in arcsec, with a legend where there are any."""
    for number, (x, y) in enumerate(curves):
        columns, rows = grid.to_pixel(x, y)
        axes.plot(columns, rows, color=color, lw=1.2, label=label if number == 0 else None, scalex=False, scaley=False)
    if curves:
        colors = {"labelcolor": "white", "facecolor": "black", "edgecolor": "none"}
        axes.legend(loc="upper right", fontsize=8, framealpha=0.35, **colors)


def compass(axes, grid, length=0.11):
    """Arrows to North and East, where the sky is known."""
    if grid.orientation is None:
        return
    origin = np.array([0.86, 0.80])
    arrow = {"arrowstyle": "-|>", "color": "white", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    style = {"color": "white", "fontsize": 9, "ha": "center", "va": "center", "transform": axes.transAxes}
    # (x, y) of North and East: the orientation is orthogonal, so its rows are them.
    for direction, name in ((grid.orientation[1], "N"), (grid.orientation[0], "E")):
        step = length * np.asarray(direction)
        axes.annotate("", origin + step, origin, xycoords="axes fraction", arrowprops=arrow)
        axes.text(*(origin + 1.35 * step), name, **style)
