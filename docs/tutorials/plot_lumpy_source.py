# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
A lumpy source
==============

A galaxy with clumps behind a simulated lens, once taken for a Sersic profile and once found as it is. The truth is
known, so that what is recovered, and what isn't, can be counted. :ref:`beyond-sersic` describes the method.
"""

# %%
# The truth
# ---------
# A disc with four clumps and a faint companion, on a grid in the source plane. The clumps differ in width: D is far
# below what the telescope resolves.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from lensing_sr import PSF, DeflectionField, LensImage, LensingSuperResolver, PixelGrid, PixelSource, SersicSource

rate = u.electron / u.s
density = rate / u.arcsec**2

disc = SersicSource(12 * density, 0.16, 1.0, x=0.06, y=-0.03, ellipticity=0.35, angle=30 * u.deg)
clumps = {  # brightness at the half-light radius, half-light radius and position in arcsec
    "A": SersicSource(30 * density, 0.030, 0.5, x=0.17, y=0.07),
    "B": SersicSource(20 * density, 0.025, 0.5, x=-0.06, y=0.04),
    "C": SersicSource(15 * density, 0.035, 0.5, x=0.02, y=-0.17),
    "D": SersicSource(20 * density, 0.012, 0.5, x=0.13, y=-0.09),
}
companion = SersicSource(3 * density, 0.05, 1.0, x=-0.27, y=-0.20)

plane = PixelGrid((120, 120), pixel_scale=0.01 * u.arcsec / u.pix)
x, y = plane.coordinates()
truth = PixelSource(sum(part.evaluate(x, y) for part in (disc, *clumps.values(), companion)), plane)
truth

# %%
# The observation
# ---------------
# Pixels and PSF are much like those of HST's ACS: 0.05 arcsec, and a FWHM of 0.1. The lens shines in another band, as
# it were: its light is left out.

fine = PixelGrid((256, 256), pixel_scale=0.0125 * u.arcsec / u.pix)
lens = DeflectionField.from_sie(1.0 * u.arcsec, 0.12, -0.08, grid=fine)
kernel = PSF.from_fwhm(0.1 * u.arcsec).kernel_at(0.05, sampling=4)
blurred = fftconvolve(lens.lens(truth).to_value(rate), kernel, mode="same")


def binned(image, n):
    """Sum n x n pixels."""
    ny, nx = image.shape
    return image.reshape(ny // n, n, nx // n, n).sum(axis=(1, 3))


exposure, background = 2000.0, 0.006  # seconds; electron / s of noise in a pixel
expected = binned(blurred, 4)
noise = np.sqrt(background**2 + expected.clip(0) / exposure)
observed = expected + np.random.default_rng(3).normal(0, noise)
image = LensImage(
    observed,
    noise=noise,
    psf=PSF.from_kernel(kernel, oversampling=4),
    pixel_scale=0.05 * u.arcsec / u.pix,
    unit=rate,
    name="lumpy source",
)
arcs = expected > noise
signal, scatter = expected[arcs].sum(), np.sqrt((noise[arcs] ** 2).sum())
print(f"signal-to-noise of the arcs {signal / scatter:.0f}, of their brightest pixel {(expected / noise).max():.0f}")

# %%
# Two reconstructions
# -------------------
# ``source="sersic"`` stays with the profile. ``"auto"``, the default, asks the data whether the source has structure.

settings = {"scale": 2, "lens_light": False}
results = {
    "sersic": LensingSuperResolver(source="sersic", potential=False, **settings).super_resolve(image),
    "auto": LensingSuperResolver(source="auto", **settings).super_resolve(image),
}
for name, result in results.items():
    quality, row = result.quality, result.parameters.loc["theta_E"]
    print(f"{name:7s} chi2 {quality.chi2:.2f}, theta_E {row['value']:.4f} +- {row['error']:.4f}, kept {quality.kept}")

# %%
# Each step that was tried has gained the logarithm of an evidence ratio. Those above 10, which also predict pixels
# left out of the fit, are kept:

result = results["auto"]
for step, gain in result.quality.evidence.items():
    print(f"{step:12s} ln evidence {gain:+8.1f}", "kept" if step in result.quality.kept else "not kept")

# %%
# The source, what it has beyond the Sersic profile that is nearest to it, and its significance. The square is where the
# structure has its nodes; beyond it the source is a Sersic profile whose amplitude alone has an error, so that the
# significance there means little.

source = result.source
print("the source        ", source)
print("its nearest Sersic", source.sersic)
figure = source.plot()

# %%
# Beside the truth
# ----------------

found = {name: result.source.evaluate(x, y).to_value(density) for name, result in results.items()}
true = truth.brightness.to_value(density)
columns, rows = (np.rint(p).astype(int) for p in source.grid.to_pixel(x, y))
ny, nx = source.grid.shape
error = source.error.to_value(density)[rows.clip(0, ny - 1), columns.clip(0, nx - 1)]

pictures = [
    ("truth", true, "magma", 0, true.max()),
    ("source='sersic'", found["sersic"], "magma", 0, true.max()),
    ("source='auto'", found["auto"], "magma", 0, true.max()),
    ("auto - truth", found["auto"] - true, "RdBu_r", -0.4 * true.max(), 0.4 * true.max()),
    ("stated error of auto", error, "magma", 0, np.nanmax(error)),
]
fig, axes = plt.subplots(1, 5, figsize=(12, 2.9), layout="constrained", sharey=True)
for ax, (title, picture, colours, low, high) in zip(axes, pictures):
    shown = ax.imshow(picture, origin="lower", extent=plane.extent, cmap=colours, vmin=low, vmax=high)
    ax.set_title(title, fontsize=9)
    ax.set_xlabel("arcsec")
    fig.colorbar(shown, ax=ax, shrink=0.75)
axes[0].set_ylabel("arcsec")
for name, clump in clumps.items():
    axes[0].annotate(name, (clump.x.value, clump.y.value), (5, -3), textcoords="offset points", color="w", fontsize=8)
plt.show()

# %%
# What is recovered
# -----------------
# Within two half-light radii: how well each source correlates with the truth, and its half-light radius.

middle = [c.to_value(u.arcsec) for c in truth.centroid]
near = np.hypot(x - middle[0], y - middle[1]) < 2 * truth.r_eff.to_value(u.arcsec)


def correlation(picture, other=true):
    """Pearson's, over the source."""
    return np.corrcoef(picture[near], other[near])[0, 1]


