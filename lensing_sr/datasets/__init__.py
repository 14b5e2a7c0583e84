# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Data that come with the package."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "example": ("example_path", "load_example"),
        "make_example": (),
    },
)
