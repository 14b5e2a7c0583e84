# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Figures: matplotlib is imported when one is drawn, and nowhere else in the package."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "curves": ("learning_figure",),
        "deflection": ("plot_deflection",),
        "lens": ("lens_figure", "lens_title"),
        "panels": (),
        "saving": ("save_figure",),
        "scale_bar": ("nice_length",),
        "source": ("plot_source",),
        "stretch": (),
        "substructure": ("substructure_figure",),
        "validation": ("validation_figure",),
    },
)
