# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The re-lensed source, seen through optics and detector, must agree with the image to the noise."""

from dataclasses import dataclass

from lensing_sr.losses.reconstruction import FITS
from lensing_sr.losses.term import Term
from lensing_sr.utils._checks import check_choice

__all__ = ["Likelihood"]


@dataclass(frozen=True)
class Likelihood(Term):
    r"""Chi-square a pixel of the observed image under the best source behind the deflection.

    .. math:: L = \min_S \frac1N \sum_i \left[\frac{d_i - (B\,P\,S(\theta - \alpha))_i}{\sigma_i}\right]^2

    In units of the noise: 1 where the deflection is right and the source is a Sersic.  Because the source is at its
    optimum, its own change with alpha does not count (envelope theorem): the gradient is exact and cheap.

    Parameters
    ----------
    fit : {"full", "peak"}
        See `Reconstruction.fit`.
    log : bool
        Mean of ln(chi-square a pixel) instead: images of high signal-to-noise then weigh as much as others, and
        deflections that are far off do not drown the rest of the batch.

    Raises
    ------
    lensing_sr.errors.InputError
        If the fit is none of these.

    Notes
    -----
    The term that says what the data say; it is not the reference method's.  Use it always; from a random start
    together with `Compactness` or `SourceLoss`, because behind a wrong deflection the best source is a large
    blob, whose gradient is weak.

    Examples
    --------
    >>> from lensing_sr.losses import Likelihood
    >>> Likelihood(log=True)
    Likelihood(fit='full', log=True)
    """

    fit: str = "full"
    log: bool = False

    def __post_init__(self):
        check_choice(self.fit, FITS, "fit")

    def __call__(self, reconstruction):
        chi2 = self.each(reconstruction)
        return (chi2.clamp_min(1e-6).log() if self.log else chi2).mean()

    def each(self, reconstruction):
        """Chi-square a pixel of each image, ``(batch,)``."""
        weight = reconstruction.weight
        model = reconstruction.relensed(1, self.fit, implicit=False)
        left = (reconstruction.flux - model) * weight
        return left.square().sum((1, 2)) / (weight > 0.0).sum((1, 2)).clamp_min(1)
