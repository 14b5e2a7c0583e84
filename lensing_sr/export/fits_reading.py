# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The way back from the FITS file of a result to its pieces."""

import math

from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS

from lensing_sr.errors import ImageReadError
from lensing_sr.export.fits_layout import EXTENSIONS, KEYWORDS
from lensing_sr.lensing.deflection import DeflectionField
from lensing_sr.lensing.substructure import COLUMNS, perturber_table
from lensing_sr.light._source_files import plane_grid
from lensing_sr.light.pixel_source import PixelSource
from lensing_sr.light.sersic_source import SersicSource
from lensing_sr.quality import Quality
from lensing_sr.validation import Validation

__all__ = ["read_pieces"]

_META = ("method", "network", "weights_sha256", "source", "seed", "time_s")
_SOURCE = {"amplitude", "r_eff", "n", "x_source", "y_source", "e1_source", "e2_source"}


def read_pieces(path):
    """
    What `~lensing_sr.result.SuperResolution` is made of, from a file that it wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    pieces : dict
        The arguments of `~lensing_sr.result.SuperResolution`; arrays are as precise as the file, float32.

    Raises
    ------
    lensing_sr.errors.ImageReadError
        If the file cannot be read or is no result of this package.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            if hdus[0].data is None or any(
                name not in hdus for name in ("ARCS", "DEFLECT", "MODEL", "RESID", "LENSPARS")
            ):
                raise ImageReadError("path", "must be a file that SuperResolution.write wrote", path)
            return _take_apart(hdus, path)
    except OSError as error:
        raise ImageReadError("path", "must be a FITS file that can be read", f"{path} ({error})") from error


def _take_apart(hdus, path):
    header = hdus[0].header
    values = {field: _value(field, header[keyword]) for field, (keyword, _) in KEYWORDS.items() if keyword in header}
    image = _image(hdus[0])
    image.meta = dict(header)
    if EXTENSIONS["uncertainty"] in hdus:
        image.uncertainty = StdDevUncertainty(hdus[EXTENSIONS["uncertainty"]].data.astype(float))
    image.mask = hdus[EXTENSIONS["mask"]].data.astype(bool)
    rows = hdus[EXTENSIONS["parameters"]].data
    parameters = Table(
        {
            "name": [str(name) for name in rows["NAME"]],
            "value": rows["VALUE"].astype(float),
            "error": rows["ERR"].astype(float),
            "unit": [str(unit) for unit in rows["UNIT"]],
        }
    )
    if "ERR95" in rows.names:  # older files have none
        parameters["error_95"] = rows["ERR95"].astype(float)
    meta = {key: values[key] for key in _META if key in values}
    images = {
        name: _image(hdus[EXTENSIONS[name]]) if EXTENSIONS[name] in hdus else None
        for name in ("arcs", "lens_light", "model", "residual", "source_image")
    }
    if EXTENSIONS["source_error"] in hdus:
        images["source_image"].uncertainty = StdDevUncertainty(hdus[EXTENSIONS["source_error"]].data.astype(float))
    deflection = DeflectionField.read(path)
    source = SersicSource.from_parameters(parameters) if set(parameters["name"]) >= _SOURCE else None
    if meta.get("source") == "pixel":
        plane = images["source_image"]
        source = PixelSource.from_ccddata(
            plane, plane_grid(plane.wcs, plane.shape, frame=deflection.grid), sersic=source
        )
    return {
        "image": image,
        **images,
        "deflection": deflection,
        "source": source,
        "parameters": parameters,
        "quality": Quality.from_values(values),
        "sky": values["sky"],
        "scale": values["scale"],
        "psf": hdus[EXTENSIONS["psf"]].data.astype(float) if EXTENSIONS["psf"] in hdus else None,
        "validation": Validation.from_values(values),
        "substructure": _substructure(hdus),
        "meta": {**meta, "history": [str(step) for step in header.get("HISTORY", ())]},
    }


def _substructure(hdus):
    """Maps and table of what the smooth lens lacks, or None."""
    if EXTENSIONS["significance"] not in hdus:
        return None
    masses = ()
    if EXTENSIONS["perturbers"] in hdus:
        rows = hdus[EXTENSIONS["perturbers"]].data
        masses = [{name: float(row[name]) for name in COLUMNS} for row in rows]
    maps = (_image(hdus[EXTENSIONS[name]]) for name in ("convergence_correction", "significance"))
    return *maps, perturber_table(masses)


def _value(field, value):
    if field in ("flags", "notes", "kept"):
        return tuple(value.split(",")) if value else ()
    return math.nan if value is None or isinstance(value, fits.card.Undefined) else value


def _image(hdu):
    wcs = WCS(hdu.header, naxis=2)
    # Plain axes in arcsec matter in the source plane only, which has no other place to say where its pixels lie.
    linear = hdu.name == EXTENSIONS["source_image"] and hdu.header.get("CUNIT1") == "arcsec"
    if not (wcs.has_celestial or linear):
        wcs = None
    unit = u.Unit(hdu.header.get("BUNIT", ""))
    return CCDData(hdu.data.astype(float), unit=unit, wcs=wcs)
