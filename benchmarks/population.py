# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A whole population of lenses, six telescopes, three strata of S/N: how right, how sure, and how honest.

Fresh draws of the broad preset (power-law lenses in a shear, lens light, neighbours, PSF 1 to 3 % off, correlated
noise), half of the sources Sersic profiles and half of them lumpy, in strata of the arcs' signal-to-noise ratio.  Each
image is super-resolved with ``source="sersic", potential=False`` in three ways: by the *network* alone, by the fit that
the network starts (*network + fit*), and by the fit from a coarse grid (*grid + fit*); of a cell the network sees
``--count`` lenses, the fits see the first ``--fits`` of them.

theta_E   median relative error of the Einstein radius; stated: median of what the results say it is.
catas.    share of catastrophes: an error beyond 20 %.  A lens that fails is one too, and flagged.
silent    how many of the catastrophes carry no flag.
false     share of the lenses within 20 % that carry a flag.
PSNR      median in dB on the pixels of the arcs (true arcs above 5 % of their peak) against the image without noise
          and neighbours; spline: of the cubic spline through the image.
no worse  share of the lenses whose chi-square of network + fit is within 1 % of that of grid + fit, or below; over all
          pixels without neighbours' light, whatever either fit masked (arcs that it took for neighbours, say).

All of it once more for the lenses with theta_E of at least twice the PSF's FWHM.  Coverage: share of the lenses whose
truth is within the intervals that are said to hold 68 and 95 % (columns error and error_95; half-light radii only of
Sersic profiles), and of the arcs' pixels where the delivered image is within one and two stated sigma of the truth.
By what these intervals would have to be multiplied to hold just that is printed below; from other seeds than this one
come ``WIDER`` and ``TAILS`` in the package.

With ``--ideal`` the family of models holds the truth: Sersic sources, isothermal lenses, an exact PSF, no neighbours.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.population_lenses import CHUNK, PARAMETERS, RowFile, draw_lenses, resolved, row_of
from lensing_sr.utils._console import whole

INSTRUMENTS = ("euclid-vis", "hst-acs-f814w", "hst-wfc3-f160w", "jwst-nircam-f150w", "lsst-i", "hsc-i")
STRATA = {"15-30": (15.0, 30.0), "30-60": (30.0, 60.0), "60-200": (60.0, 200.0)}
METHODS = {"network": "network", "auto": "network + fit", "fit": "grid + fit"}
SOURCES = {"sersic": 0.0, "lumpy": 1.0}
NETWORK = "lens-estimator"
#: No training draws its images with a seed as large.
SEED = 2**31 + 60_000

#: beyond this relative error an Einstein radius is a catastrophe; lenses wider than so many PSFs; the stratum of these
OFF, WIDE, STRATUM = 0.2, 2.0, "60-200"
#: what is required there: of theta_E, catastrophes, false flags; of chi-squares
NETWORK_ERROR, FIT_ERROR, CATASTROPHES, FALSE_FLAGS = 0.015, 0.003, 0.01, 0.1
CHI2_WORSE, NO_WORSE = 0.01, 0.98
#: what is required of coverage, in percent what an interval shall hold; columns of their half-widths
COVERAGE = {68: (0.63, 0.73), 95: (0.92, 0.98)}
HALF_WIDTHS = {68: "err", 95: "err95"}
TINY = 1e-12
GROUPS = {"theta_E": ("theta_E",), "ellipticity": ("e1", "e2"), "shear": ("gamma1", "gamma2"),
          "source position": ("x_source", "y_source"), "r_eff": ("r_eff",)}  # fmt: skip


def population_of(instrument, stratum, source, options):
    """The population of a cell."""
    from lensing_sr.simulation import LensPopulation

    ideal = {"gamma": 2.0, "psf_error": False, "neighbours": False} if options.ideal else {}
    return LensPopulation(
        instrument, arc_sn=STRATA[stratum], lumpiness=SOURCES[source], lens_light=options.lens_light, **ideal
    )


def seed_of(instrument, stratum, source, seed):
    """Seed of a cell: no two cells show the same lenses, and each always shows its own."""
    place = (list(INSTRUMENTS).index(instrument), list(STRATA).index(stratum), list(SOURCES).index(source))
    return seed + int(np.ravel_multi_index(place, (len(INSTRUMENTS), len(STRATA), len(SOURCES))))


def resolvers(options):
    """Resolvers by the name of their method."""
    from lensing_sr import LensingSuperResolver

    common = {"scale": 2, "source": "sersic", "potential": False, "device": options.device}
    common["lens_light"] = "auto" if getattr(options, "lens_light", True) else False
    return {
        method: LensingSuperResolver(method=method, **common, **({} if method == "fit" else {"network": found}))
        for method in options.methods
        for found in [options.network]
    }


