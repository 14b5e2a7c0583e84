# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Rays from the bright pixels of a lensed source must meet again in the source plane."""

import math
from dataclasses import dataclass

from lensing_sr.errors import InputError
from lensing_sr.losses.term import Term

__all__ = ["Compactness"]

#: Share of the arcs' own spread below which a source is not asked to shrink further.
SMALLEST = 1e-4


@dataclass(frozen=True)
class Compactness(Term):
    r"""Logarithm of the source's spread over that of its images, both weighted by the significance of the light.

    .. math:: L = \left\langle \tfrac12 \ln \frac{\sum_i w_i |\beta_i - \bar\beta|^2}
                                       {\sum_i w_i |\theta_i - \bar\theta|^2} \right\rangle, \qquad
              w_i = (d_i/\sigma_i)^2 \ \text{where}\ d_i > t\,\sigma_i, \quad \beta = \theta - \alpha

    0 without a lens, negative where the deflection brings the images together.  It needs no model of the source, and
    unlike the likelihood it points towards the right Einstein radius from far away.

    Parameters
    ----------
    threshold : float
        t, signal-to-noise ratio of a pixel that counts.

    Raises
    ------
    lensing_sr.errors.InputError
        If the threshold is not positive and finite.

    Notes
    -----
    A sheet of mass that focuses everything onto one point would be best of all: let the weight decay, and keep the
    likelihood beside it.  Images without a significant pixel do not count.

    References
    ----------
    The spread of the images in the source plane, as in the fits of quasar lenses: Kayser and Schramm 1988, A&A 191, 39.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses import Compactness, Deflection, Observed, Reconstruction
    >>> observed = Observed(torch.rand(1, 16, 16), torch.full((1, 16, 16), 0.1), pixel_scale=0.1)
    >>> nothing = torch.zeros(1, 32, 32)
    >>> abs(round(float(Compactness()(Reconstruction(observed, Deflection(nothing, nothing)))), 5))
    0.0
    """

    threshold: float = 3.0

    def __post_init__(self):
        if not 0.0 < self.threshold < math.inf:
            raise InputError("threshold", "must be positive and finite", self.threshold)

    def __call__(self, reconstruction):
        significance = reconstruction.flux * reconstruction.weight
        weight = (significance * (significance > self.threshold)).square()
        total = weight.sum((1, 2))
        seen = (total > 0.0).to(total)
        weight = weight / total.clamp_min(1e-30)[:, None, None]
        theta, alpha = reconstruction.positions(1), reconstruction.alpha(1)

        def spread(x, y):
            x0, y0 = ((weight * c).sum((1, 2), keepdim=True) for c in (x, y))
            return (weight * ((x - x0) ** 2 + (y - y0) ** 2)).sum((1, 2))

        images = spread(*theta) + (1.0 - seen)  # an image without light has no spread; its ratio is not used
        source = spread(*(t - a for t, a in zip(theta, alpha, strict=True)))
        ratio = 0.5 * (source / images + SMALLEST**2).log()
        return (seen * ratio).sum() / seen.sum().clamp_min(1.0)
