# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the whole: from an image to its result and back."""

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr._estimated import TOLERATED
from lensing_sr.datasets import example_path
from lensing_sr.errors import InputError
from lensing_sr.forward.binning import bin_sum
from lensing_sr.quality import judge

PIXEL = 0.1


def _image(seed=0, n=48, **changes):
    """A lensed source without lens light, made by the package's own classes; celestial WCS, East left, rolled."""
    from lensing_sr import DeflectionField, PixelGrid, SersicSource

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [20.0, 30.0]
    roll = np.radians(25)
    wcs.wcs.cd = PIXEL / 3600 * np.array([[-np.cos(roll), np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    grid = PixelGrid((n, n), wcs=wcs)
    field = DeflectionField.from_sie(1.1 * u.arcsec, 0.1, 0.05, grid=grid)
    source = SersicSource.from_components(60.0 * u.ct / u.s / u.arcsec**2, 0.2, 1.0, 0.15, -0.1, 0.1, 0.0)
    clean = field.lens(source, supersampling=4).value
    data = clean + 0.02 * np.random.default_rng(seed).normal(size=(n, n))
    return LensImage(data, **{"noise": 0.02, "wcs": wcs, "unit": "ct / s", "name": f"lens {seed}"} | changes)


@pytest.fixture(scope="module")
def image():
    return _image()


@pytest.fixture(scope="module")
def result(image):
    return LensingSuperResolver(scale=2, lens_light=False).super_resolve(image)


def test_the_lens_is_found(result):
    assert abs(result.parameters.loc["theta_E"]["value"] / 1.1 - 1) < 0.01
    assert result.quality.trustworthy
    assert 0.85 < result.quality.chi2 < 1.15
    assert result.quality.lens_evidence > 100
    assert abs(result.source.x.value - 0.15) < 0.02 and abs(result.source.y.value + 0.1) < 0.02


def test_the_image_plus_sky_is_the_input_to_the_noise(image, result):
    binned = bin_sum(result.image.data, 2) + result.sky
    chi2 = np.mean(((image.data - binned) / image.noise) ** 2)
    assert 0.8 < chi2 < 1.2


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 2.5])
def test_any_scale_shares_the_inputs_edges_and_flux(image, scale):
    result = LensingSuperResolver(scale=scale, lens_light=False).super_resolve(image)
    ny, nx = image.shape
    assert result.image.shape == (int(np.ceil(ny * scale)), int(np.ceil(nx * scale)))
    corner = result.image.wcs.pixel_to_world(-0.5, -0.5).separation(image.grid.wcs.pixel_to_world(-0.5, -0.5))
    assert corner.arcsec < 1e-6
    far = result.image.wcs.pixel_to_world(nx * scale - 0.5, ny * scale - 0.5)
    assert far.separation(image.grid.wcs.pixel_to_world(nx - 0.5, ny - 0.5)).arcsec < 1e-6
    model = result.model.data.sum() - result.sky * result.model.data.size
    light = (result.arcs.data + result.lens_light.data)[~result.image.mask].sum()
    # where n s is no integer the last, masked pixels reach past the input's edge
    assert abs(light / model - 1) < 1e-4


def test_a_batch_is_a_loop():
    images = [_image(seed) for seed in range(3)] + [_image(3, n=52)]
    resolver = LensingSuperResolver(lens_light=False)
    together = resolver.super_resolve_many(images)
    for image, one in zip(images, together, strict=True):
        alone = resolver.super_resolve(image)
        assert one.image.shape == (2 * image.shape[0],) * 2
        assert one.meta["name"] == image.name
        np.testing.assert_allclose(one.parameters["value"], alone.parameters["value"], atol=5e-3, rtol=2e-2)


def test_the_deflection_field_is_that_of_the_parameters(result):
    assert abs(result.deflection.einstein_radius.value / result.parameters.loc["theta_E"]["value"] - 1) < 0.01
    x, y = result.deflection.grid.coordinates()
    values = {row["name"]: row["value"] for row in result.parameters}
    away = np.hypot(x - values["x_lens"], y - values["y_lens"]) > 30 * 0.05
    assert np.abs(result.deflection.curl[away]).max() < 1e-3


def test_units_per_area_keep_surface_brightness(image, result):
    per_area = _image(unit="MJy / sr")
    other = LensingSuperResolver(scale=2, lens_light=False).super_resolve(per_area)
    np.testing.assert_allclose(other.image.data, 4 * result.image.data, rtol=1e-4, atol=1e-4)
    assert other.image.unit == u.MJy / u.sr


def test_masked_pixels_are_marked_and_do_not_matter(image, result):
    data = image.data.copy()
    data[10:13, 30:33] = np.nan
    spoiled = LensImage(data, noise=0.02, wcs=image.grid.wcs, unit="ct / s")
    other = LensingSuperResolver(lens_light=False).super_resolve(spoiled)
    assert other.image.mask[20:26, 60:66].all() and other.image.mask.sum() == 36
    assert np.isfinite(other.image.data).all()
    assert abs(other.parameters.loc["theta_E"]["value"] - result.parameters.loc["theta_E"]["value"]) < 0.01


def test_a_target_psf_is_the_one_of_the_output():
    sharp, wide = (
        LensingSuperResolver(lens_light=False, target_psf=fwhm * u.arcsec).super_resolve(_image(psf=0.15 * u.arcsec))
        for fwhm in (0.1, 0.5)
    )
    assert sharp.image.data.max() > 1.3 * wide.image.data.max()
    assert wide.psf.shape[0] > sharp.psf.shape[0]


def test_pure_noise_is_flagged():
    noise = np.random.default_rng(5).normal(size=(48, 48))
    result = LensingSuperResolver(lens_light=False).super_resolve(LensImage(noise, noise=1.0, pixel_scale=0.1))
    assert not result.quality.trustworthy


def test_the_example_is_recovered():
    result = LensingSuperResolver().super_resolve(example_path())
    assert abs(result.parameters.loc["theta_E"]["value"] / 1.2 - 1) < 0.01
    assert result.quality.trustworthy


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("scale", 0.5), ("scale", 17), ("scale", "two"), ("method", "magic"), ("lens_light", "yes"),
        ("supersampling", 0), ("supersampling", 1.5), ("supersampling", True),
    ],
)  # fmt: skip
def test_settings_are_checked(setting, value):
    with pytest.raises(InputError, match=setting):
        LensingSuperResolver(**{setting: value})


