# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Perturbers in lenstronomy's words, to and fro; plain data, lenstronomy itself is not needed."""

import math

import torch

from lensing_sr.simulation.substructure import PointMasses, Subhalos

__all__ = ["STRENGTHS", "perturber_kwargs", "point_masses_from"]

#: Which keyword carries the strength of a lens model, and to what power it goes with the deflection.
STRENGTHS = {
    "SIS": ("theta_E", 1.0),
    "POINT_MASS": ("theta_E", 0.5),
    "PJAFFE": ("sigma0", 1.0),
    "TNFW": ("alpha_Rs", 1.0),
}


def perturber_kwargs(perturbers, i):
    """Perturbers of image i as lenstronomy's model names and keywords.

    Parameters
    ----------
    perturbers : PointMasses or Subhalos
        Of a batch; slots without mass are left out.
    i : int
        Which image.

    Returns
    -------
    names : list of str
    kwargs : list of dict
    """
    if isinstance(perturbers, Subhalos):
        kwargs = _subhalos(perturbers, i)
        return ["PJAFFE" if perturbers.profile == "pseudo-jaffe" else "TNFW"] * len(kwargs), kwargs
    values = zip(*(v[i].tolist() for v in (perturbers.theta_E, perturbers.x, perturbers.y)), strict=True)
    kwargs = [{"theta_E": t, "center_x": x, "center_y": y} for t, x, y in values if t > 0]
    return ["POINT_MASS"] * len(kwargs), kwargs


def _subhalos(halos, i):
    fields = (halos.strength, halos.r_inner, halos.r_cut, halos.x, halos.y)
    kwargs = []
    for strength, inner, cut, x, y in zip(*(field[i].tolist() for field in fields), strict=True):
        if strength == 0:
            continue
        if halos.profile == "pseudo-jaffe":
            profile = {"sigma0": strength * (cut - inner) / (2.0 * inner * cut), "Ra": inner, "Rs": cut}
        else:
            bend = 4.0 * strength * inner * (1.0 + math.log(0.5))  # deflection at r_s without truncation
            profile = {"Rs": inner, "alpha_Rs": bend, "r_trunc": cut}
        kwargs.append(profile | {"center_x": x, "center_y": y})
    return kwargs


def point_masses_from(kwargs):
    """Point masses of a batch from lists of lenstronomy's keywords, one list an image, padded with empty slots."""
    longest = max(map(len, kwargs), default=0)
    table = torch.zeros(len(kwargs), 3, longest, dtype=torch.float64)
    for i, masses in enumerate(kwargs):
        values = [[mass[key] for mass in masses] for key in ("theta_E", "center_x", "center_y")]
        table[i, :, : len(masses)] = torch.tensor(values, dtype=torch.float64)
    return PointMasses(*table.unbind(1), torch.full((len(kwargs),), math.nan, dtype=torch.float64))
