# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The Sersic profile that comes closest to a source with structure."""

import torch

from lensing_sr.forward.model import LENS, SOURCE, source_jacobian
from lensing_sr.solvers.levenberg import levenberg_marquardt

__all__ = ["nearest_sersic"]

FIRST, LAST = len(LENS), len(LENS) + len(SOURCE)


def nearest_sersic(scene, lower, upper):
    """Least-squares Sersic profile of a scene's source, over the source plane of its grid.

    Parameters
    ----------
    scene : lensing_sr.forward.scene.Scene
        With structure.
    lower, upper : torch.Tensor
        Bounds of the scene's smooth parameters, ``(n,)``.

    Returns
    -------
    p : torch.Tensor
        The scene's parameters with those of the profile, ``(n,)``.
    amplitude : float
        Of the profile, flux per arcsec^2 at r_eff.
    """
    x, y = scene.grid.nodes(device=scene.p.device)
    root = scene.grid.areas(device=scene.p.device).sqrt()
    brightness = scene.source(x, y)
    scale = float((brightness * root).square().sum().sqrt())
    if not scale > 0:
        return scene.p, float(scene.amplitudes[0])
    target = (brightness * root / scale).flatten()

    def profile(source):
        p = torch.cat([scene.p[None, :FIRST].expand(len(source), -1), source], dim=1)
        light, _, _, derivatives = source_jacobian(p, x, y)
        rows = torch.stack([light, *(d.expand_as(light) for d in derivatives)], dim=1) * root
        return rows.flatten(2)

    def best(rows):
        return (rows[:, 0] @ target) / rows[:, 0].square().sum(dim=1).clamp_min(1e-300)

    def evaluate(source, index):
        rows = profile(source)
        amplitude = best(rows)
        left = target - amplitude[:, None] * rows[:, 0]
        unit = rows[:, 0] / rows[:, 0].norm(dim=1, keepdim=True).clamp_min(1e-300)
        slopes = rows[:, 1:] * amplitude[:, None, None]
        slopes = slopes - (slopes @ unit[:, :, None]) * unit[:, None]  # the amplitude follows
        gradient = -(slopes @ left[:, :, None])[:, :, 0]
        return left.square().sum(dim=1), gradient, slopes @ slopes.transpose(1, 2)

    found = levenberg_marquardt(
        evaluate, scene.p[None, FIRST:LAST], lower[None, FIRST:LAST], upper[None, FIRST:LAST], tolerance=1e-6
    ).parameters
    p = scene.p.clone()
    p[FIRST:LAST] = found[0]
    return p, float(best(profile(found))[0]) * scale
