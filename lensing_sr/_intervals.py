# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How far the true parameters may be from the stated ones: intervals that hold 68 % of them, and 95 %."""

import math

from lensing_sr._explanation import NORMAL

__all__ = ["doubted", "far_reaching"]

#: What the networks' other opinion moves, and how far at most, in ln theta_E.
ELSEWHERE, FARTHEST = ("theta_E", "x_source", "y_source"), 2.0
#: Half-width of the interval that holds 95 % over that of the one that holds 68 %, where errors are not normal: a few
#: lenses are farther off than the others' scatter tells.  From 576 simulated lenses, ``python -m benchmarks.population
#: --seed 31 --count 16 --fits 16 --methods network auto`` and the same with seed 77.
TAILS = {
    "theta_E": 2.2, "e1": 2.2, "e2": 2.2, "gamma1": 2.05, "gamma2": 2.05, "x_source": 2.3, "y_source": 2.3,
    "r_eff": 2.7,
}  # fmt: skip
#: How far Einstein radii and places of the source are off in the mean, in units of theta_E, where a radius is off by
#: more than 20 %; and the share that an interval leaves out.  From the same lenses.
FAR = {"theta_E": 0.8, "x_source": 0.4, "y_source": 0.4}
LEFT_OUT = 0.05


def doubted(values, errors, verdict):
    """Errors of which the Einstein radius and the place of the source hold the doubt: the networks may be right."""
    if not verdict.grounds:
        return errors
    other = verdict.doubt * values["theta_E"] * math.expm1(min(verdict.grounds["apart"], FARTHEST))
    return errors | {name: math.hypot(errors[name], other) for name in ELSEWHERE}


def far_reaching(values, errors, doubt):
    r"""Half-widths of the intervals that hold 95 % of the true values.

    .. math:: w = \max\left(t\,\sigma,\; s\,\theta_E \ln\frac{p}{0.05}\right)

    t is that of `TAILS` and s that of `FAR`: with probability p, the doubt, the radius is off by more than 20 %, and of
    radii that are a share :math:`\exp(-w / (s\,\theta_E))` is off by more than w.

    Parameters
    ----------
    values, errors : dict of str to float
        Parameters and their stated errors.
    doubt : float
        p; NaN where no network looked.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> from lensing_sr._intervals import far_reaching
    >>> [round(far_reaching({"theta_E": 1.0}, {"theta_E": 0.02}, doubt)["theta_E"], 3) for doubt in (0.01, 0.06, 0.5)]
    [0.044, 0.146, 1.842]
    """
    reach = values["theta_E"] * math.log(doubt / LEFT_OUT) if doubt > LEFT_OUT else 0.0
    return {name: max(TAILS.get(name, NORMAL) * error, FAR.get(name, 0.0) * reach) for name, error in errors.items()}
