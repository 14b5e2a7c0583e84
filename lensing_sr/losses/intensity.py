# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lensing conserves surface brightness: what comes from one place in the source is equally bright in the image."""

from dataclasses import dataclass

from lensing_sr.losses.source_plane import gather
from lensing_sr.losses.term import Term
from lensing_sr.utils._checks import check_choice

__all__ = ["IntensityConservation"]


@dataclass(frozen=True)
class IntensityConservation(Term):
    r"""Mean squared difference of the image and the source at the position from which each pixel's light came.

    .. math:: I(\theta) = S(\beta(\theta)), \qquad
              L = \left\langle \left[\frac{I(\theta) - S(\beta(\theta))}{\sigma}\right]^2 \right\rangle
              \Big/ \left(1 - \langle h\rangle\right)^2

    With ``source="pixels"`` no profile is assumed: S is the mean of all pixels that arrive in a cell of the source
    plane, so that multiple images must agree with one another.  A pixel agrees with itself for nothing, and a
    deflection that gives every pixel a cell of its own would cost nothing at all: h, the share of each pixel in its
    own prediction, corrects for that (generalised cross-validation).

    Parameters
    ----------
    source : {"pixels", "sersic"}
        The mean of what arrives, or the fitted Sersic (then h = 0).
    scale : float
        "pixels": cells of the source plane a detector pixel and axis.

    Raises
    ------
    lensing_sr.errors.InputError
        If the source is none of these.

    Notes
    -----
    In units of the noise; 1 at the truth but for what cells and blurring smear out, which shows where the signal is
    high: strictly the law holds before the point-spread function.  Without any deflection only neighbours are compared,
    and the loss is low too: use it beside others, near the truth.  `Likelihood` is the honest form where the source is
    a Sersic; this one assumes no profile.

    References
    ----------
    Golub, Heath & Wahba 1979, Technometrics 21, 215.

    Examples
    --------
    >>> from lensing_sr.losses import IntensityConservation
    >>> IntensityConservation()
    IntensityConservation(source='pixels', scale=1)
    """

    source: str = "pixels"
    scale: float = 1

    def __post_init__(self):
        check_choice(self.source, ("pixels", "sersic"), "source")

    def __call__(self, reconstruction):
        weight = reconstruction.weight.flatten(1)
        used = (weight > 0.0).sum(1).clamp_min(1)
        if self.source == "sersic":
            predicted = reconstruction.relensed(1, psf=False).flatten(1)
            return (((reconstruction.flux.flatten(1) - predicted) * weight).square().sum(1) / used).mean()
        cells, shares = reconstruction.arrivals(self.scale)
        source, count = reconstruction.back_projected(self.scale)
        inside = shares.sum(0)
        # share of a pixel in the mean that predicts it: sum over its cells of (its share)^2 / (all that arrived)
        own = (shares.square() / count.clamp_min(1e-6).flatten()[cells]).sum(0)
        left = (reconstruction.flux.flatten(1) * inside - gather(source, cells, shares)) * weight
        freedom = (1.0 - own.sum(1) / inside.sum(1).clamp_min(1.0)).clamp_min(1e-2)
        return (left.square().sum(1) / used / freedom.square()).mean()
