# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Fair PSNR on samples of the reference simulations, beside every interpolation of the same images.

The truth is the noise-free image on the fine grid; both images are in flux units, the estimate as delivered, and the
truth's peak sets the scale.  Medians over the images of each of the nine cells (Models 1, 2, 3 without substructure,
with axion vortices, with cold dark matter).  *required* is the best interpolation, and where there is no substructure
also a fixed floor.  *ceiling* is the same fit with its residual free of noise, so what no restoring by interpolation
can pass.
"""

import argparse
import sys
import time
from pathlib import Path

import astropy.units as u
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.metrics.interpolation import METHODS, baselines, upsample
from lensing_sr.metrics.scores import psnr

MODELS = (1, 2, 3)
SUBSTRUCTURES = ("no_sub", "axion", "cdm")

#: dB that the smooth cells must reach whatever the interpolations do
FLOORS = {(1, "no_sub"): 38.0, (2, "no_sub"): 63.0, (3, "no_sub"): 65.0}

#: flux; the sky noise of Model 1 before it is clipped at zero
CLIPPED_SKY = 0.01


def read_cell(folder, model, substructure, count=None):
    """Read one cell, all in flux units: dictionary of noisy and noise-free images, noise maps, truth, pixel, FWHM."""
    with np.load(folder / f"model{model}_{substructure}.npz", allow_pickle=False) as archive:
        names = ("LR", "LR_model", "HR_model", "exp_time_LR", "bkg_rms_LR", "psf_fwhm", "pixscale_LR")
        cell = {name: archive[name][:count].astype(float) for name in names}
    exposure = cell["exp_time_LR"][:, None, None]
    if model == 1:  # counts
        cell["LR"] = cell["LR"] / exposure
        cell["noise"] = _clipped_noise(cell["LR"], exposure)
    else:
        cell["noise"] = np.sqrt(cell["bkg_rms_LR"][:, None, None] ** 2 + cell["LR"].clip(0) / exposure)
    return cell


def _clipped_noise(image, exposure):
    """Sigma map of Model 1: Poisson twice, and between the two a Gaussian sky that is clipped at zero."""
    offset = CLIPPED_SKY / np.sqrt(2 * np.pi)  # the mean that clipping leaves in blank sky
    flux = (gaussian_filter(image, (0, 1, 1)) - offset).clip(0)
    z = flux / CLIPPED_SKY
    mean = flux * norm.cdf(z) + CLIPPED_SKY * norm.pdf(z)
    square = (flux**2 + CLIPPED_SKY**2) * norm.cdf(z) + flux * CLIPPED_SKY * norm.pdf(z)
    return np.sqrt(square - mean**2 + 2 * mean / exposure)


def super_resolve_cell(resolver, cell, progress=False):
    """Super-resolve the images of a cell; returns the results and the seconds taken."""
    images = []
    for index, data in enumerate(cell["LR"]):
        fwhm = cell["psf_fwhm"][index]
        psf = fwhm * u.arcsec if fwhm > 0 else None
        pixel = cell["pixscale_LR"][index] * u.arcsec / u.pix
        images.append(LensImage(data, noise=cell["noise"][index], psf=psf, pixel_scale=pixel, name=f"image {index}"))
    start = time.perf_counter()
    results = resolver.super_resolve_many(images, progress=progress)
    return results, time.perf_counter() - start


def score_cell(cell, results):
    """Median fair PSNR in dB of the interpolations, of the model alone, of the delivered image and of the ceiling."""
    truth = cell["HR_model"]

    def median(images):
        return float(np.median(psnr(np.asarray(images), truth)))

    scores = {name: median(images) for name, images in baselines(cell["LR"], 2).items()}
    arcs = np.array([result.arcs.data for result in results], dtype=float)
    residual = np.array([result.residual.data + result.sky for result in results], dtype=float)
    without_noise = residual - (cell["LR"] - cell["LR_model"])
    scores["model"] = median(arcs)
    scores["ours"] = median([result.image.data for result in results])
    scores["ceiling"] = median(arcs + upsample(without_noise, 2, "cubic_spline"))
    return scores


def main(arguments=None):
    """Run the benchmark; returns 0 where every cell reaches what is required."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference_psnr", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where model{1,2,3}_{no_sub,axion,cdm}.npz are")
    parser.add_argument("--count", type=int, help="images a cell (default: all)")
    parser.add_argument("--models", type=int, nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(options.threads)
    resolver = LensingSuperResolver(scale=2, method="fit", lens_light=False, supersampling=1)
    columns = (*METHODS, "required", "model", "ours", "ceiling")
    print(f"{'cell':<16}" + "".join(f"{name:>13}" for name in columns) + f"{'chi2':>8}{'s/image':>9}")
    failed = []
    for model in options.models:
        for substructure in SUBSTRUCTURES:
            cell = read_cell(options.folder, model, substructure, options.count)
            results, seconds = super_resolve_cell(resolver, cell)
            scores = score_cell(cell, results)
            best = max(scores[name] for name in METHODS)
            scores["required"] = max(best, FLOORS.get((model, substructure), 0.0))
            reached = scores["ours"] >= scores["required"] and scores["ours"] > best
            name = f"Model {model} {substructure}"
            if not reached:
                failed.append(name)
            chi2 = np.median([result.quality.chi2 for result in results])
            numbers = "".join(f"{scores[column]:13.2f}" for column in columns)
            mark = "" if reached else "  NOT REACHED"
            print(f"{name:<16}{numbers}{chi2:8.2f}{seconds / len(results):9.3f}{mark}", flush=True)
    print("all required values reached" if not failed else f"not reached: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
