# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Seconds an image: one 64 x 64 image, 64 in a batch, and lenstronomy's particle swarm on the same image.

The images are SIE + shear lenses of elliptical Sersic sources with a Gaussian PSF and Gaussian noise.  Both codes get
the same image, noise, PSF and model family; lenstronomy runs a swarm of 50 particles for 100 iterations that starts
around the truth (ours starts from nothing), with its linear solver for the amplitude.

look            one look of the network at a cut-out: its views and the answer, without averaging over flips.
fit             the minimum alone, started by the network or by the coarse grid, without evidence and rendering.
Sersic result   all that ``source="sersic", potential=False`` delivers; what is set against lenstronomy.
full result     all that the default delivers, pixel sources and potential corrections where the evidence asks.

Times are without loading the network.  Where there is CUDA, looks and fits are timed there too, in larger batches.
"""

import argparse
import os
import statistics
import sys
import time

import astropy.units as u
import numpy as np

from benchmarks.population import NETWORK

PIXELS, PIXEL, FWHM, NOISE = 64, 0.08, 0.16, 0.02
#: a cut-out of the other size that is looked at; larger batches on CUDA, of looks and of fits
LARGE, CUDA_LOOKS, CUDA_FITS = 100, 4096, 512
#: what is required: seconds of a look, looks a second; on CUDA, looks and fits a second; times faster than lenstronomy
LOOK, LOOKS, CUDA_LOOK_RATE, CUDA_FIT_RATE, RATIO = 0.010, 300, 20_000, 300, 50


def simulate(count, seed=0, pixels=PIXELS):
    """Noisy images ``(count, pixels, pixels)`` and the parameters they were made with."""
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
    centre = ((pixels - 1) / 2,) * 2
    formation = ImageFormation((pixels, pixels), PIXEL * np.eye(2), centre, kernel, 1, 3, dtype=torch.float64)
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


def median_seconds(function, repeat, device="cpu"):
    """Median seconds of a call; a first call pays for imports and for cached matrices."""
    import torch

    def run():
        function()
        if device != "cpu":
            torch.cuda.synchronize()

    run()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def time_result(images, repeat, **settings):
    """Median seconds an image of one call with all of them, and their chi-squares a pixel."""
    from lensing_sr import LensingSuperResolver

    resolver = LensingSuperResolver(scale=2, lens_light=False, device="cpu", **settings)
    lenses, results = lens_images(images), []

    def resolve():
        results[:] = resolver.super_resolve_many(lenses)

    seconds = median_seconds(resolve, repeat) / len(images)
    # of all pixels and with the noise as given, as lenstronomy's is
    return seconds, [float(np.mean((result.residual.data / NOISE) ** 2)) for result in results]


def batch_of(images, device="cpu"):
    """The images as the fit takes them."""
    from lensing_sr._stack import stack
    from lensing_sr.image.prepare import prepare

    lenses = lens_images(images)
    prepared = [prepare(lens) for lens in lenses]
    alike = [i for i, p in enumerate(prepared) if p.data.shape == prepared[0].data.shape]
    return stack([lenses[i] for i in alike], [prepared[i] for i in alike], device=device)


def repeated(batch, count):
    """Observation, lens centres and the rest of a batch, over and over until there are `count` images."""
    import dataclasses

    import torch

    index = torch.arange(count, device=batch.centre.device) % len(batch.observation)
    seen = batch.observation  # its PSF is one for all
    seen = dataclasses.replace(seen, data=seen.data[index], weight=seen.weight[index])
    rest = {"correlation": batch.correlation[index], "psf_fwhm": batch.psf_fwhm, "lens_light": False}
    return seen, batch.centre[index], rest


def time_look(network, batch, count, repeat, device="cpu"):
    """Median seconds an image of views and network."""
    import torch

    from lensing_sr.fit.estimate import look

    observation, centre, rest = repeated(batch, count)

    @torch.no_grad()
    def glance():
        network(look(observation, centre, **rest))

    return median_seconds(glance, repeat, device) / count


def time_fit(network, batch, count, repeat, device="cpu"):
    """Median seconds an image of the fit alone, as the network starts it; without one, as the grid does."""
    import dataclasses

    from lensing_sr._fitted import LED
    from lensing_sr.fit.estimate import propose_starts
    from lensing_sr.fit.lens_fit import FitSettings, fit_lenses

    observation, centre, rest = repeated(batch, count)
    settings = dataclasses.replace(FitSettings() if network is None else LED, evidence=False)
    arc_radius = batch.arc_radius.repeat(-(-count // len(batch.arc_radius)))[:count]

    def fit():
        proposals = None if network is None else propose_starts(network, observation, centre, **rest)
        fit_lenses(observation, centre, **rest, arc_radius=arc_radius, proposals=proposals, settings=settings)

    return median_seconds(fit, repeat, device) / count


def time_lenstronomy(image, truth):
    """Seconds of lenstronomy's swarm on one image, and its chi-square a pixel."""
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


def line(name, seconds, chi2=()):
    """One line of the table."""
    text = f"{name:<52}{seconds:>10.4f} s an image{1.0 / seconds:>12.1f} a second"
    if len(chi2):
        text += f"   chi2 {np.median(chi2):.3f}"
    if len(chi2) > 1:
        text += f" (median), {np.mean(np.array(chi2) < 1.1):.0%} below 1.1"
    print(text, flush=True)


