# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Distances against astropy, lensing scales against each other, and the reference method's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.simulation.cosmology import ARCSEC, REFERENCE, REFERENCE_RAYS, FlatLambdaCDM

few = settings(max_examples=25, deadline=None)
STORED = Path(__file__).resolve().parents[4] / "shared" / "data" / "reference"
needs_stored = pytest.mark.skipif(not STORED.exists(), reason="the samples (../shared/data/reference) are not here")

redshifts = st.lists(st.floats(0.01, 12.0), min_size=2, max_size=2, unique=True).map(sorted)
universes = st.builds(FlatLambdaCDM, H0=st.floats(50.0, 90.0), Om0=st.floats(0.05, 1.0))


@few
@given(universe=universes, z=redshifts)
def test_distances_are_those_of_astropy(universe, z):
    astropy = pytest.importorskip("astropy.cosmology")
    theirs = astropy.FlatLambdaCDM(H0=universe.H0, Om0=universe.Om0)
    near, far = z
    for ours, expected in (
        (universe.comoving_distance(far), theirs.comoving_distance(far)),
        (universe.luminosity_distance(near), theirs.luminosity_distance(near)),
        (universe.angular_diameter_distance(near), theirs.angular_diameter_distance(near)),
        (universe.critical_density(near), theirs.critical_density(near).to("Msun / Mpc3")),
    ):
        np.testing.assert_allclose(ours, expected.value, rtol=1e-9)
    between = theirs.comoving_distance(far).value - theirs.comoving_distance(near).value
    tolerance = 1e-9 * theirs.comoving_distance(far).value
    assert abs(universe.angular_diameter_distance(near, far) * (1 + far) - between) < tolerance


@few
@given(universe=universes, z=st.floats(0.0, 12.0))
def test_redshift_inverts_the_distance(universe, z):
    assert universe.redshift(universe.comoving_distance(z)) == pytest.approx(z, rel=1e-9, abs=1e-12)


@few
@given(universe=universes, z=redshifts, mass=st.floats(1e5, 1e13))
def test_a_mass_fills_its_einstein_radius(universe, z, mass):
    """The mean surface density within the Einstein radius is critical, and the angle is the bending law's."""
    near, far = z
    theta_E = universe.point_mass_einstein_radius(mass, near, far)
    assert np.pi * theta_E**2 * universe.critical_surface_density(near, far) == pytest.approx(mass, rel=1e-10)
    # alpha-hat = 4 G M / (c^2 b), with G M / c^2 = 1.4766250385 km a solar mass and a Mpc of 3.0856775814913673e19 km
    impact = theta_E * ARCSEC * universe.angular_diameter_distance(near)
    bend = 4.0 * 1.4766250385 * mass / 3.0856775814913673e19 / impact
    assert bend * universe.distance_ratio(near, far) == pytest.approx(theta_E * ARCSEC, rel=1e-9)


def test_redshifts_broadcast():
    z_lens, z_source = np.array([[0.2], [0.5]]), np.array([1.0, 1.5, 2.0])
    ratio = REFERENCE.distance_ratio(z_lens, z_source)
    assert ratio.shape == (2, 3)
    assert ratio[1, 2] == REFERENCE.distance_ratio(0.5, 2.0)


def test_the_einstein_radius_of_the_reference():
    """An isothermal lens 'of 1e12 solar masses', to twelve digits."""
    radius = REFERENCE.point_mass_einstein_radius(1e12, 0.5, 1.0, luminosity_distances=True)
    assert radius == pytest.approx(1.2814905676172959, rel=1e-12)
    # what its redshift factors do to it: D_L = (1 + z)^2 D_A, and a difference that is no distance
    assert radius / REFERENCE.point_mass_einstein_radius(1e12, 0.5, 1.0) == pytest.approx(0.7699, abs=1e-4)


@needs_stored
@pytest.mark.parametrize("model", [1, 2, 3])
def test_the_stored_lenses(model):
    """Their Einstein radii, and the factor that scales Models 2 and 3 to a source at redshift 1."""
    with np.load(STORED / f"model{model}_no_sub.npz") as sample:
        theta_E = [json.loads(str(text))[1][0]["theta_E"] for text in sample["lens_json"]]
        alpha = np.hypot(sample["alpha_x"].astype(float), sample["alpha_y"].astype(float))
        stated = sample["theta_E_effective"]
    radius = REFERENCE.point_mass_einstein_radius(1e12, 0.5, 1.0, luminosity_distances=True)
    np.testing.assert_allclose(theta_E, radius, rtol=1e-12)
    factor = 1.0 if model == 1 else REFERENCE_RAYS.deflection_scaling(0.5, 1.0, 2.5)
    # float32 maps of an isothermal sphere; the stated radius has six digits
    np.testing.assert_allclose(alpha, radius * factor, rtol=1e-7)
    np.testing.assert_allclose(stated, radius * factor, rtol=1e-6)
    if model > 1:
        # no other universe that they might have meant: 1e-7 of the factor is 3e-6 of the density
        for universe in (REFERENCE, FlatLambdaCDM(67.66, 0.30966), FlatLambdaCDM(67.74, 0.3075)):
            assert abs(universe.deflection_scaling(0.5, 1.0, 2.5) / factor - 1) > 2e-5


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="Om0: must be above 0 and at most 1, got 1.2"):
        FlatLambdaCDM(Om0=1.2)
    with pytest.raises(InputError, match="H0: must be positive, got nan"):
        FlatLambdaCDM(H0=float("nan"))
    with pytest.raises(InputError, match="z: must not be negative"):
        REFERENCE.comoving_distance(-0.1)
    for luminosity_distances in (False, True):
        with pytest.raises(InputError, match="z_source: must be above the lens's redshift 1.0, got 0.5"):
            REFERENCE.point_mass_einstein_radius(1e9, 1.0, 0.5, luminosity_distances=luminosity_distances)
