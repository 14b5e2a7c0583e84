# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What an unsupervised loss may look at: low-resolution images, their noise and optics, and a predicted deflection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch

from lensing_sr.errors import InputError
from lensing_sr.image.kernels import gaussian_kernel

__all__ = ["Deflection", "Observed"]


class Deflection(NamedTuple):
    """A deflection field on the fine grid, whose pixels are half as wide as the detector's.

    Attributes
    ----------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec at the fine pixel centres, ``(batch, 2 rows, 2 columns)``; beta = theta - alpha.
    """

    alpha_x: torch.Tensor
    alpha_y: torch.Tensor


@dataclass(frozen=True, eq=False)
class Observed:
    """Low-resolution images of one pixel scale as the telescope gave them.

    There is no place here for a high-resolution image or a true parameter: what a loss is given, it cannot cheat with.

    Parameters
    ----------
    image : torch.Tensor
        Flux a pixel without sky, ``(batch, rows, columns)``.
    noise : torch.Tensor
        Sigma of each pixel in the unit of the image, of its shape; pixels whose sigma is not positive and finite, or
        whose flux is not finite, are left out of every comparison.
    pixel_scale : float
        arcsec a pixel.
    psf_fwhm : float
        Width in arcsec of a Gaussian point-spread function; 0 for no blurring.
    kernels : mapping or callable, optional
        Point-spread function by scale, in place of the Gaussian: ``kernels[s]`` or ``kernels(s)`` is the odd-sized
        kernel of sum 1, ``(k, k)`` or one an image ``(batch, k, k)``, on pixels s times finer than these, or None.
    pixel_centres : bool
        True: light is sampled at the pixel centres of every grid and blurred at that grid's own sampling, as the
        reference data were made.  False: the fine grid is blurred and summed to the detector's pixels, as optics do.

    Raises
    ------
    lensing_sr.errors.InputError
        If shapes do not fit or the pixel scale is not positive.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses import Observed
    >>> observed = Observed(torch.zeros(2, 8, 6), torch.ones(2, 8, 6), pixel_scale=0.1, psf_fwhm=0.16)
    >>> len(observed), observed.shape, observed.kernel(2).shape
    (2, (8, 6), torch.Size([15, 15]))
    """

    image: torch.Tensor
    noise: torch.Tensor
    pixel_scale: float
    psf_fwhm: float = 0.0
    kernels: Mapping | Callable | None = None
    pixel_centres: bool = True

    def __post_init__(self):
        if self.image.ndim != 3:
            raise InputError("image", "must have the axes (batch, rows, columns)", tuple(self.image.shape))
        if self.noise.shape != self.image.shape:
            raise InputError(
                "noise", f"must have the shape {tuple(self.image.shape)} of the image", tuple(self.noise.shape),
                "expand one sigma an image to its pixels",
            )  # fmt: skip
        for name in ("pixel_scale", "psf_fwhm"):
            value = float(getattr(self, name))
            object.__setattr__(self, name, value)
            if not 0.0 <= value < float("inf"):
                raise InputError(name, "must be finite and not negative", value)
        if self.pixel_scale == 0.0:
            raise InputError("pixel_scale", "must be positive", self.pixel_scale)

    def __len__(self):
        return len(self.image)

    @property
    def shape(self):
        """Rows and columns of the detector's pixels."""
        return tuple(self.image.shape[1:])

    def kernel(self, scale):
        """Point-spread function on pixels `scale` times finer than the detector's, or None.

        Parameters
        ----------
        scale : float
            Fine pixels a detector pixel.

        Returns
        -------
        torch.Tensor or None
            ``(k, k)`` or ``(batch, k, k)``, of the image's type and device.

        Raises
        ------
        lensing_sr.errors.InputError
            If kernels were given, and none for this scale.
        """
        if self.kernels is None:
            if self.psf_fwhm == 0.0:
                return None
            return _gaussian(self.psf_fwhm, self.pixel_scale / scale, self.image.dtype, self.image.device)
        if callable(self.kernels):
            kernel = self.kernels(scale)
        elif scale in self.kernels:
            kernel = self.kernels[scale]
        else:
            raise InputError("kernels", f"must have one for the scale {scale:g}", sorted(self.kernels))
        return None if kernel is None else torch.as_tensor(kernel).to(self.image)

    def to(self, device=None, dtype=None):
        """Return the same on another device, or with another type of number."""
        return replace(self, image=self.image.to(device, dtype), noise=self.noise.to(device, dtype))

    def select(self, index):
        """Return some of the images: a slice, indices or a mask."""
        kernels = self.kernels
        if kernels is not None:
            # a kernel an image goes with its image; which ones those are shows only when they are asked for
            kernels = _Selected(self, index)
        return replace(self, image=self.image[index], noise=self.noise[index], kernels=kernels)


class _Selected:
    """Kernels of some images of a batch."""

    def __init__(self, whole, index):
        self._whole, self._index = whole, index

    def __call__(self, scale):
        kernel = self._whole.kernel(scale)
        return kernel[self._index] if kernel is not None and kernel.ndim == 3 else kernel


@lru_cache(maxsize=32)
def _gaussian(fwhm, pixel, dtype, device):
    return torch.from_numpy(gaussian_kernel(fwhm, pixel)).to(dtype=dtype, device=device)
