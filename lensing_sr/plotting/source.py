# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The figure of a pixel source."""

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize

from lensing_sr.errors import FitError
from lensing_sr.plotting.panels import panel_row
from lensing_sr.plotting.saving import save_figure
from lensing_sr.plotting.stretch import LIGHT, brightness_label

__all__ = ["plot_source"]

#: Significance at which the brightest colour begins, at least, in sigma.
SIGNIFICANCE = 10.0


def plot_source(source, path=None, overwrite=False):
    """
    Draw a pixel source: its brightness, what it has beyond the nearest Sersic profile, and its significance.

    The second panel is left out where no Sersic profile can be fitted, the third where there are no errors.

    Parameters
    ----------
    source : `~lensing_sr.light.pixel_source.PixelSource`
        The source.
    path, overwrite : optional
        Where to save it, as in `save_figure`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    grid, light, label = source.grid, source.brightness.value, brightness_label(source.brightness.unit)
    brightest = max(light.max(), np.finfo(float).tiny)
    stretch = ImageNormalize(vmin=0, vmax=brightest, stretch=AsinhStretch(0.1))
    panels = [("Source", light, label, {"cmap": LIGHT, "norm": stretch})]
    try:
        smooth = source.sersic.evaluate(*grid.coordinates()).to_value(source.brightness.unit)
    except FitError:
        pass
    else:
        beyond = light - smooth
        # the cusp of a profile would hide everything else
        limit = max(np.percentile(np.abs(beyond), 99.5), np.finfo(float).tiny)
        panels.append(("Beyond the nearest Sersic", beyond, label, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}))
    if source.error is not None:
        known = source.significance[np.isfinite(source.significance)]
        sigma = ImageNormalize(vmin=0, vmax=max(SIGNIFICANCE, known.max(initial=0.0)), stretch=AsinhStretch(0.1))
        panels.append(("Significance", source.significance, r"brightness / $\sigma$", {"cmap": LIGHT, "norm": sigma}))
    return save_figure(panel_row(grid, panels)[0], path, overwrite)
