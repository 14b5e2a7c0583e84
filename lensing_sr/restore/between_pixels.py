# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What lies between the pixels: by how much an interpolated residual may be wrong where it is sharp.

A spline through pixels finds what the optics leave of a smooth thing, and blurs what is as sharp as the PSF.  The worst
is a point.  Seen through the PSF, binned and interpolated, points all over a pixel are missed by

.. math:: c = \frac{\langle \sum e^2 \rangle}{\langle \sum w^2 \rangle}

e the error on the fine pixels, w the finest wavelet of the binned image.  The same share of the finest wavelet of any
residual is taken for the variance of what its interpolation misses: too much for anything smoother than a point, whose
finest wavelet is the less the smoother it is.
"""

import math

import torch
import torch.nn.functional as functional

from lensing_sr.metrics.interpolation import apply_axes, axis_matrix, conserving_matrix
from lensing_sr.restore.starlet import smoothed

__all__ = ["missed_share", "missed_variance"]

#: Pixels about a point's image that its interpolation needs.
_MARGIN = 4


def missed_share(kernel, factor):
    """Share c of the power of the finest wavelet that interpolation misses of points.

    Parameters
    ----------
    kernel : torch.Tensor
        PSF on pixels `factor` times finer than the image's, an odd square, of sum 1.
    factor : int
        Fine pixels an image pixel, at least 1.

    Returns
    -------
    float
        0 where nothing is interpolated.

    Examples
    --------
    An HST camera leaves some of a point between its pixels, a well sampled image hardly anything:

    >>> import torch
    >>> from lensing_sr.restore.between_pixels import missed_share
    >>> y, x = torch.meshgrid(torch.arange(-15.0, 16.0), torch.arange(-15.0, 16.0), indexing="ij")
    >>> shares = []
    >>> for fwhm in (1.5, 3.0):
    ...     kernel = torch.exp(-(x**2 + y**2) / 2 / (2 * fwhm / 2.355) ** 2)
    ...     shares.append(missed_share(kernel / kernel.sum(), 2))
    >>> [f"{share:.4f}" for share in shares]
    ['0.0146', '0.0002']
    """
    kernel = torch.as_tensor(kernel).double()
    pixels = math.ceil(max(kernel.shape) / factor) + 1 + 2 * _MARGIN
    matrix, missed, power = conserving_matrix(pixels, factor), 0.0, 0.0
    for phase in range(factor**2):  # one at a time: a hundred of a wide kernel's are a gigabyte
        row, column = (_MARGIN * factor + k for k in divmod(phase, factor))
        fine = kernel.new_zeros(1, pixels * factor, pixels * factor)
        fine[0, row : row + kernel.shape[0], column : column + kernel.shape[1]] = kernel
        coarse = fine.reshape(1, pixels, factor, pixels, factor).sum(dim=(2, 4))
        missed += float((apply_axes(coarse, matrix, matrix) - fine).square().sum())
        power += float((coarse - smoothed(coarse, 0)).square().sum())
    return missed / power


def missed_variance(kept, kernel, factor, scale):
    r"""Variance of what the interpolation of a residual misses, on the fine pixels: c <w^2> / scale^2.

    Parameters
    ----------
    kept : torch.Tensor
        What is interpolated, ``(images, rows, columns)``, flux an image pixel.
    kernel, factor
        As for `missed_share`.
    scale : float
        Fine pixels an image pixel; need not be an integer.

    Returns
    -------
    torch.Tensor
        ``(images, fine rows, fine columns)``, flux a fine pixel squared.
    """
    share = missed_share(kernel, factor)
    if min(kept.shape[-2:]) < 3:  # too small to be smoothed
        wavelet = kept
    else:
        wavelet = kept - smoothed(kept, 0)
    power = functional.avg_pool2d(wavelet.square()[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    matrices = (axis_matrix(n, scale, "bilinear") for n in kept.shape[-2:])
    return (share / scale**2) * apply_axes(power, *matrices)
