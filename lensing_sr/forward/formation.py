# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From light on the sky to flux in detector pixels: sampling, blurring, binning, as one linear operator."""

import torch
from numpy.polynomial.legendre import leggauss

from lensing_sr.forward.binning import bin_sum, unbin_sum
from lensing_sr.forward.convolve import Convolver

__all__ = ["ImageFormation", "sample_positions"]


def sample_positions(shape, matrix, origin, factor=1, margin=0, nodes=(0.0,), *, dtype=torch.float64, device=None):
    r"""Positions in arcsec of samples on a grid `factor` times finer than the pixels, at `nodes` within its cells.

    .. math:: (x, y)^T = M\,(c - c_0,\ r - r_0)^T, \qquad c = (j - m + \tfrac12 + t)/f - \tfrac12

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the pixels.
    matrix : array_like
        ``(2, 2)``, arcsec a pixel (`lensing_sr.geometry.grid.PixelGrid.matrix`).
    origin : tuple of float
        Pixel position (column, row) of (0, 0) arcsec.
    factor : float
        f, cells a pixel and axis.
    margin : int
        m, cells added on every side.
    nodes : sequence of float
        t, places of the samples in a cell, from -1/2 to 1/2.
    dtype, device
        Of the result.

    Returns
    -------
    x, y : torch.Tensor
        Shape ``((f rows + 2 m) k, (f columns + 2 m) k)`` in arcsec for k nodes.
    """
    matrix = torch.as_tensor(matrix, dtype=torch.float64).cpu()
    nodes = torch.as_tensor(nodes, dtype=torch.float64)
    rows, columns = (
        ((_cells(round(n * factor) + 2 * margin) - margin + 0.5 + nodes) / factor - 0.5 - first).flatten()
        for n, first in zip(shape, origin[::-1], strict=True)
    )
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    x = matrix[0, 0] * columns + matrix[0, 1] * rows
    y = matrix[1, 0] * columns + matrix[1, 1] * rows
    return x.to(dtype=dtype, device=device), y.to(dtype=dtype, device=device)


def _cells(count):
    return torch.arange(count, dtype=torch.float64)[:, None]


class ImageFormation:
    r"""The operator from surface brightness to detector pixels, :math:`d = B\,P\,A\,I`.

    Light is evaluated at `positions`, averaged over the `supersampling` x `supersampling` samples of each kernel pixel
    (A), multiplied by its area, convolved with the kernel (P) and summed over `oversampling` x `oversampling` kernel
    pixels to detector pixels (B).  A margin of half the kernel surrounds the field, so that edges are exact.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the detector pixels.
    matrix : array_like
        ``(2, 2)``, arcsec a detector pixel.
    origin : tuple of float
        Pixel position (column, row) of (0, 0) arcsec.
    kernel : torch.Tensor or None
        Odd-sized PSF kernel of sum 1, ``(k, k)`` or ``(batch, k, k)``, sampled `oversampling` times finer than the
        detector; None for no blurring.
    oversampling : int
        Kernel pixels a detector pixel and axis.
    supersampling : int
        Light samples a kernel pixel and axis; 1 means at pixel centres.
    dtype, device
        Of the computation.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.forward.formation import ImageFormation
    >>> formation = ImageFormation((8, 8), [[0.1, 0], [0, 0.1]], (3.5, 3.5), None)
    >>> image = formation.observe(torch.ones_like(formation.x))  # 8 x 8 pixels of 0.01 arcsec^2
    >>> round(float(image.sum()), 4)
    0.64
    """

    def __init__(
        self, shape, matrix, origin, kernel, oversampling=1, supersampling=1, *, dtype=torch.float32, device=None
    ):
        self.shape = tuple(shape)
        self.oversampling, self.supersampling = int(oversampling), int(supersampling)
        if kernel is None:
            kernel = torch.ones(1, 1)
        kernel = torch.as_tensor(kernel).to(dtype=dtype, device=device)
        self._kernel = kernel
        self._convolver = Convolver(kernel, tuple(n * self.oversampling for n in self.shape), self.oversampling)
        nodes, weights = (torch.as_tensor(a) for a in leggauss(self.supersampling))
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
        self.x, self.y = sample_positions(
            shape, matrix, origin, self.oversampling, self._convolver.margin, 0.5 * nodes, dtype=dtype, device=device
        )
        self._weights = (0.5 * weights).to(dtype=dtype, device=device)
        #: arcsec a kernel pixel, ``(2, 2)``
        self.cell = matrix / self.oversampling
        #: area in arcsec^2 of a detector pixel
        self.pixel_area = float(torch.linalg.det(matrix).abs())
        self._trivial = kernel.shape[-1] == 1

    @property
    def positions(self):
        """Where light is to be evaluated: (x, y) in arcsec, margin included."""
        return self.x, self.y

    def select(self, index):
        """Return the operator of some images of the batch (itself where all share one kernel)."""
        convolver = self._convolver.select(index)
        if convolver is self._convolver:
            return self
        chosen = object.__new__(ImageFormation)
        chosen.__dict__.update(self.__dict__, _convolver=convolver, _kernel=self._kernel[index])
        return chosen

    def window(self, rows, columns):
        """Return the operator of a part of the detector pixels, given as slices."""
        part = object.__new__(ImageFormation)
        shape = rows.stop - rows.start, columns.stop - columns.start
        convolver = Convolver(self._kernel, tuple(n * self.oversampling for n in shape), self.oversampling)
        per, margin = self.oversampling * self.supersampling, 2 * convolver.margin * self.supersampling
        inside = tuple(slice(k.start * per, k.stop * per + margin) for k in (rows, columns))
        part.__dict__.update(self.__dict__, shape=shape, _convolver=convolver, x=self.x[inside], y=self.y[inside])
        return part

    def observe(self, light):
        """Flux a detector pixel, ``(..., rows, columns)``, of light sampled at `positions`, per arcsec^2."""
        return self.blur(self._average(light))

    def blur(self, light):
        """Flux a detector pixel of the mean light of each kernel pixel, margin included (see `cells`)."""
        flux = light * (self.pixel_area / self.oversampling**2)
        return bin_sum(flux, self.oversampling) if self._trivial else self._convolver.forward(flux)

    @property
    def cells(self):
        """Shape of the kernel pixels, margin included; which of them each sample lies in, and its share of the mean."""
        k = self.supersampling
        shape = tuple(n // k for n in self.x.shape)
        row, column = (torch.arange(n, device=self.x.device) // k for n in self.x.shape)
        weights = self._weights.outer(self._weights).repeat(*shape)
        return shape, row[:, None] * shape[1] + column, weights

    def adjoint(self, image):
        """Transpose of `observe`: detector pixels back to the light samples."""
        flux = unbin_sum(image, self.oversampling) if self._trivial else self._convolver.adjoint(image)
        flux = flux * (self.pixel_area / self.oversampling**2)
        if self.supersampling == 1:
            return flux
        weights = self._weights.outer(self._weights).repeat(*flux.shape[-2:])
        return unbin_sum(flux, self.supersampling) * weights

    def _average(self, light):
        """Mean over each kernel pixel by quadrature."""
        k = self.supersampling
        if k == 1:
            return light
        *lead, rows, columns = light.shape
        light = light.reshape(*lead, rows // k, k, columns // k, k)
        return torch.einsum("...ikjl,k,l->...ij", light, self._weights, self._weights)
