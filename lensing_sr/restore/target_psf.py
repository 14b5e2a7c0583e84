# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The point-spread function of the super-resolved image: always stated, never an infinite resolution by silence.

By default it is that of the same optics at the finer sampling.  The model is evaluated with it directly.  The restored
residual comes from the data and so carries the PSF of the data: `matching_kernel` blurs it further where the target is
wider, and leaves it as it is where the target is sharper, for a residual is never sharpened.
"""

import numpy as np
import torch
import torch.nn.functional as functional
from astropy import units as u

from lensing_sr.errors import InputError, PSFError
from lensing_sr.forward.convolve import Convolver
from lensing_sr.image.psf import PSF

__all__ = ["blur", "matching_kernel", "target_kernel"]

# Relative to its peak at zero frequency, a transfer function below this says nothing: dividing by it would only
# amplify rounding.  A Gaussian falls below it at frequencies that a pixel of 0.4 FWHM no longer samples.
_TRANSFER_FLOOR = 1e-3


def target_kernel(target_psf, psf, pixel_scale, scale):
    """Kernel of the output image, on its own pixels.

    Parameters
    ----------
    target_psf : "same", `~astropy.units.Quantity`, `~lensing_sr.image.psf.PSF` or array
        "same": the optics of the input at the finer sampling (a kernel given at another sampling is interpolated by a
        cubic spline, or binned).  A Quantity: FWHM of a Gaussian.  An array: a kernel on the fine output pixels.
    psf : `~lensing_sr.image.psf.PSF` or None
        PSF of the input; None if unknown.
    pixel_scale : float
        Size of an input pixel in arcsec.
    scale : float
        Output pixels an input pixel.

    Returns
    -------
    kernel : numpy.ndarray or None
        Odd, square, sum 1; None where "same" is asked for and the PSF of the input is unknown.
    statement : str
        What it is, for the history of the result.

    Raises
    ------
    PSFError
        If the target is no usable PSF.

    Examples
    --------
    >>> import astropy.units as u
    >>> from lensing_sr.restore.target_psf import target_kernel
    >>> kernel, statement = target_kernel(0.1 * u.arcsec, None, 0.05, 2)
    >>> round(float(kernel.sum()), 6)
    1.0
    >>> statement
    'output PSF: Gaussian of FWHM 0.1 arcsec'
    """
    if isinstance(target_psf, str):
        if target_psf != "same":
            raise PSFError("target_psf", "must be 'same', a FWHM as a Quantity, or a kernel", repr(target_psf))
        if psf is None:
            return None, "output PSF: unknown, as that of the input"
        if psf.kernel is None:
            return psf.kernel_at(pixel_scale, scale), f"output PSF: that of the input, {psf.profile}"
        how = "as given" if psf.oversampling == scale else "resampled to the output pixels"
        return psf.kernel_at(pixel_scale, scale), f"output PSF: that of the input, kernel {how}"
    if isinstance(target_psf, u.Quantity) and target_psf.isscalar:
        fwhm = _fwhm(target_psf)
        return PSF.from_fwhm(fwhm).kernel_at(pixel_scale, scale), f"output PSF: Gaussian of FWHM {fwhm:g}"
    if isinstance(target_psf, PSF):
        return target_psf.kernel_at(pixel_scale, scale), "output PSF: the given one"
    # "oversampling" of a kernel on the output pixels is the scale itself, and the kernel is taken as it is
    return PSF.from_kernel(target_psf).kernel, "output PSF: the given kernel"


def _fwhm(quantity):
    try:
        fwhm = quantity.to(u.arcsec)
    except u.UnitConversionError:
        raise PSFError("target_psf", "must be an angle", quantity, "give the FWHM in arcsec") from None
    if not (np.isfinite(fwhm) and fwhm > 0):
        raise PSFError("target_psf", "must be a positive FWHM", quantity)
    return fwhm


def matching_kernel(kernel, target):
    r"""Kernel that turns one PSF into a wider one: :math:`\hat m = \hat t \hat k^* / |\hat k|^2`, nowhere above one.

    Where the target passes more than the PSF does (a sharper target), the kernel amplifies nothing.

    Parameters
    ----------
    kernel, target : numpy.ndarray
        Odd square kernels of sum 1 on the same pixels.

    Returns
    -------
    numpy.ndarray
        Odd square kernel of sum 1.

    Raises
    ------
    InputError
        If a kernel is not odd and square.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.restore.target_psf import matching_kernel
    >>> narrow = np.array([[0, 0, 0], [0, 1.0, 0], [0, 0, 0]])
    >>> matching_kernel(narrow, np.full((3, 3), 1 / 9)).round(3)[2:5, 2:5].tolist()
    [[0.111, 0.111, 0.111], [0.111, 0.111, 0.111], [0.111, 0.111, 0.111]]
    """
    for name, value in (("kernel", kernel), ("target", target)):
        if value.ndim != 2 or value.shape[0] != value.shape[1] or value.shape[0] % 2 == 0:
            raise InputError(name, "must be odd and square", value.shape)
    # wide enough that the answer, which is no wider than the target and its wings, does not wrap around
    size = kernel.shape[0] + target.shape[0] + 1
    size += 1 - size % 2
    transfer, wanted = (np.fft.rfft2(np.fft.ifftshift(_padded(value, size))) for value in (kernel, target))
    ratio = wanted * transfer.conj() / np.maximum(np.abs(transfer) ** 2, _TRANSFER_FLOOR**2)
    ratio /= np.maximum(np.abs(ratio), 1)
    matched = np.fft.fftshift(np.fft.irfft2(ratio, s=(size, size)))
    return matched / matched.sum()


def _padded(kernel, size):
    return np.pad(kernel, (size - kernel.shape[0]) // 2)


def blur(image, kernel):
    """Convolve images with a kernel, dark beyond their edges.

    Parameters
    ----------
    image : torch.Tensor
        Of shape ``(batch, ny, nx)``.
    kernel : numpy.ndarray
        Odd and square.

    Returns
    -------
    torch.Tensor
        Same shape.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from lensing_sr.restore.target_psf import blur
    >>> blur(torch.ones(1, 5, 5), np.full((3, 3), 1 / 9))[0, 2, 2]
    tensor(1.)
    """
    margin = kernel.shape[-1] // 2
    convolver = Convolver(torch.as_tensor(kernel).to(image), image.shape[-2:])
    return convolver.forward(functional.pad(image, (margin,) * 4))
