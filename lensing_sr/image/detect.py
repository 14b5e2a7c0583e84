# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What is where in a field: the lens galaxy, and the radius about which the arcs gather.

Pure functions of arrays, in pixels.
"""

import numpy as np
from scipy import ndimage

from lensing_sr.image.galaxy import adaptive_moments, moments_near
from lensing_sr.image.opposite import opposite_image
from lensing_sr.image.sky import smoothed_snr

__all__ = [
    "arc_radius",
    "clear",
    "distances",
    "find_lens",
    "find_lights",
    "is_image",
    "lens_is_visible",
    "middle_of",
    "residual_significance",
]

#: Smoothing, in pixels, of the residual in which sources are detected.
SMOOTHING = 1.2
#: Significance of a detected pixel, and pixels a detection has at least.
THRESHOLD, PIXELS = 4.0, 6
#: Bright sources count no more than this: arcs are recognised by the angle they cover, not by their peak.
CAP = 12.0
#: Peak significance of what may be taken for an arc or masked as a neighbour: shared noise makes fainter clumps.
CLEAR = 6.0
#: What lies within this part of half of the field's shorter side from its middle is no image of a lens there.
OFF = 0.05
#: Beyond this part of it, elongated light is no lens galaxy.
FAR = 0.25


def find_lens(data, noise, mask, blank=None):
    """Position of the lens galaxy: the brightest compact light near the middle of the field.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image without sky, and sigma map.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    blank : numpy.ndarray, optional
        (ny, nx) bool, pixels of blank sky, whose scatter tells what noise is, so that noise that neighbours share is
        no galaxy; white noise of the sigma map without.

    Returns
    -------
    centre : tuple of float
        (column, row) of the brightest smoothed pixel; the centre of the field if nothing is detected.
    snr : float
        Signal-to-noise ratio of the smoothed image there, or the highest of the field if nothing is detected.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.detect import find_lens
    >>> y, x = np.mgrid[:60, :60]
    >>> image = 50 * np.exp(-0.5 * np.hypot(x - 33, y - 28) ** 2 / 9)
    >>> (x0, y0), snr = find_lens(image, np.ones((60, 60)), np.zeros((60, 60), bool))
    >>> bool(abs(x0 - 33) <= 1), bool(abs(y0 - 28) <= 1), bool(snr > 100)
    (True, True, True)
    """
    score, snr = _compact_light(data, noise, mask, blank)
    if not score.max() > 0:
        return middle_of(data.shape), float(snr.max())
    row, column = np.unravel_index(np.argmax(score), data.shape)
    return (float(column), float(row)), float(snr[row, column])


def find_lights(data, noise, mask, blank=None):
    """Positions at which a lens galaxy may be, the likeliest first: as `find_lens`, but all peaks of light.

    Parameters
    ----------
    data, noise, mask, blank : numpy.ndarray
        As there.

    Returns
    -------
    list of ((column, row), snr)
    """
    score, snr = _compact_light(data, noise, mask, blank)
    rows, columns = np.nonzero((score > 0) & (score == ndimage.maximum_filter(score, 5)))
    order = np.argsort(-score[rows, columns], kind="stable")
    return [((float(columns[k]), float(rows[k])), float(snr[rows[k], columns[k]])) for k in order]


def _compact_light(data, noise, mask, blank):
    """Smoothed light, weighted by its distance from the middle, where it is detected; and its significance."""
    ny, nx = data.shape
    weight = ndimage.gaussian_filter((~mask).astype(float), 2.0)
    light = ndimage.gaussian_filter(np.where(mask, 0.0, data), 2.0) / np.maximum(weight, 0.1)
    snr = smoothed_snr(np.where(mask, 0.0, data), noise, mask, 2.0)
    if blank is not None:
        snr = _over_blank_sky(snr, blank)
    score = light * np.exp(-0.5 * (distances(data.shape, middle_of(data.shape)) / (0.12 * min(nx, ny))) ** 2)
    inner = np.zeros(data.shape, dtype=bool)
    inner[2:-2, 2:-2] = True
    return np.where(inner & (snr > 5.0) & (weight > 0.3), score, 0.0), snr


def middle_of(shape):
    """(column, row) of the middle of an array of a shape."""
    return 0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1)


def distances(shape, centre):
    """Distance of every pixel from a (column, row), in pixels."""
    rows, columns = np.indices(shape, sparse=True)
    return np.hypot(columns - centre[0], rows - centre[1])


def lens_is_visible(data, mask, centre):
    """Whether the light at a position is a galaxy of its own, and not an arc of a lens that does not shine.

    Without a shining lens, the brightest light is an image of the source: elongated and off the middle, or a ring with
    a dip in it, or elongated with a companion as bright as itself.

    Parameters
    ----------
    data : numpy.ndarray
        (ny, nx) image without sky.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    centre : tuple of float
        (column, row), from `find_lens`.

    Returns
    -------
    bool
    """
    half = 0.5 * min(data.shape)
    middle = middle_of(data.shape)
    # far from the middle, light whose centroid runs away along it is an arc: its moments where it leads say so
    far = np.hypot(centre[0] - middle[0], centre[1] - middle[1]) > FAR * half
    (x, y), (e1, e2), size = (adaptive_moments if far else moments_near)(data, mask, centre)
    elongation = np.hypot(e1, e2)
    if elongation > 0.33 and np.hypot(x - middle[0], y - middle[1]) > FAR * half:
        return False
    light = ndimage.gaussian_filter(np.where(mask, 0.0, data), 1.5)
    r = distances(data.shape, (x, y))
    peak = light[r < max(2.0, 0.5 * size)].max()
    if peak < 0.9 * light[r < 2.0 * size + 2.0].max():
        return False
    if elongation < 0.1 or np.hypot(centre[0] - middle[0], centre[1] - middle[1]) < OFF * half:
        return True  # round, and if there is another like it, they are two galaxies; or where a lens is
    elsewhere = (r > 1.5 * size + 1.0) & (distances(data.shape, middle) < 0.6 * half)
    elsewhere &= light == ndimage.maximum_filter(light, 5)
    return not elsewhere.any() or bool(peak > 1.1 * light[elsewhere].max())


def is_image(significance, centre):
    """Whether the light at a position is one of two images on opposite sides of the middle of the field.

    Parameters
    ----------
    significance : numpy.ndarray
        (ny, nx) of the image without sky, as of `residual_significance`.
    centre : tuple of float
        (column, row), from `find_lens`.

    Returns
    -------
    bool
    """
    labels, _ = ndimage.label(clear(significance))
    this = labels[tuple(int(round(c)) for c in centre[::-1])]
    middle = middle_of(significance.shape)
    if not this or np.hypot(centre[0] - middle[0], centre[1] - middle[1]) < OFF * min(middle):
        return False
    here = labels == this
    if opposite_image(significance, here, np.where(here, 0, labels), middle)[0]:
        return True
    others = np.setdiff1d(labels, [0, this])
    return any(opposite_image(significance, labels == other, 1 * here, middle)[0] for other in others)


def residual_significance(residual, mask, blank):
    """Smoothed residual in units of its own scatter over blank sky, so that shared noise is not taken for sources.

    Parameters
    ----------
    residual : numpy.ndarray
        (ny, nx) in sigma, as of `~lensing_sr.image.galaxy.fit_galaxy`.
    mask, blank : numpy.ndarray
        (ny, nx) bool: pixels to ignore, pixels of blank sky.

    Returns
    -------
    numpy.ndarray
        (ny, nx).
    """
    return _over_blank_sky(smoothed_snr(residual, np.ones(residual.shape), mask, SMOOTHING), blank)


def _over_blank_sky(smooth, blank):
    """A smoothed map in units of its scatter over blank sky, where that is more than that of white noise."""
    values = smooth[blank]
    if values.size < 100:
        return smooth
    low, middle = np.percentile(values, [15.87, 50.0])
    return smooth / max(1.0, middle - low)


def arc_radius(significance, centre, smallest=3.0):
    r"""Radius about which the residual light gathers, or 0 if there is none.

    .. math:: C(r) = r\,e^{-r / h} \frac{\sum w}{r^2}, \quad w = \max(\min(s, 12) - 4, 0)

    over annuli of constant d ln r, smoothed over 0.25 in ln r: the angle covered, with a bias against the innermost
    (errors of the galaxy's model) and the outermost light (neighbours); h is 0.35 of half of the field's shorter side.

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
    float
        In pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.detect import arc_radius
    >>> y, x = np.mgrid[-50:51, -50:51]
    >>> arc = 20 * np.exp(-0.5 * ((np.hypot(x, y) - 18) / 2) ** 2) * (x > 0)
    >>> bool(abs(arc_radius(arc, (50, 50)) - 18) < 2)
    True
    """
    r = distances(significance.shape, centre)
    half, step = 0.5 * min(significance.shape), 0.05
    prior = 0.35 * half
    weight = np.clip(np.minimum(significance, CAP) - THRESHOLD, 0.0, None)
    inside = (r >= smallest) & (r < 1.1 * half) & clear(significance)
    if not inside.any():
        return 0.0
    r, weight = r[inside], weight[inside]
    score = weight / r * np.exp(-r / prior)
    bins = (np.log(r / smallest) / step).astype(int)
    length = int(np.log(1.1 * half / smallest) / step) + 2
    coverage = np.bincount(bins, weights=score, minlength=length)
    coverage = ndimage.gaussian_filter1d(coverage, 0.25 / step, mode="nearest")
    return float(smallest * np.exp(step * (np.argmax(coverage) + 0.5)))


def clear(significance):
    """Pixels of clumps that are large and significant enough to believe, bool, shaped as `residual_significance`."""
    labels, count = ndimage.label(significance > THRESHOLD)
    number = np.arange(1, count + 1)
    keep = np.zeros(count + 1, dtype=bool)
    if count:
        keep[1:] = (ndimage.maximum(significance, labels, number) > CLEAR) & (np.bincount(labels.ravel())[1:] >= PIXELS)
    return keep[labels]
