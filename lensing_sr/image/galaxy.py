# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The lens galaxy, roughly: where it is, its ellipse, and a smooth model that arcs do not pull up.

A preparation, not the fit: no PSF, no lensing; fractions of a second.  Pure functions of arrays in pixels.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

__all__ = ["GalaxyModel", "adaptive_moments", "arc_residual", "fit_galaxy", "moments_near"]

#: Error of the model relative to itself: cores have cusps, discs and a PSF that it does not know.
MODEL_ERROR = 0.05
#: Smoothed residual, in sigma, above which a pixel is not the galaxy's.
CLIP = 2.5
_GAUSSIANS = 11
_ITERATIONS = 8


@dataclass
class GalaxyModel:
    """Smooth model of the lens galaxy.

    Attributes
    ----------
    image : numpy.ndarray
        (ny, nx) light of the galaxy, without sky.
    sky : float
        Constant that came with it.
    centre : tuple of float
        (column, row) in pixels.
    ellipticity : tuple of float
        (e1, e2) = (1 - q) / (1 + q) (cos 2 phi, sin 2 phi).
    half_light_radius : float
        In pixels, on the intermediate axis.
    residual : numpy.ndarray
        (ny, nx) image less galaxy and sky, over the noise and the model's own error; 0 where masked.
    """

    image: np.ndarray
    sky: float
    centre: tuple
    ellipticity: tuple
    half_light_radius: float
    residual: np.ndarray


def adaptive_moments(data, mask, centre, size=3.0, *, fixed=False, iterations=20):
    r"""Centroid, ellipticity and size of the light about a position, under a Gaussian window of matching shape.

    Parameters
    ----------
    data : numpy.ndarray
        (ny, nx) image without sky.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    centre : tuple of float
        First guess (column, row).
    size : float
        First guess of the rms size in pixels.
    fixed : bool
        Whether the window keeps that size, and its centre: then only the ellipticity is measured.
    iterations : int
        At most.

    Returns
    -------
    centre : tuple of float
        (column, row); the first guess where there is no light to follow.
    ellipticity : tuple of float
        (e1, e2) = (1 - q) / (1 + q) (cos 2 phi, sin 2 phi), at most 0.6 long.
    size : float
        rms size in pixels, geometric mean of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.galaxy import adaptive_moments
    >>> y, x = np.mgrid[:41, :41]
    >>> light = np.exp(-0.5 * (((x - 21.3) / 4) ** 2 + ((y - 19.2) / 2) ** 2))
    >>> (x0, y0), (e1, e2), size = adaptive_moments(light, np.zeros((41, 41), bool), (20, 20))
    >>> round(x0, 2), round(y0, 2), round(e1, 2), round(size, 2)
    (21.3, 19.2, 0.33, 2.83)
    """
    rows, columns = np.indices(data.shape)
    x0, y0 = start = (float(centre[0]), float(centre[1]))
    covariance = np.eye(2) * size**2
    light = np.where(mask, 0.0, data)
    for _ in range(iterations):
        reach = int(4 * np.sqrt(np.trace(covariance))) + 2
        part = tuple(slice(max(0, int(c) - reach), int(c) + reach + 1) for c in (y0, x0))
        dx, dy = columns[part] - x0, rows[part] - y0
        inverse = np.linalg.inv(covariance)
        window = np.exp(-0.5 * (inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2))
        weight = light[part] * window
        total = weight.sum()
        if not total > 0:
            return start, (0.0, 0.0), float(size)
        # a Gaussian under a Gaussian window of its own shape has half of its shift and of its covariance left
        mx, my = (weight * dx).sum() / total, (weight * dy).sum() / total
        if fixed:
            mx, my = 0.0, 0.0
        x0, y0 = x0 + 2 * mx, y0 + 2 * my
        second = np.array(
            [[(weight * a * b).sum() / total - m * n for b, n in ((dx, mx), (dy, my))] for a, m in ((dx, mx), (dy, my))]
        )
        covariance, previous = _bounded(2.0 * second, size), covariance
        if fixed:
            covariance *= size**2 / np.sqrt(np.linalg.det(covariance))
        if np.hypot(x0 - start[0], y0 - start[1]) > 4.0 * size + 3.0:
            return start, (0.0, 0.0), float(size)
        if np.abs(covariance - previous).max() < 1e-3 * np.trace(covariance):
            break
    values, vectors = np.linalg.eigh(covariance)
    q = float(np.sqrt(values[0] / values[1]))
    phi = np.arctan2(vectors[1, 1], vectors[0, 1])
    e = (1 - q) / (1 + q)
    return (
        (float(x0), float(y0)),
        (float(e * np.cos(2 * phi)), float(e * np.sin(2 * phi))),
        float(np.prod(values) ** 0.25),
    )


