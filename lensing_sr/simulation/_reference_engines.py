# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The two engines that render the reference telescopes noise-free: this package's own, and lenstronomy as its oracle.

An engine takes a `Scene` and knows an instrument's pixels.  ``image(scene, factor)`` gives flux a pixel on the grid
`factor` times finer than the detector, ``deflection(scene, factor)`` the deflection at the centres of those pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lensing_sr.forward.binning import bin_sum
from lensing_sr.forward.formation import ImageFormation, sample_positions
from lensing_sr.image.kernels import psf_kernel
from lensing_sr.lensing.mass import sie_deflection
from lensing_sr.light.sersic import sersic_brightness, sersic_flux
from lensing_sr.simulation._lenstronomy_lens import STRENGTHS, perturber_kwargs

__all__ = ["FACTOR", "LenstronomyEngine", "Scene", "TorchEngine", "source_kwargs"]

#: How much finer the truth is than the detector.
FACTOR = 2
#: The source of every reference simulation: half-light radius in arcsec, index, ellipticity.
SOURCE = {"R_sersic": 0.25, "n_sersic": 1.0, "e1": -0.1, "e2": 0.1}
#: Its brightness: Sersic amplitude in flux per arcsec^2 (Model 1), or magnitude.
AMPLITUDE, MAGNITUDE = 20.0, 20.0
#: Gauss-Legendre nodes a fine pixel and axis where light is integrated over pixels.  Behind a smooth lens the error is
#: 1e-3 of the noise, a tenth of it where the core of the source is imaged; on top of a point mass, whose images of the
#: source have no smallest scale, no sampling converges and a pixel may be wrong by its noise.
NODES = 3


@dataclass(frozen=True)
class Scene:
    """Lenses and sources of a batch of images.

    Attributes
    ----------
    theta_E : float
        Einstein radius of the isothermal sphere in arcsec, for the lens's own redshift convention.
    strength : float
        By what all deflections are multiplied: effective theta_E = strength x theta_E.
    perturbers
        Point masses or subhalos of `lensing_sr.simulation.substructure`.
    x_source, y_source : torch.Tensor
        ``(n,)`` float64, arcsec.
    """

    theta_E: float
    strength: float
    perturbers: object
    x_source: torch.Tensor
    y_source: torch.Tensor

    def __len__(self):
        return len(self.x_source)


def source_kwargs(instrument, x, y):
    """Source of one image as lenstronomy keywords; brightness as ``amp``, or ``magnitude`` where there is one."""
    brightness = {"amp": AMPLITUDE} if instrument.zero_point is None else {"magnitude": MAGNITUDE}
    return {**brightness, **SOURCE, "center_x": float(x), "center_y": float(y)}


def _amplitude(instrument):
    """Sersic amplitude of the source, flux per arcsec^2."""
    if instrument.zero_point is None:
        return AMPLITUDE
    one = torch.ones((), dtype=torch.float64)
    unit = sersic_flux(one, SOURCE["R_sersic"] * one, SOURCE["n_sersic"] * one, bn="lenstronomy")
    return instrument.flux(MAGNITUDE) / float(unit)


