# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The members of a population before light falls on a detector: every parameter, from each image's own random numbers.

All of it is float64 on the CPU, so that the same seed gives the same lenses on any device.  What depends on rendered
images (fluxes, magnification, signal-to-noise ratio) comes later.
"""

import dataclasses

import numpy as np
import torch
from scipy.special import gammaincinv

from lensing_sr.light.sersic import sersic_b
from lensing_sr.simulation._components import Sersics
from lensing_sr.simulation.galaxies import draw_galaxies
from lensing_sr.simulation.negatives import KINDS, draw_negatives
from lensing_sr.simulation.neighbours import draw_neighbours
from lensing_sr.simulation.presets import Preset, TruncatedNormal
from lensing_sr.simulation.randomness import Streams
from lensing_sr.simulation.selection import choose_place, magnifications
from lensing_sr.simulation.substructure import draw_point_masses, draw_subhalos

__all__ = ["LENS_NUMBERS", "MEMBER_UNITS", "Members", "Settings", "draw_members"]

#: Source positions among which one with enough magnification is chosen.
CANDIDATES = 20
#: By how much the magnification, estimated for a round Gaussian, must exceed the least one.
ALLOWANCE = 1.05
#: How often a lens galaxy has a disc beside its spheroid.
DISC_CHANCE = 0.3
#: Where the lens lies about the middle of the cut-out, in pixels: centring is never perfect.
CENTRING = TruncatedNormal(0.0, 0.6, -2.0, 2.0)
#: Error of the PSF that the analyst is given: its relative width, either sign, and the ellipticity it has in truth.
WIDTH_ERROR = (0.01, 0.03)
PSF_ELLIPTICITY = TruncatedNormal(0.0, 0.015, -0.05, 0.05)
#: Knots have half-light radii of at least 0.4 fine pixels, of unlensed galaxies of 0.6: so much the samples
#: resolve.  A star is a Gaussian of 0.3 fine pixels.
SMALLEST, STAR = 0.6, 0.3
#: Fine pixels in the half-light radius of a source whose structure is all there; smaller ones are smoother.
RESOLVED = 2.0
#: Share of a source's light that may be left out, far from its centre.
DARK = 1e-4
#: Neighbours: flux limits as the S/N of a point source on the sky, and how many there may be.
NEIGHBOUR_SN, NEIGHBOUR_SLOTS = (5.0, 1500.0), 6
#: Solar masses of subhalos: smaller ones move nothing by a thousandth of an arcsec, and there are very many of them.
SUBHALO_MASSES = (1e7, 1e10)

#: Numbers that only a lens has: nan for other galaxies.
LENS_NUMBERS = {
    "theta_E": "arcsec",
    "gamma": "",
    "e1": "",
    "e2": "",
    "q": "",
    "gamma1": "",
    "gamma2": "",
    "x_source": "arcsec",
    "y_source": "arcsec",
    "r_eff": "arcsec",
    "n": "",
    "e1_source": "",
    "e2_source": "",
    "q_source": "",
    "offset": "",
}
#: Every number that is drawn, with its unit.
MEMBER_UNITS = LENS_NUMBERS | {
    "x_lens": "arcsec",
    "y_lens": "arcsec",
    "lens_r_eff": "arcsec",
    "lens_n": "",
    "e1_light": "",
    "e2_light": "",
    "x_light": "arcsec",
    "y_light": "arcsec",
    "disc_share": "",
    "neighbours": "",
    "correlation": "",
    "psf_fwhm": "arcsec",
    "psf_error": "",
    "psf_e1": "",
    "psf_e2": "",
    "is_lens": "",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the members of a population depend on.

    Attributes
    ----------
    preset : Preset
        Their laws.
    pixel, fine_pixel : float
        Side of a detector pixel and of a fine pixel, arcsec.
    half_field : float
        Half the larger side of the field, margin included, arcsec.
    psf_fwhm : tuple of float
        Range of the PSF's FWHM, arcsec.
    background : float
        Rms of a pixel of blank sky.
    lumpiness : float
        Of sources, see `draw_galaxies`.
    neighbours, psf_error : bool
        Whether there are any.
    correlated_noise : tuple of float
        Lag-1 correlations, each as likely as the others.
    dark_matter : str
        One of `lensing_sr.simulation.substructure.CLASSES`.
    negatives : float
        Share of galaxies that are no lenses.
    """

    preset: Preset
    pixel: float
    fine_pixel: float
    half_field: float
    psf_fwhm: tuple
    background: float
    lumpiness: float
    neighbours: bool
    psf_error: bool
    correlated_noise: tuple
    dark_matter: str
    negatives: float


