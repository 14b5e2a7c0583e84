# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The exit from tensors: units, coordinates, names and the verdict are put back on."""

import math

import numpy as np
import torch
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS

from lensing_sr._readings import DOUBTED
from lensing_sr.image.prepare import RIVAL
from lensing_sr.lensing.deflection import DeflectionField
from lensing_sr.lensing.substructure import perturber_table
from lensing_sr.light.pixel_source import PixelSource
from lensing_sr.light.sersic_source import SersicSource
from lensing_sr.quality import Quality
from lensing_sr.result import SuperResolution

__all__ = ["accounts_for", "pack"]

#: Pixels of the source plane an output pixel, along one axis.
SOURCE_SCALE = 2
#: Share of the arcs' power that may be left over where they account for light: images of simulated sources leave less
#: than half a percent, galaxies that a lens has been bent to explain a percent or more.
LEFT_OVER = 0.01


def pack(batch, explained, i, told, verdict, arrays, fine, scale, kernel):
    """Make the `SuperResolution` of one image of a batch.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    explained : lensing_sr._explanation.Explanation
        What a method made of them.
    i : int
        Which image.
    told : (dict, dict, dict)
        Parameters of the image, their errors, and the half-widths of the intervals that hold 95 %.
    verdict : lensing_sr._explanation.Verdict
        How good they are.
    arrays : dict of numpy.ndarray
        arcs, lens_light, image, sigma, alpha_x, alpha_y on the output's pixels; model, and arcs_model in it, on the
        input's; and the number consistency.
    fine : lensing_sr.geometry.grid.PixelGrid
        The output's pixels.
    scale : float
        Input pixels over output pixels.
    kernel : (numpy.ndarray or None, str)
        PSF of the output, and what it is.

    Returns
    -------
    SuperResolution
    """
    image, prepared = batch.images[i], batch.prepared[i]
    unit = image.unit if image.unit is not None else u.dimensionless_unscaled
    area = image.per_area
    per_fine = scale**2 if area else 1.0
    pixel_area = float(image.grid.pixel_area.value)
    brightness = unit if area else unit / u.arcsec**2
    values, *spreads = told
    # images per area hold brightness itself; methods take them as flux a pixel
    public = dict(values) | {"amplitude": values["amplitude"] * (pixel_area if area else 1.0)}
    spreads = [part | {"amplitude": part["amplitude"] * (pixel_area if area else 1.0)} for part in spreads]
    table = _table(*(_with_angles(public, part, fine) for part in spreads), brightness)
    source = SersicSource.from_components(
        public["amplitude"] * brightness,
        values["r_eff"] * u.arcsec,
        values["n"],
        values["x_source"] * u.arcsec,
        values["y_source"] * u.arcsec,
        values["e1_source"],
        values["e2_source"],
    )
    source, source_image = _source(explained, i, source, fine, values, unit, area, pixel_area if area else 1.0)
    wcs = fine.wcs
    mask = _fine_mask(image.mask, scale, fine.shape)
    common = {"unit": unit, "wcs": wcs}
    super_resolved = CCDData(
        arrays["image"] * per_fine,
        uncertainty=StdDevUncertainty(arrays["sigma"] * per_fine),
        mask=mask,
        meta=image.header,
        psf=kernel[0],
        **common,
    )
    native = {"unit": unit, "wcs": image.grid.wcs}
    data = np.where(np.isfinite(image.data), image.data, np.nan)
    residual = data - arrays["model"]
    input_image = CCDData(
        data,
        uncertainty=StdDevUncertainty(prepared.full_noise),
        mask=image.mask,
        meta=image.header,
        **native,
    )
    tried, kept = explained.tried(i)
    flags = dict.fromkeys([*prepared.flags, *verdict.flags])
    no_psf = ["no PSF: the image is taken as unblurred"] if image.psf is None else []
    notes = dict.fromkeys([*image.notes, *prepared.notes, *no_psf])
    # where there is any doubt of the lens, the rival may be the reason: faint arcs and a galaxy are soon explained
    if prepared.rival is not None and not verdict.flags and verdict.evidence >= DOUBTED:
        if accounts_for(residual, arrays["arcs_model"], prepared.full_noise, prepared.rival & ~image.mask):
            del flags[RIVAL]
            notes[f"what looks like a {RIVAL} is explained as an image of the source"] = None
    quality = Quality(
        chi2=verdict.chi2,
        noise_scale=float(prepared.noise_scale),
        flags=tuple(flags),
        notes=tuple(notes),
        lens_evidence=verdict.evidence,
        lens_probability=verdict.probability,
        doubt=verdict.doubt,
        evidence=tried,
        kept=kept,
        consistency=arrays["consistency"],
    )
    return SuperResolution(
        image=super_resolved,
        arcs=CCDData(arrays["arcs"] * per_fine, **common),
        lens_light=CCDData(arrays["lens_light"] * per_fine, **common),
        model=CCDData(arrays["model"], **native),
        residual=CCDData(residual, mask=image.mask, **native),
        source_image=source_image,
        deflection=DeflectionField(arrays["alpha_x"] * u.arcsec, arrays["alpha_y"] * u.arcsec, fine),
        source=source,
        parameters=table,
        quality=quality,
        substructure=_substructure(explained, i, fine, float(image.grid.pixel_scale.value), wcs),
        sky=float(explained.sky[i]),
        scale=scale,
        psf=kernel[0],
        input_image=input_image,
        meta={
            "name": image.name,
            "grounds": dict(verdict.grounds),
            "history": _history(image, prepared, explained.history(i), kernel[1], scale),
        },
    )


