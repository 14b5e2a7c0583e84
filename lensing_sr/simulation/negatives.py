# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Light of galaxies that are not lenses but look like one: arms, rings, tails and companions where arcs would be::

    negatives = draw_negatives(streams, kind, radius=..., r_eff=..., e1=..., e2=..., x=..., y=..., smallest=0.0)
    negatives = negatives.to(device, dtype)
    light = (1 - f) * negatives.central.brightness(x, y) + f * negatives.other.brightness(x, y)   # f = other_fraction

The galaxy in the middle (`central`: what a lens light would be) and all the rest (`other`: what would pass for arcs)
come apart, each with flux 1, so that they can be given colours, magnitudes and places in the books of their own;
`other_fraction` is the usual share of the rest, and `brightness` both together with flux 1.
"""

import dataclasses

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.simulation._components import Arcs, Sersics, TensorSet, as_column, as_ellipse, from_disc_frame, join
from lensing_sr.simulation.galaxies import CLUMP_NUMBERS, CLUMPS, Galaxies, draw_clumps

__all__ = ["KINDS", "Negatives", "draw_negatives"]

#: What may be drawn: a smooth elliptical; a spiral whose arms pass for arcs; a ring galaxy; a merger with tidal tails;
#: small companions around a galaxy; companions that happen to lie tangentially, some of them bent.
KINDS = ("elliptical", "spiral", "ring", "merger", "companions", "alignment")

#: Slots of Sersics and of arcs in `Negatives.other`; uniform numbers an image takes besides those of its clumps.
_PARTS, _ARCS, _NUMBERS = CLUMPS, 3, 24

#: Values of unused slots: harmless ones.
_UNUSED = {"r_eff": 1.0, "n": 1.0, "radius": 1.0, "width": 0.1}


@dataclasses.dataclass(frozen=True, eq=False)
class Negatives(TensorSet):
    """Unlensed galaxies in two parts.

    Parameters
    ----------
    kind_index : torch.Tensor
        ``(n,)`` index into `KINDS`.
    other_fraction : torch.Tensor
        ``(n,)`` usual share of `other` in the light, 0 for a pure elliptical.
    central : Sersics
        ``(n, 1)`` the galaxy in the middle, of flux 1.
    other : Galaxies
        All the rest, of flux 1.
    """

    kind_index: torch.Tensor
    other_fraction: torch.Tensor
    central: Sersics
    other: Galaxies

    @property
    def kind(self):
        """Names of the kinds, array of text ``(n,)``."""
        return np.array(KINDS)[self.kind_index.long().cpu().numpy()]

    def brightness(self, x, y):
        """Surface brightness of both parts together, of flux 1.

        Parameters
        ----------
        x, y : torch.Tensor
            Positions that broadcast with ``(n, 1, 1)``, arcsec.

        Returns
        -------
        torch.Tensor
            ``(n, rows, columns)`` per arcsec^2.
        """
        share = self.other_fraction[:, None, None]
        return (1.0 - share) * self.central.brightness(x, y) + share * self.other.brightness(x, y)


def draw_negatives(streams, kind, *, radius, r_eff, e1, e2, x, y, smallest=0.0):
    r"""Draw unlensed galaxies that a lens finder takes for lenses.

    ============ ==================================================== ====================================== ==========
    kind         central                                              other                                  fraction
    ============ ==================================================== ====================================== ==========
    elliptical   Sersic, n 2.5 to 5.5                                 envelope 1.3 to 2.5 r_eff, in half     0 or .1-.4
    spiral       bulge, 0.3 to 0.6 r_eff                              disc of half-light radius .7-1.1 R, 2  .6-.92
                                                                      to 4 arms of contrast .6-.95, pitch
                                                                      8 to 28 deg, star-forming knots
    ring         Sersic, n 2 to 5                                     inclined ring at .8-1.2 R (axis ratio  .15-.6
                                                                      .5 to 1), even or lopsided, beaded,
                                                                      some with a faint disc inside
    merger       Sersic, n 1 to 4                                     second galaxy .4-1.3 R away, two       .3-.65
                                                                      tails from .7-1.2 R, knots in them
    companions   Sersic, n 2 to 5                                     1 to 5 small galaxies at .7-1.6 R, of  .05-.4
                                                                      any position angle
    alignment    Sersic, n 2 to 5                                     1 to 3 elongated galaxies at .85-1.2   .05-.3
                                                                      R, tangential within 15 deg, half of
                                                                      them bent around the centre
    ============ ==================================================== ====================================== ==========

    Parameters
    ----------
    streams : lensing_sr.simulation.randomness.Streams
        Random numbers; one call takes the same count from each image's generator, whatever the kind.
    kind : array_like of int
        ``(count,)`` indices into `KINDS`.
    radius : array_like
        R, the radius at which arms, rings, tails and companions lie, ``(count,)`` arcsec: that of the Einstein rings
        they are to be taken for.
    r_eff : array_like
        Half-light radius of the central galaxy on the intermediate axis, ``(count,)`` arcsec (of a spiral's bulge: 0.3
        to 0.6 of it).
    e1, e2 : array_like
        Ellipticity of the central galaxy, ``(count,)``; bulges are rounder, discs of spirals are seen more face on.
    x, y : array_like
        Its centre, ``(count,)`` arcsec.
    smallest : array_like
        Half-light radius below which no knot goes, ``(count,)`` arcsec (see `draw_galaxies`).

    Returns
    -------
    Negatives
        float64 on the CPU.

    Raises
    ------
    InputError
        If a kind is unknown, or a parameter is not finite, out of range, or of another length.

    References
    ----------
    Hoag 1950, AJ 55, 170 (the ring galaxy); Rojas et al. 2022, A&A 668, A73 (what lens finders mistake for lenses).

    Examples
    --------
    >>> from lensing_sr.simulation.negatives import KINDS, draw_negatives
    >>> from lensing_sr.simulation.randomness import Streams
    >>> galaxy = {"radius": 1.2, "r_eff": 0.6, "e1": 0.1, "e2": 0.0, "x": 0.0, "y": 0.0}
    >>> negatives = draw_negatives(Streams(1, 0, 2, "negatives"), [KINDS.index("ring"), 0], **galaxy)
    >>> negatives.kind.tolist()
    ['ring', 'elliptical']
    """
    count = streams.count
    numbers, clumps = streams.uniform(_NUMBERS), streams.uniform(CLUMPS, CLUMP_NUMBERS)
    kind = np.asarray(kind)
    known = kind.dtype.kind in "iu" and np.isin(kind, range(len(KINDS))).all()
    if kind.shape != (count,) or not known:
        rule = f"must be {count} whole numbers from 0 to {len(KINDS) - 1}, one an image"
        raise InputError("kind", rule, kind.tolist() if kind.size < 9 else f"shape {kind.shape}", f"see KINDS: {KINDS}")
    e1, e2 = as_ellipse(e1, e2, count)
    galaxy = {
        "radius": as_column(radius, count, "radius", low=1e-9),
        "r_eff": as_column(r_eff, count, "r_eff", low=1e-9),
        "e1": e1,
        "e2": e2,
        "x": as_column(x, count, "x"),
        "y": as_column(y, count, "y"),
        "smallest": as_column(smallest, count, "smallest", low=0.0),
    }
    parts, rows = [], []
    for index, name in enumerate(KINDS):
        here = np.flatnonzero(kind == index)
        if len(here):
            chosen = {key: value[here] for key, value in galaxy.items()}
            parts.append(_draw_kind(index, _Numbers(numbers[here]), clumps[here], **chosen))
            rows.append(here)
    return join(parts, np.argsort(np.concatenate(rows)))


class _Numbers:
    """Uniform numbers ``(rows, count)`` handed out column by column."""

    def __init__(self, numbers):
        self._columns = iter(numbers.T)

    def between(self, low, high):
        return low + (high - low) * next(self._columns)

    def happens(self, chance):
        return next(self._columns) < chance


def _draw_kind(index, numbers, clumps, **galaxy):
    """`Negatives` of one kind, in the order of `KINDS`, for some of the images."""
    draw = (_elliptical, _spiral, _ring, _merger, _companions, _alignment)[index]
    fraction, central, other = draw(numbers, clumps, **galaxy)
    rows = len(fraction)
    centre = {"e1": galaxy["e1"], "e2": galaxy["e2"], "x": galaxy["x"], "y": galaxy["y"]}
    central = {"flux": np.ones(rows), "r_eff": galaxy["r_eff"]} | centre | central
    disc = {"flux": np.zeros(rows), "r_eff": galaxy["radius"], "n": np.ones(rows)} | centre | other.get("disc", {})
    none, one = np.zeros(rows), np.ones(rows)
    arms = {"strength": none, "number": 2 * one, "winding": one, "phase": none, "inner": one, "outer": one}
    return Negatives(
        kind_index=torch.full((rows,), float(index), dtype=torch.float64),
        other_fraction=torch.as_tensor(fraction),
        central=Sersics.from_arrays(**{name: value[:, None] for name, value in central.items()}),
        other=Galaxies.assemble(
            disc,
            arms | other.get("arms", {}),
            _in_slots(Sersics, rows, _PARTS, other.get("parts", {})),
            _in_slots(Arcs, rows, _ARCS, other.get("arcs", {})),
        ),
    )


def _in_slots(kind, rows, slots, fields):
    """Return a set with all its slots: the fields given, ``(rows, k)``, then unused slots."""
    full = {}
    for field in dataclasses.fields(kind):
        full[field.name] = np.full((rows, slots), _UNUSED.get(field.name, 0.0))
        if field.name in fields:
            value = np.broadcast_to(fields[field.name], np.shape(fields["flux"]))
            full[field.name][:, : value.shape[1]] = value
    return kind.from_arrays(**full)


def _shared(weights, total):
    """Fluxes ``(rows, k)`` in proportion to the weights, that add up to the total ``(rows,)`` (or to 0)."""
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-300) * np.asarray(total)[..., None]


def _elliptical(numbers, clumps, r_eff, e1, e2, **_):
    fraction = numbers.between(0.1, 0.4) * numbers.happens(0.5)
    central = {"n": numbers.between(2.5, 5.5)}
    rounder, one = numbers.between(0.4, 1.0), np.ones_like(r_eff)
    disc = {"flux": one, "r_eff": r_eff * numbers.between(1.3, 2.5), "n": one, "e1": rounder * e1, "e2": rounder * e2}
    return fraction, central, {"disc": disc}


def _spiral(numbers, clumps, radius, r_eff, e1, e2, x, y, smallest):
    fraction = numbers.between(0.6, 0.92)
    central = {
        "r_eff": np.maximum(r_eff * numbers.between(0.3, 0.6), smallest),
        "n": numbers.between(1.0, 3.0),
        "e1": 0.3 * e1,
        "e2": 0.3 * e2,
    }
    face_on = numbers.between(0.3, 1.0)
    disc = {
        "r_eff": radius * numbers.between(0.7, 1.1),
        "n": numbers.between(0.6, 1.1),
        "e1": face_on * e1,
        "e2": face_on * e2,
    }
    arm_number = np.digitize(numbers.between(0.0, 1.0), [0.7, 0.9]) + 2.0
    arms = {
        "strength": np.arctanh(numbers.between(0.6, 0.95)),
        "number": arm_number,
        "winding": np.where(numbers.happens(0.5), 1.0, -1.0)
        / np.tan(np.deg2rad(numbers.between(4.0 * arm_number, 28.0))),
        "phase": numbers.between(0.0, 2.0 * np.pi),
        "inner": disc["r_eff"] * numbers.between(0.4, 0.7),
        "outer": disc["r_eff"] * numbers.between(1.5, 3.0),
    }
    used = np.floor((CLUMPS + 1) * numbers.between(0.0, 1.0))
    share = numbers.between(0.0, 0.3) * (used > 0)
    # star-forming regions: 0.05 to 0.3 of half the disc
    knots = draw_clumps(clumps, used, arms, **disc, x=x, y=y, smallest=smallest)
    knots["r_eff"] = np.maximum(0.5 * knots["r_eff"], smallest[:, None])
    knots["flux"] = knots["flux"] * share[:, None]
    return fraction, central, {"disc": disc | {"flux": 1.0 - share}, "arms": arms, "parts": knots}


def _ring(numbers, clumps, radius, x, y, smallest, **_):
    fraction, central = numbers.between(0.15, 0.6), {"n": numbers.between(2.0, 5.0)}
    ratio, angle = numbers.between(0.5, 1.0), numbers.between(0.0, 2.0 * np.pi)
    tilt = (1.0 - ratio) / (1.0 + ratio)
    ellipse = {"e1": tilt * np.cos(angle), "e2": tilt * np.sin(angle)}
    radius, width = radius * numbers.between(0.8, 1.2), numbers.between(0.05, 0.2)
    uneven, brightest = 1.5 * numbers.between(0.0, 1.0) ** 2, numbers.between(0.0, 2.0 * np.pi)
    used = np.floor((CLUMPS + 1) * numbers.between(0.0, 1.0))
    beaded = numbers.between(0.0, 0.6) * (used > 0)
    inside = numbers.between(0.05, 0.3) * numbers.happens(0.4)
    off, azimuth, size, weight = np.moveaxis(clumps[..., :4], 2, 0)
    where, azimuth = radius[:, None] * (1.0 + width[:, None] * (2.0 * off - 1.0)), 2.0 * np.pi * azimuth
    column = {name: value[:, None] for name, value in ellipse.items()} | {"x": x[:, None], "y": y[:, None]}
    bead_x, bead_y = from_disc_frame(
        where * np.cos(azimuth), where * np.sin(azimuth), column["e1"], column["e2"], column["x"], column["y"]
    )
    beads = {
        "flux": _shared(-np.log1p(-weight) * (np.arange(CLUMPS) < used[:, None]), (1.0 - inside) * beaded),
        "r_eff": np.maximum(radius[:, None] * (0.04 + 0.08 * size), smallest[:, None]),
        "n": np.full_like(size, 0.5),
        "e1": column["e1"],
        "e2": column["e2"],
        "x": bead_x,
        "y": bead_y,
    }
    ring = {
        "flux": ((1.0 - inside) * (1.0 - beaded))[:, None],
        "radius": radius[:, None],
        "width": width[:, None],
        "strength": uneven[:, None],
        "angle": brightest[:, None],
    } | column
    disc = {"flux": inside, "r_eff": 0.7 * radius, "n": np.full_like(radius, 0.7)} | ellipse
    return fraction, central, {"disc": disc, "parts": beads, "arcs": ring}


def _merger(numbers, clumps, radius, r_eff, x, y, smallest, **_):
    fraction, central = numbers.between(0.3, 0.65), {"n": numbers.between(1.0, 4.0)}
    nucleus, in_knots = numbers.between(0.3, 0.7), numbers.between(0.0, 0.3)
    away, azimuth = radius * numbers.between(0.4, 1.3), numbers.between(0.0, 2.0 * np.pi)
    size, index = r_eff * numbers.between(0.3, 0.9), numbers.between(0.7, 3.0)
    flat, angle = numbers.between(0.0, 0.35), numbers.between(0.0, 2.0 * np.pi)
    second = {
        "flux": nucleus,
        "r_eff": np.maximum(size, smallest),
        "n": index,
        "e1": flat * np.cos(angle),
        "e2": flat * np.sin(angle),
        "x": x + away * np.cos(azimuth),
        "y": y + away * np.sin(azimuth),
    }
    # two tails on opposite sides, wound alike, the first ending near the second galaxy
    sense = np.where(numbers.happens(0.5), 1.0, -1.0)
    pair = lambda first, other: np.column_stack([first, other])
    balance = numbers.between(0.3, 0.7)
    knots_used = np.floor(5.0 * numbers.between(0.0, 1.0))
    in_knots = in_knots * (knots_used > 0)
    tails = {
        "flux": ((1.0 - nucleus) * (1.0 - in_knots))[:, None] * pair(balance, 1.0 - balance),
        "radius": radius[:, None] * pair(numbers.between(0.7, 1.2), numbers.between(0.7, 1.2)),
        "width": pair(numbers.between(0.1, 0.22), numbers.between(0.1, 0.22)),
        "strength": pair(numbers.between(1.5, 5.0), numbers.between(1.5, 5.0)),
        "angle": azimuth[:, None] - sense[:, None] * pair(0.8, np.pi + 0.8),
        "opening": -sense[:, None] * pair(numbers.between(0.1, 0.6), numbers.between(0.1, 0.6)),
    } | {"e1": 0.0, "e2": 0.0, "x": x[:, None], "y": y[:, None]}
    which, along, size, weight = np.moveaxis(clumps[..., :4], 2, 0)
    which, along = (which < 0.5).astype(int), 2.0 * (along - 0.5)
    of = lambda name: np.take_along_axis(tails[name], which, 1)
    where = of("radius") * np.exp(of("opening") * along)
    knots = {
        "flux": _shared(
            -np.log1p(-weight) * (np.arange(CLUMPS) < knots_used[:, None]), (1.0 - nucleus) * in_knots
        ),
        "r_eff": np.maximum(radius[:, None] * (0.03 + 0.06 * size), smallest[:, None]),
        "n": np.full_like(size, 0.7),
        "e1": np.zeros_like(size),
        "e2": np.zeros_like(size),
        "x": x[:, None] + where * np.cos(of("angle") + along),
        "y": y[:, None] + where * np.sin(of("angle") + along),
    }
    parts = {name: np.column_stack([second[name], value[:, : CLUMPS - 1]]) for name, value in knots.items()}
    return fraction, central, {"parts": parts, "arcs": tails}


def _companions(numbers, clumps, radius, x, y, smallest, **_):
    fraction, central = numbers.between(0.05, 0.4), {"n": numbers.between(2.0, 5.0)}
    used = 1.0 + np.floor(5.0 * numbers.between(0.0, 1.0))
    away, azimuth, size, index, flat, angle, weight = np.moveaxis(clumps[..., :7], 2, 0)
    away, azimuth = radius[:, None] * (0.7 + 0.9 * away), 2.0 * np.pi * azimuth
    parts = {
        "flux": _shared((0.2 - np.log1p(-weight)) * (np.arange(CLUMPS) < used[:, None]), np.ones_like(used)),
        "r_eff": np.maximum(radius[:, None] * (0.1 + 0.2 * size), smallest[:, None]),
        "n": 0.5 + 1.5 * index,
        "e1": 0.4 * flat * np.cos(2.0 * np.pi * angle),
        "e2": 0.4 * flat * np.sin(2.0 * np.pi * angle),
        "x": x[:, None] + away * np.cos(azimuth),
        "y": y[:, None] + away * np.sin(azimuth),
    }
    return fraction, central, {"parts": parts}


def _alignment(numbers, clumps, radius, x, y, smallest, **_):
    fraction, central = numbers.between(0.05, 0.3), {"n": numbers.between(2.0, 5.0)}
    used = 1.0 + np.digitize(numbers.between(0.0, 1.0), [0.5, 0.85])
    away, azimuth, size, index, flat, angle, weight, bent = np.moveaxis(clumps[:, :_ARCS], 2, 0)
    away, azimuth = radius[:, None] * (0.85 + 0.35 * away), 2.0 * np.pi * azimuth
    flux = _shared((0.3 + weight) * (np.arange(_ARCS) < used[:, None]), np.ones(len(used)))
    size = np.maximum(radius[:, None] * (0.1 + 0.12 * size), smallest[:, None])
    ratio = 0.2 + 0.3 * flat
    # along the tangent within 15 deg: the ellipticity turns twice as fast
    turn, e = 2.0 * (azimuth + 0.5 * np.pi + np.deg2rad(15.0) * (2.0 * angle - 1.0)), (1.0 - ratio) / (1.0 + ratio)
    straight = {
        "flux": np.where(bent < 0.5, 0.0, flux),
        "r_eff": size,
        "n": 0.5 + index,
        "e1": e * np.cos(turn),
        "e2": e * np.sin(turn),
        "x": x[:, None] + away * np.cos(azimuth),
        "y": y[:, None] + away * np.sin(azimuth),
    }
    # a bent one is as long: a Gaussian of that half-light radius along the circle has the concentration 1 / sigma^2
    sigma = size / np.sqrt(ratio) / np.sqrt(2.0 * np.log(2.0)) / away
    arcs = {
        "flux": np.where(bent < 0.5, flux, 0.0),
        "radius": away,
        "width": np.maximum(sigma * ratio, 0.03),
        "strength": 1.0 / sigma**2,
        "angle": azimuth,
        "x": x[:, None],
        "y": y[:, None],
    }
    return fraction, central, {"parts": straight, "arcs": arcs}
