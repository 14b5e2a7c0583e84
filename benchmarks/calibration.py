# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a verdict rests on, weighed: the numbers of ``ODDS`` and ``DOUBT``.

Lenses and galaxies that are none, of six telescopes, arcs of signal-to-noise 12 to 250, are super-resolved with
``source="sersic", potential=False``.  The grounds of each verdict (``result.meta["grounds"]``) are
weighed by two logistic regressions: which of the images are lenses, and which of the lenses' Einstein radii are off by
more than 20 %.  The weights are printed as `lensing_sr.quality` (method "auto") and `lensing_sr._estimated` ("network")
have them, with what they achieve on images that each eighth of them was weighed without.

The images are of a seed of their own: neither networks nor other benchmarks see them.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.lens_evidence import area
from benchmarks.population import INSTRUMENTS, NETWORK, OFF, resolvers
from benchmarks.population_lenses import draw_lenses, resolved
from lensing_sr.errors import LensingSRError
from lensing_sr.utils._console import whole

SEED = 2**31 + 90_000
ARC_SN = (12.0, 250.0)
#: Which grounds each verdict rests on.
LENS = ("seen", "behind", "evidence", "arc_chi2", "shear", "size")
RADIUS = ("seen", "behind", "evidence", "arc_chi2", "apart", "unlikely", "others", "shear", "size")
#: Strength of the prior that a weight is zero, as so many images; parts of the cross-validation.
PRIOR, PARTS = 2.0, 8
#: False alarms among sound lenses at which thresholds are shown.
ALARMS = (0.02, 0.05, 0.1)


def populations(options):
    """(instrument, preset, lumpiness) and the population of each cell."""
    from lensing_sr.simulation import LensPopulation

    for preset, lumpiness in (("broad", 0.0), ("broad", 1.0), ("bright", 1.0)):
        for instrument in options.instruments:
            given = {"lumpiness": lumpiness, "negatives": options.negatives, "arc_sn": ARC_SN, "preset": preset}
            yield (instrument, preset, lumpiness), LensPopulation(instrument, **given)


def run(options):
    """Rows of all images and methods, written as they come, a JSON object a line."""
    began = time.perf_counter()
    methods = resolvers(options)
    with open(options.rows, "w", encoding="utf-8") as file:
        for number, (cell, population) in enumerate(populations(options)):
            # the same numbers would draw the same lenses for every telescope
            seed = SEED + 100 * options.seed + number
            for lens in draw_lenses(population, options.count, seed, with_truth=False):
                for method, resolver in methods.items():
                    result = resolved(resolver, [lens])[0]
                    if isinstance(result, LensingSRError):
                        continue
                    row = dict(zip(("instrument", "preset", "lumpiness"), cell, strict=True))
                    row |= {"method": method, "is_lens": lens.values["is_lens"] > 0.5, "kind": lens.kind}
                    row |= {"arc_sn": lens.values["arc_sn"], "true_theta_E": lens.values["theta_E"]}
                    row["theta_E"] = float(result.parameters.loc["theta_E"]["value"])
                    row |= {"flags": list(result.quality.flags), "grounds": result.meta["grounds"]}
                    file.write(json.dumps(row) + "\n")
                    file.flush()
            print(f"{cell}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def weigh(features, outcome):
    """Weights, the offset first, of a logistic regression with a prior."""
    from scipy.optimize import minimize

    columns = np.column_stack([np.ones(len(features)), features])
    sign = np.where(outcome, 1.0, -1.0)

    def loss(w):
        z = sign * (columns @ w)
        gradient = -columns.T @ (sign / (1.0 + np.exp(z)))
        penalty = np.r_[0.0, w[1:]]
        return np.logaddexp(0.0, -z).sum() + 0.5 * PRIOR * penalty @ penalty, gradient + PRIOR * penalty

    return minimize(loss, np.zeros(columns.shape[1]), jac=True, method="BFGS").x


def left_out(features, outcome):
    """ln of the odds of each image by the weights that the others give."""
    part, odds = np.arange(len(outcome)) % PARTS, np.zeros(len(outcome))
    for k in range(PARTS):
        w = weigh(features[part != k], outcome[part != k])
        odds[part == k] = w[0] + features[part == k] @ w[1:]
    return odds


def weighed(rows, names, outcome, title, even=False):
    """Print the weights of some grounds for an outcome; returns the odds by cross-validation.

    The offset is that of images as they come or, where `even`, of as many of one sort as of the other.
    """
    from lensing_sr.quality import FEATURES

    features = np.array([[FEATURES[name](row["grounds"]) for name in names] for row in rows])
    outcome = np.array(outcome)
    w, odds = weigh(features, outcome), left_out(features, outcome)
    loss = np.logaddexp(0.0, -np.where(outcome, odds, -odds)).mean()
    numbers = {"offset": w[0] - even * np.log(outcome.sum() / (~outcome).sum()), **dict(zip(names, w[1:], strict=True))}
    text = ", ".join(f'"{name}": {value:.2f}' for name, value in numbers.items())
    print(f"\n{title}: {len(rows)} images, {outcome.sum()} of them\n  {{{text}}}")
    print(f"  left out: area {area(odds[outcome], odds[~outcome]):.3f}, logistic loss {loss:.3f}")
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 1.0)):
        p = 1.0 / (1.0 + np.exp(-odds))
        some = (p >= low) & (p <= high)
        if some.any():
            print(f"    said {low:.1f} to {high:.1f}: {some.sum():>5} images, mean {p[some].mean():.2f}, "
                  f"true of {outcome[some].mean():.2f}")  # fmt: skip
    return odds


