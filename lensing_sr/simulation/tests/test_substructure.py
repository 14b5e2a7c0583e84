# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The reference's dark matter as it drew it, and subhalos by the laws that they claim to follow."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lensing_sr.errors import InputError
from lensing_sr.simulation import _halos
from lensing_sr.simulation.cosmology import ARCSEC, REFERENCE, FlatLambdaCDM
from lensing_sr.simulation.randomness import Streams
from lensing_sr.simulation.substructure import (
    CLASSES,
    PROFILES,
    draw_point_masses,
    draw_subhalos,
    power_law_mean,
    power_law_quantile,
    vortex_positions,
)

few = settings(max_examples=25, deadline=None)
STORED = Path(__file__).resolve().parents[4] / "shared" / "data" / "reference"
needs_stored = pytest.mark.skipif(not STORED.exists(), reason="the samples (../shared/data/reference) are not here")

#: Chance with which a right law would fail one of these Kolmogorov-Smirnov tests (the draws below have fixed seeds).
CHANCE = 1e-3


def stored(kind):
    """All stored point masses of a class, models 1 to 3: Einstein radii and positions (36, K), and the axion's mass."""
    numbers, axion = [], []
    for model in (1, 2, 3):
        with np.load(STORED / f"model{model}_{kind}.npz") as sample:
            axion.append(sample["axion_mass"])
            for text in sample["lens_json"]:
                main, *masses = json.loads(str(text))[1]
                assert main["theta_E"] > 1 and main["center_x"] == main["center_y"] == 0
                numbers.append([[m["theta_E"], m["center_x"], m["center_y"]] for m in masses])
    theta_E, x, y = np.moveaxis(np.array(numbers), 2, 0)
    return theta_E, x, y, np.concatenate(axion)


def mass_of(theta_E):
    """Solar masses of point masses by the reference's own formula."""
    return 1e12 * (theta_E / REFERENCE.point_mass_einstein_radius(1e12, 0.5, 1.0, luminosity_distances=True)) ** 2


def power_law_cdf(m, slope, lower, upper):
    p = slope + 1
    return (m**p - lower**p) / (upper**p - lower**p)


def follows(sample, cdf):
    return stats.kstest(np.ravel(sample), cdf).pvalue > CHANCE


def grid(n=20, pixel=0.2, dtype=torch.float32):
    line = (torch.arange(n, dtype=dtype) - (n - 1) / 2) * pixel
    return line.reshape(1, 1, -1), line.reshape(1, -1, 1)


