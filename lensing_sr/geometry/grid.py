# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""PixelGrid: the pixels of an image and where they lie, in arcsec and on the sky."""

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle

from lensing_sr.errors import InputError, PixelScaleError
from lensing_sr.geometry.wcs import (
    celestial_wcs,
    check_scale,
    crop_wcs,
    local_jacobian,
    pixel_to_sky,
    sky_to_pixel,
    upsample_wcs,
    upsampled_shape,
)

__all__ = ["PixelGrid"]


class PixelGrid:
    """Pixels of an image and their positions in arcsec.

    The frame is the image's own: x grows with the column, y is perpendicular to it and grows with the row, (0, 0) is
    the centre of the array.  With ``M`` the ``matrix`` and ``O`` the ``orientation``,

        (x, y)        = M (col - col_0, row - row_0)
        (East, North) = O (x, y)

    where ``O M`` is the local Jacobian of the WCS at the origin: M is upper triangular (so that x follows the column
    even on skewed pixels), O is a rotation or a mirrored one.

    Parameters
    ----------
    shape : tuple of int
        Shape (ny, nx) in pixels.
    wcs : `~astropy.wcs.WCS`, optional
        Celestial WCS; SIP is used wherever sky positions are asked for.
    pixel_scale : `~astropy.units.Quantity` or float, optional
        Size of a pixel in arcsec, arcsec / pix, or a bare number of arcsec; a pair (x, y) for oblong pixels.  Needed
        without a WCS; with one it must agree with it to 1 %.
    origin : tuple of float, optional
        Pixel position (col, row) of (0, 0) arcsec; default the centre of the array, ((nx - 1) / 2, (ny - 1) / 2).

    Attributes
    ----------
    shape : tuple of int
        (ny, nx).
    wcs : `~astropy.wcs.WCS` or None
        Two-axis celestial WCS.
    matrix : numpy.ndarray
        (2, 2) float64, arcsec per pixel; upper triangular, positive diagonal.
    orientation : numpy.ndarray or None
        (2, 2) orthogonal, from (x, y) to (East, North); None without a WCS.
    origin : tuple of float
        Pixel position (col, row) of (0, 0) arcsec.

    Raises
    ------
    lensing_sr.errors.InputError
        If the shape is not two positive integers.
    lensing_sr.errors.PixelScaleError
        If the pixel scale is unknown, not positive, not an angle, or contradicts the WCS.

    Examples
    --------
    >>> from astropy import units as u
    >>> from lensing_sr.geometry.grid import PixelGrid
    >>> grid = PixelGrid((3, 5), pixel_scale=0.1 * u.arcsec / u.pix)
    >>> x, y = grid.coordinates()
    >>> x[0]
    array([-0.2, -0.1,  0. ,  0.1,  0.2])
    >>> grid.upsampled(2)
    <PixelGrid 6 x 10 pixels of 0.05 arcsec, no WCS>
    """

    def __init__(self, shape, *, wcs=None, pixel_scale=None, origin=None):
        self.shape = _check_shape(shape)
        ny, nx = self.shape
        self.origin = ((nx - 1) / 2, (ny - 1) / 2) if origin is None else (float(origin[0]), float(origin[1]))
        scale = None if pixel_scale is None else _check_pixel_scale(pixel_scale)
        self.wcs = celestial_wcs(wcs)
        if self.wcs is not None:
            self.orientation, self.matrix = _signed_qr(local_jacobian(self.wcs, *self.origin))
            if scale is not None and not np.allclose(scale, np.hypot(*self.matrix), rtol=0.01):
                raise PixelScaleError(
                    "pixel_scale",
                    f"must agree with the WCS, whose pixels measure {self.pixel_scale.value:.6g} arcsec",
                    " x ".join(f"{s:.6g}" for s in np.unique(scale)) + " arcsec",
                    "give only one of the two",
                )
        elif scale is not None:
            self.orientation, self.matrix = None, np.diag(scale)
        else:
            raise PixelScaleError(
                "pixel_scale",
                "is needed where there is no celestial WCS",
                None,
                "give pixel_scale=0.05 * u.arcsec / u.pix (--pixel-scale ARCSEC), or a WCS",
            )

    @classmethod
    def _from_parts(cls, shape, wcs, orientation, matrix, origin):
        """A grid whose matrices are known: exact where a second derivative of the WCS would round."""
        grid = cls.__new__(cls)
        grid.shape, grid.wcs, grid.orientation, grid.matrix, grid.origin = shape, wcs, orientation, matrix, origin
        return grid

    def __repr__(self):
        ny, nx = self.shape
        if self.is_square:
            size = f"{self.pixel_scale.value:.4g} arcsec"
        else:
            size = "{:.4g} x {:.4g} arcsec".format(*np.hypot(*self.matrix))
        if self.wcs is None:
            sky = "no WCS"
        else:
            centre = self.to_sky(0.0, 0.0)
            north = round(self.position_angle(90 * u.deg).wrap_at(180 * u.deg).deg, 1) + 0.0  # no -0.0
            sky = f"(0, 0) at {centre.to_string('hmsdms', precision=2)}, +y at PA {north:.1f} deg"
        return f"<PixelGrid {ny} x {nx} pixels of {size}, {sky}>"

    def __eq__(self, other):
        if not isinstance(other, PixelGrid):
            return NotImplemented
        if self.shape != other.shape or (self.wcs is None) != (other.wcs is None):
            return False
        close = np.allclose(self.origin, other.origin, rtol=0, atol=1e-6)
        close &= np.allclose(self.matrix, other.matrix, rtol=1e-8, atol=1e-8 * self.pixel_scale.value)
        if self.wcs is not None:
            close &= np.allclose(self.orientation, other.orientation, atol=1e-8)
            here, there = self.to_sky(0.0, 0.0), other.to_sky(0.0, 0.0)
            close &= bool(here.separation(there).arcsec < 1e-6 * self.pixel_scale.value)
        return bool(close)

    __hash__ = None

    @property
    def pixel_area(self):
        """Area of a pixel, ``|det M|``, as a Quantity in arcsec^2."""
        return abs(np.linalg.det(self.matrix)) * u.arcsec**2

    @property
    def pixel_scale(self):
        """Size of a pixel, ``sqrt(|det M|)``, as a Quantity in arcsec / pix."""
        return np.sqrt(self.pixel_area.value) * u.arcsec / u.pix

    @property
    def is_square(self):
        """True where pixels are square to one part in 1e4 (of a side, and of a right angle)."""
        scale = self.pixel_scale.value
        return bool(np.allclose(self.matrix, scale * np.eye(2), rtol=0, atol=1e-4 * scale))

    @property
    def handedness(self):
        """+1 where (East, North) is (x, y) rotated, -1 where it is mirrored (North up, East left), None without WCS."""
        return None if self.orientation is None else int(np.sign(np.linalg.det(self.orientation)))

    @property
    def equivalency(self):
        """`astropy.units.pixel_scale` equivalency of this grid, for ``Quantity.to``."""
        return u.pixel_scale(self.pixel_scale)

    @property
    def extent(self):
        """(xmin, xmax, ymin, ymax) in arcsec of the outer pixel edges (their bounding box where pixels are skewed)."""
        ny, nx = self.shape
        x, y = self._linear(np.array([-0.5, nx - 0.5, -0.5, nx - 0.5]), np.array([-0.5, -0.5, ny - 0.5, ny - 0.5]))
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    def _linear(self, col, row):
        dc, dr = np.asarray(col, dtype=float) - self.origin[0], np.asarray(row, dtype=float) - self.origin[1]
        (xx, xy), (yx, yy) = self.matrix
        return xx * dc + xy * dr, yx * dc + yy * dr

    def coordinates(self):
        """Positions (x, y) of all pixel centres: two float64 arrays (ny, nx) in arcsec, without units, for the core."""
        rows, cols = np.indices(self.shape, dtype=float)
        return self._linear(cols, rows)

    def to_arcsec(self, col, row):
        """Position (x, y) in arcsec, as Quantities, of pixel positions (col, row) counted from 0.

        Examples
        --------
        >>> from lensing_sr.geometry.grid import PixelGrid
        >>> PixelGrid((4, 4), pixel_scale=0.1).to_arcsec(0, 3)
        (<Quantity -0.15 arcsec>, <Quantity 0.15 arcsec>)
        """
        x, y = self._linear(col, row)
        return x * u.arcsec, y * u.arcsec

    def to_pixel(self, x, y):
        """Pixel position (col, row), counted from 0, of positions (x, y): Quantities, or bare numbers in arcsec."""
        x, y = (np.asarray(u.Quantity(v, u.arcsec).value, dtype=float) for v in (x, y))
        (xx, xy), (yx, yy) = np.linalg.inv(self.matrix)
        return xx * x + xy * y + self.origin[0], yx * x + yy * y + self.origin[1]

    def to_sky(self, x, y):
        """Sky position of (x, y), as a SkyCoord, through the full WCS (SIP included)."""
        return pixel_to_sky(self._need_wcs("to_sky"), *self.to_pixel(x, y))

    def from_sky(self, sky):
        """Position (x, y) in arcsec, as Quantities, of a SkyCoord: the inverse of `to_sky`."""
        return self.to_arcsec(*sky_to_pixel(self._need_wcs("from_sky"), sky))

    def position_angle(self, phi):
        """Position angle, East of North, of the direction ``phi``.

        Parameters
        ----------
        phi : `~astropy.units.Quantity` or float
            Angle counter-clockwise from +x; a bare number is in radians.

        Returns
        -------
        `~astropy.coordinates.Angle`
            In degrees, from 0 up to 360; take it modulo 180 deg for the axis of an ellipse.

        Raises
        ------
        lensing_sr.errors.PixelScaleError
            Without a WCS: the roll of the image is unknown.
        """
        self._need_wcs("position_angle")
        phi = u.Quantity(phi, u.rad).value
        east, north = np.tensordot(self.orientation, np.stack([np.cos(phi), np.sin(phi)]), axes=1)
        return Angle(np.arctan2(east, north), u.rad).to(u.deg).wrap_at(360 * u.deg)

    def upsampled(self, scale):
        """The grid that is ``scale`` times finer, shares the first pixel's outer edge and keeps the arcsec frame.

        Parameters
        ----------
        scale : float
            At least 1.  Where ``n * scale`` is not an integer the fine grid reaches past the edge of this one.

        Returns
        -------
        PixelGrid
            Of shape ``ceil(n * scale)``.
        """
        scale = check_scale(scale)
        shape = upsampled_shape(self.shape, scale)
        wcs = None
        if self.wcs is not None:
            wcs = upsample_wcs(self.wcs, scale)
            wcs.array_shape = shape
        origin = tuple((p + 0.5) * scale - 0.5 for p in self.origin)
        return self._from_parts(shape, wcs, self.orientation, self.matrix / scale, origin)

    def cropped(self, row_slice, col_slice):
        """The grid of ``data[row_slice, col_slice]``, with the *same* arcsec frame and zero point.

        Parameters
        ----------
        row_slice, col_slice : slice
            Slices of step 1, as for the array.

        Returns
        -------
        PixelGrid
        """
        (row0, row1, row_step), (col0, col1, col_step) = (
            s.indices(n) for s, n in zip((row_slice, col_slice), self.shape)
        )
        if row_step != 1 or col_step != 1 or row1 <= row0 or col1 <= col0:
            raise InputError("cropped", "needs two slices of step 1 that keep a pixel", (row_slice, col_slice))
        shape = (row1 - row0, col1 - col0)
        wcs = None if self.wcs is None else crop_wcs(self.wcs, col0, row0, shape)
        origin = (self.origin[0] - col0, self.origin[1] - row0)
        return self._from_parts(shape, wcs, self.orientation, self.matrix, origin)

    def _need_wcs(self, what):
        if self.wcs is None:
            raise PixelScaleError(what, "needs a celestial WCS, which this grid does not have", None, "give wcs=")
        return self.wcs


