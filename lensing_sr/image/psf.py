# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""PSF: the point-spread function, as a kernel of known sampling, or a Gaussian or Moffat profile of known width."""

import os

import numpy as np
from astropy import units as u
from scipy import ndimage

from lensing_sr.errors import ImageReadError, PSFError
from lensing_sr.image._files import read_plane
from lensing_sr.image.kernels import SIGMA, gaussian_kernel, moffat_kernel
from lensing_sr.instruments.load import load_instrument

__all__ = ["PSF"]

# Real kernels are lopsided: their centroid lies up to 0.2 pixel from the pixel they were centred on.  To interpolate
# those would blur an undersampled core for a shift that only moves the whole scene by some milli-arcseconds.
_CENTRE_TOLERANCE = 0.25
_LOST_LIGHT = 1e-3


class PSF:
    """Point-spread function of an image; make one with `from_kernel`, `from_fwhm` or `read`.

    A kernel acts on a grid ``oversampling`` times finer than the detector.  With ``oversampling=1`` it contains the
    pixel's own response and nothing is binned afterwards; with more, the light is convolved on the fine grid and then
    summed to detector pixels.  A profile is known at any sampling; it is that of the light before the pixels sum it up.

    Attributes
    ----------
    kernel : numpy.ndarray or None
        (n, n) float64, n odd, sum 1, centred on its middle pixel; None for a profile.
    oversampling : int
        Kernel pixels per detector pixel along one axis.
    fwhm : `~astropy.units.Quantity` or None
        Full width at half maximum in arcsec, of a profile.
    beta : float or None
        Exponent of a Moffat profile; None for a Gaussian and for a kernel.
    notes : tuple of str
        What was repaired.

    Examples
    --------
    >>> from astropy import units as u
    >>> from lensing_sr.image.psf import PSF
    >>> psf = PSF.from_fwhm(0.1 * u.arcsec)
    >>> psf
    <PSF Gaussian of FWHM 0.1 arcsec>
    >>> kernel = psf.kernel_at(0.05, 2)
    >>> kernel.shape, round(float(kernel.sum()), 12)
    ((19, 19), 1.0)
    """

    def __init__(self, kernel, oversampling, fwhm, notes=(), beta=None):
        self.kernel, self.oversampling, self.fwhm, self.notes = kernel, oversampling, fwhm, tuple(notes)
        self.beta = beta

    def __repr__(self):
        if self.kernel is None:
            return f"<PSF {self.profile}>"
        n = self.kernel.shape[0]
        width = self.measured_fwhm(1.0)
        return f"<PSF kernel {n} x {n}, oversampling {self.oversampling}, FWHM {width:.3g} detector pixels>"

    @property
    def profile(self):
        """What the profile is, in words; None for a kernel."""
        if self.kernel is not None:
            return None
        if self.beta is None:
            return f"Gaussian of FWHM {self.fwhm.value:.4g} arcsec"
        return f"Moffat of FWHM {self.fwhm.value:.4g} arcsec and beta {self.beta:.4g}"

    @classmethod
    def from_fwhm(cls, fwhm, beta=None):
        """Gaussian, or with ``beta`` a Moffat profile, of a full width at half maximum.

        The formulas are those of `~lensing_sr.image.kernels.gaussian_kernel` and
        `~lensing_sr.image.kernels.moffat_kernel`.

        Parameters
        ----------
        fwhm : `~astropy.units.Quantity`
            Full width at half maximum, an angle.
        beta : float, optional
            Exponent of a Moffat profile, above 1; small ones have wide wings.

        Raises
        ------
        lensing_sr.errors.PSFError
            If the width is not one positive, finite angle, or the exponent not above 1.

        Examples
        --------
        >>> from astropy import units as u
        >>> from lensing_sr.image.psf import PSF
        >>> PSF.from_fwhm(0.13 * u.arcsec, beta=1.71)
        <PSF Moffat of FWHM 0.13 arcsec and beta 1.71>
        """
        try:
            width = u.Quantity(fwhm, dtype=float)
            width = float(width.to_value(u.arcsec))
        except (TypeError, ValueError, u.UnitsError):
            raise PSFError("psf", "must be an angle where it is a FWHM", fwhm, "use 0.1 * u.arcsec") from None
        if not (np.isfinite(width) and width > 0):
            raise PSFError("psf", "must have a positive, finite FWHM", fwhm, "use 0.1 * u.arcsec")
        if beta is not None:
            number = isinstance(beta, int | float | np.integer | np.floating) and not isinstance(beta, bool)
            if not (number and np.isfinite(beta) and beta > 1):
                raise PSFError("beta", "must be a number above 1", repr(beta), "leave it out for a Gaussian")
            beta = float(beta)
        return cls(None, 1, width * u.arcsec, beta=beta)

    @classmethod
    def from_instrument(cls, instrument):
        """Profile of an instrument's point-spread function.

        Parameters
        ----------
        instrument : str or `~lensing_sr.instruments.load.Instrument`
            The instrument, or what `~lensing_sr.instruments.load.load_instrument` finds it by.

        Returns
        -------
        PSF or None
            None for an instrument that does not blur.

        Examples
        --------
        >>> from lensing_sr.image.psf import PSF
        >>> PSF.from_instrument("Model 2")
        <PSF Gaussian of FWHM 0.16 arcsec>
        """
        instrument = load_instrument(instrument)
        if instrument.psf_profile == "none":
            return None
        return cls.from_fwhm(instrument.psf_fwhm * u.arcsec, instrument.psf_beta)

    @classmethod
    def from_kernel(cls, kernel, oversampling=1):
        """Kernel on pixels ``oversampling`` times finer than the detector's; repaired where it needs it.

        Values that are not finite become zero; even-sized, oblong and off-centre kernels are moved, by cubic splines,
        onto the middle pixel of an odd square; the sum becomes 1.  ``notes`` says what was done.

        Parameters
        ----------
        kernel : array_like
            (ny, nx), any normalisation.
        oversampling : int
            At least 1.

        Raises
        ------
        lensing_sr.errors.PSFError
            If it is no two-dimensional array, has no light, or is not finite at its peak.
        """
        oversampling = _check_oversampling(oversampling)
        kernel = np.array(getattr(kernel, "value", kernel), dtype=float)
        if kernel.ndim != 2 or kernel.size == 0:
            raise PSFError("psf", "must be a two-dimensional kernel", f"shape {kernel.shape}")
        notes = []
        bad = ~np.isfinite(kernel)
        if bad.all():
            raise PSFError("psf", "must have finite values", "none", "give another kernel, or the FWHM")
        if bad.any():
            kernel[bad] = 0.0
            row, col = np.unravel_index(np.argmax(kernel), kernel.shape)
            if bad[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2].any():
                raise PSFError("psf", "must be finite around its peak", "NaN or inf there", "give another kernel")
            notes.append(f"PSF: {bad.sum()} values that are not finite set to zero")
        total = kernel.sum()
        if not (total > 0 and kernel.max() > 0):
            raise PSFError("psf", "must have a positive sum", f"{total:g}", "give a kernel of positive values")
        if abs(total - 1) > 1e-3:
            notes.append(f"PSF: kernel of sum {total:.4g} normalised to 1")
        kernel, centring = _centred(kernel / total)
        if centring:
            notes.append(centring)
        return cls(kernel / kernel.sum(), oversampling, None, notes)

    @classmethod
    def read(cls, spec, oversampling=1):
        """Kernel from "FILE" or "FILE,EXT"; an OVERSAMP card (STPSF, WebbPSF) is obeyed.

        Parameters
        ----------
        spec : str or os.PathLike
            FITS file, with the extension after a comma where it has several images.
        oversampling : int
            Kernel pixels per detector pixel; 1 leaves the word to the header.

        Raises
        ------
        lensing_sr.errors.PSFError
            As `from_kernel`, or if ``oversampling`` contradicts the header.
        lensing_sr.errors.ImageReadError
            If the file cannot be read.
        """
        return cls.read_with_header(spec, oversampling)[0]

    @classmethod
    def read_with_header(cls, spec, oversampling=1):
        """As `read`, with the kernel's FITS header beside it."""
        try:
            data, header = read_plane(spec, "psf", names=("PSF", "PSFIMAGE", "DET_DIST", "DET_SAMP"))
        except ImageReadError as error:
            raise PSFError(error.argument, error.rule, error.value, error.remedy) from error
        return cls.from_hdu(data, header, oversampling), header

    @classmethod
    def from_hdu(cls, data, header, oversampling=1):
        """Kernel from an array and its FITS header, whose OVERSAMP card is obeyed."""
        oversampling, stated = _check_oversampling(oversampling), header.get("OVERSAMP")
        notes = ()
        if isinstance(stated, int) and not isinstance(stated, bool) and stated > 1 and stated != oversampling:
            if oversampling != 1:
                raise PSFError(
                    "psf_oversampling", f"must agree with OVERSAMP = {stated} of the PSF's header", oversampling
                )
            oversampling, notes = stated, (f"PSF: oversampling {stated} taken from its header",)
        psf = cls.from_kernel(data, oversampling)
        return cls(psf.kernel, oversampling, None, notes + psf.notes)

    @classmethod
    def coerce(cls, value, oversampling=1):
        """PSF from whatever a user may give: a PSF, a FWHM Quantity, a kernel, "FILE[,EXT]", or None (no blurring)."""
        if value is None or isinstance(value, PSF):
            return value
        if isinstance(value, str | os.PathLike):
            return cls.read(value, oversampling)
        if isinstance(value, u.Quantity) and value.isscalar:
            return cls.from_fwhm(value)
        value = getattr(value, "data", value) if not isinstance(value, np.ndarray) else value
        if np.ndim(value) == 0:
            raise PSFError("psf", "must be a kernel, a file or a FWHM with a unit", value, "use 0.1 * u.arcsec")
        return cls.from_kernel(value, oversampling)

    def kernel_at(self, pixel_scale, sampling):
        """The kernel on pixels ``sampling`` times finer than the detector's.

        Parameters
        ----------
        pixel_scale : float
            Size of a detector pixel in arcsec.
        sampling : float
            Wanted pixels per detector pixel along one axis.

        Returns
        -------
        numpy.ndarray
            (m, m) float64, m odd, sum 1.  A profile is sampled at pixel centres, as by
            `~lensing_sr.image.kernels.gaussian_kernel` and `~lensing_sr.image.kernels.moffat_kernel`.  A kernel of
            this very sampling is returned as it is; a finer one is interpolated by cubic splines about its centre, a
            coarser one summed over the area of its pixels.
        """
        if self.kernel is None:
            pixel = pixel_scale / sampling
            if self.beta is None:
                return gaussian_kernel(self.fwhm.value, pixel)
            return moffat_kernel(self.fwhm.value, self.beta, pixel)
        ratio = sampling / self.oversampling
        if abs(ratio - 1.0) < 1e-9:
            return self.kernel.copy()
        edge = self.kernel.shape[0] / 2.0 * ratio  # from the centre to the kernel's outer edge, in new pixels
        if ratio > 1.0:
            half = int(np.floor(edge - 0.5 + 1e-9))
            kernel = _interpolated(self.kernel, np.arange(-half, half + 1) / ratio)
        else:
            half = int(np.ceil(edge - 0.5 - 1e-9))
            overlap = _overlap(half, self.kernel.shape[0] // 2, ratio)
            kernel = overlap @ self.kernel @ overlap.T
        return kernel / kernel.sum()

    def measured_fwhm(self, pixel_scale):
        """Full width at half maximum in arcsec: of the circle with the area where the PSF is above half its peak.

        Parameters
        ----------
        pixel_scale : float
            Size of a detector pixel in arcsec.
        """
        if self.kernel is None:
            return float(self.fwhm.value)
        return _half_maximum_width(self.kernel) * pixel_scale / self.oversampling


def _check_oversampling(oversampling):
    if isinstance(oversampling, bool) or not isinstance(oversampling, int | float | np.integer | np.floating):
        good = False
    else:
        good = oversampling == int(oversampling) if np.isfinite(oversampling) else False
    if not good or oversampling < 1:
        raise PSFError("psf_oversampling", "must be an integer of at least 1", oversampling)
    return int(oversampling)


def _interpolated(kernel, offsets):
    """Cubic-spline values of a kernel at ``offsets`` (in its pixels) from its middle, along both axes."""
    middle = (kernel.shape[0] - 1) / 2
    rows, cols = np.meshgrid(middle + offsets, middle + offsets, indexing="ij")
    values = ndimage.map_coordinates(kernel, [rows, cols], order=3, mode="nearest")
    # splines ring around a sharp core: no negative light where the kernel had none
    return np.maximum(values, 0.0) if kernel.min() >= 0 else values


def _overlap(half_new, half_old, ratio):
    """(new, old) lengths, in old pixels, by which old pixels overlap new ones that are ``1 / ratio`` times as large."""
    new = (np.arange(-half_new, half_new + 2) - 0.5) / ratio  # edges, in old pixels
    old = np.arange(-half_old, half_old + 2) - 0.5
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    return np.clip(high - low, 0.0, None)


def _half_maximum_width(kernel):
    """Width in pixels of the circle with the area above half maximum; splines refine the kernel up to tenfold."""
    padded = np.pad(kernel, 3)
    row, col = np.unravel_index(np.argmax(padded), padded.shape)
    above = np.argwhere(padded >= 0.4 * padded[row, col])
    reach = np.abs(above - [row, col]).max() + 2
    refine = int(np.clip(300 // reach, 2, 10))
    fine = np.arange(-refine * reach, refine * reach + 1) / refine
    rows, cols = np.meshgrid(row + fine, col + fine, indexing="ij")
    values = ndimage.map_coordinates(padded, [rows, cols], order=3, mode="constant")
    area = np.count_nonzero(values >= 0.5 * values.max()) / refine**2
    return float(2.0 * np.sqrt(area / np.pi))


def _core_centre(kernel):
    """Centroid (row, col) of the core, under a Gaussian window as wide as the core itself: wings cannot pull it."""
    rows, cols = np.indices(kernel.shape)
    centre = np.array(np.unravel_index(np.argmax(kernel), kernel.shape), dtype=float)
    variance = max(1.5, _half_maximum_width(kernel) * SIGMA) ** 2
    for _ in range(200):
        weight = kernel * np.exp(-((rows - centre[0]) ** 2 + (cols - centre[1]) ** 2) / (2 * variance))
        step = np.array([(weight * (rows - centre[0])).sum(), (weight * (cols - centre[1])).sum()]) / weight.sum()
        centre += step
        if np.abs(step).max() < 1e-10:
            break
    return centre


def _centred(kernel):
    """An odd square kernel centred on its middle pixel, and a note (or None) that says what was done for it."""
    ny, nx = kernel.shape
    centre = _core_centre(kernel)
    middle = (np.array(kernel.shape) - 1) / 2
    offset = centre - middle
    odd_square = ny == nx and ny % 2 == 1
    if odd_square and np.abs(offset).max() <= _CENTRE_TOLERANCE:
        return kernel, None
    # a kernel of even size is often centred on a pixel beside the middle: then no interpolation is needed
    nearest = np.rint(centre)
    if np.abs(centre - nearest).max() <= _CENTRE_TOLERANCE:
        centre = nearest
    distance = np.stack([centre, np.array(kernel.shape) - 1 - centre])  # from the centre to the outer pixels
    half = int(np.floor(distance.min() + 0.5 + 1e-6))
    rows, cols = np.indices(kernel.shape)
    inside = (np.abs(rows - centre[0]) < half + 0.5) & (np.abs(cols - centre[1]) < half + 0.5)
    if np.abs(kernel[~inside]).sum() > _LOST_LIGHT * np.abs(kernel).sum():
        half = int(np.ceil(distance.max()))  # rather a square padded with zeros than wings cut off
    axis = np.arange(-half, half + 1)
    grid = np.meshgrid(centre[0] + axis, centre[1] + axis, indexing="ij")
    # padded, so that the spline falls to zero at the edge and does not mirror the wings
    moved = ndimage.map_coordinates(np.pad(kernel, 4), np.array(grid) + 4, order=3, mode="constant")
    if kernel.min() >= 0:
        moved = np.maximum(moved, 0.0)
    shift = f"({offset[1]:+.2f}, {offset[0]:+.2f}) pixel (column, row) off the middle"
    size = "" if odd_square else f"{ny} x {nx} "
    return moved, f"PSF: {size}kernel {shift} recentred on {2 * half + 1} x {2 * half + 1} pixels"
