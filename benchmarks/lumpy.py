# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lumpy sources behind simulated lenses: is the reconstructed source the one that was lensed?

Fresh draws of a population (broad preset: power-law lenses in a shear, PSF 1 to 3 % off, correlated noise) without
neighbours, in strata of the arcs' signal-to-noise ratio, seen by some telescopes.  Of every lens, with
``source="auto"`` and beside it ``source="sersic"``; where there is no lens light also of the image itself, traced back
by the true deflection (*delensed*, the coarse image by cubic spline), and of the source that the inversion finds behind
the true lens (*true lens*, `benchmarks.true_lens`: what the image leaves to be found):

corr      correlation with the true source, without noise, after the rigid shift that suits it best; raw without it,
          near with one of 0.05 arcsec at most, free with a stretch too (`benchmarks.source_scores`).
size      half-light radius over the true one, both measured on the same pixels.
theta_E   relative error.
cover     share of the fine pixels of the arcs (true arcs above 5 % of their peak) where the delivered image is within
          its stated sigma of the image without noise (of the same optics, at the fine scale; PSF errors included).
chi2      reduced chi-square of the fit; cons: of the delivered image, blurred and binned.

Clumps: smooth galaxies with one Gaussian clump each (`benchmarks.lumpy_lenses.ClumpPopulation`: FWHM 0.8 of the PSF's,
at 0.5 to 1 half-light radii, doubling the brightness there); clump is its contrast over the true one
(`benchmarks.source_scores.clump_contrast`).

Required at S/N >= 60: median correlation 0.97, median size within 5 %, median contrast 0.5; and coverage, the mean of
all lenses whose source is a pixel source, from 63 to 73 %.  Flagged lenses count like any other; a lens that fails is
lost: correlation, contrast and coverage 0.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.reference_cells import FRESH_SEED
from lensing_sr.utils._console import whole

INSTRUMENTS = ("euclid-vis", "hst-acs-f814w", "jwst-nircam-f277w")
STRATA = {"15-30": (15.0, 30.0), "30-60": (30.0, 60.0), "60-200": (60.0, 200.0)}
#: what is required, of the stratum where it is
STRATUM, CORRELATION, SIZE, CONTRAST, COVERAGE = "60-200", 0.97, 0.05, 0.5, (0.63, 0.73)
#: share of the peak above which a pixel of the true arcs is scored
BRIGHT = 0.05

#: columns of numbers: heading and format
COLUMNS = {
    "corr": ("corr", "7.3f"),
    "raw": ("raw", "7.3f"),
    "near": ("near", "7.3f"),
    "free": ("free", "7.3f"),
    "size": ("size", "6.2f"),
    "flux": ("flux", "6.2f"),
    "clump": ("clump", "7.2f"),
    "theta_E_error": ("theta_E", "9.4f"),
    "coverage": ("cover", "7.2f"),
    "chi2": ("chi2", "6.2f"),
    "consistency": ("cons", "6.2f"),
    "seconds": ("s", "6.1f"),
}


def settings_of(options):
    """Settings of the populations."""
    return {"neighbours": False, "lens_light": options.lens_light, "psf_error": options.psf_error,
            "gamma": options.gamma}  # fmt: skip


def resolvers(options):
    """Resolvers by the name of their source."""
    from lensing_sr import LensingSuperResolver

    lens_light = "auto" if options.lens_light else False
    return {name: LensingSuperResolver(scale=2, lens_light=lens_light, source=name) for name in options.sources}


def of_source(scores):
    """What is kept of `benchmarks.source_scores.SourceScores`, by column."""
    return {"corr": scores.shifted, "raw": scores.raw, "near": scores.near, "free": scores.stretched,
            "size": scores.size, "flux": scores.flux}  # fmt: skip


def score_result(result, lens, truth):
    """Scores of one result, by column."""
    from benchmarks.source_scores import source_scores
    from lensing_sr.metrics import arc_mask

    scores = source_scores(result.source, truth)
    arcs = arc_mask(lens.arcs, BRIGHT)
    off = np.abs(result.image.data - lens.truth) < result.image.uncertainty.array
    return of_source(scores) | {
        "source": str(result.meta.get("source") or "sersic"),
        "shift": scores.shift,
        "theta_E_error": float(result.parameters.loc["theta_E"]["value"]) / lens.values["theta_E"] - 1.0,
        "coverage": float(off[arcs].mean()),
        "chi2": float(result.quality.chi2),
        "consistency": float(getattr(result.quality, "consistency", np.nan)),
        "flags": ", ".join(result.quality.flags),
    }