def _check_shape(shape):
    try:
        ny, nx = (int(n) for n in shape)
        good = ny > 0 and nx > 0 and (ny, nx) == tuple(shape)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError("shape", "must be two positive integers (ny, nx)", shape)
    return ny, nx


def _check_pixel_scale(pixel_scale):
    """Size of a pixel as two floats (x, y) in arcsec."""
    remedy = "use for example 0.05 * u.arcsec / u.pix"
    try:
        scale = u.Quantity(pixel_scale)
        if scale.unit == u.dimensionless_unscaled:
            scale = scale.value
        elif scale.unit.is_equivalent(u.arcsec):
            scale = scale.to_value(u.arcsec)
        else:
            scale = scale.to_value(u.arcsec / u.pix)
        scale = np.broadcast_to(np.asarray(scale, dtype=float), 2).copy()
    except (TypeError, ValueError, u.UnitsError):
        raise PixelScaleError("pixel_scale", "must be an angle (per pixel)", pixel_scale, remedy) from None
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise PixelScaleError("pixel_scale", "must be positive and finite", pixel_scale, remedy)
    return scale


def _signed_qr(jacobian):
    """Orthogonal O and upper triangular M of positive diagonal with O M = jacobian."""
    orthogonal, triangular = np.linalg.qr(jacobian)
    signs = np.where(np.diag(triangular) < 0, -1.0, 1.0)
    return orthogonal * signs, signs[:, None] * np.triu(triangular)
