# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Mass attracts: deflections point outwards from it, and its density is not negative."""

from dataclasses import dataclass

from lensing_sr.losses.term import Term
from lensing_sr.utils._checks import check_choice

__all__ = ["Positivity"]


@dataclass(frozen=True)
class Positivity(Term):
    r"""Mean square of what is negative but must not be.

    .. math:: L = \left\langle \max(0, -\alpha_r)^2 \right\rangle \quad\text{or}\quad
              \left\langle \max(0, -\kappa)^2 \right\rangle, \qquad \kappa = \tfrac12 \nabla\cdot\alpha

    Parameters
    ----------
    of : {"radial", "convergence"}
        The radial deflection about the centre (arcsec^2; the reference method has it only through the bounds of its
        output), or the convergence (dimensionless), which holds whatever the lens's centre.

    Raises
    ------
    lensing_sr.errors.InputError
        If it is neither.

    Notes
    -----
    Of no use behind a head that cannot be negative; with free deflections "convergence" keeps out sinks of mass.

    Examples
    --------
    >>> from lensing_sr.losses import Positivity
    >>> Positivity()
    Positivity(of='radial')
    """

    of: str = "radial"

    def __post_init__(self):
        check_choice(self.of, ("radial", "convergence"), "of")

    def __call__(self, reconstruction):
        value = reconstruction.alpha_r() if self.of == "radial" else reconstruction.convergence
        return (-value).clamp_min(0.0).square().mean()
