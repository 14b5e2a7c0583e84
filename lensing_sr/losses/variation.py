# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Deflections are smooth."""

from dataclasses import dataclass

from lensing_sr.losses.term import Term
from lensing_sr.utils._checks import check_choice

__all__ = ["VariationDensity"]


@dataclass(frozen=True)
class VariationDensity(Term):
    r"""Variation density (VDL): mean absolute difference of neighbouring pixels, both axes and both components.

    .. math:: L = \sum_{c} \left\langle |\alpha_c(x + h, y) - \alpha_c(x, y)| \right\rangle
                         + \left\langle |\alpha_c(x, y + h) - \alpha_c(x, y)| \right\rangle

    Parameters
    ----------
    components : {"polar", "cartesian"}
        Of (alpha_r, alpha_t) about the centre, as published: an isothermal lens there then costs nothing; or of
        (alpha_x, alpha_y), which prefers no centre, but no lens costs nothing.

    Raises
    ------
    lensing_sr.errors.InputError
        If it is neither.

    Notes
    -----
    In arcsec a fine pixel, mean over the batch (the published code sums over its batches of five images: its weight w
    acts as 5 w here).  Too little leaves gaps and artefacts, too much forbids structure: start high and let the weight
    decay (`lensing_sr.losses.schedules`).

    Examples
    --------
    >>> from lensing_sr.losses import VariationDensity
    >>> VariationDensity()
    VariationDensity(components='polar')
    """

    components: str = "polar"

    def __post_init__(self):
        check_choice(self.components, ("polar", "cartesian"), "components")

    def __call__(self, reconstruction):
        if self.components == "polar":
            fields = reconstruction.alpha_r(), reconstruction.alpha_t()
        else:
            fields = reconstruction.deflection
        return sum(f.diff(dim=axis).abs().mean() for f in fields for axis in (1, 2))
