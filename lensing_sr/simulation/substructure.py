# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Dark matter smaller than galaxies: the reference's point masses and vortices, and subhalos as galaxies have them.

The reference method's classes, exactly as it draws them:

* ``no_sub``: nothing.
* ``axion``: a vortex of 3e10 solar masses, 100 equal point masses evenly spaced on a line through the centre, both ends
  among them; its half-length is the de Broglie wavelength of an axion of mass :math:`10^{U(-24, -22)}` eV, its angle
  uniform.
* ``cdm``: 25 point masses of :math:`dN/dm \propto m^{-0.9}` between 1e6 and 1e10 solar masses, at a radius uniform in
  0.25" to 2.0" (so the surface density falls as 1/r) and a uniform angle.

Beyond it, ``subhalos``: a Poisson number of pseudo-Jaffe or truncated NFW halos with a steeper mass function, in the
lens and, where wanted, along the line of sight.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import poisson

from lensing_sr.errors import InputError
from lensing_sr.lensing.perturbers import (
    GROUP,
    point_masses_deflection,
    pseudo_jaffe_mass,
    pseudo_jaffes_convergence,
    pseudo_jaffes_deflection,
    truncated_nfw_mass,
    truncated_nfws_convergence,
    truncated_nfws_deflection,
)
from lensing_sr.simulation import _halos
from lensing_sr.simulation.cosmology import REFERENCE

__all__ = [
    "CLASSES",
    "PROFILES",
    "PointMasses",
    "Subhalos",
    "draw_point_masses",
    "draw_subhalos",
    "power_law_mean",
    "power_law_quantile",
    "vortex_positions",
]

#: The classes of dark matter; `draw_point_masses` knows the first three.
CLASSES = ("no_sub", "axion", "cdm", "subhalos")

#: Profiles of subhalos: (deflection, convergence, total mass of strength one).
PROFILES = {
    "pseudo-jaffe": (pseudo_jaffes_deflection, pseudo_jaffes_convergence, pseudo_jaffe_mass),
    "nfw": (truncated_nfws_deflection, truncated_nfws_convergence, truncated_nfw_mass),
}

#: The reference's vortex: solar masses, point masses, and the decades of the axion's mass in eV.
VORTEX_MASS, VORTEX_COUNT, AXION_DECADES = 3e10, 100, (-24.0, -22.0)

#: The reference's cold dark matter: point masses, their range in solar masses, their radii in arcsec.
CDM_COUNT, CDM_MASSES, CDM_RADII = 25, (1e6, 1e10), (0.25, 2.0)

#: Core of a pseudo-Jaffe subhalo in units of its cut: keeps the convergence finite and changes nothing visible.
CORE = 0.01

#: Truncation of an NFW subhalo in units of its scale radius: about four tenths of its mass at infall stay bound.
NFW_TRUNCATION = 2.0


@dataclass(frozen=True)
class PointMasses:
    """Point masses of a batch of images; a slot without a mass has an Einstein radius of zero.

    Parameters
    ----------
    theta_E, x, y : torch.Tensor
        (n, K) Einstein radii and positions in arcsec.
    axion_mass : torch.Tensor
        (n,) mass of the axion in eV, float64 on the CPU; NaN where there is none.
    """

    theta_E: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    axion_mass: torch.Tensor

    def deflection(self, x, y):
        """Deflection at positions x, y in arcsec that broadcast with (n, 1, 1), of their type."""
        return point_masses_deflection(x, y, self.theta_E, self.x, self.y)

    def to(self, device=None, dtype=None):
        """Return the same masses on another device or in another type; the axion's mass stays where it is."""
        return _moved(self, ("theta_E", "x", "y"), device, dtype)


@dataclass(frozen=True)
class Subhalos:
    """Halos of a batch of images; a slot without a halo has mass and strength zero.

    Parameters
    ----------
    profile : str
        ``"pseudo-jaffe"`` or ``"nfw"``.
    mass : torch.Tensor
        (n, K) total mass in solar masses.
    x, y : torch.Tensor
        (n, K) positions in arcsec.
    strength, r_inner, r_cut : torch.Tensor
        (n, K) b or kappa_s, core or scale radius in arcsec, and truncation radius in arcsec: the parameters of
        `~lensing_sr.lensing.perturbers.pseudo_jaffe_deflection` or of `truncated_nfw_deflection`, as they act on the
        deflection of the main plane.
    redshift : torch.Tensor
        (n, K) redshifts; that of the lens for its own subhalos.
    """

    profile: str
    mass: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    strength: torch.Tensor
    r_inner: torch.Tensor
    r_cut: torch.Tensor
    redshift: torch.Tensor

    @property
    def count(self):
        """Number of halos of each image, (n,)."""
        return (self.mass > 0).sum(-1)

    def deflection(self, x, y):
        """Deflection at positions x, y in arcsec that broadcast with (n, 1, 1), of their type."""
        return PROFILES[self.profile][0](x, y, self.strength, self.r_inner, self.r_cut, self.x, self.y)

    def convergence(self, x, y):
        """Convergence at positions x, y in arcsec that broadcast with (n, 1, 1), of their type."""
        return PROFILES[self.profile][1](x, y, self.strength, self.r_inner, self.r_cut, self.x, self.y)

    def to(self, device=None, dtype=None):
        """Return the same halos on another device or in another type."""
        return _moved(self, ("mass", "x", "y", "strength", "r_inner", "r_cut", "redshift"), device, dtype)