def moments_near(data, mask, centre, size=3.0):
    """As `adaptive_moments`, but of what is within ``size`` of the position: light further off, an arc, draws it not.

    Parameters
    ----------
    data, mask, centre, size
        As there.

    Returns
    -------
    centre, ellipticity, size
        As there; where the centroid is further away, the position itself, under a window that stays there.
    """
    found = adaptive_moments(data, mask, centre, size)
    if np.hypot(found[0][0] - centre[0], found[0][1] - centre[1]) > size:
        return tuple(centre), *adaptive_moments(data, mask, centre, size, fixed=True)[1:]
    return found


def _bounded(covariance, size):
    """The covariance with axes of 0.6 pixels to four times the first guess, and an axis ratio above 0.25."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    high = np.clip(values[1], 0.36, 16 * size**2)
    low = np.clip(values[0], max(0.36, 0.0625 * high), high)
    return (vectors * np.array([low, high])) @ vectors.T


def _elliptical(shape, centre, ellipticity):
    """Radius on the intermediate axis, and cos and sin of twice the angle, about a centre."""
    rows, columns = np.indices(shape, sparse=True)
    z = (columns - centre[0]) + 1j * (rows - centre[1])
    e = complex(*ellipticity)
    w = z - e * z.conj()
    r2 = (w.real**2 + w.imag**2) / (1.0 - abs(e) ** 2)
    square = w * w
    return r2, square.real / np.maximum(np.abs(square), 1e-9), square.imag / np.maximum(np.abs(square), 1e-9)


def fit_galaxy(data, noise, mask, centre, *, ellipticity=None, size=3.0, sky=None, held=False):
    r"""Smooth model of the galaxy at a position, insensitive to arcs and neighbours.

    .. math:: m = d_0 + \sum_k \left(a_k + (b_k \cos 2\varphi + c_k \sin 2\varphi) \frac{r^2}{r^2 + \sigma_k^2}\right)
              e^{-r^2 / 2 \sigma_k^2}, \quad a_k \ge 0

    in elliptical coordinates: the brightness falls outwards (so that a ring is left over), the isophotes may twist.
    Solved by weighted least squares; pixels whose smoothed residual stands out *above* the model lose their weight, at
    first above the faint half of each annulus, then above the model itself.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image and sigma map.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    centre : tuple of float
        (column, row) of the galaxy, in pixels; refined by moments.
    ellipticity : tuple of float, optional
        (e1, e2); by default from moments.
    size : float
        First guess of its core's size in pixels.
    sky : float, optional
        Level of the sky; by default solved for.
    held : bool
        Whether the galaxy stays at that position, though brighter light beside it may draw the moments away.

    Returns
    -------
    GalaxyModel
    """
    good = ~mask & np.isfinite(data) & np.isfinite(noise) & (noise > 0)
    data = np.where(good, data, 0.0)
    level = float(np.percentile(data[good], 20)) if sky is None else sky
    if held:
        _, shape, core = adaptive_moments(data - level, ~good, centre, size, fixed=True)
    else:
        centre, shape, core = moments_near(data - level, ~good, centre, size)
    widths = np.geomspace(0.7, 0.35 * min(data.shape), _GAUSSIANS)
    if ellipticity is None:
        shapes = _ellipticities(data - level, good, centre, widths, core, shape)
    else:
        shapes, shape = [ellipticity] * _GAUSSIANS, ellipticity
    r2, columns, free = _columns(data.shape, centre, widths, shapes, sky is None)
    # all of the centre but only every fourth pixel of the rest: enough for what is smooth
    use = good & ((r2 < 30.0**2) | _every_second(data.shape))
    used = columns[use.ravel()]
    sigma = np.where(good, noise, np.inf)
    model = _faint_half(np.where(good, data - level, np.nan), r2) + level
    for _ in range(_ITERATIONS):
        error = np.hypot(sigma, MODEL_ERROR * np.abs(model - level))
        ratio = np.where(good, (data - model) / error, 0.0)
        smooth = 2.0 * ndimage.gaussian_filter(ratio, 1.2, mode="nearest")
        kept = (smooth[use] < CLIP) & (ratio[use] < 4.0)
        weight = kept / error[use]
        amplitudes = _solve(used * weight[:, None], (data[use] - (sky or 0.0)) * weight, free)
        model = (columns @ amplitudes).reshape(data.shape) + (sky or 0.0)
        if sky is None:
            level = float(amplitudes[-1])
    image = model - level
    residual = np.where(good, (data - model) / np.hypot(sigma, MODEL_ERROR * image), 0.0)
    return GalaxyModel(image, level, centre, shape, _half_light(image, r2), residual)


def _every_second(shape):
    grid = np.zeros(shape, dtype=bool)
    grid[::2, ::2] = True
    return grid


def _columns(shape, centre, widths, ellipticities, sky):
    """Squared radius, columns of the model ``(pixels, n)``, and which of them may be negative."""
    rounds, twists = [], []
    for k, (width, ellipticity) in enumerate(zip(widths, ellipticities, strict=True)):
        r2, cosine, sine = (part.ravel() for part in _elliptical(shape, centre, ellipticity))
        light = np.exp(-0.5 * r2 / width**2)
        rounds.append(light)
        if k >= 3 and k % 2:
            bend = light * r2 / (r2 + width**2)
            twists += [cosine * bend, sine * bend]
        if k == len(widths) // 2:
            radius = r2.reshape(shape)
    constant = [np.ones(radius.size)] if sky else []
    free = np.array([False] * len(rounds) + [True] * (len(twists) + len(constant)))
    return radius, np.stack(rounds + twists + constant, axis=1), free


def _ellipticities(light, good, centre, widths, core, shape):
    """Ellipticity of the galaxy at the size of each Gaussian; what is not symmetric about the centre is ignored."""
    faint = _symmetric(light, good, centre)
    e, found = shape, []
    for width in widths:
        if width > 1.2 * core:
            e = adaptive_moments(faint, np.zeros_like(good), centre, width, fixed=True)[1]
        found.append(e)
    return found


def _symmetric(light, good, centre):
    """The fainter of each pixel and its image through the centre."""
    rows, columns = np.indices(light.shape)
    column, row = (np.rint(2 * c - axis).astype(int) for c, axis in zip(centre, (columns, rows), strict=True))
    inside = (column >= 0) & (column < light.shape[1]) & (row >= 0) & (row < light.shape[0])
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    faint = np.where(good, light, np.inf)
    faint = np.minimum(faint, np.where(inside, faint[row, column], np.inf))
    return np.where(np.isfinite(faint), faint, 0.0)


def _solve(matrix, target, free):
    """Least squares with all but the free amplitudes non-negative, and a trace of damping."""
    gram, projection = matrix.T @ matrix, matrix.T @ target
    scale = np.sqrt(np.diag(gram)) + 1e-30
    gram = gram / np.outer(scale, scale) + 1e-6 * np.eye(len(scale))
    factor = np.linalg.cholesky(gram)
    right = np.linalg.solve(factor, projection / scale)
    lower = np.where(free, -np.inf, 0.0)
    return optimize.lsq_linear(factor.T, right, (lower, np.inf), method="bvls").x / scale


def _faint_half(data, r2):
    """Median of the faint part of each elliptical annulus, falling outwards."""
    bins = np.minimum((np.sqrt(r2) / 1.5).astype(int), 200)
    order = np.lexsort((data.ravel(), bins.ravel()))  # NaN last within each bin
    values, labels = data.ravel()[order], bins.ravel()[order]
    count = np.bincount(bins[np.isfinite(data)], minlength=labels.max() + 1)
    first = np.searchsorted(labels, np.arange(count.size))
    at = np.minimum(first + (0.4 * count).astype(int), values.size - 1)
    profile = np.where(count > 0, values[at], np.nan)
    profile = np.minimum.accumulate(np.nan_to_num(profile, nan=np.inf))
    return np.maximum(np.where(np.isfinite(profile), profile, 0.0), 0.0)[bins]


def _half_light(image, r2):
    """Radius of the ellipse with half of the model's light."""
    order = np.argsort(r2, axis=None)
    growth = np.cumsum(np.maximum(image.ravel()[order], 0.0))
    if not growth[-1] > 0:
        return 0.0
    return float(np.sqrt(r2.ravel()[order][np.searchsorted(growth, 0.5 * growth[-1])]))


