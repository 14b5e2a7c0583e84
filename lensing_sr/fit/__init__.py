# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Fits of the forward model to images."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "observation": (),
        "priors": (),
        "start": (),
        "objective": (),
        "coarse": ("FitSettings", "fit_coarsely"),
        "lens_fit": ("LensFit", "fit_lenses"),
        "estimate": ("estimate_lenses", "propose_starts"),
        "evidence": ("arcs_evidence", "lens_evidence"),
        "uncertainty": (),
        "rendering": (),
    },
)
