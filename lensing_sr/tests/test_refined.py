# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of going beyond a smooth lens and a Sersic source, from an image to its result."""

import numpy as np
import pytest
from astropy import units as u

from lensing_sr import LensImage, LensingSuperResolver, PixelSource, SersicSource
from lensing_sr.errors import InputError
from lensing_sr.fit.tests.problems import PIXEL, formation, lumpy_scene, rendered, smooth_scene

SIZE, SIGMA = 44, 0.03


def image(scene, seed=0):
    """As a detector sees a scene, with a celestial frame of no kind."""
    clean = rendered(scene, formation(SIZE, supersampling=4)).numpy()
    data = clean + SIGMA * np.random.default_rng(seed).normal(size=clean.shape)
    return LensImage(
        data, noise=SIGMA, pixel_scale=PIXEL * u.arcsec / u.pix, psf=0.18 * u.arcsec, unit="electron / s", name="lens"
    )


def resolver(**settings):
    return LensingSuperResolver(**{"scale": 2, "lens_light": False} | settings)


@pytest.fixture(scope="module")
def images():
    return [image(smooth_scene()), image(lumpy_scene(), seed=1)]


@pytest.fixture(scope="module")
def results(images):
    return resolver().super_resolve_many(images)


def test_a_smooth_lens_is_what_it_was(images, results):
    """To rounding: as if nothing else had been tried."""
    assert results[0].quality.kept == () and isinstance(results[0].source, SersicSource)
    assert set(results[0].quality.evidence) >= {"pixel source", "potential"}
    plain = resolver(source="sersic", potential=False).super_resolve(images[0])
    assert plain.quality.evidence == {}
    for name in ("image", "arcs", "model", "residual"):
        scale = np.abs(plain.image.data).max()
        found, expected = (getattr(r, name).data for r in (results[0], plain))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(results[0].image.uncertainty.array, plain.image.uncertainty.array, rtol=1e-3)
    np.testing.assert_allclose(results[0].parameters["value"], plain.parameters["value"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[0].parameters["error"], plain.parameters["error"], rtol=1e-3, atol=1e-6)


def test_a_lumpy_source_is_given_as_it_is(results):
    result = results[1]
    assert "pixel source" in result.quality.kept and result.quality.evidence["pixel source"] > 20
    assert result.meta["source"] == "pixel" and results[0].meta["source"] == "sersic"
    source = result.source
    assert isinstance(source, PixelSource) and isinstance(source.sersic, SersicSource)
    assert source.error is not None and np.isfinite(source.error.value).all() and (source.error.value >= 0).all()
    assert source.brightness.unit == source.error.unit == u.electron / u.s / u.arcsec**2


def test_its_parameters_have_errors(results):
    table = results[1].parameters
    assert np.isfinite(table["value"]).all() and np.isfinite(table["error"]).all()
    free = [row["name"] for row in table if row["name"] != "gamma"]
    assert all(table.loc[name]["error"] > 0 for name in free)
    for name, truth in (("theta_E", 1.3), ("gamma1", 0.03), ("x_lens", 0.03)):
        row = table.loc[name]
        assert abs(row["value"] - truth) < 5 * row["error"] + 0.01


def test_the_model_explains_the_image(results):
    assert 0.8 < results[1].quality.chi2 < 1.2 and results[1].quality.trustworthy
    for result in results:
        assert 0.7 < result.quality.consistency < 1.1


def test_the_source_through_the_lens_makes_the_arcs(results):
    """The delivered source behind the delivered deflection, before the optics, has the arcs' flux."""
    result = results[1]
    lensed = result.deflection.lens(result.source)
    assert float(lensed.value.sum()) == pytest.approx(float(result.arcs.data.sum()), rel=0.03)


def test_structure_explains_what_a_sersic_does_not(images, results):
    plain = resolver(source="sersic", potential=False).super_resolve(images[1])
    assert results[1].quality.chi2 < 0.85 * plain.quality.chi2


def test_the_sky_is_that_of_the_scene(results):
    for result in results:
        assert result.sky == pytest.approx(0.02, abs=0.01)


def test_a_batch_is_a_loop(images, results):
    for one, whole in zip(images, results, strict=True):
        alone = resolver().super_resolve(one)
        assert alone.quality.kept == whole.quality.kept
        difference = np.abs(alone.image.data - whole.image.data)
        assert (difference < 0.2 * whole.image.uncertainty.array + 1e-3 * SIGMA).mean() > 0.99
        ratio = alone.parameters.loc["theta_E"]["value"] / whole.parameters.loc["theta_E"]["value"]
        assert abs(ratio - 1) < 1e-3


def test_pixel_is_always(images):
    result = resolver(source="pixel", potential=False).super_resolve(images[0])
    assert result.quality.kept == ("pixel source",) and isinstance(result.source, PixelSource)
    assert "potential" not in result.quality.evidence
    assert abs(result.parameters.loc["theta_E"]["value"] / 1.3 - 1) < 0.01
    assert any("pixel source" in step and "kept" in step for step in result.meta["history"])


@pytest.mark.parametrize(
    "settings, what",
    [({"source": "lumpy"}, "source"), ({"potential": True}, "potential"), ({"potential": "always"}, "potential")],
)
def test_settings_that_are_none_are_told(settings, what):
    with pytest.raises(InputError, match=what):
        LensingSuperResolver(**settings)


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="needs a CUDA device")
def test_cuda_gives_the_result_of_the_cpu(images, results):
    other = resolver(device="cuda").super_resolve(images[1])
    assert other.quality.kept == results[1].quality.kept
    ratio = other.parameters.loc["theta_E"]["value"] / results[1].parameters.loc["theta_E"]["value"]
    assert abs(ratio - 1) < 2e-3
    difference = np.abs(other.image.data - results[1].image.data)
    assert np.median(difference) < 0.1 * SIGMA
