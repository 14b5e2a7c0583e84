# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A field before anything in it has a name: its sky, its noise, and the pixels in which objects are looked for."""

from dataclasses import dataclass

import numpy as np

from lensing_sr.image.noise import estimate_noise_map, noise_correlation, noise_scale
from lensing_sr.image.sky import blank_sky, sky_level

__all__ = ["Field", "measure_field"]

#: Lag-1 correlation above which it is worth a note.
CORRELATED = 0.15
#: Pixels a side: above the first, detection works on binned pixels; above the second, on the middle of the image.
_BIN_ABOVE, _CROP_ABOVE = 288, 600


@dataclass
class Field:
    """What an image says before anything in it is recognised.

    Attributes
    ----------
    data : numpy.ndarray
        (ny, nx) float64, sky *not* subtracted; 0 where not finite.
    noise : numpy.ndarray
        (ny, nx) sigma map, multiplied by `noise_scale`.
    mask : numpy.ndarray
        (ny, nx) bool, bad pixels.
    sky, sky_rms : float
        Level and pixel scatter of the blank sky, in the unit of the image.
    noise_scale : float
        By what the noise map was multiplied.
    correlation : float
        Lag-1 correlation of the noise.
    window : tuple of slice
        (rows, columns) in which objects are looked for.
    factor : int
        By which pixels are binned for that.
    light, sigma, bad, blank : numpy.ndarray
        The binned window: data without sky, noise, bad pixels, and pixels of blank sky.
    notes : list of str
        Facts.
    """

    data: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    sky: float
    sky_rms: float
    noise_scale: float
    correlation: float
    window: tuple
    factor: int
    light: np.ndarray
    sigma: np.ndarray
    bad: np.ndarray
    blank: np.ndarray
    notes: list

    def unbinned(self, part):
        """A boolean map of the binned window on its pixels."""
        shape = self.data[self.window].shape
        if self.factor == 1:
            return part
        full = np.zeros(shape, dtype=bool)
        fine = part.repeat(self.factor, axis=0).repeat(self.factor, axis=1)
        full[: fine.shape[0], : fine.shape[1]] = fine
        return full

    def in_image(self, centre):
        """(column, row) in the image of one in the binned window."""
        starts = (part.start for part in self.window[::-1])
        return tuple(
            c * self.factor + 0.5 * (self.factor - 1) + start for c, start in zip(centre, starts, strict=True)
        )


def measure_field(image):
    """Sky, noise and blank pixels of a `~lensing_sr.image.lens_image.LensImage`, as a `Field`."""
    notes = []
    mask = np.array(image.mask, dtype=bool)
    data = np.where(np.isfinite(image.data), image.data, 0.0)
    window = tuple(_middle(n, _CROP_ABOVE) for n in data.shape)
    if image.noise is None:
        noise, note = estimate_noise_map(data, mask, image.header, image.unit, image.instrument)
        notes.append(note)
        scale = 1.0
        blank = blank_sky(data[window], noise[window], mask[window])
    else:
        noise = np.where(mask, np.inf, image.noise)
        blank = blank_sky(data[window], noise[window], mask[window])
        scale = noise_scale(data[window], noise[window], blank=blank)
        if scale == 1.0:  # never the outcome of a measurement
            notes.append("too little blank sky to check the noise map")
    correlation = noise_correlation(data[window], noise[window], blank=blank)
    if correlation > CORRELATED:
        notes.append(f"correlated noise (neighbouring pixels {correlation:.2f})")
    sky, rms = sky_level(data[window], blank)
    noise = noise * scale
    factor = 2 if min(s.stop - s.start for s in window) > _BIN_ABOVE else 1
    seen = _binned(data[window] - sky, noise[window], mask[window], blank, factor)
    return Field(data, noise, mask, sky, rms, scale, correlation, window, factor, *seen, notes)


def _middle(n, largest):
    start = max(0, (n - largest) // 2)
    return slice(start, start + min(n, largest))


def _binned(data, noise, mask, blank, factor):
    """Means of good pixels over ``factor`` x ``factor`` blocks, with the noise of such a mean."""
    if factor == 1:
        return data, noise, mask, blank
    ny, nx = (n // factor for n in data.shape)

    def blocks(array):
        return array[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor).sum(axis=(1, 3))

    good = blocks((~mask).astype(float))
    some = np.maximum(good, 1.0)
    mean = blocks(np.where(mask, 0.0, data)) / some
    sigma = np.sqrt(blocks(np.where(mask, 0.0, noise) ** 2)) / some
    bad = good == 0
    return mean, np.where(bad, np.inf, sigma), bad, blocks(blank.astype(float)) == factor**2
