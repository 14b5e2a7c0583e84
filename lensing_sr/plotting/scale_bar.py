# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A length on the sky, drawn into an image."""

import math

import numpy as np

__all__ = ["nice_length", "scale_bar"]


def nice_length(length):
    """
    The largest of 1, 2, 5 times a power of ten that is not longer.

    Parameters
    ----------
    length : float
        Any positive length.

    Examples
    --------
    >>> from lensing_sr.plotting import nice_length
    >>> nice_length(0.73), nice_length(2.4)
    (0.5, 2.0)
    """
    power = 10.0 ** math.floor(math.log10(length))
    # A hair is added, since 0.5 / 0.1 is just below 5.
    return max(step for step in (1.0, 2.0, 5.0) if step <= length / power * (1 + 1e-9)) * power


def scale_bar(axes, grid, window, color="white"):
    """A length in arcsec along the columns, in the lower left corner."""
    left, right, bottom, top = window
    length = nice_length(0.3 * (right - left))
    start = left + 0.06 * (right - left), bottom + 0.06 * (top - bottom)
    columns, rows = grid.to_pixel(np.array([start[0], start[0] + length]), np.array([start[1], start[1]]))
    axes.plot(columns, rows, color=color, lw=2, solid_capstyle="butt", scalex=False, scaley=False)
    middle = columns.mean(), rows.mean()
    style = {"color": color, "ha": "center", "fontsize": 9}
    axes.annotate(f'{length:g}"', middle, (0, 4), textcoords="offset points", **style)