@needs_stored
def test_stored_vortices_from_their_mass_and_angle():
    theta_E, x, y, axion_mass = stored("axion")
    assert theta_E.shape == (36, 100)
    expected = REFERENCE.point_mass_einstein_radius(3e8, 0.5, 1.0, luminosity_distances=True)
    np.testing.assert_allclose(theta_E, expected, rtol=1e-12)
    angle = np.arctan2(y[:, -1] - y[:, 0], x[:, -1] - x[:, 0])
    for ours, theirs in zip(vortex_positions(axion_mass, angle), (x, y), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    assert follows(np.log10(axion_mass), stats.uniform(-24, 2).cdf)
    assert follows(angle % (2 * np.pi), stats.uniform(0, 2 * np.pi).cdf)


@needs_stored
def test_stored_cold_dark_matter_follows_the_law():
    """36 x 25 masses: p = 0.32 for the slope -0.9 of the code, below 1e-300 for the -1.9 of its comment."""
    theta_E, x, y, axion_mass = stored("cdm")
    assert theta_E.shape == (36, 25) and np.isnan(axion_mass).all()
    mass = mass_of(theta_E)
    assert follows(mass, lambda m: power_law_cdf(m, -0.9, 1e6, 1e10))
    assert not follows(mass, lambda m: power_law_cdf(m, -1.9, 1e6, 1e10))
    assert follows(np.hypot(x, y), stats.uniform(0.25, 1.75).cdf)
    assert follows(np.arctan2(y, x), stats.uniform(-np.pi, 2 * np.pi).cdf)


def test_drawn_point_masses_follow_the_reference():
    n = 400
    cdm = draw_point_masses("cdm", Streams(3, 0, n, "substructure"))
    mass, radius = mass_of(cdm.theta_E.numpy()), torch.hypot(cdm.x, cdm.y).numpy()
    assert cdm.theta_E.shape == (n, 25) and cdm.axion_mass.isnan().all()
    assert follows(mass, lambda m: power_law_cdf(m, -0.9, 1e6, 1e10))
    assert follows(radius, stats.uniform(0.25, 1.75).cdf)
    assert follows(torch.atan2(cdm.y, cdm.x), stats.uniform(-np.pi, 2 * np.pi).cdf)
    # nothing of a mass tells its place
    for a, b in ((mass, radius), (mass, cdm.x.numpy()), (radius, cdm.y.numpy())):
        assert stats.spearmanr(a.ravel(), b.ravel()).pvalue > CHANCE

    axion = draw_point_masses("axion", Streams(3, 0, n, "substructure"))
    assert follows(axion.axion_mass.log10(), stats.uniform(-24, 2).cdf)
    angle = torch.atan2(axion.y[:, -1], axion.x[:, -1])
    assert follows(angle, stats.uniform(-np.pi, 2 * np.pi).cdf)
    np.testing.assert_allclose(mass_of(axion.theta_E.numpy()).sum(1), 3e10, rtol=1e-12)
    torch.testing.assert_close(torch.hypot(axion.x, axion.y)[:, -1], 3e-24 / axion.axion_mass)

    steep = draw_point_masses("cdm", Streams(3, 0, n, "substructure"), slope=-1.9)
    assert follows(mass_of(steep.theta_E.numpy()), lambda m: power_law_cdf(m, -1.9, 1e6, 1e10))


@needs_stored
@pytest.mark.parametrize("kind", ["axion", "cdm"])
def test_drawn_and_stored_cannot_be_told_apart(kind):
    theirs, drawn = stored(kind), draw_point_masses(kind, Streams(1, 0, 300, "substructure"))
    ours = [value.numpy() for value in (drawn.theta_E, drawn.x, drawn.y)]
    measures = {
        "axion": lambda t, x, y: (np.hypot(x, y)[:, -1], np.arctan2(y, x)[:, -1]),
        "cdm": lambda t, x, y: (t.ravel(), np.hypot(x, y).ravel(), np.arctan2(y, x).ravel(), (t**2).sum(1)),
    }[kind]
    for a, b in zip(measures(*ours), measures(*theirs[:3]), strict=True):
        assert stats.ks_2samp(a, b).pvalue > CHANCE


@pytest.mark.parametrize("kind", CLASSES)
def test_an_image_does_not_depend_on_its_batch(kind):
    x, y = grid()

    def alpha(first, count):
        streams = Streams(7, first, count, "substructure")
        if kind == "subhalos":
            drawn = draw_subhalos(streams, theta_E=1.2, masses=(1e8, 1e10), line_of_sight=True)
        else:
            drawn = draw_point_masses(kind, streams)
        return torch.stack(drawn.to(dtype=torch.float32).deflection(x, y), 1)

    together = alpha(0, 9)
    assert together.dtype == torch.float32 and together.shape == (9, 2, 20, 20)
    assert torch.equal(torch.cat([alpha(0, 4), alpha(4, 1), alpha(5, 4)]), together)
    assert bool((together == 0).all()) == (kind == "no_sub")
    assert kind == "no_sub" or not torch.equal(together[0], together[1])


def test_einstein_radii_by_true_distances():
    true, theirs = (
        draw_point_masses("cdm", Streams(0, 0, 2, "substructure"), luminosity_distances=flag) for flag in (False, True)
    )
    mass = mass_of(theirs.theta_E.numpy())
    np.testing.assert_allclose(true.theta_E, REFERENCE.point_mass_einstein_radius(mass, 0.5, 1.0), rtol=1e-12)
    assert torch.equal(true.x, theirs.x)


def test_wrong_settings_are_told():
    streams = Streams(0, 0, 2, "substructure")
    with pytest.raises(InputError, match="dark_matter: must be 'no_sub' or 'axion' or 'cdm', got 'wdm'"):
        draw_point_masses("wdm", streams)
    with pytest.raises(InputError, match="dark_matter"):
        draw_point_masses("subhalos", streams)
    for settings_, name in (
        ({"profile": "king"}, "profile"),
        ({"fraction": 1.0}, "fraction"),
        ({"masses": (1e9, 1e8)}, "masses"),
        ({"extent": 0.0}, "extent"),
        ({"z_source": 0.3}, "z_source"),
    ):
        with pytest.raises(InputError, match=f"^{name}: "):
            draw_subhalos(streams, theta_E=1.0, **settings_)


@few
@given(slope=st.sampled_from([-2.0, -1.0]) | st.floats(-2.5, 0.5), decades=st.floats(0.5, 5.0))
def test_power_law_quantile_and_mean(slope, decades):
    """The quantile inverts the integral of the law, and the mean is that of its quantiles."""
    lower, upper = 1e6, 1e6 * 10.0**decades
    u = np.linspace(0, 1, 33)
    m = power_law_quantile(u, slope, lower, upper)
    assert m[0] == pytest.approx(lower) and m[-1] == pytest.approx(upper) and (np.diff(m) > 0).all()
    # trapezium in ln m
    fine = np.geomspace(lower, upper, 20001)
    law = fine ** (slope + 1) / lower ** (slope + 1)
    integral = np.concatenate([[0], np.cumsum(0.5 * (law[1:] + law[:-1]))])
    np.testing.assert_allclose(np.interp(m, fine, integral / integral[-1]), u, atol=1e-6)
    mean = np.trapezoid(law * fine, np.log(fine)) / np.trapezoid(law, np.log(fine))
    assert power_law_mean(slope, lower, upper) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("profile", PROFILES)
def test_subhalos_follow_their_laws(profile):
    n, theta_E, masses = 60, 1.3, (1e7, 1e10)
    halos = draw_subhalos(Streams(5, 0, n, "substructure"), theta_E=theta_E, profile=profile, masses=masses)
    used = halos.mass > 0
    assert (halos.count > 0).all() and (halos.redshift[used] == 0.5).all()
    assert (halos.strength[~used] == 0).all()
    mass, radius = halos.mass[used].numpy(), torch.hypot(halos.x, halos.y)[used].numpy()
    assert follows(mass, lambda m: power_law_cdf(m, -1.9, *masses))
    assert follows((radius / (2 * theta_E)) ** 2, stats.uniform.cdf)
    # Poisson: the number's mean and variance agree; its expectation is the promised share of the lens's mass
    host = 2 * np.pi * theta_E**2 * REFERENCE.critical_surface_density(0.5, 1.0)
    expected = 0.01 * host / power_law_mean(-1.9, *masses)
    count = halos.count.numpy()
    assert abs(count.mean() - expected) < 4 * np.sqrt(expected / n)
    assert 0.4 < count.var() / expected < 2.0
    # far away the pull is that of the mass, whatever the profile
    far = torch.tensor(1e6, dtype=torch.float64).reshape(1, 1, 1)
    pull = halos.deflection(far, 0 * far)[0][:, 0, 0] * np.pi * 1e6 * REFERENCE.critical_surface_density(0.5, 1.0)
    np.testing.assert_allclose(pull, halos.mass.sum(1), rtol=1e-4)


def test_the_tide_cuts_isothermal_subhalos():
    theta_E = np.array([0.8, 1.6])
    halos = draw_subhalos(Streams(5, 0, 2, "substructure"), theta_E=theta_E, masses=(1e8, 1e10))
    used = halos.mass > 0
    tidal = (halos.strength * torch.tensor(theta_E)[:, None]).sqrt()
    torch.testing.assert_close(halos.r_cut[used], tidal[used], rtol=1e-12, atol=0)
    assert (halos.r_inner[used] / halos.r_cut[used] - 0.01).abs().max() < 1e-12


def test_nfw_subhalos_are_remnants_of_field_halos():
    """Their scale density and radius are those of the uncut halo, whose mass they have lost the outskirts of."""
    halos = draw_subhalos(Streams(5, 0, 2, "substructure"), theta_E=1.0, profile="nfw", masses=(1e8, 1e10))
    used = halos.mass > 0
    mass, r_s, kappa_s = (value[used].numpy() for value in (halos.mass, halos.r_inner, halos.strength))
    sigma = REFERENCE.critical_surface_density(0.5, 1.0)
    before = _halos.infall_mass(mass, 2.0, 0.5, REFERENCE)
    edge, c = _halos.field_halo_size(before, 0.5, REFERENCE)
    np.testing.assert_allclose(r_s, edge / c, rtol=1e-12)
    # M200 = 4 pi rho_s r_s^3 [ln(1 + c) - c / (1 + c)]
    whole = 4 * np.pi * kappa_s * sigma * r_s**2 * (np.log1p(c) - c / (1 + c))
    np.testing.assert_allclose(whole, before, rtol=1e-9)
    assert ((mass / before > 0.3) & (mass / before < 0.5)).all()
    # and M200 fills its radius with 200 times the critical density
    proper = edge * ARCSEC * REFERENCE.angular_diameter_distance(0.5)
    np.testing.assert_allclose(before / (4 / 3 * np.pi * proper**3), 200 * REFERENCE.critical_density(0.5), rtol=1e-12)


@pytest.mark.parametrize("profile", PROFILES)
def test_halos_along_the_line_of_sight(profile):
    kwargs = {"theta_E": 1.0, "profile": profile, "masses": (1e8, 1e10)}
    n = 200
    alone = draw_subhalos(Streams(5, 0, n, "substructure"), **kwargs)
    halos = draw_subhalos(Streams(5, 0, n, "substructure"), line_of_sight=True, **kwargs)
    slots = alone.mass.shape[1]
    bound = alone.mass > 0
    # the lens's own subhalos are the same ones
    for name in ("mass", "x", "y", "strength", "r_cut"):
        assert torch.equal(getattr(halos, name)[:, :slots][bound], getattr(alone, name)[bound])
    field = halos.mass > 0
    field[:, :slots] &= ~bound
    z = halos.redshift[field].numpy()
    volume = _halos.line_of_sight_volume(2.0, 0.5, 1.0, REFERENCE)
    expected = _halos.field_halo_density(1e8, 1e10, REFERENCE) * volume
    assert abs(field.sum() / n - expected) < 4 * np.sqrt(expected / n)
    # the integral of the cross-section of the light over the comoving distance
    near, far = REFERENCE.comoving_distance(np.array([0.5, 1.0]))
    where = np.linspace(0, far, 4001)
    half = 2.0 * ARCSEC * np.where(where < near, where, near * (far - where) / (far - near))
    whole = np.concatenate([[0], np.cumsum(0.5 * np.pi * (half[1:] ** 2 + half[:-1] ** 2) * np.diff(where))])
    assert whole[-1] == pytest.approx(volume, rel=1e-5)
    assert follows(REFERENCE.comoving_distance(z), lambda d: np.interp(d, where, whole / whole[-1]))
    # a halo's mass in its own critical surface density: its efficiency falls to nothing at both ends
    far_off = torch.tensor(1e9, dtype=torch.float64).reshape(1, 1, 1)
    pull = halos.deflection(far_off, 0 * far_off)[0][:, 0, 0] * np.pi * 1e9
    sigma = REFERENCE.critical_surface_density(halos.redshift.numpy(), 1.0)
    np.testing.assert_allclose(pull, (halos.mass.numpy() / sigma).sum(1), rtol=1e-4)


def test_the_abundance_of_field_halos_is_that_of_sheth_and_tormen():
    """The stated power law against the mass function itself, by the power spectrum of Eisenstein & Hu (1998)."""
    Om, h, sigma8, ns, Ob = 0.3, 0.7, 0.8, 0.96, 0.045
    k = np.logspace(-4, 4, 8000)  # h / Mpc
    om, ob, warm = Om * h * h, Ob * h * h, 2.7255 / 2.7
    sound = 44.5 * np.log(9.83 / om) / np.sqrt(1 + 10 * ob**0.75) * h
    drop = 1 - 0.328 * np.log(431 * om) * Ob / Om + 0.38 * np.log(22.3 * om) * (Ob / Om) ** 2
    q = k * warm**2 / (Om * h * (drop + (1 - drop) / (1 + (0.43 * k * sound) ** 4)))
    log = np.log(2 * np.e + 1.8 * q)
    power = k**ns * (log / (log + (14.2 + 731 / (1 + 62.5 * q)) * q * q)) ** 2

    def spread(radius):
        x = k * np.asarray(radius)[..., None]
        window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
        return np.sqrt(np.trapezoid(power * window**2 * k**3, np.log(k)))

    mass = np.logspace(6, 10, 41)
    universe = FlatLambdaCDM(100 * h, Om)
    density = Om * universe.critical_density(0.0)
    sigma = sigma8 * spread((3 * mass / (4 * np.pi * density)) ** (1 / 3) * h) / spread(8.0)

    def growth(z):  # H(a) times the integral of da / (a H)^3
        a = np.exp(-np.linspace(7, np.log1p(z), 4000))
        return np.sqrt(Om / a[-1] ** 3 + 1 - Om) * np.trapezoid(a / (Om / a + (1 - Om) * a * a) ** 1.5, np.log(a))

    ours = [_halos.field_halo_density(*bin_, universe) for bin_ in zip(mass[:-1], mass[1:], strict=True)]
    for z in (0.0, 0.5, 1.0):
        nu = 1.686 / (sigma * growth(z) / growth(0.0))
        f = 0.3222 * np.sqrt(2 * 0.707 / np.pi) * (1 + (0.707 * nu**2) ** -0.3) * nu * np.exp(-0.707 * nu**2 / 2)
        number = f * density / mass * -np.gradient(np.log(sigma), np.log(mass))  # dn / d ln m
        found = 0.5 * (number[1:] + number[:-1]) * np.diff(np.log(mass))
        assert abs(np.log(found / ours)).max() < 0.18, z


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_masses_move(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    x, y = (p.to(device) for p in grid())
    masses = draw_point_masses("axion", Streams(0, 0, 2, "substructure"))
    halos = draw_subhalos(Streams(0, 0, 2, "subhalos"), theta_E=1.0, masses=(1e8, 1e10))
    for drawn in (masses, halos):
        moved = drawn.to(device, torch.float32)
        assert type(moved) is type(drawn) and moved.x.dtype == torch.float32 and moved.x.device.type == device
        for a, b in zip(moved.deflection(x, y), drawn.deflection(x.cpu().double(), y.cpu().double()), strict=True):
            assert a.dtype == torch.float32 and a.device.type == device
            torch.testing.assert_close(a.cpu().double(), b, rtol=1e-4, atol=1e-6)
    assert masses.to(device).axion_mass.device.type == "cpu" and masses.to(dtype=torch.float32).axion_mass[0] > 1e-24
    kappa = halos.to(device, torch.float32).convergence(x, y)
    assert kappa.shape == (2, 20, 20) and (kappa > 0).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_lens_no_subhalos(profile):
    x, y = grid()
    for kwargs in ({"theta_E": np.zeros(3)}, {"theta_E": [0.0, 1.0, 0.0]}, {"theta_E": 1.0, "fraction": 0.0}):
        halos = draw_subhalos(Streams(2, 0, 3, "subhalos"), profile=profile, masses=(1e8, 1e10), **kwargs)
        alpha, kappa = halos.deflection(x, y)[0], halos.convergence(x, y)
        assert alpha.shape == kappa.shape == (3, 20, 20)
        assert torch.isfinite(alpha).all() and torch.isfinite(kappa).all()
        empty = halos.count == 0
        assert empty.sum() == (2 if isinstance(kwargs["theta_E"], list) else 3)
        assert not alpha[empty].any() and not kappa[empty].any()
