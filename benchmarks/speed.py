# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Seconds an image: one 64 x 64 image, 64 in a batch, and lenstronomy's particle swarm on the same image.

The images are SIE + shear lenses of elliptical Sersic sources with a Gaussian PSF and Gaussian noise.  Both codes get
the same image, noise, PSF and model family; lenstronomy runs a swarm of 50 particles for 100 iterations that starts
around the truth (ours starts from nothing), with its linear solver for the amplitude.
"""

import argparse
import os
import statistics
import sys
import time

import astropy.units as u
import numpy as np

PIXELS, PIXEL, FWHM, NOISE = 64, 0.08, 0.16, 0.02


def simulate(count, seed=0):
    """Noisy images ``(count, 64, 64)`` and the parameters they were made with."""
    import torch

    from lensing_sr.forward.formation import ImageFormation
    from lensing_sr.image.psf import PSF
    from lensing_sr.lensing.mass import shear_deflection, sie_deflection
    from lensing_sr.light.sersic import sersic_brightness

    rng = np.random.default_rng(seed)
    truth = {
        "theta_E": rng.uniform(0.8, 1.6, count),
        "e1": rng.normal(0, 0.1, count),
        "e2": rng.normal(0, 0.1, count),
        "gamma1": rng.normal(0, 0.03, count),
        "gamma2": rng.normal(0, 0.03, count),
        "x": rng.uniform(-0.2, 0.2, count),
        "y": rng.uniform(-0.2, 0.2, count),
        "r_eff": rng.uniform(0.15, 0.35, count),
        "n": rng.uniform(0.8, 2.5, count),
        "source_e1": rng.normal(0, 0.1, count),
        "source_e2": rng.normal(0, 0.1, count),
    }
    p = {name: torch.tensor(value)[:, None, None] for name, value in truth.items()}
    kernel = torch.tensor(PSF.from_fwhm(FWHM * u.arcsec).kernel_at(PIXEL, 1))
    centre = ((PIXELS - 1) / 2,) * 2
    formation = ImageFormation((PIXELS, PIXELS), PIXEL * np.eye(2), centre, kernel, 1, 3, dtype=torch.float64)
    x, y = formation.positions
    alpha_x, alpha_y = sie_deflection(x, y, p["theta_E"], p["e1"], p["e2"])
    shear_x, shear_y = shear_deflection(x, y, p["gamma1"], p["gamma2"])
    source = (p["r_eff"], p["n"], p["source_e1"], p["source_e2"], p["x"], p["y"])
    light = sersic_brightness(x - alpha_x - shear_x, y - alpha_y - shear_y, torch.ones_like(p["n"]), *source)
    images = formation.observe(light).numpy()
    images /= images.max(axis=(1, 2), keepdims=True)
    return images + NOISE * rng.normal(size=images.shape), truth


def lens_images(images):
    """The images as the package takes them."""
    from lensing_sr import LensImage

    return [LensImage(data, noise=NOISE, psf=FWHM * u.arcsec, pixel_scale=PIXEL * u.arcsec / u.pix) for data in images]


def median_seconds(function, repeat):
    """Median seconds of a call; a first call pays for imports and for cached matrices."""
    function()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def time_ours(images, repeat):
    """Median seconds of one call with all the images, and the reduced chi-squares."""
    from lensing_sr import LensingSuperResolver

    resolver = LensingSuperResolver(scale=2, method="fit", lens_light=False)
    lenses, chi2 = lens_images(images), []

    def resolve():
        chi2[:] = [result.quality.chi2 for result in resolver.super_resolve_many(lenses)]

    return median_seconds(resolve, repeat), chi2


def time_fit(images, repeat):
    """Median seconds of the fit alone: preparation, evidence and rendering left out."""
    from lensing_sr._stack import stack
    from lensing_sr.fit.lens_fit import FitSettings, fit_lenses
    from lensing_sr.image.prepare import prepare

    lenses = lens_images(images)
    prepared = [prepare(lens) for lens in lenses]
    alike = [i for i, p in enumerate(prepared) if p.data.shape == prepared[0].data.shape]
    batch = stack([lenses[i] for i in alike], [prepared[i] for i in alike], device="cpu")

    def fit():
        fit_lenses(
            batch.observation,
            batch.centre,
            lens_light=False,
            psf_fwhm=batch.psf_fwhm,
            arc_radius=batch.arc_radius,
            settings=FitSettings(evidence=False),
        )

    return median_seconds(fit, repeat) / len(alike)


def time_lenstronomy(image, truth):
    """Seconds of lenstronomy's swarm on one image, and its reduced chi-square."""
    from lenstronomy.Workflow.fitting_sequence import FittingSequence

    half = PIXEL * (PIXELS - 1) / 2
    data = {
        "image_data": image, "background_rms": NOISE, "noise_map": np.full(image.shape, NOISE),
        "ra_at_xy_0": -half, "dec_at_xy_0": -half, "transform_pix2angle": PIXEL * np.eye(2),
    }
    psf = {"psf_type": "GAUSSIAN", "fwhm": FWHM, "pixel_size": PIXEL, "truncation": 5}
    bands = [[data, psf, {"supersampling_factor": 1, "supersampling_convolution": False}]]
    sie = {"theta_E": truth["theta_E"], "e1": truth["e1"], "e2": truth["e2"], "center_x": 0.0, "center_y": 0.0}
    shear = {"gamma1": truth["gamma1"], "gamma2": truth["gamma2"], "ra_0": 0.0, "dec_0": 0.0}
    sersic = {
        "R_sersic": truth["r_eff"], "n_sersic": truth["n"], "e1": truth["source_e1"], "e2": truth["source_e2"],
        "center_x": truth["x"], "center_y": truth["y"],
    }
    parameters = {
        "lens_model": _ranges([sie, shear], [{}, {"ra_0": 0.0, "dec_0": 0.0}]),
        "source_model": _ranges([sersic], [{}]),
    }
    sequence = FittingSequence(
        {"multi_band_list": bands, "multi_band_type": "multi-linear"},
        {"lens_model_list": ["SIE", "SHEAR"], "source_light_model_list": ["SERSIC_ELLIPSE"]},
        {},
        {},
        parameters,
        verbose=False,
    )
    start = time.perf_counter()
    sequence.fit_sequence([["PSO", {"sigma_scale": 1.0, "n_particles": 50, "n_iterations": 100, "threadCount": 1}]])
    seconds = time.perf_counter() - start
    return seconds, -2 * sequence.best_fit_likelihood() / image.size


