# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lens or not: does a result tell lenses from galaxies that only look like one?

As many simulated lenses as galaxies that are none (arms, rings, tails, companions) of one telescope, in one range of
signal-to-noise ratio of the arcs or of what stands for them; everything else as the broad preset has it.  Each is
super-resolved with ``source="sersic", potential=False``, and ln of the odds of its ``quality.lens_probability`` is all
that counts (its ``lens_evidence`` where no network looks, method "fit"):

area       under the receiver operating characteristic: how often a lens has more of it than a galaxy that is none.
threshold  what 5 % of the galaxies that are none exceed, and the share of the lenses that do.
SLACS      how many of the good SLACS lenses do (``--slacs FOLDER``).
fit alone  the area that the evidence ratio of the fit has, without what the lens finder sees.

An image that cannot be used has no evidence, -inf.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.population import INSTRUMENTS, METHODS, NETWORK, SEED, resolvers
from benchmarks.population_lenses import CHUNK, RowFile, draw_lenses, resolved
from lensing_sr.errors import LensingSRError
from lensing_sr.utils._console import positive, whole

#: what is required: area; share of galaxies that may pass; good SLACS lenses that may be lost then
AREA, PASSING, LOST = 0.98, 0.05, 1


def evidence_of(result):
    """ln of the odds of a lens, and of the fit's evidence ratio; -inf where there is none."""
    if isinstance(result, LensingSRError):
        return -np.inf, -np.inf
    evidence, p = float(result.quality.lens_evidence), float(result.quality.lens_probability)
    evidence = -np.inf if np.isnan(evidence) else evidence
    with np.errstate(divide="ignore"):
        return evidence if np.isnan(p) else float(np.log(p) - np.log1p(-p)), evidence


def simulated(options):
    """Images in chunks, (sort, list of PopulationLens): lenses, and galaxies that are none."""
    from lensing_sr.simulation import LensPopulation

    for sort, negatives in (("lens", 0.0), ("none", 1.0)):
        population = LensPopulation(options.instrument, arc_sn=options.arc_sn, negatives=negatives)
        for first in range(0, options.count, CHUNK):
            count = min(CHUNK, options.count - first)
            # not the same numbers for both: a lens and a galaxy with the same neighbours are not independent
            seed = options.seed + int(negatives)
            yield sort, list(draw_lenses(population, count, seed, first, with_truth=False))


def real(folder):
    """The good SLACS lenses, (name, LensImage)."""
    from benchmarks.slacs import commands
    from benchmarks.withheld import read_lens

    for survey, name, _, good, given in commands(folder):
        if survey == "SLACS" and good:
            yield name, read_lens(given)


