# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a deflection must satisfy: the physics of lensing as differentiable losses, without a single true image."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "observed": ("Deflection", "Observed"),
        "grids": (),
        "reconstruction": ("Reconstruction",),
        "sersic_fit": ("SersicFit",),
        "source_plane": (),
        "term": ("Term",),
        "source": ("SourceLoss",),
        "image": ("ImageLoss",),
        "likelihood": ("Likelihood",),
        "intensity": ("IntensityConservation",),
        "positivity": ("Positivity",),
        "variation": ("VariationDensity",),
        "curl": ("Curl",),
        "compactness": ("Compactness",),
        "adversarial": ("Adversarial",),
        "features": ("FeatureLoss",),
        "schedules": ("Constant", "CosineDecay", "ExponentialDecay", "LinearDecay", "build_schedule"),
        "total": ("LensingLoss", "build_loss"),
        "published": ("PublishedTraining", "published_loss"),
    },
)
