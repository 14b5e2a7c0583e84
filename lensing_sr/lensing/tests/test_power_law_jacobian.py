# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the power law's Jacobian: it is the derivative of the deflection, and that of the SIE when isothermal."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.lensing import mass
from lensing_sr.lensing.power_law_jacobian import epl_deflection_jacobian

few = settings(max_examples=25, deadline=None)

#: The pairs that follow the deflection, by the parameter they differentiate by.
NAMES = ("x", "y", "e1", "e2", "gamma")


@st.composite
def lenses(draw):
    """Parameters of a lens down to an axis ratio of 0.3, round and nearly round ones among them."""
    e = draw(st.sampled_from([0.0, 1e-12, 1e-5, 9.9e-3, 1.01e-2, 0.1, 0.3]) | st.floats(0.0, 0.7 / 1.3))
    phi = draw(st.floats(0.0, math.pi))
    return {
        "theta_E": draw(st.floats(0.2, 3.0)),
        "gamma": draw(st.just(2.0) | st.floats(1.4, 2.6)),
        "e1": e * math.cos(2 * phi),
        "e2": e * math.sin(2 * phi),
        "x_lens": draw(st.floats(-0.3, 0.3)),
        "y_lens": draw(st.floats(-0.3, 0.3)),
    }


def tensors(parameters, dtype=torch.float64):
    return {name: torch.tensor(value, dtype=dtype) for name, value in parameters.items()}


def positions(lens, n=12, dtype=torch.float64):
    """Positions from 0.1 to 5 arcsec about the lens."""
    rng = np.random.default_rng(7)
    radius, angle = 10.0 ** rng.uniform(-1.0, 0.7, (n, n)), rng.uniform(0, 2 * np.pi, (n, n))
    x, y = radius * np.cos(angle) + lens["x_lens"], radius * np.sin(angle) + lens["y_lens"]
    return torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)


def differences(arguments, name):
    """Derivatives of the deflection by one argument, by central differences of the fourth order."""
    step = 1e-4 * (0.1 if name in ("x", "y") else 1.0)

    def at(shift):
        return torch.stack(mass.epl_deflection(**{**arguments, name: arguments[name] + shift}))

    return (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step)


@settings(max_examples=15, deadline=None)
@given(lens=lenses())
def test_derivatives_are_those_of_finite_differences(lens):
    x, y = positions(lens)
    arguments = {"x": x, "y": y, **tensors(lens)}
    *alpha, by_x, by_y, by_e1, by_e2, by_gamma = epl_deflection_jacobian(**arguments)
    for ours, theirs in zip(alpha, mass.epl_deflection(**arguments)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    pairs = dict(zip(NAMES, (by_x, by_y, by_e1, by_e2, by_gamma)))
    # what the docstring says of the other parameters
    slope = arguments["gamma"] - 1.0
    pairs["theta_E"] = [slope * component / arguments["theta_E"] for component in alpha]
    pairs["x_lens"], pairs["y_lens"] = [-part for part in by_x], [-part for part in by_y]
    for name, pair in pairs.items():
        expected = differences(arguments, name)
        # the step's share of the radius, to the fourth power, at 0.1 arcsec; and rounding, over the step
        scale = 1.0 + expected.abs().amax(0)
        error = (torch.stack(tuple(pair)) - expected).abs() / scale
        assert error.max() < 1e-8, name


@settings(max_examples=15, deadline=None)
@given(lens=lenses())
def test_derivatives_are_those_of_autograd(lens):
    x, y = positions(lens)
    arguments = {name: value.expand_as(x).clone() for name, value in {"x": x, "y": y, **tensors(lens)}.items()}
    answer = epl_deflection_jacobian(**arguments)
    leaves = [arguments[name].requires_grad_() for name in NAMES]
    for k, component in enumerate(mass.epl_deflection(**arguments)):
        gradients = torch.autograd.grad(component.sum(), leaves, retain_graph=k == 0)
        for name, pair, expected in zip(NAMES, answer[2:], gradients):
            torch.testing.assert_close(pair[k], expected, rtol=1e-10, atol=1e-11, msg=name)


@few
@given(lens=lenses())
def test_isothermal_power_law_is_the_sie(lens):
    x, y = positions(lens)
    p = tensors({**lens, "gamma": 2.0})
    ours = epl_deflection_jacobian(x, y, **p)
    p.pop("gamma")
    theirs = mass.sie_deflection_jacobian(x, y, **p)
    # the SIE's own series for nearly round lenses ends at the fourth power of the ellipticity
    nearly_round = 1e-3 < math.hypot(lens["e1"], lens["e2"]) < mass.ROUND
    for name, pair, expected in zip(("alpha", *NAMES), (ours[:2], *ours[2:]), (theirs[:2], *theirs[2:])):
        loose = nearly_round and name in ("e1", "e2")
        for a, b in zip(pair, expected):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9 if loose else 1e-10, msg=name)


