# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Does a network look at the image? Predicted against true mean deflection over lenses of many sizes.

The reference method's lenses have one Einstein radius, so that a network which gives one field whatever it is shown
scores there as well as any.  Here lenses differ: fresh draws of the population on which the recipe
residual-cnn-population trains, those with theta_E from 0.5 to 1.6 arcsec.  Of each the mean of |alpha| over the frame,
predicted and true:

correlation  Pearson's; 0 for a network that doesn't look.
slope        of the line of least squares, predicted over true: 1 at best, 0 for a constant.
bias         mean of predicted less true, arcsec.
scatter      rms of predicted less true about that bias, arcsec.
spread       standard deviation of what is predicted, arcsec (of the true ones in the first line).

A network's field is averaged over the eight turned and mirrored images, as the resolver does it; *not averaged* is that
of the image as it lies.  Beside every network stands itself before its training.  *light* is no network: the mean
distance of the light from the centre, by a straight line that was fitted to the truth of other draws.  *theta_E* is the
true Einstein radius itself, so what a network would reach that knows it and nothing else.

The published architecture (half as wide) on the same images and with the same terms in the loss is trained by

    python -m lensing_sr.training published-residual-cnn-population --output published-population

and then named too: --network residual-cnn-population published-population/best.safetensors
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.fresh import draw_fresh
from lensing_sr.errors import InputError
from lensing_sr.networks import average_symmetries, build_network, load_network, read_metadata
from lensing_sr.networks.registry import REGISTRY
from lensing_sr.training import read_recipe

#: recipe whose images are drawn
RECIPE = "residual-cnn-population"
#: arcsec; lenses that are scored
RADII = (0.5, 1.6)
#: after the name of a network whose prediction is not averaged
PLAIN = ", not averaged"
#: what a network with global context must reach
REQUIRED = 0.95
#: images drawn, and shown to a network, at once
BATCH = 64


def make_population():
    """The simulator of the recipe's images."""
    from lensing_sr.simulation import LensPopulation

    settings = dict(read_recipe(RECIPE).tables["data"])
    for key in ("simulator", "batch_size", "validation"):
        settings.pop(key)
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return LensPopulation(**settings)


def draw_lenses(count, seed):
    """Draw until so many have the right theta_E: observations, and by name the true numbers ``(count,)``."""
    population, batches, found = make_population(), [], {"theta_E": [], "mean": []}
    while sum(map(len, batches)) < count:
        left = count - sum(map(len, batches))
        number = len(batches)
        observed, truth = draw_fresh(population, BATCH, ("theta_E", "alpha_x", "alpha_y"), seed=seed, number=number)
        theta_E = truth["theta_E"]
        chosen = ((theta_E >= RADII[0]) & (theta_E <= RADII[1])).nonzero()[:left, 0]
        batches.append(observed.select(chosen))
        found["theta_E"].append(theta_E[chosen])
        found["mean"].append(mean_deflection(truth["alpha_x"], truth["alpha_y"])[chosen])
    return batches, {key: torch.cat(values) for key, values in found.items()}


def mean_deflection(alpha_x, alpha_y):
    """Mean of |alpha| over the frame, arcsec, ``(batch,)`` float64."""
    return torch.hypot(alpha_x.double(), alpha_y.double()).mean(dim=(-2, -1))


def predict(network, batches):
    """Mean of |alpha| of the averaged field, and of the field of the image as it lies, each ``(count,)``."""
    network.eval()
    parts = []
    for observed in batches:
        mean, copies = average_symmetries(
            network, observed.image, pixel_scale=observed.pixel_scale, psf_fwhm=observed.psf_fwhm, noise=observed.noise
        )
        parts.append((mean_deflection(*mean), mean_deflection(*(alpha[:, 0] for alpha in copies))))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def light_radius(batches):
    """Mean distance in arcsec of the light from the centre, of pixels above three sigma, ``(count,)``."""
    parts = []
    for observed in batches:
        rows, columns = ((torch.arange(n) - 0.5 * (n - 1)) * observed.pixel_scale for n in observed.shape)
        light = torch.where(observed.image > 3.0 * observed.noise, observed.image, 0.0).double()
        total = light.sum((1, 2)).clamp_min(1e-12)
        parts.append((light * torch.hypot(columns, rows[:, None])).sum((1, 2)) / total)
    return torch.cat(parts)


