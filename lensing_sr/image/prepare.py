# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From an image as it comes to what the fit needs: sky, noise scale, lens position, neighbours masked, a fit region."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from lensing_sr.errors import InputError
from lensing_sr.image.detect import (
    Pieces,
    arc_radius,
    distances,
    find_lens,
    find_pieces,
    is_image,
    lens_is_visible,
    residual_significance,
)
from lensing_sr.image.galaxy import adaptive_moments, fit_galaxy
from lensing_sr.image.kernels import SIGMA
from lensing_sr.image.noise import estimate_noise_map, noise_correlation, noise_scale
from lensing_sr.image.sky import blank_sky, sky_level

__all__ = ["PreparedImage", "prepare"]

#: Lag-1 correlation above which it is worth a note.
CORRELATED = 0.15
#: Pixels a side: above the first, detection works on binned pixels; above the second, on the middle of the image.
_BIN_ABOVE, _CROP_ABOVE = 288, 600
#: Pixels a side below which the whole field is fitted; half-size that a fit region exceeds only for larger arcs.
_WHOLE, _HALF = 80, 60
#: Signal-to-noise ratio of a detected lens.
_DETECTED = 5.0
#: Neighbours that make a field crowded; share of the lens galaxy's light above which another galaxy is a rival.
_MANY, _RIVAL = 20, 0.4
#: Samples of a profile's FWHM that tell its moments.
_SAMPLES = 4


@dataclass
class PreparedImage:
    """What the fit sees of an image.

    Attributes
    ----------
    data : numpy.ndarray
        (ny, nx) float64 cut-out, sky *not* subtracted.
    noise : numpy.ndarray
        (ny, nx) sigma map, multiplied by `noise_scale`.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore: bad pixels and neighbours.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Of the cut-out, with the zero point of the whole image.
    psf : `~lensing_sr.image.psf.PSF` or None
    slices : tuple of slice
        (rows, columns) of the cut-out in the whole image.
    lens_position : tuple of float
        (x, y) of the lens galaxy in arcsec.
    lens_size : float
        Half-light radius of the lens galaxy in arcsec, roughly; 0 where it is not seen.
    lens_visible : bool
        Whether the lens galaxy shines; otherwise the lens is taken to be at the centre of the field.
    arc_radius : float
        Radius in arcsec about which the light of arcs gathers; 0 where none is seen.  The outer image of a source is
        the larger one, so the Einstein radius is between half and all of it (on 39 published lenses, 0.51 to 1.0).
    sky, sky_rms : float
        Level and pixel scatter of the blank sky, in the unit of the image.
    noise_scale : float
        By what the noise map was multiplied.
    correlation : float
        Lag-1 correlation of the noise.
    neighbours : int
        How many were masked.
    full_noise : numpy.ndarray
        Sigma map of the whole image, multiplied by `noise_scale`.
    notes, flags : list of str
        Facts; and reasons not to trust a fit: "no source detected", "point source",
        "crowded field", "second galaxy", "edge".
    """

    data: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    grid: object
    psf: object
    slices: tuple
    lens_position: tuple
    lens_size: float
    lens_visible: bool
    arc_radius: float
    sky: float
    sky_rms: float
    noise_scale: float
    correlation: float
    neighbours: int
    full_noise: np.ndarray
    notes: list = field(default_factory=list)
    flags: list = field(default_factory=list)

    def __repr__(self):
        x, y = self.lens_position
        return (
            f"<PreparedImage {self.data.shape[0]} x {self.data.shape[1]} pixels, lens at ({x:.2f}, {y:.2f}) arcsec, "
            f"arcs at {self.arc_radius:.2f} arcsec, noise scale {self.noise_scale:.2f}, "
            f"{self.neighbours} neighbours masked>"
        )


@dataclass
class _Found:
    """What `_find` reads off a field, in its pixels."""

    centre: tuple
    core: float
    size: float
    visible: bool
    snr: float
    radius: float
    pieces: Pieces
    rival: float


