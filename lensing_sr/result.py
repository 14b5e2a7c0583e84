# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a super-resolution gives: the image at the finer scale and everything beside it."""

import json
import math
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

from lensing_sr import __version__
from lensing_sr.export.fits_layout import build_hdus, now, sigma, write_hdus
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.image._units import is_per_area
from lensing_sr.lensing.substructure import HasSubstructure
from lensing_sr.light._source_files import plane_grid
from lensing_sr.light.pixel_source import PixelSource
from lensing_sr.utils._repr import make_repr

__all__ = ["SuperResolution"]

# Shown field of the figure: half its width in Einstein radii, and at least so many input pixels.
_FIELD, _SMALLEST_FIELD = 2.0, 12


class SuperResolution(HasSubstructure):
    """
    The answer of `~lensing_sr.resolver.LensingSuperResolver`.

    Images are `~astropy.nddata.CCDData` with their world coordinates (none where the input had none) and one unit.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`
        The super-resolved image, sky removed: lens light, arcs and restored residual; with uncertainty and mask.
    arcs, lens_light : `~astropy.nddata.CCDData`
        On the same grid: the lensed source alone, and the lens galaxy's light.
    model, residual : `~astropy.nddata.CCDData`
        On the input grid: the model as the detector would see it, sky included, and the data minus it.
    source_image : `~astropy.nddata.CCDData` or None
        The source plane, with its own celestial system or one that is linear in arcsec; of a pixel source its own
        pixels, with their uncertainty (`PixelSource.to_ccddata`).
    deflection : `~lensing_sr.lensing.deflection.DeflectionField`
        On the grid of ``image``.
    source : `~lensing_sr.light.sersic_source.SersicSource`, `~lensing_sr.light.pixel_source.PixelSource` or None
        The source.
    parameters : `~astropy.table.Table`
        Columns name, value, error (half-width of an interval that holds 68 %), unit, error_95 (of one that holds 95 %).
    quality : `~lensing_sr.quality.Quality`
        How far to trust it.
    sky : float
        The level that was removed from the input, in its units a pixel of the input.
    scale : float
        Input pixels over output pixels, along one axis.
    psf : array or None
        Point-spread function of ``image``, at its sampling.
    input_image : `~astropy.nddata.CCDData`, optional
        The data as they were given; with their noise (after the noise scale) as uncertainty and the pixels that were
        ignored as mask.
    meta : dict, optional
        ``method``, ``network``, ``weights_sha256``, ``seed``, ``time_s``, ``history`` (a list of str) and ``name``;
        ``source``, "sersic" or "pixel", is added.
    validation : `~lensing_sr.validation.Validation`, optional
        How the method fared with withheld pixels of this image; may be set later.
    substructure : tuple, optional
        ``convergence_correction``, ``significance`` and ``perturbers``, where the lens is not smooth.

    Attributes
    ----------
    image, arcs, lens_light, model, residual, source_image, deflection, source, parameters, quality, sky, scale, psf,
    validation
        As given.
    input_image : `~astropy.nddata.CCDData`
        As given, or the sum of model and residual.
    grid, input_grid, source_grid : `~lensing_sr.geometry.grid.PixelGrid`
        Of the output, the input and the source plane, in one arcsec frame.
    """

    def __init__(
        self,
        *,
        image,
        arcs,
        lens_light,
        model,
        residual,
        source_image,
        deflection,
        source,
        parameters,
        quality,
        sky,
        scale,
        psf,
        input_image=None,
        meta=None,
        validation=None,
        substructure=None,
    ):
        self.image, self.arcs, self.lens_light = image, arcs, lens_light
        self.model, self.residual, self.source_image = model, residual, source_image
        self.deflection, self.source, self.quality = deflection, source, quality
        self.sky, self.scale, self.psf, self.validation, self.parameters = sky, scale, psf, validation, parameters
        self._set_substructure(substructure)
        if "name" in parameters.colnames and not parameters.indices:
            self.parameters.add_index("name")  # so that parameters.loc["theta_E"] works
        if input_image is None:
            input_image = CCDData(model.data + residual.data, unit=model.unit, wcs=model.wcs)
        self.input_image = input_image
        self.meta = {} if meta is None else dict(meta)
        if source is not None:
            self.meta["source"] = "pixel" if isinstance(source, PixelSource) else "sersic"

    def __repr__(self):
        return make_repr(
            self,
            {
                "name": self.meta.get("name"),
                "shape": self.image.shape,
                "pixel_scale": self.grid.pixel_scale,
                "theta_E": self._values.get("theta_E", math.nan) * u.arcsec,
                "chi2": self.quality.chi2,
                "flags": tuple(self.quality.flags),
            },
        )

    # Geometry --------------------------------------------------------------------------------------------------------

    @property
    def grid(self):
        """Grid of the output."""
        return self.deflection.grid

    @cached_property
    def input_grid(self):
        """Grid of the input; the frame is that of the output."""
        origin = tuple((pixel + 0.5) / self.scale - 0.5 for pixel in self.grid.origin)
        if self.grid.wcs is None:
            pixel_scale = np.hypot(*self.grid.matrix) * self.scale
            return PixelGrid(self.model.shape, pixel_scale=pixel_scale, origin=origin)
        return PixelGrid(self.model.shape, wcs=self.model.wcs, origin=origin)

    @cached_property
    def source_grid(self):
        """Grid of the source plane in the frame of the output, or None where that is unknown."""
        if self.source_image is None or self.source_image.wcs is None:
            return None
        return plane_grid(self.source_image.wcs, self.source_image.shape, frame=self.grid)

    # The model in numbers --------------------------------------------------------------------------------------------

    @cached_property
    def _values(self):
        """Parameters as plain floats by name; the source's amplitude too, wherever it is kept."""
        values = {str(row["name"]): float(row["value"]) for row in self.parameters}
        if "amplitude" not in values and self.source is not None:
            nearest = self.source.sersic if isinstance(self.source, PixelSource) else self.source
            values["amplitude"] = float(u.Quantity(nearest.amplitude).value)
        return values

    @property
    def _errors(self):
        errors = np.ma.filled(np.ma.asarray(self.parameters["error"]), np.nan)
        return {str(name): float(error) for name, error in zip(self.parameters["name"], errors)}

    def to_lenstronomy(self):
        """
        The model and the data as lenstronomy takes them.

        Returns
        -------
        kwargs : dict
            ``kwargs_model``, ``kwargs_lens``, ``kwargs_source``, ``kwargs_lens_light`` (empty), ``kwargs_ps`` (empty),
            ``kwargs_data`` and, where there is a mask, ``kwargs_likelihood``.  In lenstronomy's frame: x towards East
            and y towards North where the image has a celestial system.  The sky is removed from the image; the lens
            galaxy's light is still in it.  The source is the Sersic profile of the parameters, for a pixel source the
            nearest one; ``result.source.to_lenstronomy()`` gives its pixels.
        """
        from lensing_sr.export.lenstronomy import data_kwargs, model_kwargs

        grid, noise = self.input_grid, sigma(self.input_image)
        # lenstronomy's images are flux per pixel.
        area = grid.pixel_area.value if is_per_area(self.image.unit) else 1.0
        data = data_kwargs(
            (self.input_image.data - self.sky) * area,
            None if noise is None else noise * area,
            grid.matrix,
            grid.origin,
            mask=self.input_image.mask,
            orientation=grid.orientation,
        )
        return {**model_kwargs(self._values, orientation=grid.orientation), **data}

    def to_coolest(self, path=None, *, lens_redshift=None, source_redshift=None, image_file=None, overwrite=False):
        """
        The model in the COOLEST standard; its source is the Sersic profile of the parameters, the nearest one to a
        pixel source.

        Parameters
        ----------
        path : str or path-like, optional
            Where to write the template; ``.json`` is added where it is missing, as COOLEST names files without it.
        lens_redshift, source_redshift : float, optional
            Where known; some readers of COOLEST need them.
        image_file : str, optional
            Name of the FITS file of the observed image, in the folder of the template.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Returns
        -------
        template : dict
            The content of the template file.

        Raises
        ------
        lensing_sr.errors.OutputError
            If the file exists, its folder is missing or the disk refuses.
        """
        from lensing_sr.export.atomic import write_text
        from lensing_sr.export.coolest import coolest_text

        text = coolest_text(
            self._values,
            self.input_grid,
            errors=self._errors,
            lens_redshift=lens_redshift,
            source_redshift=source_redshift,
            image_file=image_file,
            meta={
                "creator": f"lensing_sr {__version__}",
                "image_unit": self.image.unit.to_string(),
                "chi2_reduced": float(self.quality.chi2) if math.isfinite(self.quality.chi2) else None,
                "flags": [str(flag) for flag in self.quality.flags],
            },
        )
        if path is not None:
            path = Path(path)
            write_text(path if path.suffix == ".json" else path.with_name(f"{path.name}.json"), text, overwrite)
        return json.loads(text)

    def to_regions(self, path=None, overwrite=False):
        """
        Critical curves and caustics as DS9 regions.

        Parameters
        ----------
        path : str or path-like, optional
            Where to write the region file (``.reg``).
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Returns
        -------
        text : str
            Sky positions where the image has a celestial system, else pixels of the super-resolved image.

        Raises
        ------
        lensing_sr.errors.OutputError
            If the file exists, its folder is missing or the disk refuses.
        """
        from lensing_sr.export.atomic import write_text
        from lensing_sr.export.regions import region_text

        text = region_text(self.deflection.critical_curves(), self.deflection.caustics(), self.grid)
        if path is not None:
            write_text(path, text + "\n", overwrite)
        return text

    # Files and figures -----------------------------------------------------------------------------------------------

    def to_hdus(self):
        """
        The FITS file in memory, as `write` writes it.

        Returns
        -------
        hdus : `~astropy.io.fits.HDUList`
        """
        quality, meta = self.quality, self.meta
        grids = {"fine": self.grid, "input": self.input_grid, "source": self.source_grid}
        names = ("arcs", "lens_light", "source_image", "model", "residual", "convergence_correction", "significance")
        return build_hdus(
            {name: getattr(self, name) for name in ("image", *names)},
            {
                "creator": f"lensing_sr {__version__}",
                "date": now(),
                **{key: meta.get(key) for key in ("method", "network", "weights_sha256", "source")},
                **{key: meta[key] for key in ("seed", "time_s") if meta.get(key) is not None},
                **quality.to_values(),
                "scale": self.scale,
                "sky": self.sky,
                **({} if self.validation is None else self.validation.to_values()),
            },
            grids={name: grid for name, grid in grids.items() if grid is not None},
            deflection=self.deflection,
            parameters=self.parameters,
            perturbers=self.perturbers,
            psf=self.psf,
            history=meta.get("history", ()),
        )

    def write(self, path, overwrite=False):
        """
        Write the FITS file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Where it shall be.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        lensing_sr.errors.OutputError
            If the file exists, its folder is missing or the disk refuses; then nothing is left behind.
        """
        write_hdus(self.to_hdus(), path, overwrite)

    @classmethod
    def read(cls, path):
        """
        Read a file of `write`.

        Arrays come back in the precision of the file (float32), the input as the sum of model and residual.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        result : SuperResolution

        Raises
        ------
        lensing_sr.errors.ImageReadError
            If the file cannot be read or is no result of this package.
        """
        from lensing_sr.export.fits_reading import read_pieces

        return cls(**read_pieces(path))

    def plot(self, path=None, *, radius=None, overwrite=False):
        """
        Draw input, super-resolved image, arcs, source with caustic, convergence with critical curve, and residual.

        Parameters
        ----------
        path : str or path-like, optional
            Where to save the figure; the suffix (``.png``, ``.pdf``, ...) chooses the format.
        radius : `~astropy.units.Quantity`, optional
            Half the width of the shown field; two Einstein radii by default, ``numpy.inf * u.arcsec`` shows it all.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`

        Raises
        ------
        lensing_sr.errors.OutputError
            If the file exists, its folder is missing or the disk refuses.
        """
        from lensing_sr.plotting import lens_figure, lens_title, save_figure

        values, quality, known = self._values, self.quality, self.source_grid is not None
        error = self._errors.get("theta_E", math.nan)
        if radius is None:
            radius = max(_FIELD * values["theta_E"], _SMALLEST_FIELD * self.input_grid.pixel_scale.value)
        figure = lens_figure(
            input_image=self.input_image.data - self.sky,
            image=self.image.data,
            arcs=self.arcs.data,
            convergence=self.deflection.convergence,
            residual=self.residual.data,
            input_grid=self.input_grid,
            grid=self.grid,
            source=self.source_image.data if known else None,
            source_grid=self.source_grid,
            noise=sigma(self.input_image),
            mask=self.input_image.mask,
            critical_curves=self.deflection.critical_curves(),
            caustics=self.deflection.caustics(),
            centre=(values["x_lens"], values["y_lens"]),
            radius=radius,
            unit=self.image.unit,
            title=lens_title(self.meta.get("name"), values["theta_E"], error, quality.chi2, self.scale, quality.flags),
            warning=f"flags: {', '.join(quality.flags)}" if quality.flags else "",
        )
        return save_figure(figure, path, overwrite)
