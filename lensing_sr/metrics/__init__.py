# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Scores of an image against the truth, and the interpolations to beat."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "scores": ("arc_mask", "mse", "psnr", "self_normalised", "ssim"),
        "interpolation": ("baselines", "upsample"),
    },
)
