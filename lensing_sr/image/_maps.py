# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Noise maps and masks from whatever a user may give, in the unit and shape of the image."""

import os

import numpy as np
from astropy import units as u
from astropy.nddata import NDUncertainty, StdDevUncertainty

from lensing_sr.errors import InputError, NoiseError
from lensing_sr.image._files import read_plane
from lensing_sr.image._units import parse_unit

__all__ = []

NOISE_KINDS = {  # EXTNAME: how its values make a sigma
    "ERR": "std", "RMS": "std", "NOISE": "std", "SIGMA": "std", "ERROR": "std", "STD": "std", "UNCERT": "std",
    "NOISE_MAP": "std", "VAR": "var", "VARIANCE": "var", "IVM": "ivar", "IVAR": "ivar", "INVVAR": "ivar",
}  # fmt: skip
_UTYPES = {"StdDevUncertainty": "std", "VarianceUncertainty": "var", "InverseVariance": "ivar"}
_HUGE_NOISE = 1e3  # times the median sigma: maps mark bad pixels with 1e8 or 1e16


def load_noise(noise, shape, unit=None):
    """Sigma map from what a user may give, and the FITS header it came with (or None).

    Parameters
    ----------
    noise : float, Quantity, array, NDUncertainty, NDData, str or os.PathLike
        rms of every pixel, map of sigmas, uncertainty of any kind, or "FILE[,EXT]".
    shape : tuple of int
        Shape (ny, nx) of the image.
    unit : str, `~astropy.units.Unit` or None
        Unit of the image; a noise with a unit is converted to it.

    Returns
    -------
    sigma : numpy.ndarray
        (ny, nx) float64.
    header : `~astropy.io.fits.Header` or None
    """
    header = None
    if isinstance(noise, str | os.PathLike):
        values, header = read_plane(noise, "noise", names=tuple(NOISE_KINDS))
        sigma = sigma_of_extension(values, header, unit)
    elif isinstance(noise, NDUncertainty):
        known = noise.uncertainty_type in ("std", "var", "ivar")
        # a lone uncertainty has no parent to take its unit from, which represent_as would ask for
        sigma = _sigma(np.asarray(noise.array), noise.uncertainty_type if known else "std")
        if isinstance(noise, StdDevUncertainty) and noise.unit is not None:
            sigma = _in_unit(sigma * noise.unit, unit)
    else:
        values = noise if isinstance(noise, u.Quantity) else getattr(noise, "data", noise)
        values = noise if isinstance(noise, np.ndarray) else values
        sigma = _in_unit(values, unit) if isinstance(values, u.Quantity) else values
    try:
        sigma = np.array(sigma, dtype=float)
    except (TypeError, ValueError):
        raise NoiseError("noise", "must be a number, a map, an uncertainty or a file", repr(noise)[:80]) from None
    if sigma.ndim == 0:
        if not (np.isfinite(sigma) and sigma > 0):
            raise NoiseError("noise", "must be positive and finite", noise, "give the rms of one pixel (--noise-rms X)")
        sigma = np.full(shape, float(sigma))
    if sigma.shape != tuple(shape):
        raise NoiseError("noise", f"must have the shape {tuple(shape)} of the image", sigma.shape, "crop both alike")
    return sigma, header


def _sigma(values, kind):
    """Standard deviation from standard deviations, variances or inverse variances; NaN where there is none."""
    values = np.asarray(values, dtype=float)
    if kind == "std":
        return values
    good = values > 0
    power = 0.5 if kind == "var" else -0.5
    return np.where(good, np.where(good, values, 1.0) ** power, np.nan)


def sigma_of_extension(values, header, unit):
    """Sigma in the image's unit from an extension: its UTYPE or EXTNAME says what it holds, its BUNIT in which unit."""
    name = str(header.get("EXTNAME", "")).strip().upper()
    named = (kind for end, kind in NOISE_KINDS.items() if name == end or name.endswith("_" + end))
    kind = _UTYPES.get(header.get("UTYPE")) or next(named, "std")
    sigma = _sigma(values, kind)
    own = parse_unit(header.get("BUNIT"))[0] if kind == "std" else None
    return sigma if own is None else _in_unit(sigma * own, unit)


def _in_unit(sigma, unit):
    unit = parse_unit(unit)[0]
    if unit is None:
        return sigma.value
    try:
        return sigma.to_value(unit)
    except u.UnitConversionError:
        raise NoiseError("noise", f"must be in the unit of the image, {unit}", sigma.unit, "convert it first") from None


def load_mask(mask, shape, other=None):
    """Boolean mask (True = ignore) from an array or "FILE[,EXT]" (non-zero = ignore), and its header (or None)."""
    header = None
    if isinstance(mask, str | os.PathLike):
        mask, header = read_plane(mask, "mask", names=("MASK", "DQ"))
    mask = np.asarray(getattr(mask, "value", mask))
    if mask.shape != tuple(shape):
        raise InputError("mask", f"must have the shape {tuple(shape)} of the image", mask.shape, "crop both alike")
    if mask.dtype.kind not in "biuf":
        raise InputError("mask", "must be boolean, or numbers of which non-zero is ignored", mask.dtype)
    return nonzero(mask) | (False if other is None else other), header


def nonzero(values):
    return np.asarray(values) != 0  # NaN is not zero either: ignored


def data_quality(flags, header):
    """Bad pixels of a DQ extension: any flag, but for JWST only DO_NOT_USE (its other bits also mark good pixels)."""
    if str(header.get("TELESCOP", "")).strip().upper() == "JWST":
        return (flags.astype(np.int64) & 1) != 0
    return flags != 0


def good_sigma(sigma, values):
    """Where a noise map is good: positive, finite, and not a thousand times its own median.

    Parameters
    ----------
    sigma : numpy.ndarray
        (ny, nx) sigma map.
    values : numpy.ndarray
        Good pixels of the image, to judge whether the map as a whole can be one of sigmas.

    Returns
    -------
    numpy.ndarray
        (ny, nx) bool.

    Raises
    ------
    lensing_sr.errors.NoiseError
        If no pixel is good.
    """
    good = np.isfinite(sigma) & (sigma > 0)
    if good.any():
        # the tenth percentile first: the median would be the fill value itself where most of a map is bad
        good &= sigma < _HUGE_NOISE * np.percentile(sigma[good], 10)
        good &= sigma < _HUGE_NOISE * np.median(sigma[good])
    remedy = "give a map of positive sigmas, or none (then the noise is estimated)"
    if not good.any():
        raise NoiseError("noise", "must have a positive, finite sigma somewhere", "none", remedy)
    # a sigma above ten times the whole range of the image is a fill value, or an inverse variance taken for a sigma
    median = np.median(sigma[good])
    if values.size and median > 10 * np.ptp(values) > 0:
        found = f"a median of {median:.3g} where the image spans {np.ptp(values):.3g}"
        raise NoiseError("noise", "must have a good pixel, with a sigma below the range of the image", found, remedy)
    return good
