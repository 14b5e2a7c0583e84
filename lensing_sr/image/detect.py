# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What is where in a field: the lens galaxy, the radius of the arcs, and the neighbours that are no arcs.

Pure functions of arrays in pixels; detections are those of `photutils.segmentation`.
"""

import warnings

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from photutils.segmentation import SegmentationImage, detect_sources
from scipy import ndimage

from lensing_sr.image.sky import smoothed_snr

__all__ = ["arc_radius", "find_lens", "neighbours", "residual_significance"]

#: Smoothing, in pixels, of the residual in which sources are detected.
SMOOTHING = 1.2
#: Significance of a detected pixel.
THRESHOLD = 4.0
#: Bright sources count no more than this: the arcs are recognised by the angle they cover, not by their peak.
_CAP = 12.0


def find_lens(data, noise, mask):
    """Position of the lens galaxy: the brightest compact light near the middle of the field.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image without sky, and sigma map.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.

    Returns
    -------
    centre : tuple of float
        (column, row) in pixels; the centre of the field if nothing is detected.
    snr : float
        Signal-to-noise ratio of its smoothed peak.
    """
    ny, nx = data.shape
    middle = ((nx - 1) / 2, (ny - 1) / 2)
    weight = ndimage.gaussian_filter((~mask).astype(float), 2.0)
    light = ndimage.gaussian_filter(np.where(mask, 0.0, data), 2.0) / np.maximum(weight, 0.1)
    snr = smoothed_snr(np.where(mask, 0.0, data), noise, mask, 2.0)
    rows, columns = np.indices(data.shape, sparse=True)
    r2 = (columns - middle[0]) ** 2 + (rows - middle[1]) ** 2
    score = light * np.exp(-0.5 * r2 / (0.12 * min(nx, ny)) ** 2)
    edge = np.zeros(data.shape, dtype=bool)
    edge[2:-2, 2:-2] = True
    score = np.where(edge & (snr > 5.0) & (weight > 0.3), score, 0.0)
    if not score.max() > 0:
        return middle, float(snr.max())
    row, column = np.unravel_index(np.argmax(score), data.shape)
    return (float(column), float(row)), float(snr[row, column])


def residual_significance(residual, mask, blank):
    """Smoothed residual in units of its own scatter over blank sky, so that shared noise is not taken for sources.

    Parameters
    ----------
    residual : numpy.ndarray
        (ny, nx) in sigma, from `~lensing_sr.image.galaxy.fit_galaxy`.
    mask, blank : numpy.ndarray
        (ny, nx) bool: pixels to ignore, pixels of blank sky.

    Returns
    -------
    numpy.ndarray
        (ny, nx).
    """
    smooth = smoothed_snr(residual, np.ones(residual.shape), mask, SMOOTHING)
    values = smooth[blank]
    if values.size < 100:
        return smooth
    low = np.percentile(values, [15.87, 50.0])
    return smooth / max(1.0, low[1] - low[0])


def arc_radius(significance, centre, smallest=3.0):
    r"""Radius at which residual light covers most of the circle, or 0 if there is none.

    .. math:: C(r) = e^{-r / h} \, \frac{\sum w}{\sum 1}, \quad w = \max(\min(s, 12) - 4, 0)

    over annuli of constant d ln r, smoothed; h is half of the field's shorter side.

    Parameters
    ----------
    significance : numpy.ndarray
        (ny, nx) from `residual_significance`.
    centre : tuple of float
        (column, row) of the lens.
    smallest : float
        Smaller radii, in pixels, are not looked at.

    Returns
    -------
    radius, coverage : float
        In pixels, and the value of C there, without the exponential, over the cap.
    """
    rows, columns = np.indices(significance.shape, sparse=True)
    r = np.hypot(columns - centre[0], rows - centre[1])
    half = 0.5 * min(significance.shape)
    step = 0.05
    bins = np.floor(np.log(np.maximum(r, smallest) / smallest) / step).astype(int)
    weight = np.clip(np.minimum(significance, _CAP) - THRESHOLD, 0.0, None) / (_CAP - THRESHOLD)
    inside = (r >= smallest) & (r < 1.1 * half)
    number = np.bincount(bins[inside], minlength=2).astype(float)
    light = np.bincount(bins[inside], weights=weight[inside], minlength=2)
    width = 0.15 / step
    coverage = ndimage.gaussian_filter1d(light, width) / np.maximum(ndimage.gaussian_filter1d(number, width), 1.0)
    radii = smallest * np.exp(step * (np.arange(coverage.size) + 0.5))
    best = int(np.argmax(coverage * np.exp(-radii / half)))
    if not coverage[best] > 0:
        return 0.0, 0.0
    return float(radii[best]), float(coverage[best])
