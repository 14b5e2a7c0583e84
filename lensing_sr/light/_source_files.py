# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Source planes as images and FITS files: units, errors, and where (0, 0) arcsec of the image plane lies in them."""

import warnings

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS, FITSFixedWarning

from lensing_sr.errors import ImageReadError, InputError, PixelScaleError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.geometry.wcs import sky_to_pixel
from lensing_sr.image._units import parse_unit
from lensing_sr.lensing._deflection_files import EXTENSION as DEFLECTION
from lensing_sr.lensing._deflection_files import ORIGIN
from lensing_sr.light._brightness import pixel_brightness

__all__ = ["build_hdus", "from_image", "plane_grid", "read_image", "to_image"]

#: Where a source and its error lie in a result of this package, and the error in a file of a source alone.
SOURCE, SOURCE_ERROR, ERROR = "SOURCE", "SRCERR", "UNCERT"


def plane_grid(wcs, shape, *, frame=None, header=None):
    """Grid of a source plane in the frame of the image plane.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial, or linear in an angle.
    shape : tuple of int
        (ny, nx).
    frame : `~lensing_sr.geometry.grid.PixelGrid`, optional
        A grid of the image plane: the zero points are at one place of the sky.
    header : mapping, optional
        Where else to look for the zero point of a celestial one.

    Returns
    -------
    `~lensing_sr.geometry.grid.PixelGrid`

    Raises
    ------
    lensing_sr.errors.PixelScaleError
        If the WCS is neither.
    """
    if wcs is not None and wcs.has_celestial:
        origin = None
        if frame is not None and frame.wcs is not None:
            origin = tuple(float(pixel) for pixel in sky_to_pixel(wcs, frame.to_sky(0.0, 0.0)))
        elif header is not None and all(name in header for name in ORIGIN):
            origin = tuple(header[name] - 1.0 for name in ORIGIN)
        return PixelGrid(shape, wcs=wcs, origin=origin)
    if wcs is None or not u.Unit(wcs.wcs.cunit[0]).is_equivalent(u.arcsec):
        rule = "needs a WCS, celestial or linear in arcsec"
        raise PixelScaleError("image", rule, None, "give the grid: PixelGrid(shape, pixel_scale=...)")
    arcsec = u.Unit(wcs.wcs.cunit[0]).to(u.arcsec)
    origin = wcs.wcs_world2pix([[0.0, 0.0]], 0)[0]
    return PixelGrid(shape, pixel_scale=np.hypot(*wcs.pixel_scale_matrix) * arcsec, origin=tuple(origin))


def from_image(image, grid=None):
    """Return ``(brightness, grid, error or None)`` of an image of the source plane; what is bad is dark."""
    data = np.array(image.data, dtype=float)
    grid = plane_grid(image.wcs, data.shape, header=image.meta) if grid is None else grid
    factor = pixel_brightness(image.unit, grid)
    bad = ~np.isfinite(data)
    if image.mask is not None:
        bad |= np.asarray(image.mask, dtype=bool)
    data[bad] = 0.0
    error = None
    if image.uncertainty is not None:
        error = np.array(image.uncertainty.represent_as(StdDevUncertainty).array, dtype=float)
        error[bad] = np.nan
        error = error * factor
    return data * factor, grid, error


def to_image(source, unit=None):
    """Return a source as CCDData in a unit of surface brightness or of flux per pixel; see `PixelSource.to_ccddata`."""
    from lensing_sr.export.fits_layout import linear_header

    grid, own = source.grid, source.brightness.unit
    unit = own if unit is None else u.Unit(unit)
    if own.is_equivalent(unit):
        factor = own.to(unit)
    elif (own * u.arcsec**2).is_equivalent(unit):
        factor = (own * grid.pixel_area).to_value(unit)
    else:
        raise InputError("unit", f"must be a unit to which {own} or {own * u.arcsec**2} converts", repr(str(unit)))
    return CCDData(
        source.brightness.value * factor,
        unit=unit,
        uncertainty=None if source.error is None else StdDevUncertainty(source.error.value * factor),
        wcs=WCS(linear_header(grid.matrix, grid.origin)) if grid.wcs is None else grid.wcs,
        meta={name: position + 1.0 for name, position in zip(ORIGIN, grid.origin)},
    )


def build_hdus(source):
    """Return the FITS file of a source, in memory: brightness in the primary array, its error in UNCERT."""
    from lensing_sr.export.fits_layout import grid_header

    header = grid_header(source.grid)
    header["BUNIT"] = source.brightness.unit.to_string()
    for name, position in zip(ORIGIN, source.grid.origin):
        header[name] = (position + 1.0, "pixel at (0, 0) arcsec of the image plane")
    hdus = fits.HDUList([fits.PrimaryHDU(source.brightness.value, header)])
    if source.error is not None:
        hdus.append(fits.ImageHDU(source.error.value, header, name=ERROR))
        hdus[-1].header["UTYPE"] = "StdDevUncertainty"
    return hdus


def read_image(path):
    """Return ``(CCDData, grid)`` of the source plane in a file; see `PixelSource.read`."""
    from lensing_sr.lensing.deflection import DeflectionField

    try:
        with fits.open(path, memmap=False) as hdus:
            is_result = SOURCE in hdus
            images = [hdu for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] == 2]
            if not images:
                raise ImageReadError("path", "must hold an image of a source plane", path)
            hdu = hdus[SOURCE] if is_result else images[0]
            of_error = SOURCE_ERROR if is_result else ERROR
            header, data = hdu.header, hdu.data.astype(float)
            error = StdDevUncertainty(hdus[of_error].data.astype(float)) if of_error in hdus else None
            frame = DeflectionField.read(path).grid if is_result and DEFLECTION in hdus else None
    except (OSError, TypeError) as error:
        raise ImageReadError("path", "must be a FITS file that can be read", f"{path} ({error})") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header, naxis=2)
    # one that cannot be read counts as none, as for images of lenses
    unit = parse_unit(header.get("BUNIT"))[0] or u.dimensionless_unscaled
    grid = plane_grid(wcs, data.shape, frame=frame, header=header)
    return CCDData(data, unit=unit, uncertainty=error), grid
