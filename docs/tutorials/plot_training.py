# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
A network for your own images
=============================

Forty-nine low-resolution images of lenses, and nothing else: a network learns the deflection from them. No image of
higher resolution is needed, no catalogue, no parameters. To be quick, this page uses a network of a twentieth of the
published size and half a minute of training, enough to see that it learns; :ref:`training` says what a full one takes.
"""

# %%
# The images
# ----------
# Cut-outs of one instrument, the lens in the middle, *its galaxy's light subtracted*: the networks know of arcs only.
# Each file has the image and its noise, sigma per pixel. Yours are on disk already; here, a simulator (Model 3 of the
# reference method, an HST-like camera) writes some. What it knows beyond the image isn't written.

import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.io import fits
from astropy.wcs import WCS

from lensing_sr import LensingSuperResolver
from lensing_sr.metrics import psnr, upsample
from lensing_sr.networks import build_network
from lensing_sr.simulation import ReferenceSimulator

folder = Path(tempfile.mkdtemp())
simulator = ReferenceSimulator(3, "no_sub")
lenses = simulator.draw(49, seed=1, keys=("LR", "bkg_rms_LR", "exp_time_LR"))
wcs = WCS(naxis=2)
wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (150.0, 2.0), (32.5, 32.5)
wcs.wcs.cdelt = -0.08 / 3600, 0.08 / 3600
for number, image in enumerate(lenses["LR"].numpy()):
    sky, seconds = (float(lenses[key][number]) for key in ("bkg_rms_LR", "exp_time_LR"))
    noise = np.sqrt(sky**2 + image.clip(0) / seconds)
    science = fits.ImageHDU(image, wcs.to_header(), name="SCI")
    science.header["BUNIT"] = "electron/s"
    hdus = fits.HDUList([fits.PrimaryHDU(), science, fits.ImageHDU(noise.astype("f4"), name="ERR")])
    hdus.writeto(folder / f"lens{number:02d}.fits")

paths = sorted(folder.glob("lens*.fits"))
with fits.open(paths[0]) as hdus:
    print(len(paths), "files;", paths[0].name, "has", [hdu.name for hdu in hdus])

# %%
# The network
# -----------
# A residual CNN with 16 channels and one block, in place of 64 and three. It is shown signal-to-noise ratios and the
# distance from the centre, and answers with a mass map, whose deflection has no curl.
#
# ``supersampling=1`` says that light was sampled at the centres of the pixels, as these simulations do. Leave it out
# for real images.

torch.manual_seed(1)
network = build_network(
    {
        "network": "residual-cnn",
        "channels": 16,
        "blocks": 1,
        "norm": "group",
        "scaling": "snr",
        "inputs": ["r"],
        "head": "convergence",
    }
)
resolver = LensingSuperResolver(scale=2, network=network, supersampling=1, lens_light=False)
optics = {"psf": 0.08 * u.arcsec}

# %%
# One image stays out of the training, to look at before and after.

test, sample = paths[0], paths[1:]
before = resolver.super_resolve(test, **optics)
print(f"chi2 {before.quality.chi2:.0f}, flags: {', '.join(before.quality.flags)}")

# %%
# Training
# --------
# The loss is the chi-square of the image under the best source behind the deflection, and a penalty on differences
# between neighbouring pixels of the deflection, strong at first and weaker from epoch to epoch. A fifth of the images
# is kept aside, to say which epoch was best.

loss = {
    "likelihood": {"log": True},
    "variation": {"weight": {"schedule": "exponential", "start": 5.0, "half_life": 3, "floor": 0.1}},
}
history = resolver.train(sample, epochs=15, batch_size=8, rate=3e-3, loss=loss, progress=False, **optics)
print(f"{history.passes} passes in {len(history.curves)} epochs; epoch {history.best_epoch} was best")

# %%
# The learning curves. The likelihood is the logarithm of chi-square, 0 at best; the dashed line is the weight. In a
# training of your own watch both curves: where only the blue one goes on falling, the network learns your images by
# heart.

curves = history.plot()

# %%
# What it learned
# ---------------

result = resolver.super_resolve(test, **optics)
print(f"chi2 {result.quality.chi2:.1f}, flags: {', '.join(result.quality.flags) or 'none'}")
for name in ("theta_E", "x_source", "y_source"):
    row = result.parameters.loc[name]
    print(f"{name:9s} {row['value']:7.3f} +- {row['error']:.3f} {row['unit']}")

figure = result.plot()

# %%
# This image is simulated, so that the truth is known: 0.812 arcsec, and an image without noise on the fine grid.
# Against it, the re-lensed source alone, the result (with what was restored from the residual), and an interpolation:

truth = simulator.draw(1, seed=1, keys=("HR_model", "src_x", "src_y"))
wanted = truth["HR_model"][0].numpy()
print(f"true source at {float(truth['src_x'][0]):.3f}, {float(truth['src_y'][0]):.3f} arcsec")
observed = fits.getdata(paths[0], "SCI").astype(float)
candidates = {
    "before, re-lensed": before.arcs.data,
    "after, re-lensed": result.arcs.data,
    "after, result": result.image.data,
    "bilinear": upsample(observed, 2, "bilinear"),
}
for name, image in candidates.items():
    print(f"{name:18s} {psnr(image, wanted):5.1f} dB")

# %%
# The errors are the scatter between turned and mirrored copies of the image. They don't know what the network doesn't
# know; ``chi2`` tells how far half a minute led.
#
# Keeping it
# ----------
# The weights go into one file, with the settings that rebuild the network.

resolver.save(folder / "mine.safetensors")
again = LensingSuperResolver.from_pretrained(folder / "mine.safetensors", supersampling=1, lens_light=False)
same = again.super_resolve(test, **optics)
print(again.network.extra_repr(), "-", f"{(folder / 'mine.safetensors').stat().st_size / 1e3:.0f} kB")
print(f"theta_E {same.parameters.loc['theta_E']['value']:.3f}")

# %%
# From here
# ---------
# - Take the published width, ``build_network({"network": "residual-cnn", ...})`` without ``channels`` and ``blocks``,
#   more images and tens of thousands of passes; on a GPU where there is one.
# - Or begin with a network that has learned already: ``LensingSuperResolver.from_pretrained(name)``, then ``train``
#   at a lower rate.
# - All these lenses are alike in size. Where yours are not, set ``"context": True``, or the network can't tell them
#   apart.
# - ``train(..., folder="run")`` writes checkpoint, best weights, curves and a log; ``python -m lensing_sr.training``
#   does the same from a file of settings, resumes, and runs on several GPUs.
