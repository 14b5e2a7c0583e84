# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How close an image is to the truth: mean squared error, PSNR and SSIM, over the image or over its arcs.

Every score takes images of shape ``(..., ny, nx)``, torch or numpy, and returns one number an image, of the same kind.
Nothing is rescaled: image and truth are compared in the same flux unit, and the truth alone sets the range.
"""

import numpy as np
import torch
import torch.nn.functional as functional

from lensing_sr.errors import InputError

__all__ = ["arc_mask", "mse", "psnr", "self_normalised", "ssim"]

# Constants of Wang et al. 2004, IEEE Transactions on Image Processing 13, 600
_K1, _K2 = 0.01, 0.03
_GAUSSIAN_SIGMA, _GAUSSIAN_RADIUS = 1.5, 5
_UNIFORM_RADIUS = 3


def _as_tensors(image, truth, mask):
    """Images as floating tensors of one type, and whether the caller works in numpy."""
    in_numpy = not isinstance(image, torch.Tensor) and not isinstance(truth, torch.Tensor)
    pair = (image, truth)
    tensors = [value if isinstance(value, torch.Tensor) else torch.from_numpy(_native(value)) for value in pair]
    if tensors[0].shape != tensors[1].shape or tensors[0].ndim < 2:
        rule = f"must have the shape of the truth, {tuple(tensors[1].shape)}, with two axes or more"
        raise InputError("image", rule, tuple(tensors[0].shape))
    kind = torch.promote_types(tensors[0].dtype, tensors[1].dtype)
    kind = kind if kind.is_floating_point else torch.float64
    image, truth = (value.to(dtype=kind, device=tensors[0].device) for value in tensors)
    if mask is not None:
        mask = torch.as_tensor(np.array(mask) if not isinstance(mask, torch.Tensor) else mask, dtype=torch.bool)
        try:
            mask = mask.to(image.device).expand(image.shape)
        except RuntimeError:
            raise InputError("mask", f"must fit images of shape {tuple(image.shape)}", tuple(mask.shape)) from None
        if not mask.flatten(-2).any(dim=-1).all():
            raise InputError("mask", "must select at least one pixel of each image (True = scored)")
    return image, truth, mask, in_numpy


def _native(value):
    """A writable copy in the machine's byte order: FITS data have the other one, which torch refuses."""
    value = np.array(value)
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def _mean(values, mask):
    if mask is None:
        return values.mean(dim=(-2, -1))
    # where, not a product: what is not scored may be NaN
    return torch.where(mask, values, 0.0).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1))


def _answer(value, in_numpy):
    return value.numpy()[()] if in_numpy else value


def _range(truth, data_range):
    """The range given, broadcast over images, or each truth's maximum."""
    if data_range is None:
        data_range = truth.amax(dim=(-2, -1))
    data_range = torch.as_tensor(data_range, dtype=truth.dtype, device=truth.device)
    if not (data_range > 0).all():
        raise InputError("data_range", "must be positive", remedy="the truth needs a positive peak, or give the range")
    return data_range


def mse(image, truth, *, mask=None):
    """Mean squared error, ``mean((image - truth)^2)``.

    Parameters
    ----------
    image, truth : torch.Tensor or numpy.ndarray
        Of shape ``(..., ny, nx)``, in the same flux unit.
    mask : torch.Tensor or numpy.ndarray, optional
        True where pixels are scored, a shape that broadcasts to theirs (say, `arc_mask`).

    Returns
    -------
    torch.Tensor or numpy.ndarray
        One number an image, shape ``(...)``, in the flux unit squared.

    Raises
    ------
    InputError
        If the shapes differ or the mask selects no pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.scores import mse
    >>> mse(np.zeros((2, 2)), np.array([[0.0, 2.0], [0.0, 0.0]]))
    np.float64(1.0)
    """
    image, truth, mask, in_numpy = _as_tensors(image, truth, mask)
    return _answer(_mean((image - truth) ** 2, mask), in_numpy)


def psnr(image, truth, *, data_range=None, mask=None):
    """Peak signal-to-noise ratio in dB, ``10 log10(range^2 / mse)``.

    Parameters
    ----------
    image, truth : torch.Tensor or numpy.ndarray
        Of shape ``(..., ny, nx)``, in the same flux unit.
    data_range : float or array, optional
        The peak, one for all or one an image; by default each truth's maximum.  With the noise-free truth this is the
        fair PSNR of the benchmarks.
    mask : torch.Tensor or numpy.ndarray, optional
        True where pixels are scored, a shape that broadcasts to theirs.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        One number an image, shape ``(...)``; infinite for identical images.

    Raises
    ------
    InputError
        If the shapes differ, the mask selects no pixel or the range is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.scores import psnr
    >>> truth = np.array([[0.0, 1.0], [0.0, 0.0]])
    >>> round(float(psnr(truth + 0.1, truth)), 6)
    20.0
    """
    image, truth, mask, in_numpy = _as_tensors(image, truth, mask)
    data_range = _range(truth, data_range)
    return _answer(10 * torch.log10(data_range**2 / _mean((image - truth) ** 2, mask)), in_numpy)


