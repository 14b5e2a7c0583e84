# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Subhalos found by the significance map: cold dark matter as the reference telescope like HST (Model 3) sees it.

Fresh draws, seen as the other benchmarks of the reference simulations see them.  A perturber counts that has at least
3e9 solar masses, as the reference calls masses (so much has an Einstein radius of 0.070 arcsec, which the simulated
rays see as 0.056), and lies within 0.15 arcsec of the arcs: of pixels of the image without noise above 5 % of its peak.
It is found where ``result.significance`` reaches 5 sigma within 0.1 arcsec of it.

chance   of the places within 0.15 arcsec of the arcs, the share that has 5 sigma within 0.1 arcsec: what a map finds
         whose peaks lie anywhere there.
ceiling  of those perturbers, the share whose absence would change the image without noise by 5 sigma or more (root of
         the chi-square) if nothing else changed; printed of each as "of N".
listed   found too by an entry of ``result.perturbers`` within 0.1 arcsec; its mass is told in true ones.
false    in ``no_sub`` images: any pixel at 5 sigma, or any listed perturber.  In ``cdm`` images, for comparison:
         regions at 5 sigma none of whose pixels is within 0.15 arcsec of any mass of 1e9 or more.

Required: 70 % of those perturbers found, and a false detection in at most 1 of 20 ``no_sub`` images.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
from scipy import ndimage

from benchmarks.reference_cells import FRESH_SEED, draw_cell
from lensing_sr.utils._console import whole

MODEL = 3
#: which perturbers count: solar masses, arcsec from the arcs, and the share of the peak where arcs are
LEAST_MASS, NEAR_ARCS, BRIGHT = 3e9, 0.15, 0.05
#: what is a detection: sigma, arcsec from the perturber
SIGMA, REACH = 5.0, 0.1
#: a region of the map is explained by a mass from here on, so near
FAINTEST, EXPLAINED = 1e9, 0.15
#: what is required: share of the perturbers, false detections an image
FOUND, FALSE = 0.70, 1 / 20


def unit_radius():
    """Einstein radius in arcsec of 1e12 solar masses, in the reference's convention."""
    from lensing_sr.simulation.cosmology import REFERENCE

    return float(REFERENCE.point_mass_einstein_radius(1e12, 0.5, 1.0, luminosity_distances=True))


class TrueLens:
    """One simulated lens: its masses (in solar masses, x, y in arcsec), ``(3, masses)``, and what each does."""

    def __init__(self, simulator, lens, source):
        self._simulator, self._source = simulator, str(source)
        self._names, self._kwargs = json.loads(str(lens))
        masses = [(1e12 * (k["theta_E"] / unit_radius()) ** 2, k["center_x"], k["center_y"]) for k in self._kwargs[1:]]
        self.masses = np.array(masses, dtype=float).reshape(-1, 3).T

    def effects(self, which, noise):
        """Root of the chi-square by which the image changes without each of some masses."""
        if not len(which):
            return []
        lenses = [json.dumps([self._names, self._kwargs])]
        for k in which:
            kept = [j for j in range(len(self._names)) if j != k + 1]
            lenses.append(json.dumps([[self._names[j] for j in kept], [self._kwargs[j] for j in kept]]))
        images = self._simulator.render(lenses, [self._source] * len(lenses), keys=("LR_model",))["LR_model"].numpy()
        return np.sqrt((((images[1:] - images[0]) / noise) ** 2).sum(axis=(1, 2))).tolist()


def true_lenses(count, dark_matter):
    """The lenses of `draw_cell`."""
    from lensing_sr.simulation import ReferenceSimulator

    simulator = ReferenceSimulator(MODEL, dark_matter)
    drawn = simulator.draw(count, seed=FRESH_SEED, keys=("lens_json", "source_json"))
    return [TrueLens(simulator, *texts) for texts in zip(drawn["lens_json"], drawn["source_json"], strict=True)]


def strength():
    """By what the simulated rays weaken the deflection: listed Einstein radii are effective ones."""
    from lensing_sr.simulation import ReferenceSimulator

    drawn = ReferenceSimulator(MODEL, "no_sub").draw(1, keys=("theta_E_effective",))
    return float(drawn["theta_E_effective"][0]) / unit_radius()


