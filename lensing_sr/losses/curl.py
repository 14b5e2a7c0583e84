# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""One lens plane makes no whirls."""

from dataclasses import dataclass

from lensing_sr.losses.term import Term

__all__ = ["Curl"]


@dataclass(frozen=True)
class Curl(Term):
    r"""Mean square of the curl of the deflection on the fine grid, dimensionless (as convergence is).

    .. math:: L = \left\langle \left(\partial_x \alpha_y - \partial_y \alpha_x\right)^2 \right\rangle

    A deflection is the gradient of a potential and has none; a network that predicts two free components does not know
    that.  Differences of five points, fourth order in the pixel.

    Notes
    -----
    Use it with the polar head; the convergence and potential heads are curl-free by construction.  Next to a point
    mass or the centre of an isothermal lens the differences see a curl that is not there: keep the weight low.

    Examples
    --------
    >>> from lensing_sr.losses import Curl
    >>> Curl()
    Curl()
    """

    def __call__(self, reconstruction):
        return reconstruction.curl.square().mean()