def arc_residual(data, noise, mask, centre, *, ellipticity=None, sky=None):
    """Image less its lens galaxy, in sigma: what is left are arcs and neighbours.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image and sigma map.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    centre : tuple of float
        (column, row) of the lens galaxy, in pixels.
    ellipticity : tuple of float, optional
        (e1, e2) of its light; by default from moments.
    sky : float, optional
        Level of the sky; by default solved for.

    Returns
    -------
    numpy.ndarray
        (ny, nx); 0 where masked.  The noise includes 5 % of the galaxy's light, for what a smooth model misses.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.galaxy import arc_residual
    >>> y, x = np.mgrid[-40:41, -40:41]
    >>> r = np.hypot(x, y)
    >>> image = 500 * np.exp(-r / 4) + 8 * np.exp(-0.5 * ((r - 20) / 1.5) ** 2)  # galaxy and ring
    >>> image += np.random.default_rng(1).normal(size=image.shape)
    >>> residual = arc_residual(image, np.ones(image.shape), np.zeros(image.shape, bool), (40, 40))
    >>> bool(residual[abs(r - 20) < 1].mean() > 6), bool(abs(residual[r > 30].mean()) < 0.3)
    (True, True)
    """
    return fit_galaxy(data, noise, mask, centre, ellipticity=ellipticity, sky=sky).residual
