# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Kernels of point-spread functions with a formula, on pixels of any size.

Both profiles are sampled at pixel centres, so that they tell what falls on the pixels; the pixels' own response is no
part of them.  Plain numpy: simulations and training use these without astropy.
"""

import math

import numpy as np

from lensing_sr.errors import InputError

__all__ = ["gaussian_kernel", "moffat_kernel", "psf_kernel"]

SIGMA = 1.0 / np.sqrt(8.0 * np.log(2.0))  # sigma of a Gaussian of unit FWHM


def gaussian_kernel(fwhm, pixel, truncation=5.0):
    r"""Gaussian on square pixels.

    .. math:: P(r) \propto e^{-r^2 / 2\sigma^2}, \qquad \sigma = {\rm FWHM} / \sqrt{8 \ln 2}

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, arcsec.
    pixel : float
        Side of a pixel, arcsec.
    truncation : float
        Half-side of the kernel in sigma, rounded up to whole pixels.

    Returns
    -------
    numpy.ndarray
        (k, k) float64, k odd, sum 1.

    Raises
    ------
    lensing_sr.errors.InputError
        If a number is not positive and finite.

    Examples
    --------
    >>> from lensing_sr.image.kernels import gaussian_kernel
    >>> kernel = gaussian_kernel(0.1, 0.025)
    >>> kernel.shape, round(float(kernel.sum()), 12)
    ((19, 19), 1.0)
    """
    _check_positive(fwhm=fwhm, pixel=pixel, truncation=truncation)
    sigma = fwhm * SIGMA / pixel
    half = math.ceil(truncation * sigma)
    profile = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel = np.outer(profile, profile)
    return kernel / kernel.sum()


def moffat_kernel(fwhm, beta, pixel, enclosed=0.995, largest=10.0):
    r"""Moffat profile on square pixels.

    .. math:: P(r) \propto \left[1 + (r/a)^2\right]^{-\beta}, \qquad a = \frac{\rm FWHM}{2\sqrt{2^{1/\beta} - 1}}

    Half of the kernel's side is the radius that holds the fraction ``enclosed`` of the light,
    :math:`a\,[(1 - f)^{-1/(\beta - 1)} - 1]^{1/2}`, but at most ``largest`` FWHM: with :math:`\beta` near 1 the wings
    have no end.  What lies beyond is given to the rest, so that the kernel keeps the flux.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, arcsec.
    beta : float
        Exponent, above 1; small ones have wide wings.
    pixel : float
        Side of a pixel, arcsec.
    enclosed : float
        Fraction of the light within the kernel, between 0 and 1.
    largest : float
        Half-side in FWHM that the kernel does not exceed.

    Returns
    -------
    numpy.ndarray
        (k, k) float64, k odd, sum 1.

    Raises
    ------
    lensing_sr.errors.InputError
        If a number is not positive and finite, ``beta`` not above 1, or ``enclosed`` not below 1.

    References
    ----------
    Moffat 1969, A&A 3, 455.

    Examples
    --------
    >>> from lensing_sr.image.kernels import moffat_kernel
    >>> kernel = moffat_kernel(0.13, 1.71, 0.05)
    >>> kernel.shape, round(float(kernel.sum()), 12)
    ((53, 53), 1.0)
    """
    _check_positive(fwhm=fwhm, beta=beta, pixel=pixel, enclosed=enclosed, largest=largest)
    if beta <= 1:
        raise InputError("beta", "must be above 1: wider wings hold infinite light", f"{beta:g}")
    if enclosed >= 1:
        raise InputError("enclosed", "must be below 1: the wings have no end", f"{enclosed:g}")
    scale = fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / beta) - 1.0))
    # in logarithms, where a beta near 1 would overflow
    exponent = -math.log1p(-enclosed) / (beta - 1.0)
    radius = scale * math.sqrt(math.expm1(exponent)) if exponent < 700.0 else math.inf
    half = math.ceil(min(radius, largest * fwhm) / pixel)
    square = (np.arange(-half, half + 1) * (pixel / scale)) ** 2
    kernel = (1.0 + square[:, None] + square) ** -beta
    return kernel / kernel.sum()


def psf_kernel(instrument, pixel):
    """Kernel of an instrument's point-spread function.

    Parameters
    ----------
    instrument : `~lensing_sr.instruments.load.Instrument`
        Anything with ``psf_profile``, ``psf_fwhm`` and ``psf_beta``.
    pixel : float
        Side of a pixel of the kernel, arcsec.

    Returns
    -------
    numpy.ndarray or None
        (k, k) float64, k odd, sum 1; None for an instrument that does not blur.

    Raises
    ------
    lensing_sr.errors.InputError
        As `gaussian_kernel` and `moffat_kernel`.

    Examples
    --------
    >>> from lensing_sr.image.kernels import psf_kernel
    >>> from lensing_sr.instruments import load_instrument
    >>> psf_kernel(load_instrument("model-2"), 0.101).shape
    (9, 9)
    >>> psf_kernel(load_instrument("model-1"), 0.05) is None
    True
    """
    if instrument.psf_profile == "none":
        return None
    if instrument.psf_profile == "moffat":
        return moffat_kernel(instrument.psf_fwhm, instrument.psf_beta, pixel)
    return gaussian_kernel(instrument.psf_fwhm, pixel)


def _check_positive(**numbers):
    for name, value in numbers.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(name, "must be positive and finite", f"{value}")
