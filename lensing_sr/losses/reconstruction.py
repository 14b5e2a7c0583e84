# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""From a predicted deflection to everything that physics says about it: source, Sersic, re-lensed image.

.. math:: \beta = \theta - \alpha(\theta), \qquad I = B\,P\,S(\theta - \alpha)
"""

import math
from functools import wraps

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.forward.binning import bin_sum
from lensing_sr.forward.formation import ImageFormation
from lensing_sr.lensing.relens import distortion
from lensing_sr.losses.grids import FINE, centre_matrix, grid_length
from lensing_sr.losses.observed import Deflection, Observed
from lensing_sr.losses.sersic_fit import SersicFit, SersicProblem, sersic_light
from lensing_sr.losses.source_plane import deliver, sample_source, shares
from lensing_sr.metrics.interpolation import upsample
from lensing_sr.utils._checks import check_choice

__all__ = ["FITS", "SOURCES", "Reconstruction"]

#: Half-light radius in arcsec and index of the reference method's only source.
PEAK_RADIUS, PEAK_INDEX = 0.25, 1.0
FITS = ("full", "peak")
SOURCES = ("published", "back-projected")


def _once(method):
    """Compute a quantity at the first request, in full precision whatever autocast says, and keep it."""

    @wraps(method)
    def lazy(self, *args, **kwargs):
        request = (method.__name__, args, tuple(sorted(kwargs.items())))
        # what was computed without a graph is of no use where one is wanted; the reverse is fine
        keys = [(True, *request)] if torch.is_grad_enabled() else [(True, *request), (False, *request)]
        for key in keys:
            if key in self._known:
                return self._known[key]
        with torch.autocast(self.flux.device.type, enabled=False):
            self._known[key] = method(self, *args, **kwargs)
        return self._known[key]

    return lazy


class Reconstruction:
    """Everything that follows from low-resolution images and predicted deflections, each computed once when asked for.

    Scales count pixels a detector pixel and axis: 2 is the fine grid, 1 the detector's, 0.5 a coarser one; any other
    works too (non-integer ones share the first edge).  All grids are centred on (0, 0) arcsec but where an odd number
    of pixels leaves the last one of a coarser grid out.

    Parameters
    ----------
    observed : Observed
        The images.
    deflection : Deflection
        Anything with ``alpha_x`` and ``alpha_y``: arcsec at the fine pixel centres, ``(batch, 2 rows, 2 columns)``.
    iterations, tolerance
        Of the full Sersic fit; see `SersicProblem.fit`.

    Attributes
    ----------
    observed : Observed
        As given.
    deflection : Deflection
        As given, in the images' type.

    Raises
    ------
    lensing_sr.errors.InputError
        If the deflection has another shape than the fine grid.

    Notes
    -----
    Source-plane images are surface brightness in flux per detector pixel (lensing conserves it), whatever their
    scale; images are flux per pixel of their own scale.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses import Deflection, Observed, Reconstruction
    >>> observed = Observed(torch.rand(1, 16, 16), torch.ones(1, 16, 16), pixel_scale=0.1)
    >>> alpha = Deflection(torch.zeros(1, 32, 32), torch.zeros(1, 32, 32))
    >>> reconstruction = Reconstruction(observed, alpha)
    >>> bool(torch.allclose(reconstruction.source(1), observed.image))
    True
    >>> reconstruction.relensed(2).shape
    torch.Size([1, 32, 32])
    """

    def __init__(self, observed: Observed, deflection, *, iterations=12, tolerance=1e-2):
        rows, columns = observed.shape
        shape = (len(observed), FINE * rows, FINE * columns)
        self.observed, self._known = observed, {}
        self._iterations, self._tolerance = iterations, tolerance
        fields = []
        for name in ("alpha_x", "alpha_y"):
            alpha = getattr(deflection, name)
            if alpha.shape != shape:
                raise InputError(name, f"must have the shape {shape} of the fine grid", tuple(alpha.shape))
            fields.append(alpha.to(observed.image.dtype))
        self.deflection = Deflection(*fields)

    def __len__(self):
        return len(self.observed)

    # --- what was observed -------------------------------------------------------------------------------------------

    @property
    def weight(self):
        """1 / sigma of the detector's pixels, 0 where they say nothing."""
        return self._data()[1]

    @property
    def flux(self):
        """The observed image; flux of pixels that say nothing is zero."""
        return self._data()[0]

    def _data(self):
        if "data" not in self._known:
            image, noise = self.observed.image, self.observed.noise
            good = torch.isfinite(image) & torch.isfinite(noise) & (noise > 0.0)
            self._known["data"] = torch.where(good, image, 0.0), torch.where(good, 1.0 / noise, 0.0)
        return self._known["data"]

    @_once
    def image(self, scale=1):
        """Observed image at a scale: bicubic interpolation, or sums, ``(batch, ...)`` flux a pixel of that scale."""
        return self.resample(self.flux, scale)

    @staticmethod
    def resample(image, scale):
        """Bring images on the detector's pixels to a scale, as `image` does."""
        if scale >= 1:
            return upsample(image, scale, "bicubic") if scale > 1 else image
        factor = round(1.0 / scale)
        rows, columns = (n // factor * factor for n in image.shape[-2:])
        return bin_sum(image[..., :rows, :columns], factor)

    # --- geometry ----------------------------------------------------------------------------------------------------

    def pixel(self, scale):
        """Side in arcsec of a pixel of a scale."""
        return self.observed.pixel_scale / scale

    def shape(self, scale):
        """Rows and columns of a scale."""
        return tuple(grid_length(n, scale) for n in self.observed.shape)

    def _grid(self, scale):
        """Shape, arcsec a pixel and origin, as `ImageFormation` takes them."""
        pixel = self.pixel(scale)
        origin = tuple(0.5 * (n * scale - 1) for n in self.observed.shape[::-1])
        return self.shape(scale), [[pixel, 0.0], [0.0, pixel]], origin

    @_once
    def formation(self, scale=1, psf=True):
        """The optics of a scale: `ImageFormation` from surface brightness to flux a pixel of that scale."""
        like = {"dtype": self.flux.dtype, "device": self.flux.device}
        oversampling = 1
        if not self.observed.pixel_centres and FINE % scale == 0:
            oversampling = round(FINE / scale)
        kernel = self.observed.kernel(scale * oversampling) if psf else None
        return ImageFormation(*self._grid(scale), kernel, oversampling, 1, **like)

    @_once
    def positions(self, scale=1):
        """Pixel centres (x, y) of a scale in arcsec, ``(rows, columns)`` each."""
        return self._bare(scale).positions

    @_once
    def _bare(self, scale):
        like = {"dtype": self.flux.dtype, "device": self.flux.device}
        return ImageFormation(*self._grid(scale), None, **like)

    # --- the deflection ----------------------------------------------------------------------------------------------

    def alpha(self, scale=FINE):
        """Deflection at the pixel centres of a scale: a `Deflection` in arcsec."""
        return self.deflection if scale == FINE else self._alpha(scale, 0)

    @_once
    def _alpha(self, scale, margin):
        matrices = (centre_matrix(n, scale, margin) for n in self.observed.shape)
        rows, columns = (torch.from_numpy(np.array(m)).to(self.flux) for m in matrices)
        return Deflection(*(rows @ a @ columns.mT for a in self.deflection))

    @_once
    def _beta(self, scale, psf=True):
        """Source-plane positions of the light samples of a scale, margin included, each ``(batch, ...)``."""
        formation = self.formation(scale, psf)
        x, y = formation.positions
        fine = scale * formation.oversampling
        margin = (x.shape[1] - self.shape(scale)[1] * formation.oversampling) // 2
        if margin == 0 and fine == FINE and tuple(x.shape) == self.shape(FINE):
            alpha = self.deflection
        else:
            alpha = self._alpha(fine, margin)
            alpha = Deflection(*(a[:, : x.shape[0], : x.shape[1]] for a in alpha))
        return x - alpha.alpha_x, y - alpha.alpha_y

    @_once
    def _polar(self, scale):
        """Unit vector from the centre at the pixel centres of a scale."""
        x, y = self.positions(scale)
        r = (x * x + y * y).sqrt().clamp_min(1e-6)
        return x / r, y / r

    @_once
    def alpha_r(self, scale=FINE):
        r"""Radial deflection about the centre, :math:`\alpha\cdot\hat r`, arcsec."""
        (c, s), alpha = self._polar(scale), self.alpha(scale)
        return c * alpha.alpha_x + s * alpha.alpha_y

    @_once
    def alpha_t(self, scale=FINE):
        r"""Tangential deflection about the centre, counter-clockwise, :math:`\alpha\cdot\hat t`, arcsec."""
        (c, s), alpha = self._polar(scale), self.alpha(scale)
        return c * alpha.alpha_y - s * alpha.alpha_x

    @_once
    def _distortion(self):
        pixel = self.pixel(FINE)
        return distortion(*self.deflection, [[pixel, 0.0], [0.0, pixel]])

    @property
    def convergence(self):
        """Half the divergence of the deflection on the fine grid."""
        return self._distortion()[0]

    @property
    def curl(self):
        """Curl of the deflection on the fine grid: zero for every field that one lens plane can make."""
        return self._distortion()[3]

    # --- the source --------------------------------------------------------------------------------------------------

    def source(self, scale=1, method="published"):
        """Source reconstructed from the image without a model, on the grid of a scale.

        Parameters
        ----------
        scale : float
            Of the grid, which covers the same field in the source plane as the image in its own.
        method : {"published", "back-projected"}
            `sample_source`, or each pixel brought to beta = theta - alpha(theta) and averaged there.

        Returns
        -------
        torch.Tensor
            Surface brightness in flux per detector pixel, ``(batch, rows, columns)``; zero where nothing arrives.
        """
        if check_choice(method, SOURCES, "method") == "published":
            return self._published_source(scale)
        return self.back_projected(scale)[0]

    @_once
    def _published_source(self, scale):
        return sample_source(self.flux, *self.alpha(scale), *self.positions(scale), self.observed.pixel_scale)

    @_once
    def arrivals(self, scale=1):
        """Cells of a scale's grid in the source plane where each detector pixel arrives, and shares: see `shares`."""
        x, y = self.positions(1)
        alpha = self.alpha(1)
        shape, _, origin = self._grid(scale)
        cells, weights = shares(x - alpha.alpha_x, y - alpha.alpha_y, shape, self.pixel(scale), origin)
        # pixels that say nothing arrive nowhere
        return cells, weights * (self.weight > 0.0).flatten(1)

    @_once
    def back_projected(self, scale=1):
        """Mean brightness of the pixels that arrive in each cell of the source plane, and how many they are.

        Parameters
        ----------
        scale : float
            Of the cells.

        Returns
        -------
        source, count : torch.Tensor
            Flux per detector pixel (zero where nothing arrives) and number of pixels, ``(batch, rows, columns)``.
        """
        cells, weights = self.arrivals(scale)
        count = deliver(None, cells, weights, self.shape(scale))
        total = deliver(self.flux, cells, weights, self.shape(scale))
        some = count > 1e-6
        return torch.where(some, total / torch.where(some, count, 1.0), 0.0), count

    # --- Sersic fits -------------------------------------------------------------------------------------------------

    @_once
    def _problem(self):
        beta = tuple(b.detach() for b in self._beta(1))
        return SersicProblem(beta, self.formation(1), self.flux, self.weight, self.observed.pixel_scale)

    @_once
    def _minimum(self):
        return self._problem().fit(iterations=self._iterations, tolerance=self._tolerance)

    @property
    def converged(self):
        """Whether the full Sersic fit of each image converged, ``(batch,)``."""
        return self._minimum().converged

    @_once
    def _parameters(self, fit, implicit):
        if fit == "full":
            if implicit and torch.is_grad_enabled() and self._beta(1)[0].requires_grad:
                return self._problem().differentiable(self._minimum(), self._beta(1))
            return self._minimum().parameters.to(self.flux)
        source = self.source(1).detach()
        peak = source.flatten(1).argmax(dim=1)
        x, y = (v.flatten()[peak] for v in self.positions(1))
        zero = torch.zeros_like(x)
        return torch.stack([x, y, zero + math.log(PEAK_RADIUS), zero + math.log(PEAK_INDEX), zero, zero], dim=1)

    def fit(self, fit="full", implicit=True):
        """Sersic source behind the deflection.

        Parameters
        ----------
        fit : {"full", "peak"}
            "full": centre, size, index and ellipticity by least squares on the image, through deflection and optics.
            "peak", the reference method: n = 1 and r_eff = 0.25 arcsec, round, at the brightest pixel of the
            reconstructed source.  Its centre jumps from pixel to pixel: it has no derivative.
        implicit : bool
            "full": whether the parameters carry their derivative by the deflection.  A quantity that is stationary at
            the fit, its chi-square, is differentiated exactly and faster without.

        Returns
        -------
        SersicFit
        """
        return self._fit(check_choice(fit, FITS, "fit"), implicit and fit == "full")

    @_once
    def _fit(self, fit, implicit):
        return SersicFit(
            self._parameters(fit, implicit), self._problem().amplitude(self._unit(1, fit, True, implicit))
        )

    @_once
    def _unit(self, scale, fit, psf, implicit):
        """Re-lensed image of unit amplitude."""
        light = sersic_light(*self._beta(scale, psf), self._parameters(fit, implicit))
        return self.formation(scale, psf).observe(light)

    def sersic(self, scale=1, fit="full"):
        """Fitted Sersic in the source plane on the grid of a scale, flux per detector pixel, ``(batch, ...)``."""
        found = self.fit(fit)
        brightness = found.amplitude * self.observed.pixel_scale**2
        return brightness[:, None, None] * sersic_light(*self.positions(scale), found.parameters)

    def relensed(self, scale=FINE, fit="full", psf=True, implicit=True):
        """The Sersic, lensed again by the deflection and seen through the optics at a scale.

        Parameters
        ----------
        scale : float
            Pixels a detector pixel.
        fit, implicit
            As in `fit`.
        psf : bool
            Whether to blur.

        Returns
        -------
        torch.Tensor
            Flux a pixel of that scale, ``(batch, rows, columns)``.
        """
        found = self.fit(fit, implicit)
        return found.amplitude[:, None, None] * self._unit(scale, fit, psf, implicit and fit == "full")
