# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""An image as a coarser detector would have taken it: binned, noise added, the same optics."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lensing_sr.errors import InputError
from lensing_sr.geometry.wcs import bin_wcs
from lensing_sr.image._arguments import MIN_SIDE
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.prepare import prepare
from lensing_sr.image.psf import PSF

__all__ = ["degrade", "unshared"]


def degrade(image, scale, *, seed=0, prepared=None):
    r"""Bin an image and add noise until a coarse pixel's sigma is ``scale**2`` times that of a native one.

    Binning alone would leave the coarse image with the very noise of the native pixels.  Here most of it is new: of the
    variance of a coarse pixel, :math:`s^2 \sum_i n_i^2`, the share

    .. math:: \frac{\sum_{ij} n_i n_j\, \rho^{\Delta x_{ij}^2 + \Delta y_{ij}^2}}{s^2 \sum_i n_i^2}

    comes from the native pixels inside it (:math:`1 / s^2` for white noise) and the rest is added, white and Gaussian.
    :math:`n_i` is the native sigma after the noise scale of `~lensing_sr.image.prepare.prepare`, :math:`\rho` the
    measured correlation of neighbours, which falls with the square of the distance as
    `~lensing_sr.restore.residual.restore_residual` takes it to.

    Parameters
    ----------
    image : `~lensing_sr.image.lens_image.LensImage`
        The image.  Rows and columns beyond a multiple of ``scale`` are cut off at the far edge.
    scale : int
        Native pixels in a coarse one along one axis, at least 2.
    seed : int
        Of the added noise.
    prepared : `~lensing_sr.image.prepare.PreparedImage`, optional
        What `~lensing_sr.image.prepare.prepare` says of the image, where that is known already.

    Returns
    -------
    LensImage
        Sums of native values (means where they are per area), their sigma, and a mask where any native pixel is
        masked.  A kernel PSF acts on pixels ``oversampling * scale`` times finer than the coarse ones, that is on the
        same pixels as before; a profile stays as it is.

    Raises
    ------
    lensing_sr.errors.InputError
        If the scale is no whole number of at least 2, or fewer than 16 coarse pixels a side would be left.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.degradation import degrade
    >>> from lensing_sr.image.lens_image import LensImage
    >>> data = np.random.default_rng(1).normal(size=(65, 64))
    >>> degrade(LensImage(data, noise=1.0, pixel_scale=0.05, unit="electron/s"), 2)
    <LensImage 32 x 32 pixels of 0.1 arcsec, electron / s, noise 4.02, no PSF, no pixels masked>
    """
    scale = _checked(scale, image.shape)
    prepared = prepare(image) if prepared is None else prepared
    noise = _Noise.drawn(image, scale, seed, prepared)
    data = np.nan_to_num(_blocks(image.data, scale), posinf=0.0, neginf=0.0).sum(axis=-1)
    coarse = np.where(noise.masked, np.nan, data + noise.added)
    variance = noise.shared + noise.new
    per_area = scale**2 if image.per_area else 1
    grid = image.grid
    sampling = {"wcs": bin_wcs(grid.wcs, scale, coarse.shape)}
    if grid.wcs is None:
        sampling = {"pixel_scale": scale * np.diag(grid.matrix)}
    degraded = LensImage(
        coarse / per_area, noise=np.sqrt(variance) / per_area, psf=_coarser(image.psf, scale), unit=image.unit,
        name=image.name, header=image.header, **sampling,
    )  # fmt: skip
    degraded.notes.append(f"binned by {scale}, noise added to {scale**2} times that of a native pixel")
    return degraded


