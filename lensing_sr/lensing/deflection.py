# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""DeflectionField: what a lens does to the sky behind it, on a pixel grid, with units."""

from functools import cached_property

import numpy as np
from astropy import units as u

from lensing_sr.errors import InputError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.lensing import _deflection_files as files
from lensing_sr.lensing._arrays import as_angles, as_tensor, lenstronomy_deflection, sie_deflection_on
from lensing_sr.utils._checks import as_float_in, check_same_shape
from lensing_sr.utils._repr import make_repr

__all__ = ["DeflectionField"]


class DeflectionField:
    r"""Deflection :math:`\alpha` of the lens equation :math:`\beta = \theta - \alpha(\theta)` at the pixels of a grid.

    Everything else (convergence, shear, potential, curves) is derived from the two arrays by fourth-order differences,
    so it holds for any field: of a model, of a network, of a file.

    Parameters
    ----------
    alpha_x, alpha_y : `~astropy.units.Quantity` or array
        Deflection along the columns and perpendicular to them, shape (ny, nx); plain arrays are in arcsec.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Where the pixels lie.

    Raises
    ------
    lensing_sr.errors.InputError
        If an array is not an angle, or has not the shape of the grid.

    Examples
    --------
    >>> import astropy.units as u
    >>> from lensing_sr import DeflectionField, PixelGrid
    >>> grid = PixelGrid((81, 81), pixel_scale=0.05 * u.arcsec / u.pix)
    >>> field = DeflectionField.from_sie(1.2 * u.arcsec, 0.1, 0.05, grid=grid)
    >>> print(f"{field.einstein_radius:.2f}")
    1.20 arcsec
    """

    def __init__(self, alpha_x, alpha_y, grid):
        if not isinstance(grid, PixelGrid):
            raise InputError("grid", "must be a PixelGrid", type(grid).__name__, "PixelGrid(shape, pixel_scale=...)")
        self.grid = grid
        self.alpha_x, self.alpha_y = (
            as_angles(value, name, grid.shape) for value, name in ((alpha_x, "alpha_x"), (alpha_y, "alpha_y"))
        )

    def __repr__(self):
        largest = np.nanmax(np.hypot(self.alpha_x, self.alpha_y), initial=0 * u.arcsec)
        return make_repr(self, {"shape": self.shape, "pixel_scale": self.grid.pixel_scale, "largest": largest})

    @property
    def shape(self):
        """Shape (ny, nx) in pixels."""
        return self.grid.shape

    @property
    def _tensors(self):
        return as_tensor(self.alpha_x.value), as_tensor(self.alpha_y.value)

    # Where fields come from ------------------------------------------------------------------------------------------

    @classmethod
    def from_sie(cls, theta_E, e1, e2, x=0.0, y=0.0, *, grid):
        """Field of a singular isothermal ellipsoid.

        Parameters
        ----------
        theta_E : `~astropy.units.Quantity` or float
            Einstein radius on the intermediate axis (bare numbers here and below are in arcsec).
        e1, e2 : float
            Ellipticity (1-q)/(1+q) (cos 2 phi, sin 2 phi), phi counter-clockwise from +x.
        x, y : `~astropy.units.Quantity` or float
            Centre.
        grid : `~lensing_sr.geometry.grid.PixelGrid`
            Where to evaluate it.

        Returns
        -------
        DeflectionField
        """
        return cls(*sie_deflection_on(grid, theta_E, e1, e2, x, y), grid)

    @classmethod
    def from_convergence(cls, kappa, grid):
        """Field of a mass map; mass beyond the grid does not act.

        Parameters
        ----------
        kappa : array
            Convergence at the pixel centres, shape (ny, nx), dimensionless.
        grid : `~lensing_sr.geometry.grid.PixelGrid`
            Where the pixels lie.

        Returns
        -------
        DeflectionField
        """
        from lensing_sr.lensing.relens import deflection_from_convergence

        kappa = u.Quantity(kappa, u.dimensionless_unscaled).value
        check_same_shape(kappa, grid.shape, "kappa", of="the grid")
        return cls(*(alpha.numpy() for alpha in deflection_from_convergence(as_tensor(kappa), grid.matrix)), grid)

    @classmethod
    def from_lenstronomy(cls, lens_model_list, kwargs_lens, *, grid, **lens_model_options):
        """Field of a lenstronomy model, evaluated by lenstronomy.

        Parameters
        ----------
        lens_model_list : list of str
            As in ``lenstronomy.LensModel``, or such a ``LensModel`` itself.
        kwargs_lens : list of dict
            Its parameters.  Where the grid has a WCS, x is towards East and y towards North, as lenstronomy has it; on
            a grid without one, along columns and rows.
        grid : `~lensing_sr.geometry.grid.PixelGrid`
            Where to evaluate it.
        **lens_model_options
            For ``LensModel``.

        Returns
        -------
        DeflectionField
        """
        return cls(*lenstronomy_deflection(grid, lens_model_list, kwargs_lens, lens_model_options), grid)

    @classmethod
    def from_fits(cls, x_file, y_file, scale=1.0, *, unit=None, pixel_scale=None, ext=None):
        """Field of a published pair of maps, one component a file (as the Frontier Fields models are).

        Parameters
        ----------
        x_file, y_file : str or path-like
            Deflection along the columns and along the rows.
        scale : float
            D_ls / D_s of the source; published maps are usually those for 1.
        unit : `~astropy.units.Unit` or str, optional
            An angle, or ``u.pix``; default what BUNIT says, else arcsec.
        pixel_scale : `~astropy.units.Quantity` or float, optional
            Needed where the files have no WCS.
        ext : str or int, optional
            Extension, where a file has several images.

        Returns
        -------
        DeflectionField

        Raises
        ------
        lensing_sr.errors.ImageReadError
            If a file cannot be read or holds no single map.
        lensing_sr.errors.InputError
            If the maps differ in shape or unit, or the unit is no angle.
        """
        scale = as_float_in(scale, "", "scale", positive=True)
        alpha_x, alpha_y, grid = files.read_pair(x_file, y_file, unit, pixel_scale, ext)
        return cls(scale * alpha_x, scale * alpha_y, grid)

    @classmethod
    def read(cls, path, ext=None):
        """Read a field from a file of `write`, or from a result of this package (extension DEFLECT).

        Parameters
        ----------
        path : str or path-like
            FITS file with an array of shape (2, ny, nx).
        ext : str or int, optional
            Extension, where it is another.

        Returns
        -------
        DeflectionField
        """
        return cls(*files.read_field(path, ext))

    def to_hdu(self):
        """Both components as an image extension DEFLECT: (2, ny, nx) in arcsec, with the axes of the grid."""
        from lensing_sr.export.fits_layout import grid_header

        return files.deflection_hdu(self.alpha_x.value, self.alpha_y.value, grid_header(self.grid), self.grid.origin)

    def write(self, path, overwrite=False):
        """Write a FITS file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file; an existing one is an `~lensing_sr.errors.OutputError` without ``overwrite``.
        overwrite : bool
            Whether it may be replaced.
        """
        from astropy.io import fits

        from lensing_sr.export.fits_layout import write_hdus

        write_hdus(fits.HDUList([fits.PrimaryHDU(), self.to_hdu()]), path, overwrite)

    # What follows from it --------------------------------------------------------------------------------------------

    @property
    def radial(self):
        """Component away from (0, 0), in arcsec; 0 at the origin itself."""
        x, y, r = self._polar
        return (self.alpha_x * x + self.alpha_y * y) / r

    @property
    def tangential(self):
        """Component counter-clockwise about (0, 0), in arcsec; 0 at the origin itself."""
        x, y, r = self._polar
        return (self.alpha_y * x - self.alpha_x * y) / r

    @property
    def _polar(self):
        x, y = self.grid.coordinates()
        return x, y, np.maximum(np.hypot(x, y), np.finfo(float).tiny)

    @cached_property
    def _distortion(self):
        from lensing_sr.lensing.relens import distortion

        if min(self.shape) < 5:
            raise InputError("alpha_x", "needs at least 5 x 5 pixels to be differentiated", self.shape)
        return tuple(m.numpy() for m in distortion(*self._tensors, self.grid.matrix))

    @property
    def convergence(self):
        """Convergence kappa, half the divergence of the field; dimensionless array (ny, nx)."""
        return self._distortion[0]

    @property
    def shear(self):
        """Shear (gamma1, gamma2) in the frame of the grid; dimensionless arrays (ny, nx)."""
        return self._distortion[1:3]

    @property
    def curl(self):
        """Curl d(alpha_y)/dx - d(alpha_x)/dy: zero for a single lens plane; dimensionless array (ny, nx)."""
        return self._distortion[3]

    @property
    def magnification(self):
        """Signed magnification, 1 / det(d beta / d theta); dimensionless array (ny, nx)."""
        kappa, gamma1, gamma2, curl = self._distortion
        with np.errstate(divide="ignore"):
            return 1.0 / ((1.0 - kappa) ** 2 - gamma1**2 - gamma2**2 + 0.25 * curl**2)

    @cached_property
    def potential(self):
        """Potential in arcsec^2 whose gradient is nearest to the field (the curl is left out), zero at its lowest."""
        from lensing_sr.lensing.relens import integrate_deflection

        return integrate_deflection(*self._tensors, self.grid.matrix).numpy() * u.arcsec**2

    def critical_curves(self, kind="both"):
        """Curves in the image plane where the magnification is infinite.

        Parameters
        ----------
        kind : {"both", "tangential", "radial"}
            Tangential curves (1 - kappa - |gamma| = 0), along which arcs form, come first.

        Returns
        -------
        list of (x, y)
            Each a pair of `~astropy.units.Quantity` arrays in arcsec; a closed curve ends where it starts.  Curves
            narrower than four pixels are not resolved and left out.
        """
        from lensing_sr.lensing._curves import critical_contours

        kinds = ("tangential", "radial") if kind == "both" else (kind,)
        if not set(kinds) <= {"tangential", "radial"}:
            raise InputError("kind", "must be 'both', 'tangential' or 'radial'", repr(kind))
        return [self.grid.to_arcsec(*curve.T) for k in kinds for curve in critical_contours(*self._distortion[:3], k)]

    def caustics(self, kind="both"):
        """Curves in the source plane on which the critical curves fall; arguments and answer as `critical_curves`."""
        return [self.ray_trace(x, y) for x, y in self.critical_curves(kind)]

    @cached_property
    def einstein_radius(self):
        """Radius of the circle whose area is that within the outermost tangential critical curve (NaN if none closes).

        For an isothermal ellipsoid this is its theta_E; an external shear belongs to the field and changes it.
        """
        from lensing_sr.lensing._curves import enclosed_area

        area = max((enclosed_area(x.value, y.value) for x, y in self.critical_curves("tangential")), default=0.0)
        return (np.sqrt(area / np.pi) if area > 0 else np.nan) * u.arcsec

    # What it does ----------------------------------------------------------------------------------------------------

    def at(self, x, y):
        """Deflection (alpha_x, alpha_y) between the pixels (bicubic), in arcsec; NaN outside the grid.

        Parameters
        ----------
        x, y : `~astropy.units.Quantity` or array
            Positions; plain numbers are in arcsec.
        """
        col, row = (np.asarray(p, dtype=float) for p in self.grid.to_pixel(x, y))
        ny, nx = self.shape
        inside = (np.abs(col - 0.5 * (nx - 1)) <= 0.5 * nx + 1e-9) & (np.abs(row - 0.5 * (ny - 1)) <= 0.5 * ny + 1e-9)
        alpha = self._sampled(np.where(inside, col, 0.0), np.where(inside, row, 0.0))
        return tuple(np.where(inside, component, np.nan) * u.arcsec for component in alpha)

    def _sampled(self, col, row):
        """Components in arcsec at pixel positions, bicubic; the edge continued straight."""
        from lensing_sr.lensing.relens import sample_image

        col, row = as_tensor(col), as_tensor(row)
        return [sample_image(component, col, row, "bicubic", "extrapolate").numpy() for component in self._tensors]

    def ray_trace(self, x=None, y=None):
        """Where light that is seen at (x, y) comes from: (beta_x, beta_y) in arcsec, NaN outside the grid.

        Parameters
        ----------
        x, y : `~astropy.units.Quantity` or array, optional
            Positions in the image plane; plain numbers are in arcsec.  Default: all pixels of the grid.
        """
        if x is None and y is None:
            x, y = self.grid.coordinates()
            return x * u.arcsec - self.alpha_x, y * u.arcsec - self.alpha_y
        x, y = u.Quantity(x, u.arcsec), u.Quantity(y, u.arcsec)
        alpha_x, alpha_y = self.at(x, y)
        return x - alpha_x, y - alpha_y

    def resample(self, scale):
        """The same field on a grid `scale` times finer that shares this one's edges (bicubic).

        Parameters
        ----------
        scale : float
            At least 1.

        Returns
        -------
        DeflectionField
        """
        grid = self.grid.upsampled(scale)
        ny, nx = grid.shape
        row, col = np.meshgrid((np.arange(ny) + 0.5) / scale - 0.5, (np.arange(nx) + 0.5) / scale - 0.5, indexing="ij")
        return type(self)(*self._sampled(col, row), grid)

    def lens(self, source, supersampling=1):
        """Image of a source seen through this lens, on this grid, without blurring.

        Parameters
        ----------
        source : SersicSource, LensImage, CCDData, (array, PixelGrid) or array
            A profile with ``evaluate(x, y)``, or an image of the source plane (bilinear between its pixels, dark
            beyond them).  A bare array lies on this field's grid.
        supersampling : int
            Points a side over which each pixel is averaged.

        Returns
        -------
        `~astropy.units.Quantity` or array
            (ny, nx); flux per pixel of this grid, or surface brightness where the source image is in such a unit.
        """
        from lensing_sr.lensing._plane_images import lens_image

        return lens_image(self, source, supersampling)

    def delens(self, image, grid=None):
        """Source plane of an image: every pixel is traced back, and what arrives at one place is averaged.

        Parameters
        ----------
        image : LensImage, CCDData, (array, PixelGrid) or array
            Image in the image plane (masked pixels are left out).  A bare array lies on this field's grid.
        grid : `~lensing_sr.geometry.grid.PixelGrid`, optional
            Grid of the source plane; default this field's.

        Returns
        -------
        `~astropy.units.Quantity` or array
            Shape of `grid`, NaN where nothing arrives; flux per pixel of `grid`, or surface brightness where the image
            is in such a unit.
        """
        from lensing_sr.lensing._plane_images import delens_image

        return delens_image(self, image, self.grid if grid is None else grid)

    def plot(self, path=None, overwrite=False):
        """Draw the field and, given a path, save the figure; see `lensing_sr.plotting.plot_deflection`."""
        from lensing_sr.plotting import plot_deflection

        return plot_deflection(self, path, overwrite)
