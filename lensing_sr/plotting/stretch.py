# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How brightness and convergence become colours, and what their bars say."""

import numpy as np
from astropy import units as u
from astropy.visualization import AsinhStretch, ImageNormalize

from lensing_sr.image._units import is_per_area

__all__ = ["KAPPA", "LIGHT", "asinh_norm", "brightness_label", "log_norm", "robust_scatter", "shown_convergence"]

#: Colours of light.
LIGHT = "magma"
#: Shown convergence.  A power law has no limits of its own: a sixth and ten times its value on the critical curve.
KAPPA = 0.08, 5.0

# Fraction of the sigma of the sky below which the stretch is linear, and the percentile at which it ends.
_SOFTENING, _BRIGHTEST = 2.0, 99.85


def brightness_label(unit):
    """What the bar of a surface brightness says, for images of this unit."""
    if unit is None or u.Unit(unit) == u.dimensionless_unscaled:
        return r"flux arcsec$^{-2}$"
    text = u.Unit(unit).to_string("latex_inline")
    return text if is_per_area(unit) else text + r" arcsec$^{-2}$"


def robust_scatter(data):
    """Robust standard deviation of the blank part, from below the median where no object adds light."""
    data = data[np.isfinite(data)]
    if data.size == 0:
        return 1.0
    median = np.median(data)
    below = median - data[data < median]
    return float(1.4826 * np.median(below)) if below.size and np.median(below) > 0 else float(np.ptp(data) or 1.0) / 100


def asinh_norm(data, noise_level):
    """Linear in the noise, logarithmic above; the very brightest pixels saturate."""
    data = data[np.isfinite(data)]
    low = -2.0 * noise_level
    high = max(np.percentile(data, _BRIGHTEST) if data.size else 1.0, low + 5 * noise_level)
    return ImageNormalize(vmin=low, vmax=high, stretch=AsinhStretch(min(_SOFTENING * noise_level / (high - low), 1.0)))


def shown_convergence(convergence):
    """Convergence, without what a logarithm cannot take."""
    return np.clip(convergence, 1e-3, None)


def log_norm(low, high):
    """Logarithmic between two values."""
    from matplotlib.colors import LogNorm

    return LogNorm(low, high)
