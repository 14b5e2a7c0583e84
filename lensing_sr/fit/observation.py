# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What the fit sees of images: a batch of equal cut-outs as tensors, at native or coarser pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lensing_sr.forward.binning import bin_sum
from lensing_sr.forward.formation import ImageFormation

__all__ = ["Observation"]

#: Pixels that the FWHM of an analytic profile must span for its samples to stand for it.
SAMPLES_PER_FWHM = 2.5


@dataclass
class Observation:
    """A batch of images of one shape and one pixel geometry.

    Parameters
    ----------
    data : torch.Tensor
        Flux a pixel, ``(images, rows, columns)``, finite everywhere.
    weight : torch.Tensor
        1 / sigma, 0 where masked.
    matrix : torch.Tensor
        ``(2, 2)``, arcsec a pixel.
    origin : tuple of float
        Pixel position (column, row) of (0, 0) arcsec.
    kernel : callable
        ``kernel(sampling)`` returns the PSF on pixels `sampling` times finer than these, ``(k, k)`` or
        ``(images, k, k)``, or None for no blurring.
    oversampling : int
        Sampling of the PSF kernel as given; 1 at the detector's.
    analytic : float
        FWHM in arcsec of a Gaussian or Moffat PSF, which is known at any sampling; 0 for a kernel.
    """

    data: torch.Tensor
    weight: torch.Tensor
    matrix: torch.Tensor
    origin: tuple
    kernel: Callable
    oversampling: int = 1
    analytic: float = 0.0

    @property
    def pixel(self):
        """Pixel size in arcsec: the root of its area."""
        return float(torch.linalg.det(self.matrix).abs().sqrt())

    @property
    def half_width(self):
        """Half of the field's shorter side in arcsec."""
        return 0.5 * min(self.data.shape[1:]) * self.pixel

    def __len__(self):
        return len(self.data)

    def _kernel_pixels(self, supersampling):
        """Kernel pixels a pixel and axis: a narrow profile acts on finer ones that sample it."""
        if self.analytic and supersampling != 1:
            return max(1, math.ceil(SAMPLES_PER_FWHM * self.pixel / self.analytic))
        return self.oversampling

    def formation(self, supersampling=1):
        """Return the `ImageFormation` of these pixels with `supersampling` light samples a kernel pixel and axis.

        For an analytic PSF they are samples a pixel, spread over the finer pixels on which it acts.  "auto" is one
        sample a kernel pixel, to be refined by `lensing_sr.fit.rendering.render`.
        """
        oversampling = self._kernel_pixels(supersampling)
        if supersampling == "auto":
            supersampling = 1
        elif self.analytic:
            supersampling = math.ceil(supersampling / oversampling)
        return ImageFormation(
            self.data.shape[1:],
            self.matrix,
            self.origin,
            self.kernel(oversampling),
            oversampling,
            supersampling,
            dtype=self.data.dtype,
            device=self.data.device,
        )

    def binned(self, factor):
        """Return the observation in pixels `factor` times coarser; a coarse pixel with a masked part is masked."""
        if factor == 1:
            return self
        rows, columns = self.data.shape[1:]
        pad = (0, -columns % factor, 0, -rows % factor)
        data, weight = (torch.nn.functional.pad(t, pad) for t in (self.data, self.weight))
        masked = bin_sum((weight <= 0).to(data), factor) > 0
        variance = bin_sum(torch.where(weight > 0, weight, torch.ones_like(weight)) ** -2, factor)
        weight = torch.where(masked, torch.zeros_like(variance), variance.rsqrt())
        origin = tuple((first - 0.5 * (factor - 1)) / factor for first in self.origin)
        return Observation(
            torch.where(masked, torch.zeros_like(variance), bin_sum(data, factor)),
            weight,
            self.matrix * factor,
            origin,
            lambda sampling: self.kernel(sampling / factor),
            analytic=self.analytic,
        )
