# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of a validation: the truth passes, an interpolation does not, and no method chooses the pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from lensing_sr import DeflectionField, LensImage, LensingSuperResolver, PixelGrid, SersicSource
from lensing_sr.errors import InputError, OutputError
from lensing_sr.image.degradation import degrade
from lensing_sr.metrics.interpolation import METHODS, upsample
from lensing_sr.result import SuperResolution
from lensing_sr.tests.fake_result import make_result
from lensing_sr.validation import FEWEST, TYPICAL, Validation, validate, withheld_mask

PIXEL, SIGMA, SKY, THETA_E = 0.05, 0.02, 0.3, 1.1


def scene(n=96, per_area=False):
    """Noise-free arcs on n x n pixels."""
    grid = PixelGrid((n, n), pixel_scale=PIXEL)
    field = DeflectionField.from_sie(THETA_E * u.arcsec, 0.1, 0.05, grid=grid)
    source = SersicSource.from_components(90.0 * u.ct / u.s / u.arcsec**2, 0.1, 1.0, 0.15, -0.1, 0.1, 0.0)
    return field.lens(source, supersampling=4).value / (PIXEL**2 if per_area else 1.0)


def lens_image(truth, sigma=SIGMA, seed=0, **changes):
    data = truth + SKY + sigma * np.random.default_rng(seed).normal(size=truth.shape)
    return LensImage(data, **{"noise": sigma, "pixel_scale": PIXEL, "unit": "ct / s"} | changes)


def answer(image, sky, model, theta_E=THETA_E):
    """What `validate` asks of a result."""
    parameters = Table({"name": ["theta_E"], "value": [theta_E]})
    parameters.add_index("name")
    return SimpleNamespace(image=SimpleNamespace(data=image), sky=sky, parameters=parameters, scale=1, **model)


def super_resolver(truth, image, guess):
    """A method that answers coarse images with ``guess(coarse)`` and knows the native image's truth."""
    area = image.per_area

    def super_resolve(given):
        if given.shape == image.shape:
            return answer(truth, SKY, {})
        return answer(guess(given), SKY * (1 if area else 4), {})

    return super_resolve


@pytest.fixture(scope="module")
def truth():
    return scene()


@pytest.fixture(scope="module")
def image(truth):
    return lens_image(truth)


@pytest.fixture(scope="module")
def perfect(truth, image):
    return validate(image, super_resolver(truth, image, lambda coarse: truth), theta_E=THETA_E)


def test_the_truth_passes_with_the_chi2_of_noise(perfect):
    assert perfect.passed
    assert perfect.chi2 == pytest.approx(1.0, abs=4 * np.sqrt(2 / perfect.pixels))
    assert perfect.ratio < 0.8
    assert perfect.floor == pytest.approx(perfect.chi2, rel=0.03)  # of the truth's noise almost nothing is restored
    assert perfect.verdict.startswith(f"closer to {perfect.pixels} withheld pixels than any interpolation")
    assert perfect.theta_E == perfect.theta_E_native == THETA_E


def test_noise_that_is_copied_pays_only_where_it_is_shared(truth, image, perfect):
    """Some of the coarse noise on the truth: closer to the pixels that share it, further from them without it."""

    def copying(coarse):
        noise = coarse.data - 4 * SKY - truth.reshape(48, 2, 48, 2).sum(axis=(1, 3))
        return truth + 0.25 * upsample(noise, 2, "nearest")

    found = validate(image, super_resolver(truth, image, copying), theta_E=THETA_E)
    assert found.chi2 < perfect.chi2 - 0.03
    assert found.chi2_unshared > perfect.chi2_unshared + 0.03
    assert perfect.chi2_unshared == pytest.approx(1.0, abs=4 * np.sqrt(2 / perfect.pixels))
    assert perfect.ratio_unshared < perfect.ratio


@pytest.mark.parametrize("method", METHODS)
def test_an_interpolation_scores_as_itself(image, truth, method):
    """Sky taken off and put on again; none can be better than the best."""
    found = validate(
        image, super_resolver(truth, image, lambda coarse: upsample(coarse.data, 2, method) - SKY), theta_E=THETA_E
    )
    assert found.chi2 == pytest.approx(found.interpolation[method], rel=1e-9)
    assert found.ratio >= 1 - 1e-9 and found.ratio_unshared >= 1 - 1e-9
    assert set(found.interpolation) == set(METHODS)


