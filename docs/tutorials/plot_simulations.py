# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
Lenses with known truth
=======================

Three reference telescopes with their classes of dark matter, a population of lenses in the images of real telescopes,
and galaxies that only look like lenses. All of it is simulated here, in a few seconds; :ref:`simulations` describes it.
"""

# %%
# Reference telescopes
# --------------------
# One lens, an isothermal sphere, with a small disc behind it that lies elsewhere in each image. What differs is the
# telescope and the dark matter.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import AsinhNorm
from matplotlib.patheffects import withStroke

from lensing_sr.instruments import instruments
from lensing_sr.plotting import nice_length
from lensing_sr.simulation import LensPopulation, ReferenceSimulator
from lensing_sr.simulation.negatives import KINDS
from lensing_sr.simulation.substructure import CLASSES

reference = {}
for model in (1, 2, 3):
    for dark_matter in CLASSES:
        simulator = ReferenceSimulator(model, dark_matter)
        reference[model, dark_matter] = simulator.draw(1, seed=1)

cell = reference[2, "cdm"]
for key in ("LR", "HR_model", "alpha_x", "theta_E_effective", "exp_time_LR"):
    print(f"{key:18s} {simulator.units[key]:13s} {tuple(cell[key].shape)}")

# %%
# Each pair shows what the telescope delivers and the truth: the same optics, pixels half as large, no noise. Both are
# shown as surface brightness on one stretch. The white bar is a length on the sky.


def stretch(truth, noise):
    """Linear up to the noise, logarithmic above."""
    return AsinhNorm(linear_width=2 * noise, vmin=-2 * noise, vmax=float(truth.max()))


def show(ax, image, pixel, title="", **style):
    """An image with a scale bar."""
    image = np.asarray(image)
    rows, columns = image.shape
    ax.imshow(image, origin="lower", extent=(0, columns * pixel, 0, rows * pixel), **{"cmap": "magma", **style})
    length, margin = nice_length(0.4 * columns * pixel), 0.06 * columns * pixel
    seen = {"color": "white", "path_effects": [withStroke(linewidth=2.5, foreground="black")]}
    ax.plot([margin, margin + length], [margin, margin], lw=1.5, **seen)
    ax.text(margin + length / 2, 1.4 * margin, f'{length:g}"', ha="center", va="bottom", fontsize=7, **seen)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=8)


def show_pair(axes, low, high, noise, pixel, title):
    """A noisy image and its truth, per arcsec^2."""
    low, high, noise = low / pixel**2, high / (pixel / 2) ** 2, noise / pixel**2
    norm = stretch(high, noise)
    show(axes[0], low, pixel, title, norm=norm)
    show(axes[1], high, pixel / 2, "truth", norm=norm)


fig, axes = plt.subplots(3, 8, figsize=(11, 4.7), layout="constrained")
for row, model in zip(axes, (1, 2, 3)):
    row[0].set_ylabel(f"Model {model}")
    for pair, dark_matter in zip(row.reshape(4, 2), CLASSES):
        cell = reference[model, dark_matter]
        seconds = float(cell["exp_time_LR"][0]) if model == 1 else 1.0  # Model 1 counts photons
        low, noise = cell["LR"][0] / seconds, float(cell["bkg_rms_LR"][0]) / seconds
        show_pair(pair, low, cell["HR_model"][0], noise, float(cell["pixscale_LR"][0]), dark_matter)
plt.show()

# %%
# What the dark matter does
# -------------------------
# The eye hardly tells the classes apart. The deflection does: what is left of it after the sphere's is taken away. The
# vortex of axions is a line of 100 point masses; cold dark matter comes as 25 point masses; ``subhalos``, which the
# reference doesn't have, are extended and weaker.

fig, axes = plt.subplots(1, 3, figsize=(8, 3.1), layout="constrained")
smooth = reference[2, "no_sub"]
for ax, dark_matter in zip(axes, CLASSES[1:]):
    cell = reference[2, dark_matter]
    more = np.hypot(*((cell[key][0] - smooth[key][0]).numpy() for key in ("alpha_x", "alpha_y")))
    show(ax, 1e3 * more, float(cell["pixscale_HR"][0]), dark_matter, cmap="cividis", norm="log", vmin=1, vmax=300)
fig.colorbar(axes[0].images[0], ax=axes, label="substructure's deflection [milliarcsec]", shrink=0.8)
plt.show()

# %%
# Real telescopes
# ---------------
# A `~lensing_sr.simulation.LensPopulation` draws everything anew: elliptical lenses with shear, sources with clumps and
# spiral arms, the light of the lens galaxy, neighbours, noise that neighbouring pixels share, and a PSF that isn't
# quite the one that is handed out.
#
# Parameters alone are drawn at once, without an image: here to choose, for each instrument, a lens that fills the field
# and has its source close behind it. Its arcs have a signal-to-noise ratio between 60 and 120.

telescopes = {name: one for name, one in instruments().items() if not name.startswith("model")}
views = {}
for seed, name in enumerate(telescopes):
    population = LensPopulation(name, arc_sn=(60, 120), seed=seed)
    half_field = 0.5 * population.pixel_scales["LR"] * min(population.shape)
    drawn = population.draw(50, keys=("theta_E", "offset"))
    size = drawn["theta_E"] / half_field
    chosen = drawn["offset"].where((size > 0.25) & (size < 0.45), 1.0).argmin()
    views[name] = population.draw(1, first=int(chosen), keys=("LR", "HR_model"))

fig, axes = plt.subplots(5, 4, figsize=(8, 10.4), layout="constrained")
for pair, (name, view) in zip(axes.reshape(-1, 2), views.items()):
    one = telescopes[name]
    show_pair(pair, view["LR"][0], view["HR_model"][0], one.background_rms(), one.pixel_scale, one.title)
plt.show()

# %%
# What an image is made of
# ------------------------
# Every part is there by itself, on both grids, and the parts sum to the image. Chosen by its parameters again: a lens
# with neighbours.

population = LensPopulation("hst-acs-f814w", preset="hst", arc_sn=(100, 200), seed=5)
drawn = population.draw(50, keys=("neighbours", "offset"))
lens = population.draw(1, first=int(drawn["offset"].where(drawn["neighbours"] >= 2, 1.0).argmin()))
parts = ("arcs", "lens_light", "neighbours")
total = sum(lens[f"{part}_HR"][0] for part in parts)
print(f"largest difference: {float((total - lens['HR_model'][0]).abs().max()):.1e} of {float(total.max()):.2f}")

fig, axes = plt.subplots(2, 3, figsize=(8, 5.6), layout="constrained")
pixel = population.instrument.pixel_scale
background = population.instrument.background_rms()
observed = lens["LR"][0] / pixel**2
show(axes[0, 0], observed, pixel, "observed", norm=stretch(observed, background / pixel**2))
for ax, part in zip(axes.flat[1:4], parts):
    light = lens[f"{part}_HR"][0] / (pixel / 2) ** 2
    show(ax, light, pixel / 2, part.replace("_", " "), norm=stretch(light, 0.3 * background / pixel**2))
deflection = np.hypot(lens["alpha_x"][0].numpy(), lens["alpha_y"][0].numpy())
limit = 1.5 * float(lens["theta_E"][0])
show(axes[1, 1], deflection, pixel / 2, "deflection", cmap="cividis", vmin=0, vmax=limit)
kernel = lens["psf_true"][0]
show(axes[1, 2], kernel, pixel / 2, "PSF", norm=AsinhNorm(linear_width=1e-3 * float(kernel.max())))
plt.show()

# %%
# No lenses
# ---------
# A finder must also see what is not a lens. Rings, face-on spirals, mergers and companions in line are drawn as bright
# as arcs would be, so that brightness gives nothing away. Of forty, those of each kind in which the galaxy in the
# middle outshines the rest the least:

population = LensPopulation("hst-acs-f814w", negatives=1.0, arc_sn=(60, 200), seed=2)
many = population.draw(40, keys=("LR", "kind", "lens_flux", "lensed_flux"))
share = (many["lensed_flux"] / many["lens_flux"]).nan_to_num(0.0).numpy()
order = np.argsort(-share)

fig, axes = plt.subplots(2, len(KINDS), figsize=(11, 4), layout="constrained")
for column, kind in zip(axes.T, KINDS):
    for ax, index in zip(column, order[many["kind"][order] == kind]):
        observed = many["LR"][index] / pixel**2
        show(ax, observed, pixel, kind, norm=stretch(observed, background / pixel**2))
plt.show()

# %%
# On disk
# -------
# The same on the command line, as one FITS file; the user guide says how to read it back.
#
# .. code-block:: text
#
#     python -m lensing_sr.simulation 2 cdm -n 100 -o cdm.fits
#     python -m lensing_sr.simulation hst-acs-f814w mixed --preset hst --arc-sn 60 120 -n 100 -o hst.fits