@dataclasses.dataclass(frozen=True)
class Members:
    """Some members of a population.

    Attributes
    ----------
    numbers : dict
        `MEMBER_UNITS`, each float64 ``(n,)``; what only a lens has is there for every image.
    light : Sersics
        Lens galaxies, ``(n, 2)`` of unit flux: spheroid and disc.
    envelope : Sersics or None
        What lies around the galaxies in the middle, lenses or not, ``(n, 1)`` of unit flux.
    envelope_share : numpy.ndarray or None
        Its share of their light.
    lens_brightness : numpy.ndarray
        Ratio or magnitude, see `lensing_sr.simulation.presets.Preset`.
    sn_deviate : numpy.ndarray
        Standard normal deviate of the arcs' signal-to-noise ratio.
    source : Galaxies
        Lensed galaxies.
    perturbers : object or None
        Substructure.
    neighbours : Neighbours or None
        In the flux unit of the background.
    negatives : Negatives or None
        Galaxies that are no lenses, for every image.
    """

    numbers: dict
    light: Sersics
    envelope: Sersics | None
    envelope_share: np.ndarray | None
    lens_brightness: np.ndarray
    sn_deviate: np.ndarray
    source: object
    perturbers: object
    neighbours: object
    negatives: object

    @property
    def reach(self):
        """Radius in arcsec within which the sources have all but `DARK` of their light, ``(n,)``."""
        n, r_eff = self.numbers["n"], self.numbers["r_eff"]
        b = sersic_b(torch.from_numpy(n)).numpy()
        # companions lie up to 2.2 half-light radii away
        return r_eff * np.maximum((gammaincinv(2.0 * n, 1.0 - DARK) / b) ** n, 8.0)

    @property
    def kind(self):
        """What each is, text ``(n,)``: a lens, or one of `lensing_sr.simulation.negatives.KINDS`."""
        is_lens = self.numbers["is_lens"] > 0
        return np.where(is_lens, "lens", "lens" if self.negatives is None else self.negatives.kind)


