# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Real lenses, withheld pixels: super-resolution against interpolation where nobody knows the truth but the telescope.

Each native image is binned by ``--scale``, noise is added until a coarse pixel's sigma is ``scale**2`` times the native
one, and the coarse image is super-resolved back.  Scored are native pixels in an arc mask that no method has a say in
(0.5 to 1.6 published Einstein radii; smoothed image above its azimuthal median by more than 1 sigma), image and sky
together as delivered, with the noise scale of the blank sky: mean ((data - image) / sigma)^2, divided by that of the
best of five interpolations of the same coarse image on the same pixels.  A lens that fails counts as lost.  All of it
is `lensing_sr.validation`, what ``fits2sr --validate`` runs, with the published radius.

Which lenses: all whose arcs are visible, by the image alone.  The image is turned by half a turn about its lens galaxy
and subtracted from itself, so that a galaxy of any ellipticity cancels and arcs do not; in the annulus of the mask at
least 100 pixels, smoothed with a Gaussian of 2 pixels, must exceed 3 sigma of what noise leaves there.  Lenses without
a published radius take 0.86 times the radius about which the light of arcs gathers.

Part of a coarse pixel's noise is that of the native pixels inside it (of correlated noise nearly half), so that copying
it lowers the score of an interpolation and of nothing else.  ``unshared`` is the ratio against the same pixels freed of
it (`lensing_sr.image.degradation.unshared`); what must hold is asked of ``ratio``.

The azimuthal median leaves the ellipticity of the lens galaxy, so much of the mask is the galaxy's own light.  ``arcs``
is the ratio on those of its pixels that the rule above calls visible arcs; it is printed and decides nothing.
``floor`` is the same score of the method's own account of the native image, pixels not withheld: an estimate of what
their noise leaves to be reached (low where the model follows the noise, high where it is poor).

The surveys ``jwst`` and ``j0946`` have a second image instead (`benchmarks.second_images`); they are printed, and
count for the exit status through the 1 % of J0946 only.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from scipy import ndimage

from benchmarks.second_images import another_band, another_reduction
from benchmarks.slacs import commands
from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.errors import LensingSRError
from lensing_sr.image.prepare import prepare
from lensing_sr.validation import INNER, OUTER, TYPICAL, validate

#: What must hold: median ratio, share of the lenses with a ratio below 1, agreement of two reductions.
MEDIAN, SHARE, AGREEMENT = 0.80, 0.95, 0.01
#: Visible arcs: pixels of the annulus, smoothed by so many pixels, above so many sigma.
VISIBLE_PIXELS, VISIBLE_SMOOTHING, VISIBLE_SIGMA = 100, 2.0, 3.0
SURVEYS = ("slacs", "desi", "jwst", "j0946")

_OPTIONS = {"--psf": "psf", "--noise": "noise", "--pixel-scale": "pixel_scale"}


def read_lens(arguments):
    """`LensImage` of a lens from its arguments of ``fits2sr``."""
    given = {_OPTIONS[option]: value for option, value in zip(arguments[1::2], arguments[2::2], strict=True)}
    if "pixel_scale" in given:
        given["pixel_scale"] = float(given["pixel_scale"])
    return LensImage.read(arguments[0], **given)


def visible_arcs(image, theta_E, prepared):
    """Pixels of the annulus that exceed those across the lens, ``(ny, nx)`` bool: whatever is elliptical cancels."""
    good = ~image.mask & np.isfinite(image.data) & np.isfinite(prepared.full_noise)
    column, row = image.grid.to_pixel(*prepared.lens_position)
    rows, columns = np.indices(image.shape)
    turned = [2 * row - rows, 2 * column - columns]

    def turn(array, order):
        return ndimage.map_coordinates(array, turned, order=order, mode="constant")

    data, variance = np.where(good, image.data, 0.0), np.where(good, prepared.full_noise, 1.0) ** 2
    both = good & (turn(good.astype(float), 1) > 0.99)
    odd = np.where(both, (data - turn(data, 3)) / np.sqrt(variance + turn(variance, 1).clip(1e-300)), 0.0)
    smooth = ndimage.gaussian_filter(odd, VISIBLE_SMOOTHING)
    # sigma of smoothed noise whose correlation falls with the square of the distance from that of neighbours
    lag = np.arange(-8, 9)
    share = np.exp(-(lag**2) / (4 * VISIBLE_SMOOTHING**2)) * np.clip(prepared.correlation, 0, 1) ** (lag**2.0)
    sigma = share.sum() / np.sqrt(4 * np.pi * VISIBLE_SMOOTHING**2)
    x, y = image.grid.coordinates()
    radius = np.hypot(x - prepared.lens_position[0], y - prepared.lens_position[1])
    annulus = both & (radius > INNER * theta_E) & (radius < OUTER * theta_E)
    return annulus & (smooth > VISIBLE_SIGMA * sigma)


