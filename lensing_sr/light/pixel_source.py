# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""PixelSource: a source of any shape, as the surface brightness on pixels of the source plane, with units."""

from functools import cached_property

import numpy as np
from astropy import units as u

from lensing_sr.errors import InputError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.light import _source_files as files
from lensing_sr.light._brightness import flux_per_pixel, per_arcsec2
from lensing_sr.light.sersic_source import SersicSource
from lensing_sr.utils._checks import check_same_shape, check_whole
from lensing_sr.utils._repr import make_repr

__all__ = ["PixelSource"]

#: Points a side in each pixel for radii and centroids: a compact source covers few pixels.
FINER = 3


class PixelSource:
    r"""Surface brightness on a regular grid of the source plane; between the pixels, a cubic spline.

    The spline passes through the brightness at the pixel centres and runs into zero within two pixels beyond the
    border (`lensing_sr.light.spline`).  Where neighbours differ by much it swings a little below the lower one.

    Parameters
    ----------
    brightness : `~astropy.units.Quantity` or array
        Surface brightness at the pixel centres, (ny, nx), finite; a unit without an area, and a plain array, are taken
        per arcsec^2.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Where the pixels lie.  Its (0, 0) arcsec must be that of the image plane: positions count from there.
    error : `~astropy.units.Quantity` or array, optional
        Standard deviation of the brightness, (ny, nx); a plain array is in the unit of `brightness`.  What is zero or
        not finite counts as unknown.
    sersic : `~lensing_sr.light.sersic_source.SersicSource`, optional
        The nearest Sersic profile, where it is known.

    Attributes
    ----------
    brightness, error : `~astropy.units.Quantity`
        Per arcsec^2, float64, read-only; `error` is NaN where unknown, or None.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        As given.

    Raises
    ------
    lensing_sr.errors.InputError
        If an array has the wrong unit or shape, or brightness is not finite, or error is negative.

    Examples
    --------
    >>> import astropy.units as u
    >>> from lensing_sr import PixelGrid, PixelSource, SersicSource
    >>> grid = PixelGrid((60, 60), pixel_scale=0.02 * u.arcsec / u.pix)
    >>> disc = SersicSource(2 * u.ct / u.arcsec**2, 0.15, 1.0)
    >>> clump = SersicSource(2 * u.ct / u.arcsec**2, 0.04, 0.5, x=0.2, y=0.1)
    >>> x, y = grid.coordinates()
    >>> source = PixelSource(disc.evaluate(x, y) + clump.evaluate(x, y), grid)
    >>> print(f"{source.flux:.2f} {source.r_eff:.3f} {source.sersic.n:.1f}")
    0.56 ct 0.157 arcsec 1.0
    """

    def __init__(self, brightness, grid, *, error=None, sersic=None):
        if not isinstance(grid, PixelGrid):
            raise InputError("grid", "must be a PixelGrid", type(grid).__name__, "PixelGrid(shape, pixel_scale=...)")
        if sersic is not None and not isinstance(sersic, SersicSource):
            raise InputError("sersic", "must be a SersicSource", type(sersic).__name__)
        self.grid, self._sersic = grid, sersic
        check_same_shape(brightness, grid.shape, "brightness", of="the grid")
        self.brightness = per_arcsec2(u.Quantity(brightness, dtype=float), "brightness")
        if not np.isfinite(self.brightness).all():
            bad = f"{int((~np.isfinite(self.brightness)).sum())} pixels that are not"
            raise InputError("brightness", "must be finite", bad, "set what is unknown to 0")
        self.brightness.flags.writeable = False
        self.error = None if error is None else self._checked_error(error)

    def _checked_error(self, error):
        check_same_shape(error, self.grid.shape, "error", of="the grid")
        unit = self.brightness.unit
        if isinstance(error, u.Quantity):
            try:
                error = per_arcsec2(error, "error").to_value(unit)
            except u.UnitConversionError:
                raise InputError("error", f"must be in the unit of brightness, {unit}", error.unit) from None
        error = np.array(error, dtype=float)
        if (error < 0).any():
            raise InputError("error", "must not be negative", f"{int((error < 0).sum())} pixels that are")
        error[~np.isfinite(error) | (error == 0)] = np.nan
        error.flags.writeable = False
        return u.Quantity(error, unit, copy=False)

    def __repr__(self):
        fields = {"shape": self.grid.shape, "pixel_scale": self.grid.pixel_scale, "flux": self.flux}
        x, y = self.centroid
        fields |= {"r_eff": self.r_eff, "x": x, "y": y}
        if self.error is not None and np.isfinite(self.error).any():
            fields["peak_significance"] = float(np.nanmax(self.significance))
        return make_repr(self, fields)

    # Where sources come from -----------------------------------------------------------------------------------------

    @classmethod
    def from_ccddata(cls, image, grid=None, *, sersic=None):
        """Make a source from an image of the source plane.

        Parameters
        ----------
        image : `~astropy.nddata.CCDData`
            Flux per pixel, or surface brightness where its unit says so; its uncertainty, if any, becomes the error.
            Pixels that are masked or not finite become dark, and their error unknown.
        grid : `~lensing_sr.geometry.grid.PixelGrid`, optional
            Where its pixels lie, in the frame of the image plane.  Default: what its WCS says, celestial or linear in
            arcsec; (0, 0) is then where its header (X0PIX, Y0PIX) or a linear WCS has it, else the centre of the array.
        sersic : `~lensing_sr.light.sersic_source.SersicSource`, optional
            As in the class.

        Returns
        -------
        PixelSource

        Raises
        ------
        lensing_sr.errors.PixelScaleError
            Without a grid, if the image has no such WCS.
        """
        brightness, grid, error = files.from_image(image, grid)
        return cls(brightness, grid, error=error, sersic=sersic)

    @classmethod
    def read(cls, path):
        """Read a source from a file of `write`, from a result of this package (extension SOURCE), or from any image.

        Parameters
        ----------
        path : str or path-like
            FITS file; of other files the first extension that holds an image is taken, as in `from_ccddata`.

        Returns
        -------
        PixelSource
            Its nearest Sersic is fitted anew when it is asked for.

        Raises
        ------
        lensing_sr.errors.ImageReadError
            If the file cannot be read or holds no image.
        """
        return cls.from_ccddata(*files.read_image(path))

    def to_ccddata(self, unit=None):
        """Make an image of the source plane, as `from_ccddata` takes it.

        Parameters
        ----------
        unit : `~astropy.units.Unit` or str, optional
            A surface brightness, or a flux: then the image holds the flux of each pixel.  Default: the brightness as it
            is.

        Returns
        -------
        `~astropy.nddata.CCDData`
            With the errors as its uncertainty (NaN where unknown) and a WCS: that of the grid, or one that is linear in
            arcsec.

        Raises
        ------
        lensing_sr.errors.InputError
            If the brightness does not convert to the unit.
        """
        return files.to_image(self, unit)

    def write(self, path, overwrite=False):
        """Write a FITS file, whole or not at all: the brightness, its error (UNCERT), WCS and frame.

        ``CCDData.read`` opens it too.

        Parameters
        ----------
        path : str or path-like
            The file; an existing one is an `~lensing_sr.errors.OutputError` without ``overwrite``.
        overwrite : bool
            Whether it may be replaced.
        """
        from lensing_sr.export.fits_layout import write_hdus

        write_hdus(files.build_hdus(self), path, overwrite)

    # What it is ------------------------------------------------------------------------------------------------------

    @cached_property
    def _coefficients(self):
        import torch

        from lensing_sr.light.spline import cubic_spline_coefficients

        return cubic_spline_coefficients(torch.from_numpy(self.brightness.value.copy()))

    def evaluate(self, x, y):
        """Surface brightness at positions, per arcsec^2; zero beyond the grid (and its border of two pixels).

        Parameters
        ----------
        x, y : `~astropy.units.Quantity` or array
            Positions; plain numbers are in arcsec.

        Returns
        -------
        `~astropy.units.Quantity`
            Of their shape; NaN where a position is.
        """
        x, y = np.broadcast_arrays(u.Quantity(x, u.arcsec).value, u.Quantity(y, u.arcsec).value)
        return self._at_pixels(*self.grid.to_pixel(x, y)) * self.brightness.unit

    def _at_pixels(self, column, row):
        import torch

        from lensing_sr.light.spline import sample_spline

        return sample_spline(self._coefficients, *(torch.as_tensor(np.array(p)) for p in (column, row))).numpy()

    def image(self, grid, supersampling=1):
        """Image without blurring: flux per pixel, in the unit of the brightness times arcsec^2.

        Parameters
        ----------
        grid : `~lensing_sr.geometry.grid.PixelGrid`
            Pixels, in the frame of this source.
        supersampling : int
            Points a side over which the light is averaged in each pixel; 1 = at the pixel centre.

        Returns
        -------
        `~astropy.units.Quantity`
            (ny, nx).
        """
        return flux_per_pixel(self.evaluate, grid, supersampling)

    @property
    def flux(self):
        """Total flux, the integral of the spline, in the unit of the brightness times arcsec^2."""
        return float(self._coefficients.sum()) * self.brightness.unit * self.grid.pixel_area

    @cached_property
    def _moments(self):
        """Half-light radius and centroid in arcsec, of the light above zero; NaN where there is none."""
        ny, nx = self.grid.shape
        row, column = ((np.arange(FINER * n) + 0.5) / FINER - 0.5 for n in (ny, nx))
        column, row = np.meshgrid(column, row)
        light = np.clip(self._at_pixels(column, row), 0.0, None)
        if not light.any():
            return np.nan, np.nan, np.nan
        x, y = (p.value for p in self.grid.to_arcsec(column, row))
        light /= light.sum()
        x0, y0 = (light * x).sum(), (light * y).sum()
        x, y = x - x0, y - y0
        xx, yy, xy = (light * x * x).sum(), (light * y * y).sum(), (light * x * y).sum()
        # the ellipse of the second moments: (1 - q) / (1 + q) (cos 2 phi, sin 2 phi)
        size = xx + yy + 2.0 * np.sqrt(max(xx * yy - xy * xy, 0.0))
        e1, e2 = (xx - yy) / size, 2.0 * xy / size
        # a row of light has no area; nothing rounder than 1 : 199 changes
        shrink = min(1.0, 0.99 / max(np.hypot(e1, e2), 1e-9))
        e1, e2 = shrink * e1, shrink * e2
        r2 = ((x - e1 * x - e2 * y) ** 2 + (y + e1 * y - e2 * x) ** 2) / (1.0 - e1 * e1 - e2 * e2)
        order = np.argsort(r2, axis=None)
        share = light.ravel()[order]
        within = np.cumsum(share) - 0.5 * share
        return float(np.sqrt(np.interp(0.5, within, r2.ravel()[order]))), float(x0), float(y0)

    @property
    def r_eff(self):
        r"""Radius that holds half of the light above zero, on the intermediate axis :math:`\sqrt{ab}`.

        Of ellipses about `centroid` with the axis ratio and direction of the light's second moments.  NaN for a source
        without light.
        """
        return self._moments[0] * u.arcsec

    @property
    def centroid(self):
        """Mean position (x, y) of the light above zero, in arcsec."""
        return self._moments[1] * u.arcsec, self._moments[2] * u.arcsec

    @property
    def significance(self):
        """Brightness over its error, dimensionless array (ny, nx), NaN where that is unknown; None without errors."""
        return None if self.error is None else (self.brightness / self.error).value

    @property
    def sersic(self):
        """The Sersic profile that is nearest: the one given, else the least-squares fit to the pixels (cached).

        Every pixel has the same weight, and a constant background is left out of the profile.

        Raises
        ------
        lensing_sr.errors.FitError
            If nothing stands out of the background.
        """
        if self._sersic is None:
            from lensing_sr.light._sersic_fit import fit_sersic

            amplitude, *shape = fit_sersic(self.brightness.value, None, None, self.grid, None, 1).values()
            self._sersic = SersicSource.from_components(amplitude * self.brightness.unit, *shape)
        return self._sersic

    # In others' terms ------------------------------------------------------------------------------------------------

    def to_lenstronomy(self, grid=None, supersampling=4):
        """Write the same light in lenstronomy's terms: its profile INTERPOL.

        That interpolates linearly between pixels, so the spline is sampled on finer ones, along lenstronomy's axes.

        Parameters
        ----------
        grid : `~lensing_sr.geometry.grid.PixelGrid`, optional
            With a WCS, the light is turned into lenstronomy's frame (x East, y North).  Default: this source's.
        supersampling : int
            Pixels a side in each pixel.

        Returns
        -------
        light_model_list : list of str
        kwargs_light : list of dict
            For ``lenstronomy.LightModel``; image without its unit, per arcsec^2.
        """
        from lensing_sr.export.lenstronomy import turn_vector

        finer = check_whole(supersampling, "supersampling", least=1)
        orientation = (self.grid if grid is None else grid).orientation
        turn = np.eye(2) if orientation is None else np.asarray(orientation)
        ny, nx = self.grid.shape
        # two pixels about the grid, where the light runs into zero
        column, row = (np.array(p) for p in zip(*((c, r) for c in (-2.0, nx + 1.0) for r in (-2.0, ny + 1.0))))
        corners = np.array(turn_vector(*(p.value for p in self.grid.to_arcsec(column, row)), turn))
        low, high = corners.min(axis=1), corners.max(axis=1)
        step = self.grid.pixel_scale.value / finer
        (n_x, n_y), (x0, y0) = np.ceil((high - low) / step).astype(int) + 1, 0.5 * (low + high)
        east, north = np.meshgrid((np.arange(n_x) - (n_x - 1) / 2) * step, (np.arange(n_y) - (n_y - 1) / 2) * step)
        # the matrix is orthogonal: its transpose leads back
        light = self.evaluate(*turn_vector(east + x0, north + y0, turn.T)).value
        place = {"center_x": float(x0), "center_y": float(y0), "phi_G": 0.0, "scale": float(step)}
        return ["INTERPOL"], [{"image": light, "amp": 1.0, **place}]

    def plot(self, path=None, overwrite=False):
        """Draw the source and, given a path, save the figure; see `lensing_sr.plotting.plot_source`."""
        from lensing_sr.plotting import plot_source

        return plot_source(self, path, overwrite)
