# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The three reference telescopes and their dark-matter classes: pairs of low- and high-resolution images with truth.

What makes these simulations what they are: an isothermal sphere of one mass at the centre, a round-about Sersic disc
behind it, and on top nothing, a vortex of axion dark matter (100 point masses on a line) or 25 compact halos.
"""

import json
import math

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.instruments import load_instrument
from lensing_sr.simulation._reference_engines import (
    FACTOR, LenstronomyEngine, Scene, TorchEngine, source_kwargs,
)  # fmt: skip
from lensing_sr.simulation._lenstronomy_lens import perturber_kwargs, point_masses_from
from lensing_sr.simulation._simulator import Simulator
from lensing_sr.simulation.cosmology import REFERENCE, REFERENCE_RAYS
from lensing_sr.simulation.detector import noise_sigma, photon_counts
from lensing_sr.simulation.randomness import Streams
from lensing_sr.simulation.substructure import CLASSES, draw_point_masses, draw_subhalos
from lensing_sr.utils._checks import check_choice, check_whole
from lensing_sr.utils._repr import make_repr

__all__ = ["ReferenceSimulator"]

ENGINES = {"torch": TorchEngine, "lenstronomy": LenstronomyEngine}
#: Redshifts of lens and source, and the source redshift for which the lens's parameters count in Models 2 and 3.
REDSHIFTS, CONVENTION = (0.5, 1.0), 2.5
#: Solar masses of the lens, whose Einstein radius is that of a point mass.
LENS_MASS = 1e12
#: Half the side, in arcsec, of the square in which the source lies.
SOURCE_REACH = 0.35
#: Exposure of Model 1: 10^U seconds, each image and each resolution of its own.
LOG_EXPOSURE = (3.0, 3.5)
_RENDERED = ("LR_model", "HR_model", "alpha_x", "alpha_y")
_NUMBERS = (
    "src_x", "src_y", "psf_fwhm", "pixscale_LR", "pixscale_HR", "exp_time_LR", "exp_time_HR", "bkg_rms_LR",
    "bkg_rms_HR", "axion_mass", "theta_E_effective",
)  # fmt: skip
_TEXTS = ("lens_json", "source_json")


class ReferenceSimulator(Simulator):
    r"""One reference telescope and one dark-matter class: an endless set of lenses with known truth.

    .. math:: d = P\,S(\theta - \alpha(\theta)) + n, \qquad
              \alpha = s\left(\theta_E \frac{\theta}{|\theta|}
              + \sum_k \theta_{E,k}^2\,\frac{\theta-\theta_k}{|\theta-\theta_k|^2}\right)

    Parameters
    ----------
    model : {1, 2, 3}
        Telescope: 1 artificial, 2 like Euclid VIS, 3 like HST; see `lensing_sr.instruments.load_instrument`.
    dark_matter : {"no_sub", "axion", "cdm", "subhalos"}
        Nothing, a vortex of 100 point masses on a line, 25 point masses, or extended subhalos, which the reference
        does not have; see `lensing_sr.simulation.substructure`.
    faithful : bool
        True: noise and pixels exactly as the reference made them.  False: without its mistakes, light integrated over
        pixels and the low-resolution image the binned high-resolution one, proper Poisson photons and an unclipped sky.
        It is the default of the next four.
    pixel_centres : bool, optional
        Light evaluated at pixel centres, and both resolutions apart: fluxes differ by 2 to 3 %.
    gaussian_photons : bool, optional
        Models 2 and 3: photon noise drawn from a Gaussian of its variance.
    double_poisson : bool, optional
        Model 1, low resolution: photon noise drawn twice.
    clipped_sky : bool, optional
        Model 1, low resolution: sky noise added before the photons are counted, which clips it at zero.
    effective_theta_E : bool
        Models 2 and 3: deflections 0.6335 times those of the lens's mass, because its parameters count for a source at
        redshift 2.5: an Einstein radius of 0.81177 arcsec in place of 1.28149.
    slope : float
        Of the masses of "cdm", :math:`dN/dm \propto m^\mathrm{slope}`.
    engine : {"torch", "lenstronomy"}
        Who renders the noise-free images; lenstronomy does it one by one.
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
        Side of a pixel in arcsec, of each that is an image.

    Raises
    ------
    lensing_sr.errors.InputError
        If a setting is none of these.

    Notes
    -----
    The keys: ``LR`` and ``HR`` (noisy; Model 1: whole counts, else electron/s), ``LR_model`` and ``HR_model`` (without
    noise, per second), ``alpha_x``, ``alpha_y`` (true deflection at the pixel centres of HR), ``src_x``, ``src_y``,
    ``theta_E_effective``, ``axion_mass`` (eV), ``psf_fwhm`` (0: none), ``pixscale_LR``, ``pixscale_HR``,
    ``exp_time_LR``, ``exp_time_HR``, ``bkg_rms_LR``, ``bkg_rms_HR`` (in the unit of the image), and lens and source as
    lenstronomy's model and keywords, ``lens_json`` and ``source_json``.

    Examples
    --------
    >>> from lensing_sr.simulation import ReferenceSimulator
    >>> lenses = ReferenceSimulator(model=2, dark_matter="axion").draw(2, seed=1)
    >>> lenses["LR"].shape, lenses["HR"].shape, round(float(lenses["theta_E_effective"][0]), 4)
    (torch.Size([2, 64, 64]), torch.Size([2, 128, 128]), 0.8118)
    """

    #: Images rendered at once: their arrays stay in the processor's cache.
    _chunk = 64

    def __init__(
        self, model=2, dark_matter="no_sub", *, faithful=True, pixel_centres=None, gaussian_photons=None,
        double_poisson=None, clipped_sky=None, effective_theta_E=True, slope=-0.9, engine="torch", device="cpu",
        dtype=torch.float32,
    ):  # fmt: skip
        check_choice(model, (1, 2, 3), "model")
        check_choice(dark_matter, CLASSES, "dark_matter")
        check_choice(engine, tuple(ENGINES), "engine")
        check_choice(dtype, (torch.float32, torch.float64), "dtype")
        self.model, self.dark_matter, self.faithful, self.engine = model, dark_matter, bool(faithful), engine

        def chosen(option):
            return self.faithful if option is None else bool(option)

        self.pixel_centres, self.gaussian_photons = chosen(pixel_centres), chosen(gaussian_photons)
        self.double_poisson, self.clipped_sky = chosen(double_poisson), chosen(clipped_sky)
        self.effective_theta_E, self.slope = bool(effective_theta_E), float(slope)
        self.device, self.dtype = torch.device(device), dtype
        self.instrument = load_instrument(f"model-{model}")
        theta_E = REFERENCE.point_mass_einstein_radius(LENS_MASS, *REDSHIFTS, luminosity_distances=True)
        self._theta_E, self._strength = float(theta_E), 1.0
        if model > 1 and self.effective_theta_E:
            self._strength = float(REFERENCE_RAYS.deflection_scaling(*REDSHIFTS, CONVENTION))
        self._engine = ENGINES[engine](
            self.instrument, pixel_centres=self.pixel_centres, device=self.device, dtype=dtype
        )

    def __repr__(self):
        names = ("model", "dark_matter", "faithful", "engine")
        return make_repr(self, {name: getattr(self, name) for name in names} | {"device": str(self.device)})

    @property
    def keys(self):
        """What `draw` gives, in order."""
        return ("LR", "LR_model", "HR", "HR_model", "alpha_x", "alpha_y", *_NUMBERS, *_TEXTS)

    @property
    def units(self):
        """Unit of each key as astropy reads it, '' for none."""
        rate = "ct / s" if self.model == 1 else "electron / s"
        noisy = "ct" if self.model == 1 else rate
        units = dict.fromkeys(self.keys, "arcsec")
        units |= dict.fromkeys(_TEXTS, "") | dict.fromkeys(("exp_time_LR", "exp_time_HR"), "s")
        units |= {"axion_mass": "eV", "LR_model": rate, "HR_model": rate}
        return units | dict.fromkeys(("LR", "HR", "bkg_rms_LR", "bkg_rms_HR"), noisy)

    @property
    def pixel_scales(self):
        """Side of a pixel in arcsec, of each key that is an image."""
        pixel = self.instrument.pixel_scale
        fine = ("HR", "HR_model", "alpha_x", "alpha_y")
        return {"LR": pixel, "LR_model": pixel} | dict.fromkeys(fine, pixel / FACTOR)

    @property
    def cards(self):
        """What these images are, as cards of a FITS header: {keyword: (value, comment)}."""
        return {
            "SIMULAT": ("ReferenceSimulator", "what drew these images"),
            "MODEL": (self.model, "reference telescope"),
            "DMCLASS": (self.dark_matter, "dark matter"),
            "FAITHFUL": (self.faithful, "noise and pixels as the reference"),
            "PIXCENT": (self.pixel_centres, "light at pixel centres, not integrated"),
            "GAUSSPHO": (self.gaussian_photons, "photon noise drawn from a Gaussian"),
            "DBLPOISS": (self.double_poisson, "photon noise of LR drawn twice (Model 1)"),
            "CLIPSKY": (self.clipped_sky, "sky of LR clipped at zero (Model 1)"),
            "EFFTHETA": (self.effective_theta_E, "deflections for z_s = 1 of a lens for 2.5"),
            "DMSLOPE": (self.slope, "slope of the masses of class cdm"),
            "ENGINE": (self.engine, "who rendered the noise-free images"),
        }

    def render(self, lens_json, source_json, *, keys=_RENDERED, scale=FACTOR):
        """Noise-free images and deflections of given lenses, in the form that `draw` and the reference store them.

        Parameters
        ----------
        lens_json, source_json : sequence of str
            lenstronomy's model and keywords of each image: an isothermal sphere and point masses; a Sersic source.
        keys : sequence of str
            Of ``LR_model``, ``HR_model``, ``alpha_x``, ``alpha_y``.
        scale : int
            How much finer than the detector's the pixels of all but ``LR_model`` are.

        Returns
        -------
        dict
            As `draw`.

        Raises
        ------
        lensing_sr.errors.InputError
            If the lens is not of that kind.
        """
        lenses = [json.loads(str(text)) for text in lens_json]
        sources = [json.loads(str(text)) for text in source_json]
        others = {name for names, _ in lenses for name in names[1:]} - {"POINT_MASS"}
        if others or any(names[0] != "SIS" for names, _ in lenses):
            raise InputError("lens_json", "must be one SIS and point masses", sorted(others) or "no SIS first")
        radii = {kwargs[0]["theta_E"] for _, kwargs in lenses}
        if len(radii) != 1:
            raise InputError("lens_json", "must have one theta_E in all images", sorted(radii))
        position = (torch.tensor([s[f"center_{axis}"] for s in sources], dtype=torch.float64) for axis in "xy")
        scene = Scene(radii.pop(), self._strength, point_masses_from([k[1:] for _, k in lenses]), *position)
        return self._rendered(scene, set(keys), check_whole(scale, "scale", least=1))

    def _draw(self, n, seed, first, keys):
        """One chunk of `draw`."""
        place = Streams(seed, first, n, "source").uniform(2)
        x, y = torch.from_numpy(SOURCE_REACH * (2.0 * place - 1.0)).unbind(1)
        streams = Streams(seed, first, n, self.dark_matter)
        if self.dark_matter == "subhalos":
            host = np.full(n, self._theta_E)
            perturbers, axion_mass = draw_subhalos(streams, theta_E=host), torch.full((n,), math.nan).double()
        else:
            perturbers = draw_point_masses(self.dark_matter, streams, slope=self.slope)
            axion_mass = perturbers.axion_mass
        scene = Scene(self._theta_E, self._strength, perturbers, x, y)
        wanted = {*keys, *(f"{key}_model" for key in ("LR", "HR") if key in keys)}
        values = self._numbers(n, seed, first) | self._rendered(scene, wanted)
        values |= {"src_x": x, "src_y": y, "axion_mass": axion_mass}
        for key in {"LR", "HR"} & wanted:
            noise = Streams(seed, first, n, f"noise of {key}")
            values[key] = self._noisy(values[f"{key}_model"], values[f"exp_time_{key}"], noise, key)
        if "lens_json" in wanted:
            values["lens_json"] = np.array([_lens_json(scene, i) for i in range(n)])
        if "source_json" in wanted:
            values["source_json"] = np.array(
                [json.dumps(source_kwargs(self.instrument, *p)) for p in zip(x, y, strict=True)]
            )
        return {key: values[key] for key in keys}

    def _numbers(self, n, seed, first):
        """What does not depend on the lens."""
        pixel, instrument = self.instrument.pixel_scale, self.instrument
        numbers = {"psf_fwhm": instrument.psf_fwhm, "pixscale_LR": pixel, "pixscale_HR": pixel / FACTOR}
        numbers["theta_E_effective"] = self._strength * self._theta_E
        numbers = {key: torch.full((n,), float(value), dtype=torch.float64) for key, value in numbers.items()}
        if self.model == 1:
            low, high = LOG_EXPOSURE
            exposure = 10.0 ** (low + (high - low) * Streams(seed, first, n, "exposure").uniform(2))
            numbers["exp_time_LR"], numbers["exp_time_HR"] = torch.from_numpy(exposure).unbind(1)
            numbers["bkg_rms_LR"] = instrument.background_rms() * numbers["exp_time_LR"]
            numbers["bkg_rms_HR"] = torch.zeros(n, dtype=torch.float64)
            return numbers
        for key, factor in (("LR", 1), ("HR", FACTOR)):
            numbers[f"exp_time_{key}"] = torch.full((n,), instrument.total_exposure, dtype=torch.float64)
            rms = instrument.background_rms(pixel / factor)
            numbers[f"bkg_rms_{key}"] = torch.full((n,), rms, dtype=torch.float64)
        return numbers

    def _rendered(self, scene, wanted, scale=FACTOR):
        """The noise-free images that are wanted."""
        factors = {"LR_model": 1, "HR_model": scale}
        values = {key: self._engine.image(scene, factor) for key, factor in factors.items() if key in wanted}
        if wanted & {"alpha_x", "alpha_y"}:
            values["alpha_x"], values["alpha_y"] = self._engine.deflection(scene, scale)
        return {key: value for key, value in values.items() if key in wanted}

    def _noisy(self, model, exposure, streams, key):
        """One noise realisation of noise-free images; random numbers come from the CPU."""
        exposure = exposure.to(model.device)[:, None, None]
        shape = model.shape[1:]
        deviates = streams.normal_field(*shape).to(model.device)
        if self.model == 1:
            return self._counts(model, exposure, deviates, streams, key).to(model.dtype)
        pixel = self.instrument.pixel_scale / _FACTORS[f"{key}_model"]
        if self.gaussian_photons:
            sigma = noise_sigma(model, self.instrument.background_rms(pixel), exposure.to(model.dtype))
            return model + sigma * deviates
        # photons of the sky are counted with the source's, and their mean subtracted; then the detector is read
        sky = self.instrument.flux(self.instrument.sky_brightness) * pixel**2
        electrons = photon_counts(model + sky, exposure, deviates) - sky * exposure
        read = self.instrument.read_noise * math.sqrt(self.instrument.exposures)
        electrons = electrons + read * streams.normal_field(*shape).to(model.device)
        return (electrons / exposure).to(model.dtype)

    def _counts(self, model, exposure, deviates, streams, key):
        """Counts of Model 1; the high-resolution truth has no sky noise."""
        if key == "HR":
            return photon_counts(model, exposure, deviates)
        once, sky = (streams.normal_field(*model.shape[1:]).to(model.device).double() for _ in range(2))
        flux, sky = model.double(), self.instrument.background_rms() * sky
        if self.double_poisson:
            flux = flux + (flux / exposure).sqrt() * once
        if self.clipped_sky:
            return photon_counts(flux + sky, exposure, deviates)
        return photon_counts(flux, exposure, deviates) + sky * exposure


#: How much finer than the detector the pixels of an image are.
_FACTORS = {"LR_model": 1, "HR_model": FACTOR}


def _lens_json(scene, i):
    """Lens of one image as lenstronomy's model and keywords, without the effective strength."""
    names, kwargs = perturber_kwargs(scene.perturbers, i)
    sphere = {"theta_E": scene.theta_E, "center_x": 0.0, "center_y": 0.0}
    return json.dumps([["SIS", *names], [sphere, *kwargs]])
