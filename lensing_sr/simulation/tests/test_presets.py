# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the presets: what they promise of a field, the published percentiles, and nothing that depends on a batch."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import spearmanr

from lensing_sr.errors import InputError
from lensing_sr.instruments import instruments
from lensing_sr.simulation.presets import PRESETS, Field, preset

EUCLID = Field(half_width=3.2, psf_fwhm=0.16, pixel_scale=0.1)
PERCENTILES = (16, 50, 84)
#: Collett 2015, percentiles 16, 50, 84.
COLLETT = {
    "theta_E": (0.37, 0.65, 1.11),
    "q": (0.52, 0.71, 0.85),
    "lens_r_eff": (0.35, 0.53, 0.82),
    "r_eff": (0.04, 0.11, 0.27),
    "q_source": (0.45, 0.66, 0.83),
}


def draw(name, count=20000, field=EUCLID, seed=1):
    laws = preset(name, field)
    return laws.draw(np.random.default_rng(seed).standard_normal((count, len(laws.laws))))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_an_image_do_not_depend_on_the_batch(name):
    laws = preset(name, EUCLID)
    normal = np.random.default_rng(0).standard_normal((7, len(laws.laws)))
    whole = laws.draw(normal)
    for k in range(7):
        for key, value in laws.draw(normal[k : k + 1]).items():
            assert value[0] == whole[key][k]


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_stay_where_the_models_hold(name):
    values = draw(name)
    assert all(np.isfinite(value).all() for value in values.values())
    for key in ("q", "q_source"):
        assert 0.1 < values[key].min()
        assert values[key].max() < 1.0
    assert 1.5 <= values["gamma"].min()
    assert values["gamma"].max() <= 2.5
    assert 0.5 <= values["n"].min()
    assert values["n"].max() <= 4.0
    assert values["lens_n"].max() <= 5.0
    assert values["theta_E"].max() < EUCLID.half_width


@pytest.mark.parametrize(("name", "truth"), COLLETT.items(), ids=COLLETT)
def test_euclid_follows_the_published_table(name, truth):
    # sampling error of 20 000: below 2 %
    np.testing.assert_allclose(np.percentile(draw("euclid")[name], PERCENTILES), truth, rtol=0.04)


def test_correlations_leave_each_law_as_it_is():
    laws = preset("euclid", EUCLID)
    values = draw("euclid")
    for (one, other), wanted in laws.correlations.items():
        found = spearmanr(values[one], values[other]).statistic
        assert found == pytest.approx(6.0 / np.pi * np.arcsin(wanted / 2.0), abs=0.03)
    chance = np.arange(1, 20) / 20
    np.testing.assert_allclose(
        np.quantile(values["theta_E"], chance), laws.laws["theta_E"](ndtri(chance)), rtol=0.03
    )


def test_the_broad_prior_is_the_one_written_down():
    values = draw("broad")
    theta_E = np.log(values["theta_E"] / 0.2) / np.log(1.92 / 0.2)
    assert 0.0 <= theta_E.min() < 0.001 < 0.999 < theta_E.max() <= 1.0
    np.testing.assert_allclose(np.quantile(theta_E, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.015)
    assert values["gamma"].mean() == pytest.approx(2.0, abs=0.005)
    assert values["gamma"].std() == pytest.approx(0.15, rel=0.03)
    assert values["gamma1"].std() == pytest.approx(0.05, rel=0.03)
    assert values["q"].min() > 0.3
    assert values["q_source"].min() > 0.2
    n = np.log(values["n"] / 0.5) / np.log(8.0)
    np.testing.assert_allclose(np.quantile(n, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.015)
    wide = values["theta_E"] > 1.5  # where the bound of half the ring does not bite
    assert np.median(values["r_eff"][wide]) == pytest.approx(0.12, rel=0.06)
    assert (values["r_eff"] <= 0.5 * values["theta_E"]).all()
    laws = preset("broad", EUCLID)
    assert (laws.farthest_source, laws.least_magnification, laws.magnification_bias) == (0.9, 3.0, 0.0)
    assert (laws.arc_sn.low, laws.arc_sn.high) == (15.0, 200.0)
    assert laws.correlated_noise == (0.0, 0.25, 0.8)


@pytest.mark.parametrize("name", instruments())
def test_every_telescope_shows_what_is_drawn_for_it(name):
    telescope = instruments()[name]
    field = Field(0.5 * telescope.pixel_scale * min(telescope.shape), telescope.psf_fwhm, telescope.pixel_scale)
    law = preset("broad", field).laws["theta_E"]
    assert law.low >= max(telescope.psf_fwhm, 2.0 * telescope.pixel_scale)
    # the outer image of a sphere's lens of magnification 3 is at 5 / 3 theta_E
    assert 5.0 / 3.0 * law.high <= 1.0001 * field.half_width
    assert law.high > 2.0 * law.low


def test_lensing_has_no_scale():
    small, large = (preset("broad", Field(*(size * v for v in (3.2, 0.16, 0.1)))).laws["theta_E"] for size in (1, 7))
    assert large.low == pytest.approx(7 * small.low)
    assert large.high == pytest.approx(7 * small.high)


def test_bright_galaxies_are_all_that_makes_bright_lenses_bright():
    broad, bright = preset("broad", EUCLID), preset("bright", EUCLID)
    changed = {name for name, law in bright.laws.items() if law != broad.laws[name]}
    assert changed == {"lens_r_eff", "lens_brightness"} and list(bright.laws) == list(broad.laws)
    assert bright.laws["lens_brightness"].high == 10 * broad.laws["lens_brightness"].high


def test_wrong_presets_are_named():
    with pytest.raises(InputError, match="preset: must be one of broad, bright, group, euclid, hst, got 'roman'"):
        preset("roman", EUCLID)
    with pytest.raises(InputError, match="shape: .* ask for more pixels"):
        preset("broad", Field(half_width=1.0, psf_fwhm=0.7, pixel_scale=0.2))