def accounts_for(residual, arcs, sigma, where):
    """Whether arcs are what shines somewhere: they stand out of the noise, and little beside noise is left over.

    Parameters
    ----------
    residual, arcs, sigma : numpy.ndarray
        (ny, nx) data less model, the arcs in the model, and the noise, in one unit.
    where : numpy.ndarray
        (ny, nx) bool.

    Returns
    -------
    bool
    """
    residual, arcs, sigma = (array[where] for array in (residual, arcs, sigma))
    left, power = ((residual / sigma) ** 2 - 1.0).sum(), ((arcs / sigma) ** 2).sum()
    return bool(power > len(sigma) and left < LEFT_OVER * power)


def _with_angles(values, errors, grid):
    """The parameters with what people ask for: axis ratio and direction of the mass, on the sky where that is known."""
    e1, e2 = values["e1"], values["e2"]
    e = math.hypot(e1, e2)
    phi = 0.5 * math.atan2(e2, e1)
    along = math.hypot(e1 * errors["e1"], e2 * errors["e2"]) / max(e, 1e-9)
    across = math.hypot(e2 * errors["e1"], e1 * errors["e2"]) / max(e, 1e-9)
    # the direction of a round lens is anything
    spread = math.degrees(min(across / max(2.0 * e, 1e-9), 0.5 * math.pi))
    more = {"q": ((1.0 - e) / (1.0 + e), 2.0 * along / (1.0 + e) ** 2), "phi": (math.degrees(phi), spread)}
    if grid.wcs is not None:
        more["position_angle"] = (float(grid.position_angle(phi).deg % 180.0), spread)
    values = values | {name: value for name, (value, _) in more.items()}
    return values, errors | {name: error for name, (_, error) in more.items()}


def _table(stated, wide, brightness):
    """Parameters as the astropy table of the contract, from values with errors, and with those that hold 95 %."""
    (values, errors), (_, wide) = stated, wide
    units = {"amplitude": brightness, "phi": u.deg, "position_angle": u.deg}
    angles = ("theta_E", "r_eff", "x_", "y_")
    table = Table(
        {
            "name": list(values),
            "value": list(values.values()),
            "error": [errors.get(name, 0.0) for name in values],
            "unit": [str(units.get(name, "arcsec" if name.startswith(angles) else "")) for name in values],
            "error_95": [wide.get(name, 0.0) for name in values],
        }
    )
    table.add_index("name")
    return table