@few
@given(lens=lenses())
def test_divergence_is_twice_the_convergence(lens):
    """Against the convergence, and no curl."""
    x, y = positions(lens)
    p = tensors(lens)
    _, _, (xx, yx), (xy, yy), *_ = epl_deflection_jacobian(x, y, **p)
    torch.testing.assert_close(xx + yy, 2.0 * mass.epl_convergence(x, y, **p), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(yx, xy, rtol=0, atol=0)


@pytest.mark.parametrize("e", [0.0, 1e-6, 0.01, 0.2, 0.5])
@pytest.mark.parametrize("gamma", [1.4, 2.0, 2.6])
def test_float32_is_close_to_float64(e, gamma):
    lens = {"theta_E": 1.3, "gamma": gamma, "e1": e, "e2": -0.3 * e, "x_lens": 0.0, "y_lens": 0.0}
    x, y = positions(lens, 24, torch.float32)
    single = tensors(lens, torch.float32)
    double = {name: value.double() for name, value in single.items()}  # the same lens, to its last digit
    ours = epl_deflection_jacobian(x, y, **single)
    theirs = epl_deflection_jacobian(x.double(), y.double(), **double)
    for pair, expected in zip((ours[:2], *ours[2:]), (theirs[:2], *theirs[2:])):
        scale = 1.0 + torch.hypot(*expected)
        for a, b in zip(pair, expected):
            assert a.dtype == torch.float32
            assert ((a.double() - b).abs() / scale).max() < 5e-6


def test_batches_are_independent():
    """Parameters of shape (batch, 1, 1) give what each lens gives alone."""
    batch = {
        "theta_E": [0.5, 1.0, 2.0],
        "gamma": [1.8, 2.0, 2.3],
        "e1": [0.0, 0.2, -0.4],
        "e2": [0.0, 0.001, 0.3],
        "x_lens": [0.0, 0.1, -0.1],
        "y_lens": [0.05, 0.0, 0.0],
    }
    x, y = positions({"x_lens": 0.0, "y_lens": 0.0}, 6)
    batch = {name: value[:, None, None] for name, value in tensors(batch).items()}
    together = epl_deflection_jacobian(x, y, **batch)
    for k in range(3):
        alone = epl_deflection_jacobian(x, y, **{name: value[k, 0, 0] for name, value in batch.items()})
        for pair, expected in zip((together[:2], *together[2:]), (alone[:2], *alone[2:])):
            for a, b in zip(pair, expected):
                assert a.shape == (3, 6, 6)
                torch.testing.assert_close(a[k], b, rtol=1e-12, atol=1e-13)


def test_no_lens_at_all():
    """A batch of no lenses has a Jacobian of no lenses."""
    x, y = positions({"x_lens": 0.0, "y_lens": 0.0}, 3)
    none = torch.zeros(0, 1, 1, dtype=torch.float64)
    alpha_x, _, *pairs = epl_deflection_jacobian(x, y, none, none, none, none)
    assert alpha_x.shape == (0, 3, 3)
    assert all(part.shape == (0, 3, 3) for pair in pairs for part in pair)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("e", [0.0, 1e-20, 1e-4, 0.4, 0.9])
@pytest.mark.parametrize("gamma", [1.3, 2.0, 2.7])
def test_finite_at_the_centre_and_when_round(dtype, e, gamma):
    line = torch.tensor([0.0, 1e-30, 1e-12, 1e-7, 1e-3, 1.0, 1e3], dtype=dtype)
    x, y = torch.meshgrid(line, line, indexing="ij")
    for theta_E in (0.0, 1.0):
        p = tensors({"theta_E": theta_E, "gamma": gamma, "e1": e, "e2": 0.0}, dtype)
        alpha_x, alpha_y, *pairs = epl_deflection_jacobian(x, y, **p)
        for part in (alpha_x, alpha_y, *(part for pair in pairs for part in pair)):
            assert torch.isfinite(part).all()
            assert part[0, 0] == 0.0


def test_lens_that_is_none_is_not_a_number():
    """An ellipticity that is not a number spoils its own lens and no other."""
    x, y = positions({"x_lens": 0.0, "y_lens": 0.0}, 3)
    p = tensors({"theta_E": [1.0, 1.0], "gamma": [2.1, 2.1], "e1": [math.nan, 0.2], "e2": [0.0, 0.1]})
    answer = epl_deflection_jacobian(x, y, **{name: value[:, None, None] for name, value in p.items()})
    for part in (*answer[:2], *(part for pair in answer[2:] for part in pair)):
        assert torch.isnan(part[0]).all()
        assert torch.isfinite(part[1]).all()
