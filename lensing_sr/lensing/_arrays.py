# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Between users' arrays, quantities and models, and the tensors of the core."""

import numpy as np
from astropy import units as u

from lensing_sr.errors import InputError
from lensing_sr.utils._checks import as_float_in, check_same_shape
from lensing_sr.utils._optional_deps import import_optional

__all__ = ["as_angles", "as_tensor", "lenstronomy_deflection", "sie_deflection_on"]


def as_tensor(array):
    """Float64 tensor of an array, sharing its memory where it can."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def as_angles(value, argument, shape):
    """Quantity in arcsec of the wanted shape, from a Quantity or a plain array."""
    try:
        value = u.Quantity(value, dtype=float)
        value = value.value * u.arcsec if value.unit == u.dimensionless_unscaled else value.to(u.arcsec)
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise InputError(argument, "must be an array of angles", type(value).__name__, "give arcsec") from error
    return check_same_shape(value, shape, argument, of="the grid")


def sie_deflection_on(grid, theta_E, e1, e2, x, y):
    """Deflection in arcsec of an isothermal ellipsoid at the pixels of a grid; see `DeflectionField.from_sie`."""
    import torch

    from lensing_sr.lensing.mass import sie_deflection

    theta_E = as_float_in(theta_E, "arcsec", "theta_E", positive=True)
    e1, e2 = as_float_in(e1, "", "e1"), as_float_in(e2, "", "e2")
    if np.hypot(e1, e2) >= 1.0:
        raise InputError("e1, e2", "must have a modulus below 1", f"({e1:g}, {e2:g})")
    centre = as_float_in(x, "arcsec", "x"), as_float_in(y, "arcsec", "y")
    shape = (torch.tensor(value, dtype=torch.float64) for value in (theta_E, e1, e2))
    return [alpha.numpy() for alpha in sie_deflection(*map(as_tensor, grid.coordinates()), *shape, *centre)]


def lenstronomy_deflection(grid, model, kwargs_lens, options):
    """Deflection in arcsec of a lenstronomy model at the pixels of a grid; see `DeflectionField.from_lenstronomy`."""
    if not hasattr(model, "alpha"):
        module = import_optional(
            "lenstronomy.LensModel.lens_model", extra="lenstronomy", purpose="DeflectionField.from_lenstronomy"
        )
        model = module.LensModel(lens_model_list=list(model), **options)
    turn = np.eye(2) if grid.orientation is None else grid.orientation
    east, north = np.tensordot(turn, grid.coordinates(), axes=1)
    alpha = [component.reshape(grid.shape) for component in model.alpha(east.ravel(), north.ravel(), kwargs_lens)]
    return np.tensordot(turn.T, alpha, axes=1)
