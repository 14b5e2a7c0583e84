# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Grids of other scales that share the detector's edges, and what a deflection is on them."""

import math
from functools import lru_cache

import numpy as np

from lensing_sr.metrics.interpolation import fine_length

__all__ = ["FINE", "centre_matrix", "grid_length"]

#: Fine pixels a detector pixel: the grid on which deflections are predicted.
FINE = 2


def grid_length(n, scale):
    """Pixels along an axis of a grid of another scale; a coarse pixel that the detector does not fill is left out.

    Parameters
    ----------
    n : int
        Detector pixels.
    scale : float
        Pixels of the grid a detector pixel.

    Returns
    -------
    int

    Examples
    --------
    >>> from lensing_sr.losses.grids import grid_length
    >>> grid_length(75, 2), grid_length(75, 0.5)
    (150, 37)
    """
    return fine_length(n, scale) if scale >= 1 else math.floor(n * scale + 1e-9)


@lru_cache(maxsize=64)
def centre_matrix(n, scale, margin=0):
    r"""Interpolation along one axis from the fine grid to the pixel centres of another that shares its edges.

    Cubic (Catmull-Rom): exact for parabolas, so that a deflection at the centre of a detector pixel is better than the
    mean of the four fine pixels in it, which is off by :math:`h^2 \alpha'' / 8`.

    Parameters
    ----------
    n : int
        Detector pixels along the axis; there are 2 n fine ones.
    scale : float
        Pixels of the other grid a detector pixel.
    margin : int
        Pixels of the other grid to add on each side, where the field's edge is repeated.

    Returns
    -------
    numpy.ndarray
        Read-only, ``(length + 2 margin, 2 n)``.

    Examples
    --------
    >>> from lensing_sr.losses.grids import centre_matrix
    >>> (16 * centre_matrix(4, 1)[1]).tolist()
    [0.0, -1.0, 9.0, 9.0, -1.0, 0.0, 0.0, 0.0]
    """
    index = np.arange(-margin, grid_length(n, scale) + margin)
    size = FINE * n
    position = np.clip((index + 0.5) * (FINE / scale) - 0.5, -0.5, size - 0.5)
    first = np.clip(np.floor(position).astype(int), -1, size - 1)
    t = position - first
    taps = np.stack(
        [
            ((2.0 - t) * t - 1.0) * t * 0.5,
            ((3.0 * t - 5.0) * t * t + 2.0) * 0.5,
            ((4.0 - 3.0 * t) * t + 1.0) * t * 0.5,
            (t - 1.0) * t * t * 0.5,
        ]
    )
    # two columns more on each side, then folded back as a straight continuation
    wide = np.zeros((len(index), size + 4))
    for k in range(4):
        wide[np.arange(len(index)), first + 1 + k] = taps[k]
    matrix = wide[:, 2:-2].copy()
    for far, end, next_ in ((0, 0, 1), (-1, -1, -2)):
        matrix[:, end] += 2.0 * wide[:, 1 if far == 0 else -2] + 3.0 * wide[:, far]
        matrix[:, next_] -= wide[:, 1 if far == 0 else -2] + 2.0 * wide[:, far]
    matrix.setflags(write=False)
    return matrix
