# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The source that an image leaves to be found: the package's own inversion behind the true lens.

What a reconstruction misses is the lens's fault or the image's.  Here the deflection is the true one, and its Sersic
begins as the true source's; everything else is as in `lensing_sr.fit.refinement`: prior by the evidence, PSF and noise
as the observer has them.
"""

import math
from dataclasses import dataclass

import astropy.units as u
import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline

from lensing_sr._stack import stack
from lensing_sr.fit.joint import Problem
from lensing_sr.fit.refinement import FINEST
from lensing_sr.fit.source_inversion import choose_prior, invert, source_region
from lensing_sr.forward.model import deflection
from lensing_sr.forward.scene import Scene
from lensing_sr.image.prepare import prepare

__all__ = ["true_lens_source"]

#: Precision of parameters that are not in question.
KNOWN = 1e8


@dataclass(frozen=True, eq=False)
class _TrueLens(Scene):
    """A scene whose rays are bent by a deflection that is given."""

    alpha: object = None

    def correction(self, x, y):
        smooth = deflection(self.p[None].to(x), x, y)
        return tuple(true - own[0] for true, own in zip(self.alpha(x, y), smooth, strict=True))


@dataclass(frozen=True)
class _Found:
    """Brightness of a scene's source, as `lensing_sr.PixelSource` gives it."""

    scene: Scene

    def evaluate(self, x, y):
        positions = (torch.as_tensor(c.to_value(u.arcsec)) for c in (x, y))
        return u.Quantity(self.scene.source(*positions).numpy())


def true_lens_source(lens):
    """Source of a simulated lens, found behind its true deflection.

    Parameters
    ----------
    lens : benchmarks.lumpy_lenses.LumpyLens
        Without lens light.

    Returns
    -------
    object
        With ``evaluate``, for `benchmarks.source_scores.source_scores`.
    """
    batch = stack([lens.image], [prepare(lens.image, lens_light=False)], device=torch.device("cpu"))
    field = batch.field
    warmth = 1.0 + 2.0 * batch.correlation.clamp(0.0, 1.0)  # as the refinement has it
    problem = Problem(field.data[0], field.weight[0] / warmth, field.formation(2), None)
    values = lens.values
    start = [math.log(values["theta_E"]), 0, 0, 0, 0, 0, 0, values["x_source"], values["y_source"]]
    start += [math.log(values["r_eff"]), math.log(values["n"]), 0, 0]
    p = torch.tensor(start, dtype=torch.float64)
    scene = _TrueLens(
        p, torch.ones(2, dtype=torch.float64), p.new_zeros(0, 3), alpha=_interpolated(lens.alpha, lens.image.grid)
    )
    scene = invert(problem, scene).scene
    region = source_region(problem, scene, field.pixel)
    held = torch.diag(torch.full_like(p, KNOWN))
    prior, _ = choose_prior(problem, scene, held, torch.zeros_like(p), region)
    return _Found(invert(problem, scene, prior.on(prior.grid.with_size(FINEST), scene)).scene)


def _interpolated(alpha, grid):
    """Deflection at any position of two maps on the grid of twice as many pixels a side; constant beyond them."""
    x, y = grid.upsampled(2).coordinates()
    x, y = x[0], y[:, 0]
    splines = [RectBivariateSpline(y, x, np.asarray(part)) for part in alpha]

    def at(to_x, to_y):
        clipped = to_y.double().numpy().clip(y[0], y[-1]), to_x.double().numpy().clip(x[0], x[-1])
        found = (spline(*(c.ravel() for c in clipped), grid=False) for spline in splines)
        return tuple(torch.as_tensor(part.reshape(to_x.shape)).to(to_x) for part in found)

    return at
