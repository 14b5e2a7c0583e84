# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Telescopes and bands as data: one TOML file each, with the source of every figure."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"load": ("Instrument", "instruments", "load_instrument")})
