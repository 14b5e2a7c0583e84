# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Deflection fields in FITS files: our own, those in our results, and published pairs of maps."""

import warnings

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from lensing_sr.errors import ImageReadError, InputError, PixelScaleError
from lensing_sr.geometry.grid import PixelGrid

__all__ = ["deflection_hdu", "read_field", "read_pair"]

#: Where a field lies in a file of this package, and the cards of the pixel (from 1) at (0, 0) arcsec.
EXTENSION, ORIGIN = "DEFLECT", ("X0PIX", "Y0PIX")


def deflection_hdu(alpha_x, alpha_y, header, origin):
    """Return an HDU with both components in arcsec, the axes of `header` and the frame's origin (col, row) from 0."""
    hdu = fits.ImageHDU(np.stack([alpha_x, alpha_y]), header, name=EXTENSION)
    hdu.header["BUNIT"] = "arcsec"
    for name, position in zip(ORIGIN, origin):
        hdu.header[name] = (position + 1.0, "pixel where the deflection's frame is (0, 0)")
    hdu.header.add_comment("Plane 1: along the columns; plane 2: along the rows.")
    return hdu


def _open(path, argument):
    try:
        return fits.open(path, memmap=False)
    except (OSError, ValueError, TypeError) as error:
        raise ImageReadError(argument, "must be a FITS file that can be read", f"{path} ({error})") from error


def _grid(header, shape, pixel_scale, argument):
    """Grid of an image: celestial WCS, or plain axes in arcsec, or the scale that the user gave."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header, naxis=2)
    origin = tuple(header[name] - 1.0 for name in ORIGIN) if all(name in header for name in ORIGIN) else None
    if wcs.has_celestial:
        return PixelGrid(shape, wcs=wcs, pixel_scale=pixel_scale, origin=origin)
    if pixel_scale is None:
        if str(header.get("CUNIT1", "")).strip() not in ("arcsec", "deg"):
            raise PixelScaleError(argument, "has neither a celestial WCS nor axes in arcsec", None, "give pixel_scale")
        factor = u.Unit(header["CUNIT1"].strip()).to(u.arcsec)
        pixel_scale = np.hypot(*wcs.pixel_scale_matrix) * factor
        if origin is None and not np.any(wcs.wcs.crval):
            origin = tuple(wcs.wcs.crpix - 1.0)
    return PixelGrid(shape, pixel_scale=pixel_scale, origin=origin)


def _unit(header, unit, argument):
    """Unit of a deflection map: the one given, the header's, or arcsec."""
    text = header.get("BUNIT", "arcsec") if unit is None else unit
    try:
        unit = u.Unit(text)
    except (ValueError, TypeError):
        unit = None
    if unit is None or not (unit.is_equivalent(u.arcsec) or unit == u.pix):
        raise InputError(argument, "must be an angle, or pixels", repr(str(text)), "give unit=u.arcsec or unit=u.pix")
    return unit


def read_field(path, ext=None):
    """Return ``(alpha_x, alpha_y, grid)``, in arcsec, of a file that holds both components in one array."""
    with _open(path, "path") as hdus:
        if ext is None:
            cubes = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 3 and hdu.shape[0] == 2]
            named = [hdu for hdu in cubes if hdu.name == EXTENSION]
            chosen = (named or cubes)[:1]
        else:
            try:
                chosen = [hdus[ext]]
            except (KeyError, IndexError):
                names = ", ".join(hdu.name or str(k) for k, hdu in enumerate(hdus))
                raise ImageReadError("ext", f"must be one of {names}", repr(ext)) from None
        if not chosen or not chosen[0].is_image or chosen[0].header.get("NAXIS") != 3 or chosen[0].shape[0] != 2:
            raise ImageReadError(
                "path", "must hold a deflection field of shape (2, ny, nx)", path, "use from_fits for two files"
            )
        data, header = np.asarray(chosen[0].data, dtype=float), chosen[0].header
    grid = _grid(header, data.shape[1:], None, "path")
    return *_angles(data[0], data[1], _unit(header, None, "BUNIT"), grid), grid


def _read_component(path, argument, ext=None):
    """Return ``(data, header)`` of the one map in a file, or of the extension asked for."""
    with _open(path, argument) as hdus:
        try:
            candidates = [hdus[ext]] if ext is not None else [h for h in hdus if h.is_image and h.header["NAXIS"] > 1]
        except (KeyError, IndexError):
            raise ImageReadError("ext", f"must be an extension of {path}", repr(ext)) from None
        if len(candidates) != 1 or not candidates[0].is_image or np.squeeze(candidates[0].data).ndim != 2:
            found = f"{path} with {len(candidates)} images"
            raise ImageReadError(argument, "must hold one two-dimensional map", found, "give ext")
        return np.squeeze(candidates[0].data).astype(float), candidates[0].header


def read_pair(x_file, y_file, unit=None, pixel_scale=None, ext=None):
    """Return ``(alpha_x, alpha_y, grid)``, in arcsec, of two files with one component each."""
    data_x, header = _read_component(x_file, "x_file", ext)
    data_y, header_y = _read_component(y_file, "y_file", ext)
    if data_x.shape != data_y.shape:
        raise InputError("y_file", f"must have the shape {data_x.shape} of x_file", data_y.shape)
    grid = _grid(header, data_x.shape, pixel_scale, "x_file")
    units = [_unit(h, unit, "unit") for h in (header, header_y)]
    if units[0] != units[1]:
        raise InputError("y_file", f"must be in the unit of x_file, {units[0]}", units[1], "give unit")
    return *_angles(data_x, data_y, units[0], grid), grid


def _angles(alpha_x, alpha_y, unit, grid):
    """Components in arcsec of the grid's frame."""
    if unit == u.pix:
        (xx, xy), (yx, yy) = grid.matrix
        return xx * alpha_x + xy * alpha_y, yx * alpha_x + yy * alpha_y
    factor = unit.to(u.arcsec)
    return alpha_x * factor, alpha_y * factor
