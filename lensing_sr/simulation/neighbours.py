# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Galaxies and stars that happen to lie in the field::

    neighbours = draw_neighbours(streams, half_width=3.2, clear_radius=2.0, surface_density=0.02, faintest=1.0,
                                 brightest=100.0, slope=0.3, star_fraction=0.15, star_sigma=0.03, slots=6)
    light = neighbours.to(device, dtype).brightness(x, y)      # flux of `faintest` per arcsec^2
"""

import dataclasses
import math

import numpy as np
import torch
from scipy.special import pdtr

from lensing_sr.errors import InputError
from lensing_sr.simulation._components import Sersics, TensorSet, as_column

__all__ = ["Neighbours", "draw_neighbours", "free_area", "place_outside"]

#: Median half-light radius of field galaxies in arcsec, and the scatter of its logarithm (base 10).
MEDIAN_RADIUS, SCATTER = 0.4, 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours(TensorSet):
    """Galaxies and stars in the field of each image.

    Parameters
    ----------
    lights : Sersics
        ``(n, K)``; unused slots, the last ones, have flux zero.
    star : torch.Tensor
        ``(n, K)``: 1 for a star, which is a round Gaussian, else 0.
    """

    lights: Sersics
    star: torch.Tensor

    @property
    def number(self):
        """How many neighbours each image has, ``(n,)``."""
        return (self.lights.flux > 0).sum(1)

    def brightness(self, x, y):
        """Surface brightness of all neighbours.

        Parameters
        ----------
        x, y : torch.Tensor
            Positions that broadcast with ``(n, 1, 1)``, arcsec.

        Returns
        -------
        torch.Tensor
            ``(n, rows, columns)``, flux per arcsec^2 in the unit of the flux limits of `draw_neighbours`.
        """
        return self.lights.brightness(x, y)


def free_area(half_width, clear_radius):
    r"""Area in arcsec^2 of a square of side 2 h outside the circle of radius c about its centre; arrays.

    Examples
    --------
    >>> from lensing_sr.simulation.neighbours import free_area
    >>> [round(float(free_area(1.0, radius)), 6) for radius in (0.0, 1.0, 1.5)]
    [4.0, 0.858407, 0.0]
    """
    h = np.asarray(half_width, dtype=np.float64)
    c = np.minimum(clear_radius, math.sqrt(2.0) * h)
    first = np.arccos(np.minimum(h / np.maximum(c, h), 1.0))
    return 4.0 * (h * h * (1.0 - np.tan(first)) - c * c * (0.25 * math.pi - first))


def place_outside(along, outwards, half_width, clear_radius):
    r"""Map two uniform numbers to a place spread evenly over a square outside a circle about its centre.

    An eighth of the square is enough, azimuths from 0 to 45 deg.  There the area up to azimuth :math:`\varphi` is
    :math:`(h^2 \tan\varphi - c^2 \varphi) / 2`, which Newton's method inverts, and :math:`r^2` is uniform between
    :math:`c^2` and :math:`h^2 / \cos^2\varphi`.  No number is thrown away.

    Parameters
    ----------
    along, outwards : numpy.ndarray
        Numbers in [0, 1).
    half_width : numpy.ndarray or float
        h, half the side of the square in arcsec; broadcasts with the numbers.
    clear_radius : numpy.ndarray or float
        c in arcsec, below :math:`\sqrt 2 h` (beyond, nothing is left, and places are in the corners).

    Returns
    -------
    x, y : numpy.ndarray
        Arcsec from the centre of the square.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.simulation.neighbours import place_outside
    >>> x, y = place_outside(np.array([0.0, 0.3]), np.array([0.0, 0.5]), 2.0, 1.0)
    >>> [round(float(r), 3) for r in np.hypot(x, y)]
    [1.0, 1.69]
    """
    h = np.asarray(half_width, dtype=np.float64)
    c = np.minimum(clear_radius, math.sqrt(2.0) * h)
    eighth = np.floor(8.0 * along)
    t = 8.0 * along - eighth
    first = np.arccos(np.minimum(h / np.maximum(c, h), 1.0))
    area = lambda azimuth: h * h * np.tan(azimuth) - c * c * azimuth
    wanted = area(first) + t * (area(0.25 * math.pi) - area(first))
    azimuth = np.full(np.broadcast_shapes(t.shape, wanted.shape), 0.25 * math.pi)
    # from the far end of a convex function Newton cannot overshoot; where the circle touches the side, the root is
    # triple and a step gains a third
    for _ in range(60):
        slope = np.maximum(h * h / np.cos(azimuth) ** 2 - c * c, 1e-12 * h * h)
        azimuth = np.clip(azimuth - (area(azimuth) - wanted) / slope, first, 0.25 * math.pi)
    far2 = np.maximum(h * h / np.cos(azimuth) ** 2, c * c)
    radius = np.sqrt(c * c + outwards * (far2 - c * c))
    # every other eighth is the mirror image, so that each meets the next at its own kind of end
    mirrored = eighth % 2 == 1
    azimuth = 0.25 * math.pi * (eighth + mirrored) + np.where(mirrored, -azimuth, azimuth)
    return radius * np.cos(azimuth), radius * np.sin(azimuth)


def draw_neighbours(
    streams,
    *,
    half_width,
    clear_radius,
    surface_density,
    faintest,
    brightest,
    star_sigma,
    slope=0.3,
    star_fraction=0.15,
    slots=6,
):
    r"""Draw the galaxies and stars of each field.

    - Their number is Poisson with mean surface density times the free area (`free_area`), cut at `slots`.
    - Places are uniform over the square field outside the clear circle, exactly (`place_outside`).
    - Magnitudes follow number counts :math:`dN/dm \propto 10^{a m}` between the two limits.
    - Galaxies are Sersics: half-light radii lognormal about 0.4" (0.2 dex), n log-uniform 0.7 to 4, axis ratios uniform
      0.3 to 1, any position angle.
    - Stars are round Gaussians.

    Parameters
    ----------
    streams : lensing_sr.simulation.randomness.Streams
        Random numbers; one call takes the same count from each image's generator, whatever the parameters but `slots`.
    half_width : float or array_like
        Half the side of the square in which they may lie, ``(count,)`` arcsec.  Take more than the field to have light
        that comes in over the edge.
    clear_radius : array_like
        Radius about (0, 0) without neighbours' centres, ``(count,)`` arcsec; no room left, no neighbours.
    surface_density : array_like
        Neighbours per arcsec^2 between the two flux limits, ``(count,)``.
    faintest, brightest : array_like
        Limits of the flux, ``(count,)``, in a unit of your choice: that of the result.
    star_sigma : array_like
        Standard deviation of the Gaussian that stands for a star, ``(count,)`` arcsec.  Samples a step h apart add up
        to its flux within :math:`4 \exp(-2\pi^2\sigma^2/h^2)`: 3 % for 0.5 steps, 3e-3 for 0.6, 3e-4 for 0.7.
    slope : float
        a, per magnitude, above zero: 0.3 to 0.4 for faint galaxies.
    star_fraction : array_like
        Probability that a neighbour is a star, ``(count,)``.
    slots : int
        K, most neighbours a field may have.

    Returns
    -------
    Neighbours
        float64 on the CPU.

    Raises
    ------
    InputError
        If a parameter is not finite, out of range, or of another length.

    Examples
    --------
    >>> from lensing_sr.simulation.neighbours import draw_neighbours
    >>> from lensing_sr.simulation.randomness import Streams
    >>> field = dict(half_width=5.0, clear_radius=2.0, surface_density=0.03, star_sigma=0.03)
    >>> neighbours = draw_neighbours(Streams(1, 0, 6, "neighbours"), **field, faintest=1.0, brightest=50.0)
    >>> neighbours.number.tolist()  # 0.03 (100 - 4 pi) = 2.6 on average
    [1, 2, 1, 4, 2, 5]
    """
    count = streams.count
    half_width = as_column(half_width, count, "half_width", low=1e-9)[:, None]
    clear_radius = as_column(clear_radius, count, "clear_radius", low=0.0)[:, None]
    mean = as_column(surface_density, count, "surface_density", low=0.0)[:, None]
    faintest = as_column(faintest, count, "faintest", low=1e-300)[:, None]
    brightest = as_column(brightest, count, "brightest", low=1e-300)[:, None]
    star_sigma = as_column(star_sigma, count, "star_sigma", low=1e-9)[:, None]
    star_fraction = as_column(star_fraction, count, "star_fraction", low=0.0, high=1.0)[:, None]
    if (brightest < faintest).any():
        raise InputError("brightest", "must be at least the flux of the faintest", float(brightest.min()))
    if not 0.0 < slope < math.inf:
        raise InputError("slope", "must be above 0", slope)
    if int(slots) != slots or slots < 1:
        raise InputError("slots", "must be a whole number of at least 1", slots)

    number = streams.uniform(1)
    along, outwards, light, kind, index, ratio, angle = np.moveaxis(streams.uniform(slots, 7), 2, 0)
    size = streams.normal(slots)

    mean = mean * free_area(half_width, clear_radius)
    # the inverse of the Poisson distribution: neighbour k + 1 is there where the number exceeds P(N <= k)
    there = number >= pdtr(np.arange(slots), mean)
    x, y = place_outside(along, outwards, half_width, clear_radius)
    power = -2.5 * slope
    flux = (faintest**power + (1.0 - light) * (brightest**power - faintest**power)) ** (1.0 / power)
    star = kind < star_fraction
    ratio = 0.3 + 0.7 * ratio
    e = np.where(star, 0.0, (1.0 - ratio) / (1.0 + ratio))
    half_light = math.sqrt(2.0 * math.log(2.0))
    lights = Sersics.from_arrays(
        flux=np.where(there, flux, 0.0),
        r_eff=np.where(star, half_light * star_sigma, MEDIAN_RADIUS * 10.0 ** (SCATTER * size)),
        n=np.where(star, 0.5, 0.7 * (4.0 / 0.7) ** index),
        e1=e * np.cos(2.0 * np.pi * angle),
        e2=e * np.sin(2.0 * np.pi * angle),
        x=x,
        y=y,
    )
    return Neighbours(lights=lights, star=torch.as_tensor((star & there).astype(np.float64)))
