# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Results as files, and for other tools."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "atomic": (),
        "fits_layout": ("build_hdus", "write_hdus"),
        "fits_reading": ("read_pieces",),
        "lenstronomy": ("data_kwargs", "model_kwargs"),
        "coolest": ("coolest_text",),
        "regions": ("region_text",),
    },
)