def _moved(owner, names, device, dtype):
    return replace(owner, **{name: getattr(owner, name).to(device=device, dtype=dtype) for name in names})


def power_law_quantile(u, slope, lower, upper):
    r"""Masses of :math:`dN/dm \propto m^s` between two bounds from uniform numbers, by the inverse distribution.

    Parameters
    ----------
    u : array
        Numbers in [0, 1].
    slope : float
        :math:`s`; -1 is uniform in the logarithm.
    lower, upper : float
        Bounds, above zero.

    Examples
    --------
    >>> from lensing_sr.simulation.substructure import power_law_quantile
    >>> [f"{float(power_law_quantile(u, -0.9, 1e6, 1e10)):.2e}" for u in (0, 0.5, 1)]
    ['1.00e+06', '2.79e+08', '1.00e+10']
    """
    power = slope + 1.0
    if abs(power) < 1e-9:
        return lower * (upper / lower) ** np.asarray(u)
    low, high = lower**power, upper**power
    return (low + (high - low) * np.asarray(u)) ** (1.0 / power)


def power_law_mean(slope, lower, upper):
    r"""Mean of :math:`dN/dm \propto m^s` between two bounds."""

    def moment(power):  # of m^(power - 1), relative to the lower bound
        return np.log(upper / lower) if abs(power) < 1e-9 else ((upper / lower) ** power - 1.0) / power

    return lower * moment(slope + 2.0) / moment(slope + 1.0)


def vortex_positions(axion_mass, angle, count=VORTEX_COUNT):
    r"""Places of a vortex's point masses, evenly from one end of the line through the centre to the other.

    The half-length is the de Broglie wavelength as the reference has it, :math:`0.06'' \times 10^{-22}\,\mathrm{eV} /
    (2 m)` (for a lens at redshift 0.5).

    Parameters
    ----------
    axion_mass : array
        (n,) mass of the axion in eV.
    angle : array
        (n,) direction of the last mass in radians, counter-clockwise from +x.
    count : int
        Masses, at least 2.

    Returns
    -------
    x, y : numpy.ndarray
        (n, count) positions in arcsec.

    Examples
    --------
    >>> from lensing_sr.simulation.substructure import vortex_positions
    >>> x, y = vortex_positions([1e-23], [0.0], count=3)
    >>> x.round(6).tolist(), y.tolist()
    ([[-0.3, 0.0, 0.3]], [[0.0, 0.0, 0.0]])
    """
    half = 0.06 * 1e-22 / (2.0 * np.asarray(axion_mass, dtype=float)[:, None])
    angle = np.asarray(angle, dtype=float)[:, None]
    along = half * np.linspace(-1.0, 1.0, count)
    return along * np.cos(angle), along * np.sin(angle)


