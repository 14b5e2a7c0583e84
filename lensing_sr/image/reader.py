# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The one input parser: whatever a user may hold becomes the arguments of `~lensing_sr.image.lens_image.LensImage`.

In a FITS file the science extension is found by name, and its noise, mask and PSF beside it:

===================  ==========================  ============================================
kind of file         science                     beside it
===================  ==========================  ============================================
HST, JWST, others    SCI                         ERR, VAR, IVM; DQ, WHT (zero = bad); PSF
Euclid MER, bands    <BAND>_BGSUB, VIS first     <BAND>_RMS, <BAND>_PSF
CCDData              PRIMARY                     UNCERT (UTYPE), MASK, PSFIMAGE
single image         the only one                --
===================  ==========================  ============================================
"""

import os
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from lensing_sr.errors import ImageReadError, InputError, PixelScaleError
from lensing_sr.geometry.wcs import celestial_wcs, check_table_distortions, pixel_scale_matrix
from lensing_sr.image._files import contents, find_hdu, image_shape, label, open_fits, plane
from lensing_sr.image._maps import NOISE_KINDS, data_quality, load_mask, load_noise, nonzero, sigma_of_extension
from lensing_sr.image.psf import PSF

__all__ = ["read_image"]

_MASKS, _PSFS = ("MASK",), ("PSF", "PSFIMAGE")
_AUXILIARY = {
    *NOISE_KINDS, *_MASKS, *_PSFS, "DQ", "WHT", "WEIGHT", "CTX", "CON", "FLAG", "FLAGS", "SAMP", "TIME", "AREA",
    "EXP", "EXPTIME", "COVERAGE", "NPIX", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "BKG", "BACKGROUND", "SEGM", "SEG",
    "D2IMARR", "WCSDVARR", "ARCS", "LENSLITE", "SOURCE", "DEFLECT", "KAPPA", "MODEL", "RESID",
}  # fmt: skip
_SCIENCE = ("SCI", "SCIENCE")
_SCIENCE_SUFFIXES = ("_BGSUB", "_SCI", "_SCIENCE", "_IMAGE")
_PIXEL_SCALE_CARDS = ("PIXSCALE", "PIXELSCL", "PIXSCL", "PIXSIZE", "SECPIX", "SECPIX1")
_STRUCTURE = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM", "NEXTEND", "XTENSION", "EXTNAME", "EXTVER"}


def read_image(
    source, *, ext=None, psf=None, psf_oversampling=1, noise=None, mask=None, pixel_scale=None, unit=None,
    instrument=None,
):  # fmt: skip
    """Turn any input into the arguments of `~lensing_sr.image.lens_image.LensImage`, and notes on what was chosen.

    Parameters
    ----------
    source : str, os.PathLike, HDUList, HDU, CCDData, NDData, array, or (array, WCS), (array, Header), (array, Quantity)
        The image.
    ext : str or int, optional
        Extension of a FITS file: name, number, "NAME,VER", or a band ("NIR_H" finds NIR_H_BGSUB).
    psf, psf_oversampling, noise, mask, pixel_scale, unit : optional
        As `~lensing_sr.image.lens_image.LensImage`; what is given here wins over what lies in the file.
    instrument : optional
        As `~lensing_sr.image.lens_image.LensImage`; what is given here or lies in the file wins over it.

    Returns
    -------
    arguments : dict
        data, noise, psf, mask, wcs, pixel_scale, unit, name, header, instrument.
    notes : list of str
        What was chosen or assumed.

    Raises
    ------
    lensing_sr.errors.ImageReadError
        If there is no image, more than one, or it cannot be read.
    lensing_sr.errors.PixelScaleError
        If the size of its pixels is unknown, or its WCS cannot be represented.
    """
    notes = []
    if isinstance(source, str | os.PathLike):
        with open_fits(source, "image") as hdus:
            found = _from_hdus(hdus, ext, Path(source), psf, psf_oversampling, noise, mask, notes)
    elif isinstance(source, fits.HDUList):
        found = _from_hdus(source, ext, source.filename(), psf, psf_oversampling, noise, mask, notes)
    elif isinstance(source, fits.hdu.base._BaseHDU):
        found = _from_hdus(fits.HDUList([source]), ext, None, psf, psf_oversampling, noise, mask, notes)
    else:
        if ext is not None:
            raise InputError("ext", "applies to FITS files only", repr(ext), "leave it out")
        found = _from_memory(source)
    header = found.setdefault("header", None)
    headers = [header]  # where a PIXSCALE card may be
    # what is given here wins over what lies in the file
    if unit is not None:
        found["unit"] = unit
    if isinstance(psf, str | os.PathLike):
        found["psf"], psf_header = PSF.read_with_header(psf, psf_oversampling)
        headers.append(psf_header if found["psf"].oversampling == 1 else None)
        notes += _psf_scale_note(psf_header, found)
    elif psf is not None:
        found["psf"] = PSF.coerce(psf, psf_oversampling)
    if noise is not None:
        found["noise"], noise_header = load_noise(noise, np.shape(found["data"]), found.get("unit"))
        headers.append(noise_header)
    if mask is not None:
        found["mask"], mask_header = load_mask(mask, np.shape(found["data"]), found.get("mask"))
        headers.append(mask_header)
    found["pixel_scale"] = pixel_scale if pixel_scale is not None else found.get("pixel_scale")
    found["instrument"] = instrument
    if found.get("wcs") is None and found["pixel_scale"] is None:
        try:
            found["pixel_scale"], note = _pixel_scale_of(headers)
            notes.append(note)
        except PixelScaleError:
            if instrument is None:
                raise
    return found, notes


def _from_memory(source):
    """Arguments from an NDData, an array, or a pair of an array and its WCS, header or pixel scale."""
    if isinstance(source, NDData):
        header = source.meta if isinstance(source.meta, fits.Header) else _as_header(source.meta)
        found = {"data": source.data, "unit": source.unit, "wcs": celestial_wcs(source.wcs), "header": header}
        found["unit"] = header.get("BUNIT") if source.unit is None else source.unit
        found["name"] = _name(header)
        if source.mask is not None:
            found["mask"] = np.broadcast_to(np.asarray(source.mask, dtype=bool), np.shape(source.data))
        if source.uncertainty is not None:
            found["noise"] = load_noise(source.uncertainty, np.shape(source.data), found["unit"])[0]
        if getattr(source, "psf", None) is not None:
            found["psf"] = PSF.from_kernel(source.psf)
        return found
    if isinstance(source, tuple | list) and len(source) == 2 and isinstance(source[1], WCS | fits.Header | u.Quantity):
        data, where = source
        if isinstance(where, fits.Header):
            found = {"wcs": _header_wcs(where), "unit": where.get("BUNIT"), "header": where, "name": _name(where)}
        else:
            found = {"wcs": celestial_wcs(where)} if isinstance(where, WCS) else {"pixel_scale": where}
        return {"data": data, **found}
    if isinstance(source, np.ndarray):
        return {"data": source}
    raise InputError(
        "image", "must be a FITS file, HDUList, CCDData, NDData, (array, wcs) or LensImage", type(source).__name__
    )


def _from_hdus(hdus, ext, path, psf, psf_oversampling, noise, mask, notes):
    """Arguments from a FITS file: the science extension and what lies beside it, except what is given already."""
    path = None if path is None else Path(path)
    index = _science(hdus, ext, path, notes)
    hdu, where = hdus[index], f"{path or 'HDUList'}[{label(hdus[index], index)}]"
    data, header = plane(hdu, "image", where), hdu.header.copy()
    found = {"data": data, "wcs": _header_wcs(header), "unit": header.get("BUNIT")}
    if index != 0:  # exposure time, gain, telescope are often in the primary header alone
        for card in hdus[0].header.cards:
            if card.keyword and card.keyword not in header and not _is_local(card.keyword):
                header.append(card)
    found["header"], found["name"] = header, _name(header, path)

    def beside(names):
        for name in names:
            other = _sibling(hdus, index, name)
            if other is not None:
                return hdus[other]
        return None

    if psf is None and (other := beside(_PSFS)):
        found["psf"] = PSF.from_hdu(plane(other, "psf", other.name), other.header, psf_oversampling)
        notes.append(f"PSF from extension {other.name}")
    if noise is None and (other := beside(NOISE_KINDS)):
        found["noise"] = sigma_of_extension(plane(other, "noise", other.name), other.header, found["unit"])
        notes.append(f"noise from extension {other.name}")
    flagged = []
    if mask is None and (other := beside(_MASKS)):
        flagged.append((other.name, nonzero(plane(other, "mask", other.name)), 1.0))
    if mask is None and (other := beside(("DQ",))):
        flagged.append((other.name, data_quality(plane(other, "mask", other.name), header), 0.5))
    if other := beside(("WHT",)):
        flagged.append((other.name, ~(plane(other, "mask", other.name) > 0), 0.5))
        if found.get("noise") is None and noise is None:
            notes.append("only the zeros of WHT used: its unit (time or inverse variance) is not stated")
    for name, bad, limit in flagged:
        if bad.shape != data.shape:
            notes.append(f"extension {name} ignored: shape {bad.shape} is not the image's")
        elif bad.mean() > limit:  # flags that mark good pixels too, not a mask
            notes.append(f"extension {name} ignored: it flags {100 * bad.mean():.0f} % of the pixels")
        elif bad.any():
            found["mask"] = bad | found.get("mask", False)
            notes.append(f"{bad.sum()} pixels masked by extension {name}")
    return found


def _science(hdus, ext, path, notes):
    """Index of the science extension."""
    have = f"it has: {contents(hdus)}"
    if ext is not None:
        choices = [ext] if not isinstance(ext, str) else [ext] + [ext.strip() + suffix for suffix in _SCIENCE_SUFFIXES]
        for choice in choices:
            index = find_hdu(hdus, choice)
            if index is not None:
                return index
        raise ImageReadError("ext", "must name an extension of the file", repr(ext), have)
    flat = [i for i, hdu in enumerate(hdus) if len(image_shape(hdu)) == 2]
    cubes = [i for i, hdu in enumerate(hdus) if len(image_shape(hdu)) > 2]
    science = [i for i in flat if not _is_auxiliary(hdus[i].name)]
    if len(science) == 1:
        return science[0]
    if not science:
        if any(not _is_auxiliary(hdus[i].name) for i in cubes):
            raise ImageReadError("image", "must be two-dimensional", have, "cut one plane out of the cube")
        raise ImageReadError("image", "must hold an image", str(path or "an HDUList without one"), have)
    for wanted in (_SCIENCE, ("VIS", *("VIS" + suffix for suffix in _SCIENCE_SUFFIXES))):
        named = [i for i in science if hdus[i].name.upper() in wanted]
        if len(named) == 1:
            names = ", ".join(label(hdus[i], i) for i in science if i != named[0])
            notes.append(f"extension {hdus[named[0]].name} used (others: {names}; choose with ext)")
            return named[0]
    names = ", ".join(label(hdus[i], i) for i in science)
    remedy = f"name one, for example ext={label(hdus[science[0]], science[0])!r} (--ext)"
    raise ImageReadError("image", "must hold one image", f"{len(science)}: {names}", remedy)


def _is_auxiliary(name):
    name = name.upper()
    return name in _AUXILIARY or any(name.endswith("_" + other) for other in _AUXILIARY)


def _sibling(hdus, index, kind):
    """Index of the extension of this kind that belongs to the science extension, or None."""
    name, version = hdus[index].name.upper(), hdus[index].ver
    wanted = [kind]
    for suffix in _SCIENCE_SUFFIXES:
        if name.endswith(suffix):
            wanted = [f"{name.removesuffix(suffix)}_{kind}"]
    if name and name not in ("PRIMARY", *_SCIENCE):
        wanted.append(f"{name}_{kind}")
    for i, hdu in enumerate(hdus):
        if i != index and hdu.name.upper() in wanted and hdu.ver == version and len(image_shape(hdu)) == 2:
            return i
    return None


def _header_wcs(header):
    """Celestial WCS of a header, None without one."""
    scales = ("CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2", "PC1_1")
    if not str(header.get("CTYPE1", "")).strip() or not any(card in header for card in scales):
        return None  # names of axes alone would pass for pixels of one degree
    check_table_distortions(header, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dates and obsolete cards that astropy repairs
            return celestial_wcs(WCS(header))
    except PixelScaleError:
        raise
    except Exception as error:  # wcslib has as many kinds of error as headers have faults
        found = str(error).strip().splitlines()[-1]
        raise PixelScaleError("image", "must have a readable WCS, or none", found, "repair the header") from error


def _pixel_scale_of(headers):
    """Pixel scale from a card of the first header that has one (the image's comes first), and a note."""
    for header in headers:
        for card in _PIXEL_SCALE_CARDS if header is not None else ():
            value = header.get(card)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                whose = "its header" if header is headers[0] else "the header of the PSF, noise or mask file"
                return float(value) * u.arcsec / u.pix, f"pixel scale {value:g} arcsec from {card} in {whose}"
    if headers[0] is not None and u.Unit(_linear_unit(headers[0])).is_equivalent(u.arcsec):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(headers[0], naxis=2)
        scale = (pixel_scale_matrix(wcs) / 3600.0 * u.Unit(_linear_unit(headers[0]))).to_value(u.arcsec)
        scale = np.hypot(*scale)
        return scale * u.arcsec / u.pix, f"pixel scale {scale[0]:g} arcsec from the linear axes in its header"
    raise PixelScaleError(
        "pixel_scale",
        "is unknown: the image has no celestial WCS and no PIXSCALE card",
        None,
        "give pixel_scale=0.05 * u.arcsec / u.pix (--pixel-scale ARCSEC), or an instrument (--instrument NAME)",
    )


def _psf_scale_note(header, found):
    """A note where the PSF file states another pixel scale than the image has: the oversampling is then in doubt."""
    stated = next((header[card] for card in _PIXEL_SCALE_CARDS if isinstance(header.get(card), float)), None)
    if stated is None or found.get("wcs") is None:
        return []
    scale = np.sqrt(abs(np.linalg.det(pixel_scale_matrix(found["wcs"]))))
    expected = scale / found["psf"].oversampling
    if abs(stated / expected - 1) < 0.2:
        return []
    return [f"PSF file states pixels of {stated:g} arcsec where {expected:g} are expected: check psf_oversampling"]


def _linear_unit(header):
    try:
        return u.Unit(str(header.get("CUNIT1", "")).strip())
    except ValueError:
        return u.dimensionless_unscaled


def _is_local(keyword):
    """Cards that belong to one HDU: its structure and its coordinates."""
    wcs = ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CROTA", "CUNIT", "CD1_", "CD2_", "PC1_", "PC2_", "PV1_", "PV2_")
    return keyword in _STRUCTURE or keyword.startswith((*wcs, "NAXIS", "COMMENT", "HISTORY", "A_", "B_", "WCS"))


def _as_header(meta):
    """Cards of a plain dictionary, as far as FITS can hold them."""
    cards = dict(meta or {}).items()
    return fits.Header([(k, v) for k, v in cards if isinstance(v, str | int | float) and len(str(k)) <= 8])


def _name(header, path=None):
    """What to call the image: its target, or its file."""
    for card in ("OBJECT", "TARGNAME", "TARGPROP"):
        if isinstance(header.get(card), str) and header[card].strip():
            return header[card].strip()
    if path is None:
        return ""
    stem = path.name.removesuffix(".gz").removesuffix(".fits")
    generic = stem.lower() in ("image", "data", "sci", "science")
    return path.resolve().parent.name if generic else stem
