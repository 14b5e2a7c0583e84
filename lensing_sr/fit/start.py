# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Where to start: a scan of Einstein radii and source positions, scored exactly without fitting anything.

Each template is a lensed round source.  With the lens light and sky solved beforehand (residual :math:`\rho`, active
columns A), adding the template s with its best amplitude lowers chi-square by

.. math:: \frac{(s \cdot \rho)^2}{|s|^2 - s A^T (A A^T)^{-1} A s},

so that whatever the lens light could explain as well earns nothing.
"""

import math

import torch

from lensing_sr.forward.model import LENS
from lensing_sr.lensing.mass import sie_deflection

__all__ = ["lensing_templates", "scan", "trial_shapes", "unlensed_templates"]

#: Source offsets in units of the Einstein radius, each with its number of directions.
RINGS = ((0.03, 1), (0.12, 6), (0.3, 8), (0.5, 12), (0.75, 12))
#: Half-light radii in units of the Einstein radius.
SIZES = (0.06, 0.2)
#: Starts of one Einstein radius at most: the likeliest radii must not crowd out the right one.
ALIKE = 2
#: Mass ellipticities that are tried besides the expected one: round, and this much in four directions.
SHAPE = 0.2
#: Ratio of neighbouring Einstein radii: adjacent rings still overlap.
STEP = 1.15

#: b_n of an exponential profile.
B_1 = 1.6783469900166605

_CHUNK = 2_000_000


def lensing_templates(smallest, largest, pixel):
    """Templates about a lens at (0, 0).

    Parameters
    ----------
    smallest, largest : float
        Range of Einstein radii in arcsec.
    pixel : float
        Pixel size in arcsec: sources are not made smaller than half of it.

    Returns
    -------
    torch.Tensor
        ``(templates, 4)``: theta_E, x and y of the source, r_eff, all in arcsec.
    """
    count = max(2, 1 + math.ceil(math.log(largest / smallest) / math.log(STEP)))
    rows = []
    for theta_E in torch.logspace(math.log10(smallest), math.log10(largest), count, dtype=torch.float64).tolist():
        for ring, (offset, directions) in enumerate(RINGS):
            for k in range(directions):
                angle = 2.0 * math.pi * (k + 0.5 * (ring % 2)) / directions
                x, y = offset * theta_E * math.cos(angle), offset * theta_E * math.sin(angle)
                rows += [(theta_E, x, y, max(size * theta_E, 0.5 * pixel)) for size in SIZES]
    return torch.tensor(rows, dtype=torch.float64)


def unlensed_templates(half_width, pixel):
    """Templates of sources that are not lensed, all over a field of `half_width` arcsec; as `lensing_templates`."""
    step = max(half_width / 12.0, 2.0 * pixel)
    rows = []
    # small ones two pixels apart; wide ones still overlap at twice the distance
    for size, apart in ((1.0 * pixel, step), (4.0 * pixel, 2.0 * step), (0.15 * half_width, 2.0 * step)):
        ticks = torch.arange(-half_width, half_width + apart, apart, dtype=torch.float64).tolist()
        rows += [(1e-6, x, y, size) for x in ticks for y in ticks]
    return torch.tensor(rows, dtype=torch.float64)


def trial_shapes(expected):
    """Mass ellipticities to try, ``(images, 6, 2)``: the expected one, round, and four directions."""
    others = torch.tensor(
        [(0.0, 0.0), (SHAPE, 0.0), (-SHAPE, 0.0), (0.0, SHAPE), (0.0, -SHAPE)], dtype=expected.dtype
    ).to(expected.device)
    return torch.cat([expected[:, None], others.expand(len(expected), -1, -1)], dim=1)


def scan(objective, p, templates, shapes, keep, limits=None):
    """Score templates on every image and keep the best that differ.

    Parameters
    ----------
    objective : Objective
        The images; its columns at `p` other than the source are projected out.
    p : torch.Tensor
        Parameters ``(images, n)`` that carry the lens centre and light shape to use.
    templates : torch.Tensor
        From `lensing_templates` or `unlensed_templates`.
    shapes : torch.Tensor
        Mass ellipticities to try with each template, ``(images, k, 2)``.
    keep : int
        How many an image.
    limits : (torch.Tensor, torch.Tensor), optional
        Smallest and largest Einstein radius of each image, ``(images,)``.

    Returns
    -------
    starts : torch.Tensor
        Parameters ``(images, keep, n)``, best first.
    gains : torch.Tensor
        By how much each lowers chi-square, ``(images, keep)``.
    """
    images = torch.arange(len(p), device=p.device)
    null = objective.linear_state(p, images)
    templates = templates.to(p)
    by_shape = []
    for k in range(shapes.shape[1]):
        rows = p.clone()
        rows[:, 1:3] = shapes[:, k]
        by_shape.append(torch.empty(len(p), len(templates), dtype=objective.weight.dtype, device=p.device))
        # one set of lensed templates serves all images whose lenses look alike
        _, which = torch.unique(rows[:, : len(LENS)], dim=0, return_inverse=True)
        which = which if objective.one_kernel else images
        for group in (images[which == number] for number in which.unique()):
            by_shape[-1][group] = _gains(objective, null, rows, templates, group)
    gains, best_shape = torch.stack(by_shape).max(dim=0)
    if limits is not None:
        theta_E = templates[:, 0]
        outside = (theta_E < limits[0][:, None]) | (theta_E > limits[1][:, None])
        gains = gains.masked_fill(outside, 0.0)
    starts, best = [], []
    for image in range(len(p)):
        chosen = _distinct(gains[image], templates, keep)
        rows = _with_templates(p[image], templates[chosen])
        rows[:, 1:3] = shapes[image, best_shape[image, chosen]]
        starts.append(rows)
        best.append(gains[image][chosen])
    return torch.stack(starts), torch.stack(best)


def _with_templates(p, templates):
    """Parameters ``(templates, n)``: those of `p` with the Einstein radius and source of each template."""
    rows = p.repeat(len(templates), 1)
    rows[:, 0] = templates[:, 0].log()
    rows[:, 7:9] = rows[:, 3:5] + templates[:, 1:3]
    rows[:, 9] = templates[:, 3].log()
    return rows


def _gains(objective, null, p, templates, group):
    """Gain of each template on the images of a group that share their lens: ``(len(group), templates)``."""
    lens = p[group[0]]
    rows = _with_templates(lens, templates)
    x, y = objective.formation.positions
    # deflections grow in proportion to theta_E: one evaluation serves all templates
    unit = sie_deflection(x, y, torch.ones_like(lens[0]).to(x), *lens[1:5].to(x))
    formation = objective.formation.select(group[:1])
    weight = objective.weight[group].flatten(1)
    residual = null.left[group].to(weight) * weight
    columns = null.weighted[group] * null.passive[group][:, :, None]
    inverse = torch.linalg.inv(null.active_gram(group)).to(weight)
    reach = (columns.to(weight) * weight[:, None]).transpose(1, 2)  # (images, pixels, columns)
    gains = []
    for part in rows.split(max(1, _CHUNK // x.numel())):
        light = formation.observe(_template_light(part.to(weight), unit, x, y)).flatten(1)
        overlap = residual @ light.T
        inside = torch.einsum("tn,bnl->btl", light, reach)
        norm = weight**2 @ (light**2).T - torch.einsum("btl,blm,btm->bt", inside, inverse, inside)
        usable = (overlap > 0) & (norm > 1e-3 * (weight**2 @ (light**2).T)) & (norm > 0)
        gains.append(torch.where(usable, overlap**2 / norm.clamp_min(1e-30), torch.zeros_like(norm)))
    return torch.cat(gains, dim=1)


def _template_light(rows, unit, x, y):
    """Round exponential sources seen through a lens whose deflection for theta_E = 1" is `unit`; 1 at r_eff."""
    theta_E, x_source, y_source, r_eff = (
        c[:, None, None] for c in (rows[:, 0].exp(), rows[:, 7], rows[:, 8], rows[:, 9].exp())
    )
    d_x, d_y = x - theta_E * unit[0] - x_source, y - theta_E * unit[1] - y_source
    ratio = (d_x * d_x + d_y * d_y).sqrt() / r_eff
    return torch.exp(-B_1 * (ratio - 1.0))


def _distinct(gain, templates, keep):
    """Indices of the best templates that differ in source position, a few of each Einstein radius; the best fill up."""
    order = gain.argsort(descending=True).tolist()
    theta_E, x, y = (column.tolist() for column in templates[:, :3].T)
    chosen = []
    for i in order:
        alike = [j for j in chosen if abs(theta_E[i] - theta_E[j]) < 1e-6]
        apart = 0.3 * max(theta_E[i], 0.3)
        if len(alike) < max(ALIKE, keep // 12) and all(math.hypot(x[i] - x[j], y[i] - y[j]) > apart for j in alike):
            chosen.append(i)
            if len(chosen) == keep:
                break
    return (chosen + [i for i in order[: 2 * keep] if i not in chosen])[:keep]
