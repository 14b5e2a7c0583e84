# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How close a reconstructed source is to the true one, on pixels of the source plane.

Pixels have sides of 1/8 of the true half-light radius, brightness is averaged over them, and those within two
half-light radii of the true centre count.  No flux is rescaled: a correlation does not see it, and the share of the
flux is told apart.  Four correlations, each with more freedom than the one before:

``raw``
    The source as it is.
``near``
    After the rigid shift of at most 0.05 arcsec that suits it best.
``shifted``
    After the rigid shift of at most 1 arcsec that suits it best: no image tells where in its plane a source is, for a
    constant deflection changes nothing that is seen, and the lens's centre, its shear and its slope are known to such a
    constant only.  This is the one that counts.
``stretched``
    After the best shift and the best stretch between 0.7 and 1.4: no image tells a source from a stretched one behind a
    lens of another slope either (the mass-sheet degeneracy).  For comparison.
"""

import functools
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from scipy import optimize

from lensing_sr import PixelGrid, PixelSource

__all__ = ["SourceScores", "TrueSource", "clump_contrast", "source_scores"]

#: Pixels of the source plane in a half-light radius, half-light radii that are compared, points a pixel and axis.
PIXELS, EXTENT, POINTS = 8, 2.0, 3
#: Half the side of the field in which half-light radii are measured, in half-light radii.
FIELD = 4.0
#: What is a small shift and the largest one in arcsec, and range of the stretch.
SMALL_SHIFT, LARGEST_SHIFT, STRETCHES = 0.05, 1.0, (0.7, 1.4)


class TrueSource:
    """A source of known brightness: its half-light radius and centre, and its brightness on the compared pixels.

    Parameters
    ----------
    brightness : callable
        ``brightness(x, y)`` per arcsec^2 at arrays of positions in arcsec.
    x, y, r_eff : float
        About where it is and how large, arcsec: half-light radii are measured in a field of 8 such radii.
    """

    def __init__(self, brightness, x, y, r_eff):
        self.brightness, self._field = brightness, (x, y, r_eff)
        self.r_eff, self.x, self.y = self.measured(brightness)
        self.step = self.r_eff / PIXELS
        n = int(EXTENT * PIXELS) + 1
        row, column = np.mgrid[-n : n + 1, -n : n + 1] * self.step
        inside = np.hypot(row, column) <= EXTENT * self.r_eff
        self.columns, self.rows = column[inside], row[inside]
        self.values = self.on_pixels(brightness)

    def measured(self, brightness):
        """Half-light radius and centre (x, y) in arcsec of a brightness, in the field of this source."""
        x, y, r_eff = self._field
        step = r_eff / PIXELS
        n = 2 * int(FIELD * PIXELS) + 1
        axis = (np.arange(n) - n // 2) * step
        grid = PixelGrid((n, n), pixel_scale=step * u.arcsec / u.pix, origin=(n // 2 - x / step, n // 2 - y / step))
        x, y = x + axis[None, :], y + axis[:, None]
        found = PixelSource(_averaged(brightness, x, y, step), grid)
        return float(found.r_eff.value), *(float(c.value) for c in found.centroid)

    def on_pixels(self, brightness, x=0.0, y=0.0, stretch=1.0, points=POINTS):
        """Brightness on the compared pixels, moved by (x, y) arcsec and stretched about the true centre."""
        at_x, at_y = self.x + x + self.columns * stretch, self.y + y + self.rows * stretch
        return _averaged(brightness, at_x, at_y, self.step * stretch, points)


@dataclass(frozen=True)
class SourceScores:
    """Scores of a source; shift (x, y) in arcsec, size and flux over the true ones."""

    raw: float
    near: float
    shifted: float
    stretched: float
    shift: tuple
    stretch: float
    size: float
    flux: float


def source_scores(source, truth):
    """Compare a source with the true one.

    Parameters
    ----------
    source : `~lensing_sr.SersicSource` or `~lensing_sr.PixelSource`
        Or anything with their ``evaluate``.
    truth : TrueSource
        In the same unit.

    Returns
    -------
    SourceScores

    Examples
    --------
    >>> import astropy.units as u
    >>> from benchmarks.source_scores import TrueSource, source_scores
    >>> from lensing_sr import SersicSource
    >>> source = SersicSource(1.0 / u.arcsec**2, 0.2, 1.0, x=0.03)
    >>> truth = TrueSource(lambda x, y: source.evaluate(x, y).value, 0.0, 0.0, 0.2)
    >>> moved = SersicSource(2.0 / u.arcsec**2, 0.2, 1.0, x=0.05)
    >>> scores = source_scores(moved, truth)
    >>> scores.raw < 0.999, round(scores.shifted, 3), round(scores.shift[0], 3), round(scores.flux, 2)
    (True, 1.0, 0.02, 2.0)
    """
    found = _evaluating(source)

    def correlation(x=0.0, y=0.0, stretch=1.0, points=POINTS):
        values = truth.on_pixels(found, x, y, stretch, points)
        return _correlation(values, truth.values)

    def cost(p, largest=LARGEST_SHIFT):
        far = max(np.hypot(p[0], p[1]) / largest - 1.0, 0.0)
        stretch = p[2] if len(p) > 2 else 1.0
        beyond = max(STRETCHES[0] - stretch, stretch - STRETCHES[1], 0.0)
        return 10.0 * (far + beyond) - correlation(*p, points=1)

    step = min(0.1 * truth.r_eff, 0.4 * SMALL_SHIFT)
    near = _minimised(functools.partial(cost, largest=SMALL_SHIFT), [0.0, 0.0], [step, step])
    # where most of it overlaps with the truth, half of a half-light radius apart
    reach = int(2 * LARGEST_SHIFT / truth.r_eff) + 1
    places = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    begins = near, min((0.5 * truth.r_eff * np.array(place) for place in places), key=cost)
    shift = max((_minimised(cost, begin, [step, step]) for begin in begins), key=lambda p: correlation(*p))
    stretched = _minimised(cost, [*shift, 1.0], [step, step, 0.1])
    size, *_ = truth.measured(found)
    return SourceScores(
        raw=correlation(),
        near=max(correlation(), correlation(*near)),
        shifted=max(correlation(), correlation(*near), correlation(*shift)),
        stretched=max(correlation(*stretched), correlation(*shift)),
        shift=tuple(map(float, shift)),
        stretch=float(stretched[2]),
        size=size / truth.r_eff,
        flux=float(truth.on_pixels(found, *shift).sum() / truth.values.sum()),
    )


def clump_contrast(source, truth, place, fwhm, shift=(0.0, 0.0)):
    """Contrast of a clump in a galaxy that is alike on both sides of its centre, over the true contrast.

    The excess of the brightness at the clump over that at the mirrored place beyond the centre; brightness is averaged
    over a disc whose radius is a quarter of the clump's FWHM, in which a Gaussian has 92 % of its peak.

    Parameters
    ----------
    source, truth
        As for `source_scores`.
    place : tuple of tuple of float
        (x, y) of the clump and (x, y) of the galaxy's centre, arcsec.
    fwhm : float
        FWHM of the clump in arcsec.
    shift : tuple of float
        (x, y) by which the source is displaced, arcsec.

    Returns
    -------
    float
    """
    (x, y), (x0, y0) = place
    radius, angle = np.sqrt((np.arange(5) + 0.5) / 5)[:, None] * 0.25 * fwhm, np.arange(12) * np.pi / 6
    disc = (radius * np.cos(angle)).ravel(), (radius * np.sin(angle)).ravel()

    def excess(brightness, dx, dy):
        here = brightness(x + dx + disc[0], y + dy + disc[1])
        beyond = brightness(2 * x0 - x + dx + disc[0], 2 * y0 - y + dy + disc[1])
        return float(np.mean(here) - np.mean(beyond))

    return excess(_evaluating(source), *shift) / excess(truth.brightness, 0.0, 0.0)


def _evaluating(source):
    """Brightness of a source as a function of plain arcsec."""
    return lambda x, y: u.Quantity(source.evaluate(x * u.arcsec, y * u.arcsec)).value


def _averaged(brightness, x, y, step, points=POINTS):
    """Mean brightness of square pixels about positions."""
    offsets = ((np.arange(points) + 0.5) / points - 0.5) * step
    return np.mean([brightness(x + dx, y + dy) for dx in offsets for dy in offsets], axis=0)


def _minimised(cost, start, steps):
    corners = [np.array(start, dtype=float)]
    corners += [corners[0] + step * np.eye(len(start))[k] for k, step in enumerate(steps)]
    settings = {"initial_simplex": corners, "xatol": 1e-4, "fatol": 1e-5, "maxfev": 150}
    return optimize.minimize(cost, start, method="Nelder-Mead", options=settings).x


def _correlation(one, other):
    """Pearson's; 0 for a source without structure."""
    one, other = one - one.mean(), other - other.mean()
    norm = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / norm) if norm > 0 else 0.0
