# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the verdict: what a header holds of it is all of it."""

import math

import pytest

from lensing_sr.quality import STEPS, Quality

FULL = Quality(
    chi2=1.02, noise_scale=0.63, flags=("edge",), notes=("correlated noise", "no PSF"), lens_evidence=812.0,
    evidence={"pixel source": 310.5, "potential": -1.5, "perturbers": 0.0}, kept=("pixel source",), consistency=0.97,
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
