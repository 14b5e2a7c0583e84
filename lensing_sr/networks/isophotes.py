# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""A galaxy out of the way: views less the profile that is the same along ellipses.

A bright lens galaxy hides its arcs.  In each view the ellipse of the light in the middle is measured by its second
moments; the light as a function of the elliptical radius, piecewise linear in asinh of the significance, follows from
means over the ellipses that give little weight to what shines more than the rest, as arcs do; and it is taken off.
"""

import torch

__all__ = ["without_isophotes"]

#: Width in pixels of the Gaussian window in which moments are taken, steps to find them, flattest ellipse.
WINDOW, STEPS, FLATTEST = 8.0, 6, 0.3
#: Nodes of the profile, how much closer they lie in the middle, and rounds in which weights settle.
NODES, POWER, ROUNDS = 20, 1.5, 3
#: Excess in units of the scatter along an ellipse at which a pixel counts half.
HALF = 2.0
#: Times the profile, first of circles, at which light is cut off before its ellipse is measured.
CUTS = (3.0, 1.3)


def without_isophotes(significance, seen):
    """What is left of views when the galaxy in the middle is taken off.

    Parameters
    ----------
    significance, seen : torch.Tensor
        As in `~lensing_sr.networks.views.Views`, ``(..., side, side)``.

    Returns
    -------
    torch.Tensor
        In units of the noise, 0 where masked, shaped alike.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks.isophotes import without_isophotes
    >>> axis = torch.arange(64) - 31.5
    >>> radius = torch.hypot(axis / 0.7, axis[:, None])
    >>> galaxy = 400.0 * torch.exp(-((radius / 2.0) ** 0.5))[None]
    >>> left = without_isophotes(galaxy, torch.ones_like(galaxy))
    >>> bool(left[0, 40:].abs().max() < 1.0)
    True
    """
    shape = significance.shape
    light, seen = significance.flatten(0, -3), seen.flatten(0, -3).to(significance)
    flat, good = light.flatten(1), seen.flatten(1)
    radius = _elliptical_radius(None, light)
    for cut in (*CUTS, None):
        place = (radius.flatten(1) / shape[-1]).clamp_max(0.999) ** (1.0 / POWER) * (NODES - 1)
        below = place.long().clamp_max(NODES - 2)
        nodes = below, place - below
        galaxy, weight = _galaxy(torch.asinh(flat), good, nodes, 1 if cut else ROUNDS)
        if not cut:
            break
        # the ellipse of the galaxy alone: what is masked filled in, what outshines the profile cut off
        calm = torch.where(good > 0, torch.minimum(flat, cut * galaxy.clamp_min(0.0) + HALF), galaxy)
        radius = _elliptical_radius(calm.clamp_min(0.0).view_as(light), light)
    left = flat - galaxy
    # what the straight pieces of the profile are off by
    left = left - _along(_profile(left, weight, *nodes), *nodes)
    return (left * good).view(shape)


def _galaxy(stretched, good, nodes, rounds):
    """Light along the ellipses, by asinh of the significance, and the weight that it gave to each pixel."""
    weight = good
    for _ in range(rounds):
        profile = _profile(stretched, weight, *nodes)
        excess = stretched - _along(profile, *nodes)
        # scatter along the ellipses, of what lies below the profile, where no arcs are
        scatter = _profile(excess.square(), good * (excess < 0), *nodes).clamp_min(1e-8).sqrt()
        weight = good / (1.0 + (excess / (HALF * _along(scatter, *nodes))).clamp_min(0.0).square())
    return torch.sinh(_along(profile, *nodes)), weight


def _elliptical_radius(light, like):
    """Radius in pixels, of the circle of the same area, ``(n, side, side)``, about the light in the middle."""
    side = like.shape[-1]
    axis = torch.arange(side, device=like.device, dtype=like.dtype) - 0.5 * (side - 1)
    x, y = axis.expand(side, side), axis[:, None].expand(side, side)
    n = len(like)
    if light is None:
        return torch.hypot(x, y).expand(n, -1, -1)
    centre = light.new_zeros(n, 2)
    xx, yy, xy = light.new_ones(n), light.new_ones(n), light.new_zeros(n)  # the ellipse, of determinant 1
    for _ in range(STEPS):
        dx, dy = x - centre[:, :1, None], y - centre[:, 1:, None]
        square = (yy[:, None, None] * dx**2 - 2 * xy[:, None, None] * dx * dy + xx[:, None, None] * dy**2) / WINDOW**2
        weighted = light * torch.exp(-0.5 * square)
        total = weighted.sum(dim=(1, 2)).clamp_min(1e-6)
        shift = torch.stack([(weighted * dx).sum(dim=(1, 2)), (weighted * dy).sum(dim=(1, 2))], dim=1) / total[:, None]
        # of a window on a Gaussian, 1 / measured = 1 / window + 1 / true
        measured = torch.stack([(weighted * a * b).sum(dim=(1, 2)) / total for a, b in ((dx, dx), (dx, dy), (dy, dy))])
        a, b, c = measured / WINDOW**2
        det = (a * c - b**2).clamp_min(1e-6)
        p, q, r = c / det - yy, -b / det + xy, a / det - xx  # inverse of the true ellipse
        xx, xy, yy = _normalised(r, -q, p)
        centre = (centre + shift).clamp(-3.0, 3.0)
    dx, dy = x - centre[:, :1, None], y - centre[:, 1:, None]
    square = yy[:, None, None] * dx**2 - 2 * xy[:, None, None] * dx * dy + xx[:, None, None] * dy**2
    return square.clamp_min(0.0).sqrt()


def _normalised(xx, xy, yy):
    """The ellipse of determinant 1 along the same axes, not flatter than `FLATTEST`; a circle of what is none."""
    mean, half = 0.5 * (xx + yy), torch.hypot(0.5 * (xx - yy), xy)
    ratio = ((mean - half) / (mean + half).clamp_min(1e-9)).clamp(FLATTEST**2, 1.0).sqrt()  # minor over major axis
    turn = 0.5 * torch.atan2(2.0 * xy, xx - yy)
    sound = (mean > 0) & ratio.isfinite()
    ratio = torch.where(sound, ratio, torch.ones_like(ratio))
    long, short, cos, sin = 1.0 / ratio, ratio, turn.cos(), turn.sin()
    return long * cos**2 + short * sin**2, (long - short) * cos * sin, long * sin**2 + short * cos**2


def _profile(values, weight, below, upper):
    """Weighted means of values about each node, ``(n, NODES)``; twice, the second time of what the first leaves."""
    total = values.new_zeros(len(values), NODES)
    share = _spread(weight, below, upper, total).clamp_min(1e-6)
    profile = _spread(weight * values, below, upper, total) / share
    for _ in range(2):
        profile = profile + _spread(weight * (values - _along(profile, below, upper)), below, upper, total) / share
    return profile


def _spread(values, below, upper, like):
    """Sums of values about each node, the hat functions as weights."""
    sums = torch.zeros_like(like).scatter_add(1, below, values * (1.0 - upper))
    return sums.scatter_add(1, below + 1, values * upper)


def _along(profile, below, upper):
    """A profile at every pixel."""
    return profile.gather(1, below) * (1.0 - upper) + profile.gather(1, below + 1) * upper
