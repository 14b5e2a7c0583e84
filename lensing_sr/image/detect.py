# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What is where in a field: the lens galaxy, the radius of the arcs, and the neighbours that are no arcs.

Pure functions of arrays, in pixels; detections are those of `photutils.segmentation`.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from photutils.segmentation import deblend_sources, detect_sources
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage

from lensing_sr.image.galaxy import adaptive_moments, moments_near
from lensing_sr.image.opposite import opposite_image
from lensing_sr.image.sky import smoothed_snr

__all__ = [
    "Pieces",
    "arc_radius",
    "distances",
    "find_lens",
    "find_pieces",
    "lens_is_visible",
    "residual_significance",
]

#: Smoothing, in pixels, of the residual in which sources are detected.
SMOOTHING = 1.2
#: Significance of a detected pixel, and pixels a detection has at least.
THRESHOLD, PIXELS = 4.0, 6
#: Bright sources count no more than this: arcs are recognised by the angle they cover, not by their peak.
_CAP = 12.0
#: Peak significance of what may be taken for an arc or masked as a neighbour: shared noise makes fainter clumps.
CLEAR = 6.0
#: Light whose centroid lies within so many arc radii, or half-light radii of the lens galaxy, may be an arc whatever
#: its shape; further out it must be joined to one, be elongated along the circle, or both.
REACH, REACH_LIGHT = 1.25, 1.8
REACH_JOINED, REACH_ELONGATED, REACH_BOTH = 1.6, 1.6, 2.4


#: What lies within this part of half of the field's shorter side from its middle is no image of a lens there.
OFF = 0.05
#: Beyond this part of it, elongated light is no lens galaxy.
FAR = 0.25


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
    ny, nx = data.shape
    middle = ((nx - 1) / 2, (ny - 1) / 2)
    weight = ndimage.gaussian_filter((~mask).astype(float), 2.0)
    light = ndimage.gaussian_filter(np.where(mask, 0.0, data), 2.0) / np.maximum(weight, 0.1)
    snr = smoothed_snr(np.where(mask, 0.0, data), noise, mask, 2.0)
    score = light * np.exp(-0.5 * (distances(data.shape, middle) / (0.12 * min(nx, ny))) ** 2)
    inner = np.zeros(data.shape, dtype=bool)
    inner[2:-2, 2:-2] = True
    score = np.where(inner & (snr > 5.0) & (weight > 0.3), score, 0.0)
    if not score.max() > 0:
        return middle, float(snr.max())
    row, column = np.unravel_index(np.argmax(score), data.shape)
    return (float(column), float(row)), float(snr[row, column])


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
    middle = ((data.shape[1] - 1) / 2, (data.shape[0] - 1) / 2)
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
    labels, _ = ndimage.label(_clear(significance))
    this = labels[tuple(int(round(c)) for c in centre[::-1])]
    middle = tuple(0.5 * (n - 1) for n in significance.shape[::-1])
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
    smooth = smoothed_snr(residual, np.ones(residual.shape), mask, SMOOTHING)
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
    weight = np.clip(np.minimum(significance, _CAP) - THRESHOLD, 0.0, None)
    inside = (r >= smallest) & (r < 1.1 * half) & _clear(significance)
    if not inside.any():
        return 0.0
    r, weight = r[inside], weight[inside]
    score = weight / r * np.exp(-r / prior)
    bins = (np.log(r / smallest) / step).astype(int)
    length = int(np.log(1.1 * half / smallest) / step) + 2
    coverage = np.bincount(bins, weights=score, minlength=length)
    coverage = ndimage.gaussian_filter1d(coverage, 0.25 / step, mode="nearest")
    return float(smallest * np.exp(step * (np.argmax(coverage) + 0.5)))


def _clear(significance):
    """Pixels of clumps that are large and significant enough to believe."""
    labels, count = ndimage.label(significance > THRESHOLD)
    number = np.arange(1, count + 1)
    keep = np.zeros(count + 1, dtype=bool)
    if count:
        keep[1:] = (ndimage.maximum(significance, labels, number) > CLEAR) & (np.bincount(labels.ravel())[1:] >= PIXELS)
    return keep[labels]


@dataclass
class Pieces:
    """Detections in the residual: what may be arcs and what is not.

    Attributes
    ----------
    arcs : numpy.ndarray
        (ny, nx) bool, light that may be lensed.
    neighbours : numpy.ndarray
        (ny, nx) bool, neighbours with a margin: to be masked.
    compact : numpy.ndarray
        (ny, nx) bool, detections of either kind that are not elongated along the circle, without an opposite image.
    count : int
        Number of neighbours.
    extent : float
        Distance in pixels within which 98 % of the arcs' pixels lie; 0 without arcs.
    ring : float
        Radius of the arcs in pixels, averaged over the angles where there are any; 0 without arcs.
    """

    arcs: np.ndarray
    neighbours: np.ndarray
    compact: np.ndarray
    count: int
    extent: float
    ring: float