def draw_members(settings, seed, first, count):
    """Draw members of a population.

    Parameters
    ----------
    settings : Settings
        What they depend on.
    seed, first, count : int
        Which images, see `lensing_sr.simulation.randomness.Streams`.

    Returns
    -------
    Members
    """

    def streams(purpose):
        return Streams(seed, first, count, f"population {purpose}")

    laws = settings.preset
    numbers = laws.draw(streams("laws").normal(len(laws.laws)))
    chance = streams("chance").uniform(8)
    numbers["is_lens"] = (chance[:, 0] >= settings.negatives).astype(float)
    numbers["e1"], numbers["e2"] = _ellipticity(numbers["q"], chance[:, 1])
    numbers["e1_source"], numbers["e2_source"] = _ellipticity(numbers["q_source"], chance[:, 2])
    deviates = streams("place").normal(6)
    numbers["x_lens"], numbers["y_lens"] = (settings.pixel * CENTRING(deviates[:, k]) for k in (0, 1))
    _place_source(numbers, laws, streams("offset"))
    light = _lens_light(numbers, chance[:, 3] < DISC_CHANCE, laws.lens_flux == "ratio")
    _psf(numbers, settings, chance[:, 4:6], deviates[:, 2:4])
    choice = np.minimum((chance[:, 6] * len(settings.correlated_noise)).astype(int), len(settings.correlated_noise) - 1)
    numbers["correlation"] = np.asarray(settings.correlated_noise)[choice]

    source = draw_galaxies(
        streams("source"),
        **{name: numbers[name] for name in ("r_eff", "n")},
        **{name: numbers[f"{name}_source"] for name in ("e1", "e2", "x", "y")},
        # structure finer than the samples is left out
        lumpiness=settings.lumpiness * np.clip(numbers["r_eff"] / settings.fine_pixel / RESOLVED, 0.0, 1.0) ** 2,
        smallest=SMALLEST * settings.fine_pixel,
    )
    neighbours = _neighbours(numbers, settings, streams) if settings.neighbours else None
    numbers["neighbours"] = np.zeros(count) if neighbours is None else neighbours.number.double().numpy()
    negatives = None
    if settings.negatives > 0.0:
        negatives = draw_negatives(
            streams("negatives"),
            np.minimum((chance[:, 7] * len(KINDS)).astype(int), len(KINDS) - 1),
            radius=numbers["theta_E"],
            r_eff=numbers["lens_r_eff"],
            **{name: numbers[f"{name}_light"] for name in ("e1", "e2", "x", "y")},
            smallest=SMALLEST * settings.fine_pixel,
        )
    return Members(
        numbers={name: numbers[name] for name in MEMBER_UNITS},
        light=light,
        envelope=_envelope(numbers) if "envelope_share" in numbers else None,
        envelope_share=numbers.get("envelope_share"),
        lens_brightness=numbers["lens_brightness"],
        sn_deviate=deviates[:, 4],
        source=source,
        perturbers=_perturbers(numbers, settings, streams),
        neighbours=neighbours,
        negatives=negatives,
    )


def _ellipticity(q, turn):
    """Components (e1, e2) of an axis ratio at an angle of `turn` half turns."""
    size, angle = (1.0 - q) / (1.0 + q), 2.0 * np.pi * turn
    return size * np.cos(angle), size * np.sin(angle)


def _place_source(numbers, laws, streams):
    """Choose where the source lies, among places spread evenly over a disc behind the lens."""
    uniform = streams.uniform(2 * CANDIDATES + 1)
    radius, angle = np.sqrt(uniform[:, 1 : CANDIDATES + 1]), 2.0 * np.pi * uniform[:, CANDIDATES + 1 :]
    radius = laws.farthest_source * radius
    places = np.stack((radius * np.cos(angle), radius * np.sin(angle)), 2)
    names = ("theta_E", "gamma", "e1", "e2", "gamma1", "gamma2", "r_eff")
    magnification = magnifications(torch.as_tensor(places), **{name: torch.as_tensor(numbers[name]) for name in names})
    least = ALLOWANCE * laws.least_magnification
    chosen = choose_place(magnification, least, laws.magnification_bias, torch.as_tensor(uniform[:, 0])).numpy()
    row = np.arange(len(radius))
    numbers["offset"] = radius[row, chosen]
    for k, axis in enumerate("xy"):
        numbers[f"{axis}_source"] = numbers[f"{axis}_lens"] + numbers["theta_E"] * places[row, chosen, k]


def _lens_light(numbers, has_disc, relative):
    """Light of the lens galaxies, of unit flux: a spheroid along the mass, and in some of them a disc."""
    if relative:
        numbers["lens_r_eff"] = numbers["lens_r_eff"] * numbers["theta_E"]
    for axis in "xy":
        numbers[f"{axis}_light"] = numbers[f"{axis}_lens"] + numbers["theta_E"] * numbers[f"lens_shift_{axis}"]
    spheroid = _bounded(*(numbers["lens_stretch"] * numbers[f"e{k}"] + numbers[f"lens_twist_{k}"] for k in (1, 2)), 0.5)
    disc = _bounded(*(numbers["disc_flattening"] * e for e in spheroid), 0.6)
    numbers["e1_light"], numbers["e2_light"] = spheroid
    share = numbers["disc_share"] = np.where(has_disc, numbers["disc_share"], 0.0)
    r_eff, x, y = (numbers[name] for name in ("lens_r_eff", "x_light", "y_light"))
    return Sersics.from_arrays(
        flux=np.column_stack([1.0 - share, share]),
        r_eff=np.column_stack([r_eff, r_eff * numbers["disc_size"]]),
        n=np.column_stack([numbers["lens_n"], np.ones_like(x)]),
        e1=np.column_stack([spheroid[0], disc[0]]),
        e2=np.column_stack([spheroid[1], disc[1]]),
        x=np.column_stack([x, x]),
        y=np.column_stack([y, y]),
    )


