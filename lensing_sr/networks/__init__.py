# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Networks that see an image and answer with a deflection field, or with lens and source; and what stores them."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "context": ("GlobalContext",),
        "deflection_network": ("DeflectionNetwork", "NetworkKind", "build_network"),
        "features": ("Classifier", "FeatureExtractor"),
        "heads": ("ConvergenceHead", "PolarHead", "PotentialHead"),
        "inputs": ("prepare_inputs",),
        "isophotes": ("without_isophotes",),
        "lens_estimator": ("Estimate", "LensEstimator"),
        "lens_finder": ("LensFinder",),
        "mixture": ("Mixture", "free_of_scale", "in_arcsec"),
        "rcan": ("RCAN",),
        "registry": ("RegisteredWeights",),
        "residual_cnn": ("ResidualCNN",),
        "srgan": ("Discriminator", "discriminators"),
        "symmetry": ("average_symmetries",),
        "view_reader": ("ViewReader",),
        "views": ("Views", "make_views"),
        "weights": ("file_sha256", "load_network", "read_metadata", "save_network"),
    },
)
