# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Critical curves of a field on a grid, in pixels."""

import numpy as np
import torch

from lensing_sr.lensing.relens import sample_image, zero_contours

__all__ = ["critical_contours", "enclosed_area"]

# Curves smaller than this (in pixels) are not resolved: differences across the centre of a cusp make them up.
_SMALLEST = 4.0
# (pixels up to, how much finer): small maps are refined for smooth curves, large ones are smooth and would be slow.
_FINER = ((160**2, 4), (400**2, 2))


def critical_contours(kappa, gamma1, gamma2, kind):
    """Curves along which an eigenvalue of d beta / d theta vanishes.

    Parameters
    ----------
    kappa, gamma1, gamma2 : numpy.ndarray
        Convergence and shear, (ny, nx).
    kind : {"tangential", "radial"}
        1 - kappa - abs(gamma), or 1 - kappa + abs(gamma).

    Returns
    -------
    list of numpy.ndarray
        Curves (points, 2) of pixel positions (col, row); a closed one ends where it starts.
    """
    eigenvalue = 1.0 - kappa + (-1.0 if kind == "tangential" else 1.0) * np.hypot(gamma1, gamma2)
    finer = next((times for pixels, times in _FINER if eigenvalue.size <= pixels), 1)
    if finer > 1:
        row, col = (torch.arange(finer * (n - 1) + 1, dtype=torch.float64) / finer for n in eigenvalue.shape)
        row, col = torch.meshgrid(row, col, indexing="ij")
        eigenvalue = sample_image(torch.from_numpy(eigenvalue), col, row, "bicubic", "extrapolate").numpy()
    curves = (curve / finer for curve in zero_contours(eigenvalue))
    return [curve for curve in curves if np.ptp(curve, axis=0).max() >= _SMALLEST]


def enclosed_area(x, y):
    """Return the area within a closed curve, 0 for one that is open."""
    if x[0] != x[-1] or y[0] != y[-1]:
        return 0.0
    return 0.5 * abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])))