print(f"{'truth':7s}                     r_eff {truth.r_eff:.4f}")
for name, result in results.items():
    print(f"{name:7s} correlation {correlation(found[name]):.3f}   r_eff {result.source.r_eff:.4f}")

# %%
# And the image, against the same optics without noise on the fine pixels, where the arcs are:

sharp, on = binned(blurred, 2), np.kron(arcs, np.ones((2, 2), dtype=bool))
for name, result in results.items():
    off = (result.image.data - sharp)[on]
    within = np.mean(np.abs(off) < result.image.uncertainty.array[on])
    print(f"{name:7s} rms error {np.std(off) / (background / 4):.2f} of the sky's noise, {within:.0%} within one sigma")

# %%
# What isn't
# ----------
# Regularisation smooths. The truth, blurred by Gaussians of growing width, is most like the reconstruction at

widths = np.arange(0.0, 0.121, 0.005)
alike = [correlation(found["auto"], gaussian_filter(true, width / 0.01 / 2.355)) for width in widths]
best = int(np.argmax(alike))
print(f"FWHM {widths[best]:.3f} arcsec, correlation {alike[best]:.3f}; the PSF has 0.100, a pixel 0.050")

# %%
# So the peaks of clumps come out too low. Their errors don't know: they say what noise does to the smoothed source.
# The columns: brightness at the centre of each clump in the truth, of the Sersic, of the reconstruction, and its error.

print("        truth  sersic    auto   error")
for name, clump in clumps.items():
    at = np.argmin(np.hypot(x - clump.x.value, y - clump.y.value))
    values = [picture.flat[at] for picture in (true, found["sersic"], found["auto"], error)]
    print(f"{name}    " + " ".join(f"{value:7.1f}" for value in values))

# %%
# Read a pixel source as the galaxy seen at the resolution that lens, telescope and noise leave: what stands out
# significantly is there, where it is, with about the light that it has; how sharp it is can't be seen. What the noise
# hides is missing, as are the narrowest clump and the companion's shape.