def _window(kind, like):
    if kind == "gaussian":
        radius, sigma = _GAUSSIAN_RADIUS, _GAUSSIAN_SIGMA
        position = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
        taps = torch.exp(-0.5 * (position / sigma) ** 2)
        return taps / taps.sum(), radius
    if kind == "uniform":
        size = 2 * _UNIFORM_RADIUS + 1
        return torch.full((size,), 1 / size, dtype=like.dtype, device=like.device), _UNIFORM_RADIUS
    raise InputError("window", "must be 'gaussian' or 'uniform'", repr(kind))


def _local_means(stack, taps):
    rows = functional.conv2d(stack[:, None], taps[None, None, :, None])
    return functional.conv2d(rows, taps[None, None, None, :])[:, 0]


def ssim(image, truth, *, data_range=None, mask=None, window="gaussian"):
    r"""Mean structural similarity (Wang et al. 2004).

    .. math:: \frac{2 \mu_a \mu_b + C_1}{\mu_a^2 + \mu_b^2 + C_1}\,
              \frac{2 \sigma_{ab} + C_2}{\sigma_a^2 + \sigma_b^2 + C_2}

    averaged over the windows that lie inside the image; C1 = (0.01 range)^2, C2 = (0.03 range)^2.

    Parameters
    ----------
    image, truth : torch.Tensor or numpy.ndarray
        Of shape ``(..., ny, nx)``, in the same flux unit, at least as wide as the window.
    data_range : float or array, optional
        The range of values, one for all or one an image; by default each truth's maximum.
    mask : torch.Tensor or numpy.ndarray, optional
        True where window centres are scored, a shape that broadcasts to theirs.
    window : {"gaussian", "uniform"}
        11 x 11 Gaussian of sigma 1.5 with population (co)variances, as published; or 7 x 7 uniform with sample
        (co)variances, the default of scikit-image.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        One number an image, shape ``(...)``; 1 for identical images.

    Raises
    ------
    InputError
        If the shapes differ, the images are smaller than the window, the mask selects no pixel or the range is not
        positive.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.scores import ssim
    >>> image = np.outer(np.arange(16.0), np.arange(16.0))
    >>> round(float(ssim(image, image)), 6)
    1.0
    """
    image, truth, mask, in_numpy = _as_tensors(image, truth, mask)
    taps, radius = _window(window, truth)
    ny, nx = truth.shape[-2:]
    if min(ny, nx) <= 2 * radius:
        raise InputError("image", f"must be at least {2 * radius + 1} pixels wide for this window", (ny, nx))
    data_range = _range(truth, data_range)[..., None, None]
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    batch = truth.shape[:-2]
    stack = torch.stack([image, truth, image * image, truth * truth, image * truth])
    means = _local_means(stack.reshape(-1, ny, nx), taps).reshape(5, *batch, ny - 2 * radius, nx - 2 * radius)
    a, b = means[0], means[1]
    pixels = taps.numel() ** 2
    unbias = pixels / (pixels - 1) if window == "uniform" else 1.0
    aa, bb, ab = unbias * (means[2] - a * a), unbias * (means[3] - b * b), unbias * (means[4] - a * b)
    similarity = (2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2))
    if mask is not None:
        mask = mask[..., radius : ny - radius, radius : nx - radius]
        if not mask.flatten(-2).any(dim=-1).all():
            raise InputError("mask", "must select at least one window inside each image (True = scored)")
    return _answer(_mean(similarity, mask), in_numpy)


def arc_mask(truth, fraction=0.05):
    """Where the arcs are: pixels above a fraction of the truth's peak, so that no method has a say in it.

    Parameters
    ----------
    truth : torch.Tensor or numpy.ndarray
        Noise-free lensed light of shape ``(..., ny, nx)``.
    fraction : float
        Of each image's peak.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Boolean, same shape; True on the arcs.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.scores import arc_mask
    >>> arc_mask(np.array([[0.0, 1.0], [0.04, 0.2]])).tolist()
    [[False, True], [False, True]]
    """
    peak = truth.amax(dim=(-2, -1), keepdim=True) if isinstance(truth, torch.Tensor) else _peak(truth)
    return truth > fraction * peak


def _peak(truth):
    return np.max(truth, axis=(-2, -1), keepdims=True)


def self_normalised(image):
    """Stretch each image to [0, 1] by its own extremes, as the published scores of the reference method do.

    A score of self-normalised images does not see flux errors, and against a noisy truth it does not even rank them:
    use it only to compare with publications.

    Parameters
    ----------
    image : torch.Tensor or numpy.ndarray
        Of shape ``(..., ny, nx)``, not constant.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Same shape and kind.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.metrics.scores import self_normalised
    >>> self_normalised(np.array([[1.0, 3.0], [2.0, 1.0]])).tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    """
    if isinstance(image, torch.Tensor):
        low, high = image.amin(dim=(-2, -1), keepdim=True), image.amax(dim=(-2, -1), keepdim=True)
    else:
        low, high = np.min(image, axis=(-2, -1), keepdims=True), _peak(image)
    return (image - low) / (high - low)
