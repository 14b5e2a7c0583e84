# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images of the image plane and of the source plane: through the lens, and back."""

import numpy as np
from astropy import units as u

from lensing_sr.errors import InputError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.image._units import is_per_area
from lensing_sr.lensing._arrays import as_tensor
from lensing_sr.utils._checks import check_same_shape

__all__ = ["delens_image", "lens_image"]


def lens_image(field, source, supersampling=1):
    """Return the image of a source seen through a deflection field; see `DeflectionField.lens`."""
    from lensing_sr.lensing.relens import sample_image

    if int(supersampling) != supersampling or supersampling < 1:
        raise InputError("supersampling", "must be a whole number of at least 1", supersampling)
    s = int(supersampling)
    fine = field.resample(s) if s > 1 else field
    beta_x, beta_y = fine.ray_trace()
    if hasattr(source, "evaluate"):
        light, factor = source.evaluate(beta_x, beta_y), field.grid.pixel_area
        unit, light = getattr(light, "unit", None), getattr(light, "value", light)
    else:
        data, grid, unit, per_area = _take_apart(source, field, "source")
        where = _pixels_on(grid, field.grid, beta_x, beta_y)
        light = sample_image(as_tensor(np.nan_to_num(data)), *map(as_tensor, where)).numpy()
        factor = 1.0 if per_area else (field.grid.pixel_area / grid.pixel_area).value
    ny, nx = field.shape
    light = light.reshape(ny, s, nx, s).mean(axis=(1, 3))
    return light * factor if unit is None else light * unit * factor


def delens_image(field, image, grid):
    """Return the source plane of an image, on a grid; see `DeflectionField.delens`."""
    from lensing_sr.lensing.relens import back_project

    data, own, unit, per_area = _take_apart(image, field, "image")
    if own is field.grid or own == field.grid:
        beta_x, beta_y = field.ray_trace()
    else:
        theta_x, theta_y = (p * u.arcsec for p in own.coordinates())
        if own.wcs is not None and field.grid.wcs is not None:
            theta_x, theta_y = field.grid.from_sky(own.to_sky(theta_x, theta_y))
        beta_x, beta_y = field.ray_trace(theta_x, theta_y)
    where = _pixels_on(grid, field.grid, beta_x, beta_y)
    source, _ = back_project(as_tensor(data), *map(as_tensor, where), grid.shape)
    factor = 1.0 if per_area else (grid.pixel_area / own.pixel_area).value
    return source.numpy() * factor if unit is None else source.numpy() * factor * unit


def _take_apart(image, field, argument):
    """Return ``(data with NaN where masked, grid, unit or None, whether per area)`` of any kind of image."""
    grid, mask = None, getattr(image, "mask", None)
    unit = getattr(image, "unit", None)
    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[1], PixelGrid):
        image, grid = image
        mask, unit = None, getattr(image, "unit", None)
        data = getattr(image, "value", image)
    elif isinstance(getattr(image, "grid", None), PixelGrid):
        data, grid = image.data, image.grid
    elif getattr(image, "wcs", None) is not None:
        data, grid = image.data, PixelGrid(np.shape(image.data), wcs=image.wcs)
    elif isinstance(image, u.Quantity):
        data = image.value
    else:
        data = image.data if hasattr(image, "uncertainty") else image
    data = np.array(data, dtype=float)
    if grid is None:
        grid = field.grid
    check_same_shape(data, grid.shape, argument, of="its grid")
    if mask is not None and mask is not np.ma.nomask:
        data[np.asarray(mask, dtype=bool)] = np.nan
    per_area = getattr(image, "per_area", None)
    if per_area is None:
        per_area = is_per_area(unit)
    return data, grid, unit, per_area


def _pixels_on(grid, frame, x, y):
    """Pixel positions on a grid of positions in another grid's frame: through the sky where both know it."""
    if grid is not frame and grid.wcs is not None and frame.wcs is not None:
        good = np.isfinite(x) & np.isfinite(y)
        sky = frame.to_sky(np.where(good, x, 0), np.where(good, y, 0))
        x, y = (np.where(good, p, np.nan) for p in grid.from_sky(sky))
    return grid.to_pixel(x, y)