def area(lenses, others):
    """Area under the receiver operating characteristic; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([lenses, others]))[: len(lenses)]
    return float((ranks.sum() - 0.5 * len(lenses) * (len(lenses) + 1)) / (len(lenses) * len(others)))


def threshold(others, passing=PASSING):
    """Evidence that at most the given share of galaxies that are no lenses exceed, and no less than need be."""
    allowed = int(passing * len(others))
    return float(np.sort(others)[::-1][min(allowed, len(others) - 1)])


def run(methods, options, file):
    """Rows of all images and methods, as they come."""

    def add(sort, kind, name, method, result, arc_sn):
        failed = isinstance(result, LensingSRError)
        odds, evidence = evidence_of(result)
        row = {"sort": sort, "kind": kind, "name": name, "method": method, "arc_sn": arc_sn,
               "odds": odds, "evidence": evidence,
               "theta_E": np.nan if failed else float(result.parameters.loc["theta_E"]["value"]),
               "seconds": np.nan if failed else float(result.meta["time_s"]),
               "flags": f"failed: {result}" if failed else ", ".join(result.quality.flags)}  # fmt: skip
        file.write(row)
        return row

    began, done = time.perf_counter(), 0
    for sort, lenses in simulated(options):
        for method, resolver in methods.items():
            for lens, result in zip(lenses, resolved(resolver, lenses), strict=True):
                yield add(sort, lens.kind, lens.image.name, method, result, lens.values["arc_sn"])
        done += len(lenses)
        print(f"{done} of {2 * options.count} images, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if options.slacs:
        for name, image in real(options.slacs):
            for method, resolver in methods.items():
                try:
                    result = resolver.super_resolve(image)
                except LensingSRError as error:
                    result = error
                yield add("SLACS", "lens", name, method, result, np.nan)
            print(f"{name}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def report(rows):
    """Print what each method tells apart; returns whether it is as much as it must be."""
    good = []
    print(f"{'method':<16}{'lenses':>8}{'none':>6}{'area':>8}{'fit alone':>11}{'threshold':>11}{'lenses above %':>16}"
          f"{'SLACS':>12}{'s':>8}  lost")  # fmt: skip
    for method, title in METHODS.items():
        chosen = [row for row in rows if row["method"] == method]
        lenses, others, slacs = (np.array([row["odds"] for row in chosen if row["sort"] == sort])
                                 for sort in ("lens", "none", "SLACS"))  # fmt: skip
        if not len(lenses) or not len(others):
            continue
        found, limit = area(lenses, others), threshold(others)
        fitted = [np.array([row["evidence"] for row in chosen if row["sort"] == sort]) for sort in ("lens", "none")]
        alone = area(*fitted)
        lost = [row["name"] for row in chosen if row["sort"] == "SLACS" and not row["odds"] > limit]
        passed = f"{len(slacs) - len(lost)} of {len(slacs)}" if len(slacs) else ""
        print(f"{title:<16}{len(lenses):>8}{len(others):>6}{found:>8.4f}{alone:>11.4f}{limit:>11.2f}"
              f"{100 * np.mean(lenses > limit):>16.1f}{passed:>12}"
              f"{np.nanmedian([row['seconds'] for row in chosen]):>8.3f}  {', '.join(lost)}".rstrip())  # fmt: skip
        good.append((f"{title}: area {found:.4f}, at least {AREA}", found >= AREA))
        if len(slacs):
            text = f"{title}: {len(lost)} good SLACS lenses lost at the threshold, at most {LOST}"
            good.append((text, len(lost) <= LOST))
    kinds(rows)
    print("\nrequired:")
    for text, holds in good:
        print(f"  {'yes' if holds else 'NOT REACHED':<13}{text}")
    return bool(good) and all(holds for _, holds in good)


def kinds(rows):
    """Print the odds that each kind of image has, and how well lenses are told from it."""
    print(f"\n{'method':<16}{'kind':<14}{'n':>5}{'ln odds: 5 %':>15}{'median':>9}{'95 %':>9}{'area':>8}")
    for method, title in METHODS.items():
        chosen = [row for row in rows if row["method"] == method and row["sort"] != "SLACS"]
        lenses = np.array([row["odds"] for row in chosen if row["sort"] == "lens"])
        for kind in sorted({row["kind"] for row in chosen}):
            some = np.array([row["odds"] for row in chosen if row["kind"] == kind])
            low, middle, high = np.quantile(some, (0.05, 0.5, 0.95), method="nearest")
            apart = "" if kind == "lens" or not len(lenses) else f"{area(lenses, some):.4f}"
            print(f"{title:<16}{kind:<14}{len(some):>5}{low:>15.1f}{middle:>9.1f}{high:>9.1f}{apart:>8}")


def main(arguments=None):
    """Run the benchmark; returns 0 where everything that is required holds."""
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    torch.set_num_threads(options.threads)
    low, high = options.arc_sn
    settings = {"instrument": options.instrument, "arc_sn": f"{low:g} to {high:g}", "seed": options.seed,
                "network": Path(options.network).name}  # fmt: skip
    print("; ".join(f"{key} {value}" for key, value in settings.items()), flush=True)
    rows, found = [], run(resolvers(options), options, RowFile(options.output, settings))
    try:
        rows.extend(found)
    except KeyboardInterrupt:
        print("interrupted: what follows is of the images that were done", file=sys.stderr)
    return 0 if report(rows) else 1


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lens_evidence", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=whole(1), default=200, metavar="N", help="of each sort (default: 200)")
    parser.add_argument("--instrument", default=INSTRUMENTS[0], metavar="NAME", help=f"(default: {INSTRUMENTS[0]})")
    parser.add_argument("--arc-sn", nargs=2, type=positive, default=(30.0, 100.0), metavar=("LOW", "HIGH"),
                        help="S/N of arcs, and of what stands for them (default: 30 100)")  # fmt: skip
    parser.add_argument("--slacs", type=Path, metavar="FOLDER", help="where the folders slacs and desi_f140w are")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--network", default=NETWORK, metavar="NAME", help=f"a name or a file (default: {NETWORK})")
    parser.add_argument("--seed", type=whole(0), default=SEED + 1000, help=f"(default: {SEED + 1000})")
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N")
    parser.add_argument("--device", default="auto", help="where to compute (default: auto)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all rows as they come (.ecsv)")
    options = parser.parse_args(arguments)
    options.arc_sn = tuple(options.arc_sn)
    return options


if __name__ == "__main__":
    sys.exit(main())