def delensed(lens, truth):
    """Scores of the image itself, traced back by the true deflection."""
    import astropy.units as u
    from scipy import ndimage

    from benchmarks.source_scores import source_scores
    from lensing_sr import DeflectionField, PixelGrid, PixelSource
    from lensing_sr.metrics.interpolation import upsample

    fine = lens.image.grid.upsampled(2)
    field = DeflectionField(*(alpha * u.arcsec for alpha in lens.alpha), fine)
    n, step = 65, truth.step
    origin = (n // 2 - truth.x / step, n // 2 - truth.y / step)
    plane = PixelGrid((n, n), pixel_scale=step * u.arcsec / u.pix, origin=origin)
    seen = upsample(lens.image.data, 2, "cubic_spline") / fine.pixel_area.value
    # as a brightness it does not change on the way
    traced = np.asarray(field.delens((seen, fine), plane)) * fine.pixel_area.value / plane.pixel_area.value
    nearest = ndimage.distance_transform_edt(np.isnan(traced), return_distances=False, return_indices=True)
    scores = source_scores(PixelSource(traced[tuple(nearest)], plane), truth)
    return of_source(scores)


def rows_of(lens, found, place=None):
    """Rows of one lens: one for each resolver, and one for the image traced back where there is no lens light."""
    from benchmarks.source_scores import TrueSource, clump_contrast, source_scores
    from benchmarks.true_lens import true_lens_source
    from lensing_sr.errors import LensingSRError

    values = lens.values
    centre = values["x_source"], values["y_source"]
    truth = TrueSource(lens.brightness, values["x_source"], values["y_source"], values["r_eff"])
    start = {"number": lens.number} | {key: values[key] for key in ("arc_sn", "theta_E", "gamma", "correlation")}
    start["r_eff"] = truth.r_eff
    for name, resolver in found.items():
        begun = time.perf_counter()
        try:
            result = resolver.super_resolve(lens.image)
        except LensingSRError as error:
            lost = {"corr": 0.0, "coverage": 0.0, "source": "lost", "flags": f"failed: {error}"}
            yield start | {"method": name} | lost | ({} if place is None else {"clump": 0.0})
            continue
        seconds = time.perf_counter() - begun
        row = start | {"method": name, "seconds": seconds} | score_result(result, lens, truth)
        if place is not None:
            row["clump"] = clump_contrast(result.source, truth, (place[:2], centre), place[2], row["shift"])
        yield row
    if np.abs(lens.truth - lens.arcs).max() < 1e-3 * lens.truth.max():
        yield start | {"method": "delensed", "source": "", "flags": ""} | delensed(lens, truth)
        found = true_lens_source(lens)
        row = start | {"method": "true lens", "source": "", "flags": ""} | of_source(source_scores(found, truth))
        if place is not None:
            row["clump"] = clump_contrast(found, truth, (place[:2], centre), place[2])
        yield row


def lenses(kind, instrument, stratum, options):
    """Lenses of one kind, each with (x, y, FWHM) of its clump or None."""
    from benchmarks.lumpy_lenses import ClumpPopulation, lumpy_lenses
    from lensing_sr.simulation import LensPopulation

    population = {"lumpy": LensPopulation, "clump": ClumpPopulation}[kind](
        instrument, arc_sn=STRATA[stratum], **settings_of(options)
    )
    for number in range(options.first, options.first + options.count):
        lens = next(lumpy_lenses(population, 1, options.seed, number))
        if kind == "clump":
            x, y = population.place(lens.source)
            yield lens, (float(x[0]), float(y[0]), population.clump_fwhm)
        else:
            yield lens, None


def heading():
    """The line above a table."""
    return f"{'':<22}{'source':<8}" + "".join(f"{name:>{int(form.split('.')[0])}}" for name, form in COLUMNS.values())


def line(name, row):
    """One line of a table."""
    cells = (
        f"{row[key]:{form}}" if np.isfinite(row.get(key, np.nan)) else " " * int(form.split(".")[0])
        for key, (_, form) in COLUMNS.items()
    )
    return f"{name:<22}{row.get('source', ''):<8}{''.join(cells)}  {row.get('flags', '')}".rstrip()


def medians(rows):
    """Medians of rows by column; of the coverage the mean, of the error of theta_E that of its modulus."""
    typical = {}
    for key in COLUMNS:
        values = np.array([row[key] for row in rows if np.isfinite(row.get(key, np.nan))])
        values = np.abs(values) if key == "theta_E_error" else values
        if len(values):
            typical[key] = float(np.mean(values) if key == "coverage" else np.median(values))
    kinds = [row.get("source") for row in rows]
    flagged = sum(bool(row.get("flags")) for row in rows)
    typical["source"] = f"{kinds.count('pixel')} pix" if "pixel" in kinds else ""
    return typical | {"flags": f"{flagged} of {len(rows)} flagged" if "flags" in rows[0] and rows[0]["source"] else ""}


def verdicts(rows):
    """What is required: (text, whether it holds)."""
    ours = [row for row in rows if row["method"] == "auto"]
    deep = [row for row in ours if row["stratum"] == STRATUM and row["kind"] == "lumpy"]
    if deep:
        correlation = np.median([row["corr"] for row in deep])
        yield f"median correlation {correlation:.3f}, at least {CORRELATION}", correlation >= CORRELATION
        size = np.nanmedian([row.get("size", np.nan) for row in deep])
        yield f"median size {size:.3f} of the true one, within {SIZE:.0%}", abs(size - 1.0) <= SIZE
    clumps = [row["clump"] for row in ours if row["stratum"] == STRATUM and row["kind"] == "clump"]
    if clumps:
        yield f"median contrast of clumps {np.median(clumps):.2f}, at least {CONTRAST}", np.median(clumps) >= CONTRAST
    pixel = [row["coverage"] for row in ours if row["source"] in ("pixel", "lost")]
    if pixel:
        low, high = COVERAGE
        text = f"coverage {np.mean(pixel):.1%} of {len(pixel)} lenses with pixel sources, {low:.0%} to {high:.0%}"
        yield text, low <= np.mean(pixel) <= high
    else:
        yield "no pixel source was chosen", False


def main(arguments=None):
    """Run the benchmark; returns 0 where everything that is required of what ran holds."""
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    torch.set_num_threads(options.threads)
    found, rows = resolvers(options), []
    last = options.first + options.count - 1
    print(f"seed {options.seed}, lenses {options.first} to {last} of each cell, "
          f"lens light {'on' if options.lens_light else 'off'}, "
          f"PSF {'slightly off' if options.psf_error else 'exact'}")  # fmt: skip
    for kind in options.kinds:
        for instrument in options.instrument:
            for stratum in options.strata if kind == "lumpy" else [STRATUM]:
                cell = []
                print(f"\n{kind}, {instrument}, S/N {stratum}\n{heading()}", flush=True)
                for lens, place in lenses(kind, instrument, stratum, options):
                    for row in rows_of(lens, found, place):
                        cell.append({"kind": kind, "instrument": instrument, "stratum": stratum} | row)
                        if not options.quiet:
                            print(line(f"{lens.number:>4} {row['method']}", row), flush=True)
                for method in dict.fromkeys(row["method"] for row in cell):
                    print(line(f"medians {method}", medians([row for row in cell if row["method"] == method])))
                rows += cell
    if options.output:
        write(rows, options.output)
    print("\nrequired:")
    reached = list(verdicts(rows))
    for text, holds in reached:
        print(f"  {'yes' if holds else 'NOT REACHED':<13}{text}")
    return 0 if all(holds for _, holds in reached) else 1


def write(rows, path):
    """Write all rows as a table."""
    from astropy.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row if name != "shift"))
    texts = ("kind", "instrument", "stratum", "method", "source", "flags")
    blank = {name: "" if name in texts else np.nan for name in names}
    Table([{name: (blank | row)[name] for name in names} for row in rows]).write(path, overwrite=True)


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lumpy", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=whole(1), default=20, metavar="N", help="lenses a cell (default: 20)")
    parser.add_argument("--first", type=whole(0), default=0, metavar="N", help="number of the first (default: 0)")
    parser.add_argument("--instrument", nargs="+", default=list(INSTRUMENTS), metavar="NAME")
    parser.add_argument("--strata", nargs="+", choices=list(STRATA), default=list(STRATA), help="of arcs' S/N")
    parser.add_argument("--kinds", nargs="+", choices=("lumpy", "clump"), default=["lumpy", "clump"])
    parser.add_argument("--sources", nargs="+", choices=("auto", "sersic", "pixel"), default=["auto", "sersic"])
    parser.add_argument("--lens-light", action="store_true", help="with the light of the lens galaxies")
    parser.add_argument("--exact-psf", dest="psf_error", action="store_false", help="give the true PSF")
    parser.add_argument("--gamma", type=float, help="slope of all lenses (default: about 2, as the preset has it)")
    parser.add_argument("--seed", type=whole(0), default=FRESH_SEED)
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N")
    parser.add_argument("--quiet", action="store_true", help="medians only")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all rows (.ecsv)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
