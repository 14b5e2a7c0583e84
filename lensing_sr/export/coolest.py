# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A model in the COOLEST standard: plain JSON, written without the coolest package.

COOLEST's x and y are those of the image axes, as ours; its angles run counter-clockwise from +y, so that they are
position angles where North is up and East is left; its radii lie on the intermediate axis, as ours; its Sersic profile
uses the approximate b_n of lenstronomy.

References
----------
.. [1] Galan, A., et al. 2023, Journal of Open Source Software, 8, 5567
"""

import json
import math

from lensing_sr.export.lenstronomy import sersic_kwargs

__all__ = ["coolest_text", "polar"]


def polar(e1, e2, error1=math.nan, error2=math.nan):
    """
    Modulus and COOLEST angle of a spin-2 quantity, with their errors to first order.

    Parameters
    ----------
    e1, e2 : float
        Ellipticity or shear in the frame of columns and rows.
    error1, error2 : float, optional
        Their standard deviations.

    Returns
    -------
    modulus, angle : float
        The angle in degrees, counter-clockwise from +y, in (-90, 90].
    modulus_error, angle_error : float
        NaN where unknown, and for the angle of what is round.

    Examples
    --------
    >>> from lensing_sr.export.coolest import polar
    >>> polar(0.1, 0.0)[:2]
    (0.1, 90.0)
    """
    modulus = math.hypot(e1, e2)
    angle = math.degrees(0.5 * math.atan2(e2, e1)) - 90.0
    if angle <= -90.0:
        angle += 180.0
    if modulus == 0.0:
        return modulus, angle, math.hypot(error1, error2), math.nan
    return (
        modulus,
        angle,
        math.hypot(e1 * error1, e2 * error2) / modulus,
        math.degrees(0.5 * math.hypot(e2 * error1, e1 * error2) / modulus**2),
    )


def _number(value):
    """JSON has no NaN."""
    return float(value) if value is not None and math.isfinite(value) else None


def _parameter(value, error=math.nan):
    """A parameter with its Gaussian posterior."""
    known = math.isfinite(value) and math.isfinite(error)
    centre = _number(value) if known else None
    return {
        "fixed": False,
        "point_estimate": {"value": _number(value)},
        "posterior_stats": {
            "mean": centre,
            "median": centre,
            "percentile_16th": _number(value - error) if known else None,
            "percentile_84th": _number(value + error) if known else None,
        },
        "prior": {"type": None},
    }


def _ellipse(values, errors, ellipticity, centre):
    """Axis ratio, angle and centre."""
    e, phi, e_error, phi_error = polar(
        *(values[name] for name in ellipticity), *(errors.get(name, math.nan) for name in ellipticity)
    )
    return {
        "q": _parameter((1 - e) / (1 + e), 2 * e_error / (1 + e) ** 2),
        "phi": _parameter(phi, phi_error),
        "center_x": _parameter(values[centre[0]], errors.get(centre[0], math.nan)),
        "center_y": _parameter(values[centre[1]], errors.get(centre[1], math.nan)),
    }


def _mass(values, errors):
    def take(name):
        return _parameter(values[name], errors.get(name, math.nan))

    profile = {"theta_E": take("theta_E"), **_ellipse(values, errors, ("e1", "e2"), ("x_lens", "y_lens"))}
    if values.get("gamma", 2.0) != 2.0:
        return {"type": "PEMD", "parameters": {"gamma": take("gamma"), **profile}}
    return {"type": "SIE", "parameters": profile}


def _shear(values, errors):
    strength, phi, strength_error, phi_error = polar(
        *(values[name] for name in ("gamma1", "gamma2")),
        *(errors.get(name, math.nan) for name in ("gamma1", "gamma2")),
    )
    parameters = {"gamma_ext": _parameter(strength, strength_error), "phi_ext": _parameter(phi, phi_error)}
    return {"type": "ExternalShear", "parameters": parameters}


def _source_about_origin(values):
    """Source position where the shear acts about (0, 0), as COOLEST's does, and not about the lens, as ours."""
    gamma1, gamma2 = values.get("gamma1", 0.0), values.get("gamma2", 0.0)
    x, y = values["x_lens"], values["y_lens"]
    moved = {
        "x_source": values["x_source"] - gamma1 * x - gamma2 * y,
        "y_source": values["y_source"] - gamma2 * x + gamma1 * y,
    }
    return {**values, **moved}


