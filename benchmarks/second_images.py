# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lenses of which there is a second image: in another band at half the pixel size, or from another reduction.

*Another band*: the COSMOS-Web ring in JWST/NIRCam F277W (0.06 arcsec), super-resolved by 2 and compared with F150W
(0.03 arcsec), once at the PSF of F277W (to which F150W is blurred) and once at that of F150W (which the
super-resolution is asked for; interpolations stay as they are).  Image and interpolations are all registered in the
same way: shifted onto the lens galaxy of F150W, their azimuthal medians subtracted so that the structure of the ring is
left, and multiplied by one factor.  The two bands show different stars, so no correlation is perfect.

*Another reduction*: SLACS J0946+1006 from two pipelines; the Einstein radii must agree.
"""

import time

import numpy as np
import torch
from scipy import ndimage, optimize

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.image.prepare import prepare
from lensing_sr.metrics.interpolation import METHODS, upsample
from lensing_sr.restore.target_psf import blur, matching_kernel
from lensing_sr.validation import OUTER, withheld_mask

__all__ = ["another_band", "another_reduction"]

#: Einstein radius of the ring in arcsec (Mercier et al. 2024, A&A 687, A61), and the radius of its lens's core.
RING, CORE = 0.78, 0.35


def another_band(folder, resolver=None):
    """Print how the super-resolved F277W image compares with F150W; returns the correlations by PSF and method."""
    coarse, fine = _read(folder / "F277W", 0.06), _read(folder / "F150W", 0.03)
    prepared = prepare(fine)
    pixel = float(fine.grid.pixel_scale.value)
    narrow, wide = fine.psf.kernel_at(pixel, 1), coarse.psf.kernel_at(2 * pixel, 2)
    match = matching_kernel(narrow, wide)
    blurred = blur(torch.as_tensor(fine.data)[None], torch.as_tensor(match))[0].numpy()
    references = {
        "F277W": (blurred, prepared.full_noise * np.sqrt((match**2).sum()), "same"),
        "F150W": (fine.data, prepared.full_noise, narrow),
    }
    found = {}
    for band, (truth, sigma, target) in references.items():
        start = time.perf_counter()
        result = (resolver or LensingSuperResolver)(scale=2, target_psf=target).super_resolve(coarse)
        seconds = time.perf_counter() - start
        candidates = {"super-resolved": result.image.data + result.sky / 4}
        candidates |= {method: upsample(coarse.data, 2, method) for method in METHODS}
        comparison = _Comparison(truth, sigma, fine, prepared)
        scores = {name: comparison.score(image) for name, image in candidates.items()}
        best = min(METHODS, key=lambda name: scores[name][1])
        print(f"COSMOS-Web ring, F277W x 2 against F150W at the PSF of {band}: {comparison.where.sum()} pixels, "
              f"theta_E {result.parameters.loc['theta_E']['value']:.3f} arcsec, {seconds:.1f} s, "
              f"flags: {', '.join(result.quality.flags) or 'none'}")  # fmt: skip
        for name, (correlation, misfit) in scores.items():
            print(f"  {name:<15} correlation of structure {correlation:.3f}, chi2 {misfit:8.2f}, "
                  f"{misfit / scores[best][1]:.3f} of {best}'s")  # fmt: skip
        found[band] = {name: correlation for name, (correlation, _) in scores.items()}
    return found


def another_reduction(folder):
    """Print the Einstein radii of both reductions of J0946+1006; returns their relative difference."""
    first, second = folder / "slacs" / "J0946+1006", folder / "slacs_j0946"
    images = (
        LensImage.read(first / "image.fits", psf=first / "psf.fits", noise=first / "noise.fits", pixel_scale=0.05),
        LensImage.read(
            second / "data.fits", psf=second / "psf.fits", noise=second / "noise_map.fits", pixel_scale=0.05,
            mask=second / "mask_extra_galaxies.fits",
        ),
    )  # fmt: skip
    results = [LensingSuperResolver().super_resolve(image) for image in images]
    rows = [result.parameters.loc["theta_E"] for result in results]
    radii = [float(row["value"]) for row in rows]
    difference = abs(radii[1] / radii[0] - 1)
    texts = (
        f"{row['value']:.4f} +- {row['error']:.4f} (chi2 {result.quality.chi2:.2f})"
        for row, result in zip(rows, results, strict=True)
    )
    print(f"J0946+1006, two reductions: theta_E {' and '.join(texts)} arcsec: {100 * difference:.2f} % apart")
    return difference


def _read(folder, pixel):
    return LensImage.read(
        folder / "data.fits", psf=folder / "psf.fits", noise=folder / "noise_map.fits", pixel_scale=pixel
    )


class _Comparison:
    """The fine image of the ring, and how close others come to it."""

    def __init__(self, truth, sigma, image, prepared):
        self.truth, self.sigma = truth, sigma
        x, y = image.grid.coordinates()
        self._radius = np.hypot(x - prepared.lens_position[0], y - prepared.lens_position[1])
        self._radius /= float(image.grid.pixel_scale.value)
        self._core = self._radius < CORE / float(image.grid.pixel_scale.value)
        self._ring = np.rint(self._radius).astype(int)
        self._rings = np.arange(int(OUTER * RING / float(image.grid.pixel_scale.value)) + 2)
        self.where = withheld_mask(truth, sigma, image.mask, image.grid, prepared.lens_position, RING)
        self._structure = self._without_median(truth)

    def score(self, image):
        """(correlation of structure, chi-square of it after one factor) of an image of half the shape's fields."""
        moved = self._without_median(self._moved(image, self._registered(image)))
        here, there = moved[self.where], self._structure[self.where]
        weight = self.sigma[self.where] ** -2.0
        factor = (here * there * weight).sum() / (here**2 * weight).sum()
        return float(np.corrcoef(here, there)[0, 1]), float(np.mean((there - factor * here) ** 2 * weight))

    def _moved(self, image, step):
        """The image on the pixels of the truth; both fields have one centre, but for ``step`` pixels."""
        offset = [(n - m) / 2 for n, m in zip(image.shape, self.truth.shape, strict=True)]
        rows, columns = np.indices(self.truth.shape, dtype=float)
        places = [rows + offset[0] + step[0], columns + offset[1] + step[1]]
        return ndimage.map_coordinates(image, places, order=3, mode="nearest")

    def _registered(self, image):
        """Step (rows, columns) that brings the lens galaxy's core onto that of the truth."""
        target = (self.truth / self.sigma)[self._core]

        def misfit(step):
            seen = self._moved(image, step)[self._core]
            columns = np.stack([seen, np.ones_like(seen)], axis=1) / self.sigma[self._core][:, None]
            factors = np.linalg.lstsq(columns, target, rcond=None)[0]
            return float(np.mean((target - columns @ factors) ** 2))

        starts = [(row, column) for row in (-2, 0, 2) for column in (-2, 0, 2)]
        start = min(starts, key=misfit)
        return optimize.minimize(misfit, start, method="Nelder-Mead", options={"xatol": 0.01, "fatol": 1e-4}).x

    def _without_median(self, image):
        median = ndimage.median(image, self._ring, self._rings)
        return image - np.interp(self._radius, self._rings, median)
