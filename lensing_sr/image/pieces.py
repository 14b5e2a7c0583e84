# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Light beside the lens galaxy, in pieces: those that may be arcs, and the neighbours that are none.

Pure functions of arrays, in pixels; detections are those of `photutils.segmentation`.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from photutils.segmentation import deblend_sources, detect_sources
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage

from lensing_sr.image.detect import CAP, CLEAR, PIXELS, THRESHOLD, clear
from lensing_sr.image.opposite import opposite_image

__all__ = ["Detections", "Pieces"]

#: Light whose centroid lies within so many arc radii, or half-light radii of the lens galaxy, may be an arc whatever
#: its shape; further out it must be joined to one, be elongated along the circle, or both.
REACH, REACH_LIGHT = 1.25, 1.8
REACH_JOINED, REACH_ELONGATED, REACH_BOTH = 1.6, 1.6, 2.4


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
    others : tuple of int
        Numbers of the neighbours, the nearest first.
    extent : float
        Distance in pixels within which 98 % of the arcs' pixels lie; 0 without arcs.
    ring : float
        Radius of the arcs in pixels, averaged over the angles where there are any; 0 without arcs.
    """

    arcs: np.ndarray
    neighbours: np.ndarray
    compact: np.ndarray
    others: tuple
    extent: float
    ring: float

    @property
    def count(self):
        """Number of neighbours."""
        return len(self.others)


class Detections:
    """Sources in a residual, deblended, and what each is like as seen from the lens.

    Parameters
    ----------
    significance : numpy.ndarray
        (ny, nx) from `~lensing_sr.image.detect.residual_significance`.
    centre : tuple of float
        (column, row) of the lens, in pixels.
    """

    def __init__(self, significance, centre):
        self.significance, self.centre = significance, centre
        self.labels = np.zeros(significance.shape, dtype=int)
        self.parent = np.zeros(1, dtype=int)
        with warnings.catch_warnings():
            # photutils warns of an empty sky, and of peaks too close to deblend: neither is news here
            warnings.simplefilter("ignore", NoDetectionsWarning)
            warnings.simplefilter("ignore", UserWarning)
            whole = detect_sources(significance, THRESHOLD, PIXELS)
            if whole is not None:
                self.labels = deblend_sources(
                    significance, whole, PIXELS, n_levels=16, contrast=0.01, progress_bar=False
                ).data
                self.parent = np.zeros(self.labels.max() + 1, dtype=int)
                self.parent[self.labels.ravel()] = whole.data.ravel()
        self._some = np.arange(len(self.parent)) > 0
        self._distance, self._tangential, self._peak, self._area = _measure(significance, self.labels, centre)

    def pieces(self, radius, lens_size=0.0, keep=()):
        """Tell arcs from neighbours by their distance from the lens.

        A source whose centroid lies within 1.25 arc radii, or 1.8 half-light radii of the galaxy, may be an arc and is
        kept. So is one that is joined to it, or elongated along the circle, within 1.6 arc radii, and one that is both
        within 2.4. If all that is on one side of the lens, the other image of the source is looked for on the opposite
        side (`~lensing_sr.image.opposite.opposite_image`): it is kept however far out it is, and the mean distance of
        the two takes the place of a smaller arc radius. The others, if clearly detected, are neighbours.

        Parameters
        ----------
        radius : float
            Arc radius in pixels.
        lens_size : float or None
            Half-light radius of the lens galaxy in pixels; None where it is not seen: then there is no lens without an
            image, and where nothing is within reach the nearest light is one.
        keep : collection of int
            Numbers of neighbours (`Pieces.others`) that are arcs all the same.

        Returns
        -------
        Pieces
        """
        size = lens_size or 0.0
        arcs = self._within_reach(radius, size)
        if lens_size is None and not arcs.any():  # something is an image
            radius = min(self._distance[self._peak > CLEAR], default=radius)
            arcs = self._within_reach(radius, size)
        beyond = (self._peak > CLEAR) & ~arcs
        image, middle = opposite_image(
            self.significance, arcs[self.labels] & clear(self.significance), (self.parent * beyond)[self.labels],
            self.centre,
        )  # fmt: skip
        if image:
            arcs = self._within_reach(max(radius, middle), size) | (self.parent == image)
        return self._told_apart(arcs | self._some & np.isin(self.parent, list(keep)), image)

    def _within_reach(self, radius, size):
        """Which labels may be arcs by their distance, their shape and what they are joined to."""
        distance, tangential = self._distance, self._tangential
        arcs = self._some & (distance <= max(REACH * radius, REACH_LIGHT * size))
        joined = np.isin(self.parent, self.parent[arcs])
        arcs |= self._some & joined & (distance <= REACH_JOINED * radius)
        far = np.where(joined, REACH_BOTH, REACH_ELONGATED) * radius
        return arcs | (self._some & tangential & (distance <= far))

    def _told_apart(self, arcs, image):
        """The pieces, where some labels are arcs."""
        strong = self._peak > CLEAR
        # what is cut off a neighbour by deblending goes with it, however faint
        outside = ~arcs & np.isin(self.parent, self.parent[strong & ~arcs]) & self._some
        kept = arcs[self.labels]
        neighbours = np.zeros(self.labels.shape, dtype=bool)
        growth = np.clip(np.rint(2 + 0.35 * np.sqrt(self._area / np.pi)), 2, 8).astype(int)
        for steps in np.unique(growth[outside]):
            part = (outside & (growth == steps))[self.labels]
            neighbours |= ndimage.binary_dilation(part, iterations=int(steps))
        neighbours &= ~ndimage.binary_dilation(kept, iterations=1)
        compact = (~self._tangential & strong & self._some & (self.parent != image))[self.labels]
        nearest = np.full(self.parent.max() + 1, np.inf)
        np.minimum.at(nearest, self.parent[outside], self._distance[outside])
        others = tuple(np.argsort(nearest, kind="stable")[: np.isfinite(nearest).sum()].tolist())
        seen = kept & clear(self.significance)
        return Pieces(kept, neighbours, compact, others, *_ring(self.significance, seen, self.centre))


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
    covered = np.minimum(light, 100 * CAP)
    return float(np.percentile(r, 98)), float((covered * mean).sum() / covered.sum())


def _measure(significance, labels, centre):
    """Distance of the centroid, whether elongated along the circle, peak and area, for each label."""
    rows, columns = np.nonzero(labels)
    label, count = labels[rows, columns], labels.max() + 1
    weight = np.minimum(significance[rows, columns], CAP)

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