def test_a_device_that_is_not_there_is_named(image):
    with pytest.raises(InputError, match="device"):
        LensingSuperResolver(device="tpu9").super_resolve(image)


def test_an_output_too_large_for_memory_is_refused():
    image = _image(n=48)
    image = LensImage(np.pad(image.data, 400, constant_values=0.01), noise=0.02, pixel_scale=0.1)
    with pytest.raises(InputError, match="scale"):
        LensingSuperResolver(scale=16).super_resolve(image)


GOOD = {"theta_E": 1.2, "gamma1": 0.01, "gamma2": 0.02, "r_eff": 0.1}
SOUND = {
    "arc_chi2": 1.0, "missed": 0.01, "evidence": 100.0, "probability": float("nan"), "doubt": float("nan"),
    "at_bound": [], "rivals": [], "magnification": 8.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "facts", "flag"),
    [
        ({}, {"arc_chi2": 50.0}, "poor fit"), ({}, {"arc_chi2": 3.0, "missed": 0.4}, "poor fit"),
        ({}, {"evidence": 1.0}, "not a lens"), ({}, {"probability": 0.1}, "not a lens"),
        ({}, {"probability": 0.4, "evidence": -5.0}, "not a lens"),
        ({}, {"doubt": 0.9}, "doubtful"),
        ({}, {"rivals": [(0.8, 1.0)]}, "ambiguous"), ({}, {"at_bound": ["theta_E"]}, "edge"),
        ({"r_eff": 0.9}, {}, "swapped"), ({"gamma1": 0.29}, {}, "swapped"),
        ({}, {"magnification": 1.1}, "not multiply imaged"), ({}, {"overlooked": 30.0}, "lens light not modelled"),
    ],
)  # fmt: skip
def test_each_reason_for_doubt_raises_its_flag(values, facts, flag):
    assert judge(GOOD, **SOUND) == []
    assert judge(GOOD | values, **SOUND | facts) == [flag]


def test_what_a_look_misses_is_tolerated_up_to_half_of_the_arcs():
    """Nothing is fitted to them: it is flagged where it does not explain them, not where it does not meet the noise."""
    for facts, flagged in (({"arc_chi2": 50.0, "missed": 0.3}, False), ({"arc_chi2": 50.0, "missed": 0.6}, True)):
        assert ("poor fit" in judge(GOOD, **SOUND | facts, tolerated=TOLERATED)) == flagged
        assert judge(GOOD, **SOUND | facts) == ["poor fit"]


def test_directions_are_given_on_the_sky(image, result):
    values = {row["name"]: row["value"] for row in result.parameters}
    e = np.hypot(values["e1"], values["e2"])
    assert values["q"] == pytest.approx((1 - e) / (1 + e))
    # two points on the major axis, through the WCS alone
    phi = np.radians(values["phi"])
    ends = [image.grid.to_sky(r * np.cos(phi), r * np.sin(phi)) for r in (-1.0, 1.0)]
    assert abs(ends[0].position_angle(ends[1]).deg % 180 - values["position_angle"]) < 1e-3


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="needs a CUDA device")
def test_cuda_gives_the_result_of_the_cpu(image, result):
    other = LensingSuperResolver(scale=2, lens_light=False, device="cuda").super_resolve(image)
    theta_E = [r.parameters.loc["theta_E"]["value"] for r in (result, other)]
    assert theta_E[1] == pytest.approx(theta_E[0], abs=2e-3)
    np.testing.assert_allclose(other.image.data, result.image.data, atol=0.1 * 0.02)
