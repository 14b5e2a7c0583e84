# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Surface brightness of a source, whatever its unit of area, and the flux that pixels collect of it."""

from astropy import units as u

from lensing_sr.errors import InputError
from lensing_sr.image._units import is_per_area
from lensing_sr.utils._checks import check_whole

__all__ = ["flux_per_pixel", "per_arcsec2", "pixel_brightness"]

#: Unit of area of every source.
PER_AREA = u.arcsec**-2


def per_arcsec2(brightness, argument):
    """Turn a surface brightness into one per arcsec^2; a unit without an area, and a bare number, are taken as such.

    Parameters
    ----------
    brightness : `~astropy.units.Quantity`, array or float
        Of any shape.
    argument : str
        Name of the argument, for the message.

    Returns
    -------
    `~astropy.units.Quantity`

    Raises
    ------
    lensing_sr.errors.InputError
        If the unit is that of something else.
    """
    brightness = u.Quantity(brightness)
    unit, factor, power = u.dimensionless_unscaled, brightness.unit.scale, 0
    for base, exponent in zip(brightness.unit.bases, brightness.unit.powers):
        for angle, dimension in ((u.arcsec, 1), (u.arcsec**2, 2)):
            if base.is_equivalent(angle):
                factor, power = factor * base.to(angle) ** exponent, power + dimension * exponent
                break
        else:
            unit = unit * base**exponent
    if power not in (0, -2) or unit.is_equivalent(u.pix**-1) or u.pix in unit.bases:
        raise InputError(argument, "must be a surface brightness on the sky", brightness.unit, "use / u.arcsec**2")
    return brightness.value * float(factor) * (unit * PER_AREA)


def pixel_brightness(unit, grid):
    """Surface brightness of a pixel whose value is 1.

    Parameters
    ----------
    unit : `~astropy.units.UnitBase` or None
        Of the value: a flux, a flux per pixel, or per an area already.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Pixels.

    Returns
    -------
    `~astropy.units.Quantity`
    """
    unit = u.dimensionless_unscaled if unit is None else unit
    if is_per_area(unit):
        return 1.0 * unit
    # a unit per pixel is a flux in these pixels
    return (unit * u.pix if u.pix in unit.bases else unit) / grid.pixel_area


def flux_per_pixel(evaluate, grid, supersampling):
    """Flux that the pixels of a grid collect, without blurring.

    Parameters
    ----------
    evaluate : callable
        Surface brightness at positions (x, y) in arcsec.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Pixels.
    supersampling : int
        Points a side over which the light is averaged in each pixel; 1 = at the pixel centre.

    Returns
    -------
    `~astropy.units.Quantity`
        (ny, nx), in the unit of the brightness times arcsec^2.
    """
    s, (ny, nx) = check_whole(supersampling, "supersampling", least=1), grid.shape
    light = evaluate(*(grid.upsampled(s) if s > 1 else grid).coordinates())
    return light.reshape(ny, s, nx, s).mean(axis=(1, 3)) * grid.pixel_area
