# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The interpolations that any super-resolution has to beat, and the spline that carries residuals to finer pixels.

All of them are linear and separable: ``fine = A_y coarse A_x^T`` with one small matrix an axis.  The matrices are built
once for a length, a scale and a method, and work for any scale, 2.5 included.  The grids share their edges (coarse
pixel ``r`` covers fine positions ``[s r, s (r + 1))``), so fine pixel ``i`` has its centre at coarse position
``(i + 1/2) / s - 1/2``.  Beyond the edge the image is continued by reflection (splines) or by its last pixel (others).
"""

import math
from functools import lru_cache

import numpy as np
import torch

from lensing_sr.errors import InputError

__all__ = ["METHODS", "axis_matrix", "baselines", "conserving_matrix", "fine_length", "upsample"]

METHODS = ("nearest", "bilinear", "bicubic", "cubic_spline", "lanczos")

# The cubic convolution parameter of PyTorch and OpenCV, so that "bicubic" means what most people compare with.
_BICUBIC_A = -0.75
_LANCZOS_LOBES = 3


def fine_length(n, scale):
    """Number of fine pixels that cover ``n`` coarse ones, ``ceil(n * scale)``.

    Parameters
    ----------
    n : int
        Number of coarse pixels.
    scale : float
        Fine pixels a coarse pixel, at least 1.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If the scale is below 1.

    Examples
    --------
    >>> from lensing_sr.metrics.interpolation import fine_length
    >>> fine_length(5, 2.5)
    13
    """
    if not scale >= 1:
        raise InputError("scale", "must be at least 1", scale, "use 2 for twice the sampling")
    # 1e-9: 10 x 1.1 is 11, not 12, although the product in floating point lies just above 11
    return math.ceil(n * scale - 1e-9)


def _bicubic(t):
    a, t = _BICUBIC_A, np.abs(t)
    inner = (a + 2) * t**3 - (a + 3) * t**2 + 1
    outer = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))


def _lanczos(t):
    return np.where(np.abs(t) < _LANCZOS_LOBES, np.sinc(t) * np.sinc(t / _LANCZOS_LOBES), 0.0)


def _cubic_b_spline(t):
    t = np.abs(t)
    return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6)


def _quadratic_b_spline_integral(t):
    """Integral of the quadratic B-spline from -infinity to ``t``."""
    t = np.clip(t, -1.5, 1.5)
    left = (t + 1.5) ** 3 / 6
    middle = 0.5 + 0.75 * t - t**3 / 3
    right = 1 - (1.5 - t) ** 3 / 6
    return np.where(t < -0.5, left, np.where(t < 0.5, middle, right))


def _fold(n, indices, weights, reflect):
    """Scatter the weights of (possibly outside) coarse pixels into a dense matrix, folding the outside ones back."""
    if reflect:
        indices = indices % (2 * n)
        indices = np.where(indices < n, indices, 2 * n - 1 - indices)
    else:
        indices = np.clip(indices, 0, n - 1)
    matrix = np.zeros((len(indices), n))
    np.add.at(matrix, (np.arange(len(indices))[:, None], indices), weights)
    return matrix


def _spline_coefficients(n):
    """Inverse of the tridiagonal (1, 4, 1)/6 with reflecting ends: pixel values to B-spline coefficients."""
    tridiagonal = 4 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
    tridiagonal[0, 0] += 1
    tridiagonal[-1, -1] += 1
    return np.linalg.inv(tridiagonal / 6)


def _frozen(matrix):
    matrix.setflags(write=False)  # it is cached, so nobody may change it
    return matrix


@lru_cache(maxsize=64)
def axis_matrix(n, scale, method):
    """Interpolation along one axis as a matrix: values at the fine pixel centres from values at the coarse ones.

    Parameters
    ----------
    n : int
        Number of coarse pixels along the axis.
    scale : float
        Fine pixels a coarse pixel, at least 1; need not be an integer.
    method : {"nearest", "bilinear", "bicubic", "cubic_spline", "lanczos"}
        Interpolation.  "bicubic" is the cubic convolution of PyTorch, "cubic_spline" the interpolating cubic B-spline,
        "lanczos" the three-lobed kernel, normalised.

    Returns
    -------
    numpy.ndarray
        Read-only float64 matrix of shape ``(ceil(n scale), n)``; each row sums to one.

    Raises
    ------
    InputError
        If the method is unknown or the scale below 1.

    Examples
    --------
    >>> from lensing_sr.metrics.interpolation import axis_matrix
    >>> axis_matrix(2, 2, "bilinear").tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    if method not in METHODS:
        raise InputError("method", f"must be one of {', '.join(METHODS)}", repr(method))
    # past the last edge (non-integer scales) the last position inside is repeated
    position = np.minimum((np.arange(fine_length(n, scale)) + 0.5) / scale - 0.5, n - 0.5)
    if method == "nearest":
        indices = np.clip(np.floor(position + 0.5).astype(int), 0, n - 1)
        return _frozen(np.eye(n)[indices])
    reach = {"bilinear": 1, "bicubic": 2, "cubic_spline": 2, "lanczos": _LANCZOS_LOBES}[method]
    indices = np.floor(position).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
    distance = position[:, None] - indices
    if method == "cubic_spline":
        return _frozen(_fold(n, indices, _cubic_b_spline(distance), reflect=True) @ _spline_coefficients(n))
    kernel = {"bilinear": lambda t: 1 - np.abs(t), "bicubic": _bicubic, "lanczos": _lanczos}[method]
    weights = kernel(distance)
    return _frozen(_fold(n, indices, weights / weights.sum(axis=1, keepdims=True), reflect=False))


