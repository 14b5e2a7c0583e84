# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A whole population of lenses as one telescope sees it, with everything that makes real images hard.

Elliptical power-law lenses in a shear, with subhalos if wanted; lumpy sources; the light of the lens galaxy and of
neighbours; a PSF that is not quite the one the analyst is given; noise that neighbouring pixels share; and galaxies
that are no lenses but look like one.
"""

import dataclasses
import functools
import math
import numbers

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.image.kernels import psf_kernel
from lensing_sr.instruments import load_instrument
from lensing_sr.simulation._members import LENS_NUMBERS, MEMBER_UNITS, Settings, draw_members
from lensing_sr.simulation._painter import MEASURED_UNITS, PARTS, Painter
from lensing_sr.simulation._simulator import Simulator
from lensing_sr.simulation.detector import REACH, correlated, correlation_taps
from lensing_sr.simulation.laws import LogUniform, Uniform
from lensing_sr.simulation.presets import PRESETS, Field, preset
from lensing_sr.simulation.randomness import Streams
from lensing_sr.simulation.scene import Canvas
from lensing_sr.simulation.substructure import CLASSES
from lensing_sr.utils._checks import check_choice, check_whole
from lensing_sr.utils._repr import make_repr
from lensing_sr.utils._threads import side_by_side

__all__ = ["LensPopulation"]

#: Fine pixels computed at once: enough to keep a processor or an accelerator busy.
SAMPLES = {"cpu": 2**20, "cuda": 2**23}

_LR = ("LR", "LR_model", "noise", *(f"{part}_LR" for part in PARTS))
_HR = ("HR_model", *(f"{part}_HR" for part in PARTS))
_DEFLECTION = ("alpha_x", "alpha_y")
_KERNELS = ("psf", "psf_true")
_RENDERED = {*_LR, *_HR, *MEASURED_UNITS}


class LensPopulation(Simulator):
    r"""A population of galaxy-scale lenses in the images of one telescope: an endless set with known truth.

    .. math:: d = B\,P\left[S(\theta - \alpha(\theta)) + G(\theta) + N(\theta)\right] + n

    with S a lumpy source, :math:`\alpha` the deflection of an elliptical power law, a shear and what substructure there
    is, G the lens galaxy, N its neighbours, P the true point-spread function, B the sum to detector pixels and n the
    noise of sky, read-out and photons.

    Parameters
    ----------
    instrument : str or `~lensing_sr.instruments.Instrument`
        Telescope and band, see `lensing_sr.instruments.load_instrument`.
    seed : int
        Seed of what is drawn where `draw` is given none.
    preset : {"broad", "bright", "group", "euclid", "hst"}
        Laws of lenses and sources, see `lensing_sr.simulation.presets`.
    scale : int
        How much finer the truth is than the detector.
    shape : tuple of int, optional
        Rows and columns of the detector; by default the instrument's usual cut-out.
    lumpiness : float
        Of the sources, 0 (Sersic) to 2, see `lensing_sr.simulation.galaxies.draw_galaxies`.
    lens_light, neighbours, psf_error : bool
        Whether there is light of the lens galaxy; whether there are other objects; whether the PSF that the analyst is
        given (``psf``) is 1 to 3 % too narrow or too wide, and round where the true one is not.
    correlated_noise : float or tuple of float, optional
        Correlation of neighbouring pixels' noise, or several of them, each as likely; by default the preset's.
    dark_matter : {"no_sub", "subhalos", "axion", "cdm"}
        Substructure of the lenses, see `lensing_sr.simulation.substructure`.
    negatives : float
        Share of galaxies that are no lenses, 0 to 1 (`lensing_sr.simulation.negatives`).  Their arms, rings and
        companions have the signal-to-noise ratio that arcs would have.
    arc_sn : tuple of float, optional
        A stratum (low, high): the arcs' total signal-to-noise ratio (`lensing_sr.simulation.selection`) is then
        log-uniform in it; by default the preset's law.
    theta_E : tuple of float, optional
        Einstein radii (low, high) in arcsec, uniform between the two; by default the preset's law.
    gamma : float, optional
        Slope of every lens, 2 is isothermal; by default the preset's law.
    psf_fwhm : float or tuple of float, optional
        FWHM of the PSF in arcsec, or a range in which it is log-uniform; by default the instrument's.
    device : str or torch.device
        Where images are made: "cpu", "cuda".
    dtype : torch.dtype
        Of the images: float32 or float64.

    Attributes
    ----------
    instrument : `~lensing_sr.instruments.Instrument`
        The telescope.
    keys : tuple of str
        What `draw` gives.
    units : dict of {str: str}
        The unit of each.
    pixel_scales : dict of {str: float}
        Side of a pixel in arcsec of each image.

    Raises
    ------
    lensing_sr.errors.InputError
        If a setting breaks its rule.

    Notes
    -----
    Images in electron / s a pixel: ``LR`` (noisy), ``LR_model`` (without noise), ``HR_model`` (`scale` times finer; its
    blocks sum to LR_model), and their parts ``arcs_LR``, ``lens_light_LR``, ``neighbours_LR``, ``other_LR`` (of
    galaxies that are no lenses: what could be taken for arcs), likewise ``_HR``; ``noise`` is sigma of each pixel.
    ``alpha_x``, ``alpha_y``: true deflection in arcsec at the fine pixel centres (0 where there is no lens).  ``psf``,
    ``psf_true``: kernels on fine pixels, as given and as applied.

    Numbers: the lens (``theta_E``, ``gamma``, ``e1``, ``e2``, ``q``, ``x_lens``, ``y_lens``, ``gamma1``, ``gamma2``);
    the source (``x_source``, ``y_source``, ``offset`` from the lens in theta_E, ``r_eff``, ``n``, ``e1_source``,
    ``e2_source``, ``q_source``); the lens galaxy's spheroid (``lens_r_eff``, ``lens_n``, ``e1_light``, ``e2_light``,
    ``x_light``, ``y_light``) and the ``disc_share`` of its light; fluxes and magnitudes of source, arcs (``lensed_``;
    or of what stands for them) and lens galaxy; ``magnification`` (lensed flux in the field over the source's) and
    ``arc_sn``; ``neighbours`` (how many), ``correlation`` of the noise, ``psf_fwhm`` given, ``psf_error`` (true width
    over the given one, less 1), ``psf_e1``, ``psf_e2``; ``is_lens`` (0 or 1) and the text ``kind``.  What a galaxy
    that is no lens has not is nan, as are magnitudes where the instrument has no zero point.

    Examples
    --------
    >>> from lensing_sr.simulation import LensPopulation
    >>> lenses = LensPopulation("Euclid VIS", preset="euclid", shape=(64, 64)).draw(2, seed=1)
    >>> lenses["LR"].shape, lenses["HR_model"].shape, lenses["kind"].tolist()
    (torch.Size([2, 64, 64]), torch.Size([2, 128, 128]), ['lens', 'lens'])
    """

    def __init__(
        self, instrument="euclid-vis", *, seed=0, preset="broad", scale=2, shape=None, lumpiness=1.0, lens_light=True,
        neighbours=True, psf_error=True, correlated_noise=None, dark_matter="no_sub", negatives=0.0, arc_sn=None,
        theta_E=None, gamma=None, psf_fwhm=None, device="cpu", dtype=torch.float32,
    ):  # fmt: skip
        self.instrument = load_instrument(instrument)
        check_choice(preset, PRESETS, "preset")
        check_choice(dark_matter, CLASSES, "dark_matter")
        check_choice(dtype, (torch.float32, torch.float64), "dtype")
        for name, value in (("lens_light", lens_light), ("neighbours", neighbours), ("psf_error", psf_error)):
            check_choice(value, (True, False), name)
        self.seed, self.scale = check_whole(seed, "seed"), check_whole(scale, "scale", least=1)
        self.shape = _shape(self.instrument.shape if shape is None else shape)
        self.lumpiness = _number(lumpiness, "lumpiness", 0.0, 2.0)
        self.negatives = _number(negatives, "negatives", 0.0, 1.0)
        self.lens_light, self.neighbours, self.psf_error = lens_light, neighbours, psf_error
        self.dark_matter, self.arc_sn = dark_matter, None if arc_sn is None else _range(arc_sn, "arc_sn", 1.0)
        self.theta_E = None if theta_E is None else _range(theta_E, "theta_E", 1e-6)
        self.gamma = None if gamma is None else _number(gamma, "gamma", 1.2, 2.8)
        self.device, self.dtype = torch.device(device), dtype
        self.psf_fwhm = self._psf_range(psf_fwhm)
        pixel = self.instrument.pixel_scale
        self.preset = self._preset(preset, correlated_noise)
        # as many pixels as the widest PSF needs
        kernel = psf_kernel(dataclasses.replace(self.instrument, psf_fwhm=self.psf_fwhm[1]), pixel / self.scale)
        half = 0 if kernel is None else kernel.shape[0] // 2
        fine = tuple(n * self.scale for n in self.shape)
        self._painter = Painter(
            instrument=self.instrument,
            preset=self.preset,
            canvas=Canvas(fine, pixel / self.scale, half, dtype=dtype, device=self.device),
            scale=self.scale,
            lens_light=lens_light,
            psf_error=psf_error,
            device=self.device,
            dtype=dtype,
        )
        self._settings = Settings(
            preset=self.preset,
            pixel=pixel,
            fine_pixel=pixel / self.scale,
            half_field=0.5 * pixel * max(self.shape) + half * pixel / self.scale,
            psf_fwhm=self.psf_fwhm,
            background=self.instrument.background_rms(),
            lumpiness=self.lumpiness,
            neighbours=neighbours,
            psf_error=psf_error and self.psf_fwhm[1] > 0,
            correlated_noise=self.preset.correlated_noise,
            dark_matter=dark_matter,
            negatives=self.negatives,
        )

    def _psf_range(self, psf_fwhm):
        if psf_fwhm is None:
            return (self.instrument.psf_fwhm,) * 2
        if self.instrument.psf_profile == "none":
            raise InputError("psf_fwhm", f"has no meaning for {self.instrument.title}", psf_fwhm, "it does not blur")
        if isinstance(psf_fwhm, numbers.Real):
            psf_fwhm = (psf_fwhm, psf_fwhm)
        return _range(psf_fwhm, "psf_fwhm", 1e-6)

    def _preset(self, name, correlated_noise):
        """The laws, with what the user asks for in their place."""
        pixel, instrument = self.instrument.pixel_scale, self.instrument
        laws = preset(name, Field(0.5 * pixel * min(self.shape), self.psf_fwhm[1], pixel))
        if laws.lens_flux == "magnitude" and instrument.zero_point is None:
            rule = f"must be 'broad' for {instrument.title}, which knows no magnitudes"
            raise InputError("preset", rule, repr(name))
        if correlated_noise is not None:
            choices = (correlated_noise,) if isinstance(correlated_noise, numbers.Real) else tuple(correlated_noise)
            if not choices:
                raise InputError("correlated_noise", "must be a number or several of them", "nothing")
            choices = tuple(_number(value, "correlated_noise", 0.0, 0.95) for value in choices)
            laws = dataclasses.replace(laws, correlated_noise=choices)
        if self.arc_sn is not None:
            laws = dataclasses.replace(laws, arc_sn=LogUniform(*self.arc_sn))
        return dataclasses.replace(laws, laws={**laws.laws, **self._lenses()})

    def _lenses(self):
        """Laws of the lenses that the user asks for."""
        asked = {}
        if self.theta_E is not None:
            widest = 0.375 * self.instrument.pixel_scale * min(self.shape)
            if self.theta_E[1] > widest:
                rule = f"must be at most {widest:.3g} arcsec, 0.75 of half the field"
                raise InputError("theta_E", rule, self.theta_E[1], "ask for more pixels")
            asked["theta_E"] = Uniform(*self.theta_E)
        if self.gamma is not None:
            asked["gamma"] = Uniform(self.gamma, self.gamma)
        return asked

    def __repr__(self):
        facts = {"instrument": self.instrument.name, "preset": self.preset.name, "shape": self.shape}
        facts |= {"dark_matter": self.dark_matter, "negatives": self.negatives, "arc_sn": self.arc_sn}
        facts |= {"theta_E": self.theta_E, "gamma": self.gamma}
        return make_repr(self, facts | {"seed": self.seed, "device": str(self.device)})

    @property
    def keys(self):
        """What `draw` gives, in order."""
        return (*_LR, *_HR, *_DEFLECTION, *_KERNELS, *MEMBER_UNITS, *MEASURED_UNITS, "kind")

    @property
    def units(self):
        """Unit of each key as astropy reads it, '' for none."""
        rate = "electron / s" if self.instrument.zero_point is not None else "ct / s"
        measured = {key: rate if unit == "electron / s" else unit for key, unit in MEASURED_UNITS.items()}
        units = dict.fromkeys((*_LR, *_HR), rate) | dict.fromkeys(_DEFLECTION, "arcsec") | dict.fromkeys(_KERNELS, "")
        return units | MEMBER_UNITS | measured | {"kind": ""}

    @property
    def pixel_scales(self):
        """Side of a pixel in arcsec of each image."""
        pixel = self.instrument.pixel_scale
        return dict.fromkeys(_LR, pixel) | dict.fromkeys((*_HR, *_DEFLECTION, *_KERNELS), pixel / self.scale)

    @property
    def cards(self):
        """What these images are, as cards of a FITS header: {keyword: (value, comment)}."""
        low, high = self.arc_sn or (0.0, 0.0)
        noise = ", ".join(f"{value:g}" for value in self.preset.correlated_noise)
        return {
            "SIMULAT": ("LensPopulation", "what drew these images"),
            "INSTRUME": (self.instrument.name, "telescope and band"),
            "PRESET": (self.preset.name, "laws of lenses and sources"),
            "SCALE": (self.scale, "HR pixels a LR pixel and axis, and of the PSF"),
            "DMCLASS": (self.dark_matter, "dark matter"),
            "LUMPY": (self.lumpiness, "lumpiness of the sources"),
            "LENSLITE": (self.lens_light, "light of the lens galaxy"),
            "NEIGHB": (self.neighbours, "other objects in the field"),
            "PSFERR": (self.psf_error, "the PSF given is not the true one"),
            "PSFLOW": (self.psf_fwhm[0], "[arcsec] FWHM of the PSF, from"),
            "PSFHIGH": (self.psf_fwhm[1], "[arcsec] FWHM of the PSF, to"),
            "NOISECOR": (noise, "correlations of neighbouring pixels"),
            "NEGATIV": (self.negatives, "share of galaxies that are no lenses"),
            "SNLOW": (low, "S/N of the arcs, from (0: the preset's law)"),
            "SNHIGH": (high, "S/N of the arcs, to (0: the preset's law)"),
            "EXPTIME": (self.instrument.total_exposure, "[s] total exposure"),
            "SKYRMS": (self.instrument.background_rms(), "rms of a pixel of blank sky"),
        }

    @property
    def _chunk(self):
        """Images made at once."""
        canvas = self._painter.canvas.x.numel() * self._painter.canvas.y.numel()
        return max(SAMPLES["cpu" if self.device.type == "cpu" else "cuda"] // canvas, 1)

    def _drawn(self, tasks):
        """Chunks, on the CPU each by one of torch's threads."""
        return side_by_side([functools.partial(self._draw, *task) for task in tasks], self.device)

    @torch.no_grad()
    def _draw(self, n, seed, first, keys):
        """One chunk of `draw`."""
        members = draw_members(self._settings, seed, first, n)
        values = {key: torch.from_numpy(np.array(value)) for key, value in members.numbers.items()}
        kernels = self._painter.kernels(members.numbers)
        values["psf"], values["psf_true"] = kernels
        if _RENDERED & set(keys):
            values |= self._painter.rendered(members, kernels[1], set(keys))
        if set(_DEFLECTION) & set(keys):
            values["alpha_x"], values["alpha_y"] = self._painter.deflection(members)
        if {"LR"} & set(keys):
            deviates = Streams(seed, first, n, "population noise").normal_field(*(m + 2 * REACH for m in self.shape))
            values["LR"] = values["LR_model"] + values["noise"] * self._shared(deviates, members.numbers["correlation"])
        if "kind" in keys:
            values["kind"] = members.kind
        # what only a lens has
        no_lens = members.numbers["is_lens"] == 0
        for key in {*LENS_NUMBERS, "source_flux", "source_magnitude", "magnification"} & set(keys):
            values[key] = torch.where(torch.from_numpy(no_lens), math.nan, values[key])
        return {key: values[key] for key in keys}

    def _shared(self, deviates, correlation):
        """Noise of unit variance that neighbours share."""
        deviates = deviates.to(device=self.device, dtype=self.dtype)
        if not correlation.any():
            return deviates[:, REACH:-REACH, REACH:-REACH]
        taps = {value: correlation_taps(value) for value in set(correlation.tolist())}
        return correlated(deviates, torch.from_numpy(np.stack([taps[value] for value in correlation.tolist()])))


def _number(value, name, low, high):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not low <= value <= high:
        raise InputError(name, f"must be a number from {low:g} to {high:g}", repr(value))
    return float(value)


def _range(value, name, least):
    """Two growing numbers."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(name, "must be two numbers, (low, high)", repr(value))
    low, high = (_number(v, name, least, math.inf) for v in value)
    if not low <= high < math.inf:
        raise InputError(name, "must be growing and finite", repr(value))
    return low, high


def _shape(value):
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError("shape", "must be two whole numbers, (rows, columns)", repr(value))
    return tuple(check_whole(n, "shape", least=16) for n in value)
