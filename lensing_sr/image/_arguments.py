# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What can be asked of an image: its size, and the part of it to keep."""

import numpy as np
from astropy import units as u

from lensing_sr.errors import ImageReadError, InputError

__all__ = []

MIN_SIDE, MAX_SIDE = 16, 2048  # pixels: less shows no lens, more is a mosaic, not a cut-out


def check_shape(shape):
    """Refuse the shape of an image in which no lens can be seen, and that of a mosaic."""
    given = " x ".join(map(str, shape))
    if len(shape) == 2 and min(shape) < MIN_SIDE:
        raise ImageReadError("image", f"must have at least {MIN_SIDE} pixels a side", given, "keep more of it")
    if len(shape) == 2 and max(shape) > MAX_SIDE:
        remedy = "cut the lens out with cutout=(SkyCoord, size) (--cutout RA DEC SIZE)"
        raise ImageReadError("image", f"must have at most {MAX_SIDE} pixels a side", given, remedy)


def check_cutout(cutout):
    """Position and size of a cut-out, from the pair of them."""
    try:
        position, size = cutout
    except (TypeError, ValueError):
        raise InputError("cutout", "must be a position and a size", repr(cutout)[:80]) from None
    return position, size


def check_sides(size):
    """(height, width) in arcsec of a size that is an angle, or a pair of them."""
    remedy = "use for example 10 * u.arcsec"
    try:
        sides = u.Quantity(size).to_value(u.arcsec)
        sides = np.broadcast_to(np.asarray(sides, dtype=float), 2)
    except (TypeError, ValueError, u.UnitsError):
        raise InputError("cutout", "must have a size that is an angle", size, remedy) from None
    if not np.all(np.isfinite(sides) & (sides > 0)):
        raise InputError("cutout", "must have a positive size", size, remedy)
    return sides
