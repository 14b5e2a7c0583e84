# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Convolution with the point-spread function, and its adjoint, by zero-padded FFT."""

import torch

__all__ = ["Convolver", "fast_length"]


def fast_length(n):
    """Smallest length >= n with no prime factor above 5: FFTs of it are fast.

    Examples
    --------
    >>> from lensing_sr.forward.convolve import fast_length
    >>> fast_length(127)
    128
    """
    best = 1 << (n - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            length = three
            while length < n:
                length *= 2
            best = min(best, length)
            three *= 3
        five *= 5
    return best


class Convolver:
    r"""Convolve images that carry a margin around the field, and keep the field.

    .. math:: (P f)_{rc} = \sum_{ij} k_{ij}\, f_{r+m-i,\,c+m-j}

    The margin m is half the kernel, so that light from beyond the field scatters in; every output pixel is exact.

    Parameters
    ----------
    kernel : torch.Tensor
        Odd-sized kernel, ``(k, k)`` or one an image ``(batch, k, k)``.
    shape : tuple of int
        Rows and columns of the field (the output).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.forward.convolve import Convolver
    >>> convolver = Convolver(torch.ones(3, 3) / 9, (4, 4))
    >>> convolver.forward(torch.ones(1, 6, 6)).shape
    torch.Size([1, 4, 4])
    """

    def __init__(self, kernel, shape):
        self.shape = tuple(shape)
        self.margin = kernel.shape[-1] // 2
        self._padded = tuple(n + 2 * self.margin for n in self.shape)
        self._fft = tuple(fast_length(n) for n in self._padded)
        self._spectrum = torch.fft.rfft2(kernel, s=self._fft)

    def _aligned(self, image):
        # kernels that differ by image broadcast over the channels in between
        spectrum = self._spectrum
        if spectrum.ndim == 3:
            spectrum = spectrum.reshape(spectrum.shape[:1] + (1,) * (image.ndim - 3) + spectrum.shape[1:])
        return spectrum

    def select(self, index):
        """Return the convolver of some images of the batch (itself where all share one kernel)."""
        if self._spectrum.ndim == 2:
            return self
        chosen = object.__new__(Convolver)
        chosen.__dict__.update(self.__dict__, _spectrum=self._spectrum[index])
        return chosen

    def forward(self, image):
        """Blur images of shape ``(..., rows + 2 m, columns + 2 m)``; returns ``(..., rows, columns)``."""
        spectrum = torch.fft.rfft2(image, s=self._fft) * self._aligned(image)
        full = torch.fft.irfft2(spectrum, s=self._fft)
        # the circular sum wraps only into the first 2 m rows and columns, which are not kept
        first, (rows, columns) = 2 * self.margin, self.shape
        return full[..., first : first + rows, first : first + columns]

    def adjoint(self, image):
        """Transpose of `forward`: ``(..., rows, columns)`` to ``(..., rows + 2 m, columns + 2 m)``."""
        first = 2 * self.margin
        padded = torch.nn.functional.pad(
            image, (first, self._fft[1] - first - self.shape[1], first, self._fft[0] - first - self.shape[0])
        )
        spectrum = torch.fft.rfft2(padded) * self._aligned(image).conj()
        full = torch.fft.irfft2(spectrum, s=self._fft)
        return full[..., : self._padded[0], : self._padded[1]]