def find_pieces(significance, centre, radius, lens_size=0.0):
    """Tell arcs from neighbours by their distance from the lens.

    Sources are detected and deblended.  One whose centroid lies within 1.25 arc radii, or 1.8 half-light radii of the
    lens galaxy, may be an arc and is kept.  So is one that is joined to it, or elongated along the circle, within
    1.6 arc radii, and one that is both within 2.4.  If all that is on one side of the lens, the other image of the
    source is looked for on the opposite side (`~lensing_sr.image.opposite.opposite_image`): it is kept however far out
    it is, and the mean distance of the two takes the place of a smaller arc radius.  The others, if clearly detected,
    are neighbours.

    Parameters
    ----------
    significance : numpy.ndarray
        (ny, nx) from `residual_significance`.
    centre : tuple of float
        (column, row) of the lens, in pixels.
    radius : float
        Arc radius in pixels.
    lens_size : float or None
        Half-light radius of the lens galaxy in pixels; None where it is not seen: then there is no lens without an
        image, and where nothing is within reach the nearest light is one.

    Returns
    -------
    Pieces
    """
    nothing, size = np.zeros(significance.shape, dtype=bool), lens_size or 0.0
    with warnings.catch_warnings():
        # photutils warns of an empty sky, and of peaks too close to deblend: neither is news here
        warnings.simplefilter("ignore", NoDetectionsWarning)
        warnings.simplefilter("ignore", UserWarning)
        whole = detect_sources(significance, THRESHOLD, PIXELS)
        if whole is None:
            return Pieces(nothing, nothing, nothing, 0, 0.0, 0.0)
        labels = deblend_sources(
            significance, whole, PIXELS, n_levels=16, contrast=0.01, progress_bar=False
        ).data
    count = labels.max() + 1
    number, parent = np.arange(count), np.zeros(count, dtype=int)
    parent[labels.ravel()] = whole.data.ravel()
    measured = _measure(significance, labels, centre)
    tangential, peak, area = measured[1:]
    arcs = _within_reach(measured, parent, radius, size)
    if lens_size is None and not arcs.any():  # something is an image
        radius = min(measured[0][peak > CLEAR], default=radius)
        arcs = _within_reach(measured, parent, radius, size)
    beyond = (peak > CLEAR) & ~arcs
    image, middle = opposite_image(significance, arcs[labels] & _clear(significance), (parent * beyond)[labels], centre)
    if image:
        arcs = _within_reach(measured, parent, max(radius, middle), size) | (parent == image)
    # what is cut off a neighbour by deblending goes with it, however faint
    strong = np.isin(parent, parent[(peak > CLEAR) & ~arcs])
    outside = ~arcs & strong & (number > 0)
    kept = arcs[labels]
    neighbours = nothing.copy()
    growth = np.clip(np.rint(2 + 0.35 * np.sqrt(area / np.pi)), 2, 8).astype(int)
    for steps in np.unique(growth[outside]):
        neighbours |= ndimage.binary_dilation((outside & (growth == steps))[labels], iterations=int(steps))
    neighbours &= ~ndimage.binary_dilation(kept, iterations=1)
    compact = (~tangential & (peak > CLEAR) & (number > 0) & (parent != image))[labels]
    count = len(np.unique(parent[outside]))
    return Pieces(kept, neighbours, compact, count, *_ring(significance, kept & _clear(significance), centre))


def _within_reach(measured, parent, radius, size):
    """Which labels may be arcs by their distance, their shape and what they are joined to."""
    distance, tangential = measured[:2]
    some = np.arange(len(distance)) > 0
    arcs = some & (distance <= max(REACH * radius, REACH_LIGHT * size))
    joined = np.isin(parent, parent[arcs])
    arcs |= some & joined & (distance <= REACH_JOINED * radius)
    return arcs | (some & tangential & (distance <= np.where(joined, REACH_BOTH, REACH_ELONGATED) * radius))


def _ring(significance, arcs, centre):
    """Distance that holds nearly all arcs, and their radius averaged over the angles that they cover.

    Opposite images of a source lie at theta_E plus and minus its offset: averaged over angles, not over light, the
    radius comes closest to theta_E.
    """
    rows, columns = np.nonzero(arcs)
    if rows.size == 0:
        return 0.0, 0.0
    x, y = columns - centre[0], rows - centre[1]
    r, weight = np.hypot(x, y), significance[rows, columns]
    sector = (np.arctan2(y, x) / (2 * np.pi) * 24).astype(int) % 24
    light = np.bincount(sector, weights=weight, minlength=24)
    mean = np.bincount(sector, weights=weight * r, minlength=24) / np.maximum(light, 1e-9)
    covered = np.minimum(light, 100 * _CAP)
    return float(np.percentile(r, 98)), float((covered * mean).sum() / covered.sum())


def _measure(significance, labels, centre):
    """Distance of the centroid, whether elongated along the circle, peak and area, for each label."""
    rows, columns = np.nonzero(labels)
    label, count = labels[rows, columns], labels.max() + 1
    weight = np.minimum(significance[rows, columns], _CAP)

    def total(values):
        return np.bincount(label, weights=weight * values, minlength=count)

    norm = np.maximum(total(np.ones(len(label))), 1e-12)
    x, y = total(columns - centre[0]) / norm, total(rows - centre[1]) / norm
    distance = np.hypot(x, y)
    dx, dy = columns - centre[0] - x[label], rows - centre[1] - y[label]
    unit = np.maximum(distance, 1e-9)
    along = total(((dy * x[label] - dx * y[label]) / unit[label]) ** 2) / norm + 0.1
    across = total(((dx * x[label] + dy * y[label]) / unit[label]) ** 2) / norm + 0.1
    peak = np.zeros(count)
    np.maximum.at(peak, label, significance[rows, columns])
    return distance, along > 2.5 * across, peak, np.bincount(label, minlength=count)
