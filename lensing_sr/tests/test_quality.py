# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the verdict: what a header holds of it is all of it."""

import math

import pytest

from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.quality import (
    DOUBT,
    FEATURES,
    ODDS,
    STEPS,
    Quality,
    probability_of,
    weighed,
)

FULL = Quality(
    chi2=1.02, noise_scale=0.63, flags=("edge",), notes=("correlated noise", "no PSF"), lens_evidence=812.0,
    lens_probability=0.97, doubt=0.02, evidence={"pixel source": 310.5, "potential": -1.5, "perturbers": 0.0},
    kept=("pixel source",), consistency=0.97,
)  # fmt: skip


def test_values_hold_all_of_it():
    assert Quality.from_values(FULL.to_values()) == FULL


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_not_tried_is_not_there(step):
    values = Quality(chi2=1.0, noise_scale=1.0, evidence={step: 12.0}).to_values()
    assert [name for name in values if name.startswith("evidence_")] == [f"evidence_{step.replace(' ', '_')}"]
    assert Quality.from_values(values).evidence == {step: 12.0}


def test_an_older_file_holds_less():
    found = Quality.from_values({"chi2": 1.1, "noise_scale": 1.0, "flags": (), "kept": None, "consistency": None})
    assert found.evidence == {} and found.kept == () and math.isnan(found.consistency)


def test_the_steps_are_those_of_the_header():
    from lensing_sr.export.fits_layout import KEYWORDS

    assert set(FULL.to_values()) <= set(KEYWORDS)


def test_it_says_what_was_kept():
    assert "pixel source" in repr(FULL) and "310.5" in repr(FULL) and "0.97" in repr(FULL)


def test_probabilities_are_of_odds():
    assert probability_of(0.0) == 0.5 and math.isnan(probability_of(math.nan))
    for odds in (-3.0, 0.7, 12.0):
        p = probability_of(odds)
        assert math.log(p / (1.0 - p)) == pytest.approx(odds)
    assert probability_of(-1e4) == 0.0 and probability_of(1e4) == 1.0


FINITE = {"allow_nan": False, "allow_infinity": False}
GROUNDS = st.fixed_dictionaries({
    "seen": st.floats(-20, 20, **FINITE), "behind": st.floats(-20, 20, **FINITE),
    "evidence": st.floats(-1e3, 1e5, **FINITE),
    "arc_chi2": st.floats(0.1, 1e3, **FINITE), "apart": st.floats(0, 5, **FINITE),
    "unlikely": st.floats(-1e3, 0, **FINITE), "others": st.integers(0, 5), "shear": st.floats(0, 0.6, **FINITE),
    "size": st.floats(0.001, 10, **FINITE),
})  # fmt: skip


@given(GROUNDS, st.sampled_from(sorted(FEATURES)), st.floats(0, 3, **FINITE))
def test_weights_say_what_speaks_for_what(grounds, name, more):
    """More of a ground whose weight is positive makes it likelier, whichever it is; nothing is certain."""
    weights = {"offset": 0.2, name: 0.7}
    p = weighed(grounds, weights)
    assert 0.0 < p < 1.0
    other = grounds | {name: grounds[name] + (round(more) if name == "others" else more)}
    if name == "unlikely":
        other[name] = min(other[name], 0.0)
    assert weighed(other, weights) >= p
    assert weighed(grounds, {"offset": 0.2}) == pytest.approx(probability_of(0.2))


@given(GROUNDS)
def test_a_lens_that_looks_like_one_is_one(grounds):
    """What the finder and the fit say counts for a lens, and what contradicts a fit against its radius."""
    assert min(ODDS["seen"], ODDS["behind"]) > 0 and ODDS["arc_chi2"] < 0 < DOUBT["apart"]
    sure = grounds | {"seen": 8.0, "behind": 8.0, "evidence": 1e4, "arc_chi2": 1.0, "shear": 0.05, "size": 0.1}
    assert weighed(sure, ODDS) > 0.9 > weighed(sure | {"seen": -8.0, "behind": -8.0}, ODDS)
    fitted = {"evidence": 1e4, "arc_chi2": 1.0, "others": 0, "shear": 0.0, "size": 0.1}
    agreed = grounds | fitted | {"apart": 0.01, "unlikely": 0.0}
    # an Einstein radius far from where the estimator sees it is one to which it gives hardly a chance
    contradicted = agreed | {"evidence": 0.0, "apart": 1.0, "unlikely": -10.0, "others": 2}
    assert weighed(agreed, DOUBT) < 0.1 < weighed(contradicted, DOUBT)
