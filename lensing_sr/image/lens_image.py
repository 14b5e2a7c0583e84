# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""LensImage: an image of a lens with all that is needed to model it."""

import copy
import warnings

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from lensing_sr.errors import ImageReadError, InputError, PixelScaleError, PSFError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.geometry.wcs import crop_wcs
from lensing_sr.image._arguments import check_cutout, check_shape, check_sides
from lensing_sr.image._defaults import default_notes
from lensing_sr.image._maps import good_sigma, load_mask, load_noise
from lensing_sr.image._units import is_per_area, parse_unit
from lensing_sr.image.psf import PSF
from lensing_sr.image.reader import read_image
from lensing_sr.instruments.load import load_instrument

__all__ = ["LensImage"]

_FILL = 1e30  # beyond it, a value marks a missing pixel and would overflow float32
_PIXEL_SCALES = 1e-5, 30.0  # arcsec; outside, a card has the wrong unit


class LensImage:
    """Image of a gravitational lens with its noise, PSF, mask, coordinates and unit.

    Parameters
    ----------
    data : array_like or `~astropy.units.Quantity`
        (ny, nx) image.  NaN, inf, fill values beyond 1e30 and saturated integers are masked.
    noise : float, Quantity, array, `~astropy.nddata.NDUncertainty`, str or os.PathLike, optional
        rms of a pixel, (ny, nx) map of sigmas, an uncertainty, or "FILE[,EXT]", in the unit of the image; None: to be
        estimated later.
    psf : array, `~astropy.units.Quantity`, `~lensing_sr.image.psf.PSF`, str or os.PathLike, optional
        Kernel, FWHM of a Gaussian, or "FILE[,EXT]"; None: no blurring.
    psf_oversampling : int
        Kernel pixels per detector pixel along one axis.
    mask : array, str or os.PathLike, optional
        (ny, nx); non-zero = ignore.
    wcs : `~astropy.wcs.WCS`, optional
        Celestial WCS; it, ``pixel_scale`` or ``instrument`` is needed.
    pixel_scale : `~astropy.units.Quantity` or float, optional
        Size of a pixel in arcsec.
    unit : str or `~astropy.units.Unit`, optional
        Unit of the image, as in BUNIT.
    name : str
        What to call it.
    header : `~astropy.io.fits.Header`, optional
        Its header: exposure time, gain, telescope.
    instrument : str, os.PathLike or `~lensing_sr.instruments.load.Instrument`, optional
        Gives what is not stated otherwise: PSF, pixel scale, and exposure time and gain where the noise is estimated.
        ``notes`` says what was taken.

    Attributes
    ----------
    data : numpy.ndarray
        (ny, nx) float64, as given: bad pixels keep their values (NaN too) and are marked in ``mask``.
    noise : numpy.ndarray or None
        (ny, nx) float64 sigma of each pixel; inf where the map was bad.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    psf : `~lensing_sr.image.psf.PSF` or None
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Shape, pixel scale and WCS.
    unit : `~astropy.units.UnitBase` or None
    bunit_original : str
        The unit as it was written.
    per_area : bool
        True where values are light per solid angle (MJy/sr), False per pixel.
    name : str
    header : `~astropy.io.fits.Header` or None
    instrument : `~lensing_sr.instruments.load.Instrument` or None
    notes : list of str
        What was chosen, assumed or repaired.

    Raises
    ------
    lensing_sr.errors.InputError
        Or one of its kinds; names the argument, the rule, the value and the remedy.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from lensing_sr.image.lens_image import LensImage
    >>> data = np.random.default_rng(1).normal(size=(50, 60))
    >>> image = LensImage(data, noise=1.0, psf=0.1 * u.arcsec, pixel_scale=0.05 * u.arcsec / u.pix, unit="counts/s")
    >>> image
    <LensImage 50 x 60 pixels of 0.05 arcsec, ct / s, noise 1, PSF FWHM 0.1 arcsec, no pixels masked>
    """

    def __init__(
        self, data, *, noise=None, psf=None, psf_oversampling=1, mask=None, wcs=None, pixel_scale=None, unit=None,
        name="", header=None, instrument=None,
    ):  # fmt: skip
        self.notes, self.name, self.header = [], str(name), header
        self.instrument = None if instrument is None else load_instrument(instrument)
        self._taken, self._default_notes = frozenset(), []  # what is the instrument's, and the notes that say so
        if isinstance(data, u.Quantity):
            data, unit = data.value, data.unit if unit is None else unit
        self._set_unit(unit)
        self.data, self.mask = self._checked_data(data)
        if mask is not None:
            self._add_mask(mask)
        if isinstance(wcs, fits.Header):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wcs = WCS(wcs)
        if wcs is None and pixel_scale is None and self.instrument is not None:
            pixel_scale, self._taken = self.instrument.pixel_scale, frozenset({"pixel_scale"})
        self.grid = PixelGrid(self.shape, wcs=wcs, pixel_scale=pixel_scale)
        self._check_pixel_scale()
        self.noise = None
        if noise is not None:
            self._set_noise(noise)
        self.psf = None
        self._set_psf(psf, psf_oversampling)
        self._take_defaults()
        self._check_good_pixels()

    @classmethod
    def read(
        cls, source, *, ext=None, psf=None, psf_oversampling=1, noise=None, mask=None, pixel_scale=None, cutout=None,
        unit=None, instrument=None,
    ):  # fmt: skip
        """Read an image from whatever holds it.

        Parameters
        ----------
        source : str, os.PathLike, HDUList, CCDData, NDData, (array, WCS), LensImage
            The image.  In a FITS file, the science extension and its noise, mask and PSF are found by name.
        ext : str or int, optional
            Extension of a FITS file, or a band: "NIR_H" finds NIR_H_BGSUB.
        psf, psf_oversampling, noise, mask, pixel_scale, unit : optional
            As for `LensImage`; what is given here wins over what lies in the file.
        instrument : optional
            As for `LensImage`; what is given here or lies in the file wins over it.
        cutout : (SkyCoord, Quantity), optional
            Centre and size of the part to keep; see `cutout`.

        Returns
        -------
        LensImage

        Raises
        ------
        lensing_sr.errors.InputError
            Or one of its kinds.
        """
        instrument = None if instrument is None else load_instrument(instrument)
        if isinstance(source, LensImage):
            if ext is not None:
                raise InputError("ext", "applies to FITS files only", repr(ext), "leave it out")
            image = source._with(psf, psf_oversampling, noise, mask, pixel_scale, unit, instrument)
        else:
            arguments, notes = read_image(
                source, ext=ext, psf=psf, psf_oversampling=psf_oversampling, noise=noise, mask=mask,
                pixel_scale=pixel_scale, unit=unit, instrument=instrument,
            )  # fmt: skip
            if cutout is None:
                check_shape(np.shape(arguments["data"])[-2:])  # before the work that a mosaic would mean
            image = cls(**arguments)
            image.notes[:0] = notes
        if cutout is not None:
            image = image.cutout(*check_cutout(cutout))
        check_shape(image.shape)
        return image

    def __repr__(self):
        scales = [self.grid.pixel_scale.value] if self.grid.is_square else np.hypot(*self.grid.matrix)
        parts = [" x ".join(map(str, self.shape)) + " pixels of " + " x ".join(f"{s:.4g}" for s in scales) + " arcsec"]
        parts.append(str(self.unit) if self.unit is not None else "no unit")
        if self.noise is None:
            parts.append("noise to be estimated")
        else:
            parts.append(f"noise {np.median(self.noise[np.isfinite(self.noise)]):.3g}")
        if self.psf is None:
            parts.append("no PSF")
        else:
            parts.append(f"PSF FWHM {self.psf.measured_fwhm(self.grid.pixel_scale.value):.3g} arcsec")
        parts.append(f"{self.mask.sum() or 'no'} pixels masked")
        name = f" {self.name!r}" if self.name else ""
        return f"<LensImage{name} {', '.join(parts)}>"

    @property
    def shape(self):
        """(ny, nx) in pixels."""
        return self.data.shape

    def cutout(self, position, size):
        """The part of the image around a position; (0, 0) arcsec is then the centre of that part.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord` or (Quantity, Quantity)
            Centre: on the sky (needs a celestial WCS), or (x, y) in arcsec of this image's frame.
        size : `~astropy.units.Quantity`
            Length of a side, an angle; a pair is (height, width).

        Returns
        -------
        LensImage
            Trimmed, with a note, where it reaches past the edge.

        Raises
        ------
        lensing_sr.errors.InputError
            If it lies outside the image, or the size is not a positive angle.
        lensing_sr.errors.PixelScaleError
            If a sky position is asked for and there is no celestial WCS.
        """
        size = check_sides(size)
        if isinstance(position, SkyCoord):
            if self.grid.wcs is None:
                raise PixelScaleError(
                    "cutout", "needs an image with a celestial WCS where it is a sky position", None,
                    "cut the image by pixels beforehand, or add a WCS",
                )  # fmt: skip
            if not position.isscalar:
                raise InputError("cutout", "must be one position", f"{position.size} positions")
            x, y = self.grid.from_sky(position)
        else:
            x, y = position
        try:
            centre = np.array(self.grid.to_pixel(x, y), dtype=float)[::-1]  # (row, col)
        except u.UnitsError:
            raise InputError("cutout", "must be a SkyCoord, or x and y as angles", position) from None
        sides = np.hypot(*self.grid.matrix)[::-1]  # arcsec of a pixel along (row, col)
        lengths = np.maximum(np.rint(size / sides), 1)
        where = position.to_string("hmsdms") if isinstance(position, SkyCoord) else f"({x}, {y})"
        outside = InputError("cutout", "must lie in the image", where, "check RA and Dec (degrees) and size (arcsec)")
        if not np.all(np.isfinite(centre)):
            raise outside
        first = np.rint(centre - (lengths - 1) / 2).astype(int)
        low, high = np.maximum(first, 0), np.minimum(first + lengths.astype(int), self.shape)
        if np.any(high <= low) or np.any(centre < -0.5) or np.any(centre > np.array(self.shape) - 0.5):
            raise outside
        part = self._sliced(slice(low[0], high[0]), slice(low[1], high[1]))
        if np.any(high - low < lengths):
            part.notes.append(f"cut-out trimmed at the edge to {high[0] - low[0]} x {high[1] - low[1]} pixels")
        return part

    def _sliced(self, rows, cols):
        part = copy.copy(self)
        part.notes = list(self.notes)
        part.data, part.mask = self.data[rows, cols].copy(), self.mask[rows, cols].copy()
        part.noise = None if self.noise is None else self.noise[rows, cols].copy()
        if self.grid.wcs is None:
            part.grid = PixelGrid(part.shape, pixel_scale=np.diag(self.grid.matrix))
        else:
            part.grid = PixelGrid(part.shape, wcs=crop_wcs(self.grid.wcs, cols.start, rows.start, part.shape))
        part._set_psf(part.psf, 1)
        part._check_good_pixels()
        return part

    def _with(self, psf, psf_oversampling, noise, mask, pixel_scale, unit, instrument):
        """This image with whatever is given replaced; itself where nothing is."""
        if all(value is None for value in (psf, noise, mask, pixel_scale, unit, instrument)):
            return self
        image = copy.copy(self)
        image.notes, image.mask = list(self.notes), self.mask.copy()
        if unit is not None:
            image._set_unit(unit)
        if instrument is not None:
            image.instrument = instrument
            if pixel_scale is None and "pixel_scale" in self._taken:
                image.grid = PixelGrid(self.shape, pixel_scale=image.instrument.pixel_scale, origin=self.grid.origin)
        given = {"psf": psf, "pixel_scale": pixel_scale}
        image._taken = self._taken - {name for name, value in given.items() if value is not None}
        if pixel_scale is not None:
            image.grid = PixelGrid(self.shape, wcs=self.grid.wcs, pixel_scale=pixel_scale, origin=self.grid.origin)
            image._check_pixel_scale()
        if mask is not None:
            image._add_mask(mask)
        if noise is not None:
            image._set_noise(noise)
        image._set_psf(self.psf if psf is None else psf, psf_oversampling)
        image._take_defaults()
        image._check_good_pixels()
        return image

    def _take_defaults(self):
        """Take from the instrument, if there is one, the PSF that nobody gave; say what else comes from it."""
        if self.instrument is None:
            return
        if self.psf is None or "psf" in self._taken:
            self._set_psf(PSF.from_instrument(self.instrument), 1)
            self._taken |= {"psf"}
        self.notes = [note for note in self.notes if note not in self._default_notes]
        self._default_notes = default_notes(self, self._taken)
        self.notes += self._default_notes

    def _set_unit(self, unit):
        self.unit, note = parse_unit(unit)
        self.bunit_original = "" if unit is None else str(unit).strip()
        self.per_area = is_per_area(self.unit)
        if self.unit is None:
            self.notes.append(note or "no unit: taken as light per pixel")

    def _checked_data(self, data):
        """The image as float64 and the mask of its bad pixels."""
        mask = np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else False
        data = np.asarray(np.ma.getdata(data))
        while data.ndim > 2 and data.shape[0] == 1:
            data = data[0]
        mask = np.broadcast_to(mask if np.ndim(mask) == 0 else np.reshape(mask, data.shape), data.shape).copy()
        if data.ndim != 2 or 0 in data.shape:
            shape = " x ".join(map(str, data.shape)) or "a number"
            raise ImageReadError("image", "must be two-dimensional", shape, "cut one plane out of the cube")
        if data.dtype.kind not in "iuf":
            raise ImageReadError("image", "must be of real numbers", data.dtype)
        if data.dtype.kind in "iu" and data.dtype.itemsize < 8:
            limits = np.iinfo(data.dtype)
            saturated = (data == limits.max) | ((data == limits.min) & (limits.min < 0))
            if saturated.any():
                mask |= saturated
                self.notes.append(f"{saturated.sum()} saturated pixels masked (at the limit of {data.dtype})")
        data = data.astype(float)
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(data) < _FILL)
        if bad.all():
            raise ImageReadError("image", "must have a finite value", "none", "take another image")
        if bad.any():
            self.notes.append(f"{bad.sum()} pixels that are not finite masked")
        good = data[~bad]
        if np.all(good == good[0]):
            found = f"the same value, {good[0]:g}, in every pixel"
            raise ImageReadError("image", "must show something", found, "take another image")
        return data, mask | bad

    def _add_mask(self, mask):
        self.mask = self.mask | load_mask(mask, self.shape)[0]

    def _set_noise(self, noise):
        sigma = load_noise(noise, self.shape, self.unit)[0]
        good = good_sigma(sigma, self.data[~self.mask])
        bad = ~good
        if bad.any():
            self.notes.append(f"{bad.sum()} pixels without a good sigma masked")
        self.mask = self.mask | bad
        self.noise = np.where(good, sigma, np.inf)

    def _set_psf(self, psf, psf_oversampling):
        self.psf = PSF.coerce(psf, psf_oversampling)
        if self.psf is None:
            return
        if self.psf.kernel is None:
            side, unit = self.psf.fwhm.value / self.grid.pixel_scale.value, "pixels of FWHM"
        else:
            side, unit = self.psf.kernel.shape[0] / self.psf.oversampling, "pixels"
        if side > min(self.shape):
            raise PSFError(
                "psf",
                "must not be larger than the image (" + " x ".join(map(str, self.shape)) + " pixels)",
                f"{side:.4g} {unit}",
                "crop the kernel, or keep more of the image",
            )
        self.notes += [note for note in self.psf.notes if note not in self.notes]

    def _check_pixel_scale(self):
        scale = self.grid.pixel_scale.value
        if not _PIXEL_SCALES[0] <= scale <= _PIXEL_SCALES[1]:
            raise PixelScaleError(
                "pixel_scale",
                f"must lie between {_PIXEL_SCALES[0]:g} and {_PIXEL_SCALES[1]:g} arcsec",
                f"{scale:g} arcsec",
                "check its unit (arcsec a pixel), or the WCS",
            )

    def _check_good_pixels(self):
        if self.mask.all():
            raise InputError("mask", "must leave a pixel", "an image that is masked everywhere", "check mask and noise")
