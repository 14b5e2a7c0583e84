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
    r"""Convolve images that carry a margin around the field, keep the field, and sum it over blocks of pixels.

    .. math:: (B P f)_{RC} = \sum_{r \in R,\, c \in C} \sum_{ij} k_{ij}\, f_{r+m-i,\,c+m-j}

    The margin m is half the kernel, so that light from beyond the field scatters in; every output pixel is exact.

    Blocks of s x s pixels cost less than the pixels themselves: one output in s reads every s-th pixel through every
    s-th element of the kernel summed over a block, so that all transforms are of coarse images, s^2 forwards and one
    back.

    Parameters
    ----------
    kernel : torch.Tensor
        Odd-sized kernel, ``(k, k)`` or one an image ``(batch, k, k)``.
    shape : tuple of int
        Rows and columns of the field; the output has one in `factor` of them.
    factor : int
        s, the side of a block; divides both.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.forward.convolve import Convolver
    >>> convolver = Convolver(torch.ones(3, 3) / 9, (4, 4))
    >>> convolver.forward(torch.ones(1, 6, 6)).shape
    torch.Size([1, 4, 4])
    >>> Convolver(torch.ones(3, 3) / 9, (4, 4), 2).forward(torch.ones(1, 6, 6)).round(decimals=4).tolist()
    [[[4.0, 4.0], [4.0, 4.0]]]
    """

    def __init__(self, kernel, shape, factor=1):
        self.margin, self._factor = kernel.shape[-1] // 2, factor
        self.shape = tuple(n // factor for n in shape)
        self._padded = tuple(n + 2 * self.margin for n in shape)
        #: coarse pixels into which the circular sum wraps around; they come first and are not kept
        self._first = -(-(2 * self.margin + factor - 1) // factor)
        self._fft = tuple(fast_length(self._first + n) for n in self.shape)
        pad, shifts = torch.nn.functional.pad, range(factor)
        block = sum(pad(kernel, (b, factor - 1 - b, a, factor - 1 - a)) for a in shifts for b in shifts)
        lead = factor * self._first - (2 * self.margin + factor - 1)
        parts = [pad(block, (lead + b, 0, lead + a, 0))[..., ::factor, ::factor] for a in shifts for b in shifts]
        #: of the part of the kernel for each phase of the pixels
        self._spectra = torch.stack([torch.fft.rfft2(part, s=self._fft) for part in parts])

    def _phases(self, image):
        """Each phase of the pixels, rows first, as slices of ``image``, and its spectrum, shaped to broadcast."""
        for number, spectrum in enumerate(self._spectra):
            # kernels that differ by image broadcast over the channels in between
            if spectrum.ndim == 3:
                spectrum = spectrum.reshape(spectrum.shape[:1] + (1,) * (image.ndim - 3) + spectrum.shape[1:])
            row, column = divmod(number, self._factor)
            yield (..., slice(row, None, self._factor), slice(column, None, self._factor)), spectrum

    def select(self, index):
        """Return the convolver of some images of the batch (itself where all share one kernel)."""
        if self._spectra.ndim == 3:
            return self
        chosen = object.__new__(Convolver)
        chosen.__dict__.update(self.__dict__, _spectra=self._spectra[:, index])
        return chosen

    def forward(self, image):
        """Blur images of shape ``(..., s rows + 2 m, s columns + 2 m)``; returns ``(..., rows, columns)``."""
        total = None
        for part, spectrum in self._phases(image):
            seen = torch.fft.rfft2(image[part], s=self._fft) * spectrum
            total = seen if total is None else total.add_(seen)
        full = torch.fft.irfft2(total, s=self._fft)
        first, (rows, columns) = self._first, self.shape
        return full[..., first : first + rows, first : first + columns]

    def adjoint(self, image):
        """Transpose of `forward`: ``(..., rows, columns)`` to ``(..., s rows + 2 m, s columns + 2 m)``."""
        first = self._first
        padded = torch.nn.functional.pad(
            image, (first, self._fft[1] - first - self.shape[1], first, self._fft[0] - first - self.shape[0])
        )
        seen = torch.fft.rfft2(padded)
        out = padded.new_empty(*image.shape[:-2], *self._padded)
        for part, spectrum in self._phases(image):
            full = torch.fft.irfft2(seen * spectrum.conj(), s=self._fft)
            rows, columns = out[part].shape[-2:]
            out[part] = full[..., :rows, :columns]
        return out