def unshared(image, scale, *, seed=0, prepared=None):
    r"""An image without the noise that its degraded version shares with it.

    With native noise n of covariance :math:`\Sigma`, B the sums over blocks and e the noise that `degrade` added, of
    covariance V, the noise of

    .. math:: d' = d - \Sigma B^T V^{-1} e

    does not correlate with that of the coarse image, :math:`B n + e`: what is Gaussian is then independent.  Whoever
    copies the coarse image's noise gains nothing against d'.  Its own variance is larger by
    :math:`\Sigma B^T V^{-1} B \Sigma`, a twelfth of white noise at a scale of 2.

    Parameters
    ----------
    image, scale, seed, prepared
        As `degrade` was given them.

    Returns
    -------
    data, sigma : numpy.ndarray
        d' and the sigma of its noise on the native pixels inside coarse ones, ``(ny, nx)``, unit of the image.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.degradation import degrade, unshared
    >>> from lensing_sr.image.lens_image import LensImage
    >>> noise = np.random.default_rng(1).normal(size=(200, 200))
    >>> image = LensImage(noise, noise=1.0, pixel_scale=0.05, unit="electron/s")
    >>> copied = degrade(image, 2).data.repeat(2, axis=0).repeat(2, axis=1) / 4
    >>> bool(np.mean(noise * copied) > 0.2), bool(abs(np.mean(unshared(image, 2)[0] * copied)) < 0.03)
    (True, True)
    """
    scale = _checked(scale, image.shape)
    prepared = prepare(image) if prepared is None else prepared
    noise = _Noise.drawn(image, scale, seed, prepared)
    ny, nx = (n * scale for n in noise.masked.shape)
    data, sigma = image.data[:ny, :nx], prepared.full_noise[:ny, :nx]

    def spread(blocks):
        return blocks.repeat(scale, axis=0).repeat(scale, axis=1)

    known = spread((noise.new > 0) & ~noise.masked)
    new = np.where(known, spread(noise.new), 1.0)
    own = np.where(known, sigma, 0.0)
    reach = np.arange(-scale, scale + 1)
    alike = np.clip(prepared.correlation, 0.0, 1.0) ** (reach[:, None] ** 2 + reach**2.0)

    def gathered(array):
        return ndimage.convolve(array, alike, mode="constant")

    row, column = (index // scale % 3 for index in np.indices((ny, nx)))
    # a pixel sees one block of each of these nine kinds
    kinds = ((row == i) & (column == j) for i in range(3) for j in range(3))
    more = sum(gathered(np.where(kind, own / np.sqrt(new), 0.0)) ** 2 for kind in kinds)
    taken = np.where(known, own * gathered(own * spread(noise.added) / new), 0.0)
    return data - taken, sigma * np.sqrt(1.0 + np.where(known, more, 0.0))


class _Noise(NamedTuple):
    """Noise of the coarse pixels: variance that comes from the native ones, variance of what is added, that itself."""

    masked: np.ndarray
    shared: np.ndarray
    new: np.ndarray
    added: np.ndarray

    @classmethod
    def drawn(cls, image, scale, seed, prepared):
        data, noise = _blocks(image.data, scale), _blocks(prepared.full_noise, scale)
        good = ~_blocks(image.mask, scale) & np.isfinite(data) & np.isfinite(noise)
        masked, noise = ~good.all(axis=-1), np.where(good, noise, 1.0)
        shared = np.einsum("...i,ij,...j->...", noise, _correlations(scale, prepared.correlation), noise)
        new = np.maximum(scale**2 * (noise**2).sum(axis=-1) - shared, 0.0)
        return cls(masked, shared, new, np.sqrt(new) * np.random.default_rng(seed).standard_normal(masked.shape))


def _checked(scale, shape):
    """The scale as an int, if the image can be binned by it."""
    whole = isinstance(scale, int | float | np.integer | np.floating) and not isinstance(scale, bool)
    if not (whole and scale >= 2 and float(scale).is_integer()):
        raise InputError("scale", "must be a whole number of at least 2", repr(scale), "pixels are binned by it")
    if min(shape) // scale < MIN_SIDE:
        size = f"{scale} for {shape[0]} x {shape[1]} pixels"
        raise InputError("scale", f"must leave {MIN_SIDE} coarse pixels a side", size, "keep more of the image")
    return int(scale)


def _blocks(array, scale):
    """Pixels inside each coarse one, ``(rows, columns, scale**2)``."""
    ny, nx = (n // scale for n in array.shape)
    blocks = array[: ny * scale, : nx * scale].reshape(ny, scale, nx, scale).swapaxes(1, 2)
    return blocks.reshape(ny, nx, scale**2)


def _correlations(scale, neighbours):
    """Correlations of the native pixels inside a coarse one, ``(scale**2, scale**2)``."""
    row, column = np.divmod(np.arange(scale**2), scale)
    squared = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    return np.clip(neighbours, 0.0, 1.0) ** squared


def _coarser(psf, scale):
    """The same PSF for pixels `scale` times as large."""
    if psf is None or psf.kernel is None:
        return psf
    return PSF(psf.kernel, psf.oversampling * scale, None)