def time_network(network, images, options):
    """Time looks and fits; yields what is required: (text, whether it holds)."""
    batch, size, few = batch_of(images), len(images), max(options.repeat // 3, 1)
    one = time_look(network, batch, 1, 4 * options.repeat)
    line("look, one image", one)
    large = time_look(network, batch_of(simulate(1, pixels=LARGE)[0]), 1, 4 * options.repeat)
    line(f"look, one image of {LARGE} x {LARGE}", large)
    many = time_look(network, batch, size, options.repeat)
    line(f"look, batch of {size}", many)
    for name, found in (("started by the network", network), ("started by the grid", None)):
        line(f"fit {name}, one image", time_fit(found, batch, 1, options.repeat))
        line(f"fit {name}, batch of {size}", time_fit(found, batch, size, few))
    worst = max(one, large)
    yield f"a look takes {1e3 * worst:.1f} ms, at most {1e3 * LOOK:.0f}", worst <= LOOK
    yield f"{1.0 / many:.0f} looks a second in batch, at least {LOOKS}", 1.0 / many >= LOOKS


def time_cuda(network, images, options):
    """The same on CUDA, in batches of its size."""
    import copy

    import torch

    print(torch.cuda.get_device_name(), flush=True)
    network, batch, few = copy.deepcopy(network).to("cuda"), batch_of(images, "cuda"), max(options.repeat // 3, 1)
    rates = {}
    for count in (1, CUDA_LOOKS):
        seconds = time_look(network, batch, count, 4 * options.repeat, "cuda")
        line(f"CUDA: look, batch of {count}", seconds)
        rates["look"] = 1.0 / seconds
    for name, found in (("started by the network", network), ("started by the grid", None)):
        for count in (1, len(images), CUDA_FITS):
            seconds = time_fit(found, batch, count, few, "cuda")
            line(f"CUDA: fit {name}, batch of {count}", seconds)
            rates[name] = 1.0 / seconds
    look, fit = rates["look"], rates["started by the network"]
    yield f"CUDA: {look:.0f} looks a second, at least {CUDA_LOOK_RATE}", look >= CUDA_LOOK_RATE
    yield f"CUDA: {fit:.0f} fits a second, at least {CUDA_FIT_RATE}", fit >= CUDA_FIT_RATE


def main(arguments=None):
    """Run the benchmark; returns 0 where everything that is required of what ran holds."""
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    from lensing_sr._network import ChosenNetwork

    torch.set_num_threads(options.threads)
    network = ChosenNetwork(options.network).on("cpu")
    images, truth = simulate(max(options.batch, 1))
    size, few = len(images), max(options.repeat // 3, 1)
    print(f"{options.threads} threads, {options.repeat} timings, network {options.network}", flush=True)
    required = list(time_network(network, images, options))
    if torch.cuda.is_available():
        required += time_cuda(network, images, options)

    plain = {"source": "sersic", "potential": False}
    sorts = {
        "network alone": {"method": "network", "network": network, **plain},
        "Sersic result, auto": {"method": "auto", "network": network, **plain},
        "Sersic result, fit": {"method": "fit", **plain},
    }
    if not options.no_full:
        sorts |= {"full result, auto": {"method": "auto", "network": network}, "full result, fit": {"method": "fit"}}
    ones, manys = {}, {}
    for name, settings in sorts.items():
        ones[name] = time_result(images[:1], options.repeat, **settings)
        line(f"{name}, one image", *ones[name])
        manys[name] = time_result(images, few, **settings)
        line(f"{name}, batch of {size}", *manys[name])
    if not options.no_lenstronomy:
        required += list(compare(images, truth, ones, manys))
    print("\nrequired:")
    for text, holds in required:
        print(f"  {'yes' if holds else 'NOT REACHED':<13}{text}")
    return 0 if all(holds for _, holds in required) else 1


def compare(images, truth, ones, manys):
    """Set our times against lenstronomy's; yields what is required: (text, whether it holds)."""
    try:
        seconds, chi2 = time_lenstronomy(images[0], {name: value[0] for name, value in truth.items()})
    except ImportError:
        print("lenstronomy is not installed: no comparison")
        return
    line("lenstronomy, PSO 50 x 100, one image", seconds, [chi2])
    for name, (one, ours) in ones.items():
        print(f"lenstronomy over {name}: {seconds / one:.0f} alone, {seconds / manys[name][0]:.0f} in the batch; "
              f"chi2 {ours[0]:.4f}, lenstronomy {chi2:.4f}")  # fmt: skip
    one, ours = ones["Sersic result, auto"]
    text = f"{seconds / one:.0f} times faster than lenstronomy, at least {RATIO}; chi2 {ours[0]:.4f}, its {chi2:.4f}"
    yield text, seconds / one >= RATIO and ours[0] <= chi2 * 1.001


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5, help="timings of one image; a third as many of the batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--network", default=NETWORK, metavar="NAME", help=f"a name or a file (default: {NETWORK})")
    parser.add_argument("--no-full", action="store_true", help="leave pixel sources and potentials out")
    parser.add_argument("--no-lenstronomy", action="store_true", help="leave the comparison out")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
