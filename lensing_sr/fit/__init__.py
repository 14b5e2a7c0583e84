# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Fits of the forward model to an image."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "start": (),
        "lens_fit": (),
        "evidence": (),
        "uncertainty": (),
    },
)
