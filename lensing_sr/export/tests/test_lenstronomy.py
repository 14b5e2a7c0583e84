# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The change of frame and of b_n, against lenstronomy itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.export.lenstronomy import model_kwargs, sersic_kwargs, turn_spin2, turn_vector
from lensing_sr.lensing.mass import epl_deflection, shear_deflection
from lensing_sr.light.sersic import sersic_brightness

component = st.floats(-0.3, 0.3)
angles = st.floats(-4, 4)


def orientation_of(angle, mirrored):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])


@given(component, component, angles, st.booleans())
def test_spin2_turns_as_the_quadrupole_it_describes(e1, e2, angle, mirrored):
    turn = orientation_of(angle, mirrored)
    expected = turn @ np.array([[e1, e2], [e2, -e1]]) @ turn.T
    np.testing.assert_allclose(turn_spin2(e1, e2, turn), expected[0], atol=1e-14)


@given(component, component, st.floats(0, 3.1))
def test_mirrored_image_mirrors_angles(e1, e2, phi):
    """East left: phi -> pi - phi, e2 -> -e2, x -> -x."""
    turn = np.diag([-1.0, 1.0])
    assert turn_spin2(e1, e2, turn) == (e1, -e2)
    x, y = turn_vector(np.cos(phi), np.sin(phi), turn)
    assert np.arctan2(y, x) == pytest.approx(np.pi - phi)


@given(component, component, component, component, angles, st.booleans(), st.floats(1.6, 2.4))
def test_deflections_are_those_of_lenstronomy(e1, e2, gamma1, gamma2, angle, mirrored, gamma):
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model")
    import torch

    turn = orientation_of(angle, mirrored)
    values = {
        "theta_E": 1.1,
        "gamma": gamma,
        "e1": e1,
        "e2": e2,
        "x_lens": 0.2,
        "y_lens": -0.1,
        "gamma1": gamma1,
        "gamma2": gamma2,
    }
    x, y = np.random.default_rng(1).uniform(-2, 2, (2, 40))
    kwargs = model_kwargs(values, orientation=turn)
    lens = lens_model.LensModel(kwargs["kwargs_model"]["lens_model_list"])
    theirs = lens.alpha(*(turn @ np.stack([x, y])), kwargs["kwargs_lens"])
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    place = torch.from_numpy(x), torch.from_numpy(y)
    ours = epl_deflection(*place, *(tensors[name] for name in ("theta_E", "gamma", "e1", "e2", "x_lens", "y_lens")))
    shear = shear_deflection(*place, tensors["gamma1"], tensors["gamma2"], 0.2, -0.1)
    ours = turn @ np.stack([(a + b).numpy() for a, b in zip(ours, shear)])
    np.testing.assert_allclose(theirs, ours, atol=1e-6)


@given(st.floats(0.5, 6), st.floats(0.05, 2))
def test_sersic_profile_is_the_same_at_every_radius(n, r_eff):
    import torch

    amplitude, radius = sersic_kwargs(3.0, r_eff, n)
    r = torch.logspace(-2, 1, 30, dtype=torch.float64) * r_eff
    one, zero = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    exact = sersic_brightness(r, zero, 3.0 * one, r_eff * one, n * one, zero, zero)
    theirs = sersic_brightness(r, zero, amplitude * one, radius * one, n * one, zero, zero, bn="lenstronomy")
    np.testing.assert_allclose(theirs, exact, rtol=1e-9)


def test_model_lists_name_what_was_given():
    sie = {"theta_E": 1.0, "e1": 0.0, "e2": 0.0, "x_lens": 0.0, "y_lens": 0.0}
    assert model_kwargs(sie)["kwargs_model"]["lens_model_list"] == ["SIE"]
    assert model_kwargs({**sie, "gamma": 2.1})["kwargs_model"]["lens_model_list"] == ["EPL"]
    both = model_kwargs({**sie, "gamma1": 0.01, "gamma2": 0.0})
    assert both["kwargs_model"]["lens_model_list"] == ["SIE", "SHEAR"]
    assert both["kwargs_source"] == []