def draw_point_masses(kind, streams, *, z_lens=0.5, z_source=1.0, slope=-0.9, luminosity_distances=True):
    """
    Draw the point masses of one of the reference's classes of dark matter.

    Parameters
    ----------
    kind : str
        ``"no_sub"``, ``"axion"`` or ``"cdm"``.
    streams : `~lensing_sr.simulation.randomness.Streams`
        Random numbers of the images, used for nothing else.
    z_lens, z_source : float
        Redshifts, for the Einstein radii.
    slope : float
        Of the mass function of ``"cdm"``: -0.9 in the reference's code and data (-1.9 in a comment of it).
    luminosity_distances : bool
        True: Einstein radii as the reference computes them; False: with angular-diameter distances
        (`~lensing_sr.simulation.cosmology.FlatLambdaCDM.point_mass_einstein_radius`).

    Returns
    -------
    masses : PointMasses
        In float64, with K = 0, 100 or 25.

    Raises
    ------
    InputError
        If there is no such class of point masses.

    Examples
    --------
    >>> from lensing_sr.simulation.randomness import Streams
    >>> from lensing_sr.simulation.substructure import draw_point_masses
    >>> masses = draw_point_masses("axion", Streams(0, 0, 2, "substructure"))
    >>> masses.theta_E.shape, round(float(masses.theta_E[0, 0]), 6)
    (torch.Size([2, 100]), 0.022196)
    """
    n = streams.count
    axion_mass = np.full(n, np.nan)
    if kind == "no_sub":
        mass = x = y = np.zeros((n, 0))
    elif kind == "axion":
        u = streams.uniform(2)
        axion_mass = 10.0 ** (AXION_DECADES[0] + (AXION_DECADES[1] - AXION_DECADES[0]) * u[:, 0])
        x, y = vortex_positions(axion_mass, 2.0 * np.pi * u[:, 1])
        mass = np.full(x.shape, VORTEX_MASS / VORTEX_COUNT)
    elif kind == "cdm":
        u = streams.uniform(3, CDM_COUNT)
        mass = power_law_quantile(u[:, 0], slope, *CDM_MASSES)
        radius, angle = CDM_RADII[0] + (CDM_RADII[1] - CDM_RADII[0]) * u[:, 1], 2.0 * np.pi * u[:, 2]
        x, y = radius * np.cos(angle), radius * np.sin(angle)
    else:
        rule = f"must be {' or '.join(map(repr, CLASSES[:-1]))}"
        raise InputError("dark_matter", rule, repr(kind), "draw_subhalos draws halos that are no points")
    theta_E = REFERENCE.point_mass_einstein_radius(mass, z_lens, z_source, luminosity_distances=luminosity_distances)
    return PointMasses(*map(torch.from_numpy, (theta_E, x, y, axion_mass)))


