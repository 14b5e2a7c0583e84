# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Light of the source and of the lens galaxy."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "sersic": ("sersic_b", "sersic_brightness", "sersic_flux"),
        "gaussians": ("gaussian_brightness", "gaussian_family", "gaussian_widths"),
        "sersic_source": ("SersicSource",),
        "pixel_source": ("PixelSource",),
        "spline": ("cubic_spline_coefficients", "sample_spline"),
    },
)