def score(predicted, true):
    """Correlation, slope, bias, scatter and spread of predictions, by name."""
    difference, about, of_true = predicted - true, predicted - predicted.mean(), true - true.mean()
    covariance, variance = (about * of_true).mean(), of_true.square().mean()
    spread = about.square().mean().sqrt()
    # a constant has no correlation with anything; rounding would make one up
    flat = spread < 1e-6
    return {
        "correlation": 0.0 if flat else float(covariance / (spread * variance.sqrt())),
        "slope": float(covariance / variance),
        "bias": float(difference.mean()),
        "scatter": float(difference.std(correction=0)),
        "spread": float(spread),
    }


def networks_of(names):
    """Each network by what it is called, and the same untrained."""
    found = {}
    for name in names:
        path = Path(name)
        title = read_metadata(path)["metadata"].get("recipe", name) if path.is_file() else str(name)
        network = load_network(path if path.is_file() else name)
        torch.manual_seed(1)
        while title in found:
            title += " (another)"
        found[title] = network
        found[f"{title}, untrained"] = build_network(network.settings)
    return found


def save_plot(path, true, predictions):
    """Predicted over true, a panel a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(predictions), 4.2), layout="constrained")
    axes = figure.subplots(1, len(predictions), sharex=True, sharey=True, squeeze=False)[0]
    ends = [float(true.min()), float(true.max())]
    for axis, (name, predicted) in zip(axes, predictions.items(), strict=True):
        axis.plot(ends, ends, color="0.6", linewidth=1)
        axis.plot(true, predicted, ".", markersize=3)
        axis.set_title(f"{name}\ncorrelation {score(predicted, true)['correlation']:.3f}", fontsize=9)
        axis.set_xlabel("true mean |alpha| (arcsec)")
    axes[0].set_ylabel("predicted mean |alpha| (arcsec)")
    figure.savefig(path, dpi=120)


def main(arguments=None):
    """Run the benchmark; returns 0 where every trained network with global context reaches what is required."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.response", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--network", nargs="+", metavar="NAME|PATH", default=[RECIPE] if RECIPE in REGISTRY else [],
        help=f"networks of the package or safetensors files (default: {RECIPE}, if the package has it)",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=500, help="lenses (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", metavar="PNG", help="write predicted over true deflections as a figure")
    options = parser.parse_args(arguments)
    if options.count < 3:
        parser.error("--count: must be at least 3")
    torch.set_num_threads(options.threads)
    try:
        networks = networks_of(options.network)
    except InputError as error:
        parser.error(str(error))

    batches, true = draw_lenses(options.count, options.seed)
    others, known = draw_lenses(max(options.count // 2, 3), options.seed + 1)
    truth = true["mean"]
    print(f"{options.count} lenses of theta_E {RADII[0]:g} to {RADII[1]:g} arcsec, spread of the true mean |alpha| "
          f"{float(truth.std(correction=0)):.3f} arcsec", flush=True)  # fmt: skip
    predictions = {"theta_E": true["theta_E"]}
    radius, there = light_radius(batches), light_radius(others)
    design = torch.stack([there, torch.ones_like(there)], dim=1)
    line = torch.linalg.lstsq(design, known["mean"][:, None]).solution[:, 0]
    predictions["light"] = line[0] * radius + line[1]
    for name, network in networks.items():
        predictions[name], predictions[f"{name}{PLAIN}"] = predict(network, batches)
    columns = list(score(truth, truth))
    width = max(map(len, predictions)) + 2
    print(" " * width + "".join(f"{column:>13}" for column in columns))
    failed = []
    for name, predicted in predictions.items():
        found = score(predicted, truth)
        network = networks.get(name)
        asked = network is not None and network.settings["context"] and not name.endswith(", untrained")
        mark = ""
        if asked and not found["correlation"] >= REQUIRED:
            failed.append(name)
            mark = f"  NOT REACHED: {REQUIRED:g}"
        print(f"{name:<{width}}" + "".join(f"{found[column]:13.3f}" for column in columns) + mark, flush=True)
    if options.plot:
        save_plot(options.plot, truth, {name: predictions[name] for name in (*networks, "light")})
    if not networks:
        print(f"no network: train one by python -m lensing_sr.training {RECIPE}, and name its best.safetensors")
        return 1
    print("all required values reached" if not failed else f"not reached: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
