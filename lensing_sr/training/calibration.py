# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From what a detector wrote to flux without sky, and the sigma of each pixel as an observer estimates it."""

import functools
import math

import torch
from torch.nn.functional import conv2d, pad

__all__ = ["calibrated"]

#: Steps to find which flux, once clipped, gives the mean that is seen.
CLIPPING_STEPS = 2
#: Pixels of the Gaussian that smooths an image before its own noise is read from it.
SMOOTHING = 1.0


@functools.cache
def _smoothing_kernel():
    taps = torch.exp(-0.5 * (torch.arange(-4, 5, dtype=torch.float64) / SMOOTHING) ** 2)
    return taps / taps.sum()


def _smoothed(image):
    """Gaussian of `SMOOTHING` pixels, the border continued by its own value."""
    taps = _smoothing_kernel().to(image)
    image = pad(image[:, None], (4, 4, 4, 4), mode="replicate")
    return conv2d(conv2d(image, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]


def _clipped(flux, sigma):
    """Mean and variance of a Gaussian about a flux where everything below zero is taken for zero."""
    z = flux / sigma
    below, density = torch.special.ndtr(z), torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    mean = flux * below + sigma * density
    return mean, (flux * flux + sigma * sigma) * below + flux * sigma * density - mean * mean


def calibrated(image, exposure, background, *, clipped_sky=False, photon_draws=1):
    r"""Sky-free flux, and the sigma of each pixel as an observer estimates it from the image itself.

    .. math:: \sigma^2 = \sigma_b^2 + k \max(\bar f, 0) / t

    with :math:`\bar f` the image smoothed by a Gaussian of one pixel: read from single pixels, the noise of each would
    enter its own weight, and faint ones would weigh too much.

    A sky that was clipped at zero before its photons were counted is brighter in the mean, and quieter, than it was.
    With :math:`z = f / \sigma_b`, normal density :math:`\phi` and distribution :math:`\Phi`,

    .. math:: m = f\,\Phi(z) + \sigma_b\,\phi(z), \qquad
              \sigma_c^2 = (f^2 + \sigma_b^2)\,\Phi(z) + f \sigma_b\,\phi(z) - m^2 .

    What clipping added, m - f with f from :math:`m = \bar f`, is taken off: :math:`\sigma_b / \sqrt{2 \pi}` in blank
    sky, nothing in bright pixels (that constant everywhere would leave the arcs too faint by 0.4 sigma).  The noise is
    then :math:`\sigma^2 = \sigma_c^2 + k\,m / t`.

    Parameters
    ----------
    image : torch.Tensor
        ``(n, rows, columns)``, flux in counts or electrons per second.
    exposure : torch.Tensor
        t, ``(n,)``, seconds.
    background : torch.Tensor
        :math:`\sigma_b`, ``(n,)``, rms of the blank sky, unit of the image.
    clipped_sky : bool
        Whether the sky was clipped.
    photon_draws : int
        k, how often photon noise was drawn: 1 in nature, 2 in Model 1 of the reference.

    Returns
    -------
    flux, noise : torch.Tensor
        Shaped as the image, float32.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.training.calibration import calibrated
    >>> blank, one = torch.full((1, 8, 8), 0.0039894), torch.ones(1)
    >>> flux, noise = calibrated(blank, 1000 * one, 0.01 * one, clipped_sky=True)
    >>> bool(flux.abs().max() < 1e-6), round(float(noise[0, 0, 0]), 4)
    (True, 0.0062)
    """
    image = image.double()
    time, sigma = (value.to(image)[:, None, None] for value in (exposure, background))
    smooth = _smoothed(image)
    if clipped_sky:
        flux = (smooth - sigma / math.sqrt(2.0 * math.pi)).clamp_min(0.0)
        for _ in range(CLIPPING_STEPS):
            flux = (flux + smooth - _clipped(flux, sigma)[0]).clamp_min(0.0)
        photons, variance = _clipped(flux, sigma)
        image = image - (photons - flux)
    else:
        photons, variance = smooth.clamp_min(0.0), sigma * sigma
    return image.float(), (variance + photon_draws * photons / time).sqrt().float()
