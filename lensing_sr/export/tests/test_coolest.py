# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""COOLEST templates, against lenstronomy's reading of them."""

import json
import math

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.export.coolest import coolest_text, polar
from lensing_sr.export.lenstronomy import model_kwargs
from lensing_sr.geometry.grid import PixelGrid

MODEL = {
    "theta_E": 1.2,
    "e1": 0.11,
    "e2": -0.07,
    "x_lens": 0.03,
    "y_lens": -0.02,
    "gamma1": 0.02,
    "gamma2": 0.05,
    "amplitude": 40.0,
    "r_eff": 0.2,
    "n": 1.3,
    "e1_source": -0.2,
    "e2_source": 0.1,
    "x_source": 0.1,
    "y_source": 0.05,
}


def north_up(shape=(40, 60)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 0.0], [30.5, 20.5], [-0.05 / 3600, 0.05 / 3600]
    return PixelGrid(shape, wcs=wcs)


def parameters_of(template):
    """{profile type: {parameter: value}} of all entities."""
    return {
        profile["type"]: {name: entry["point_estimate"]["value"] for name, entry in profile["parameters"].items()}
        for entity in template["lensing_entities"]
        for profile in entity.get("mass_model", []) + entity.get("light_model", [])
    }


def test_lenstronomy_reads_the_same_model():
    """On an image with North up and East left, COOLEST's angles are position angles and its x is -RA."""
    read = pytest.importorskip("lenstronomy.Util.coolest_read_util")
    grid = north_up()
    found = parameters_of(json.loads(coolest_text(MODEL, grid)))
    expected = model_kwargs(MODEL, orientation=grid.orientation)
    sie, shear = expected["kwargs_lens"]
    (source,) = expected["kwargs_source"]
    for profile, kwargs in (("SIE", sie), ("Sersic", source)):
        e1, e2 = read.qphi_coolest_to_e1e2_lenstronomy(found[profile]["q"], found[profile]["phi"])
        np.testing.assert_allclose((e1, e2), (kwargs["e1"], kwargs["e2"]), atol=1e-7)
    gamma = read.gamma_phi_coolest_to_g1_g2_lenstronomy(
        found["ExternalShear"]["gamma_ext"], found["ExternalShear"]["phi_ext"]
    )
    np.testing.assert_allclose(gamma, (shear["gamma1"], shear["gamma2"]), atol=1e-7)
    centre = -found["SIE"]["center_x"], found["SIE"]["center_y"]
    np.testing.assert_allclose(centre, (sie["center_x"], sie["center_y"]), atol=1e-7)
    assert found["SIE"]["theta_E"] == 1.2
    assert found["Sersic"]["theta_eff"] == source["R_sersic"]
    assert found["Sersic"]["I_eff"] == source["amp"]


def test_moved_source_sees_the_same_images():
    """COOLEST's shear acts about (0, 0), ours about the lens: source and shear move together, the image stays."""
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model")
    ours = model_kwargs(MODEL)
    (source,) = ours["kwargs_source"]
    found = parameters_of(json.loads(coolest_text(MODEL, north_up())))["Sersic"]
    lens = lens_model.LensModel(ours["kwargs_model"]["lens_model_list"])
    sie, shear = ours["kwargs_lens"]
    for x, y in ((0.3, 1.1), (-1.2, 0.4)):
        about_lens = lens.ray_shooting(x, y, [sie, shear])
        about_origin = lens.ray_shooting(x, y, [sie, {**shear, "ra_0": 0.0, "dec_0": 0.0}])
        np.testing.assert_allclose(
            np.subtract(about_lens, (source["center_x"], source["center_y"])),
            np.subtract(about_origin, (found["center_x"], found["center_y"])),
            atol=1e-12,
        )


@given(st.floats(0.001, 0.5), st.floats(-89.9, 90.0))
def test_polar_inverts(modulus, angle):
    phi = math.radians(angle + 90)
    found = polar(modulus * math.cos(2 * phi), modulus * math.sin(2 * phi))
    assert found[0] == pytest.approx(modulus)
    assert (found[1] - angle + 90) % 180 - 90 == pytest.approx(0, abs=1e-6)
    assert -90 < found[1] <= 90


def test_errors_of_polar_are_those_of_a_sample():
    random = np.random.default_rng(3)
    e1, e2 = random.normal(0.2, 0.004, 20000), random.normal(-0.1, 0.002, 20000)
    modulus = np.hypot(e1, e2)
    angle = np.degrees(0.5 * np.arctan2(e2, e1))
    found = polar(0.2, -0.1, 0.004, 0.002)
    assert found[2] == pytest.approx(modulus.std(), rel=0.03)
    assert found[3] == pytest.approx(angle.std(), rel=0.03)


def test_errors_become_posteriors():
    errors = {name: 0.01 for name in MODEL}
    template = json.loads(coolest_text(MODEL, north_up(), errors=errors))
    (profile,) = (p for e in template["lensing_entities"] for p in e["mass_model"] if p["type"] == "SIE")
    stats = profile["parameters"]["theta_E"]["posterior_stats"]
    assert stats["mean"] == stats["median"] == 1.2
    assert stats["percentile_16th"] == pytest.approx(1.19)
    assert stats["percentile_84th"] == pytest.approx(1.21)


def test_field_covers_the_pixels_from_edge_to_edge():
    for grid in (north_up(), PixelGrid((40, 60), pixel_scale=0.05)):
        pixels = json.loads(coolest_text(MODEL, grid))["observation"]["pixels"]
        assert (pixels["num_pix_x"], pixels["num_pix_y"]) == (60, 40)
        np.testing.assert_allclose(pixels["field_of_view_x"], (-1.5, 1.5))
        np.testing.assert_allclose(pixels["field_of_view_y"], (-1.0, 1.0))


def test_origin_and_orientation():
    template = json.loads(coolest_text(MODEL, north_up()))
    assert template["coordinates_origin"] == {"ra": "10h00m00.000000s", "dec": "+00d00m00.000000s"}
    angle = template["meta"]["position_angle_of_y_axis_deg"]
    assert min(angle, 360 - angle) < 1e-6
    assert template["meta"]["east_is_counter_clockwise_from_north"] is True
    assert "unknown" in json.loads(coolest_text(MODEL, PixelGrid((4, 4), pixel_scale=1)))["meta"]["coordinates_origin"]


def test_oblong_pixels_leave_the_image_out():
    template = json.loads(coolest_text(MODEL, PixelGrid((4, 4), pixel_scale=(0.1, 0.2))))
    assert template["observation"]["pixels"]["num_pix_x"] == 0


def test_unknown_numbers_are_null():
    template = coolest_text({**MODEL, "gamma": 2.05}, north_up(), errors={"theta_E": float("nan")})
    assert "NaN" not in template
    assert "PEMD" in parameters_of(json.loads(template))