def test_images_per_area(truth):
    bright = scene(per_area=True)
    image = lens_image(bright, sigma=SIGMA / PIXEL**2, unit="MJy / sr")
    found = validate(image, super_resolver(bright, image, lambda coarse: bright), theta_E=THETA_E)
    assert found.chi2 == pytest.approx(1.0, abs=0.15) and found.ratio < 0.8


def test_smooth_light_without_noise_interpolates_itself():
    """A plane, coarse to fine: what a coarse pixel sums up is given back to its quarters, away from the edges."""
    rows, columns = np.indices((64, 64))
    plane = 100.0 + 2.0 * rows - columns
    image = LensImage(plane + 1e-6 * np.random.default_rng(0).normal(size=plane.shape), noise=1e-6, pixel_scale=PIXEL)
    coarse = degrade(image, 2)
    middle = slice(20, -20), slice(20, -20)
    for method in ("bilinear", "cubic_spline"):
        np.testing.assert_allclose(upsample(coarse.data, 2, method)[middle], plane[middle], atol=1e-4)


def test_masked_pixels_are_neither_scored_nor_felt(truth, image, perfect):
    """Nonsense under a mask changes nothing but how many pixels count."""
    mask = np.zeros(truth.shape, dtype=bool)
    mask[30:36, 60:66] = mask[48, 20] = True
    data = image.data.copy()
    data[mask] = 1e4
    masked = LensImage(data, noise=SIGMA, mask=mask, pixel_scale=PIXEL, unit="ct / s")
    found = validate(masked, super_resolver(truth, masked, lambda coarse: truth), theta_E=THETA_E)
    assert not found.images.where[mask].any()
    assert 0 < perfect.pixels - found.pixels <= 4 * mask.sum()
    assert found.interpolation[found.best] < 1.3 * perfect.interpolation[perfect.best]


def test_shapes_that_the_scale_does_not_divide():
    truth = scene(97)
    image = lens_image(truth)
    found = validate(image, super_resolver(truth, image, lambda coarse: truth[:96, :96]), theta_E=THETA_E)
    assert found.chi2 == pytest.approx(1.0, abs=0.15)
    assert found.images.where.shape == (96, 96)


class TestMask:
    def grid(self):
        return PixelGrid((90, 90), pixel_scale=PIXEL)

    def test_noise_has_hardly_any(self):
        noise = np.random.default_rng(1).normal(size=(90, 90))
        found = withheld_mask(noise, np.ones((90, 90)), np.zeros((90, 90), bool), self.grid(), (0.0, 0.0), 1.0)
        assert found.mean() < 0.005

    def test_a_round_galaxy_has_none_wherever_it_is(self):
        x, y = self.grid().coordinates()
        for centre in ((0.0, 0.0), (0.31, -0.17)):
            galaxy = 100 * np.exp(-np.hypot(x - centre[0], y - centre[1]) / 0.4)
            found = withheld_mask(galaxy, np.ones(x.shape), x > 99, self.grid(), centre, 1.0)
            assert found.mean() < 0.003

    def test_an_arc_is_found_within_the_annulus_only(self):
        x, y = self.grid().coordinates()
        radius = np.hypot(x, y)
        arcs = (np.abs(radius - 1.0) < 0.15) | (np.abs(radius - 1.95) < 0.15) | (radius < 0.3)
        arcs &= x > 0.2
        found = withheld_mask(20.0 * arcs, np.ones(x.shape), y > 1.0, self.grid(), (0.0, 0.0), 1.0)
        assert found[arcs & (np.abs(radius - 1.0) < 0.1) & (y < 0.9)].all()
        assert not found[(radius < 0.5) | (radius > 1.6) | (y > 1.0) | (x < 0)].any()

    def test_an_annulus_outside_the_image(self):
        blank = np.zeros((90, 90))
        assert not withheld_mask(blank, blank + 1, blank > 0, self.grid(), (0.0, 0.0), 100.0).any()
        assert not withheld_mask(blank, blank + 1, blank > 0, self.grid(), (0.0, 0.0), 0.0).any()


def test_the_mask_without_a_radius_is_that_of_the_arcs_light(truth, image):
    """No fit has a say in it: the radius is that of `prepare`."""
    absurd = super_resolver(truth, image, lambda coarse: truth)
    found = validate(image, absurd, lens_light=False)
    assert found.pixels > 100
    assert found.images.radius / TYPICAL > 0.9 * THETA_E
    assert found.ratio < 0.8