def prepare(image, *, max_radius=None, lens_light="auto"):
    """Prepare an image for the fit.

    1. the blank sky gives the sky's level, the scale of the noise map and its correlation;
    2. the lens galaxy is the brightest compact light near the middle;
    3. a smooth model of it is subtracted; what is left over are arcs and neighbours;
    4. neighbours, what is clearly detected beyond the reach of the arcs, are masked;
    5. the fit region is a square about the lens that holds arcs and galaxy.

    Parameters
    ----------
    image : `~lensing_sr.image.lens_image.LensImage`
        The image.
    max_radius : float, optional
        Largest half-size of the fit region in arcsec.
    lens_light : {"auto", True, False}
        Whether the lens galaxy shines; if not, the lens is taken to be at the centre of the field.

    Returns
    -------
    PreparedImage

    Raises
    ------
    lensing_sr.errors.InputError
        If ``max_radius`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.lens_image import LensImage
    >>> from lensing_sr.image.prepare import prepare
    >>> y, x = np.mgrid[-75:76, -75:76] * 0.05
    >>> light = 20 * np.exp(-np.hypot(x - 0.1, y) / 0.3)
    >>> light += 3 * np.exp(-0.5 * ((np.hypot(x, y) - 1.2) / 0.08) ** 2) * (y > 0)  # an arc
    >>> light += 30 * np.exp(-0.5 * ((x - 3) ** 2 + y**2) / 0.01)  # a star
    >>> light += np.random.default_rng(1).normal(scale=0.05, size=light.shape)
    >>> prepared = prepare(LensImage(light, noise=0.1, pixel_scale=0.05, unit="electron/s"))
    >>> prepared.neighbours, round(prepared.lens_position[0], 2), round(prepared.arc_radius, 1)
    (1, 0.1, 1.2)
    >>> round(prepared.noise_scale, 1), prepared.flags
    (0.5, [])
    """
    if max_radius is not None and not max_radius > 0:
        raise InputError("max_radius", "must be positive, in arcsec", max_radius)
    notes, flags = [], []
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
    found = _find(*_binned(data[window] - sky, noise[window], mask[window], blank, factor), lens_light)
    arcs, neighbours = (
        _unbinned(part, factor, data[window].shape) for part in (found.pieces.arcs, found.pieces.neighbours)
    )
    centre = tuple(
        c * factor + 0.5 * (factor - 1) + s.start for c, s in zip(found.centre, window[::-1], strict=True)
    )
    full_mask = mask.copy()
    full_mask[window] |= neighbours
    pixel = float(image.grid.pixel_scale.value)

    reach = max(found.radius, found.size) * factor
    half = max(1.7 * found.radius * factor, min(1.1 * found.pieces.extent * factor + 3, max(2 * reach, _HALF)))
    half = max(half, min(2.5 * reach, _HALF), 24)
    if max_radius is not None:
        half = min(half, max(max_radius / pixel, 8))
    slices = _box(data.shape, centre, half)

    if found.snr < _DETECTED:
        flags.append("no source detected")
    elif _is_point(found.core * factor, image.psf, pixel) and found.visible:
        flags.append("point source")
    if found.pieces.count >= _MANY:
        flags.append("crowded field")
    if found.rival > _RIVAL:
        flags.append("second galaxy")
    border = np.zeros(arcs.shape, dtype=bool)
    border[[0, -1]], border[:, [0, -1]] = True, True
    distance = min(*centre, data.shape[1] - 1 - centre[0], data.shape[0] - 1 - centre[1])
    if (arcs & border).sum() > 2 or distance < max(1.1 * found.radius * factor, 3):
        flags.append("edge")
    if found.pieces.count:
        notes.append(f"{found.pieces.count} neighbours masked")
    if not found.visible and lens_light == "auto":
        notes.append("no light of the lens galaxy seen: the lens is taken to be near the centre of the field")
    if found.radius == 0:
        notes.append("no arcs seen beside the lens galaxy")

    x, y = image.grid.to_arcsec(*centre)
    return PreparedImage(
        data=data[slices].copy(),
        noise=noise[slices].copy(),
        mask=full_mask[slices].copy(),
        grid=image.grid.cropped(*slices),
        psf=image.psf,
        slices=slices,
        lens_position=(float(x.value), float(y.value)),
        lens_size=found.size * factor * pixel,
        lens_visible=found.visible,
        arc_radius=found.radius * factor * pixel,
        sky=sky,
        sky_rms=rms,
        noise_scale=scale,
        correlation=correlation,
        neighbours=found.pieces.count,
        full_noise=noise,
        notes=notes,
        flags=flags,
    )