def share_of(total, index, parts):
    """How many of `total` are of one of several parts, which are as equal as can be."""
    return total // parts + (index < total % parts)


def cell_rows(cell, options, methods, file):
    """Rows of one cell, one for each lens and method; what the file holds already is not done again."""
    instrument, stratum, source = cell
    index, parts = options.sources.index(source), len(options.sources)
    fits, looks = share_of(options.fits, index, parts), share_of(options.count, index, parts)
    count = {name: looks if name == "network" else fits for name in methods}
    key = dict(zip(("instrument", "stratum", "source"), cell, strict=True))
    there = {(row["method"], row["number"]): row for row in file.rows if all(row[k] == v for k, v in key.items())}
    population, seed = population_of(*cell, options), seed_of(*cell, options.seed)
    rows, began, most = [], time.perf_counter(), max(count.values())
    for first in range(0, most, CHUNK):
        numbers = range(first, min(first + CHUNK, most))
        asked = {name: [n for n in numbers if n < count[name]] for name in methods}
        rows += [there[name, n] for name in methods for n in asked[name] if (name, n) in there]
        asked = {name: [n for n in wanted if (name, n) not in there] for name, wanted in asked.items()}
        if any(asked.values()):
            lenses = list(draw_lenses(population, len(numbers), seed, first))
        for name, resolver in methods.items():
            chosen = [lens for lens in lenses if lens.number in asked[name]] if asked[name] else []
            for lens, result in zip(chosen, resolved(resolver, chosen), strict=True):
                rows.append(key | {"method": name} | row_of(lens, result, source == "sersic"))
                file.write(rows[-1])
        print(f"{instrument}, S/N {stratum}, {source}: {numbers[-1] + 1} of {most} lenses, "
              f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    return rows


def error_of(row):
    """Relative error of theta_E; infinite where there is none."""
    error = abs(row["theta_E"] / row["true_theta_E"] - 1.0)
    return error if np.isfinite(error) else np.inf


def is_wide(row):
    """Whether the PSF is narrow enough for a verdict."""
    return row["true_theta_E"] >= WIDE * row["psf_fwhm"]


def accuracy(rows):
    """What is told of some lenses by one method, by column; None without lenses."""
    if not rows:
        return None
    error, flagged = np.array([error_of(row) for row in rows]), np.array([bool(row["flags"]) for row in rows])
    off = error > OFF
    stated = np.array([row["theta_E_err"] / row["theta_E"] for row in rows])
    return {"n": len(rows), "error": float(np.median(error)), "off": float(off.mean()),
            "stated": float(np.median(np.nan_to_num(stated, nan=np.inf))),
            "silent": int((off & ~flagged).sum()), "false": float(flagged[~off].mean()) if (~off).any() else np.nan,
            }  # fmt: skip


def no_worse(rows):
    """Share of the lenses for which the fit started by the network is as good as the other; nan without both."""
    chi2 = {(row["instrument"], row["stratum"], row["source"], row["number"], row["method"]): row["chi2_lone"]
            for row in rows}  # fmt: skip
    pairs = [(chi2[(*key, "auto")], value) for (*key, name), value in chi2.items()
             if name == "fit" and (*key, "auto") in chi2]  # fmt: skip
    # where the other failed nothing is worse; nan is never as good
    good = [ours <= (1.0 + CHI2_WORSE) * other or np.isnan(other) for ours, other in pairs]
    return float(np.mean(good)) if good else np.nan


HEAD = (f"{'':<42}{'all lenses':^54}{'theta_E >= 2 PSF FWHM':^54}\n"
        f"{'telescope':<20}{'S/N':<8}{'method':<14}"
        + f"{'n':>7}{'theta_E %':>11}{'stated %':>10}{'catas. %':>10}{'silent':>8}{'false %':>8}" * 2
        + f"{'PSNR':>8}{'spline':>8}{'s':>8}{'no worse %':>12}")  # fmt: skip


def lines(name, stratum, rows):
    """Lines of the table of some lenses, one a method."""
    for method, title in METHODS.items():
        chosen = [row for row in rows if row["method"] == method]
        if not chosen:
            continue
        text = f"{name:<20}{stratum:<8}{title:<14}"
        for told in (accuracy(chosen), accuracy([row for row in chosen if is_wide(row)])):
            text += f"{0:>7}{'':47}" if told is None else (
                f"{told['n']:>7}{100 * told['error']:>11.3f}{100 * told['stated']:>10.2f}{100 * told['off']:>10.1f}"
                f"{told['silent']:>8}{100 * told['false']:>8.1f}")  # fmt: skip
        middle = [np.nanmedian([row[key] for row in chosen]) if np.isfinite([row[key] for row in chosen]).any()
                  else np.nan for key in ("psnr", "spline_psnr", "seconds")]  # fmt: skip
        text += f"{middle[0]:>8.1f}{middle[1]:>8.1f}{middle[2]:>8.3f}"
        yield text + (f"{100 * no_worse(rows):>12.1f}" if method == "auto" else "")


def misses(rows, names, percent):
    """How far the true values are, over the half-width of the interval that shall hold so many percent of them."""
    end = HALF_WIDTHS[percent]
    # the error of what is not fitted is 0
    pairs = [(abs(row[name] - row[f"true_{name}"]), max(row[f"{name}_{end}"], TINY))
             for row in rows for name in names if np.isfinite(row[f"true_{name}"])]  # fmt: skip
    return np.array([far / width for far, width in pairs])


def coverage(rows, names, percent):
    """Share of the lenses whose true values are within an interval; nan where none has a meaning."""
    far = misses(rows, names, percent)
    return float(np.mean(far <= 1.0)) if len(far) else np.nan


def pixel_coverage(rows, errors):
    """Mean over lenses of the share of the arcs' pixels within so many sigma; a lens that failed has none."""
    return float(np.mean(np.nan_to_num([row[f"within_{errors}"] for row in rows]))) if rows else np.nan


def coverage_lines(name, stratum, rows):
    """Lines of the table of coverage, in percent: one and two errors of every method."""
    for method in METHODS:
        chosen = [row for row in rows if row["method"] == method]
        unflagged = [row for row in chosen if not row["flags"]]
        for sort, some in (("all", chosen), ("no flag", unflagged)):
            if some and (sort == "all" or name.startswith("all")):
                cells = "".join(
                    f"{100 * coverage(some, (p,), 68):>6.0f}{100 * coverage(some, (p,), 95):>5.0f}" for p in PARAMETERS
                )
                cells += "".join(f"{100 * pixel_coverage(some, k):>{w}.0f}" for k, w in ((1, 6), (2, 5)))
                yield f"{name:<20}{stratum:<8}{METHODS[method]:<14}{sort:<8}{len(some):>5}{cells}"


def factor_lines(rows):
    """Lines of the table of what would make intervals hold what they shall, one a method."""
    for method, title in METHODS.items():
        some = [row for row in rows if row["method"] == method and np.isfinite(row["theta_E"])]
        if not some:
            continue
        text = f"{title:<14}{len(some):>5}"
        for names in GROUPS.values():
            far = [misses(some, names, percent) for percent in COVERAGE]
            for percent, part, width in zip(COVERAGE, far, (12, 6), strict=True):
                text += f"{np.quantile(part, percent / 100) if len(part) else np.nan:>{width}.2f}"
        yield text


def verdicts(rows):
    """What is required: (text, whether it holds)."""
    deep = [row for row in rows if row["stratum"] == STRATUM and is_wide(row)]
    told = {method: accuracy([row for row in deep if row["method"] == method]) for method in METHODS}
    where = f"S/N {STRATUM}, theta_E >= {WIDE:g} PSF FWHM"
    for method, limit in (("network", NETWORK_ERROR), ("auto", FIT_ERROR)):
        if told[method]:
            error = told[method]["error"]
            yield f"{where}: {METHODS[method]}: median error {error:.2%}, at most {limit:.1%}", error <= limit
    if told["auto"]:
        off, silent, false = (told["auto"][key] for key in ("off", "silent", "false"))
        yield f"{where}: network + fit: catastrophes {off:.1%}, at most {CATASTROPHES:.0%}", off <= CATASTROPHES
        yield f"{where}: network + fit: {silent} catastrophes without a flag, none", silent == 0
        yield f"{where}: network + fit: false flags {false:.1%}, at most {FALSE_FLAGS:.0%}", false <= FALSE_FLAGS
    for method in ("network", "auto"):
        chosen = [row for row in rows if row["method"] == method]
        shares = {name: [coverage(chosen, names, k) for k in COVERAGE] for name, names in GROUPS.items()}
        if method == "auto" and chosen:
            shares["pixels of the arcs"] = [pixel_coverage(chosen, 1)]
        for name, share in shares.items():
            share = dict(zip(COVERAGE, share, strict=False))
            if np.isfinite(share[68]):
                text = ", ".join(f"{s:.1%} ({COVERAGE[k][0]:.0%} to {COVERAGE[k][1]:.0%})" for k, s in share.items())
                good = all(COVERAGE[k][0] <= s <= COVERAGE[k][1] for k, s in share.items())
                yield f"{METHODS[method]}: coverage of {name}: {text}", good
    share = no_worse(rows)
    if np.isfinite(share):
        yield f"network + fit no worse than grid + fit in {share:.1%}, at least {NO_WORSE:.0%}", share >= NO_WORSE


def groups(rows):
    """(telescope, S/N, rows) of every cell, then of several cells together."""
    together = {}
    for row in rows:
        together.setdefault((row["instrument"], row["stratum"]), []).append(row)
    yield from ((*key, some) for key, some in together.items())
    strata, sources = (dict.fromkeys(row[key] for row in rows) for key in ("stratum", "source"))
    for stratum in strata:
        some = [row for row in rows if row["stratum"] == stratum]
        yield "all telescopes", stratum, some
        if len(sources) > 1:
            for source in sources:
                yield f"all, {source}", stratum, [row for row in some if row["source"] == source]


def report(rows):
    """Print the tables and what is required; returns whether all of it holds."""
    print(f"\n{HEAD}")
    for name, stratum, some in groups(rows):
        print(*lines(name, stratum, some), sep="\n")
    print("\ncoverage, % within the intervals for 68 and 95 %")
    print(f"{'telescope':<20}{'S/N':<8}{'method':<14}{'lenses':<8}{'n':>5}"
          + "".join(f"{name:>11}" for name in (*PARAMETERS, "pixels")))  # fmt: skip
    for name, stratum, some in groups(rows):
        print(*coverage_lines(name, stratum, some), sep="\n")
    print(f"\nby what the intervals for 68 and 95 % would have to be multiplied to hold as many\n{'method':<14}{'n':>5}"
          + "".join(f"{name:>18}" for name in GROUPS))  # fmt: skip
    print(*factor_lines(rows), sep="\n")
    print("\nrequired:")
    reached = list(verdicts(rows))
    for text, holds in reached:
        print(f"  {'yes' if holds else 'NOT REACHED':<13}{text}")
    return all(holds for _, holds in reached)


def main(arguments=None):
    """Run the benchmark; returns 0 where everything that is required of what ran holds."""
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    torch.set_num_threads(options.threads)
    settings = {"seed": options.seed, "ideal": options.ideal, "lens_light": options.lens_light,
                "sources": " ".join(options.sources), "network": Path(options.network).name}  # fmt: skip
    file, rows, methods = RowFile(options.output, settings, options.resume), [], resolvers(options)
    print("; ".join(f"{key} {value}" for key, value in settings.items()), flush=True)
    try:
        for stratum in options.strata:
            for instrument in options.instruments:
                for source in options.sources:
                    rows += cell_rows((instrument, stratum, source), options, methods, file)
    except KeyboardInterrupt:
        print("interrupted: what follows is of the cells that were finished", file=sys.stderr)
    return 0 if rows and report(rows) else 1


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.population", description=__doc__.split("\n")[0])
    parser.add_argument("--instruments", nargs="+", choices=INSTRUMENTS, default=list(INSTRUMENTS), metavar="NAME")
    parser.add_argument("--strata", nargs="+", choices=list(STRATA), default=list(STRATA), help="of arcs' S/N")
    parser.add_argument("--count", type=whole(1), default=200, metavar="N",
                        help="lenses a cell for the network, of all sources together (default: 200)")  # fmt: skip
    parser.add_argument("--fits", type=whole(0), default=50, metavar="N", help="of them for the fits (default: 50)")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--network", default=NETWORK, metavar="NAME", help=f"a name or a file (default: {NETWORK})")
    parser.add_argument("--sources", nargs="+", choices=list(SOURCES), help="each has its share (default: both)")
    parser.add_argument("--ideal", action="store_true", help="the models' family holds the truth")
    parser.add_argument("--no-lens-light", dest="lens_light", action="store_false", help="without lens galaxies")
    parser.add_argument("--seed", type=whole(0), default=SEED, help=f"(default: {SEED})")
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N")
    parser.add_argument("--device", default="auto", help="where to compute (default: auto)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all rows as they come (.ecsv)")
    parser.add_argument("--resume", action="store_true", help="go on with the rows that the file holds")
    options = parser.parse_args(arguments)
    if options.ideal and "lumpy" in (options.sources or []):
        parser.error("--ideal has Sersic sources; leave --sources out")
    options.sources = options.sources or (["sersic"] if options.ideal else list(SOURCES))
    options.count = max(options.count, options.fits)
    return options


if __name__ == "__main__":
    sys.exit(main())