def test_nothing_to_validate():
    noise = np.zeros((64, 64))
    image = lens_image(noise)
    found = validate(image, super_resolver(noise, image, lambda coarse: noise), theta_E=0.6)
    assert found.pixels < FEWEST
    assert np.isnan(found.ratio) and not found.passed
    assert found.verdict == f"nothing to validate: {found.pixels} pixels with arcs, {FEWEST} are needed"
    assert Validation.from_values(found.to_values()).verdict == found.verdict


def test_the_verdict_of_a_failure():
    scores = {"bilinear": 1.25, "nearest": 2.0}
    failed = Validation(2, 640, 1.5, scores, chi2_unshared=1.65, interpolation_unshared=1.5)
    assert not failed.passed
    assert failed.verdict == (
        "not closer to 640 withheld pixels than the best interpolation: "
        "chi-square 1.65 against 1.50, ratio 1.10 (shared noise: 1.20)"
    )
    assert "ratio=1.2" in repr(failed) and "bilinear" in repr(failed)


def test_a_validation_of_before_shared_noise_was_told_apart_can_be_read():
    values = Validation(2, 640, 1.1, {"bilinear": 1.25}).to_values()
    old = Validation.from_values({key: value for key, value in values.items() if "unshared" not in key})
    assert old.ratio == pytest.approx(0.88) and not old.passed
    assert old.verdict == "ratio 0.88 with shared noise; validate again to have it taken out"


def test_a_resolver_validates_itself():
    """The packaged fit on arcs that it can model, twice: alone, and with the result at hand."""
    truth = scene(72)
    image = lens_image(truth, psf=0.1 * u.arcsec)
    resolver = LensingSuperResolver(scale=3, lens_light=False, target_psf=0.3 * u.arcsec)
    result = resolver.super_resolve(image)
    found = resolver.validate(image, result=result, seed=3)
    assert (resolver.scale, resolver.target_psf) == (3, 0.3 * u.arcsec)
    assert found.scale == 2 and found.ratio < 0.95
    assert found.theta_E == pytest.approx(THETA_E, rel=0.03)
    assert found.theta_E_native == float(result.parameters.loc["theta_E"]["value"])
    assert found == resolver.validate(image, result=result, seed=3)
    with pytest.raises(InputError, match="result: must be of this image"):
        resolver.validate(lens_image(scene(64)), result=result)
    with pytest.raises(InputError, match="scale: must be a whole number"):
        resolver.validate(image, scale=2.5, result=result)


def test_it_goes_with_the_result_into_the_file(tmp_path, perfect):
    result = make_result()
    result.validation = perfect
    result.write(tmp_path / "sr.fits")
    again = SuperResolution.read(tmp_path / "sr.fits").validation
    assert (again.ratio, again.chi2, again.best, again.pixels, again.ratio_unshared) == pytest.approx(
        (perfect.ratio, perfect.chi2, perfect.best, perfect.pixels, perfect.ratio_unshared)
    )
    assert again.verdict == perfect.verdict
    assert again.images is None
    with pytest.raises(InputError, match="validate the image again"):
        again.plot()
    result.validation = None
    result.write(tmp_path / "none.fits")
    assert SuperResolution.read(tmp_path / "none.fits").validation is None


def test_the_figure_shows_both_accounts(tmp_path, perfect):
    figure = perfect.plot(tmp_path / "validation.png")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [
        "Withheld", "Given", "Super-resolved", f"Interpolated ({perfect.best.replace('_', ' ')})",
        "Residual, super-resolved", "Residual, interpolated",
    ]  # fmt: skip
    assert figure.get_suptitle() == perfect.verdict
    shown = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.get_title()}
    # surface brightness without the sky: the same light at both samplings
    middle, coarse_middle = slice(24, 72), slice(12, 36)
    total = shown["Withheld"][middle, middle].sum()
    assert 4 * shown["Given"][coarse_middle, coarse_middle].sum() == pytest.approx(total, rel=0.05)
    assert shown["Super-resolved"][middle, middle].sum() == pytest.approx(total, rel=0.05)
    with pytest.raises(OutputError):
        perfect.plot(tmp_path / "validation.png")