def _find(data, noise, mask, blank, lens_light):
    """Read a sky-subtracted field: see `_Found`."""
    centre, snr = find_lens(data, noise, mask)
    middle = ((data.shape[1] - 1) / 2, (data.shape[0] - 1) / 2)
    visible = lens_light is True or (lens_light == "auto" and lens_is_visible(data, mask, centre))
    visible = bool(visible and snr >= _DETECTED)
    bare = np.zeros(data.shape)
    np.divide(data, noise, out=bare, where=~mask)
    if visible and lens_light == "auto":
        visible = not is_image(residual_significance(bare, mask, blank), centre)
    core = adaptive_moments(data, mask, centre)[2]
    if visible:
        galaxy = fit_galaxy(data, noise, mask, centre)
        centre, size, residual = galaxy.centre, galaxy.half_light_radius, galaxy.residual
    else:
        centre, size = middle, 0.0
        residual = bare
    significance = residual_significance(residual, mask, blank)
    radius = arc_radius(significance, centre)
    # without arcs to be seen, the reach of a lens of that size
    pieces = find_pieces(significance, centre, max(radius, size, 3.0), size if visible else None)
    rival = 0.0
    if visible and pieces.compact.any():
        rest = np.where(mask, 0.0, data - galaxy.image - galaxy.sky)
        labels, count = ndimage.label(pieces.compact & (distances(data.shape, centre) < 4 * max(pieces.ring, size)))
        flux = ndimage.sum_labels(rest, labels, np.arange(1, count + 1))
        rival = float(max(flux, default=0.0) / max(galaxy.image.sum(), 1e-300))
    return _Found(centre, core, size, visible, snr, pieces.ring, pieces, rival)


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


def _unbinned(part, factor, shape):
    if factor == 1:
        return part
    full = np.zeros(shape, dtype=bool)
    fine = part.repeat(factor, axis=0).repeat(factor, axis=1)
    full[: fine.shape[0], : fine.shape[1]] = fine
    return full


def _box(shape, centre, half):
    """Slices of an even-sided square about a centre, moved inwards at the edges; the whole field if it is small."""
    side = 4 * int(np.ceil(half / 2))
    slices = []
    for n, c in zip(shape, centre[::-1], strict=True):
        if n <= max(_WHOLE, 1.1 * side):
            slices.append(slice(0, n))
            continue
        start = int(np.clip(np.rint(c - (side - 1) / 2), 0, n - side))
        slices.append(slice(start, start + side))
    return tuple(slices)


def _is_point(core, psf, pixel):
    """Whether an object's core, in pixels, is no wider than the PSF's."""
    if psf is None:
        return False
    if psf.kernel is None and psf.beta is None:
        width = psf.fwhm.to_value("arcsec") * SIGMA / pixel
    else:
        kernel, oversampling = psf.kernel, psf.oversampling
        if kernel is None:  # the wings of a Moffat profile widen its moments
            oversampling = max(1, int(np.ceil(_SAMPLES * pixel / psf.fwhm.to_value("arcsec"))))
            kernel = psf.kernel_at(pixel, oversampling)
        middle = ((kernel.shape[1] - 1) / 2, (kernel.shape[0] - 1) / 2)
        width = adaptive_moments(kernel, np.zeros(kernel.shape, bool), middle, 1.5 * oversampling)[2]
        width /= oversampling
    return bool(core < 1.15 * max(width, 0.6))
