# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What goes in: an image of a lens with its noise, mask, point-spread function and coordinates."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "kernels": ("gaussian_kernel", "moffat_kernel", "psf_kernel"),
        "psf": ("PSF",),
        "reader": (),
        "lens_image": ("LensImage",),
        "sky": (),
        "noise": ("estimate_noise_map", "noise_correlation", "noise_scale"),
        "galaxy": (),
        "detect": (),
        "prepare": ("PreparedImage",),
        "degradation": ("degrade", "unshared"),
    },
)
