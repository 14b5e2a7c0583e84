# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From noise-free images to what a detector delivers: photons, sky, read-out, and noise that neighbours share.

Every function is continuous in the image and takes its random numbers as standard normal deviates, one a pixel, so
that the same numbers give the same noise on any device.  Images are ``(batch, rows, columns)``; whatever is per image
broadcasts as ``(batch, 1, 1)``.
"""

import math

import numpy as np
import torch

__all__ = ["correlated", "correlation_taps", "noise_sigma", "photon_counts", "poisson_quantile"]

#: Mean counts below which the Poisson distribution is summed term by term; above it a series in 1 / sqrt(rate) errs by
#: one count in fewer than 5 pixels of 10 000 (fewer the more counts).
FEW = 10.0
#: Counts that a pixel of mean `FEW` exceeds with a chance of 1e-16.
_MOST_OF_FEW = 45
#: Pixels over which shared noise reaches on each side.
REACH = 8


def noise_sigma(image, background, exposure):
    r"""Sigma of each pixel, :math:`\sqrt{\sigma_b^2 + \max(f, 0) / t}`.

    Parameters
    ----------
    image : torch.Tensor
        f, noise-free flux in electron/s a pixel.
    background : float or torch.Tensor
        :math:`\sigma_b`, rms of the blank sky in electron/s a pixel.
    exposure : float or torch.Tensor
        t in seconds.

    Returns
    -------
    torch.Tensor
        Shaped as the image, in electron/s.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation.detector import noise_sigma
    >>> noise_sigma(torch.tensor([0.0, 7.0]), 0.3, 100.0).tolist()
    [0.30000001192092896, 0.4000000059604645]
    """
    return (background**2 + image.clamp_min(0.0) / exposure).sqrt()


def poisson_quantile(rate, deviates):
    r"""Poisson counts from standard normal deviates, :math:`k = F^{-1}(\Phi(z); \lambda)`.

    Drawing by the inverse distribution function, one number a pixel, makes the counts a monotone function of the rate:
    a rounding error of the image changes a count now and then by one, and no other pixel.

    Parameters
    ----------
    rate : torch.Tensor
        :math:`\lambda \ge 0`, expected counts.
    deviates : torch.Tensor
        z, standard normal, shaped as the rate.

    Returns
    -------
    torch.Tensor
        k, whole numbers, float64.

    References
    ----------
    Giles 2016, ACM Transactions on Mathematical Software 42, 6: the expansion used for more than a few counts.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation.detector import poisson_quantile
    >>> poisson_quantile(torch.tensor([0.0, 3.0, 100.0]), torch.tensor([1.0, 0.0, -2.0])).tolist()
    [0.0, 3.0, 81.0]
    """
    rate, z = rate.double(), deviates.double()
    many = rate.clamp_min(FEW)
    root = many.sqrt()
    counts = many + root * z + (1.0 / 3.0 + z * z / 6.0) - (z / 36.0 + z**3 / 72.0) / root
    counts = (counts + (-8.0 / 405.0 + 7.0 * z * z / 810.0 + z**4 / 270.0) / many).floor().clamp_min(0.0)
    few = rate < FEW
    low, chance = rate[few], torch.special.ndtr(z[few])
    term = torch.exp(-low)
    below, sums = torch.zeros_like(low), term.clone()
    for k in range(1, _MOST_OF_FEW):
        below += chance > sums
        term *= low / k
        sums += term
    counts[few] = below
    return counts


def photon_counts(image, exposure, deviates):
    """Whole photons of a noise-free image: `poisson_quantile` of its flux times the exposure, in counts.

    Parameters
    ----------
    image : torch.Tensor
        Flux in counts/s a pixel; below zero there is no light.
    exposure : float or torch.Tensor
        Seconds.
    deviates : torch.Tensor
        Standard normal, shaped as the image.

    Returns
    -------
    torch.Tensor
        Counts, float64.
    """
    return poisson_quantile(image.double().clamp_min(0.0) * exposure, deviates)


def correlation_taps(lag1):
    r"""Weights along one axis that give white noise a correlation of neighbours.

    Samples of a Gaussian, :math:`t_k = e^{-k^2 / 2 w^2}`, of unit sum of squares, its width chosen so that
    :math:`\sum_k t_k t_{k+1}` is the correlation asked for.

    Parameters
    ----------
    lag1 : float
        Correlation of neighbouring pixels along rows and along columns, 0 to 0.95.

    Returns
    -------
    numpy.ndarray
        ``(17,)`` float64.

    Raises
    ------
    ValueError
        If the correlation is out of range.

    Examples
    --------
    >>> from lensing_sr.simulation.detector import correlation_taps
    >>> taps = correlation_taps(0.25)
    >>> round(float(taps[1:] @ taps[:-1]), 6)
    0.25
    """
    if not 0.0 <= lag1 <= 0.95:
        raise ValueError(f"the correlation of neighbouring pixels must lie between 0 and 0.95, got {lag1}")
    k = np.arange(-REACH, REACH + 1)
    narrow, wide = 0.05, 10.0
    for _ in range(60):
        width = math.sqrt(narrow * wide)
        taps = np.exp(-0.5 * (k / width) ** 2)
        taps /= np.sqrt(taps @ taps)
        narrow, wide = (width, wide) if taps[1:] @ taps[:-1] < lag1 else (narrow, width)
    return taps if lag1 > 0 else (k == 0).astype(float)


def correlated(field, taps):
    """White noise turned into noise that neighbours share, of unit variance still.

    Parameters
    ----------
    field : torch.Tensor
        Standard normal, ``(batch, rows + 16, columns + 16)``: `REACH` more pixels on each side.
    taps : torch.Tensor
        ``(batch, 17)``, see `correlation_taps`, or ``(17,)`` for all images alike.

    Returns
    -------
    torch.Tensor
        ``(batch, rows, columns)``.
    """
    batch = field.shape[0]
    taps = taps.to(field).expand(batch, -1)
    # one image a group: every image has taps of its own
    out = torch.nn.functional.conv2d(field[None], taps[:, None, :, None], groups=batch)
    return torch.nn.functional.conv2d(out, taps[:, None, None, :], groups=batch)[0]
