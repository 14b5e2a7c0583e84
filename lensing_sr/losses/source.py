# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The reconstructed source must look like a galaxy."""

from dataclasses import dataclass

from lensing_sr.losses.reconstruction import FITS, SOURCES
from lensing_sr.losses.term import Term, in_noise, mean_square, min_max
from lensing_sr.utils._checks import check_choice

__all__ = ["UNITS", "SourceLoss"]

UNITS = ("minmax", "noise")


@dataclass(frozen=True)
class SourceLoss(Term):
    r"""Mean squared difference of reconstructed source and fitted Sersic, summed over scales.

    .. math:: L = \sum_s \left\langle \left[S_s^\mathrm{rec}(\beta) - S_s^\mathrm{Sersic}(\beta)\right]^2 \right\rangle

    With a wrong deflection the images of one source do not fall on each other and no round blob comes out.

    Parameters
    ----------
    scales : tuple of float
        Pixels a detector pixel of the grids; the reference method's are 2, 1 and 0.5.
    fit : {"full", "peak"}
        See `Reconstruction.fit`; "peak" is the reference method's.
    source : {"published", "back-projected"}
        See `Reconstruction.source`; of a back-projected source, cells count by what arrives in them, at most fully.
    units : {"minmax", "noise"}
        Both images min-max normalised (dimensionless, as published), or in units of the image's typical sigma.

    Raises
    ------
    lensing_sr.errors.InputError
        If a choice is none of these.

    Notes
    -----
    Use it early in training: its gradient reaches farther than that of the likelihood.  A fixed Sersic ("peak")
    limits what can be reached at the end.

    Examples
    --------
    >>> from lensing_sr.losses import SourceLoss
    >>> SourceLoss(fit="peak")
    SourceLoss(scales=(2, 1, 0.5), fit='peak', source='published', units='minmax')
    """

    scales: tuple = (2, 1, 0.5)
    fit: str = "full"
    source: str = "published"
    units: str = "minmax"

    def __post_init__(self):
        object.__setattr__(self, "scales", tuple(self.scales))
        check_choice(self.fit, FITS, "fit")
        check_choice(self.source, SOURCES, "source")
        check_choice(self.units, UNITS, "units")

    def __call__(self, reconstruction):
        return sum(self._at(reconstruction, scale) for scale in self.scales)

    def _at(self, reconstruction, scale):
        share = None
        if self.source == "back-projected":
            share = reconstruction.back_projected(scale)[1].clamp_max(1.0)
        pair = reconstruction.source(scale, self.source), reconstruction.sersic(scale, self.fit)
        if self.units == "minmax":
            found, model = (min_max(image) for image in pair)
        else:
            found, model = (in_noise(image, reconstruction.weight) for image in pair)
        return mean_square(found - model, share)