def _fine_mask(mask, scale, shape):
    """Bad input pixels on the output's pixels; pixels past the input's edge are bad too."""
    rows, columns = (np.floor((np.arange(n) + 0.5) / scale).astype(int) for n in shape)
    inside = (np.arange(shape[0]) + 1 <= mask.shape[0] * scale + 1e-6)[:, None] & (
        np.arange(shape[1]) + 1 <= mask.shape[1] * scale + 1e-6
    )
    clipped = mask[np.minimum(rows, mask.shape[0] - 1)[:, None], np.minimum(columns, mask.shape[1] - 1)]
    return clipped | ~inside


def _source(explained, i, sersic, fine, values, unit, area, to_brightness):
    """The source and its image: a `PixelSource` where it has structure, else its Sersic profile."""
    plane = _source_plane(fine, values)
    structure = explained.structure(i)
    x, y = plane.coordinates()
    if structure is None:
        brightness = sersic.evaluate(x * u.arcsec, y * u.arcsec).value
        image = CCDData(brightness * (1.0 if area else plane.pixel_area.value), unit=unit, wcs=_wcs(plane))
        return sersic, image
    x, y = (torch.as_tensor(np.array(c), dtype=torch.float64) for c in (x, y))
    per_area = sersic.amplitude.unit
    brightness, error = (function(x, y).numpy() * to_brightness for function in structure)
    source = PixelSource(brightness * per_area, plane, error=error * per_area, sersic=sersic)
    return source, source.to_ccddata(unit)


def _source_plane(fine, values):
    """Pixels about the source, finer than the output's and in the same frame."""
    plane = fine.upsampled(SOURCE_SCALE)
    reach = max(3.0 * values["r_eff"], 0.5 * values["theta_E"])
    column, row = (float(v) for v in plane.to_pixel(values["x_source"], values["y_source"]))
    half = max(8, round(reach / float(plane.pixel_scale.value)))
    rows, columns = (
        slice(int(min(max(round(c) - half, 0), n - 2)), int(min(max(round(c) + half + 1, 2), n)))
        for c, n in ((row, plane.shape[0]), (column, plane.shape[1]))
    )
    return plane.cropped(rows, columns)


def _substructure(explained, i, fine, pixel, wcs):
    """Maps and table of what the smooth lens lacks, or None; point masses are as wide as an input pixel."""
    x, y = (torch.as_tensor(np.ascontiguousarray(c)) for c in fine.coordinates())
    found = explained.substructure(i, x, y, pixel)
    if found is None:
        return None
    maps, masses = found
    images = (CCDData(image.cpu().numpy(), unit=u.dimensionless_unscaled, wcs=wcs) for image in maps)
    return *images, perturber_table(masses)


def _wcs(grid):
    """Celestial WCS of a grid, or one that is linear in arcsec, so that the pixel scale is never lost."""
    if grid.wcs is not None:
        return grid.wcs
    wcs = WCS(naxis=2)
    wcs.wcs.crpix = [p + 1 for p in grid.origin]
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.cd = np.array(grid.matrix)
    wcs.wcs.cunit = ["arcsec", "arcsec"]
    return wcs


def _history(image, prepared, method, psf_statement, scale):
    """What was done, step by step, for the header."""
    rows, columns = prepared.slices
    return [
        f"input: {image.shape[1]} x {image.shape[0]} pixels of {image.grid.pixel_scale.value:.5g} arcsec"
        + (f", unit {image.bunit_original}" if image.bunit_original else ", no unit, taken as flux a pixel"),
        f"fit region: columns {columns.start}-{columns.stop - 1}, rows {rows.start}-{rows.stop - 1} (from 0); "
        f"noise scaled by {prepared.noise_scale:.3f}",
        *method,
        "residual restored where significant, scale by scale",
        psf_statement,
        f"upsampled by {scale:g}: edges shared with the input",
    ]