def score_lens(image, resolver, *, theta_E=None, scale=2, seed=0, native=None):
    """Score one lens.

    Parameters
    ----------
    image : `~lensing_sr.LensImage`
        Of native pixels.
    resolver : `~lensing_sr.LensingSuperResolver`
        Whose scale is ``scale``; or anything with its ``super_resolve``.
    theta_E : float, optional
        Published Einstein radius in arcsec.
    scale, seed, native
        As for `lensing_sr.validation.validate`.

    Returns
    -------
    dict
        The validation, the results of the coarse and the native image, and the seconds that the coarse one took.
    """
    results, seconds = [], []

    def super_resolve(one):
        start = time.perf_counter()
        results.append(resolver.super_resolve(one))
        seconds.append(time.perf_counter() - start)
        return results[-1]

    validation = validate(image, super_resolve, scale=scale, seed=seed, theta_E=theta_E, native=native)
    native = results[-1] if native is None else native
    return {"validation": validation, "result": results[0], "native": native, "seconds": seconds[0]}


def ratio_on(where, images):
    """Chi-square of the super-resolved image over that of the best interpolation, on some pixels."""
    data, sigma = images.data[where], images.sigma[where]
    chi2 = [np.mean(((data - guess[where]) / sigma) ** 2) for guess in (images.super_resolved, images.interpolated)]
    return float(chi2[0] / chi2[1])


def row_of(survey, name, published, arcs, scored):
    """What is kept of a score, by column."""
    validation, result = scored["validation"], scored["result"]
    images = validation.images
    rows, columns = images.where.shape
    on_arcs = images.where & arcs[:rows, :columns]
    return {
        "survey": survey,
        "name": name,
        "scale": validation.scale,
        "visible": int(arcs.sum()),
        "pixels": validation.pixels,
        "chi2": validation.chi2,
        "best": validation.best,
        "chi2_best": validation.interpolation[validation.best],
        "ratio": validation.ratio if np.isfinite(validation.ratio) else np.inf,
        "ratio_unshared": validation.ratio_unshared,
        "ratio_arcs": ratio_on(on_arcs, images) if on_arcs.any() else np.nan,
        "floor": validation.floor,
        "source": str(result.meta.get("source") or "sersic"),
        "theta_E_published": np.nan if published is None else published,
        "theta_E": validation.theta_E,
        "theta_E_native": validation.theta_E_native,
        "chi2_native": scored["native"].quality.chi2,
        "seconds": scored["seconds"],
        "flags": ", ".join(result.quality.flags),
    }


def lost(survey, name, published, arcs, scale, error):
    """The row of a lens that failed."""
    numbers = (
        "chi2", "chi2_best", "ratio_unshared", "ratio_arcs", "floor", "theta_E", "theta_E_native", "chi2_native",
        "seconds",
    )  # fmt: skip
    row = {"survey": survey, "name": name, "scale": scale, "visible": int(arcs.sum()), "pixels": 0, "best": ""}
    row |= dict.fromkeys(numbers, np.nan) | {"ratio": np.inf, "source": "", "flags": f"failed: {error}"}
    return row | {"theta_E_published": np.nan if published is None else published}


HEAD = (f"{'lens':<16}{'visible':>8}{'pixels':>7}{'chi2':>8}{'best':>8} {'interpolation':<14}{'ratio':>6}"
        f"{'unshared':>9}{'arcs':>7}{'floor':>7} {'source':<8}{'theta_E':>8}{'native':>8}{'publ.':>7}{'chi2':>6}"
        f"{'s':>7}  flags")  # fmt: skip


