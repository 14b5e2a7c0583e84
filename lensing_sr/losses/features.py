# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Re-lensed and observed images must look alike to a classifier."""

from dataclasses import dataclass, field

import torch

from lensing_sr.losses.grids import FINE
from lensing_sr.losses.reconstruction import FITS
from lensing_sr.losses.term import Term, mean_square, min_max
from lensing_sr.utils._checks import check_choice

__all__ = ["FeatureLoss"]


@dataclass(frozen=True, eq=False)
class FeatureLoss(Term):
    r"""Mean squared difference of the features of the interpolated image and of the re-lensed one.

    .. math:: L = \left\langle \left[\phi(U d) - \phi(S(\theta - \alpha))\right]^2 \right\rangle

    Takes the place of `ImageLoss`: features tell arcs from noise where single pixels do not.

    Parameters
    ----------
    extractor : torch.nn.Module
        :math:`\phi`, a truncated classifier: images ``(batch, rows, columns)`` in 0 ... 1 to features.
        It is frozen: set to evaluation and its parameters to need no gradient.
    fit, psf, scale
        As in `ImageLoss`.

    Raises
    ------
    lensing_sr.errors.InputError
        If the fit is none of these.

    Notes
    -----
    In units of the features.  The extractor is trained on low-resolution images, so that no high-resolution one enters.

    References
    ----------
    Johnson, Alahi & Fei-Fei 2016, arXiv:1603.08155.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses import FeatureLoss
    >>> FeatureLoss(torch.nn.Flatten())
    FeatureLoss(fit='full', psf=True, scale=2)
    """

    extractor: torch.nn.Module = field(repr=False)
    fit: str = "full"
    psf: bool = True
    scale: float = FINE

    def __post_init__(self):
        check_choice(self.fit, FITS, "fit")
        self.extractor.eval().requires_grad_(False)

    def to(self, device):
        """Move the extractor to a device, in place, and return the term."""
        self.extractor.to(device)
        return self

    def __call__(self, reconstruction):
        seen = min_max(reconstruction.image(self.scale))
        model = min_max(reconstruction.relensed(self.scale, self.fit, self.psf))
        with torch.no_grad():
            wanted = self.extractor(seen)
        return mean_square(wanted - self.extractor(model))
