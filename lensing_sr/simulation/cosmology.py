# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Distances in a flat universe of matter and a cosmological constant, and the lensing scales that follow from them.

Redshifts in, plain numpy numbers out: distances in Mpc, masses in solar masses, angles in arcsec.  Radiation is left
out, as in astropy's ``FlatLambdaCDM(H0, Om0)``, with which the distances agree to the last digits.
"""

from dataclasses import dataclass

import numpy as np

from lensing_sr.errors import InputError

__all__ = ["ARCSEC", "REFERENCE", "REFERENCE_RAYS", "FlatLambdaCDM"]

#: One arcsec in radians.
ARCSEC = np.pi / 180.0 / 3600.0

#: Speed of light in km/s.
LIGHT_SPEED = 299792.458

#: :math:`G M_\odot / c^2` in Mpc (the nominal solar mass parameter 1.3271244e20 m^3/s^2 of IAU 2015 B3).
GRAVITATIONAL_RADIUS = 1.3271244e20 / (LIGHT_SPEED * 1e3) ** 2 / 3.0856775814913673e22

#: The arcsec in a radian as the reference method rounds them: its Einstein radii are 9.4e-7 of themselves larger.
REFERENCE_ARCSEC_PER_RADIAN = 206265.0

# nodes and weights on [0, 1]: the integrand is smooth, 48 nodes reach the last digits for any redshift below 20
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


@dataclass(frozen=True)
class FlatLambdaCDM:
    r"""A flat universe, :math:`H(z) = H_0 \sqrt{\Omega_m (1 + z)^3 + 1 - \Omega_m}`.

    All redshifts may be arrays that broadcast.

    Parameters
    ----------
    H0 : float
        Hubble constant today in km/s/Mpc.
    Om0 : float
        Density of matter today in units of the critical one, above 0 and at most 1.

    Raises
    ------
    InputError
        If a parameter or a redshift makes no sense.

    Examples
    --------
    >>> from lensing_sr.simulation.cosmology import FlatLambdaCDM
    >>> cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    >>> round(float(cosmology.angular_diameter_distance(0.5)), 2)
    1259.08
    >>> round(float(cosmology.point_mass_einstein_radius(1e12, 0.5, 1.0)), 4)
    1.6645
    """

    H0: float = 70.0
    Om0: float = 0.3

    def __post_init__(self):
        if not self.H0 > 0:
            raise InputError("H0", "must be positive", self.H0, "give km/s/Mpc")
        if not 0 < self.Om0 <= 1:
            raise InputError("Om0", "must be above 0 and at most 1", self.Om0)

    def comoving_distance(self, z):
        r"""Comoving distance :math:`D_C = c \int_0^z dz / H` in Mpc."""
        z = np.asarray(z, dtype=float)
        if not np.all(z >= 0):
            raise InputError("z", "must not be negative", z)
        # in u = ln(1 + z) the integrand (1 + z) / E is smooth up to high redshift
        span = np.log1p(z)[..., None]
        growth = np.exp(span * _NODES)
        integrand = growth / np.sqrt(self.Om0 * growth**3 + 1.0 - self.Om0)
        return LIGHT_SPEED / self.H0 * span[..., 0] * (integrand @ _WEIGHTS)

    def redshift(self, distance):
        """Redshift at a comoving distance in Mpc (within what light can have crossed), by Newton's method."""
        distance = np.asarray(distance, dtype=float)
        z = distance * self.H0 / LIGHT_SPEED
        # the distance bends downwards: from this side every step stays below the root
        for _ in range(8):
            slope = LIGHT_SPEED / self.H0 / np.sqrt(self.Om0 * (1.0 + z) ** 3 + 1.0 - self.Om0)
            z = z + (distance - self.comoving_distance(z)) / slope
        return z

    def angular_diameter_distance(self, z, z2=None):
        r"""Angular-diameter distance :math:`D_C(z) / (1 + z)`, or from `z` to `z2`, in Mpc.

        Parameters
        ----------
        z : float or array
            Redshift.
        z2 : float or array, optional
            The farther redshift: the distance is then :math:`(D_C(z_2) - D_C(z)) / (1 + z_2)`.
        """
        if z2 is None:
            return self.comoving_distance(z) / (1.0 + np.asarray(z))
        self._check_order(z, z2)
        return (self.comoving_distance(z2) - self.comoving_distance(z)) / (1.0 + np.asarray(z2))

    def luminosity_distance(self, z):
        r"""Luminosity distance :math:`D_C (1 + z)` in Mpc."""
        return self.comoving_distance(z) * (1.0 + np.asarray(z))

    def critical_density(self, z):
        r"""Critical density :math:`3 H^2 / (8 \pi G)` at redshift z in solar masses per (proper) Mpc^3."""
        square = (self.H0 / LIGHT_SPEED) ** 2 * (self.Om0 * (1.0 + np.asarray(z, float)) ** 3 + 1.0 - self.Om0)
        return 3.0 * square / (8.0 * np.pi * GRAVITATIONAL_RADIUS)

    def distance_ratio(self, z_lens, z_source):
        r"""Return :math:`D_{LS} / D_S` of angular-diameter distances: reduced over physical deflection."""
        return self.angular_diameter_distance(z_lens, z_source) / self.angular_diameter_distance(z_source)

    def deflection_scaling(self, z_lens, z_source, z_convention):
        r"""Factor from deflections for a source at `z_convention` to those for one at `z_source`.

        .. math:: \frac{D_{LS}(z_l, z_s)}{D_S(z_s)} \Big/ \frac{D_{LS}(z_l, z_c)}{D_S(z_c)}

        It multiplies the whole deflection of a lens plane, that of its point masses too.

        Examples
        --------
        The reference method's Models 2 and 3 state their lenses for a source at redshift 2.5:

        >>> from lensing_sr.simulation.cosmology import REFERENCE_RAYS
        >>> round(float(REFERENCE_RAYS.deflection_scaling(0.5, 1.0, 2.5)), 7)
        0.633458
        """
        return self.distance_ratio(z_lens, z_source) / self.distance_ratio(z_lens, z_convention)

    def critical_surface_density(self, z_lens, z_source):
        r"""Critical surface density in solar masses per square arcsec of the lens plane.

        .. math:: \Sigma_{cr} = \frac{c^2}{4 \pi G} \frac{D_S}{D_L D_{LS}}, \qquad
                  M(<\theta_E) = \pi \theta_E^2 \Sigma_{cr}

        with :math:`D_L` turning :math:`\mathrm{Mpc}^{-2}` into :math:`\mathrm{arcsec}^{-2}`.
        """
        near = self.angular_diameter_distance(z_lens)
        return near * ARCSEC**2 / (4.0 * np.pi * GRAVITATIONAL_RADIUS * self.distance_ratio(z_lens, z_source))

    def point_mass_einstein_radius(self, mass, z_lens, z_source, *, luminosity_distances=False):
        r"""Einstein radius of a point mass, :math:`\theta_E^2 = \frac{4 G M}{c^2} \frac{D_{LS}}{D_L D_S}`, in arcsec.

        Parameters
        ----------
        mass : float or array
            Mass in solar masses.
        z_lens, z_source : float or array
            Redshifts.
        luminosity_distances : bool
            False: angular-diameter distances, as physics has it.  True: as the reference method has it, with
            luminosity distances, :math:`D_{LS} = D_S - D_L`, and 206265 arcsec in a radian; at redshifts 0.5 and 1 its
            radii are 0.770 of the true ones, as if its masses were 0.593 of what they are called.

        Returns
        -------
        theta_E : array
            Einstein radius in arcsec.

        Examples
        --------
        >>> from lensing_sr.simulation.cosmology import REFERENCE
        >>> radius = REFERENCE.point_mass_einstein_radius(1e12, 0.5, 1.0, luminosity_distances=True)
        >>> round(float(radius), 8)
        1.28149057
        """
        if luminosity_distances:
            self._check_order(z_lens, z_source)
            near, far = self.luminosity_distance(z_lens), self.luminosity_distance(z_source)
            ratio, scale = (far - near) / (near * far), REFERENCE_ARCSEC_PER_RADIAN
        else:
            ratio, scale = self.distance_ratio(z_lens, z_source) / self.angular_diameter_distance(z_lens), 1.0 / ARCSEC
        return scale * np.sqrt(4.0 * GRAVITATIONAL_RADIUS * np.asarray(mass, dtype=float) * ratio)

    @staticmethod
    def _check_order(near, far):
        if not np.all(np.asarray(far) > np.asarray(near)):
            raise InputError("z_source", f"must be above the lens's redshift {near}", far)


#: The universe in which the reference method turns masses into Einstein radii.
REFERENCE = FlatLambdaCDM(H0=70.0, Om0=0.3)

#: The universe in which its Models 2 and 3 scale deflections from source redshift 2.5 to 1: the default of the halo
#: library that it takes its distances from (the Hubble constant cancels).  The factor is 0.6334580.
REFERENCE_RAYS = FlatLambdaCDM(H0=67.5, Om0=0.309)
