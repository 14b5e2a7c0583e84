# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lenses with known truth: the reference telescopes, the dark-matter classes, and a whole population."""

from lensing_sr.instruments.load import instruments  # noqa: F401  (offered here too; light, it needs no astropy)
from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "cosmology": ("FlatLambdaCDM",),
        "detector": (),
        "files": ("read_set", "stream_set", "write_set"),
        "galaxies": ("draw_galaxies",),
        "laws": (),
        "negatives": ("draw_negatives",),
        "neighbours": ("draw_neighbours",),
        "population": ("LensPopulation",),
        "presets": (),
        "randomness": ("Streams",),
        "reference_models": ("ReferenceSimulator",),
        "scene": (),
        "selection": (),
        "substructure": ("draw_point_masses", "draw_subhalos"),
    },
)

__all__ = sorted([*__all__, "instruments"])
