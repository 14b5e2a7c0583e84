# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Batched least squares: Levenberg-Marquardt and linear solves.  They know nothing of lenses."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "levenberg": ("Minimum", "levenberg_marquardt"),
        "linear": (
            "nonnegative_least_squares",
            "products",
            "scaled_cholesky",
            "solve_spd",
            "weighted_amplitudes",
        ),
    },
)