def _envelope(numbers):
    """Stars about the galaxies in the middle, as wide, elongated and far off as the preset has them."""
    r_eff = numbers["lens_r_eff"]
    e1, e2 = _bounded(numbers["envelope_e1"], numbers["envelope_e2"], 0.5)
    x, y = (numbers[f"{axis}_light"] + r_eff * numbers[f"envelope_shift_{axis}"] for axis in "xy")
    values = {"flux": np.ones_like(r_eff), "r_eff": r_eff * numbers["envelope_size"], "n": np.ones_like(r_eff)}
    values |= {"e1": e1, "e2": e2, "x": x, "y": y}
    return Sersics.from_arrays(**{name: value[:, None] for name, value in values.items()})


def _bounded(e1, e2, largest):
    """Ellipticities, shrunk to a largest one where they exceed it."""
    shrink = np.minimum(1.0, largest / np.maximum(np.hypot(e1, e2), 1e-12))
    return e1 * shrink, e2 * shrink


def _psf(numbers, settings, uniform, deviates):
    """The PSF that the analyst is given, and by how much it is wrong."""
    narrow, wide = settings.psf_fwhm
    numbers["psf_fwhm"] = narrow * (wide / narrow) ** uniform[:, 0] if narrow > 0 else np.zeros(len(uniform))
    wrong = float(settings.psf_error)
    # either sign: the number's first half is the sign, and where it lies in it the size
    size = 2.0 * np.abs(uniform[:, 1] - 0.5)
    error = WIDTH_ERROR[0] + (WIDTH_ERROR[1] - WIDTH_ERROR[0]) * size
    numbers["psf_error"] = wrong * np.where(uniform[:, 1] < 0.5, -error, error)
    numbers["psf_e1"], numbers["psf_e2"] = (wrong * PSF_ELLIPTICITY(deviates[:, k]) for k in (0, 1))


def _neighbours(numbers, settings, streams):
    """Galaxies and stars in the field, outside the arcs."""
    # S/N of a point source that fills the area of a Gaussian PSF, and at least a pixel
    area = max(np.pi * settings.psf_fwhm[1] ** 2 / (2.0 * np.log(2.0)) / settings.pixel**2, 1.0)
    faintest, brightest = (sn * settings.background * np.sqrt(area) for sn in NEIGHBOUR_SN)
    density = settings.preset.neighbour_density
    if density is None:
        density = settings.preset.neighbours / (2.0 * settings.half_field) ** 2
    return draw_neighbours(
        streams("neighbours"),
        half_width=settings.half_field,
        clear_radius=settings.preset.clear_radius * numbers["theta_E"] + settings.psf_fwhm[1],
        surface_density=density,
        faintest=faintest,
        brightest=brightest,
        star_sigma=STAR * settings.fine_pixel,
        slots=NEIGHBOUR_SLOTS,
    )


def _perturbers(numbers, settings, streams):
    """Substructure of the asked kind."""
    if settings.dark_matter == "no_sub":
        return None
    if settings.dark_matter == "subhalos":
        return draw_subhalos(streams("subhalos"), theta_E=numbers["theta_E"], masses=SUBHALO_MASSES)
    return draw_point_masses(settings.dark_matter, streams(settings.dark_matter))
