# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The re-lensed source must look like the image."""

from dataclasses import dataclass

from lensing_sr.losses.grids import FINE
from lensing_sr.losses.reconstruction import FITS
from lensing_sr.losses.source import UNITS
from lensing_sr.losses.term import Term, in_noise, mean_square, min_max
from lensing_sr.utils._checks import check_choice

__all__ = ["ImageLoss"]


@dataclass(frozen=True)
class ImageLoss(Term):
    r"""Mean squared difference of the interpolated image and the re-lensed source on the fine grid.

    .. math:: L = \left\langle \left[U d - S(\theta - \alpha)\right]^2 \right\rangle, \qquad U \text{ bicubic}

    Parameters
    ----------
    fit : {"full", "peak"}
        See `Reconstruction.fit`; "peak" is the reference method's.
    psf : bool
        Whether the re-lensed image is blurred.  The reference method's is not, although the observed one is.
    units : {"minmax", "noise"}
        Both images min-max normalised (dimensionless, as published), or surface brightness in units of the image's
        typical sigma a detector pixel.
    scale : float
        Pixels a detector pixel of the grid where they are compared.

    Raises
    ------
    lensing_sr.errors.InputError
        If a choice is none of these.

    Notes
    -----
    It punishes where the model is sharper than an interpolation could be.  `Likelihood` compares at the detector's
    own pixels and has no such bias; this term is here for comparison with the reference method.

    Examples
    --------
    >>> from lensing_sr.losses import ImageLoss
    >>> ImageLoss(units="noise")
    ImageLoss(fit='full', psf=True, units='noise', scale=2)
    """

    fit: str = "full"
    psf: bool = True
    units: str = "minmax"
    scale: float = FINE

    def __post_init__(self):
        check_choice(self.fit, FITS, "fit")
        check_choice(self.units, UNITS, "units")

    def __call__(self, reconstruction):
        pair = reconstruction.image(self.scale), reconstruction.relensed(self.scale, self.fit, self.psf)
        if self.units == "minmax":
            seen, model = (min_max(image) for image in pair)
        else:
            seen, model = (in_noise(image * self.scale**2, reconstruction.weight) for image in pair)
        return mean_square(seen - model)
