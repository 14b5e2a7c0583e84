# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
A simulated lens, end to end
============================

Simulate a lens, observe it with large pixels, blurred and noisy, super-resolve the observation, and compare with the
truth, which for once is known.
"""

# %%
# The truth
# ---------
# It lives on a fine grid, pixels of 0.02 arcsec. The lens is an isothermal ellipsoid with the light of an elliptical
# galaxy; the source is a small disc behind it, off the centre.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import fftconvolve

from lensing_sr import PSF, DeflectionField, LensImage, LensingSuperResolver, PixelGrid, SersicSource
from lensing_sr.metrics import baselines, psnr

fine = PixelGrid((256, 256), pixel_scale=0.02 * u.arcsec / u.pix)
rate = u.electron / u.s

lens = DeflectionField.from_sie(1.2 * u.arcsec, 0.15, -0.08, grid=fine)
source = SersicSource(
    amplitude=8 * rate / u.arcsec**2,
    r_eff=0.12 * u.arcsec,
    n=1.2,
    x=0.15 * u.arcsec,
    y=-0.05 * u.arcsec,
    ellipticity=0.35,
    angle=60 * u.deg,
)
galaxy = SersicSource(
    amplitude=4 * rate / u.arcsec**2, r_eff=0.7 * u.arcsec, n=3, ellipticity=0.2, angle=-14 * u.deg
)

scene = (lens.lens(source) + galaxy.image(fine, supersampling=3)).to_value(rate)

# %%
# The observation
# ---------------
# The telescope blurs the scene; the detector sums 4 x 4 of these pixels, 0.08 arcsec; photons and electronics add their
# noise.


def binned(image, n):
    """Sum n x n pixels."""
    ny, nx = image.shape
    return image.reshape(ny // n, n, nx // n, n).sum(axis=(1, 3))


kernel = PSF.from_fwhm(0.15 * u.arcsec).kernel_at(0.08, sampling=4)
blurred = fftconvolve(scene, kernel, mode="same")

exposure, background = 2000.0, 0.008  # seconds; electron / s of noise in a pixel
expected = binned(blurred, 4)
noise = np.sqrt(background**2 + expected.clip(0) / exposure)
observed = expected + np.random.default_rng(7).normal(0, noise)

image = LensImage(
    observed,
    noise=noise,
    psf=PSF.from_kernel(kernel, oversampling=4),
    pixel_scale=0.08 * u.arcsec / u.pix,
    unit=rate,
    name="simulated lens",
)
image

# %%
# Super-resolution
# ----------------
# Nothing but the observation goes in: no starting values, no truth.

result = LensingSuperResolver(scale=2).super_resolve(image)
result.quality

# %%
# The figure shows the input and the result on one stretch, the source with the caustic, the convergence with the
# critical curve, and what the model left over.

figure = result.plot()

# %%
# What went in, and what was found
# --------------------------------

truth = {
    "theta_E": 1.2,
    "e1": 0.15,
    "e2": -0.08,
    "x_source": source.x.value,
    "y_source": source.y.value,
    "r_eff": source.r_eff.value,
    "n": source.n,
}
for name, value in truth.items():
    row = result.parameters.loc[name]
    print(f"{name:10s} {value:7.3f}   found {row['value']:7.3f} +- {row['error']:.3f} {row['unit']}")

# %%
# The image itself
# ----------------
# The truth at the scale of the result: the same optics, without noise, in pixels of 0.04 arcsec. Interpolation has no
# way to know what lies between the pixels; the lens model does, since it has seen each patch of the source several
# times.

sharp = binned(blurred, 2)
candidates = {"super-resolved": result.image.data, **baselines(observed - result.sky, 2)}
scores = {name: float(psnr(data, sharp)) for name, data in candidates.items()}
for name, score in scores.items():
    print(f"{name:15s} {score:5.1f} dB")

best = max(list(scores)[1:], key=scores.get)
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
limit = 5 * background / 4
for ax, name in zip(axes, ("super-resolved", best)):
    picture = ax.imshow(candidates[name] - sharp, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set_title(f"{name} - truth", fontsize=9)
axes[2].imshow(sharp, origin="lower", cmap="magma", vmax=np.percentile(sharp, 99.5))
axes[2].set_title("truth", fontsize=9)
fig.colorbar(picture, ax=axes[:2], label="electron / s")
plt.show()

# %%
# To keep it: ``result.write("simulated_sr.fits")``.
