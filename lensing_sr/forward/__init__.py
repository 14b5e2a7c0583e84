# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From parameters to a detector image: convolution, binning, the forward model."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "convolve": ("Convolver",),
        "binning": ("bin_mean", "bin_sum", "unbin_sum"),
        "formation": ("ImageFormation",),
        "patches": (),
        "model": ("lens_light", "lensed_source", "source_light"),
    },
)
