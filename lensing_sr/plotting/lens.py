# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a result.  Takes plain pieces; matplotlib is imported when a figure is drawn."""

import math

import numpy as np
from astropy import units as u
from astropy.visualization import AsinhStretch, ImageNormalize

from lensing_sr.image._units import is_per_area
from lensing_sr.plotting.panels import (
    CAUSTIC,
    CRITICAL,
    color_bar,
    compass,
    draw_curves,
    inside,
    panel,
    show,
    window_around,
)
from lensing_sr.plotting.scale_bar import scale_bar
from lensing_sr.plotting.stretch import (
    KAPPA,
    LIGHT,
    asinh_norm,
    brightness_label,
    log_norm,
    robust_scatter,
    shown_convergence,
)

__all__ = ["lens_figure", "lens_title"]


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
    window = window_around(grid, centre, radius)
    # Surface brightness per arcsec^2: a per-pixel unit is divided by the area of the pixel.
    shown = [
        np.asarray(data, dtype=float) / (1.0 if is_per_area(unit) else where.pixel_area.value)
        for data, where in ((input_image, input_grid), (image, grid), (arcs, grid))
    ]
    noise_level = robust_scatter(shown[0] if mask is None else shown[0][~np.asarray(mask, dtype=bool)])
    stretch = asinh_norm(inside(shown[1], grid, window), noise_level)
    arc_stretch = asinh_norm(inside(shown[2], grid, window), noise_level)
    panels = (
        ("Input", input_grid, stretch),
        ("Super-resolved", grid, stretch),
        ("Arcs (source, lensed)", grid, arc_stretch),
    )
    for number, (name, where, norm) in enumerate(panels, start=1):
        axes = panel(figure, number, name, where, window)
        color_bar(figure, axes, show(axes, shown[number - 1], where, cmap=LIGHT, norm=norm), brightness_label(unit))
        scale_bar(axes, where, window)
        if number == 1:
            compass(axes, where)
    _source_panel(figure, source, source_grid or grid, caustics, window, unit)
    axes = panel(figure, 5, "Convergence", grid, window)
    picture = show(axes, shown_convergence(convergence), grid, cmap="viridis", norm=log_norm(*KAPPA))
    color_bar(figure, axes, picture, r"$\kappa$", extend="both")
    draw_curves(axes, critical_curves, grid, CRITICAL, "critical curve")
    scale_bar(axes, grid, window)
    _residual_panel(figure, residual, noise, mask, input_grid, window)
    figure.suptitle(title, fontsize=13)
    if warning:
        figure.supxlabel(warning, color="crimson", fontsize=11)
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
    axes = panel(figure, 4, "Source", grid, window)
    if source is not None:
        area = 1.0 if is_per_area(unit) else grid.pixel_area.value
        norm = ImageNormalize(vmin=0, vmax=source.max() / area if source.max() > 0 else 1.0, stretch=AsinhStretch(0.1))
        axes.set_facecolor("black")
        color_bar(figure, axes, show(axes, source / area, grid, cmap=LIGHT, norm=norm), brightness_label(unit))
    draw_curves(axes, caustics, grid, CAUSTIC, "caustic")
    scale_bar(axes, grid, window)


def _residual_panel(figure, residual, noise, mask, grid, window):
    label = r"(data $-$ model) / $\sigma$"
    if noise is None:
        noise = robust_scatter(residual)
        label = "(data $-$ model) / scatter"
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(residual, dtype=float) / noise
    ratio = np.where(np.zeros(ratio.shape, dtype=bool) if mask is None else mask, np.nan, ratio)
    axes = panel(figure, 6, "Normalised residual", grid, window)
    picture = show(axes, ratio, grid, cmap="RdBu_r", vmin=-5, vmax=5)
    color_bar(figure, axes, picture, label, extend="both")
    scale_bar(axes, grid, window, color="black")
