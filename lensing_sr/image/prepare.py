# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From an image as it comes to what the fit needs: sky, noise scale, lens position, neighbours masked, a fit region."""

from dataclasses import dataclass, field

import numpy as np

from lensing_sr.errors import InputError
from lensing_sr.image.field import measure_field
from lensing_sr.image.galaxy import adaptive_moments
from lensing_sr.image.kernels import SIGMA
from lensing_sr.image.reading import DETECTED, other_readings, read_field

__all__ = ["PreparedImage", "cut_out", "prepare", "read_again"]

#: Pixels a side below which the whole field is fitted; half-size that a fit region exceeds only for larger arcs.
_WHOLE, _HALF = 80, 60
#: Neighbours that make a field crowded; share of the lens galaxy's light above which another galaxy is a rival.
_MANY, _RIVAL = 20, 0.4
#: What is said where there is one.
RIVAL = "second galaxy"
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
    neighbours : int
        How many were masked.
    rival : numpy.ndarray or None
        Bool map of the whole image: the light that raised "second galaxy".
    field : `~lensing_sr.image.field.Field`
        Sky and noise of the whole image.
    reading : `~lensing_sr.image.reading.Reading`
        Which light in it was taken for what.
    settings : tuple
        ``lens_light`` and ``max_radius``.
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
    neighbours: int
    rival: np.ndarray | None
    field: object
    reading: object
    settings: tuple
    notes: list = field(default_factory=list)
    flags: list = field(default_factory=list)

    @property
    def sky(self):
        """Level of the blank sky, in the unit of the image."""
        return self.field.sky

    @property
    def sky_rms(self):
        """Pixel scatter of the blank sky."""
        return self.field.sky_rms

    @property
    def noise_scale(self):
        """By what the noise map was multiplied."""
        return self.field.noise_scale

    @property
    def correlation(self):
        """Lag-1 correlation of the noise."""
        return self.field.correlation

    @property
    def full_noise(self):
        """(ny, nx) sigma map of the whole image, multiplied by `noise_scale`."""
        return self.field.noise

    def __repr__(self):
        x, y = self.lens_position
        return (
            f"<PreparedImage {self.data.shape[0]} x {self.data.shape[1]} pixels, lens at ({x:.2f}, {y:.2f}) arcsec, "
            f"arcs at {self.arc_radius:.2f} arcsec, noise scale {self.noise_scale:.2f}, "
            f"{self.neighbours} neighbours masked>"
        )


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
    field = measure_field(image)
    return _prepared(image, field, read_field(field, lens_light), (lens_light, max_radius))


def read_again(image, prepared, *, elsewhere=True):
    """The image prepared by other readings of its field: see `lensing_sr.image.reading.other_readings`.

    Parameters
    ----------
    image : `~lensing_sr.image.lens_image.LensImage`
        The image.
    prepared : PreparedImage
        That of `prepare`.
    elsewhere : bool
        Whether other light may be the lens galaxy.

    Returns
    -------
    list of PreparedImage
        Their fit regions are alike, as large as the one that needs most.
    """
    readings = other_readings(prepared.field, prepared.reading, prepared.settings[0], elsewhere=elsewhere)
    pixel = float(image.grid.pixel_scale.value)
    half = max((_half(reading, prepared.field, prepared.settings[1], pixel) for reading in readings), default=0.0)
    return [_prepared(image, prepared.field, reading, prepared.settings, half) for reading in readings]


def cut_out(image, prepared):
    """The image prepared by the same reading, with a fit region no larger than it needs."""
    return _prepared(image, prepared.field, prepared.reading, prepared.settings)


def _half(reading, field, max_radius, pixel):
    """Half-size in pixels of the fit region that a reading needs."""
    radius = reading.radius * field.factor
    reach = max(radius, reading.size * field.factor)
    half = max(1.7 * radius, min(1.1 * reading.pieces.extent * field.factor + 3, max(2 * reach, _HALF)))
    half = max(half, min(2.5 * reach, _HALF), 24)
    return half if max_radius is None else min(half, max(max_radius / pixel, 8))


def _prepared(image, field, reading, settings, half=None):
    """What a reading of the field makes of the image; the fit region reaches `half` pixels each way."""
    lens_light, max_radius = settings
    notes, flags = list(field.notes), []
    factor, pieces = field.factor, reading.pieces
    arcs, neighbours = (field.unbinned(part) for part in (pieces.arcs, pieces.neighbours))
    centre = field.in_image(reading.centre)
    full_mask = field.mask.copy()
    full_mask[field.window] |= neighbours
    pixel = float(image.grid.pixel_scale.value)
    slices = _box(field.data.shape, centre, half or _half(reading, field, max_radius, pixel))

    if reading.snr < DETECTED:
        flags.append("no source detected")
    elif _is_point(reading.core * factor, image.psf, pixel) and reading.visible:
        flags.append("point source")
    if pieces.count >= _MANY:
        flags.append("crowded field")
    rival = None
    if reading.rival > _RIVAL:
        flags.append(RIVAL)
        rival = np.zeros(field.data.shape, dtype=bool)
        rival[field.window] = field.unbinned(reading.rival_light)
    border = np.zeros(arcs.shape, dtype=bool)
    border[[0, -1]], border[:, [0, -1]] = True, True
    rows, columns = field.data.shape
    distance = min(*centre, columns - 1 - centre[0], rows - 1 - centre[1])
    if (arcs & border).sum() > 2 or distance < max(1.1 * reading.radius * factor, 3):
        flags.append("edge")
    if pieces.count:
        notes.append(f"{pieces.count} neighbours masked")
    if not reading.visible and lens_light == "auto":
        notes.append("no light of the lens galaxy seen: the lens is taken to be near the centre of the field")
    if reading.radius == 0:
        notes.append("no arcs seen beside the lens galaxy")

    x, y = image.grid.to_arcsec(*centre)
    return PreparedImage(
        data=field.data[slices].copy(),
        noise=field.noise[slices].copy(),
        mask=full_mask[slices].copy(),
        grid=image.grid.cropped(*slices),
        psf=image.psf,
        slices=slices,
        lens_position=(float(x.value), float(y.value)),
        lens_size=reading.size * factor * pixel,
        lens_visible=reading.visible,
        arc_radius=reading.radius * factor * pixel,
        neighbours=pieces.count,
        rival=rival,
        field=field,
        reading=reading,
        settings=settings,
        notes=notes,
        flags=flags,
    )


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