class TorchEngine:
    """Batched rendering with this package's own forward model.

    Parameters
    ----------
    instrument : `~lensing_sr.instruments.Instrument`
    pixel_centres : bool
        Light at pixel centres, each grid convolved at its own sampling (the reference's way); or else integrated over
        pixels, and the coarse image the sum of the fine one.
    device, dtype
        Of the computation.
    """

    def __init__(self, instrument, *, pixel_centres, device, dtype):
        self._instrument, self._pixel_centres = instrument, pixel_centres
        self._like = {"device": device, "dtype": dtype}
        self._nodes = 1 if pixel_centres else NODES
        self._formations = {}

    def _grid(self, factor):
        """Shape, arcsec a pixel and origin of a grid finer than the detector."""
        shape = tuple(n * factor for n in self._instrument.shape)
        pixel = self._instrument.pixel_scale / factor
        return shape, np.diag([pixel, pixel]), tuple((n - 1) / 2 for n in shape[::-1])

    def _formation(self, factor, nodes):
        kernel = psf_kernel(self._instrument, self._instrument.pixel_scale / factor)
        kernel = None if kernel is None else torch.from_numpy(kernel)
        return ImageFormation(*self._grid(factor), kernel, 1, nodes, **self._like)

    def image(self, scene, factor):
        """Flux a pixel, ``(n, rows, columns)``."""
        if not self._pixel_centres and factor < FACTOR:
            return bin_sum(self.image(scene, FACTOR), FACTOR // factor)
        if factor not in self._formations:
            self._formations[factor] = self._formation(factor, self._nodes)
        formation = self._formations[factor]
        x, y = _axes(*formation.positions)
        alpha_x, alpha_y = self._deflection(scene, x, y)
        one = torch.ones((), **self._like)
        centre = (v.to(one)[:, None, None] for v in (scene.x_source, scene.y_source))
        light = sersic_brightness(
            x - alpha_x, y - alpha_y, _amplitude(self._instrument) * one, SOURCE["R_sersic"] * one,
            SOURCE["n_sersic"] * one, SOURCE["e1"] * one, SOURCE["e2"] * one, *centre, bn="lenstronomy",
        )  # fmt: skip
        return formation.observe(light)

    def deflection(self, scene, factor):
        """Deflection (alpha_x, alpha_y) in arcsec, each ``(n, rows, columns)``."""
        x, y = _axes(*sample_positions(*self._grid(factor), **self._like))
        return self._deflection(scene, x, y)

    def _deflection(self, scene, x, y):
        zero = torch.zeros((), **self._like)
        alpha_x, alpha_y = sie_deflection(x, y, zero + scene.theta_E, zero, zero)
        more_x, more_y = scene.perturbers.to(**self._like).deflection(x, y)
        return scene.strength * (alpha_x + more_x), scene.strength * (alpha_y + more_y)


def _axes(x, y):
    """Upright pixels: one row of x and one column of y say it all, and sums over masses separate."""
    return x[None, :1, :], y[None, :, :1]


class LenstronomyEngine:
    """The same images by lenstronomy, one after the other; parameters as `TorchEngine`."""

    def __init__(self, instrument, *, pixel_centres, device, dtype):
        self._instrument, self._pixel_centres = instrument, pixel_centres
        self._like = {"device": device, "dtype": dtype}

    def image(self, scene, factor):
        """Flux a pixel, ``(n, rows, columns)``."""
        if not self._pixel_centres and factor < FACTOR:
            return bin_sum(self.image(scene, FACTOR), FACTOR // factor)
        return self._stacked(self._image(scene, i, factor) for i in range(len(scene)))

    def deflection(self, scene, factor):
        """Deflection (alpha_x, alpha_y) in arcsec, each ``(n, rows, columns)``."""
        shape = tuple(n * factor for n in self._instrument.shape)
        pixel = self._instrument.pixel_scale / factor
        y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * pixel for n in shape), indexing="ij")
        found = []
        for i in range(len(scene)):
            lens, kwargs = _lens_model(scene, i)
            found.append([a.reshape(shape) for a in lens.alpha(x.ravel(), y.ravel(), kwargs)])
        return self._stacked(f[0] for f in found), self._stacked(f[1] for f in found)

    def _stacked(self, images):
        return torch.from_numpy(np.stack(list(images))).to(**self._like)

    def _image(self, scene, i, factor):
        from lenstronomy.Data.pixel_grid import PixelGrid
        from lenstronomy.Data.psf import PSF
        from lenstronomy.ImSim.image_model import ImageModel
        from lenstronomy.LightModel.light_model import LightModel

        instrument = self._instrument
        pixel = instrument.pixel_scale / factor
        rows, columns = (n * factor for n in instrument.shape)
        grid = PixelGrid(
            columns, rows, transform_pix2angle=np.eye(2) * pixel,
            ra_at_xy_0=-0.5 * (columns - 1) * pixel, dec_at_xy_0=-0.5 * (rows - 1) * pixel,
        )  # fmt: skip
        if instrument.psf_fwhm > 0:
            psf = PSF(psf_type="GAUSSIAN", fwhm=instrument.psf_fwhm, pixel_size=pixel, truncation=5)
        else:
            psf = PSF(psf_type="NONE")
        source = source_kwargs(instrument, scene.x_source[i], scene.y_source[i])
        source.pop("magnitude", None)
        source["amp"] = _amplitude(instrument)
        numerics = {"supersampling_factor": 1 if self._pixel_centres else 2 * NODES, "supersampling_convolution": False}
        lens, kwargs = _lens_model(scene, i)
        model = ImageModel(
            grid, psf, lens_model_class=lens, source_model_class=LightModel(["SERSIC_ELLIPSE"]),
            kwargs_numerics=numerics,
        )  # fmt: skip
        return model.image(kwargs_lens=kwargs, kwargs_source=[source])


def _lens_model(scene, i):
    """Lens of one image, as lenstronomy's model and keywords with the effective strength in them."""
    from lenstronomy.LensModel.lens_model import LensModel

    names, kwargs = perturber_kwargs(scene.perturbers, i)
    names, kwargs = ["SIS", *names], [{"theta_E": scene.theta_E, "center_x": 0.0, "center_y": 0.0}, *kwargs]
    for name, values in zip(names, kwargs, strict=True):
        key, power = STRENGTHS[name]
        values[key] *= scene.strength**power
    return LensModel(names), kwargs
