# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Picture of the conventions: pixels, arcseconds and the sky; coarse and fine pixels; angles and ellipses."""

import matplotlib.pyplot as plt
import numpy as np
from astropy.wcs import WCS

from lensing_sr import PixelGrid

COARSE, FINE, AXIS = "0.35", "tab:orange", "tab:blue"

wcs = WCS(naxis=2)
wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
wcs.wcs.crval = 150.0, 2.0
wcs.wcs.crpix = 3.0, 2.5
roll = np.deg2rad(25)
# A usual image: East to the left when North is up, here rolled by 25 degrees; pixels of 0.1 arcsec.
wcs.wcs.cd = 0.1 / 3600 * np.array([[-np.cos(roll), np.sin(roll)], [np.sin(roll), np.cos(roll)]])
grid = PixelGrid((4, 5), wcs=wcs)
fine = grid.upsampled(2)


def outline(ax, grid, color, width):
    """Draw the edges of all pixels of a grid, in arcsec."""
    ny, nx = grid.shape
    for column in np.arange(nx + 1) - 0.5:
        x, y = grid.to_arcsec(np.array([column, column]), np.array([-0.5, ny - 0.5]))
        ax.plot(x.value, y.value, color=color, lw=width, zorder=1)
    for row in np.arange(ny + 1) - 0.5:
        x, y = grid.to_arcsec(np.array([-0.5, nx - 0.5]), np.array([row, row]))
        ax.plot(x.value, y.value, color=color, lw=width, zorder=1)


def arrow(ax, start, step, text, color):
    """Draw an arrow with its name at its head."""
    ax.annotate("", np.add(start, step), start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.5}, zorder=4)
    label = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"}
    place = np.add(start, 1.2 * np.asarray(step))
    ax.text(*place, text, color=color, ha="center", va="center", zorder=3, bbox=label)


fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")

outline(left, fine, FINE, 0.6)
outline(left, grid, COARSE, 1.6)
x, y = grid.coordinates()
left.plot(x.ravel(), y.ravel(), "o", color=COARSE, ms=4)
for row, column in ((0, 0), (0, 1), (1, 0), (3, 4)):
    label = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"}
    place = x[row, column], y[row, column] - 0.016
    left.text(*place, f"[{row}, {column}]", color=COARSE, ha="center", va="top", fontsize=7, bbox=label)
x, y = fine.coordinates()
left.plot(x.ravel(), y.ravel(), ".", color=FINE, ms=3)
left.plot(0, 0, "+", color=AXIS, ms=12, mew=2)
arrow(left, (0, 0), (0.13, 0), "x", AXIS)
arrow(left, (0, 0), (0, 0.13), "y", AXIS)
centre = (0.42, 0.0)
for name, direction in (("E", grid.orientation.T @ [1, 0]), ("N", grid.orientation.T @ [0, 1])):
    arrow(left, centre, 0.11 * direction, name, "tab:red")
left.set(xlim=(-0.34, 0.55), ylim=(-0.27, 0.27), xlabel="x [arcsec]", ylabel="y [arcsec]", aspect="equal")
left.set_title("4 x 5 pixels of 0.1 arcsec, and the grid at scale 2", fontsize=9)

q, phi = 0.6, np.deg2rad(35)
angle = np.linspace(0, 2 * np.pi, 400)
rotate = np.array([[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]])
a, b = 1 / np.sqrt(q), np.sqrt(q)
right.plot(*(rotate @ [a * np.cos(angle), b * np.sin(angle)]), color="k", lw=1.8)
right.plot(np.cos(angle), np.sin(angle), ":", color="0.5", lw=1)
axes = (
    (rotate @ [a, 0], r"$a=\theta_{\rm E}/\sqrt{q}$", "left", (0.08, 0)),
    (rotate @ [0, b], r"$b=\theta_{\rm E}\sqrt{q}$", "right", (-0.08, 0.2)),
)
for vector, name, side, shift in axes:
    right.plot([0, vector[0]], [0, vector[1]], color=FINE, lw=1.5)
    right.text(*(vector + shift), name, color=FINE, ha=side, va="center")
arrow(right, (0, 0), (1.55, 0), "x", AXIS)
arrow(right, (0, 0), (0, 1.55), "y", AXIS)
arc = np.linspace(0, phi, 50)
right.plot(0.5 * np.cos(arc), 0.5 * np.sin(arc), color="k", lw=1)
right.text(0.62 * np.cos(phi / 2), 0.62 * np.sin(phi / 2), r"$\phi$", ha="center", va="center")
right.text(0.0, -1.14, r"radius $\theta_{\rm E}=\sqrt{ab}$", color="0.4", ha="center")
right.set(xlim=(-1.7, 1.95), ylim=(-1.4, 2.05), xticks=[], yticks=[], aspect="equal")
e1, e2 = (1 - q) / (1 + q) * np.array([np.cos(2 * phi), np.sin(2 * phi)])
right.set_title(rf"$q={q}$, $\phi=35^\circ$: $e_1={e1:.3f}$, $e_2={e2:.3f}$", fontsize=9)
