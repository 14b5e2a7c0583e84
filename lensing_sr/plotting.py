# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a result.  Takes plain pieces; matplotlib is imported when a figure is drawn."""

import math

import numpy as np
from astropy import units as u
from astropy.visualization import AsinhStretch, ImageNormalize
from astropy.wcs import WCS

from lensing_sr.export.atomic import atomic_path
from lensing_sr.export.fits_layout import linear_header
from lensing_sr.image._units import is_per_area

__all__ = ["lens_figure", "lens_title", "nice_length", "plot_deflection", "save_figure"]

_LIGHT = "magma"
_CAUSTIC, _CRITICAL = "#4fd1ff", "#ffffff"
# Fraction of the sigma of the sky below which the stretch is linear, and the percentile at which it ends.
_SOFTENING, _BRIGHTEST = 2.0, 99.85
# Shown convergence.  A power law has no limits of its own: about a sixth and ten times its value on the critical curve.
_KAPPA = 0.08, 5.0


def nice_length(length):
    """
    The largest of 1, 2, 5 times a power of ten that is not longer.

    Parameters
    ----------
    length : float
        Any positive length.

    Examples
    --------
    >>> from lensing_sr.plotting import nice_length
    >>> nice_length(0.73), nice_length(2.4)
    (0.5, 2.0)
    """
    power = 10.0 ** math.floor(math.log10(length))
    # A hair is added, since 0.5 / 0.1 is just below 5.
    return max(step for step in (1.0, 2.0, 5.0) if step <= length / power * (1 + 1e-9)) * power


