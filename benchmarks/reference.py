# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The reference protocol: our networks, our fit and every interpolation, beside the truth and what was published.

Nine cells, Models 1, 2, 3 without substructure, with axion vortices, with cold dark matter.  *delivered* is the image
of a result; *arcs* is the re-lensed source alone; *ceiling* is delivered with a residual that is free of noise, so what
no restoring by interpolation can pass.  *untrained* is a network before its training: what a delivered image owes to
the restored residual alone.  *truth* is the noise-free image itself: what a perfect method scores.

Fair scores: flux units, the truth without noise, its peak is 1; medians of the images.  Self-normalised scores, to
compare with publications: each image stretched to [0, 1] by its own extremes; means of the images.

Required: a residual CNN beats the published one by 3 dB (self-normalised, truth without noise) in every cell, and
bilinear interpolation without substructure (fair PSNR); the fit beats every interpolation (fair PSNR), and without
substructure reaches a fixed floor.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.published import CLASSES, MEASURED, METHODS, MODELS, published_scores
from benchmarks.reference_cells import FRESH_SEED, draw_cell, read_cell
from benchmarks.reference_scores import COLUMNS, fair_scores, stretched_scores
from lensing_sr.utils._console import whole

#: dB that the fit must reach in the smooth cells whatever the interpolations do
FLOORS = {(1, "no_sub"): 38.0, (2, "no_sub"): 63.0, (3, "no_sub"): 65.0}
#: dB by which a residual CNN must beat the published one
GAIN = 3.0
#: before the name of a network that was trained: the same, untrained
UNTRAINED = "untrained "

DESCRIPTIONS = {
    "model": "telescope",
    "dark_matter": "class of dark matter",
    "group": "network, control (untrained), fit, interpolation, truth or published",
    "method": "who made the image",
    "image": "delivered, arcs (re-lensed source alone) or ceiling (residual free of noise)",
    "count": "images",
    **{name: words for name, (_, _, words) in COLUMNS.items()},
    "chi2": "reduced chi-square of the delivered image, median of images",
    "seconds": "wall time an image",
}


def load_resolvers(networks, fit):
    """Resolvers and their group by their name in the table.

    Those of networks (None: all of the package for a model), of each residual CNN as it was before its training (the
    control: what its delivered image owes to the restored residual alone), and the fit.
    """
    import torch

    from lensing_sr import LensingSuperResolver
    from lensing_sr.networks import build_network
    from lensing_sr.networks.registry import REGISTRY

    if networks is None:
        networks = [name for name in REGISTRY if _model_of(name) is not None]
    settings = {"scale": 2, "lens_light": False, "supersampling": 1}  # light at pixel centres, as these images have it
    resolvers, controls = {}, {}
    for name in networks:
        path = Path(name)
        label = f"{path.parent.name}/{path.stem}".lstrip("/") if path.suffix == ".safetensors" else name
        resolver = LensingSuperResolver(method="network", network=name, **settings)
        resolvers[label] = "network", resolver
        if resolver.network.settings["network"] == "residual-cnn":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                untrained = build_network(resolver.network.settings)
            controls[UNTRAINED + label] = "control", LensingSuperResolver(
                method="network", network=untrained, **settings
            )
    resolvers |= controls
    if fit:
        resolvers["fit"] = "fit", LensingSuperResolver(method="fit", **settings)
    return resolvers


def _model_of(name):
    """The one model that a name ends in, or None."""
    ending = name.rpartition("-model")[2]
    return int(ending) if ending in map(str, MODELS) else None


def run_resolver(resolver, cell):
    """Scores of the images that a resolver makes of a cell: one dictionary each for delivered, arcs, ceiling."""
    import numpy as np

    from lensing_sr.metrics.interpolation import upsample

    images = cell.images()
    start = time.perf_counter()
    results = resolver.super_resolve_many(images)
    seconds = (time.perf_counter() - start) / len(images)
    arcs = np.array([result.arcs.data for result in results], dtype=float)
    left = np.array([result.residual.data + result.sky for result in results], dtype=float)
    made = {
        "delivered": np.array([result.image.data for result in results], dtype=float),
        "arcs": arcs,
        "ceiling": arcs + upsample(left - (cell.flux - cell.clean), 2, "cubic_spline"),
    }
    rows = {name: score(image, cell) for name, image in made.items()}
    chi2 = float(np.median([result.quality.chi2 for result in results]))
    rows["delivered"] |= {"chi2": chi2, "seconds": seconds}
    return rows


def score(images, cell, raw=None):
    """All scores of images of a cell; ``raw``, where it differs, is what the self-normalised scores are of."""
    stretched = images if raw is None else raw
    return fair_scores(images, cell.truth) | stretched_scores(stretched, cell.truth, cell.noisy_truth)


def cell_rows(cell, resolvers):
    """Rows of a cell, as dictionaries by the names of `DESCRIPTIONS`."""
    from lensing_sr.metrics.interpolation import baselines

    start = {"model": cell.model, "dark_matter": cell.dark_matter}
    for name, (group, resolver) in resolvers.items():
        if _model_of(name) in (None, cell.model):
            for image, scores in run_resolver(resolver, cell).items():
                row = {"group": group, "method": name, "image": image, "count": len(cell.flux)}
                yield start | row | scores
    # Stretched, an image of Model 1 does better with its clipped sky, so interpolations are given it there.
    raw = baselines(cell.raw, 2)
    for name, image in baselines(cell.flux, 2).items():
        scores = score(image, cell, raw[name])
        yield start | {"group": "interpolation", "method": name, "count": len(cell.flux)} | scores
    yield start | {"group": "truth", "method": "noise-free truth", "count": len(cell.flux)} | score(cell.truth, cell)
    for method in METHODS:
        scores = published_scores(method, cell.model, cell.dark_matter)
        yield start | {"group": "published", "method": method} | scores


