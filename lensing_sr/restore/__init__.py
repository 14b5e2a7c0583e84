# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What the model missed, brought to the fine grid; and the point-spread function of the result."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "between_pixels": ("missed_share", "missed_variance"),
        "residual": ("RestoredResidual", "restore_residual"),
        "target_psf": ("matching_kernel", "target_kernel"),
    },
)
