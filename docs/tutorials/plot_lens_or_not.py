# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
Lens, or only like one
======================

A candidate is not a lens: rings, spirals, mergers and companions pass for one, and a fit makes something of each of
them. Here a network looks through a hundred candidates, and the most doubtful of them are fitted. :ref:`lens-or-not`
explains what it says.
"""

# %%
# A hundred candidates
# --------------------
# As Euclid's VIS camera would see them, half of them lenses, behind galaxies that outshine the arcs ten times and
# more; what passes for arcs in the others is as bright as arcs are.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import torch

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.networks import load_network, without_isophotes
from lensing_sr.networks.views import make_views
from lensing_sr.simulation import LensPopulation

euclid = LensPopulation("euclid-vis", shape=(80, 80), scale=1, preset="bright", negatives=0.5, arc_sn=(60, 120))
drawn = euclid.draw(100, seed=7, keys=("LR", "noise", "psf", "is_lens", "kind", "correlation"))
is_lens = drawn["is_lens"].numpy() > 0.5

# %%
# One look at all of them
# -----------------------
# The network is told the image, its noise, and the width of the PSF. Its answer is ln B: how much more probable the
# image is among lenses than among galaxies that only look like them.

matrix = euclid.instrument.pixel_scale * torch.eye(2, dtype=torch.float64)  # arcsec a pixel
views = make_views(
    drawn["LR"], 1 / drawn["noise"], matrix, (39.5, 39.5), torch.zeros(100, 2), psf_fwhm=euclid.psf_fwhm[0],
    correlation=drawn["correlation"].float(),
)  # fmt: skip
odds = load_network("lens-finder").judge(views).numpy()

bins = np.linspace(-8, 8, 33)
plt.hist(odds[is_lens], bins, alpha=0.6, label="lenses")
plt.hist(odds[~is_lens], bins, alpha=0.6, label="others")
plt.xlabel("ln B")
plt.ylabel("candidates")
plt.legend()
plt.show()

higher = np.mean(odds[is_lens][:, None] > odds[~is_lens])
print(f"a lens has a higher ln B than a galaxy that is none in {higher:.0%} of all pairs")

# %%
# What it sees
# ------------
# A bright galaxy hides its arcs. The network is shown the image with and without it: what shines alike along ellipses
# is taken off. The three likeliest lenses, and the three least likely candidates:

bare = without_isophotes(views.significance, views.seen)[:, 0]
order = np.argsort(-odds)
figure, rows = plt.subplots(2, 6, figsize=(12, 4.2), layout="constrained")
for (top, bottom), k in zip(rows.T, [*order[:3], *order[-3:]], strict=True):
    top.imshow(torch.asinh(views.significance[k, 0]), origin="lower", cmap="magma", vmin=-1, vmax=7)
    bottom.imshow(torch.asinh(bare[k]), origin="lower", cmap="magma", vmin=-2, vmax=4)
    top.set_title(f"{drawn['kind'][k]}: ln B {odds[k]:+.1f}", fontsize=9)
    for axes in (top, bottom):
        axes.set(xticks=[], yticks=[])
plt.show()

# %%
# Where the network is unsure
# ---------------------------
# Those with ln B nearest to zero are fitted. The fit has a say of its own; both together are the probability in the
# result.

resolver = LensingSuperResolver(source="sersic", potential=False)
for k in np.argsort(abs(odds))[:5]:
    data, noise, psf = (drawn[key][k].double().numpy() for key in ("LR", "noise", "psf"))
    scale = euclid.instrument.pixel_scale * u.arcsec / u.pix
    image = LensImage(data, noise=noise, psf=psf, pixel_scale=scale, unit="electron / s")
    quality = resolver.super_resolve(image).quality
    flags = ", ".join(quality.flags) or "none"
    print(f"{drawn['kind'][k]:10}  ln B {odds[k]:+.1f}, a lens by {quality.lens_probability:4.0%}, flags: {flags}")
