# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Mass that a smooth lens lacks, as a result holds it: maps of it, and a table of point masses."""

import astropy.units as u
import numpy as np
from astropy.table import Table

__all__ = ["COLUMNS", "HasSubstructure", "perturber_table"]

#: Columns of the table of point masses, and their units.
COLUMNS = {
    "theta_E": "arcsec", "theta_E_err": "arcsec", "x": "arcsec", "x_err": "arcsec", "y": "arcsec", "y_err": "arcsec",
    "significance": "",
}  # fmt: skip


def perturber_table(masses=()):
    """
    Table of point masses, which may be empty.

    Parameters
    ----------
    masses : iterable of dict
        Each with a float for every column; angles in arcsec.

    Returns
    -------
    table : `~astropy.table.Table`
        Columns theta_E, theta_E_err, x, x_err, y, y_err (arcsec) and significance.

    Examples
    --------
    >>> from lensing_sr.lensing.substructure import perturber_table
    >>> len(perturber_table())
    0
    """
    masses = list(masses)
    table = Table({name: np.array([mass[name] for mass in masses], dtype=float) for name in COLUMNS})
    for name, unit in COLUMNS.items():
        table[name].info.format = ".4f" if unit else ".1f"
        if unit:
            table[name].unit = u.Unit(unit)
    return table


class HasSubstructure:
    """
    What the smooth lens of a result lacks; all of it is part of the deflection already.

    Attributes
    ----------
    convergence_correction : `~astropy.nddata.CCDData` or None
        Convergence of the correction of the potential and of the point masses, on the grid of the image; a point mass,
        which has none but at one point, is shown as a Gaussian of one input pixel's width that has its mass.
    significance : `~astropy.nddata.CCDData` or None
        How sure it is, in sigma: the convergence of the correction over its error, or the significance of a point mass,
        falling off about it as that Gaussian, whichever is larger.
    perturbers : `~astropy.table.Table`
        Point masses, the surest first; see `perturber_table`.
    """

    def _set_substructure(self, pieces):
        """Take (convergence_correction, significance, perturbers), or None where there is none."""
        nothing = None, None, perturber_table()
        self.convergence_correction, self.significance, self.perturbers = nothing if pieces is None else pieces
