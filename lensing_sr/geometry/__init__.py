# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Where pixels, arcseconds and the sky meet: pixel grids and world coordinate systems."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "wcs": ("crop_wcs", "pixel_scale_matrix", "upsample_wcs", "upsampled_shape"),
        "grid": ("PixelGrid",),
    },
)
