# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Picture of one step of the training, on a simulated image: from the image through the deflection and back to it."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import AsinhNorm, LogNorm
from matplotlib.patches import FancyArrowPatch, Rectangle

from lensing_sr.losses import Reconstruction
from lensing_sr.networks.symmetry import average_symmetries
from lensing_sr.networks.weights import load_network
from lensing_sr.simulation import ReferenceSimulator
from lensing_sr.training import SimulatedBatches

NETWORK, SEED, TEXT, ARROW = "residual-cnn-model3", 27, "0.25", "0.45"

simulator = ReferenceSimulator(3, "cdm")
batches = SimulatedBatches(simulator, 1, seed=SEED)
observed = batches.batch(0)
optics = {"pixel_scale": observed.pixel_scale, "psf_fwhm": observed.psf_fwhm, "noise": observed.noise}
alpha, _ = average_symmetries(load_network(NETWORK), observed.image, **optics)

with torch.no_grad():
    step = Reconstruction(observed, alpha)
    images = {
        "observed": observed.image,
        "kappa": step.convergence,
        "source": step.source(2, "back-projected"),
        "sersic": step.sersic(2),
        "fine": step.relensed(2) * 4,
        "model": step.relensed(1),
        "residual": (observed.image - step.relensed(1)) / observed.noise,
    }
images = {name: image[0].numpy() for name, image in images.items()}

half_field = 0.5 * 64 * observed.pixel_scale
extent = (-half_field, half_field, -half_field, half_field)
noise = float(observed.noise.median())
light = {"cmap": "magma", "norm": AsinhNorm(3 * noise, vmin=-2 * noise, vmax=images["fine"].max())}
bright = {"cmap": "magma", "norm": AsinhNorm(3 * noise, vmin=-2 * noise, vmax=images["sersic"].max())}
mass = {"norm": LogNorm(0.1, 3), "cmap": "viridis"}
sigmas = {"vmin": -5, "vmax": 5, "cmap": "RdBu_r"}

SIZE, WIDTH, HEIGHT = 1.75, 10.2, 5.4
LEFT, STEP = 0.28, 2.64
fig = plt.figure(figsize=(WIDTH, HEIGHT))
TOP, BOTTOM = 3.36, 0.36


def place(column, row):
    """Lower left corner in inches of a panel."""
    return LEFT + STEP * column, (TOP, BOTTOM)[row]


def panel(column, row, name, title, below, field=half_field, **style):
    """One image with its name above and a formula below."""
    x, y = place(column, row)
    axes = fig.add_axes((x / WIDTH, y / HEIGHT, SIZE / WIDTH, SIZE / HEIGHT))
    axes.imshow(images[name], origin="lower", extent=extent, interpolation="nearest", **style)
    axes.set(xlim=(-field, field), ylim=(-field, field), xticks=[], yticks=[])
    axes.set_title(title, fontsize=9, color=TEXT)
    axes.set_xlabel(below, fontsize=9, color=TEXT)
    if name == "kappa":  # arrows fill it
        return axes
    length = 1.0 if field > 1.5 else 0.5
    color = "k" if style["cmap"] == "RdBu_r" else "w"
    axes.plot([-0.9 * field, -0.9 * field + length], 2 * [-0.86 * field], color=color, lw=1.6)
    axes.text(-0.9 * field + length / 2, -0.8 * field, f'{length:g}"', color=color, ha="center", fontsize=7)
    return axes


def arrow(start, end, text="", shift=(0.0, 0.1), bend=0.0, color=ARROW, **text_style):
    """An arrow between two points in inches."""
    start, end, shift = (np.asarray(point) for point in (start, end, shift))
    scale = np.array([WIDTH, HEIGHT])
    fig.add_artist(
        FancyArrowPatch(
            start / scale, end / scale, transform=fig.transFigure, arrowstyle="-|>", mutation_scale=13, lw=1.4,
            color=color, connectionstyle=f"arc3,rad={bend}",
        )
    )  # fmt: skip
    where = ((start + end) / 2 + shift) / scale
    fig.text(*where, text, **({"ha": "center", "va": "bottom", "fontsize": 8, "color": color} | text_style))


observed_axes = panel(0, 0, "observed", "low-resolution image", r"$d$", **light)
alpha_axes = panel(2, 0, "kappa", "deflection, 2x finer", r"$\alpha(\theta)$", **mass)
fine = np.linspace(0, 127, 10).round().astype(int)[1:-1]
grid = (fine - 63.5) * observed.pixel_scale / 2
vectors = [component[0].numpy()[np.ix_(fine, fine)] for component in alpha]
alpha_axes.quiver(grid, grid, *vectors, color="w", angles="xy", scale_units="xy", scale=2.2, width=0.011)
panel(3, 0, "source", "image, traced back", r"$\beta = \theta - \alpha(\theta)$", field=1.2, **bright)
panel(3, 1, "sersic", "Sersic source", r"$S(\beta)$", field=1.2, **bright)
panel(2, 1, "fine", "lensed again, 2x finer", r"$P\,S(\theta - \alpha)$", **light)
panel(1, 1, "model", "as the detector sees it", r"$B\,P\,S(\theta - \alpha)$", **light)
panel(0, 1, "residual", "what is left", r"$(d - B\,P\,S)\,/\,\sigma$", **sigmas)

# the network, between the image and the deflection
x, y = place(1, 0)
for k, (height, color) in enumerate(zip((1.0, 1.0, 1.0, 1.0, 1.35, 1.35), ("0.86",) * 4 + ("#cfe3f3",) * 2)):
    corner = (x + 0.28 + 0.21 * k, y + (SIZE - height) / 2)
    fig.add_artist(
        Rectangle(
            (corner[0] / WIDTH, corner[1] / HEIGHT), 0.15 / WIDTH, height / HEIGHT, transform=fig.transFigure,
            facecolor=color, edgecolor="0.5", lw=0.8,
        )
    )  # fmt: skip
fig.text((x + SIZE / 2) / WIDTH, (y + SIZE + 0.07) / HEIGHT, "network", ha="center", fontsize=9, color=TEXT)
fig.text((x + SIZE / 2) / WIDTH, (y - 0.2) / HEIGHT, "trunk and head", ha="center", fontsize=8, color=ARROW)

middle, gap = SIZE / 2, 0.06
top, bottom = TOP + middle, BOTTOM + middle
columns = [LEFT + STEP * k for k in range(4)]
arrow((columns[0] + SIZE + gap, top), (columns[1] + 0.24, top))
arrow((columns[1] + 1.5, top), (columns[2] - gap, top))
arrow((columns[2] + SIZE + gap, top), (columns[3] - gap, top), "trace\nrays back")
arrow((columns[3] + middle, TOP - 0.3), (columns[3] + middle, BOTTOM + SIZE + 0.27), "fit", (0.1, -0.05), ha="left")
arrow((columns[3] - gap, bottom), (columns[2] + SIZE + gap, bottom), "lens,\nblur")
arrow((columns[2] - gap, bottom), (columns[1] + SIZE + gap, bottom), "to detector\npixels")
arrow((columns[1] - gap, bottom), (columns[0] + SIZE + gap, bottom), "compare")
arrow((columns[0] + middle, TOP - 0.3), (columns[0] + middle, BOTTOM + SIZE + 0.27), "compare", (0.1, -0.05), ha="left")
arrow(
    (columns[0] + SIZE + 0.03, BOTTOM + SIZE + 0.03), (columns[1] + middle, TOP - 0.28),
    "loss,\nits gradient", (0.69, -0.23), 0.25, "tab:red", ha="left", va="bottom",
)  # fmt: skip
