# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Critical curves and caustics as DS9 regions, to lay over any image of the field."""

import numpy as np
from astropy import units as u

__all__ = ["region_text"]


def region_text(critical_curves, caustics, grid):
    """
    Critical curves (red) and caustics (green) as the text of a DS9 region file.

    Parameters
    ----------
    critical_curves, caustics : iterable of (x, y)
        Each curve as two arrays in the frame of ``grid``: Quantities, or plain numbers in arcsec.  A curve whose last
        point is not its first stays open.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        With a celestial WCS the regions are ICRS positions, good on any image of the field; without one they are
        pixels of this grid, counted from 1 as DS9 does.

    Returns
    -------
    text : str

    Examples
    --------
    >>> from lensing_sr.export.regions import region_text
    >>> from lensing_sr.geometry.grid import PixelGrid
    >>> triangle = [0.0, 0.1, 0.0, 0.0], [0.0, 0.0, 0.1, 0.0]
    >>> print(region_text([triangle], [], PixelGrid((3, 3), pixel_scale=0.1)))
    # Region file format: DS9 version 4.1
    image
    polygon(2.0000,2.0000,3.0000,2.0000,2.0000,3.0000) # color=red text={critical curve}
    """
    lines = ["# Region file format: DS9 version 4.1", "image" if grid.wcs is None else "icrs"]
    for curves, color, name in ((critical_curves, "red", "critical curve"), (caustics, "green", "caustic")):
        for number, (x, y) in enumerate(curves):
            # One name for all curves of a kind is enough on the screen.
            label = f" text={{{name}}}" if number == 0 else ""
            x, y = (np.asarray(u.Quantity(value, u.arcsec).value, dtype=float) for value in (x, y))
            lines += [f"{shape} # color={color}{label}" for shape in _shapes(x, y, grid)]
    return "\n".join(lines)


def _shapes(x, y, grid):
    """One polygon where the curve is closed, else one line a segment (DS9 would close a polygon)."""
    if grid.wcs is None:
        column, row = grid.to_pixel(x, y)
        points = [f"{a + 1:.4f},{b + 1:.4f}" for a, b in zip(column, row)]
    else:
        sky = grid.to_sky(x, y).icrs
        # Nine decimals of a degree are 4 micro-arcsec.
        points = [f"{a:.9f},{b:.9f}" for a, b in zip(sky.ra.deg, sky.dec.deg)]
    if points[0] == points[-1]:
        return [f"polygon({','.join(points[:-1])})"]
    return [f"line({start},{end})" for start, end in zip(points[:-1], points[1:])]
