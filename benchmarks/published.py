# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What was published about the reference method, and what its public weights reach when they are run again.

`SCORES` are the authors' own tables, "Physics-Informed Unsupervised Super-Resolution of Strong Lensing Images" (Google
Summer of Code 2024, ML4Sci DeepLense; sections 6, 11.6 and 11.7 of its description): each image stretched to [0, 1] by
its own extremes, the truth with its own noise, means over 5000 images a class.  The tables of RCAN and GAN for Model 2
are identical there.

`MEASURED` are PSNR of the public weights, run on 200 images a cell, against the truth without noise; images stretched
likewise.  No RCAN weights were measured.
"""

__all__ = ["CLASSES", "MEASURED", "METHODS", "MODELS", "SCORES", "published_scores"]

MODELS = (1, 2, 3)
CLASSES = ("no_sub", "axion", "cdm")
METHODS = ("residual CNN", "RCAN", "GAN", "feature GAN", "residual CNN, 20 % of the data", "two-component")

#: (MSE, SSIM, PSNR in dB) by method and model, in the order of `CLASSES`
SCORES = {
    "residual CNN": {
        1: ((0.003310, 0.718, 25.255), (0.004801, 0.660, 23.506), (0.004923, 0.659, 23.491)),
        2: ((0.004661, 0.214, 23.785), (0.004555, 0.215, 24.064), (0.004741, 0.212, 23.768)),
        3: ((0.001487, 0.819, 29.167), (0.001715, 0.808, 28.578), (0.001684, 0.809, 28.636)),
    },
    "RCAN": {
        1: ((0.003756, 0.759, 25.607), (0.003854, 0.749, 25.466), (0.004006, 0.740, 25.215)),
        2: ((0.003104, 0.219, 25.353), (0.003159, 0.216, 25.299), (0.003231, 0.216, 25.191)),
        3: ((0.003976, 0.717, 24.792), (0.003932, 0.708, 24.832), (0.004084, 0.706, 24.608)),
    },
    "GAN": {
        1: ((0.004767, 0.743, 24.284), (0.004097, 0.750, 24.854), (0.004385, 0.740, 24.556)),
        2: ((0.003104, 0.219, 25.353), (0.003159, 0.216, 25.299), (0.003231, 0.216, 25.191)),
        3: ((0.001479, 0.821, 29.163), (0.001609, 0.812, 28.818), (0.001631, 0.811, 28.742)),
    },
    "feature GAN": {
        1: ((0.004442, 0.745, 24.305), (0.002908, 0.770, 25.902), (0.003376, 0.756, 25.310)),
        2: ((0.003510, 0.213, 25.108), (0.003573, 0.212, 24.882), (0.003649, 0.210, 24.942)),
        3: ((0.001425, 0.819, 29.343), (0.002304, 0.796, 27.311), (0.001682, 0.807, 28.550)),
    },
    "residual CNN, 20 % of the data": {
        1: ((0.003353, 0.762, 25.390), (0.002968, 0.763, 25.763), (0.003188, 0.755, 25.519)),
        2: ((0.005071, 0.211, 23.459), (0.004829, 0.214, 23.814), (0.005044, 0.211, 23.519)),
        3: ((0.004156, 0.786, 25.519), (0.003884, 0.790, 26.537), (0.003883, 0.786, 25.986)),
    },
}

#: PSNR in dB against the noise-free truth, by method and model, in the order of `CLASSES`
MEASURED = {
    "residual CNN": {1: (28.1, 24.2, 24.8), 2: (25.0, 26.3, 25.2), 3: (27.6, 29.2, 28.3)},
    "GAN": {1: (26.5, 23.9, 24.3), 2: (26.0, 27.5, 26.2), 3: (27.7, 29.2, 28.3)},
    "feature GAN": {1: (28.8, 25.3, 25.8), 2: (27.3, 27.3, 26.8), 3: (28.0, 26.8, 28.4)},
    "residual CNN, 20 % of the data": {1: (26.4, 22.9, 23.6), 2: (24.5, 25.9, 24.8), 3: (24.1, 26.4, 25.3)},
    "two-component": {1: (27.1, 27.7, 27.1), 2: (28.4, 28.6, 27.7), 3: (28.7, 29.1, 29.3)},
}


def published_scores(method, model, dark_matter):
    """What is known of a published method in a cell, by the names of `benchmarks.reference_scores.COLUMNS`."""
    place, scores = CLASSES.index(dark_matter), {}
    if method in SCORES:
        scores = dict(zip(("noisy_mse", "noisy_ssim", "noisy_psnr"), SCORES[method][model][place], strict=True))
    if method in MEASURED:
        scores["clean_psnr"] = MEASURED[method][model][place]
    return scores
