# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Read what a telescope does to an image from a TOML file: pixels, optics, exposure, sky and electronics.

A file is named after its instrument and has a title and one table a figure::

    title = "Euclid VIS"

    [pixel_scale]
    value = 0.1
    unit = "arcsec"
    source = "where the figure is from"
    approximate = true        # only where it is

The files of this folder come with the package; a user's own is read by its path.  Nothing here needs astropy.
"""

import functools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lensing_sr.errors import InputError
from lensing_sr.instruments._figures import UNITS, checked, read_figures

__all__ = ["Instrument", "instruments", "load_instrument"]


@dataclass(frozen=True, kw_only=True)
class Instrument:
    r"""What a telescope, in one band, does to an image.

    The rms of a pixel of blank sky, in electrons a second, is

    .. math:: \sigma = \frac{\sqrt{N R^2 + N t\,S\,p^2}}{N t}, \qquad S = 10^{-0.4\,(m_{\rm sky} - m_0)}

    with N exposures of t seconds, read noise R, pixels of p arcsec, sky brightness :math:`m_{\rm sky}` and zero point
    :math:`m_0`.

    Attributes
    ----------
    name : str
        Short name, that of its file: "euclid-vis".
    title : str
        Name as it is written: "Euclid VIS".
    pixel_scale : float
        Size of a pixel, arcsec.
    psf_fwhm : float
        Full width at half maximum of the light that falls on the detector, arcsec: before the pixels sum it up.  0
        where nothing is blurred.
    psf_profile : {"gaussian", "moffat", "none"}
        Shape of the point-spread function.
    psf_beta : float or None
        Exponent of a Moffat profile, above 1.
    zero_point : float or None
        AB magnitude of one electron a second; None where flux has a unit of its own.
    exposure_time : float
        Seconds of one exposure.
    exposures : int
        How many are added up.
    sky_brightness : float or None
        AB mag / arcsec2.
    read_noise : float or None
        Electrons rms of one exposure.
    gain : float
        Electrons a count of the camera (ADU).
    background : float or None
        rms of a pixel of blank sky, electron / s, where it is stated as such; it then takes the place of sky and read
        noise.
    shape : tuple of int
        (rows, columns) of a usual cut-out.
    sources : mapping of str to str
        Where each figure is from.
    approximate : frozenset of str
        Names of the figures that are approximate.

    Raises
    ------
    lensing_sr.errors.InputError
        If a figure has the wrong type or sign, or is missing beside the others.

    Examples
    --------
    >>> from lensing_sr.instruments import load_instrument
    >>> instrument = load_instrument("Model 2")
    >>> instrument.pixel_scale, instrument.total_exposure
    (0.101, 2260.0)
    >>> round(instrument.background_rms(), 7)
    0.0058691
    >>> round(instrument.flux(20.0), 3)
    39.811
    """

    name: str
    title: str
    pixel_scale: float
    psf_fwhm: float
    psf_profile: str
    exposure_time: float
    exposures: int
    gain: float
    shape: tuple
    psf_beta: float | None = None
    zero_point: float | None = None
    sky_brightness: float | None = None
    read_noise: float | None = None
    background: float | None = None
    sources: Mapping = field(default_factory=dict, compare=False)
    approximate: frozenset = field(default_factory=frozenset, compare=False)

    def __post_init__(self):
        for key in ("name", "title"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key).strip():
                raise InputError(key, "must be a text", repr(getattr(self, key)))
        for key in UNITS:
            object.__setattr__(self, key, checked(key, getattr(self, key)))
        if (self.psf_profile == "none") != (self.psf_fwhm == 0):
            found = f"{self.psf_fwhm:g} for the profile {self.psf_profile!r}"
            raise InputError("psf_fwhm", "must be 0 where the PSF profile is 'none', and only there", found)
        if (self.psf_profile == "moffat") != (self.psf_beta is not None):
            found = f"{self.psf_beta} for the profile {self.psf_profile!r}"
            raise InputError("psf_beta", "must be given for a Moffat profile, and only there", found)
        rest = {"zero_point": self.zero_point, "sky_brightness": self.sky_brightness, "read_noise": self.read_noise}
        if self.background is None:
            missing = [key for key, value in rest.items() if value is None]
            if missing:
                raise InputError(missing[0], "must be given where no background is stated", None, "or give background")
        elif self.sky_brightness is not None or self.read_noise is not None:
            raise InputError("background", "takes the place of sky_brightness and read_noise", None, "leave these out")
        unknown = sorted({*self.sources, *self.approximate} - {*UNITS})
        if unknown:
            raise InputError("sources", "must be of figures of an instrument", ", ".join(unknown))
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))
        object.__setattr__(self, "approximate", frozenset(self.approximate))

    def __reduce__(self):
        # a read-only view of a dictionary can be neither pickled nor copied
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return _instrument, (values | {"sources": dict(self.sources)},)

    def __repr__(self):
        psf = "no PSF" if self.psf_profile == "none" else f"{self.psf_profile} PSF of FWHM {self.psf_fwhm:.4g} arcsec"
        return (
            f"<Instrument {self.title}: pixels of {self.pixel_scale:.4g} arcsec, {psf}, "
            f"{self.exposures} x {self.exposure_time:.4g} s, sky rms {self.background_rms():.4g} electron / s>"
        )

    @property
    def total_exposure(self):
        """Seconds of all exposures together."""
        return self.exposures * self.exposure_time

    def background_rms(self, pixel_scale=None):
        """Rms of a pixel of blank sky, in electrons a second.

        Parameters
        ----------
        pixel_scale : float, optional
            Size of the pixel in arcsec; by default the instrument's own.  A stated ``background`` is that of a pixel,
            whatever its size.

        Returns
        -------
        float

        Raises
        ------
        lensing_sr.errors.InputError
            If the size is not positive.

        Examples
        --------
        >>> from lensing_sr.instruments import load_instrument
        >>> instrument = load_instrument("model-2")
        >>> [round(instrument.background_rms(scale), 8) for scale in (0.101, 0.0505)]
        [0.0058691, 0.00435576]
        """
        pixel_scale = self.pixel_scale if pixel_scale is None else pixel_scale
        if not (np.isfinite(pixel_scale) and pixel_scale > 0):
            raise InputError("pixel_scale", "must be positive, in arcsec", pixel_scale)
        if self.background is not None:
            return self.background
        sky = self.flux(self.sky_brightness) * pixel_scale**2 * self.total_exposure
        return math.sqrt(self.exposures * self.read_noise**2 + sky) / self.total_exposure

    def flux(self, magnitude):
        """Electrons a second of an AB magnitude: ``10 ** (-0.4 (magnitude - zero_point))``.

        Parameters
        ----------
        magnitude : float, numpy.ndarray or torch.Tensor
            AB magnitude, of any shape.

        Returns
        -------
        float, numpy.ndarray or torch.Tensor
            As it came.

        Raises
        ------
        lensing_sr.errors.InputError
            If the instrument has no zero point.
        """
        return 10.0 ** (-0.4 * (magnitude - self._zero_point()))

    def magnitude(self, flux):
        """AB magnitude of a flux: ``zero_point - 2.5 log10(flux)``.

        Parameters
        ----------
        flux : float, numpy.ndarray or torch.Tensor
            Electrons a second, of any shape; without light the magnitude is inf, of a negative flux nan.

        Returns
        -------
        float, numpy.ndarray or torch.Tensor
            As it came.

        Raises
        ------
        lensing_sr.errors.InputError
            If the instrument has no zero point.

        Examples
        --------
        >>> from lensing_sr.instruments import load_instrument
        >>> instrument = load_instrument("hst-acs-f814w")
        >>> round(float(instrument.magnitude(instrument.flux(22.5))), 6)
        22.5
        """
        zero_point = self._zero_point()
        if hasattr(flux, "log10"):  # a tensor
            return zero_point - 2.5 * flux.log10()
        with np.errstate(divide="ignore", invalid="ignore"):
            return zero_point - 2.5 * np.log10(flux)

    def _zero_point(self):
        if self.zero_point is None:
            raise InputError("magnitude", f"has no meaning for {self.title}", None, "its flux has a unit of its own")
        return self.zero_point


def instruments():
    """All instruments that come with the package.

    Returns
    -------
    dict of {str: Instrument}
        By name, in alphabetical order.

    Examples
    --------
    >>> from lensing_sr.instruments import instruments
    >>> list(instruments())[:3]
    ['des-i', 'euclid-nisp-h', 'euclid-vis']
    """
    return dict(_packaged())


def load_instrument(name):
    """One instrument, by its name or from a file of one's own.

    Parameters
    ----------
    name : str, os.PathLike or Instrument
        Name or title in any spelling ("euclid-vis", "Euclid VIS", "EUCLID_VIS"); a path that ends in .toml; or an
        instrument, which is returned as it is.

    Returns
    -------
    Instrument

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no such instrument (the message lists all), or its file is not as it must be (the message names
        file, key and rule).

    Examples
    --------
    >>> from lensing_sr.instruments import load_instrument
    >>> load_instrument("HST ACS F814W").name
    'hst-acs-f814w'
    """
    if isinstance(name, Instrument):
        return name
    if isinstance(name, os.PathLike) or (isinstance(name, str) and name.lower().endswith(".toml")):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
            raise InputError("instrument", "must be a file that can be read", f"{path} ({reason})") from error
        return _parsed(text, path.stem, str(path))
    known = _packaged()
    for key, instrument in known.items():
        if isinstance(name, str) and _plain(name) in (_plain(key), _plain(instrument.title)):
            return instrument
    raise InputError("instrument", f"must be one of {', '.join(known)}, or a .toml file", repr(name))


def _plain(name):
    """A name without what people write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@functools.cache
def _packaged():
    entries = [entry for entry in files("lensing_sr.instruments").iterdir() if entry.name.endswith(".toml")]
    entries.sort(key=lambda entry: entry.name)
    return {
        name: _parsed(entry.read_text(encoding="utf-8"), name, entry.name)
        for name, entry in ((entry.name.removesuffix(".toml"), entry) for entry in entries)
    }


def _instrument(values):
    return Instrument(**values)


def _parsed(text, name, file):
    """Instrument from the text of a TOML file; errors name the file."""
    values = read_figures(text, file)
    try:
        return Instrument(name=name, **values)
    except InputError as error:
        raise InputError(f"{file}: {error.argument}", error.rule, error.value, error.remedy) from None
