# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Training without labels: images in, weights out, the physics of lensing as the only teacher."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "adversary": ("Adversary",),
        "bank": ("Population", "fit_images"),
        "calibration": ("calibrated",),
        "checkpoint": ("load_checkpoint", "save_checkpoint"),
        "curves": ("LearningCurves",),
        "data": ("ImageBatches", "SimulatedBatches"),
        "estimation": ("EstimatorRecipe", "read_estimator_recipe", "train_estimator"),
        "finding": ("FinderRecipe", "read_finder_recipe", "train_finder"),
        "fine_tuning": ("fine_tune",),
        "folder": (),
        "history": ("History", "TrainingError"),
        "parallel": (),
        "pretraining": ("train_classifier",),
        "recipe": ("Recipe", "list_recipes", "read_recipe"),
        "resumable": (),
        "schedule": ("ConstantRate", "FineTuning", "WarmupCosine"),
        "teaching": ("Teaching",),
        "trainer": ("Trainer",),
    },
)
