# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
How far to trust a result
=========================

One image of one lens, nothing known beforehand: super-resolve it, look at what the result says of itself, withhold
pixels from the method to see whether it finds them, and decide.
"""

# %%
# The image
# ---------
# Set the environment variable ``LENSING_SR_REAL_DATA`` to a folder with ``image.fits``, ``noise.fits`` and ``psf.fits``
# of a lens (pixels of 0.05 arcsec, as those of HST's ACS, unless the header says otherwise) and run this page as a
# script: it then speaks of that lens. This page was built with the example that comes with the package, a simulated
# image.

import os
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.datasets import example_path
from lensing_sr.errors import PixelScaleError

folder = os.environ.get("LENSING_SR_REAL_DATA")
if folder:
    files = Path(folder)
    beside = {"noise": files / "noise.fits", "psf": files / "psf.fits"}
    try:
        image = LensImage.read(files / "image.fits", **beside)
    except PixelScaleError:
        image = LensImage.read(files / "image.fits", pixel_scale=0.05 * u.arcsec / u.pix, **beside)
else:
    image = LensImage.read(example_path())
image

# %%
# Super-resolution
# ----------------

resolver = LensingSuperResolver(scale=2)
result = resolver.super_resolve(image)
figure = result.plot()

# %%
# First question: does it trust itself?
# -------------------------------------
# A flag is a reason to stop; no flag is no proof. ``chi2`` is that of the model; ``consistency`` that of the delivered
# image, blurred and binned, against the input: far above 1, the result contradicts the image; well below, it follows
# its noise.

quality = result.quality
print("flags      ", quality.flags or "none")
print("notes      ", quality.notes or "none")
print(f"noise scale {quality.noise_scale:.2f}")
print(f"chi2        {quality.chi2:.2f}")
print(f"consistency {quality.consistency:.2f}")

# %%
# Which steps beyond a smooth lens and a Sersic source the image asked for (:ref:`beyond-sersic`):

for step, gain in quality.evidence.items():
    print(f"{step:12s} ln evidence {gain:+8.1f}", "kept" if step in quality.kept else "not kept")
print("source:", result.source)

# %%
# Second question: does it find pixels that it has not seen?
# ----------------------------------------------------------
# The image is binned by two, with noise added, and super-resolved back (:ref:`validation`).

validation = resolver.validate(image, result=result)
result.validation = validation
print(validation.verdict)
for name, chi2 in sorted(validation.interpolation.items(), key=lambda item: item[1]):
    print(f"{name:15s} {chi2:.2f}")
print(f"{'super-resolved':15s} {validation.chi2:.2f}   seen beforehand {validation.floor:.2f}")

# %%
# The residuals of both, below: what is left beside the super-resolved arcs should look like noise.

check = validation.plot()

# %%
# The Einstein radius should not depend on the pixels:

change = validation.theta_E / validation.theta_E_native - 1
print(f"{validation.theta_E_native:.3f} arcsec from all pixels, {100 * change:+.1f} % without those withheld")

# %%
# Third question: whose word is it?
# ---------------------------------
# Some of the delivered light is the model's, at the resolution of the output, and some is the restored residual, at
# that of the input. Where the second is large the model is wrong, and the image there no sharper than it was.

restored = result.image.data - result.arcs.data - result.lens_light.data
sigma = result.image.uncertainty.array
significance = np.divide(result.image.data, sigma, out=np.zeros_like(sigma), where=sigma > 0)
# where the arcs outshine the noise of an input pixel, shared among its fine pixels
pixel = image.noise if image.noise is not None else np.std(result.residual.data)
bright = result.arcs.data > quality.noise_scale * np.nanmedian(pixel) / result.scale**2
share = np.sqrt((restored[bright] ** 2).sum() / (result.arcs.data[bright] ** 2).sum())
print(f"restored light in the arcs: {share:.1%} of theirs, rms")

fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
top = np.percentile(result.arcs.data[bright], 99) if bright.any() else result.arcs.data.max()
pictures = [
    ("arcs of the model", result.arcs.data, {"cmap": "magma", "vmin": 0, "vmax": top}),
    ("restored residual", restored, {"cmap": "RdBu_r", "vmin": -top / 3, "vmax": top / 3}),
    ("image / uncertainty", significance, {"cmap": "magma", "vmin": 0, "vmax": 30}),
]
for ax, (title, picture, style) in zip(axes, pictures):
    shown = ax.imshow(picture, origin="lower", extent=result.grid.extent, **style)
    ax.set_title(title, fontsize=9)
    ax.set_xlabel("arcsec")
    fig.colorbar(shown, ax=ax, shrink=0.85)
plt.show()

# %%
# The decision
# ------------
# The limits here are rules of thumb: tighten them as the use demands.

answers = {
    "no flags": quality.trustworthy,
    "a PSF was given": image.psf is not None,
    "the model fits: chi2 below 1.5": quality.chi2 < 1.5,
    "the result agrees with the image: consistency below 1.2": quality.consistency < 1.2,
    "it beats interpolation on withheld pixels": validation.passed,
    "the Einstein radius is stable to 3 %": abs(change) < 0.03,
    "the arcs are the model's: less than 20 % restored": share < 0.2,
}
for question, answer in answers.items():
    print("yes" if answer else "NO ", question)

# %%
# All yes: positions, shapes and fluxes of the arcs can be measured on ``result.image`` with its uncertainty, and
# ``result.source`` can be read as the source at limited resolution. A ratio below 1 but a poor ``chi2``: use the image
# to look at, and don't rely on the errors. Not better than interpolation: what the finer image shows beyond the input
# is not supported by it; use the input. A flag, or an unstable Einstein radius: look at the figure for a companion that
# was taken for an arc, mask it, and begin again.
#
# With ``result.write("lens_sr.fits")`` all of it is kept, the validation too. On the command line it is
#
# .. code-block:: text
#
#     fits2sr image.fits --psf psf.fits --noise noise.fits --pixel-scale 0.05 --validate --plot lens.png