def _sersic(values, errors):
    values = _source_about_origin(values)
    amplitude, radius = sersic_kwargs(values["amplitude"], values["r_eff"], values["n"])
    return {
        "type": "Sersic",
        "parameters": {
            # The errors scale with the values, since the change of b_n only multiplies.
            "I_eff": _parameter(amplitude, errors.get("amplitude", math.nan) * amplitude / values["amplitude"]),
            "theta_eff": _parameter(radius, errors.get("r_eff", math.nan) * radius / values["r_eff"]),
            "n": _parameter(values["n"], errors.get("n", math.nan)),
            **_ellipse(values, errors, ("e1_source", "e2_source"), ("x_source", "y_source")),
        },
    }


def coolest_text(
    parameters, grid, *, errors=None, lens_redshift=None, source_redshift=None, image_file=None, meta=None
):
    """
    A lens model as the text of a COOLEST template file.

    Parameters
    ----------
    parameters : dict of {str: float}
        Values by the names of a result's parameter table, as `lensing_sr.export.lenstronomy.model_kwargs` takes them.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Of the observed image.
    errors : dict of {str: float}, optional
        Standard deviations by the same names.
    lens_redshift, source_redshift : float, optional
        Where known.  Some readers need them.
    image_file : str, optional
        Name of the FITS file of the observed image, in the folder of the template.
    meta : dict, optional
        Anything else worth keeping; must be fit for JSON.

    Returns
    -------
    text : str

    Examples
    --------
    >>> import json
    >>> from lensing_sr.export.coolest import coolest_text
    >>> from lensing_sr.geometry.grid import PixelGrid
    >>> model = {"theta_E": 1.2, "e1": 0.1, "e2": 0.0, "x_lens": 0.0, "y_lens": 0.0}
    >>> template = json.loads(coolest_text(model, PixelGrid((64, 64), pixel_scale=0.05)))
    >>> template["lensing_entities"][0]["mass_model"][0]["type"]
    'SIE'
    """
    errors = {} if errors is None else errors
    source = [_sersic(parameters, errors)] if "amplitude" in parameters and "r_eff" in parameters else []
    entities = [
        {
            "type": "Galaxy",
            "name": "lens galaxy",
            "redshift": lens_redshift,
            "mass_model": [_mass(parameters, errors)],
            "light_model": [],
        },
        {
            "type": "Galaxy",
            "name": "source galaxy",
            "redshift": source_redshift,
            "mass_model": [],
            "light_model": source,
        },
    ]
    if "gamma1" in parameters:
        shear = {
            "type": "MassField",
            "name": "external shear",
            "redshift": lens_redshift,
            "mass_model": [_shear(parameters, errors)],
        }
        entities.insert(0, shear)
    meta = dict(meta or {})
    ra, dec = "00h00m00s", "+00d00m00s"
    if grid.wcs is None:
        meta["coordinates_origin"] = "unknown: the image has no celestial WCS"
    else:
        ra, dec = grid.to_sky(0.0, 0.0).icrs.to_string("hmsdms", precision=6).split()
        meta["position_angle_of_y_axis_deg"] = float(grid.position_angle(math.pi / 2).deg)
        meta["east_is_counter_clockwise_from_north"] = grid.handedness < 0
    template = {
        "standard": "COOLEST",
        "mode": "MAP",
        "coordinates_origin": {"ra": ra, "dec": dec},
        "cosmology": None,
        "lensing_entities": entities,
        "observation": {
            "pixels": _pixels(grid, image_file),
            "exposure_time": None,
            "mag_zero_point": None,
            "mag_sky_brightness": None,
            "noise": {"type": None},
        },
        "instrument": {
            "name": "",
            "band": "",
            "pixel_size": _pixel_size(grid),
            "readout_noise": None,
            "psf": {"type": None, "description": None},
        },
        "likelihoods": None,
        "meta": meta,
    }
    return json.dumps(template, indent=2, allow_nan=False) + "\n"


def _pixels(grid, image_file):
    if not grid.is_square:
        # The standard knows square pixels along the axes only; the model stands without the image.
        return {
            "fits_file": {"path": None},
            "field_of_view_x": [0, 0],
            "field_of_view_y": [0, 0],
            "num_pix_x": 0,
            "num_pix_y": 0,
        }
    left, right, bottom, top = _edges(grid)
    return {
        "fits_file": {"path": image_file},
        "field_of_view_x": [left, right],
        "field_of_view_y": [bottom, top],
        "num_pix_x": grid.shape[1],
        "num_pix_y": grid.shape[0],
    }


def _pixel_size(grid):
    return float(grid.pixel_scale.value)


def _edges(grid):
    """Edges of the field with exactly square pixels: readers compare the two sizes to nine digits."""
    (ny, nx), (x0, y0), size = grid.shape, grid.origin, _pixel_size(grid)
    return -(x0 + 0.5) * size, (nx - 0.5 - x0) * size, -(y0 + 0.5) * size, (ny - 0.5 - y0) * size