def line(row):
    """One line of the table."""
    return (f"{row['name']:<16}{row['visible']:>8}{row['pixels']:>7}{row['chi2']:>8.3f}{row['chi2_best']:>8.3f} "
            f"{row['best']:<14}{row['ratio']:>6.3f}{row['ratio_unshared']:>9.3f}"
            f"{row['ratio_arcs']:>7.3f}{row['floor']:>7.3f} {row['source']:<8}"
            f"{row['theta_E']:>8.3f}{row['theta_E_native']:>8.3f}{row['theta_E_published']:>7.2f}"
            f"{row['chi2_native']:>6.2f}{row['seconds']:>7.1f}  {row['flags']}")  # fmt: skip


def summarise(name, rows):
    """Print medians and shares; returns whether they are as good as they must be."""
    ratio = np.array([row["ratio"] for row in rows])
    median, share = np.median(ratio), np.mean(ratio < 1)
    above = ", ".join(row["name"] for row in rows if not row["ratio"] < 1)
    finite = [row for row in rows if np.isfinite(row["ratio"])]
    unshared = np.array([row["ratio_unshared"] for row in rows])

    def typical(key):
        return np.median([row[key] for row in finite]) if finite else np.nan

    print(f"{name}: {len(rows)} lenses; ratio: median {median:.3f} (must be <= {MEDIAN:.2f}), worst "
          f"{ratio.max():.3f}, below 1: {share:.0%} (must be >= {SHARE:.0%})"
          + (f"; not below 1: {above}" if above else ""))  # fmt: skip
    print(f"  no noise shared: ratio median {np.nanmedian(unshared):.3f}, below 1: {np.mean(unshared < 1):.0%}")
    print(f"  medians: ratio on visible arcs {typical('ratio_arcs'):.3f}, chi2 {typical('chi2'):.3f}, "
          f"best interpolation {typical('chi2_best'):.3f}, floor {typical('floor'):.3f}, "
          f"{typical('seconds'):.1f} s")  # fmt: skip
    return median <= MEDIAN and share >= SHARE


def main(arguments=None):
    """Run the benchmark; returns 0 where it shows what it must."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.withheld", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the folders slacs, desi_f140w, ... are")
    parser.add_argument("--scale", type=int, default=2, help="by which images are binned (default: 2)")
    parser.add_argument("--survey", nargs="+", choices=SURVEYS, default=["slacs", "desi"],
                        help="which lenses (default: slacs desi)")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="NAME", help="lenses to run (default: all)")
    parser.add_argument("--count", type=int, help="at most so many lenses of a survey")
    parser.add_argument("--seed", type=int, default=0, help="of the added noise (default: 0)")
    parser.add_argument("--threads", type=int, help="of torch (default: as many as it takes)")
    parser.add_argument("--output", type=Path, help="write the table here (.ecsv)")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    resolver = LensingSuperResolver(scale=options.scale)

    good, rows = [], []
    if {"slacs", "desi"} & set(options.survey):
        rows = list(score_surveys(options, resolver))
        surveys = sorted({row["survey"] for row in rows})
        verdicts = {survey: summarise(survey, [r for r in rows if r["survey"] == survey]) for survey in surveys}
        good.append(bool(rows) and (summarise("all", rows) if len(surveys) > 1 else all(verdicts.values())))
    if "jwst" in options.survey:
        another_band(options.folder / "cosmos_web_ring")
    if "j0946" in options.survey:
        good.append(another_reduction(options.folder) <= AGREEMENT)
    if options.output:
        Table(rows).write(options.output, overwrite=True)
    return 0 if all(good) else 1


def score_surveys(options, resolver):
    """Score the lenses with visible arcs, printing as it goes."""
    print(HEAD)
    counts = {}
    for survey, name, published, _, given in commands(options.folder):
        if survey.lower() not in options.survey or (options.only and name not in options.only):
            continue
        counts[survey] = counts.get(survey, 0) + 1
        if options.count and counts[survey] > options.count:
            continue
        image = read_lens(given)
        prepared = prepare(image)
        radius = published or TYPICAL * prepared.arc_radius
        arcs = visible_arcs(image, radius, prepared)
        if arcs.sum() < VISIBLE_PIXELS:
            print(f"{name:<16}{arcs.sum():>8}  left out: its arcs are not visible")
            continue
        try:
            scored = score_lens(image, resolver, theta_E=radius, scale=options.scale, seed=options.seed)
            row = row_of(survey, name, published, arcs, scored)
        except LensingSRError as error:
            row = lost(survey, name, published, arcs, options.scale, error)
        print(line(row), flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(main())
