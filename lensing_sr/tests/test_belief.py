# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what is delivered where there may be no lens: both possibilities, as probable as each is."""

import astropy.units as u
import numpy as np
import pytest

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr._fitted import Fitted
from lensing_sr.simulation import LensPopulation

SETTINGS = {"scale": 2, "source": "sersic", "potential": False}


@pytest.fixture(scope="module")
def lens():
    population = LensPopulation("euclid-vis", shape=(60, 60), scale=1, arc_sn=(60, 80), neighbours=False)
    drawn = population.draw(1, seed=5, keys=("LR", "noise", "psf"))
    return LensImage(
        drawn["LR"][0].double().numpy(), noise=drawn["noise"][0].double().numpy(), psf=drawn["psf"][0].numpy(),
        pixel_scale=population.instrument.pixel_scale * u.arcsec / u.pix, unit="electron / s",
    )  # fmt: skip


def delivered(lens, monkeypatch, belief):
    judged = Fitted.verdict
    with monkeypatch.context() as patched:
        patched.setattr(Fitted, "verdict", lambda self, i, values: judged(self, i, values)._replace(belief=belief))
        return resolved(lens)


def resolved(lens):
    result = LensingSuperResolver(method="fit", **SETTINGS).super_resolve(lens)
    return result, result.image.data, result.image.uncertainty.array


def test_both_possibilities_are_mixed(lens, monkeypatch):
    """Mean and variance of a mixture, and the model itself does not depend on what is believed."""
    result, sure, sigma = delivered(lens, monkeypatch, 1.0)
    never, none, spread = delivered(lens, monkeypatch, 0.0)
    for p in (0.2, 0.5):
        mixed, image, stated = delivered(lens, monkeypatch, p)
        np.testing.assert_allclose(image, p * sure + (1 - p) * none, atol=1e-6)
        variance = p * sigma**2 + (1 - p) * spread**2 + p * (1 - p) * (sure - none) ** 2
        np.testing.assert_allclose(stated, np.sqrt(variance), rtol=1e-4, atol=1e-7)
        for part in ("model", "arcs", "lens_light"):
            np.testing.assert_array_equal(getattr(mixed, part).data, getattr(result, part).data)
    # without its arcs the image is no worse than the data say: they come back as far as they stand out
    binned = none.reshape(60, 2, 60, 2).sum(axis=(1, 3))
    noise = result.input_image.uncertainty.array
    assert np.mean(((lens.data - result.sky - binned) / noise) ** 2) < 1.1
    assert never.quality.consistency < 1.1
    # and nothing of it is known better than the pixels, whose noise an interpolation shares out
    pixels = np.kron(noise, np.ones((2, 2))) / 4
    assert (spread > 0.99 * pixels).all() and np.median(sigma / pixels) < 0.7


def test_a_lens_beyond_doubt_is_delivered_whole(lens):
    result = LensingSuperResolver(**SETTINGS).super_resolve(lens)
    assert result.quality.lens_evidence > 100 and result.quality.lens_probability > 0.5


@pytest.mark.parametrize("method", ["fit", "auto", "network"])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_has_no_arcs(method, correlation):
    """Some lens explains any noise; nothing of it is delivered."""
    field = np.random.default_rng(3).standard_normal((66, 66))
    if correlation:  # neighbours' mean: what drizzling leaves
        taps = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
        field = np.apply_along_axis(np.convolve, 1, np.apply_along_axis(np.convolve, 0, field, taps), taps)
        field /= (taps**2).sum()
    field = field[3:63, 3:63]
    image = LensImage(field, noise=1.0, psf=0.2 * u.arcsec, pixel_scale=0.1 * u.arcsec / u.pix)
    result = LensingSuperResolver(method=method, **SETTINGS).super_resolve(image)
    assert "not a lens" in result.quality.flags
    # in units of the noise of a fine pixel, which is a quarter of that of a coarse one
    assert np.abs(result.image.data - result.lens_light.data).max() < 0.25
