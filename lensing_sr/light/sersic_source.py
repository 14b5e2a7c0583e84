# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""SersicSource: an elliptical Sersic galaxy with units."""

import numpy as np
from astropy import units as u

from lensing_sr.errors import InputError
from lensing_sr.light._brightness import flux_per_pixel, per_arcsec2, pixel_brightness
from lensing_sr.utils._checks import as_float_in
from lensing_sr.utils._repr import make_repr

__all__ = ["SersicSource"]


class SersicSource:
    r"""An elliptical Sersic profile, :math:`I(r) = I_e \exp\{-b_n[(r/r_\mathrm{eff})^{1/n} - 1]\}`.

    The radius is that of the intermediate axis, :math:`r^2 = q\,x'^2 + y'^2 / q`, and :math:`b_n` is exact: half of the
    light lies within r_eff.

    Parameters
    ----------
    amplitude : `~astropy.units.Quantity` or float
        Surface brightness at r_eff; a unit without an area, and a bare number, are taken per arcsec^2.
    r_eff : `~astropy.units.Quantity` or float
        Half-light radius on the intermediate axis, :math:`\sqrt{ab}` (bare numbers here and below are in arcsec).
    n : float
        Sersic index, 0.3 to 10.
    x, y : `~astropy.units.Quantity` or float
        Centre in the frame of the image: x along the columns, y along the rows.
    ellipticity : float
        :math:`1 - q`.
    angle : `~astropy.units.Quantity` or float
        Direction of the major axis, counter-clockwise from +x; a bare number is in degrees.

    Raises
    ------
    lensing_sr.errors.InputError
        If a value has the wrong unit or lies out of range.

    Examples
    --------
    >>> import astropy.units as u
    >>> from lensing_sr import SersicSource
    >>> source = SersicSource(20 * u.ct / u.arcsec**2, 0.25 * u.arcsec, 1, ellipticity=0.2, angle=30 * u.deg)
    >>> source
    <SersicSource(amplitude=20 ct / arcsec2, r_eff=0.25 arcsec, n=1, x=0 arcsec, y=0 arcsec,
                  ellipticity=0.2, angle=30 deg)>
    >>> print(f"{source.flux:.3f}")
    14.936 ct
    """

    def __init__(self, amplitude, r_eff, n, x=0.0, y=0.0, ellipticity=0.0, angle=0.0):
        amplitude = u.Quantity(amplitude)
        if not amplitude.isscalar or not np.isfinite(amplitude.value):
            raise InputError("amplitude", "must be one finite number or Quantity", amplitude)
        self.amplitude = per_arcsec2(amplitude, "amplitude")
        self.r_eff = as_float_in(r_eff, "arcsec", "r_eff", positive=True) * u.arcsec
        self.n = as_float_in(n, "", "n", positive=True)
        if not 0.3 <= self.n <= 10.0:
            raise InputError("n", "must lie between 0.3 and 10", self.n)
        self.x = as_float_in(x, "arcsec", "x") * u.arcsec
        self.y = as_float_in(y, "arcsec", "y") * u.arcsec
        self.ellipticity = as_float_in(ellipticity, "", "ellipticity", non_negative=True)
        if self.ellipticity >= 1.0:
            raise InputError("ellipticity", "is 1 - q and must be below 1", self.ellipticity)
        self.angle = as_float_in(angle, "deg", "angle") * u.deg

    def __repr__(self):
        names = ("amplitude", "r_eff", "n", "x", "y", "ellipticity", "angle")
        return make_repr(self, {name: getattr(self, name) for name in names})

    # Where sources come from -----------------------------------------------------------------------------------------

    @classmethod
    def from_components(cls, amplitude, r_eff, n, x=0.0, y=0.0, e1=0.0, e2=0.0):
        """Make a source from the ellipticity (1-q)/(1+q) (cos 2 phi, sin 2 phi), the rest as in the class.

        Examples
        --------
        >>> from lensing_sr import SersicSource
        >>> source = SersicSource.from_components(1, 0.3, 1, e1=0.0, e2=0.2)
        >>> print(f"{source.ellipticity:.4f} {source.angle:.1f}")
        0.3333 45.0 deg
        """
        e1, e2 = as_float_in(e1, "", "e1"), as_float_in(e2, "", "e2")
        e = np.hypot(e1, e2)
        if e >= 1.0:
            raise InputError("e1, e2", "must have a modulus below 1", f"({e1:g}, {e2:g})")
        angle = 0.5 * np.degrees(np.arctan2(e2, e1))
        return cls(amplitude, r_eff, n, x, y, 2.0 * e / (1.0 + e), angle * u.deg)

    @classmethod
    def from_parameters(cls, parameters):
        """Make a source from a result's parameters.

        Parameters
        ----------
        parameters : `~astropy.table.Table` or dict
            With the names amplitude, r_eff, n, x_source, y_source, e1_source, e2_source: a table with the columns
            name, value and (optionally) unit, or a dictionary of numbers (arcsec) and quantities.

        Returns
        -------
        SersicSource

        Raises
        ------
        lensing_sr.errors.InputError
            If a name is missing.
        """
        if not isinstance(parameters, dict):
            units = parameters["unit"] if "unit" in parameters.colnames else [""] * len(parameters)
            parameters = {
                str(name): float(value) * u.Unit(str(unit) if unit else "")
                for name, value, unit in zip(parameters["name"], parameters["value"], units)
            }
        names = ("amplitude", "r_eff", "n", "x_source", "y_source", "e1_source", "e2_source")
        missing = [name for name in names if name not in parameters]
        if missing:
            raise InputError("parameters", f"must name {', '.join(names)}", f"none of {', '.join(missing)}")
        return cls.from_components(*(parameters[name] for name in names))

    @classmethod
    def fit(cls, image, *, supersampling=3, **how_to_read):
        """Fit a source to an image of it: an unlensed galaxy, or a reconstructed source plane.

        Least squares, weighted by the noise where it is known, with a constant sky; the model is blurred by the image's
        PSF.

        Parameters
        ----------
        image : LensImage, or anything that `LensImage.read <lensing_sr.image.lens_image.LensImage.read>` takes
            Say, the path of a FITS file.
        supersampling : int
            Points a side over which the light is averaged in each pixel (of the PSF's sampling).
        **how_to_read
            Options of ``LensImage.read``: psf, noise, mask, pixel_scale, ext, ...

        Returns
        -------
        SersicSource
            Its amplitude is in the image's unit per arcsec^2.

        Raises
        ------
        lensing_sr.errors.FitError
            If too few pixels are good, or nothing stands out of the sky.
        """
        from lensing_sr.image.lens_image import LensImage
        from lensing_sr.light._sersic_fit import fit_sersic

        if not isinstance(image, LensImage) or how_to_read:
            image = LensImage.read(image, **how_to_read)
        values = fit_sersic(image.data, image.noise, image.mask, image.grid, image.psf, supersampling)
        amplitude, *shape = values.values()
        return cls.from_components(amplitude * pixel_brightness(image.unit, image.grid), *shape)

    # What it is ------------------------------------------------------------------------------------------------------

    @property
    def q(self):
        """Axis ratio."""
        return 1.0 - self.ellipticity

    @property
    def components(self):
        """Ellipticity (e1, e2) = (1-q)/(1+q) (cos 2 phi, sin 2 phi), as in lenstronomy."""
        e, twice = self.ellipticity / (2.0 - self.ellipticity), 2.0 * self.angle.to_value(u.rad)
        return float(e * np.cos(twice)), float(e * np.sin(twice))

    @property
    def flux(self):
        """Total flux, in the amplitude's unit times arcsec^2."""
        from lensing_sr.light.sersic import sersic_flux

        one, r, n = _tensors(1.0, self.r_eff.value, self.n)
        return float(sersic_flux(one, r, n)) * self.amplitude * u.arcsec**2

    def evaluate(self, x, y):
        """Surface brightness at positions, in the amplitude's unit.

        Parameters
        ----------
        x, y : `~astropy.units.Quantity` or array
            Positions; plain numbers are in arcsec.
        """
        from lensing_sr.light.sersic import sersic_brightness

        x, y = np.broadcast_arrays(u.Quantity(x, u.arcsec).value, u.Quantity(y, u.arcsec).value)
        shape = _tensors(1.0, self.r_eff.value, self.n, *self.components)
        light = sersic_brightness(*_tensors(x, y), *shape, self.x.value, self.y.value)
        return light.numpy() * self.amplitude

    def image(self, grid, supersampling=1):
        """Image without blurring: flux per pixel, in the amplitude's unit times arcsec^2.

        Parameters
        ----------
        grid : `~lensing_sr.geometry.grid.PixelGrid`
            Pixels.
        supersampling : int
            Points a side over which the light is averaged in each pixel; 1 = at the pixel centre.

        Returns
        -------
        `~astropy.units.Quantity`
            (ny, nx).

        Examples
        --------
        >>> import numpy as np
        >>> from lensing_sr import PixelGrid, SersicSource
        >>> source = SersicSource(1.0, 0.3, 1.0)
        >>> image = source.image(PixelGrid((101, 101), pixel_scale=0.05), supersampling=3)
        >>> bool(np.isclose(image.sum() / source.flux, 1, atol=1e-3))
        True
        """
        return flux_per_pixel(self.evaluate, grid, supersampling)

    # In others' terms ------------------------------------------------------------------------------------------------

    def to_astropy(self):
        """Make the same profile as a `~astropy.modeling.models.Sersic2D`; its r_eff is on the major axis.

        Examples
        --------
        >>> from lensing_sr import SersicSource
        >>> model = SersicSource(1.0, 0.3, 1.0, ellipticity=0.19).to_astropy()
        >>> print(f"{model.r_eff.quantity:.4f}")
        0.3333 arcsec
        """
        from astropy.modeling.models import Sersic2D

        return Sersic2D(
            amplitude=self.amplitude,
            r_eff=self.r_eff / np.sqrt(self.q),
            n=self.n,
            x_0=self.x,
            y_0=self.y,
            ellip=self.ellipticity,
            theta=self.angle.to(u.rad),
        )

    def to_lenstronomy(self, grid=None):
        """Write the same light in lenstronomy's terms: its b_n is approximate, amplitude and radius make up for that.

        Parameters
        ----------
        grid : `~lensing_sr.geometry.grid.PixelGrid`, optional
            With a WCS, the profile is turned into lenstronomy's frame (x East, y North).

        Returns
        -------
        light_model_list : list of str
        kwargs_light : list of dict
            For ``lenstronomy.LightModel``; amp without its unit, per arcsec^2.
        """
        from lensing_sr.export.lenstronomy import sersic_kwargs, turn_spin2, turn_vector

        orientation = None if grid is None else grid.orientation
        amplitude, radius = sersic_kwargs(self.amplitude.value, self.r_eff.value, self.n)
        e1, e2 = turn_spin2(*self.components, orientation)
        x, y = turn_vector(self.x.value, self.y.value, orientation)
        shape = {"e1": float(e1), "e2": float(e2), "center_x": float(x), "center_y": float(y)}
        return ["SERSIC_ELLIPSE"], [{"amp": amplitude, "R_sersic": radius, "n_sersic": self.n, **shape}]


def _tensors(*values):
    import torch

    return [torch.as_tensor(np.array(value, dtype=float)) for value in values]