@lru_cache(maxsize=64)
def conserving_matrix(n, scale):
    """Spline along one axis that conserves flux: sums over fine pixels from sums over coarse pixels.

    The fluxes are taken as integrals of a quadratic spline over the coarse pixels, and that spline is integrated over
    the fine pixels.  For an integer scale the ``scale`` fine pixels of a coarse pixel add up to it exactly; for any
    scale the total does.

    Parameters
    ----------
    n : int
        Number of coarse pixels along the axis.
    scale : float
        Fine pixels a coarse pixel, at least 1.

    Returns
    -------
    numpy.ndarray
        Read-only float64 matrix of shape ``(ceil(n scale), n)``; each column sums to one.

    Raises
    ------
    InputError
        If the scale is below 1.

    Examples
    --------
    >>> from lensing_sr.metrics.interpolation import conserving_matrix
    >>> fine = conserving_matrix(4, 3) @ [1, 5, 2, 0]
    >>> fine.reshape(4, 3).sum(axis=1).round(6) + 0.0
    array([1., 5., 2., 0.])
    """
    edges = np.minimum(np.arange(fine_length(n, scale) + 1) / scale, n) - 0.5  # the field ends at its last edge
    indices = np.arange(-2, n + 2)
    cumulative = _quadratic_b_spline_integral(edges[:, None] - indices)
    weights = np.diff(cumulative, axis=0)
    matrix = _fold(n, np.broadcast_to(indices, weights.shape), weights, reflect=True)
    return _frozen(matrix @ _spline_coefficients(n))


def upsample(image, scale, method="cubic_spline", *, conserve_flux=True):
    """Interpolate images to pixels ``scale`` times finer.

    ``fine = A_y image A_x^T / scale^2``, with the matrices of `axis_matrix`.

    Parameters
    ----------
    image : torch.Tensor or numpy.ndarray
        Images of shape ``(..., ny, nx)``, flux per pixel.
    scale : float
        Fine pixels a coarse pixel, at least 1.
    method : str
        One of `METHODS`.
    conserve_flux : bool
        Divide by ``scale**2``, as flux per pixel asks; False keeps surface brightness.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Of shape ``(..., ceil(ny scale), ceil(nx scale))``, of the same kind, type and device as the input.

    Raises
    ------
    InputError
        If the method is unknown or the scale below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.interpolation import upsample
    >>> upsample(np.ones((4, 4)), 2, "bicubic").sum()
    np.float64(16.0)
    """
    ny, nx = image.shape[-2:]
    rows, columns = axis_matrix(ny, scale, method), axis_matrix(nx, scale, method)
    if conserve_flux:
        rows = rows / scale**2
    return apply_axes(image, rows, columns)


def apply_axes(image, rows, columns):
    """Apply one matrix along the rows and one along the columns of images (torch or numpy), keeping their type."""
    if isinstance(image, torch.Tensor):
        rows = torch.as_tensor(np.array(rows)).to(image)
        columns = torch.as_tensor(np.array(columns)).to(image)
        return rows @ image @ columns.mT
    image = np.asarray(image)
    kind = image.dtype if np.issubdtype(image.dtype, np.floating) else np.float64
    return (rows @ image.astype(kind) @ columns.T).astype(kind)


def baselines(image, scale):
    """Every interpolation of `METHODS` of the same images, flux conserved.

    Parameters
    ----------
    image : torch.Tensor or numpy.ndarray
        Images of shape ``(..., ny, nx)``, flux per pixel.
    scale : float
        Fine pixels a coarse pixel, at least 1.

    Returns
    -------
    dict of str to torch.Tensor or numpy.ndarray
        Fine images by the name of the method.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.interpolation import baselines
    >>> sorted(baselines(np.ones((4, 4)), 2))
    ['bicubic', 'bilinear', 'cubic_spline', 'lanczos', 'nearest']
    """
    return {method: upsample(image, scale, method) for method in METHODS}
