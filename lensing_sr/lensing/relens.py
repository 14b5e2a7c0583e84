# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Deflections that are known on a pixel grid, as pure tensor functions: sample, differentiate, integrate, invert.

Arrays are ``(..., row, col)``.  A grid's ``matrix`` of shape (2, 2) leads from pixels to arcsec,
``(x, y) = matrix @ (col, row)`` about the origin, so that skewed and non-square pixels need no special case.
"""

import math

import numpy as np
import torch

from lensing_sr.lensing._gather import weighted_pixels

__all__ = [
    "back_project",
    "deflection_from_convergence",
    "distortion",
    "integrate_deflection",
    "pixel_derivatives",
    "potential_from_convergence",
    "sample_image",
    "zero_contours",
]

#: Pixels added around an image before it is sampled; the bicubic kernel reaches two beyond a point.
MARGIN = 3


def _padded(image, outside):
    """Return the image with `MARGIN` more pixels on each side: zeros, or a straight continuation of its edge."""
    for axis in (-2, -1):
        size = image.shape[axis]
        if outside == "zero":
            before = after = torch.zeros_like(image.narrow(axis, 0, 1))
            before, after = [before] * MARGIN, [after] * MARGIN
        else:
            first, last = image.narrow(axis, 0, 1), image.narrow(axis, size - 1, 1)
            low = first - image.narrow(axis, min(1, size - 1), 1)
            high = last - image.narrow(axis, max(size - 2, 0), 1)
            before = [first + k * low for k in range(MARGIN, 0, -1)]
            after = [last + k * high for k in range(1, MARGIN + 1)]
        image = torch.cat([*before, image, *after], dim=axis)
    return image


def _taps(position, size, mode):
    """Return ``(first index, weights)`` of the pixels between which a position of a padded axis lies."""
    # one ulp inside the last cell: farther out there is nothing but the continuation
    position = (position + MARGIN).clamp(MARGIN - 2.0, size + MARGIN + 1.0)
    base = position.detach().floor().clamp_max(size + MARGIN)
    t = position - base
    if mode == "bilinear":
        return base.long(), (1.0 - t, t)
    # Catmull-Rom: exact for parabolas, as torch's own bicubic kernel (a = -0.75) is not
    weights = (
        ((2.0 - t) * t - 1.0) * t * 0.5,
        ((3.0 * t - 5.0) * t * t + 2.0) * 0.5,
        ((4.0 - 3.0 * t) * t + 1.0) * t * 0.5,
        (t - 1.0) * t * t * 0.5,
    )
    return base.long() - 1, weights


def sample_image(image, col, row, mode="bilinear", outside="zero"):
    """Values of an image between its pixels, differentiable in the image and (piecewise) in the positions.

    Parameters
    ----------
    image : torch.Tensor
        ``(..., ny, nx)``, pixel centres at integers.
    col, row : torch.Tensor
        Positions in pixels, ``(..., my, mx)`` (of any shape for an image of two dimensions); leading dimensions
        broadcast with those of the image.
    mode : {"bilinear", "bicubic"}
        The bicubic kernel is that of Catmull and Rom, which reproduces parabolas.
    outside : {"zero", "extrapolate"}
        What lies beyond the outermost pixel centres: nothing, or a straight continuation (over two pixels).

    Returns
    -------
    torch.Tensor
        Values shaped as the positions.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.relens import sample_image
    >>> image = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> sample_image(image, torch.tensor([0.5]), torch.tensor([0.5]))
    tensor([1.5000])
    """
    ny, nx = image.shape[-2:]
    padded = _padded(image, outside)
    first_col, weights_col = _taps(col, nx, mode)
    first_row, weights_row = _taps(row, ny, mode)
    return weighted_pixels(padded, first_row, weights_row, first_col, weights_col)


def back_project(image, col, row, shape):
    """Bring the pixels of an image to positions of another grid and average there: the inverse of ray tracing.

    Each pixel is shared among the four pixels around its position (bilinear weights).  Where several images of one
    source position arrive, they are averaged: surface brightness is conserved by lensing, flux is not.

    Parameters
    ----------
    image : torch.Tensor
        ``(ny, nx)``, surface brightness; pixels that are not finite are left out.
    col, row : torch.Tensor
        Where each pixel arrives, in pixels of the other grid, ``(ny, nx)``.
    shape : tuple of int
        Rows and columns of the other grid.

    Returns
    -------
    source, weight : torch.Tensor
        Mean brightness (NaN where nothing arrives) and the number of pixels that arrived, each of the given shape.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.relens import back_project
    >>> source, weight = back_project(torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 2), (1, 1))
    >>> source.item(), weight.item()
    (1.0, 2.0)
    """
    ny, nx = shape
    good = torch.isfinite(image) & torch.isfinite(col) & torch.isfinite(row)
    value, col, row = image[good], col[good], row[good]
    first_col, first_row = col.detach().floor(), row.detach().floor()
    u, v = col - first_col, row - first_row
    total, weight = image.new_zeros(ny * nx), image.new_zeros(ny * nx)
    for j, share_row in enumerate((1.0 - v, v)):
        for i, share_col in enumerate((1.0 - u, u)):
            c, r = (first_col + i).long(), (first_row + j).long()
            share = share_row * share_col
            inside = (c >= 0) & (c < nx) & (r >= 0) & (r < ny)
            index = (r * nx + c)[inside]
            total = total.index_add(0, index, (share * value)[inside])
            weight = weight.index_add(0, index, share[inside])
    some = weight > 1e-3
    mean = torch.where(some, total / torch.where(some, weight, 1.0), math.nan)
    return mean.view(ny, nx), weight.view(ny, nx)


def _derivative(f, axis):
    """Return the derivative along an axis by five-point differences, one-sided at the ends: fourth order everywhere."""
    f = f.movedim(axis, -1)
    size = f.shape[-1]
    if size < 5:
        raise ValueError(f"derivatives need at least 5 pixels along each axis, got {size}")
    inner = (8.0 * (f[..., 3:-1] - f[..., 1:-3]) - (f[..., 4:] - f[..., :-4])) / 12.0
    edge = f.new_tensor([[-25.0, 48.0, -36.0, 16.0, -3.0], [-3.0, -10.0, 18.0, -6.0, 1.0]]) / 12.0
    low = f[..., :5] @ edge.T
    high = -f[..., -5:].flip(-1) @ edge.T
    return torch.cat([low, inner, high.flip(-1)], dim=-1).movedim(-1, axis)


def pixel_derivatives(f):
    """Derivatives of an array by column and by row, fourth order in the pixel, edges included.

    Parameters
    ----------
    f : torch.Tensor
        ``(..., ny, nx)``, at least 5 by 5.

    Returns
    -------
    by_col, by_row : torch.Tensor
        Shaped as f, per pixel.

    Raises
    ------
    ValueError
        If an axis has fewer than five pixels.
    """
    return _derivative(f, -1), _derivative(f, -2)


def distortion(alpha_x, alpha_y, matrix):
    r"""Convergence, shear and curl of a deflection field on a grid.

    .. math:: \kappa = \tfrac12(\alpha_{x,x} + \alpha_{y,y}),\ \gamma_1 = \tfrac12(\alpha_{x,x} - \alpha_{y,y}),\
              \gamma_2 = \tfrac12(\alpha_{x,y} + \alpha_{y,x}),\quad \omega = \alpha_{y,x} - \alpha_{x,y}

    Parameters
    ----------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec, ``(..., ny, nx)``.
    matrix : array of shape (2, 2)
        arcsec per pixel.

    Returns
    -------
    kappa, gamma1, gamma2, curl : torch.Tensor
        Dimensionless, shaped as the deflection.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.relens import distortion
    >>> y, x = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    >>> kappa, gamma1, gamma2, curl = distortion(0.03 * x, 0.01 * y, [[0.1, 0.0], [0.0, 0.1]])
    >>> round(float(kappa[2, 2]), 6), round(float(gamma1[2, 2]), 6)
    (0.2, 0.1)
    """
    # d f / d(col, row) = matrix^T grad f
    inverse = np.linalg.inv(np.asarray(matrix, dtype=float))
    (x_c, x_r), (y_c, y_r) = pixel_derivatives(alpha_x), pixel_derivatives(alpha_y)
    x_x, x_y = x_c * inverse[0, 0] + x_r * inverse[1, 0], x_c * inverse[0, 1] + x_r * inverse[1, 1]
    y_x, y_y = y_c * inverse[0, 0] + y_r * inverse[1, 0], y_c * inverse[0, 1] + y_r * inverse[1, 1]
    return 0.5 * (x_x + y_y), 0.5 * (x_x - y_y), 0.5 * (x_y + y_x), y_x - x_y


def _steps(f):
    """Return the integral of f from each pixel to the next along the last axis, to fourth order."""
    inner = (13.0 * (f[..., 1:-2] + f[..., 2:-1]) - f[..., :-3] - f[..., 3:]) / 24.0
    edge = f.new_tensor([9.0, 19.0, -5.0, 1.0]) / 24.0
    low, high = f[..., :4] @ edge, f[..., -4:].flip(-1) @ edge
    return torch.cat([low[..., None], inner, high[..., None]], dim=-1)


def integrate_deflection(alpha_x, alpha_y, matrix):
    r"""Potential whose gradient is nearest to a deflection field, :math:`\min_\psi \int |\nabla\psi - \alpha|^2`.

    The differences of neighbouring pixels are fitted by least squares: a Poisson equation with the deflection at the
    border as its boundary condition, solved by a cosine transform.  A curl has no potential and is left out.

    Parameters
    ----------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec, ``(..., ny, nx)``, at least 4 by 4.
    matrix : array of shape (2, 2)
        arcsec per pixel.

    Returns
    -------
    torch.Tensor
        Potential in arcsec^2, shaped as the deflection, zero at its lowest pixel (a constant is free).
    """
    matrix = np.asarray(matrix, dtype=float)
    # per pixel: d psi / d col = alpha . d(x, y) / d col
    by_col = _steps(alpha_x * matrix[0, 0] + alpha_y * matrix[1, 0])
    by_row = _steps((alpha_x * matrix[0, 1] + alpha_y * matrix[1, 1]).mT).mT
    pad = torch.nn.functional.pad
    divergence = pad(by_col, (0, 1)) - pad(by_col, (1, 0)) + pad(by_row, (0, 0, 0, 1)) - pad(by_row, (0, 0, 1, 0))
    ny, nx = divergence.shape[-2:]
    mirrored = torch.cat([divergence, divergence.flip(-1)], dim=-1)
    mirrored = torch.cat([mirrored, mirrored.flip(-2)], dim=-2)
    wave = dict(dtype=divergence.dtype, device=divergence.device)
    k_row = 2.0 - 2.0 * torch.cos(math.pi * torch.arange(2 * ny, **wave) / ny)
    k_col = 2.0 - 2.0 * torch.cos(math.pi * torch.arange(nx + 1, **wave) / nx)
    laplacian = -(k_row[:, None] + k_col)
    laplacian[0, 0] = 1.0
    spectrum = torch.fft.rfft2(mirrored) / laplacian
    spectrum[..., 0, 0] = 0.0
    psi = torch.fft.irfft2(spectrum, s=mirrored.shape[-2:])[..., :ny, :nx]
    return psi - psi.amin(dim=(-2, -1), keepdim=True)


def _edge(start, stop):
    """Return ``(integral of ln r, length, normal, distance)`` of straight edges; the interior lies to their left."""
    along = stop - start
    length = along.norm(dim=-1)
    unit = along / length[..., None]
    normal = torch.stack([unit[..., 1], -unit[..., 0]], dim=-1)
    distance = (start * normal).sum(-1)
    total = 0.0
    for end, sign in ((stop, 1.0), (start, -1.0)):
        s = (end * unit).sum(-1)
        d = distance.abs()
        r2 = (s * s + d * d).clamp_min(1e-300)
        total = total + sign * (s * (0.5 * r2.log() - 1.0) + d * torch.atan2(s, d))
    return total, length, normal, distance


def _pixel_kernels(shape, matrix, device):
    """Potential and deflection by one pixel of unit convergence at all offsets, exact, wrapped for the FFT."""
    ny, nx = shape
    matrix = torch.as_tensor(np.asarray(matrix, dtype=float), device=device)
    # offsets in FFT order, and the corners about each: edges run counter-clockwise if the matrix keeps the handedness
    row = torch.fft.fftfreq(2 * ny, 1.0 / (2 * ny), dtype=torch.float64, device=device)
    col = torch.fft.fftfreq(2 * nx, 1.0 / (2 * nx), dtype=torch.float64, device=device)
    row, col = torch.meshgrid(row, col, indexing="ij")
    turns = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    corners = [torch.stack([col + i, row + j], dim=-1) @ matrix.T for i, j in turns]
    if torch.linalg.det(matrix) < 0:
        corners.reverse()
    psi, alpha = 0.0, 0.0
    for k in range(4):
        log, length, normal, distance = _edge(corners[k], corners[(k + 1) % 4])
        # the divergence theorem: div(theta (ln r / 2 - 1/4)) = ln r, and grad ln r itself
        psi = psi + distance * (0.5 * log - 0.25 * length)
        alpha = alpha + normal * log[..., None]
    return psi / math.pi, alpha[..., 0] / math.pi, alpha[..., 1] / math.pi


def _sharpened(kappa, divisor):
    """Make up for the pixels: kappa is known at their centres, the kernels spread it evenly over them."""
    # the box blurs by 1 + (second differences) / 24; for the deflection, which is singular at the pixel's centre, the
    # sampling adds as much again (as the trapezoidal rule's 1 / 12 in one dimension); the border is left as it is
    second = torch.zeros_like(kappa)
    second[..., :, 1:-1] += kappa[..., :, 2:] - 2.0 * kappa[..., :, 1:-1] + kappa[..., :, :-2]
    second[..., 1:-1, :] += kappa[..., 2:, :] - 2.0 * kappa[..., 1:-1, :] + kappa[..., :-2, :]
    return kappa - second / divisor


def _convolved(kappa, kernel):
    """Return the zero-padded convolution of a map with a kernel in FFT order of twice its size."""
    ny, nx = kappa.shape[-2:]
    size = kernel.shape
    product = torch.fft.rfft2(kappa, s=size) * torch.fft.rfft2(kernel.to(kappa.dtype))
    return torch.fft.irfft2(product, s=size)[..., :ny, :nx]


def deflection_from_convergence(kappa, matrix):
    r"""Deflection by the mass on a grid.

    .. math:: \alpha(\theta) = \frac1\pi \int \kappa(\theta') \frac{\theta-\theta'}{|\theta-\theta'|^2}\, d^2\theta'

    Every pixel is a parallelogram of constant convergence, integrated exactly and corrected for that blur to fourth
    order; the sum is a zero-padded FFT.  Mass beyond the grid does not act.

    Parameters
    ----------
    kappa : torch.Tensor
        Convergence at the pixel centres, ``(..., ny, nx)``.
    matrix : array of shape (2, 2)
        arcsec per pixel.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec at the pixel centres, shaped as kappa.
    """
    _, kernel_x, kernel_y = _pixel_kernels(kappa.shape[-2:], matrix, kappa.device)
    kappa = _sharpened(kappa, 12.0)
    return _convolved(kappa, kernel_x), _convolved(kappa, kernel_y)


def potential_from_convergence(kappa, matrix):
    r"""Potential of the mass on a grid.

    .. math:: \psi(\theta) = \frac1\pi \int \kappa(\theta') \ln|\theta - \theta'|\, d^2\theta'

    Parameters and method are those of `deflection_from_convergence`.

    Returns
    -------
    torch.Tensor
        Potential in arcsec^2, shaped as kappa; the logarithm is that of the distance in arcsec.
    """
    return _convolved(_sharpened(kappa, 24.0), _pixel_kernels(kappa.shape[-2:], matrix, kappa.device)[0])


def zero_contours(f):
    """Curves along which an array is zero.

    Parameters
    ----------
    f : numpy.ndarray
        ``(ny, nx)``; NaN where unknown.

    Returns
    -------
    list of numpy.ndarray
        Curves of shape ``(points, 2)``: column and row in pixels.  A closed curve ends where it starts.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.lensing.relens import zero_contours
    >>> y, x = np.mgrid[-10:11, -10:11]
    >>> [curve] = zero_contours(np.hypot(x, y) - 5)
    >>> bool(np.all(curve[0] == curve[-1]))
    True
    """
    from contourpy import contour_generator  # comes with matplotlib, but does not load it

    return contour_generator(z=np.ma.masked_invalid(f)).lines(0.0)
