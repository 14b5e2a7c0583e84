# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The noise: estimated where no map is given, and checked against the blank sky where one is.

Shipped noise maps are often wrong by a constant factor, and resampled images have noise that neighbouring pixels share.
Both are measured on differences of pixels some pixels apart, less their own local mean: the level and the slope of the
sky, or of a galaxy's outskirts, drop out.  Pure functions of arrays.
"""

import numpy as np
from astropy import units as u
from scipy import ndimage

from lensing_sr.image._units import parse_unit
from lensing_sr.image.sky import blank_sky, clipped_std, sky_level

__all__ = ["estimate_noise_map", "noise_correlation", "noise_scale", "photon_defaults"]

#: Pixels over which a difference is taken: beyond the reach of drizzling.
LAG = 4
#: Differences needed for a scale good to about 5 %.
MIN_PAIRS = 200
#: Side, in pixels, of the window of a local mean.
_WINDOW = 21
_EXPOSURE_CARDS = ("EXPTIME", "TEXPTIME", "EXPOSURE", "XPOSURE", "EFFEXPTM", "TELAPSE", "EXP_TIME")
_GAIN_CARDS = ("GAIN", "CCDGAIN", "EGAIN", "ATODGAIN", "GAINCOR")


def estimate_noise_map(data, mask=None, header=None, unit=None, instrument=None):
    r"""Sigma of each pixel from the image itself.

    .. math:: \sigma^2 = \sigma_{sky}^2 + \frac{\max(d - d_{sky}, 0)}{g\,t}

    The second term, photon noise of what stands out of the sky, needs the exposure time t and the gain g (electrons a
    count) where the unit does; without them the map is constant, and says so.

    Parameters
    ----------
    data : numpy.ndarray
        (ny, nx) image.
    mask : numpy.ndarray, optional
        (ny, nx) bool, True = ignore.
    header : `~astropy.io.fits.Header` or mapping, optional
        Searched for EXPTIME (TEXPTIME, EXPOSURE, XPOSURE, ...), GAIN (CCDGAIN, ...) and BUNIT.
    unit : str or `~astropy.units.Unit`, optional
        Unit of the image; by default the header's BUNIT.
    instrument : `~lensing_sr.instruments.load.Instrument`, optional
        Gives the exposure time and the gain that the header does not, and electrons a second for an unknown unit.

    Returns
    -------
    noise : numpy.ndarray
        (ny, nx) sigma map in the unit of the image, positive everywhere.
    note : str
        How it was estimated.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.noise import estimate_noise_map
    >>> image = np.random.default_rng(1).normal(scale=0.1, size=(100, 100))
    >>> image[40:60, 40:60] += 8.0
    >>> noise, note = estimate_noise_map(image, header={"EXPTIME": 100.0, "BUNIT": "electron/s"})
    >>> round(float(noise[50, 50]), 1), round(float(noise[5, 5]), 1)
    (0.3, 0.1)
    >>> note
    'noise estimated: sky rms and photon noise (exposure 100 s, gain 1)'
    """
    data = np.asarray(data, dtype=float)
    good = np.isfinite(data) & (True if mask is None else ~np.asarray(mask, dtype=bool))
    clean = np.where(good, data, 0.0)
    blank = blank_sky(clean, np.ones(data.shape), ~good)
    level, rms = sky_level(clean, blank)
    pairs = _differences(clean, blank, LAG)
    if pairs.size >= MIN_PAIRS:
        rms = clipped_std(pairs) / np.sqrt(2.0)  # as `noise_scale` measures it: free of gradients
    if not (np.isfinite(rms) and rms > 0):
        # nothing but equal values in the sky: take the smallest step between pixels for the noise
        steps = np.abs(np.diff(np.unique(clean[good])))
        rms = float(steps.min()) if steps.size else 1.0
    electrons, text, _ = _electrons_per_unit(header, unit, instrument)
    if electrons is None:
        return np.full(data.shape, rms), f"noise estimated: sky rms only ({text})"
    # a pixel's own fluctuation must not set its own sigma (low pixels would weigh more): average the neighbours
    weight = ndimage.gaussian_filter(good.astype(float), 1.0)
    source = ndimage.gaussian_filter(np.where(good, clean - level, 0.0), 1.0) / np.maximum(weight, 1e-3)
    return np.sqrt(rms**2 + np.maximum(source, 0.0) / electrons), f"noise estimated: sky rms and photon noise ({text})"


def photon_defaults(header, unit, instrument):
    """What `estimate_noise_map` would take from the instrument to count photons, in words; none of it where it can't.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`, mapping or None
        As for `estimate_noise_map`.
    unit : str, `~astropy.units.Unit` or None
        Unit of the image; by default the header's BUNIT.
    instrument : `~lensing_sr.instruments.load.Instrument`
        The instrument.

    Returns
    -------
    list of str
        Empty where the header says all that is needed.
    """
    return _electrons_per_unit(header, unit, instrument)[2]


def _electrons_per_unit(header, unit, instrument=None):
    """Electrons behind one unit of the image (None where unknown), the reason or the numbers used, and the defaults."""
    header, defaults = {} if header is None else header, []
    unit = parse_unit(header.get("BUNIT") if unit is None else unit)[0]
    if unit is None:
        if instrument is None:
            return None, "the unit of the image is unknown", []
        unit = u.electron / u.s
        defaults.append("unit electron / s")
    names = {base.to_string(): power for base, power in zip(unit.bases, unit.powers, strict=True)}
    counts = names.pop("electron", None) or names.pop("ph", None) or names.pop("photon", None)
    gain = 1.0
    if counts is None:
        counts = names.pop("ct", None) or names.pop("adu", None) or names.pop("DN", None) or names.pop("dn", None)
        gain = _number(header, _GAIN_CARDS)
        if gain is None and instrument is not None:
            gain = instrument.gain
            defaults.append(f"gain {gain:g}")
        gain = 1.0 if gain is None else gain
    names.pop("pix", None)
    rate = names.pop("s", 0)
    if counts != 1 or names or rate not in (0, -1):
        return None, f"no photons can be counted in {unit}", []
    if rate == 0:
        return gain, f"gain {gain:g}", defaults
    exposure = _number(header, _EXPOSURE_CARDS)
    if exposure is None and instrument is not None:
        exposure = instrument.total_exposure
        defaults.append(f"exposure time {exposure:g} s")
    if exposure is None:
        return None, "the header gives no exposure time", []
    return gain * exposure, f"exposure {exposure:g} s, gain {gain:g}", defaults


def _number(header, cards):
    for card in cards:
        try:
            value = float(header[card])
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(value) and value > 0:
            return value
    return None


def _differences(values, use, lag):
    """Differences of used pixels `lag` apart, along rows and along columns, less their local mean, in one vector."""
    parts = []
    for value, used in ((values, use), (values.T, use.T)):
        both = used[lag:] & used[:-lag]
        difference = np.where(both, value[lag:] - value[:-lag], 0.0)
        count = ndimage.uniform_filter(both.astype(float), _WINDOW, mode="constant")
        mean = ndimage.uniform_filter(difference, _WINDOW, mode="constant")
        enough = both & (count > 0.25)
        parts.append(difference[enough] - mean[enough] / count[enough])
    return np.concatenate(parts)


def _normalised(data, noise, mask, blank):
    data, noise = np.asarray(data, dtype=float), np.broadcast_to(np.asarray(noise, dtype=float), np.shape(data))
    if blank is None:
        blank = blank_sky(data, noise, mask)
    ratio = np.zeros(data.shape)
    np.divide(data, noise, out=ratio, where=blank)
    return ratio, blank


def noise_scale(data, noise, mask=None, *, blank=None):
    r"""True scatter of the blank sky over what the noise map says.

    .. math:: s = \mathrm{std}\left(\frac{d_i}{n_i} - \frac{d_{i+4}}{n_{i+4}}\right) / \sqrt{2}

    over pairs of blank pixels 4 apart along rows and columns, less their local mean, clipped.

    Parameters
    ----------
    data, noise : numpy.ndarray
        (ny, nx) image and sigma map, in one unit.
    mask : numpy.ndarray, optional
        (ny, nx) bool, True = ignore.
    blank : numpy.ndarray, optional
        (ny, nx) bool, blank pixels; by default found by `~lensing_sr.image.sky.blank_sky`.

    Returns
    -------
    float
        By what to multiply the map; 1 where there are fewer than 200 such pairs to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.noise import noise_scale
    >>> image = np.random.default_rng(1).normal(scale=0.6, size=(100, 100))
    >>> round(noise_scale(image, np.ones((100, 100))), 1)
    0.6
    """
    pairs = _differences(*_normalised(data, noise, mask, blank), LAG)
    scale = clipped_std(pairs) / np.sqrt(2.0) if pairs.size >= MIN_PAIRS else 1.0
    return float(scale) if scale > 0 else 1.0


def noise_correlation(data, noise, mask=None, *, blank=None):
    r"""Correlation of the noise of neighbouring pixels.

    .. math:: \rho_1 = 1 - \frac{\mathrm{var}(t_i - t_{i+1})}{\mathrm{var}(t_i - t_{i+4})}, \qquad t = d / n

    over blank pixels, rows and columns pooled.

    Parameters
    ----------
    data, noise, mask, blank
        As for `noise_scale`.

    Returns
    -------
    float
        Lag-1 correlation, -1 to 1; 0 where there are too few blank pixels to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.noise import noise_correlation
    >>> white = np.random.default_rng(1).normal(size=(101, 101))
    >>> shared = white[1:, 1:] + white[1:, :-1] + white[:-1, 1:] + white[:-1, :-1]
    >>> [abs(round(noise_correlation(image, np.ones(image.shape)), 1)) for image in (white, shared)]
    [0.0, 0.5]
    """
    ratio, blank = _normalised(data, noise, mask, blank)
    far = _differences(ratio, blank, LAG)
    far = clipped_std(far) if far.size >= MIN_PAIRS else 0.0
    return float(np.clip(1.0 - (clipped_std(_differences(ratio, blank, 1)) / far) ** 2, -1.0, 1.0)) if far > 0 else 0.0