def print_heading():
    """Print the two lines above a table."""
    headings = "".join(f"{heading:>10}" for heading, _, _ in COLUMNS.values())
    print(f"{'':<50}{'fair':>30}{'clean, 0-1':>12}{'noisy, 0-1':>28}")
    print(f"{'':<50}{headings}{'chi2':>8}{'s/image':>9}", flush=True)


def print_row(row):
    """Print one row of a cell."""
    name = f"{row['group']}: {row['method']}" if row["group"] == "published" else row["method"]
    name += f", {row['image']}" if "image" in row else ""
    numbers = "".join(f"{row[key]:10{form}}" if key in row else f"{'':>10}" for key, (_, form, _) in COLUMNS.items())
    last = f"{row['chi2']:8.2f}{row['seconds']:9.3f}" if "chi2" in row else ""
    print(f"  {name:<48}{numbers}{last}".rstrip(), flush=True)


def verdicts(cell_name, rows):
    """What is required of the rows of one cell: (text, whether it holds)."""
    model, dark_matter = rows[0]["model"], rows[0]["dark_matter"]
    fair = {row["method"]: row["fair_psnr"] for row in rows if row["group"] == "interpolation"}
    best = max(fair, key=fair.get)
    ours = {(row["method"], row["image"]): row for row in rows if "image" in row}
    published = MEASURED["residual CNN"][model][CLASSES.index(dark_matter)]
    controls = [row["method"] for row in rows if row["group"] == "control" and row["image"] == "delivered"]
    for control in controls:  # each belongs to a residual CNN
        name = control.removeprefix(UNTRAINED)
        required = [("clean_psnr", published + GAIN, f"dB; published {published} + {GAIN:g}")]
        if dark_matter == "no_sub":
            required.append(("fair_psnr", fair["bilinear"], f"dB fair; bilinear {fair['bilinear']:.2f}"))
        for key, needed, words in required:
            reached = ours[name, "delivered"][key]
            beside = f"arcs {ours[name, 'arcs'][key]:.2f}, untrained {ours[control, 'delivered'][key]:.2f}"
            yield f"{cell_name}: {name} {reached:.2f} {words} ({beside})", reached > needed
    if ("fit", "delivered") in ours:
        reached, floor = ours["fit", "delivered"]["fair_psnr"], FLOORS.get((model, dark_matter))
        text = f"{cell_name}: fit {reached:.2f} dB fair, {best} {fair[best]:.2f}"
        text += f", floor {floor:g}" if floor else ""
        yield text, reached > fair[best] and reached >= (floor or 0.0)


def write(rows, path, images):
    """Write the rows as a table; the end of the name says in which format."""
    from astropy.table import Table

    table = Table(rows=rows, names=[name for name in DESCRIPTIONS if any(name in row for row in rows)])
    for name in table.colnames:
        table[name].description = DESCRIPTIONS[name]
    table.meta = {"command": "python -m benchmarks.reference", "images": images}
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write(path, format=f"ascii.{path.suffix[1:]}", overwrite=True)


def main(arguments=None):
    """Run the benchmark; returns 0 where everything that is required of what ran holds."""
    options, parser = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    from lensing_sr.errors import InputError

    torch.set_num_threads(options.threads)
    try:
        resolvers = load_resolvers(options.networks, options.fit)
    except InputError as error:
        parser.error(str(error))
    networks = [name for name, (group, _) in resolvers.items() if group == "network"]
    if options.fresh:
        images = f"{options.fresh} fresh draws a cell, seed {FRESH_SEED}"
    else:
        images = "the stored samples" + (f", first {options.count} of a cell" if options.count else "")
    print(f"{images}; networks: {', '.join(networks) or 'none'}")
    print_heading()
    rows, found = [], []
    for model in options.models:
        for dark_matter in options.classes:
            if options.fresh:
                cell = draw_cell(model, dark_matter, options.fresh)
            else:
                cell = read_cell(options.folder, model, dark_matter, options.count)
            print(f"{cell.name}, {len(cell.flux)} images")
            fresh = []
            for row in cell_rows(cell, resolvers):
                print_row(row)
                fresh.append(row)
            found += verdicts(cell.name, fresh)
            rows += fresh
            if options.output:
                write(rows, options.output, images)
    print("\nrequired:")
    for text, holds in found:
        print(f"  {'yes' if holds else 'NOT REACHED':<13}{text}")
    failed = sum(not holds for _, holds in found)
    print(f"{len(found) - failed} of {len(found)} reached" if found else "  nothing of what ran")
    return 1 if failed else 0


def parse(arguments):
    """The command line: its options, and the parser."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where model{1,2,3}_{no_sub,axion,cdm}.npz are")
    parser.add_argument(
        "--networks", nargs="*", metavar="NAME",
        help="names in the package or paths, to be used where the name's end allows (default: all for a model)",
    )  # fmt: skip
    parser.add_argument("--models", type=int, nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=CLASSES)
    parser.add_argument("--count", type=whole(1), metavar="N", help="images a cell (default: all that are stored)")
    parser.add_argument("--fresh", type=whole(1), metavar="N", help="draw N images a cell, read none")
    parser.add_argument("--no-fit", dest="fit", action="store_false", help="leave the fit out")
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table (.ecsv or .csv)")
    options = parser.parse_args(arguments)
    if options.folder is None and options.fresh is None:
        parser.error("give the folder of the stored samples, or --fresh N")
    if options.output is not None and options.output.suffix not in (".ecsv", ".csv"):
        parser.error(f"--output: must end in .ecsv or .csv, got {options.output}")
    return options, parser


if __name__ == "__main__":
    sys.exit(main())
