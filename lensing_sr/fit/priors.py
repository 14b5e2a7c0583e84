# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What is known of lenses before looking: priors and bounds of every parameter, and where each figure comes from.

The widths are those of the lens population (Collett 2015, ApJ 811, 20; Bolton et al. 2008, ApJ 682, 964), not of any
image that the package is scored on.  They keep the source and the lens galaxy from swapping roles and decide only what
the data leave open.
"""

import math

import torch

from lensing_sr.forward.model import LENS, LIGHT, SOURCE, names

__all__ = ["Priors", "lens_priors"]

#: Scatter of the mass ellipticity's components about the light's; mass follows light, slightly rounder.
ELLIPTICITY, ELLIPTICITY_OF_LIGHT = 0.12, 0.7
#: Without lens light: 1 - q is about Rayleigh(0.25), so |e| about Rayleigh(0.14).
ELLIPTICITY_ALONE = 0.14
#: Slope of the mass density: mean, scatter and range.
SLOPES = (2.0, 0.15, 1.5, 2.5)
#: Each component of the external shear.
SHEAR = 0.05
#: Sources: half-light radius about 0.12" (0.8 in its logarithm), index about that of a disc, any ellipticity.
R_EFF, LOG_R_EFF = 0.12, 0.8
N, LOG_N = 1.2, 0.5
SOURCE_ELLIPTICITY = 0.2
#: Source offset from the lens in units of the Einstein radius (percentiles .09/.39/.78), a component.
OFFSET = 0.4
#: Largest half-light radius in units of the largest Einstein radius of the field, and in arcsec (95 % are below 0.44").
LARGEST_SOURCE, LARGEST_R_EFF = 0.5, 0.5


class Priors:
    """Gaussian priors and bounds of the parameters, one row an image, float64.

    Attributes
    ----------
    mean, width, lower, upper : torch.Tensor
        Shape ``(images, n)``, ordered as `LENS` + `SOURCE` (+ `LIGHT`); an infinite width is no prior.
    """

    def __init__(self, mean, width, lower, upper):
        self.mean, self.width, self.lower, self.upper = mean, width, lower, upper

    def select(self, index):
        """Return the priors of some images."""
        return Priors(self.mean[index], self.width[index], self.lower[index], self.upper[index])

    def with_slope(self):
        """Return these priors with the slope of the lens as one more parameter."""
        row = torch.tensor(SLOPES, dtype=self.mean.dtype, device=self.mean.device).expand(len(self.mean), 4)
        parts = self.mean, self.width, self.lower, self.upper
        return Priors(*(torch.cat([part, row[:, k : k + 1]], dim=1) for k, part in enumerate(parts)))

    def holding_slope(self, which):
        """Return these priors with the slope held at its mean in some images, boolean ``(images,)``."""
        lower, upper = self.lower.clone(), self.upper.clone()
        for bound in (lower, upper):
            bound[:, -1] = torch.where(which, self.mean[:, -1], bound[:, -1])
        return Priors(self.mean, self.width, lower, upper)

    def frozen(self, parameters, held):
        """Return these priors with some parameters, by name, held at their values in `parameters`."""
        order = names(self.lower.shape[1])
        lower, upper = self.lower.clone(), self.upper.clone()
        for name in held:
            j = order.index(name)
            lower[:, j] = upper[:, j] = parameters[:, j]
        return Priors(self.mean, self.width, lower, upper)


def lens_priors(centre, *, smallest, largest, pixel, light_shape=None, centre_width=0.05, lens_light=True):
    """Priors for images whose lens galaxies are roughly known.

    Parameters
    ----------
    centre : torch.Tensor
        Lens centres in arcsec, ``(images, 2)``.
    smallest, largest : torch.Tensor
        Range of Einstein radii in arcsec, ``(images,)``.
    pixel : float
        Pixel size in arcsec.
    light_shape : torch.Tensor, optional
        Ellipticity of the lens light, ``(images, 2)``.
    centre_width : float
        Scatter of the mass centre about `centre` in arcsec.
    lens_light : bool
        Whether the `LIGHT` parameters are there.

    Returns
    -------
    Priors
    """
    images = len(centre)
    order = LENS + SOURCE + (LIGHT if lens_light else ())
    infinite = math.inf
    largest_r = (LARGEST_SOURCE * largest).clamp(0.5 * pixel, LARGEST_R_EFF)
    reach = float(largest.max())
    # name: (mean, width, lower, upper)
    table = {
        "log_theta_E": (0.0, infinite, 0.0, 0.0),
        "gamma1": (0.0, SHEAR, -0.3, 0.3),
        "gamma2": (0.0, SHEAR, -0.3, 0.3),
        "log_r_eff": (math.log(R_EFF), LOG_R_EFF, math.log(0.15 * pixel), 0.0),
        "log_n": (math.log(N), LOG_N, math.log(0.4), math.log(5.0)),
    }
    for name in ("e1", "e2"):
        table[name] = (0.0, ELLIPTICITY_ALONE, -0.5, 0.5)
        table[name + "_source"] = (0.0, SOURCE_ELLIPTICITY, -0.6, 0.6)
        table[name + "_inner"] = table[name + "_outer"] = (0.0, 0.25, -0.6, 0.6)
    for name in ("x", "y"):
        table[name + "_lens"] = (0.0, centre_width, -6.0 * centre_width, 6.0 * centre_width)
        table[name + "_source"] = (0.0, infinite, -reach, reach)
        table[name + "_light"] = (0.0, 2.0 * pixel, -0.3, 0.3)
    rows = torch.tensor([table[name] for name in order], dtype=torch.float64, device=centre.device)
    mean, width, lower, upper = (column.expand(images, -1).clone() for column in rows.T)
    for name in order:
        if name.startswith(("x_", "y_")):
            shift = centre[:, 0 if name[0] == "x" else 1]
            j = order.index(name)
            mean[:, j] += shift
            lower[:, j] += shift
            upper[:, j] += shift
    lower[:, 0], upper[:, 0] = smallest.log(), largest.log()
    upper[:, order.index("log_r_eff")] = largest_r.log()
    for name in ("x_source", "y_source"):
        width[:, order.index(name)] = OFFSET * (smallest * largest).sqrt()
    if light_shape is not None:
        for axis, name in enumerate(("e1", "e2")):
            j = order.index(name)
            mean[:, j] = ELLIPTICITY_OF_LIGHT * light_shape[:, axis]
            width[:, j] = ELLIPTICITY
    return Priors(mean, width, lower, upper)