class Field:
    """Where the arcs of an image are, and distances from things, on the output's pixels."""

    def __init__(self, truth, pixel):
        rows, columns = truth.shape
        self.x = (np.arange(columns) - (columns - 1) / 2)[None, :] * pixel
        self.y = (np.arange(rows) - (rows - 1) / 2)[:, None] * pixel
        self.pixel = pixel
        arcs = truth > BRIGHT * truth.max()
        self.from_arcs = ndimage.distance_transform_edt(~arcs) * pixel

    def near_arcs(self, x, y):
        """Whether places are near the arcs."""
        column = np.rint((x - self.x[0, 0]) / self.pixel).astype(int)
        row = np.rint((y - self.y[0, 0]) / self.pixel).astype(int)
        rows, columns = self.from_arcs.shape
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        return inside & (self.from_arcs[row.clip(0, rows - 1), column.clip(0, columns - 1)] <= NEAR_ARCS)

    def highest(self, image, x, y):
        """Largest value of an image within reach of a place."""
        return float(image[np.hypot(self.x - x, self.y - y) <= REACH].max(initial=-np.inf))

    def chance(self, image):
        """Share of the places near the arcs that are within reach of a detection."""
        detected = image >= SIGMA
        if not detected.any():
            return 0.0
        within = ndimage.distance_transform_edt(~detected) * self.pixel <= REACH
        return float(within[self.from_arcs <= NEAR_ARCS].mean())

    def unexplained(self, image, masses):
        """Regions at detection level far from every mass: (peak, x, y) of each."""
        labels, count = ndimage.label(image >= SIGMA, structure=np.ones((3, 3)))
        known = np.zeros(labels.shape, dtype=bool)
        for mass, x, y in masses.T:
            if mass >= FAINTEST:
                known |= np.hypot(self.x - x, self.y - y) <= EXPLAINED
        found = []
        for label in set(range(1, count + 1)) - set(np.unique(labels[known])):
            row, column = ndimage.maximum_position(image, labels, label)
            found.append((float(image[row, column]), float(self.x[0, column]), float(self.y[row, 0])))
        return found


def significance_map(result):
    """The significance map of a result in sigma, zero where it has none."""
    found = getattr(result, "significance", None)
    return np.zeros(result.image.shape) if found is None else np.nan_to_num(np.asarray(found.data, dtype=float))


def listed(result):
    """Perturbers of a result, (theta_E, x, y) in arcsec, ``(n, 3)``."""
    table = getattr(result, "perturbers", None)
    if table is None or len(table) == 0:
        return np.zeros((0, 3))
    return np.stack([np.asarray(table[name], dtype=float) for name in ("theta_E", "x", "y")], axis=1)


def examine(result, truth, pixel, lens, noise):
    """What was found of the perturbers of an image."""
    masses = lens.masses
    field, image, entries = Field(truth, pixel), significance_map(result), listed(result)
    mass, x, y = masses
    counts = (mass >= LEAST_MASS) & field.near_arcs(x, y)
    perturbers, effects = [], lens.effects(np.flatnonzero(counts), noise)
    for effect, (m, at_x, at_y) in zip(effects, masses[:, counts].T, strict=True):
        distance = np.hypot(entries[:, 1] - at_x, entries[:, 2] - at_y)
        entry = entries[distance.argmin()] if len(entries) and distance.min() <= REACH else None
        ratio = np.nan if entry is None else (entry[0] / unit_radius()) ** 2 * 1e12 / strength() / m
        sigma = field.highest(image, at_x, at_y)
        perturbers.append({"mass": m, "x": at_x, "y": at_y, "sigma": sigma, "effect": effect, "ratio": ratio})
    return {
        "perturbers": perturbers,
        "chance": field.chance(image),
        "unexplained": field.unexplained(image, masses),
        "highest": float(image.max()),
        "entries": entries,
    }


def run_cell(dark_matter, options, resolver):
    """Examine the images of a class, printing each."""
    cell = draw_cell(MODEL, dark_matter, options.first + options.count)
    lenses = true_lenses(len(cell.flux), dark_matter)
    pixel = float(cell.pixel_scale[0]) / 2
    for number, image in enumerate(cell.images()):
        if number < options.first:
            continue
        start = time.perf_counter()
        result = resolver.super_resolve(image)
        seconds = time.perf_counter() - start
        found = examine(result, cell.truth[number], pixel, lenses[number], cell.noise[number])
        found |= {"seconds": seconds, "chi2": result.quality.chi2, "number": number}
        print(line(dark_matter, found), flush=True)
        yield found


