# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The smoothings whose differences are the scales of the starlet, the isotropic undecimated wavelet transform."""

import torch.nn.functional as functional

__all__ = ["smoothed"]

_B_SPLINE = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)


def smoothed(image, level):
    """Smooth with the cubic B-spline whose taps lie ``2**level`` pixels apart, reflecting at the edges.

    Parameters
    ----------
    image : torch.Tensor
        ``(images, rows, columns)``, more than ``2 * 2**level`` of either.
    level : int
        0 for the finest scale.

    Returns
    -------
    torch.Tensor
        Shaped alike; the flux of what is far from the edges is conserved.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.restore.starlet import smoothed
    >>> spot = torch.zeros(1, 9, 9)
    >>> spot[0, 4, 4] = 256.0
    >>> smoothed(spot, 0)[0, 4, 2:7].tolist()
    [6.0, 24.0, 36.0, 24.0, 6.0]
    """
    step = 2**level
    taps = image.new_tensor(_B_SPLINE)
    padded = functional.pad(image[:, None], (2 * step,) * 4, mode="reflect")
    rows = functional.conv2d(padded, taps[None, None, :, None], dilation=(step, 1))
    return functional.conv2d(rows, taps[None, None, None, :], dilation=(1, step))[:, 0]
