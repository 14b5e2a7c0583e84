# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The interpolating cubic spline of an image that is dark beyond its pixels, as pure tensor functions.

.. math:: I(c, r) = \sum_{ij} a_{ij}\, B(c - j)\, B(r - i), \qquad
          B(t) = \tfrac23 - t^2 + \tfrac12|t|^3\ (|t| < 1),\quad \tfrac16 (2 - |t|)^3\ (1 \le |t| < 2)

The coefficients a are zero beyond the image and such that the spline passes through its pixels.  At the border the
light runs into zero within two pixels, with continuous first and second derivatives: nothing is cut off.
"""

import math

import torch

from lensing_sr.lensing._gather import weighted_pixels

__all__ = ["cubic_spline_coefficients", "sample_spline"]

#: Factor by which the coefficients of a lone pixel fall, with changing sign, from one to the next.
DECAY = 2.0 - math.sqrt(3.0)
#: Zeros put around the coefficients: as far as B reaches beyond the outermost pixel centre, and one more.
MARGIN = 3


def _inverse(size, like):
    """Return the inverse of tridiag(1, 4, 1) / 6 in closed form, (size, size)."""
    index = torch.arange(size, dtype=torch.float64, device=like.device)
    low, high = torch.minimum(index[:, None], index), torch.maximum(index[:, None], index)
    ends = (1.0 - DECAY ** (2.0 * low + 2.0)) * (1.0 - DECAY ** (2.0 * (size - high)))
    sign = 1.0 - 2.0 * ((high - low) % 2.0)
    scale = math.sqrt(3.0) / (1.0 - DECAY ** (2.0 * size + 2.0))
    return (scale * sign * DECAY ** (high - low) * ends).to(like)


def cubic_spline_coefficients(image):
    """Coefficients of the cubic spline that passes through the pixels of an image; linear in it.

    The sum of the coefficients is the integral of the spline over the whole plane, in units of a pixel.

    Parameters
    ----------
    image : torch.Tensor
        ``(..., ny, nx)``, values at the pixel centres.

    Returns
    -------
    torch.Tensor
        Shaped as the image, for `sample_spline`.

    References
    ----------
    Unser 1999, IEEE Signal Processing Magazine 16, 22.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.spline import cubic_spline_coefficients
    >>> cubic_spline_coefficients(torch.tensor([[0.0, 1.0, 0.0]])).round(decimals=4)
    tensor([[-0.6429,  2.5714, -0.6429]])
    """
    ny, nx = image.shape[-2:]
    return _inverse(ny, image) @ image @ _inverse(nx, image)


def _taps(position, size):
    """Return ``(first index among the padded coefficients, four weights)`` along an axis."""
    # beyond two pixels from the border every weight meets a zero
    position = position.clamp(-2.0, size + 1.0)
    # a position that is not a number keeps its weights so, and must not become an index
    base = position.detach().floor().nan_to_num().clamp_max(size)
    t = position - base
    s = 1.0 - t
    t2, s2 = t * t, s * s
    weights = (
        s2 * s / 6.0,
        2.0 / 3.0 - t2 + 0.5 * t2 * t,
        2.0 / 3.0 - s2 + 0.5 * s2 * s,
        t2 * t / 6.0,
    )
    return base.long() + (MARGIN - 1), weights


def sample_spline(coefficients, column, row):
    """Values of a cubic spline between the pixels, twice differentiable in the positions; zero outside.

    Parameters
    ----------
    coefficients : torch.Tensor
        From `cubic_spline_coefficients`, ``(..., ny, nx)``.
    column, row : torch.Tensor
        Positions in pixels, pixel centres at integers, ``(..., my, mx)`` (of any shape for coefficients of two
        dimensions); leading dimensions broadcast with those of the coefficients.

    Returns
    -------
    torch.Tensor
        Values shaped as the positions; NaN where a position is.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.spline import cubic_spline_coefficients, sample_spline
    >>> a = cubic_spline_coefficients(torch.tensor([[0.0, 1.0, 0.0]]))
    >>> sample_spline(a, torch.tensor([0.0, 1.0, 1.5, 9.0]), torch.zeros(4)).round(decimals=4) + 0.0
    tensor([0.0000, 1.0000, 0.6071, 0.0000])
    """
    ny, nx = coefficients.shape[-2:]
    first_column, weights_column = _taps(column, nx)
    first_row, weights_row = _taps(row, ny)
    padded = torch.nn.functional.pad(coefficients, (MARGIN,) * 4)
    return weighted_pixels(padded, first_row, weights_row, first_column, weights_column)
