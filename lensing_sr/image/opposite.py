# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Two images of one source, on opposite sides of the lens: the outer one is no neighbour.

Pure functions of arrays, in pixels.
"""

import numpy as np

__all__ = ["opposite_image"]

#: The mean direction of one-sided arcs differs from that away from their other image by no more than this.
OPPOSITE = np.deg2rad(40.0)
#: Light within this angle of a direction is on that side of the lens; arcs are one-sided where the one side has less
#: than this share of the light of the other.
SIDE, ONE_SIDED = np.deg2rad(50.0), 0.25
#: Range of the ratio of the fluxes of two images over that of their distances from the lens: 1 for a small source
#: behind an isothermal lens, less where the inner image is three merged ones at a cusp.
ALIKE = (1.0 / 6.0, 3.0)
#: Peak significance of the outer image over that of the inner one: lensing conserves surface brightness, and behind a
#: point-spread function only what is larger, here by its flux, looks brighter.
AS_BRIGHT = (0.5, 1.2)


def opposite_image(significance, arcs, others, centre):
    r"""The one of several pieces of light beyond reach that is the missing image of one-sided arcs, if there is one.

    Behind an isothermal lens a source has images on opposite sides, at :math:`\theta_E \pm \beta`, which are magnified
    by :math:`\theta_E / \beta \pm 1`: their fluxes are in the ratio of their distances from the lens, however far out
    the bright one is, and their mean distance is :math:`\theta_E`.  Arcs on one side alone are no lens; what makes them
    one is such a piece, opposite to them, brighter and further out.

    Parameters
    ----------
    significance : numpy.ndarray
        (ny, nx) from `~lensing_sr.image.detect.residual_significance`.
    arcs : numpy.ndarray
        (ny, nx) bool, light that is taken for arcs.
    others : numpy.ndarray
        (ny, nx) int, 0 or the number of the piece of light beyond their reach.
    centre : tuple of float
        (column, row) of the lens.

    Returns
    -------
    number : int
        Of the piece; 0 if there is none.
    radius : float
        Mean distance of the two images, in pixels; 0 if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.image.opposite import opposite_image
    >>> y, x = np.mgrid[-40:41, -40:41]
    >>> inner = 20 * np.exp(-0.5 * ((x + 6) ** 2 + y**2) / 4)
    >>> outer = 20 * np.exp(-0.5 * ((x - 18) ** 2 + y**2) / 12)
    >>> star = 80 * np.exp(-0.5 * (x**2 + (y - 25) ** 2) / 4)
    >>> others = 1 * (outer > 4) + 2 * (star > 4)
    >>> number, radius = opposite_image(inner + outer + star, inner > 4, others, (40, 40))
    >>> number, bool(abs(radius - 12) < 1)
    (1, True)
    """
    inner, outer = _Light(significance, arcs, centre), _Light(significance, others > 0, centre)
    if not inner.light.sum() > 0:
        return 0, 0.0
    mean = (inner.light * inner.place / np.maximum(np.abs(inner.place), 1e-9)).sum()
    best = (np.inf, 0, 0.0)
    pieces = others[others > 0]
    for number in np.unique(pieces):
        light = outer.light[pieces == number]
        at = (light * outer.place[pieces == number]).sum() / light.sum()
        turn = np.abs(np.angle(inner.place / at))
        facing, beside = turn > np.pi - SIDE, turn < SIDE
        flux = inner.light[facing].sum()
        if not flux > 0 or inner.light[beside].sum() > ONE_SIDED * flux or np.abs(np.angle(-mean / at)) > OPPOSITE:
            continue
        distance = (inner.light * np.abs(inner.place))[facing].sum() / flux
        brighter, peak = light.sum() / flux, light.max() / inner.light[facing].max()
        ratio = brighter * distance / abs(at)
        alike = ALIKE[0] < ratio < ALIKE[1] and AS_BRIGHT[0] < peak < AS_BRIGHT[1] * max(1.0, brighter)
        if alike and distance < abs(at):
            best = min(best, (abs(np.log(ratio)), int(number), 0.5 * float(distance + abs(at))))
    return best[1:]


class _Light:
    """Light of some pixels, and where it is as a complex number, from the lens."""

    def __init__(self, significance, where, centre):
        rows, columns = np.nonzero(where)
        self.light = significance[rows, columns]
        self.place = (columns - centre[0]) + 1j * (rows - centre[1])
