# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Light of real galaxies: discs with clumps, spiral arms, bulges, rings and companions, of unit flux.

.. math:: I = f\, I_\mathrm{disc}\, F_\mathrm{arms} + \sum_k f_k\, I_k + \sum_j f_j\, A_j, \qquad
          f + \sum_k f_k + \sum_j f_j = 1

with a Sersic disc, the arms' factor F (`spiral_factor`: mean 1 over azimuth at every radius), Sersics :math:`I_k`
(bulge or bar, companion, clumps) and a ring :math:`A_j`.  Every piece is normalised in closed form, so the flux is 1 to
rounding (float32: 1e-5) before any sampling; what the samples of a grid add up to depends on the grid.

Arms, clumps and rings live in the plane of the disc and are seen under its ellipse.  Bulge and companion have shapes of
their own.  Star-forming galaxies at redshift 1 to 3 are the model (references in `draw_galaxies`)::

    galaxies = draw_galaxies(streams, r_eff=..., n=..., e1=..., e2=..., x=..., y=..., lumpiness=1.0, smallest=0.0)
    light = galaxies.to(device, dtype).brightness(x, y)
"""

import dataclasses

import numpy as np
import torch
from scipy.special import gammaincinv

from lensing_sr.light.sersic import sersic_b, sersic_brightness, sersic_flux
from lensing_sr.simulation._components import (
    Arcs,
    Sersics,
    TensorSet,
    as_column,
    as_ellipse,
    disc_frame,
    from_disc_frame,
    spiral_factor,
)

__all__ = ["CLUMPS", "CLUMP_NUMBERS", "Galaxies", "draw_clumps", "draw_galaxies"]

#: Most clumps a galaxy may have; `Galaxies.parts` holds the bulge or bar and the companion in front of them.
CLUMPS = 8

#: Uniform numbers that a clump takes, and `draw_galaxies` for all the rest.
CLUMP_NUMBERS, _NUMBERS = 8, 32


@dataclasses.dataclass(frozen=True, eq=False)
class Galaxies(TensorSet):
    r"""Galaxies of unit flux: a disc with arms, and whatever else shines.

    Parameters
    ----------
    flux : torch.Tensor
        ``(n,)`` share of the light in the disc.
    r_eff : torch.Tensor
        ``(n,)`` half-light radius of the disc on the intermediate axis, arcsec.
    n : torch.Tensor
        ``(n,)`` Sersic index of the disc.
    e1, e2 : torch.Tensor
        ``(n,)`` ellipticity of the disc, as in `lensing_sr.light.sersic`.
    x, y : torch.Tensor
        ``(n,)`` centre of the disc, arcsec.
    arm_strength, arm_number, arm_winding, arm_phase : torch.Tensor
        ``(n,)`` spiral arms as in `lensing_sr.simulation._components.spiral_factor`; strength zero for none.
    arm_inner, arm_outer : torch.Tensor
        ``(n,)`` radii within and beyond which the arms fade, arcsec.
    parts : Sersics
        ``(n, K)`` bulge or bar, companion, clumps.
    rings : Arcs
        ``(n, J)`` rings and arcs.
    """

    flux: torch.Tensor
    r_eff: torch.Tensor
    n: torch.Tensor
    e1: torch.Tensor
    e2: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    arm_strength: torch.Tensor
    arm_number: torch.Tensor
    arm_winding: torch.Tensor
    arm_phase: torch.Tensor
    arm_inner: torch.Tensor
    arm_outer: torch.Tensor
    parts: Sersics
    rings: Arcs

    @classmethod
    def assemble(cls, disc, arms, parts, rings):
        """Return galaxies from arrays of the disc's and the arms' fields by name (without "arm_"), and their parts."""
        fields = disc | {f"arm_{name}": value for name, value in arms.items()}
        fields = {name: torch.as_tensor(np.array(value, dtype=np.float64)) for name, value in fields.items()}
        return cls(**fields, parts=parts, rings=rings)

    def brightness(self, x, y):
        """Surface brightness of galaxies of flux 1.

        Parameters
        ----------
        x, y : torch.Tensor
            Positions in the plane of the galaxies that broadcast with ``(n, 1, 1)``, arcsec: for a lensed source, where
            the rays of the image hit the source plane.

        Returns
        -------
        torch.Tensor
            ``(n, rows, columns)`` per arcsec^2, nowhere negative.
        """
        column = {name: getattr(self, name)[:, None, None] for name in ("r_eff", "n", "e1", "e2", "x", "y")}
        centre = column.pop("x"), column.pop("y")
        amplitude = self.flux[:, None, None] / sersic_flux(torch.ones_like(column["n"]), column["r_eff"], column["n"])
        light = sersic_brightness(x, y, amplitude, **column, x_source=centre[0], y_source=centre[1])
        return self._with_arms(light, x, y) + self.parts.brightness(x, y) + self.rings.brightness(x, y)

    def _with_arms(self, light, x, y):
        """Multiply the discs that have arms by their factor."""
        count = len(self)
        used = self.arm_strength.nonzero()[:, 0]
        if len(used) == 0:
            return light
        x, y = (p[used] if p.dim() == 3 and len(p) == count else p for p in (x, y))
        pick = lambda name: getattr(self, name)[used, None, None]
        u, v = disc_frame(x, y, *(pick(name) for name in ("e1", "e2", "x", "y")))
        arms = (pick(f"arm_{name}") for name in ("strength", "number", "winding", "phase", "inner", "outer"))
        return light.index_copy(0, used, light[used] * spiral_factor(u, v, pick("r_eff"), *arms))


def draw_galaxies(streams, *, r_eff, n, e1, e2, x, y, lumpiness=1.0, smallest=0.0):
    r"""Draw what a Sersic leaves out: clumps, arms, bulge or bar, companion, ring.

    At lumpiness 1, for a disc (n <= 1.5):

    - 1 galaxy in 6 is nearly smooth: all that follows is a tenth as strong;
    - spiral arms in 60 %: 2 (most), 3 or 4, pitch 10 (for 3 and 4 arms: 15 and 20) to 35 deg, contrast 0.1 to 0.8,
      fading within 0.3-0.7 and beyond 1.5-3 r_eff;
    - 0 to 8 clumps with 5 to 40 % of the light (a third of that for one clump, two thirds for two), half-light radii of
      0.05 to 0.3 r_eff, where the disc has its light and along the arms where there are some;
    - a bulge or, in a third of them, a bar in 45 %, with 5 to 30 % of the light;
    - a companion, a minor merger, in 20 %, with 5 to 30 % of the light, 0.8 to 2.2 r_eff away;
    - a ring in 8 %, with 10 to 35 % of the light, at 0.8 to 1.4 r_eff.

    Galaxies of higher n have less of all that: from n = 1.5 on its strength falls, to a quarter from n = 3.4 on.
    The disc keeps r_eff and n as they are given.  So the measured half-light radius is r_eff for a smooth galaxy and
    scatters about it otherwise: at lumpiness 1 its median is 2 % below r_eff, and 90 % lie from 0.7 to 1.2 r_eff
    (bulges make it smaller, companions and rings larger).

    Parameters
    ----------
    streams : lensing_sr.simulation.randomness.Streams
        Random numbers; one call takes the same count from each image's generator, whatever the parameters.
    r_eff : array_like
        Half-light radius of the disc on the intermediate axis, ``(count,)`` arcsec.
    n : array_like
        Sersic index of the disc, ``(count,)``, 0.3 to 10.
    e1, e2 : array_like
        Ellipticity of the disc, ``(count,)``, as in `lensing_sr.light.sersic`.
    x, y : array_like
        Centre of the disc, ``(count,)`` arcsec.
    lumpiness : array_like
        How much of it, 0 to 2, a number or ``(count,)``: scales the strength of the arms and the shares of light (none
        of which exceeds 0.8 of what is left).  0 is exactly the elliptical Sersic.
    smallest : array_like
        Half-light radius below which no part goes, a number or ``(count,)`` arcsec: knots that fall between the samples
        of a grid lose or gain flux.

    Returns
    -------
    Galaxies
        Of unit flux, float64 on the CPU.

    Raises
    ------
    InputError
        If a parameter is not finite, out of range, or of another length.

    References
    ----------
    Elmegreen et al. 2007, ApJ 658, 763; Guo et al. 2015, ApJ 800, 39; Zanella et al. 2019, MNRAS 489, 2792 (clumps).
    Yu & Ho 2020, ApJ 900, 150 (pitch and strength of arms).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation.galaxies import draw_galaxies
    >>> from lensing_sr.simulation.randomness import Streams
    >>> disc = {"r_eff": 0.2, "n": 1.0, "e1": 0.1, "e2": 0.2, "x": 0.0, "y": 0.0}
    >>> galaxies = draw_galaxies(Streams(1, 0, 3, "source"), **disc, smallest=0.01)
    >>> axis = (torch.arange(400, dtype=torch.float64) - 199.5) * 0.01
    >>> light = galaxies.brightness(axis, axis[:, None])
    >>> [round(float(flux), 2) for flux in light.sum((1, 2)) * 0.01**2]
    [1.0, 1.0, 1.0]
    """
    count = streams.count
    r_eff, n = as_column(r_eff, count, "r_eff", low=1e-9), as_column(n, count, "n", low=0.3, high=10.0)
    e1, e2 = as_ellipse(e1, e2, count)
    x, y = as_column(x, count, "x"), as_column(y, count, "y")
    lumpiness = as_column(lumpiness, count, "lumpiness", low=0.0, high=2.0)
    smallest = as_column(smallest, count, "smallest", low=0.0)
    numbers = iter(streams.uniform(_NUMBERS).T)
    clump_numbers = streams.uniform(CLUMPS, CLUMP_NUMBERS)

    between = lambda low, high: low + (high - low) * next(numbers)
    happens = lambda chance: next(numbers) < chance
    strength = lumpiness * np.clip((4.0 - n) / 2.5, 0.25, 1.0) * np.where(happens(1 / 6), 0.1, 1.0)
    share = lambda low, high, present: np.minimum(strength * between(low, high) * present, 0.8)

    arm_number = np.digitize(next(numbers), [0.6, 0.85]) + 2.0
    arms = {
        "strength": np.arctanh(between(0.1, 0.8)) * happens(0.6) * strength,
        "number": arm_number,
        # several arms that wind tightly would look like the groove of a record
        "winding": np.where(happens(0.5), 1.0, -1.0) / np.tan(np.deg2rad(between(5.0 * arm_number, 35.0))),
        "phase": between(0.0, 2.0 * np.pi),
        "inner": between(0.3, 0.7) * r_eff,
        "outer": between(1.5, 3.0) * r_eff,
    }

    is_bar = happens(1 / 3)
    bulge_share = share(0.05, 0.3, happens(0.45))
    size, angle = between(0.0, 1.0), between(0.0, 2.0 * np.pi)
    flat = np.where(is_bar, between(0.3, 0.5), 0.4)
    bulge = {
        "r_eff": np.maximum(np.where(is_bar, 0.25 + 0.25 * size, 0.12 + 0.25 * size) * r_eff, smallest),
        "n": np.where(is_bar, 0.6, between(1.0, 3.0)),
        # a bulge is rounder than its disc; a bar points anywhere, and shows less of itself in an inclined disc
        "e1": np.where(is_bar, 0.5 * e1 + flat * np.cos(angle) * (1 - np.hypot(e1, e2)), flat * e1),
        "e2": np.where(is_bar, 0.5 * e2 + flat * np.sin(angle) * (1 - np.hypot(e1, e2)), flat * e2),
        "x": x,
        "y": y,
    }

    companion_share = share(0.05, 0.3, happens(0.2))
    distance, azimuth = between(0.8, 2.2) * r_eff, between(0.0, 2.0 * np.pi)
    flat, angle = between(0.0, 0.4), between(0.0, 2.0 * np.pi)
    companion = {
        "r_eff": np.maximum(between(0.2, 0.5) * r_eff, smallest),
        "n": between(0.5, 2.0),
        "e1": flat * np.cos(angle),
        "e2": flat * np.sin(angle),
        "x": x + distance * np.cos(azimuth),
        "y": y + distance * np.sin(azimuth),
    }

    ring_share = share(0.1, 0.35, happens(0.08))
    ring = {
        "radius": between(0.8, 1.4) * r_eff,
        "width": between(0.1, 0.25),
        "strength": between(0.0, 1.0),
        "angle": between(0.0, 2.0 * np.pi),
        "opening": np.zeros(count),
        "e1": e1,
        "e2": e2,
        "x": x,
        "y": y,
    }

    clump_count = np.floor((CLUMPS + 1) * next(numbers))
    clump_share = share(0.05, 0.4, np.minimum(clump_count / 3.0, 1.0))
    clumps = draw_clumps(clump_numbers, clump_count, arms, r_eff, n, e1, e2, x, y, smallest)

    # the companion takes its share of the whole, the bulge of the rest, and so on; the disc keeps what is left
    left, fluxes = np.ones(count), []
    for taken in (companion_share, bulge_share, ring_share, clump_share):
        fluxes.append(left * taken)
        left = left - fluxes[-1]
    companion["flux"], bulge["flux"], ring["flux"] = fluxes[:3]
    clumps["flux"] = clumps["flux"] * fluxes[3][:, None]
    base = {"flux": left, "r_eff": r_eff, "n": n, "e1": e1, "e2": e2, "x": x, "y": y}
    parts = {name: np.column_stack([bulge[name], companion[name], clumps[name]]) for name in clumps}
    rings = {name: value[:, None] for name, value in ring.items()}
    return Galaxies.assemble(base, arms, Sersics.from_arrays(**parts), Arcs.from_arrays(**rings))


def draw_clumps(numbers, used, arms, r_eff, n, e1, e2, x, y, smallest):
    """Turn uniform numbers into clumps in the plane of a disc, where it has its light, along its arms if it has some.

    Parameters
    ----------
    numbers : numpy.ndarray
        ``(count, K, CLUMP_NUMBERS)`` in [0, 1).
    used : numpy.ndarray
        ``(count,)`` how many of the K clumps there are.
    arms : dict
        The disc's arms: "strength", "number", "winding" and "phase", each ``(count,)``.
    r_eff, n, e1, e2, x, y, smallest : numpy.ndarray
        Of the disc, as in `draw_galaxies`.

    Returns
    -------
    dict
        The fields of `Sersics`, ``(count, K)``.  The flux adds up to 1, or to 0 where there is no clump.
    """
    radius, azimuth, arm, off, size, index, flat, weight = np.moveaxis(numbers, 2, 0)
    strength, arm_number, winding, phase = (arms[name][:, None] for name in ("strength", "number", "winding", "phase"))
    r_eff, n, e1, e2, x, y, smallest = (value[:, None] for value in (r_eff, n, e1, e2, x, y, smallest))
    weight = -np.log1p(-weight) * (np.arange(numbers.shape[1]) < used[:, None])
    # where 8 to 80 % of the light of the disc lie within, by its inverse curve of growth
    b = sersic_b(torch.as_tensor(n)).numpy()
    radius = r_eff * (gammaincinv(2.0 * n, 0.08 + 0.72 * radius) / b) ** n
    crest = phase + winding * np.log(radius / r_eff) + 2.0 * np.pi * np.floor(arm_number * arm) / arm_number
    along = crest + np.pi * (off - 0.5) / arm_number
    azimuth = np.where(strength > 0.0, along, 2.0 * np.pi * azimuth)
    x, y = from_disc_frame(radius * np.cos(azimuth), radius * np.sin(azimuth), e1, e2, x, y)
    return {
        "flux": weight / np.maximum(weight.sum(1, keepdims=True), 1e-300),
        "r_eff": np.maximum(r_eff * 0.05 * 6.0**size, smallest),
        "n": 0.5 + 0.5 * index,
        # some clumps are as flat as the disc, some are round
        "e1": flat * e1,
        "e2": flat * e2,
        "x": x,
        "y": y,
    }