def draw_subhalos(
    streams,
    *,
    theta_E,
    z_lens=0.5,
    z_source=1.0,
    profile="pseudo-jaffe",
    fraction=0.01,
    masses=(1e6, 1e10),
    slope=-1.9,
    extent=2.0,
    line_of_sight=False,
    cosmology=REFERENCE,
):
    r"""
    Draw the subhalos of lens galaxies, and the halos along the line of sight.

    Their number is Poisson about :math:`f_{sub} M(<R) / \langle m \rangle`, where :math:`M(<R) = \pi \theta_E R
    \Sigma_{cr}` is the mass of an isothermal lens in a disc of radius R about its centre; their masses follow
    :math:`dN/dm \propto m^s`, their places are uniform in the disc (subhalos seen in projection hardly crowd towards
    the centre).  The tide of the host cuts them:

    * pseudo-Jaffe: at :math:`r_t = \sqrt{b\, \theta_E}`, the tidal radius of an isothermal subhalo at one Einstein
      radius from the centre of an isothermal host (Dalal & Kochanek 2002, ApJ 572, 25), so that, but for its core of a
      hundredth, :math:`r_t^3 = m \theta_E / (\pi \Sigma_{cr})`;
    * NFW: at two scale radii, those of the halo that it was at infall, with the concentration of Duffy et al. (2008).

    With `line_of_sight`, halos of the field are added, evenly in the comoving volume that light from one point of the
    source fills, with Sheth & Tormen's abundance (about as many as the subhalos of f_sub = 0.01).  Each is a perturber
    in the main plane, weighted by its lensing efficiency: the critical surface density is that of its own redshift,
    its size is the radius of 200 times the critical density there.

    Left out, to keep it simple: what the subhalos take from the host (the Einstein radius grows by about f_sub / 2) and
    the mean density that halos along the line of sight stand for; the spread of tides, concentrations and distances
    from the host's centre; the host's shape; and that the main lens bends light on its way to halos behind it, as those
    in front bend it on its way to the main lens.

    Parameters
    ----------
    streams : `~lensing_sr.simulation.randomness.Streams`
        Random numbers of the images, used for nothing else: how many are taken depends on the batch.
    theta_E : array
        (n,) Einstein radius of the lenses in arcsec, or one for all.
    z_lens, z_source : float or array
        Redshifts, one for all or (n,).
    profile : str
        ``"pseudo-jaffe"`` or ``"nfw"``.
    fraction : float
        :math:`f_{sub}`: expected share of the lens's mass within the disc that is in these subhalos.  Measured: 0.002
        to 0.03 of the dark matter (Vegetti et al. 2014, MNRAS 442, 2017; Hsueh et al. 2020, MNRAS 492, 3047).
    masses : tuple of float
        Smallest and largest total mass, in solar masses.
    slope : float
        Of the mass function.
    extent : float
        Radius R of the disc in units of theta_E.
    line_of_sight : bool
        Whether to add the halos in front of and behind the lens.
    cosmology : `~lensing_sr.simulation.cosmology.FlatLambdaCDM`
        For angular-diameter distances.

    Returns
    -------
    subhalos : Subhalos
        In float64, about the centre of the frame.

    Raises
    ------
    InputError
        If a setting makes no sense.

    Examples
    --------
    >>> from lensing_sr.simulation.randomness import Streams
    >>> from lensing_sr.simulation.substructure import draw_subhalos
    >>> halos = draw_subhalos(Streams(0, 0, 3, "subhalos"), theta_E=1.2, masses=(1e8, 1e10))
    >>> halos.mass.shape
    torch.Size([3, 128])
    """
    if profile not in PROFILES:
        raise InputError("profile", f"must be {' or '.join(map(repr, PROFILES))}", repr(profile))
    if not 0.0 <= fraction < 1.0:
        raise InputError("fraction", "must be at least 0 and below 1", fraction)
    if not 0.0 < masses[0] < masses[1]:
        raise InputError("masses", "must be a smaller and a larger mass above zero", masses, "give solar masses")
    if not extent > 0.0:
        raise InputError("extent", "must be positive", extent, "give it in Einstein radii")
    n = streams.count
    theta_E, z_lens, z_source = (np.broadcast_to(np.asarray(v, float), (n,)) for v in (theta_E, z_lens, z_source))
    radius, sigma = extent * theta_E, cosmology.critical_surface_density(z_lens, z_source)
    expected = fraction * np.pi * theta_E * radius * sigma / power_law_mean(slope, *masses)
    beside = np.zeros(n)
    if line_of_sight:
        volume = _halos.line_of_sight_volume(radius, z_lens, z_source, cosmology)
        beside = _halos.field_halo_density(*masses, cosmology) * volume
    # the number of the halos first, then four numbers for each: those of a halo do not depend on how many there are
    u = streams.uniform(2)
    count, beside = (np.maximum(poisson.ppf(p, mean), 0.0)[:, None] for p, mean in zip(u.T, (expected, beside)))
    slots = GROUP * int(np.ceil((count + beside).max(initial=0.0) / GROUP))
    u = streams.uniform(slots, 4)

    bound, used = np.arange(slots) < count, np.arange(slots) < count + beside
    z_lens, z_source, theta_E, radius = (value[:, None] for value in (z_lens, z_source, theta_E, radius))
    mass = np.where(bound, power_law_quantile(u[..., 0], slope, *masses), 0.0)
    z = np.array(np.broadcast_to(z_lens, bound.shape))
    if line_of_sight:
        field = used & ~bound
        mass[field] = power_law_quantile(u[..., 0][field], _halos.FIELD_SLOPE, *masses)
        ends = (np.broadcast_to(value, bound.shape)[field] for value in (z_lens, z_source))
        z[field] = _halos.line_of_sight_redshift(u[..., 3][field], *ends, cosmology)
    sigma = cosmology.critical_surface_density(z, z_source)
    r_inner, r_cut = _sizes(profile, np.where(used, mass, 1.0), z, bound, theta_E, sigma, cosmology)
    distance, angle = radius * np.sqrt(u[..., 1]), 2.0 * np.pi * u[..., 2]
    mass, x, y, sigma, r_inner, r_cut, z = map(
        torch.from_numpy, (mass, distance * np.cos(angle), distance * np.sin(angle), sigma, r_inner, r_cut, z)
    )
    strength = mass / (sigma * PROFILES[profile][2](torch.ones_like(mass), r_inner, r_cut))
    return Subhalos(profile, mass, x, y, strength, r_inner, r_cut, z)


def _sizes(profile, mass, z, bound, theta_E, sigma, cosmology):
    """Core or scale radius and truncation radius (arcsec) of halos: cut by the tide if bound, else at their edge."""
    edge, concentration = _halos.field_halo_size(mass, z, cosmology)
    if profile == "pseudo-jaffe":
        r_cut = np.where(bound, np.cbrt(mass * theta_E / (np.pi * (1.0 - CORE) * sigma)), edge)
        return CORE * r_cut, r_cut
    old, c = _halos.field_halo_size(_halos.infall_mass(mass, NFW_TRUNCATION, z, cosmology), z, cosmology)
    r_s = np.where(bound, old / c, edge / concentration)
    return r_s, np.where(bound, NFW_TRUNCATION * r_s, edge)