def line(dark_matter, found):
    """One line an image."""
    told = [
        f"{p['mass']:.1e} at ({p['x']:+.2f}, {p['y']:+.2f}): {p['sigma']:.1f} sigma of {p['effect']:.0f}"
        + (f", listed with {p['ratio']:.2f} of its mass" if np.isfinite(p["ratio"]) else "")
        for p in found["perturbers"]
    ]
    if dark_matter == "no_sub" and (found["highest"] >= SIGMA or len(found["entries"])):
        told.append("FALSE")
    if dark_matter != "no_sub" and found["unexplained"]:
        told.append("unexplained: " + ", ".join(f"{s:.1f} at ({x:+.2f}, {y:+.2f})" for s, x, y in found["unexplained"]))
    return (f"{dark_matter} {found['number']:>3}  chi2 {found['chi2']:5.2f}  highest {found['highest']:5.1f}  "
            f"chance {found['chance']:4.2f}  {len(found['entries'])} listed  {found['seconds']:5.1f} s  "
            f"{'; '.join(told)}")  # fmt: skip


def main(arguments=None):
    """Run the benchmark; returns 0 where what is required holds."""
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    from lensing_sr import LensingSuperResolver

    torch.set_num_threads(options.threads)
    # light at pixel centres, as these images have it
    resolver = LensingSuperResolver(scale=2, lens_light=False, supersampling=1)
    print(f"Model {MODEL}, images {options.first} to {options.first + options.count - 1} of seed {FRESH_SEED}")
    good = []
    if "cdm" in options.classes:
        images = list(run_cell("cdm", options, resolver))
        every = [p for found in images for p in found["perturbers"]]
        if every:
            sigma = np.array([p["sigma"] for p in every])
            share, ratios = np.mean(sigma >= SIGMA), [p["ratio"] for p in every if np.isfinite(p["ratio"])]
            good.append(share >= FOUND)
            print(f"\n{len(every)} perturbers of {LEAST_MASS:.0e} or more near the arcs of {len(images)} images: found "
                  f"{share:.0%} (required {FOUND:.0%}{'' if good[-1] else ', NOT REACHED'}); by chance "
                  f"{np.mean([found['chance'] for found in images]):.0%}, ceiling "
                  f"{np.mean([p['effect'] >= SIGMA for p in every]):.0%}; listed {len(ratios) / len(every):.0%}"
                  + (f", median mass {np.median(ratios):.2f} of the true one" if ratios else ""))  # fmt: skip
            for low, high in ((3e9, 5e9), (5e9, 8e9), (8e9, 1e11)):
                within = [p["sigma"] >= SIGMA for p in every if low <= p["mass"] < high]
                if within:
                    print(f"  {low:.0e} to {high:.0e}: {sum(within)} of {len(within)}")
        else:
            print("\nno perturber lies near the arcs of these images")
        print(f"regions far from every mass of {FAINTEST:.0e}: {sum(len(f['unexplained']) for f in images)} in "
              f"{len(images)} images; {np.median([f['seconds'] for f in images]):.1f} s an image\n")  # fmt: skip
    if "no_sub" in options.classes:
        images = list(run_cell("no_sub", options, resolver))
        false = sum(found["highest"] >= SIGMA or len(found["entries"]) > 0 for found in images)
        good.append(false <= FALSE * len(images))
        seconds = np.median([found["seconds"] for found in images])
        print(f"\nfalse detections: in {false} of {len(images)} no_sub images (required: 1 in {1 / FALSE:.0f} at most"
              f"{'' if good[-1] else ', NOT REACHED'}); {seconds:.1f} s an image")  # fmt: skip
    return 0 if good and all(good) else 1


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.substructure", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=whole(1), default=40, metavar="N", help="images of each class (default: 40)")
    parser.add_argument("--first", type=whole(0), default=0, metavar="N", help="number of the first (default: 0)")
    parser.add_argument("--classes", nargs="+", choices=("cdm", "no_sub"), default=["cdm", "no_sub"])
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