def report(rows):
    """Print the weights of every method."""
    for method in sorted({row["method"] for row in rows}):
        some = [row for row in rows if row["method"] == method]
        weighed(some, LENS, [row["is_lens"] for row in some], f"{method}: lenses (ODDS)", True)
        lenses = [row for row in some if row["is_lens"]]
        off = np.array([abs(row["theta_E"] / row["true_theta_E"] - 1.0) > OFF for row in lenses])
        odds = weighed(lenses, RADIUS, off, f"{method}: radii off by more than 20 % (DOUBT)")
        arc_sn = np.array([row["arc_sn"] for row in lenses])
        for low, high in ((12.0, 60.0), (60.0, 250.0)):
            here = (arc_sn >= low) & (arc_sn <= high)
            sound = np.sort(odds[here & ~off])[::-1]
            told = []
            for alarms in ALARMS:
                limit = sound[int(alarms * len(sound))]
                missed = (odds[here & off] <= limit).sum()
                told.append(f"{alarms:.0%} false at {1.0 / (1.0 + np.exp(-limit)):.2f}: {missed} missed")
            print(f"    S/N {low:g} to {high:g}: {(here & off).sum()} of {here.sum()} off; {'; '.join(told)}")


def main(arguments=None):
    """Run the calibration."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=Path, nargs="+", help="file of rows (.jsonl): made, or read with --read")
    parser.add_argument("--read", action="store_true", help="weigh rows that are there")
    parser.add_argument("--count", type=whole(1), default=20, metavar="N", help="images a cell (default: 20)")
    parser.add_argument("--instruments", nargs="+", default=list(INSTRUMENTS), metavar="NAME")
    parser.add_argument("--negatives", type=float, default=0.4, help="share of no lenses (default: 0.4)")
    parser.add_argument("--methods", nargs="+", choices=("auto", "network"), default=["auto", "network"])
    parser.add_argument("--network", default=NETWORK, metavar="NAME", help=f"a name or a file (default: {NETWORK})")
    parser.add_argument("--seed", type=whole(0), default=0, help="added to that of the calibration (default: 0)")
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N")
    parser.add_argument("--device", default="auto", help="where to compute (default: auto)")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    if not options.read:
        if len(options.rows) > 1:
            parser.error("one file of rows is made at a time; several are read with --read")
        import torch

        torch.set_num_threads(options.threads)
        files, options.rows = options.rows, options.rows[0]
        run(options)
        options.rows = files
    rows = [json.loads(line) for path in options.rows for line in path.read_text(encoding="utf-8").splitlines()]
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
