# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Sizes and numbers of dark halos: what a mass in solar masses means in arcsec, and how many there are."""

import numpy as np
import torch

from lensing_sr.lensing.perturbers import truncated_nfw_mass
from lensing_sr.simulation.cosmology import ARCSEC

__all__ = ["field_halo_density", "field_halo_size", "infall_mass", "line_of_sight_redshift", "line_of_sight_volume"]

#: Halos of the field: m^2 dn/dm at 1e10 solar masses in units of the mean density of matter, and the slope of dn/dm.
#: Sheth & Tormen's (1999, MNRAS 308, 119) mass function of matter with Om0 = 0.3, h = 0.7, sigma_8 = 0.8, n_s = 0.96
#: is within 18 % of it from 1e6 to 1e10 solar masses and from redshift 0 to 1.
FIELD_FRACTION, FIELD_SLOPE, FIELD_PIVOT = 0.030, -1.9, 1e10

#: Concentration of a halo of mass M: 5.71 (M / (2e12 / h))^-0.084 (1 + z)^-0.47 (Duffy et al. 2008, MNRAS 390, L64).
CONCENTRATION, CONCENTRATION_PIVOT, CONCENTRATION_SLOPE, CONCENTRATION_REDSHIFT = 5.71, 2e12, -0.084, -0.47


def field_halo_density(lower, upper, cosmology):
    """Halos between two masses (solar masses) per comoving Mpc^3."""
    power = FIELD_SLOPE + 1.0
    moment = ((upper / FIELD_PIVOT) ** power - (lower / FIELD_PIVOT) ** power) / power
    return FIELD_FRACTION * cosmology.Om0 * cosmology.critical_density(0.0) / FIELD_PIVOT * moment


def line_of_sight_volume(radius, z_lens, z_source, cosmology):
    r"""Comoving volume :math:`\pi (D_l \theta)^2 D_s / 3` (Mpc^3) of the light between observer and source.

    Two cones, base to base on the lens plane, on a disc of angular radius theta (arcsec): light that left one point of
    the source.
    """
    near, far = cosmology.comoving_distance(z_lens), cosmology.comoving_distance(z_source)
    return np.pi * (near * radius * ARCSEC) ** 2 * far / 3.0


def line_of_sight_redshift(u, z_lens, z_source, cosmology):
    """Redshifts of halos spread evenly in that volume, from uniform numbers, by the inverse distribution."""
    near, far = cosmology.comoving_distance(z_lens), cosmology.comoving_distance(z_source)
    # a halo at our feet or in the source would have no angular size or no effect
    u = np.clip(u, 1e-9, 1.0 - 1e-9)
    share = near / far
    front = near * np.cbrt(np.minimum(u / share, 1.0))
    behind = far - (far - near) * np.cbrt(np.minimum((1.0 - u) / (1.0 - share), 1.0))
    return cosmology.redshift(np.where(u < share, front, behind))


def _concentration(mass, z, cosmology):
    pivot = CONCENTRATION_PIVOT / (cosmology.H0 / 100.0)
    return CONCENTRATION * (mass / pivot) ** CONCENTRATION_SLOPE * (1.0 + z) ** CONCENTRATION_REDSHIFT


def field_halo_size(mass, z, cosmology):
    """Radius of 200 times the critical density (arcsec) and concentration of halos of a mass (solar masses)."""
    radius = np.cbrt(3.0 * mass / (800.0 * np.pi * cosmology.critical_density(z)))
    return radius / cosmology.angular_diameter_distance(z) / ARCSEC, _concentration(mass, z, cosmology)


def infall_mass(mass, truncation, z, cosmology):
    """Mass that an NFW subhalo of a bound mass had before it was cut off at so many scale radii."""
    one = torch.ones((), dtype=torch.float64)
    bound = float(truncated_nfw_mass(one, one, truncation * one)) / (4.0 * np.pi)
    before = np.asarray(mass, dtype=float)
    for _ in range(10):  # the concentration hardly depends on the mass: every step gains more than a digit
        c = _concentration(before, z, cosmology)
        before = mass * (np.log1p(c) - c / (1.0 + c)) / bound
    return before
