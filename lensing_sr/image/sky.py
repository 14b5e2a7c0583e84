# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Blank sky: where it is, how bright it is, and how to measure scatter without being fooled by galaxies.

Pure functions of arrays; sigma clipping is `~astropy.stats.SigmaClip`, the sky level a
`~photutils.background.MeanBackground`.
"""

import numpy as np
from astropy.stats import SigmaClip
from photutils.background import MeanBackground
from scipy import ndimage

__all__ = ["blank_sky", "clipped_std", "sky_level", "smoothed_snr"]

#: Standard deviation of a Gaussian once what lies beyond 3 sigma is cut off.
_CLIPPED_3_SIGMA = 0.98658
#: Smoothing, in pixels, with which blank sky is told from faint light.
_SMOOTHING = 2.0
#: A smoothed pixel this many scatters above the level of the darkest sky is not blank.
_BRIGHT = 2.5


def clipped_std(values):
    """Standard deviation of mostly Gaussian values in spite of outliers.

    Values are clipped at 3 sigma until nothing changes, and the variance that a Gaussian loses by it is given back.

    Parameters
    ----------
    values : numpy.ndarray
        Any shape, finite.

    Returns
    -------
    float
        In the unit of the values; NaN without values.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.sky import clipped_std
    >>> values = np.random.default_rng(1).normal(scale=2.0, size=20_000)
    >>> values[:50] = 1e6
    >>> bool(abs(clipped_std(values) / 2.0 - 1.0) < 0.02)
    True
    """
    values = np.ravel(values)
    if values.size == 0:
        return float("nan")
    # percentiles cannot be driven to zero by a pile of equal values, as a median deviation can (clipped skies)
    low, middle, high = np.percentile(values, [15.87, 50.0, 84.13])
    sigma = 0.5 * (high - low)
    if sigma == 0:
        return float(np.std(values))
    for _ in range(20):
        kept = values[np.abs(values - middle) <= 3.0 * sigma]
        middle, previous, sigma = kept.mean(), sigma, kept.std() / _CLIPPED_3_SIGMA
        if abs(sigma - previous) < 1e-4 * previous:
            break
    return float(sigma)


def smoothed_snr(data, noise, mask, sigma):
    r"""Image smoothed with a Gaussian, in units of the smoothed white noise.

    .. math:: s = \frac{g * (w d / n)}{\sqrt{g^2 * w}}

    with w = 0 at masked pixels and beyond the edge, 1 elsewhere.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image and positive sigma map, in one unit.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    sigma : float
        Width of the Gaussian in pixels.

    Returns
    -------
    numpy.ndarray
        (ny, nx) signal-to-noise ratio; 0 where no good pixel is near.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.sky import smoothed_snr
    >>> noise = np.random.default_rng(2).normal(size=(80, 80))
    >>> snr = smoothed_snr(noise, np.ones((80, 80)), np.zeros((80, 80), bool), 1.5)
    >>> bool(0.85 < snr.std() < 1.15)
    True
    """
    weight = (~mask).astype(float)
    ratio = np.zeros(data.shape)
    np.divide(data, noise, out=ratio, where=~mask)
    smooth = ndimage.gaussian_filter(ratio, sigma, mode="constant", truncate=3.0)
    # the square of a Gaussian is a Gaussian narrower by sqrt(2), of sum 1 / (4 pi sigma^2); by sampling for sharp ones
    variance = ndimage.gaussian_filter(weight, sigma / np.sqrt(2.0), mode="constant", truncate=3.0)
    variance *= _sum_of_squares(sigma)
    return np.where(variance > 0.02 * _sum_of_squares(sigma), smooth / np.sqrt(np.maximum(variance, 1e-12)), 0.0)


def _sum_of_squares(sigma):
    impulse = np.zeros(2 * int(3 * sigma + 2) + 1)
    impulse[impulse.size // 2] = 1.0
    return float(np.sum(ndimage.gaussian_filter1d(impulse, sigma, truncate=3.0) ** 2) ** 2)


def blank_sky(data, noise, mask=None):
    """Pixels where only sky is seen: neither a source nor, as far as the field allows, the outskirts of one.

    The image is smoothed; the level and scatter of its darkest part come from sigma clipping from above (galaxies only
    add light), and what stands out of it, with a margin, is left out.  In a field that a galaxy fills the answer is
    its darkest, outermost part.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image and sigma map.
    mask : numpy.ndarray, optional
        (ny, nx) bool, True = ignore.

    Returns
    -------
    numpy.ndarray
        (ny, nx) bool, True = blank sky.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.sky import blank_sky
    >>> image = np.random.default_rng(3).normal(size=(100, 100))
    >>> image[40:60, 40:60] += 20.0
    >>> blank = blank_sky(image, np.ones((100, 100)))
    >>> bool(blank[45:55, 45:55].any()), bool(blank.mean() > 0.7)
    (False, True)
    """
    good = _good(data, noise, mask)
    if not good.any():
        return good
    smooth = smoothed_snr(np.where(good, data, 0.0), noise, ~good, _SMOOTHING)
    # the smoothed S/N carries the sky's level times the S/N gain, which falls at the edge: divide it out again
    gain = smoothed_snr(np.where(good, noise, 0.0), noise, ~good, _SMOOTHING)
    level = smooth / np.maximum(gain, 1e-3 * gain.max())
    values = level[good]
    middle, scatter = _darkest(values)
    bright = (level > middle + _BRIGHT * scatter) & good
    # single noise peaks above the threshold are part of the sky: cutting them off would bias the scatter low
    bright = ndimage.binary_opening(bright, iterations=2)
    return good & ~ndimage.binary_dilation(bright, iterations=3)


def _good(data, noise, mask):
    good = np.isfinite(data) & np.isfinite(noise) & (noise > 0)
    return good if mask is None else good & ~np.asarray(mask, dtype=bool)


def _darkest(values):
    """Level and scatter of the faint side of a distribution with a bright tail."""
    middle = np.median(values)
    scatter = 0.0
    for _ in range(30):
        below = values[values <= middle]
        scatter = np.percentile(middle - below, 68.27)
        if scatter == 0:
            break
        new = np.median(values[values <= middle + 2.0 * scatter])
        if abs(new - middle) < 1e-3 * scatter:
            break
        middle = new
    return middle, scatter


def sky_level(data, blank):
    """Level and pixel rms of blank sky.

    Parameters
    ----------
    data : numpy.ndarray
        (ny, nx) image.
    blank : numpy.ndarray
        (ny, nx) bool, from `blank_sky`.

    Returns
    -------
    level, rms : float
        In the unit of the image; (0, NaN) without blank pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.sky import sky_level
    >>> image = np.random.default_rng(4).normal(3.0, 0.5, size=(100, 100))
    >>> level, rms = sky_level(image, np.ones((100, 100), bool))
    >>> round(level, 1), round(rms, 1)
    (3.0, 0.5)
    """
    values = data[blank]
    if values.size == 0:
        return 0.0, float("nan")
    # the mean, not the mode: a sky clipped at zero is skewed by itself, and galaxies are out of `blank` already
    estimator = MeanBackground(sigma_clip=SigmaClip(sigma=3.0, maxiters=10))
    return float(estimator(values)), clipped_std(values)
