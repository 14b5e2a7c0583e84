# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The scorings of the reference protocol: the fair one, and two that compare with publications."""

import numpy as np

from lensing_sr.metrics.scores import mse, psnr, self_normalised, ssim

__all__ = ["COLUMNS", "fair_scores", "stretched_scores"]

#: what is scored: heading, format, and the words that a table keeps
COLUMNS = {
    "fair_mse": ("MSE", ".3g", "flux units, truth without noise, its peak is 1: mean squared error, median of images"),
    "fair_ssim": ("SSIM", ".4f", "likewise: structural similarity, range 1, median of images"),
    "fair_psnr": ("PSNR", ".2f", "likewise: PSNR in dB, median of images"),
    "clean_psnr": ("PSNR", ".2f", "self-normalised, truth without noise: PSNR in dB, mean of images"),
    "noisy_mse": ("MSE", ".6f", "self-normalised, truth with noise, as published: mean squared error, mean of images"),
    "noisy_ssim": ("SSIM", ".3f", "likewise: structural similarity, range 1, mean of images"),
    "noisy_psnr": ("PSNR", ".3f", "likewise: PSNR in dB, mean of images"),
}


def _stretched(images):
    """Each image stretched to [0, 1]; one without contrast is taken as dark."""
    flat = np.ptp(images, axis=(-2, -1)) == 0
    stretched = np.zeros_like(images)
    if not flat.all():
        stretched[~flat] = self_normalised(images[~flat])
    return stretched


def fair_scores(images, truth):
    """Scores in flux units against the truth without noise, whose peak is 1; medians of the images.

    Parameters
    ----------
    images, truth : numpy.ndarray
        ``(n, rows, columns)``, in one flux unit.

    Returns
    -------
    dict of str to float
        "fair_mse", "fair_ssim", "fair_psnr".

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.reference_scores import fair_scores
    >>> truth = np.zeros((1, 16, 16))
    >>> truth[0, 8, 8] = 2.0
    >>> round(fair_scores(truth + 0.2, truth)["fair_psnr"], 6)
    20.0
    """
    peak = truth.max(axis=(-2, -1), keepdims=True)
    images, truth = np.asarray(images, dtype=float) / peak, truth / peak
    scores = _scores(images, truth)
    return {f"fair_{name}": float(np.median(values)) for name, values in scores.items()}


def stretched_scores(images, truth, noisy_truth):
    """Scores of images stretched to [0, 1], as published, against either truth; means of the images.

    Parameters
    ----------
    images, truth, noisy_truth : numpy.ndarray
        ``(n, rows, columns)``, each in any unit.

    Returns
    -------
    dict of str to float
        "clean_psnr", "noisy_mse", "noisy_ssim", "noisy_psnr".

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.reference_scores import stretched_scores
    >>> truth = np.zeros((1, 16, 16))
    >>> truth[0, 8, 8] = 2.0
    >>> bool(stretched_scores(truth + 0.2, truth, truth)["clean_psnr"] > 200.0)  # the wrong level is not seen
    True
    """
    images, clean, noisy = _stretched(np.asarray(images, dtype=float)), _stretched(truth), _stretched(noisy_truth)
    scores = {"clean_psnr": _scores(images, clean)["psnr"]}
    scores |= {f"noisy_{name}": values for name, values in _scores(images, noisy).items()}
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _scores(images, truth):
    """MSE, SSIM and PSNR of each image, for a range of 1."""
    error = mse(images, truth)
    with np.errstate(divide="ignore"):  # the truth itself has no error
        peak_to_error = psnr(images, truth, data_range=1.0)
    return {"mse": error, "ssim": ssim(images, truth, data_range=1.0), "psnr": peak_to_error}
