# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The FITS file of a result: which piece lies in which extension, and which value under which keyword.

`~astropy.nddata.CCDData` reads the file as it is: the super-resolved image is the primary array, with its uncertainty,
mask and point-spread function where that class looks for them.
"""

import math
import re
from datetime import UTC, datetime

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import Table

from lensing_sr.export.atomic import atomic_path

__all__ = [
    "EXTENSIONS",
    "KEYWORDS",
    "build_hdus",
    "grid_header",
    "linear_header",
    "now",
    "sigma",
    "wcs_header",
    "write_hdus",
]

#: Extension of each piece of a result.  The super-resolved image itself is the primary array.
EXTENSIONS = {
    "uncertainty": "UNCERT",
    "mask": "MASK",
    "psf": "PSFIMAGE",
    "arcs": "ARCS",
    "lens_light": "LENSLITE",
    "source_image": "SOURCE",
    "source_error": "SRCERR",
    "deflection": "DEFLECT",
    "convergence": "KAPPA",
    "convergence_correction": "KAPCORR",
    "significance": "KAPSIG",
    "perturbers": "PERTURB",
    "model": "MODEL",
    "residual": "RESID",
    "parameters": "LENSPARS",
}

#: Header keyword and comment of each value of a result.
KEYWORDS = {
    "creator": ("CREATOR", "software that made this file"),
    "date": ("DATE", "UTC when this file was made"),
    "scale": ("SRSCALE", "input pixels over output pixels, per axis"),
    "method": ("SRMETHOD", "how the deflection was found"),
    "network": ("SRNET", "network that proposed it, if any"),
    "weights_sha256": ("SRWTSHA", "SHA-256 of the weights"),
    "source": ("SRSOURCE", "source model: sersic or pixel"),
    "seed": ("SRSEED", "seed of the random numbers"),
    "time_s": ("SRTIME", "[s] spent in super_resolve"),
    "chi2": ("CHI2RED", "reduced chi-square, after NOISESCL"),
    "noise_scale": ("NOISESCL", "true noise over the given noise"),
    "sky": ("SKYLEVEL", "sky removed, in units of the input image"),
    "flags": ("SRFLAGS", "reasons not to trust the result"),
    "notes": ("SRNOTES", "facts about the result"),
    "lens_evidence": ("LENSEVID", "log evidence ratio, lens against no lens"),
    "lens_probability": ("LENSPROB", "that it is a lens, at even odds beforehand"),
    "doubt": ("SRDOUBT", "probability that theta_E is off by > 20 %"),
    "consistency": ("CHI2CONS", "chi-square of result against input"),
    "kept": ("SRKEPT", "steps beyond the smooth model"),
    "evidence_pixel_source": ("EVIDSRC", "log evidence ratio of a pixel source"),
    "evidence_potential": ("EVIDPOT", "log evidence ratio of a correction"),
    "evidence_perturbers": ("EVIDPERT", "log evidence ratio of compact perturbers"),
    "validation_ratio": ("VALRATIO", "VALCHI2 over VALINTER, below 1 is better"),
    "validation_chi2": ("VALCHI2", "mean chi-square of withheld pixels"),
    "validation_interpolation": ("VALINTER", "the same of the best interpolation"),
    "validation_best": ("VALBEST", "best interpolation"),
    "validation_floor": ("VALFLOOR", "estimate of the lowest possible VALCHI2"),
    "validation_chi2_unshared": ("VALUCHI2", "VALCHI2 without noise that images share"),
    "validation_interpolation_unshared": ("VALUINTR", "least of interpolations without that noise"),
    "validation_scale": ("VALSCALE", "binning that withheld the pixels"),
    "validation_pixels": ("VALPIX", "withheld pixels that were scored"),
}

# Cards that belong to the array of the input, not to its observation.
_NOT_COPIED = re.compile(
    r"^(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|EXTNAME|EXTVER|EXTLEVEL|NEXTEND|INHERIT|BSCALE|"
    r"BZERO|BLANK|BUNIT|DATAMIN|DATAMAX|CHECKSUM|DATASUM|DATE|ORIGIN|FILENAME|Z(IMAGE|BITPIX|NAXIS\d*|CMPTYPE|TILE\d)|"
    r"WCSAXES.?|WCSNAME.?|C(TYPE|RPIX|RVAL|DELT|UNIT|ROTA|NAME)\d[A-Z]?|(CD|PC|PV|PS)\d+_\d+[A-Z]?|LONPOLE.?|LATPOLE.?|"
    r"RADESYS.?|RADECSYS|EQUINOX.?|EPOCH|(A|B|AP|BP)_(\d_\d|ORDER|DMAX)|(CPDIS|D2IMDIS|CPERR|DP|DQ|D2IM)\d.*|"
    r"LTV\d|LTM\d_\d|OBSGEO.*|)$"
)


def wcs_header(wcs):
    """
    Header cards of a world coordinate system, distortion included, exact to the last digit that a card holds.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two axes.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        Carries one CD matrix, whatever mixture of cards the system was read from.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from lensing_sr.export.fits_layout import wcs_header
    >>> wcs = WCS(naxis=2)
    >>> wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [150.123456789012, 2.2], [-1e-5, 1e-5]
    >>> header = wcs_header(wcs)
    >>> header["CRVAL1"], header["CD1_1"]
    (150.123456789012, -1e-05)
    """
    header = wcs.to_header(relax=True)
    for card in list(header):
        # MJDREF = 0 comes with every header that astropy writes.
        if re.match(r"(PC\d_\d|CDELT\d)$", card) or (card == "MJDREF" and header[card] == 0):
            del header[card]
    # WCS.to_header keeps twelve digits, about 4 micro-arcsec of right ascension; a card has room for more.
    matrix = wcs.pixel_scale_matrix
    for i in range(2):
        header[f"CRPIX{i + 1}"] = float(wcs.wcs.crpix[i])
        header[f"CRVAL{i + 1}"] = float(wcs.wcs.crval[i])
        for j in range(2):
            header[f"CD{i + 1}_{j + 1}"] = float(matrix[i, j])
    return header


def linear_header(matrix, origin):
    """
    Header cards of plain axes in arcsec, so that an image without a celestial system keeps its pixel scale.

    Parameters
    ----------
    matrix : array of shape (2, 2)
        arcsec per pixel, (x, y) = matrix @ (column - origin[0], row - origin[1]).
    origin : tuple of float
        Column and row (from 0) where x = y = 0.

    Returns
    -------
    header : `~astropy.io.fits.Header`

    Examples
    --------
    >>> from lensing_sr.export.fits_layout import linear_header
    >>> linear_header([[0.05, 0], [0, 0.05]], (31.5, 31.5))["CUNIT1"]
    'arcsec'
    """
    header = fits.Header()
    header["WCSAXES"] = 2
    for i in range(2):
        header[f"CUNIT{i + 1}"] = "arcsec"
        header[f"CRPIX{i + 1}"] = float(origin[i]) + 1
        header[f"CRVAL{i + 1}"] = 0.0
        for j in range(2):
            header[f"CD{i + 1}_{j + 1}"] = float(matrix[i][j])
    return header


def grid_header(grid):
    """
    Header cards of a grid: celestial where it has a WCS, else linear in arcsec.

    Parameters
    ----------
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        The grid.

    Returns
    -------
    header : `~astropy.io.fits.Header`

    Examples
    --------
    >>> from lensing_sr.export.fits_layout import grid_header
    >>> from lensing_sr.geometry.grid import PixelGrid
    >>> grid_header(PixelGrid((4, 4), pixel_scale=0.05))["CD1_1"]
    0.05
    """
    return linear_header(grid.matrix, grid.origin) if grid.wcs is None else wcs_header(grid.wcs)


def _text(value):
    """Only what a FITS card can hold."""
    return " ".join(str(value).encode("ascii", "replace").decode().split())


def _card_value(value):
    """A value as a FITS card holds it: lists joined by commas, what is not finite left undefined."""
    if isinstance(value, (list, tuple)):
        # The comma separates, so it cannot stand inside.
        return ",".join(_text(item).replace(",", ";") for item in value)
    if value is None or isinstance(value, str):
        return _text(value or "")
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value)


def _card(value, comment):
    """Value and comment, without the comment where a text leaves no room for it (longer ones go on in more cards)."""
    room = 80 - len("KEYWORD = '' / ")
    alone = isinstance(value, str) and len(value.replace("'", "''")) <= 68
    return (value, "") if alone and len(value.replace("'", "''")) + len(comment) > room else (value, comment)


def _copied(header):
    """The cards of an input header that still hold for the output."""
    kept = fits.Header()
    if header is None:
        return kept
    cards = header.cards if isinstance(header, fits.Header) else [(key, value, "") for key, value in header.items()]
    ours = {keyword for keyword, _ in KEYWORDS.values()}
    for keyword, value, comment in cards:
        keyword = str(keyword).upper()
        if _NOT_COPIED.match(keyword) or keyword in ours or len(keyword) > 8:
            continue
        if keyword in ("HISTORY", "COMMENT"):
            kept.add_history(_text(value)) if keyword == "HISTORY" else kept.add_comment(_text(value))
        elif isinstance(value, (str, bool, int, float, np.integer, np.floating)) and keyword not in kept:
            if not isinstance(value, (float, np.floating)) or math.isfinite(value):
                kept[keyword] = (_text(value) if isinstance(value, str) else value, _text(comment))
    return kept


def sigma(image):
    """
    Standard deviation of an image, whatever kind of uncertainty it carries.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`
        The image.

    Returns
    -------
    sigma : array or None
        Shape of the image; None where it has no uncertainty.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData, VarianceUncertainty
    >>> from lensing_sr.export.fits_layout import sigma
    >>> sigma(CCDData(np.ones(2), unit="adu", uncertainty=VarianceUncertainty(np.full(2, 4.0))))
    array([2., 2.])
    """
    if image.uncertainty is None:
        return None
    return np.asarray(image.uncertainty.represent_as(StdDevUncertainty).array, dtype=float)


def build_hdus(images, values, *, grids, deflection=None, parameters=None, perturbers=None, psf=None, history=()):
    """
    The FITS file of a result, in memory.

    Parameters
    ----------
    images : dict of `~astropy.nddata.CCDData`
        ``image``, and by the names of `EXTENSIONS` ``arcs``, ``lens_light``, ``source_image``, ``model``, ``residual``.
        The uncertainty, mask and header of ``image`` are written too: of the header what describes the observation is
        kept, what describes the array is not.  An uncertainty of ``source_image`` becomes the extension SRCERR.
        ``convergence_correction`` and ``significance`` too; a missing image, or None, gets no extension.
    values : dict
        Values by the names of `KEYWORDS`.
    grids : dict of `~lensing_sr.geometry.grid.PixelGrid`
        ``fine``, ``input`` and, where it is known, ``source``.
    deflection : `~lensing_sr.lensing.deflection.DeflectionField`, optional
        On the fine grid; its convergence is written too.
    parameters : `~astropy.table.Table`, optional
        With columns name, value, error, unit and, where it has one, error_95.
    perturbers : `~astropy.table.Table`, optional
        Point masses; written where there are any.
    psf : array, optional
        Point-spread function of ``image``.
    history : iterable of str
        One entry a step.

    Returns
    -------
    hdus : `~astropy.io.fits.HDUList`

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from lensing_sr.export.fits_layout import build_hdus
    >>> from lensing_sr.geometry.grid import PixelGrid
    >>> image = CCDData(np.ones((4, 4)), unit="adu")
    >>> grids = {"fine": PixelGrid((4, 4), pixel_scale=0.05)}
    >>> hdus = build_hdus({"image": image, "arcs": image}, {"scale": 2, "flags": ("edge",)}, grids=grids)
    >>> [hdu.name for hdu in hdus], hdus[0].header["SRFLAGS"]
    (['PRIMARY', 'MASK', 'ARCS'], 'edge')
    """
    image = images["image"]
    axes = {name: grid_header(grid) for name, grid in grids.items()}
    primary = fits.PrimaryHDU(np.asarray(image.data, dtype=np.float32))
    primary.header.update(axes["fine"])
    primary.header.extend(_copied(image.header), unique=True)
    primary.header["BUNIT"] = (_unit_text(image.unit), "unit of the images")
    for field, (keyword, comment) in KEYWORDS.items():
        if field in values:
            primary.header[keyword] = _card(_card_value(values[field]), comment)
    for step in history:
        primary.header.add_history(_text(step))
    hdus = fits.HDUList([primary])

    def add(piece, data, grid=None, unit=None, dtype=np.float32):
        hdu = fits.ImageHDU(np.asarray(data, dtype=dtype), axes.get(grid), name=EXTENSIONS[piece])
        if unit is not None:
            hdu.header["BUNIT"] = _unit_text(unit)
        hdus.append(hdu)

    if image.uncertainty is not None:
        add("uncertainty", sigma(image), "fine", image.unit)
        hdus[-1].header["UTYPE"] = "StdDevUncertainty"
    mask = np.zeros(image.shape, dtype=bool) if image.mask is None else image.mask
    add("mask", mask, "fine", dtype=np.uint8)
    if psf is not None:
        add("psf", psf)
    for piece, grid in (("arcs", "fine"), ("lens_light", "fine"), ("source_image", "source")):
        if images.get(piece) is not None:
            add(piece, images[piece].data, grid, images[piece].unit)
    if images.get("source_image") is not None and images["source_image"].uncertainty is not None:
        add("source_error", sigma(images["source_image"]), "source", images["source_image"].unit)
    if deflection is not None:
        hdus.append(deflection.to_hdu())
        add("convergence", deflection.convergence, "fine", u.dimensionless_unscaled)
    for piece in ("convergence_correction", "significance"):
        if images.get(piece) is not None:
            add(piece, images[piece].data, "fine", u.dimensionless_unscaled)
    for piece in ("model", "residual"):
        if images.get(piece) is not None:
            add(piece, images[piece].data, "input", images[piece].unit)
    if parameters is not None:
        hdus.append(_table_hdu(parameters))
    if perturbers:
        hdus.append(fits.BinTableHDU(perturbers, name=EXTENSIONS["perturbers"]))
    return hdus


def _unit_text(unit):
    """What CCDData.read takes: an empty string for no unit, since it fails without the card."""
    return "" if unit is None else u.Unit(unit).to_string()


def _table_hdu(parameters):
    table = Table()
    table["NAME"] = [_text(name) for name in parameters["name"]]
    table["VALUE"] = np.asarray(parameters["value"], dtype=float)
    table["ERR"] = np.ma.filled(np.ma.asarray(parameters["error"], dtype=float), np.nan)
    table["UNIT"] = ["" if unit is None else _text(unit) for unit in parameters["unit"]]
    if "error_95" in parameters.colnames:
        table["ERR95"] = np.ma.filled(np.ma.asarray(parameters["error_95"], dtype=float), np.nan)
    return fits.BinTableHDU(table, name=EXTENSIONS["parameters"])


def write_hdus(hdus, path, overwrite=False):
    """
    Write a FITS file whole or not at all, with checksums.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    path : str or path-like
        Where it shall be.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    lensing_sr.errors.OutputError
        If the file exists, its folder is missing or the disk refuses; then nothing is left behind.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy.io import fits
    >>> from lensing_sr.export.fits_layout import write_hdus
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_hdus(fits.HDUList([fits.PrimaryHDU()]), Path(folder) / "sr.fits")
    ...     [file.name for file in Path(folder).iterdir()]
    ['sr.fits']
    """
    with atomic_path(path, overwrite) as temporary:
        hdus.writeto(temporary, checksum=True)


def now():
    """UTC as the FITS standard writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