#: width of the swarm, lower and upper bound of each parameter; what is not named has the bounds of an ellipticity
_PRIOR = {
    "theta_E": (0.1, 0.1, 3.0), "R_sersic": (0.1, 0.02, 2.0), "n_sersic": (0.5, 0.5, 6.0),
    "center_x": (0.05, -1.0, 1.0), "center_y": (0.05, -1.0, 1.0),
    "gamma1": (0.03, -0.3, 0.3), "gamma2": (0.03, -0.3, 0.3),
}


def _ranges(models, fixed):
    """Start, width, fixed values and bounds of models, as lenstronomy wants them."""
    starts = [{name: float(value) for name, value in model.items()} for model in models]
    ranges = [{name: _PRIOR.get(name, (0.1, -0.5, 0.5)) for name in model} for model in models]
    sigma, lower, upper = ([{name: row[i] for name, row in model.items()} for model in ranges] for i in range(3))
    return [starts, sigma, fixed, lower, upper]


def main(arguments=None):
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5, help="timings of one image; a third as many of the batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-lenstronomy", action="store_true", help="leave the comparison out")
    options = parser.parse_args(arguments)

    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    torch.set_num_threads(options.threads)
    images, truth = simulate(max(options.batch, 1))
    one, chi2 = time_ours(images[:1], options.repeat)
    print(f"{'one image':<32}{one:8.3f} s an image   chi2 {chi2[0]:.3f}", flush=True)
    many, chi2 = time_ours(images, max(options.repeat // 3, 1))
    many /= len(images)
    good = np.mean(np.array(chi2) < 1.1)
    print(f"{f'batch of {len(images)}':<32}{many:8.3f} s an image   chi2 median {np.median(chi2):.3f},"
          f" {good:.0%} below 1.1", flush=True)
    fit_one = time_fit(images[:1], options.repeat)
    fit_many = time_fit(images, max(options.repeat // 3, 1))
    print(f"{'the fit alone, one image':<32}{fit_one:8.3f} s an image", flush=True)
    print(f"{f'the fit alone, batch of {len(images)}':<32}{fit_many:8.3f} s an image", flush=True)
    if options.no_lenstronomy:
        return 0
    try:
        seconds, chi2 = time_lenstronomy(images[0], {name: value[0] for name, value in truth.items()})
    except ImportError:
        print("lenstronomy is not installed: no comparison")
        return 0
    print(f"{'lenstronomy, PSO 50 x 100':<32}{seconds:8.3f} s an image   chi2 {chi2:.3f}")
    print(f"ratio, full result: {seconds / one:.0f} times faster alone, {seconds / many:.0f} times in the batch")
    print(f"ratio, fit alone: {seconds / fit_one:.0f} times faster alone, {seconds / fit_many:.0f} times in the batch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