def lens_figure(
    *,
    input_image,
    image,
    arcs,
    convergence,
    residual,
    input_grid,
    grid,
    source=None,
    source_grid=None,
    noise=None,
    mask=None,
    critical_curves=(),
    caustics=(),
    centre=(0.0, 0.0),
    radius=None,
    unit=None,
    title="",
    warning="",
):
    """
    Six panels: input, super-resolved, arcs; source with caustic, convergence with critical curve, residual.

    Light is shown as surface brightness, so that the panels compare at any sampling; the input and the super-resolved
    image share one stretch.

    Parameters
    ----------
    input_image, residual : array of shape (ny, nx)
        On the input grid, sky removed.
    image, arcs, convergence : array of shape (ny', nx')
        On the output grid.
    input_grid, grid : `~lensing_sr.geometry.grid.PixelGrid`
        Input and output grid, in one arcsec frame.
    source : array, optional
        The source plane; without it the panel shows the caustics alone.
    source_grid : `~lensing_sr.geometry.grid.PixelGrid`, optional
        Of ``source``, in the same frame.
    noise : array of shape (ny, nx), optional
        Sigma on the input grid; without it the residual is divided by its own robust scatter, and the panel says so.
    mask : array of bool of shape (ny, nx), optional
        True where a pixel of the input was ignored.
    critical_curves, caustics : iterable of (x, y)
        Curves in arcsec or Quantities.
    centre : tuple of float
        Centre of the shown field in arcsec.
    radius : float, optional
        Half its width in arcsec; by default the whole field is shown.
    unit : `~astropy.units.UnitBase`, optional
        Of the images, for the colour bars; a unit without a solid angle counts as per pixel.
    title, warning : str, optional
        Above the figure; the warning in red.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Unattached to any window; `save_figure` saves it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 7.8))
    # Fixed margins: layout engines misjudge the labels of celestial axes.
    figure.subplots_adjust(left=0.075, right=0.94, bottom=0.085, top=0.895, wspace=0.42, hspace=0.24)
    window = _window(grid, centre, radius)
    # Surface brightness per arcsec^2: a per-pixel unit is divided by the area of the pixel.
    shown = [
        np.asarray(data, dtype=float) / (1.0 if is_per_area(unit) else where.pixel_area.value)
        for data, where in ((input_image, input_grid), (image, grid), (arcs, grid))
    ]
    noise_level = _scatter(shown[0] if mask is None else shown[0][~np.asarray(mask, dtype=bool)])
    stretch = _asinh(_inside(shown[1], grid, window), noise_level)
    arc_stretch = _asinh(_inside(shown[2], grid, window), noise_level)
    panels = (
        ("Input", input_grid, stretch),
        ("Super-resolved", grid, stretch),
        ("Arcs (source, lensed)", grid, arc_stretch),
    )
    for number, (name, where, norm) in enumerate(panels, start=1):
        axes = _panel(figure, number, name, where, window)
        _bar(figure, axes, _show(axes, shown[number - 1], where, cmap=_LIGHT, norm=norm), _brightness_label(unit))
        _scale_bar(axes, where, window)
        if number == 1:
            _compass(axes, where)
    _source_panel(figure, source, source_grid or grid, caustics, window, unit)
    axes = _panel(figure, 5, "Convergence", grid, window)
    picture = _show(axes, _kappa(convergence), grid, cmap="viridis", norm=_log_norm(*_KAPPA))
    _bar(figure, axes, picture, r"$\kappa$", extend="both")
    _curves(axes, critical_curves, grid, _CRITICAL, "critical curve")
    _scale_bar(axes, grid, window)
    _residual_panel(figure, residual, noise, mask, input_grid, window)
    figure.suptitle(title, fontsize=13)
    if warning:
        figure.supxlabel(warning, color="crimson", fontsize=11)
    return figure


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
    panels = (
        ("Deflection", size, r"$|\alpha|$ [arcsec]", {"cmap": "cividis"}),
        ("Convergence", _kappa(field.convergence), r"$\kappa$", {"cmap": "viridis", "norm": _log_norm(*_KAPPA)}),
        ("Magnification", np.abs(field.magnification), r"$|\mu|$", {"cmap": _LIGHT, "norm": _log_norm(0.5, 50.0)}),
    )
    for number, (name, data, label, style) in enumerate(panels, start=1):
        axes = _panel(figure, number, name, field.grid, field.grid.extent, rows=1)
        _bar(figure, axes, _show(axes, data, field.grid, **style), label)
        _scale_bar(axes, field.grid, field.grid.extent)
        if name == "Convergence":
            _curves(axes, field.critical_curves(), field.grid, _CRITICAL, "critical curve")
    if path is not None:
        save_figure(figure, path, overwrite)
    return figure


def lens_title(name, theta_E, error, chi2, scale, flags=()):
    """
    One line above the figure of a lens, its formulas in TeX.

    Parameters
    ----------
    name : str or None
        Of the image.
    theta_E, error : float
        Einstein radius and its standard deviation in arcsec; NaN where unknown.
    chi2 : float
        Reduced chi-square; NaN where unknown.
    scale : float
        Input pixels over output pixels.
    flags : sequence of str, optional
        Reasons not to trust the result.
    """
    spread = rf" \pm {error:.3f}" if math.isfinite(error) else ""
    parts = [rf"$\theta_\mathrm{{E}} = {theta_E:.3f}{spread}$ arcsec"]
    if math.isfinite(chi2):
        parts.append(rf"$\chi^2_\nu = {chi2:.2f}$")
    parts.append(rf"{scale:g}$\times$ finer")
    if not flags:
        parts.append("no flags")
    # A dollar sign in a file name would begin a formula.
    name = str(name or "").replace("$", r"\$")
    return (f"{name}:  " if name else "") + ",  ".join(parts)


def save_figure(figure, path, overwrite=False):
    """
    Save a figure whole or not at all; the format follows the suffix.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        As `lens_figure` draws it.
    path, overwrite
        As in `lensing_sr.export.atomic.atomic_path`, which says what is raised.
    """
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, dpi=150)


def _brightness_label(unit):
    if unit is None or u.Unit(unit) == u.dimensionless_unscaled:
        return r"flux arcsec$^{-2}$"
    text = u.Unit(unit).to_string("latex_inline")
    return text if is_per_area(unit) else text + r" arcsec$^{-2}$"


def _scatter(data):
    """Robust standard deviation of the blank part, from below the median where no object adds light."""
    data = data[np.isfinite(data)]
    if data.size == 0:
        return 1.0
    median = np.median(data)
    below = median - data[data < median]
    return float(1.4826 * np.median(below)) if below.size and np.median(below) > 0 else float(np.ptp(data) or 1.0) / 100


def _asinh(data, noise_level):
    data = data[np.isfinite(data)]
    low = -2.0 * noise_level
    high = max(np.percentile(data, _BRIGHTEST) if data.size else 1.0, low + 5 * noise_level)
    return ImageNormalize(vmin=low, vmax=high, stretch=AsinhStretch(min(_SOFTENING * noise_level / (high - low), 1.0)))


def _kappa(convergence):
    """Nothing that a logarithm cannot take."""
    return np.clip(convergence, 1e-3, None)


def _log_norm(low, high):
    from matplotlib.colors import LogNorm

    return LogNorm(low, high)


def _window(grid, centre, radius):
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


def _inside(data, grid, window):
    (left, right), (bottom, top) = _limits(grid, window)
    rows, columns = (slice(max(math.floor(a), 0), math.ceil(b) + 1) for a, b in ((bottom, top), (left, right)))
    return data[rows, columns]


def _panel(figure, number, name, grid, window, rows=2):
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


def _show(axes, data, grid, **style):
    sx, sy = np.diag(grid.matrix)
    return axes.imshow(data, origin="lower", interpolation="nearest", aspect=sy / sx, **style)


def _bar(figure, axes, picture, label, **options):
    # Inset, so that the bar is exactly as tall as the panel whatever its shape.
    bar = figure.colorbar(picture, cax=axes.inset_axes([1.025, 0, 0.045, 1], projection="rectilinear"), **options)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return bar


def _curves(axes, curves, grid, color, label):
    for number, (x, y) in enumerate(curves):
        columns, rows = grid.to_pixel(x, y)
        axes.plot(columns, rows, color=color, lw=1.2, label=label if number == 0 else None, scalex=False, scaley=False)
    if curves:
        colors = {"labelcolor": "white", "facecolor": "black", "edgecolor": "none"}
        axes.legend(loc="upper right", fontsize=8, framealpha=0.35, **colors)


def _scale_bar(axes, grid, window, color="white"):
    """A length in arcsec along the columns, in the lower left corner."""
    left, right, bottom, top = window
    length = nice_length(0.3 * (right - left))
    start = left + 0.06 * (right - left), bottom + 0.06 * (top - bottom)
    columns, rows = grid.to_pixel(np.array([start[0], start[0] + length]), np.array([start[1], start[1]]))
    axes.plot(columns, rows, color=color, lw=2, solid_capstyle="butt", scalex=False, scaley=False)
    middle = columns.mean(), rows.mean()
    style = {"color": color, "ha": "center", "fontsize": 9}
    axes.annotate(f'{length:g}"', middle, (0, 4), textcoords="offset points", **style)


def _compass(axes, grid, length=0.11):
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


def _source_panel(figure, source, grid, caustics, window, unit):
    """The source plane, around the source and the caustics."""
    source = None if source is None else np.nan_to_num(source)
    points = [np.stack([u.Quantity(value, u.arcsec).value for value in curve]) for curve in caustics]
    if source is not None:
        x, y = grid.coordinates()
        bright = source > max(0.1 * source.max(), 0.0)
        points.append(np.stack([x[bright], y[bright]]))
    points = np.concatenate([*points, np.empty((2, 0))], axis=1)
    points = points[:, np.isfinite(points).all(axis=0)]
    if points.size:
        low, high = points.min(axis=1), points.max(axis=1)
        middle, half = (low + high) / 2, 0.62 * max((high - low).max(), 4 * grid.pixel_scale.value)
        window = (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half)
    axes = _panel(figure, 4, "Source", grid, window)
    if source is not None:
        area = 1.0 if is_per_area(unit) else grid.pixel_area.value
        norm = ImageNormalize(vmin=0, vmax=source.max() / area if source.max() > 0 else 1.0, stretch=AsinhStretch(0.1))
        axes.set_facecolor("black")
        _bar(figure, axes, _show(axes, source / area, grid, cmap=_LIGHT, norm=norm), _brightness_label(unit))
    _curves(axes, caustics, grid, _CAUSTIC, "caustic")
    _scale_bar(axes, grid, window)


def _residual_panel(figure, residual, noise, mask, grid, window):
    label = r"(data $-$ model) / $\sigma$"
    if noise is None:
        noise = _scatter(residual)
        label = "(data $-$ model) / scatter"
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(residual, dtype=float) / noise
    ratio = np.where(np.zeros(ratio.shape, dtype=bool) if mask is None else mask, np.nan, ratio)
    axes = _panel(figure, 6, "Normalised residual", grid, window)
    picture = _show(axes, ratio, grid, cmap="RdBu_r", vmin=-5, vmax=5)
    _bar(figure, axes, picture, label, extend="both")
    _scale_bar(axes, grid, window, color="black")
