# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Readings of a field: which light is the lens galaxy, which are arcs, and which are neighbours.

The first reading goes by what is likely: the lens galaxy is the brightest compact light near the middle, what lies
beyond the reach of the arcs is a neighbour.  Where no lens explains it, other readings are tried.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from lensing_sr.image.detect import (
    arc_radius,
    distances,
    find_lens,
    find_lights,
    is_image,
    lens_is_visible,
    middle_of,
    residual_significance,
)
from lensing_sr.image.galaxy import adaptive_moments, fit_galaxy
from lensing_sr.image.pieces import Detections, Pieces

__all__ = ["DETECTED", "Reading", "other_readings", "read_field"]

#: Signal-to-noise ratio of a detected lens.
DETECTED = 5.0
#: Other lights that may be the lens galaxy; neighbours that are taken for images one at a time; readings in all.
LIGHTS, SINGLES, READINGS = 2, 3, 8
#: Distance in pixels from which a galaxy is another one; from the middle, that from which it may be an image, and the
#: part of the arcs' radius that this distance is at least.
ANOTHER, ASIDE, INWARDS = 3.0, 1.5, 0.15


@dataclass
class Reading:
    """What is what in a field, in its binned pixels.

    Attributes
    ----------
    centre : tuple of float
        (column, row) of the lens.
    visible : bool
        Whether a galaxy shines there.
    core, size : float
        Width of its core, and its half-light radius, in pixels.
    snr : float
        Signal-to-noise ratio of the light from which the search began.
    rival : float
        Flux of the brightest compact light near it over its own; 0 without.
    rival_light : numpy.ndarray or None
        (ny, nx) bool, where that light is.
    pieces : Pieces
        Arcs and neighbours.
    found : Detections
        All light beside the galaxy.
    kept : tuple of int
        Neighbours (`Pieces.others`) that are taken for arcs.
    """

    centre: tuple
    visible: bool
    core: float
    size: float
    snr: float
    rival: float
    rival_light: np.ndarray | None = field(repr=False)
    pieces: Pieces
    found: Detections = field(repr=False)
    _reach: tuple = field(repr=False)
    kept: tuple = ()

    @property
    def radius(self):
        """Radius of the arcs in pixels; 0 without."""
        return self.pieces.ring

    @property
    def middle(self):
        """(column, row) of the middle of the field."""
        return middle_of(self.pieces.arcs.shape)

    @property
    def aside(self):
        """Whether a galaxy in the very middle of the field would be another one: none is seen, or not near there."""
        near = max(ASIDE, INWARDS * self.radius)
        return not self.visible or bool(np.hypot(*np.subtract(self.centre, self.middle)) > near)

    def keeping(self, numbers):
        """The same with some neighbours (`Pieces.others`) taken for arcs."""
        numbers = tuple(numbers)
        return replace(self, pieces=self.found.pieces(*self._reach, keep=numbers), kept=numbers)


def read_field(field, lens_light="auto"):
    """The likeliest reading of a `~lensing_sr.image.field.Field`.

    Parameters
    ----------
    field : Field
        Its sky and noise known.
    lens_light : {"auto", True, False}
        Whether the lens galaxy shines.

    Returns
    -------
    Reading
    """
    data, mask = field.light, field.bad
    centre, snr = find_lens(data, field.sigma, mask, field.blank)
    visible = lens_light is True or (lens_light == "auto" and lens_is_visible(data, mask, centre))
    visible = bool(visible and snr >= DETECTED)
    if visible and lens_light == "auto":
        visible = not is_image(residual_significance(_bare(field), mask, field.blank), centre)
    return _read_about(field, centre, snr, visible)


def other_readings(field, first, lens_light="auto", *, elsewhere=True):
    """Other readings of the field, the likelier ones first.

    With the lens galaxy of the first reading, all its neighbours are taken for images, then each of those that are
    nearest; then the same with a galaxy in the very middle, which its arcs outshine, and with another light near the
    middle for the lens galaxy.

    Parameters
    ----------
    field : Field
        The field.
    first : Reading
        That of `read_field`.
    lens_light : {"auto", True, False}
        As there.
    elsewhere : bool
        Whether other light may be the lens galaxy.

    Returns
    -------
    list of Reading
        At most eight.
    """
    about = []
    if lens_light is not False and first.aside and first.snr >= DETECTED:
        # what outshines it may be its arcs: they must not draw it to them
        about.append(_read_about(field, first.middle, first.snr, True, held=True))
    if elsewhere and lens_light is not False:
        lights = find_lights(field.light, field.sigma, field.bad, field.blank)
        near = [
            light for light in lights if np.hypot(*np.subtract(light[0], first.centre)) > ANOTHER or not first.visible
        ]
        about += [_read_about(field, *light, True) for light in near[:LIGHTS]]
    readings = _kept(first)
    for reading in about:
        readings += [*_kept(reading)[:1], reading]
    return readings[:READINGS]


def _kept(reading):
    """The reading with all its neighbours taken for images, then with single ones."""
    others = reading.pieces.others
    if not others:
        return []
    singles = [(number,) for number in others[:SINGLES]] if len(others) > 1 else []
    return [reading.keeping(numbers) for numbers in (others, *singles)]


def _bare(field):
    """The field in units of its noise, nothing subtracted."""
    bare = np.zeros(field.light.shape)
    np.divide(field.light, field.sigma, out=bare, where=~field.bad)
    return bare


def _read_about(field, centre, snr, visible, held=False):
    """The reading with the lens galaxy about a position, or, where none shines, with the lens in the middle.

    The galaxy is at the position itself if that is `held`.
    """
    data, mask = field.light, field.bad
    core = adaptive_moments(data, mask, centre)[2]
    if visible:
        galaxy = fit_galaxy(data, field.sigma, mask, centre, held=held)
        centre, size, residual = galaxy.centre, galaxy.half_light_radius, galaxy.residual
    else:
        centre, size = middle_of(data.shape), 0.0
        residual = _bare(field)
    significance = residual_significance(residual, mask, field.blank)
    radius = arc_radius(significance, centre)
    found = Detections(significance, centre)
    # without arcs to be seen, the reach of a lens of that size
    reach = max(radius, size, 3.0), size if visible else None
    pieces = found.pieces(*reach)
    rival, rival_light = 0.0, None
    near = pieces.compact & (distances(data.shape, centre) < 4 * max(pieces.ring, size))
    if visible and near.any():
        rest = np.where(mask, 0.0, data - galaxy.image - galaxy.sky)
        labels, count = ndimage.label(near)
        flux = ndimage.sum_labels(rest, labels, np.arange(1, count + 1))
        rival = max(float(flux.max()), 0.0) / max(float(galaxy.image.sum()), 1e-300)
        rival_light = labels == 1 + np.argmax(flux)
    return Reading(centre, visible, core, size, snr, rival, rival_light, pieces, found, reach)
