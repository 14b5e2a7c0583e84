# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of laws: each is its distribution's inverse, monotone, within its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from lensing_sr.simulation.laws import LogNormal, LogUniform, Pareto, Quantiles, Rayleigh, TruncatedNormal, Uniform

few = settings(max_examples=25, deadline=None)
TABLE = (0.25, 0.37, 0.65, 1.11, 1.51)
Z = np.linspace(-5.0, 5.0, 401)

LAWS = {
    "uniform": (Uniform(2.0, 5.0), stats.uniform(2.0, 3.0)),
    "log-uniform": (LogUniform(15.0, 200.0), stats.loguniform(15.0, 200.0)),
    "normal": (TruncatedNormal(2.0, 0.15, 1.5, 2.5), stats.truncnorm(-10 / 3, 10 / 3, 2.0, 0.15)),
    "half of a normal": (TruncatedNormal(0.0, 1.0, 2.0, 3.0), stats.truncnorm(2.0, 3.0)),
    "log-normal": (LogNormal(0.12, 0.8), stats.lognorm(0.8, scale=0.12)),
    "pareto": (Pareto(20.0, 2.0), stats.pareto(2.0, scale=20.0)),
}


@pytest.mark.parametrize(("law", "known"), LAWS.values(), ids=LAWS)
def test_laws_are_inverse_distribution_functions(law, known):
    np.testing.assert_allclose(known.cdf(law(Z)), ndtr(Z), atol=1e-10)


@pytest.mark.parametrize("law", [pair[0] for pair in LAWS.values()], ids=LAWS)
def test_laws_are_monotone_and_take_one_number_too(law):
    values = law(Z)
    assert (np.diff(values) >= 0).all()
    assert float(law(1.0)) == values[240]


def test_axis_ratios_are_rayleigh_above_the_least():
    known = stats.rayleigh(scale=0.25)
    q = Rayleigh(0.25, 0.3)(Z)
    np.testing.assert_allclose(known.cdf(1.0 - q) / known.cdf(0.7), ndtr(Z), atol=1e-10)
    assert q.min() >= 0.3
    assert q.max() < 1.0


def test_a_bound_a_value_cuts_the_law_there():
    law, high = LogNormal(0.12, 0.8, low=0.02), np.array([0.03, 0.1, 1.0])
    for z in (-6.0, 0.0, 6.0):
        values = law(np.full(3, z), high=high)
        assert (values >= 0.02).all()
        assert (values <= high).all()
    known = stats.lognorm(0.8, scale=0.12)
    chance = (known.cdf(law(0.3, high=0.1)) - known.cdf(0.02)) / (known.cdf(0.1) - known.cdf(0.02))
    assert chance == pytest.approx(ndtr(0.3), abs=1e-10)


@pytest.mark.parametrize("scale", ["linear", "log", "logit"])
def test_published_percentiles_are_hit_exactly(scale):
    table = (0.09, 0.18, 0.39, 0.64, 0.78)
    law = Quantiles(table, scale)
    np.testing.assert_allclose(law(ndtri([0.05, 0.16, 0.50, 0.84, 0.95])), table, rtol=1e-12)


@given(st.lists(st.floats(0.05, 2.0), min_size=4, max_size=4), st.floats(-7.0, 7.0), st.floats(1e-3, 1.0))
@few
def test_percentiles_make_a_monotone_law(steps, z, step):
    law = Quantiles(tuple(np.exp(np.cumsum([0.0, *steps]))), "log")
    assert law(z) < law(z + step)


def test_tails_go_on_straight_and_stop_at_the_bounds():
    law = Quantiles(TABLE, "log", low=0.1, high=3.0)
    first = np.log(0.37 / 0.25) / (ndtri(0.16) - ndtri(0.05))
    assert np.log(law(-2.2) / law(-2.3)) == pytest.approx(0.1 * first, rel=0.1)
    assert law(-8.0) == 0.1
    assert law(8.0) == 3.0
    assert law(-np.inf) == 0.1
    assert Quantiles(TABLE, "log")(np.inf) < 100.0
    assert Quantiles((0.3, 0.5, 0.7, 0.8, 0.9), "logit")(np.inf) < 1.0
    assert np.isfinite(Pareto(20.0, 2.0)(np.inf))
