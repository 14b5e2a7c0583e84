# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Least-squares fit of one blurred Sersic profile and a constant sky to an unlensed image."""

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.signal import fftconvolve

from lensing_sr.errors import FitError
from lensing_sr.light.sersic import sersic_brightness

__all__ = ["fit_sersic"]

# Two starts, an exponential and a concentrated profile: from one, the other's valley is not always found.
_STARTS = (1.0, 3.0)
_INDEX = (0.3, 9.0)
# Chi-square that a source must gain over the sky alone: blank noise gains less with seven parameters.
_LEAST_GAIN = 50.0
_ROUNDNESS = 0.7  # largest |e1| and |e2| that are tried: an axis ratio of 0.18 along the axes


def fit_sersic(data, noise, mask, grid, psf, supersampling):
    """Fit amplitude, r_eff, n, x, y, e1, e2 of a Sersic profile.

    Parameters
    ----------
    data : numpy.ndarray
        Image, (ny, nx).
    noise : numpy.ndarray or None
        Sigma of each pixel.
    mask : numpy.ndarray or None
        True where a pixel is ignored.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Its pixels.
    psf : `~lensing_sr.image.psf.PSF` or None
        What blurs it.
    supersampling : int
        Points a side in each pixel of the PSF's sampling.

    Returns
    -------
    dict of {str: float}
        amplitude (data unit per pixel), r_eff, n, x, y, e1, e2, in this order; lengths in arcsec.

    Raises
    ------
    FitError
        If fewer than 16 pixels are good, or nothing stands out of the sky.
    """
    good = np.isfinite(data) if mask is None else np.isfinite(data) & ~mask
    if good.sum() < 16:
        raise FitError(f"image: needs at least 16 good pixels for a Sersic fit, got {int(good.sum())}")
    weight = np.ones(data.shape) if noise is None else 1.0 / np.where(good, noise, 1.0)
    predict = _model(grid, psf, int(supersampling))
    r0, x0, y0, e1, e2 = _first_guess(np.where(good, data, np.nan), grid)
    pixel, size = grid.pixel_scale.value, grid.pixel_scale.value * max(grid.shape)
    left, right, bottom, top = grid.extent
    lower = [np.log(0.05 * pixel), np.log(_INDEX[0]), left, bottom, -_ROUNDNESS, -_ROUNDNESS]
    upper = [np.log(2.0 * size), np.log(_INDEX[1]), right, top, _ROUNDNESS, _ROUNDNESS]
    w, d = weight[good], (data * weight)[good]

    def solve(p):
        # amplitude and sky are linear: solved exactly for every shape that is tried
        columns = np.stack([predict(p)[good] * w, w], axis=1)
        linear = np.linalg.lstsq(columns, d, rcond=None)[0]
        return columns @ linear - d, linear[0]

    fits = []
    for n in _STARTS:
        start = np.clip([np.log(r0), np.log(n), x0, y0, e1, e2], np.add(lower, 1e-6), np.subtract(upper, 1e-6))
        scale = [0.3, 0.3, r0, r0, 0.1, 0.1]
        fits.append(least_squares(lambda p: solve(p)[0], start, bounds=(lower, upper), x_scale=scale, xtol=1e-10))
    best = min(fits, key=lambda fit: fit.cost)
    amplitude = solve(best.x)[1]
    residual = d - w * (d @ w) / (w @ w)
    gain = residual @ residual - 2.0 * best.cost
    scale = 1.0 if noise is not None else max(2.0 * best.cost / good.sum(), 1e-300)
    if not (amplitude > 0 and gain > _LEAST_GAIN * scale):
        raise FitError("image: nothing stands out of the sky for a Sersic fit; cut it out, or mask its neighbours")
    best = best.x
    r_eff, n = np.exp(best[:2])
    return dict(zip(("amplitude", "r_eff", "n", "x", "y", "e1", "e2"), map(float, (amplitude, r_eff, n, *best[2:]))))


def _model(grid, psf, supersampling):
    """Return the function from (ln r_eff, ln n, x, y, e1, e2) to the blurred image of unit brightness at r_eff."""
    oversampling = 1 if psf is None else psf.oversampling
    kernel = None if psf is None else psf.kernel_at(grid.pixel_scale.value, oversampling)
    factor = oversampling * supersampling
    fine = grid.upsampled(factor) if factor > 1 else grid
    x, y = (torch.from_numpy(c) for c in fine.coordinates())
    ny, nx = grid.shape

    def mean(light, by):
        rows, cols = light.shape
        return light.reshape(rows // by, by, cols // by, by).mean(axis=(1, 3))

    def predict(p):
        log_r, log_n, *rest = (torch.tensor(value, dtype=torch.float64) for value in p)
        one = torch.ones((), dtype=torch.float64)
        x0, y0, e1, e2 = rest
        light = sersic_brightness(x, y, one, log_r.exp(), log_n.exp(), e1, e2, x0, y0).numpy()
        light = mean(light, supersampling)
        if kernel is not None:
            light = fftconvolve(light, kernel, mode="same")
        return mean(light, oversampling).reshape(ny, nx)

    return predict


def _first_guess(data, grid):
    """Half-light radius, centre and ellipticity from the moments of what stands out of the sky."""
    ny, nx = data.shape
    rim = max(1, min(ny, nx) // 10)
    border = np.concatenate([data[:rim].ravel(), data[-rim:].ravel(), data[:, :rim].ravel(), data[:, -rim:].ravel()])
    sky = np.nanmedian(border) if np.isfinite(border).any() else 0.0
    spread = 1.4826 * np.nanmedian(np.abs(border - sky)) if np.isfinite(border).any() else 0.0
    excess = np.nan_to_num(data - sky)
    peak = excess.max()
    if not peak > 0:
        raise FitError("image: nothing stands out of the sky for a Sersic fit")
    light = np.where(excess > max(3.0 * spread, 0.02 * peak), excess, 0.0)
    x, y = grid.coordinates()
    if light.sum() == 0:
        light = np.where(excess == peak, 1.0, 0.0)
    light = light / light.sum()
    x0, y0 = (light * x).sum(), (light * y).sum()
    xx, yy, xy = ((light * a * b).sum() for a, b in ((x - x0, x - x0), (y - y0, y - y0), (x - x0, y - y0)))
    size = max(xx + yy, grid.pixel_area.value / 6.0)
    # moments give (1 - q^2) / (1 + q^2); half of that is close to (1 - q) / (1 + q)
    e1, e2 = 0.5 * (xx - yy) / size, xy / size
    return 0.7 * np.sqrt(size), x0, y0, e1, e2
