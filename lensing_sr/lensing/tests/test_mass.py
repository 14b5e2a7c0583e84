# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the mass models: what others compute, what derivatives must obey, and that nothing is ever infinite."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.lensing import mass

few = settings(max_examples=25, deadline=None)


@st.composite
def lenses(draw):
    """Parameters of a lens down to an axis ratio of 0.2, nearly round ones among them."""
    e = draw(st.sampled_from([0.0, 1e-5, 9.9e-3, 1.01e-2, 0.1, 0.3]) | st.floats(0.0, 2.0 / 3.0))
    phi = draw(st.floats(0.0, math.pi))
    return {
        "theta_E": draw(st.floats(0.2, 3.0)),
        "e1": e * math.cos(2 * phi),
        "e2": e * math.sin(2 * phi),
        "x_lens": draw(st.floats(-0.3, 0.3)),
        "y_lens": draw(st.floats(-0.3, 0.3)),
    }


slopes = st.floats(1.2, 2.8)


def tensors(parameters, dtype=torch.float64):
    return {name: torch.tensor(value, dtype=dtype) for name, value in parameters.items()}


def positions(n=24, dtype=torch.float64):
    """Positions all over the field and close to its centre, none on the centre itself."""
    rng = np.random.default_rng(7)
    radius = 10.0 ** rng.uniform(-2.5, 0.7, n * n)
    angle = rng.uniform(0, 2 * np.pi, n * n)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return torch.tensor(x.reshape(n, n), dtype=dtype), torch.tensor(y.reshape(n, n), dtype=dtype)


def models(lens, gamma):
    """Every mass model as (name, deflection, potential, convergence) of positions."""
    p, slope = tensors(lens), torch.tensor(gamma, dtype=torch.float64)
    where = {"x_lens": p["x_lens"], "y_lens": p["y_lens"]}
    shape = {"e1": p["e1"], "e2": p["e2"]}
    epl = {"theta_E": p["theta_E"], "gamma": slope, **shape, **where}
    point = (p["theta_E"], p["x_lens"], p["y_lens"])
    return [
        (
            "SIE",
            lambda x, y: mass.sie_deflection(x, y, **p),
            lambda x, y: mass.sie_potential(x, y, **p),
            lambda x, y: mass.sie_convergence(x, y, **p),
        ),
        (
            "EPL",
            lambda x, y: mass.epl_deflection(x, y, **epl),
            lambda x, y: mass.epl_potential(x, y, **epl),
            lambda x, y: mass.epl_convergence(x, y, **epl),
        ),
        (
            "shear",
            lambda x, y: mass.shear_deflection(x, y, p["e1"], p["e2"], p["x_lens"], p["y_lens"]),
            lambda x, y: mass.shear_potential(x, y, p["e1"], p["e2"], p["x_lens"], p["y_lens"]),
            lambda x, y: torch.zeros_like(x),
        ),
        (
            "point mass",
            lambda x, y: mass.point_mass_deflection(x, y, *point),
            lambda x, y: mass.point_mass_potential(x, y, *point),
            lambda x, y: torch.zeros_like(x),  # beyond its softening
        ),
    ]


def jacobian(deflection, x, y):
    """Derivatives (xx, xy, yx, yy) of a deflection by autograd."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    alpha_x, alpha_y = deflection(x, y)
    return (
        *torch.autograd.grad(alpha_x.sum(), (x, y), retain_graph=True),
        *torch.autograd.grad(alpha_y.sum(), (x, y)),
    )


@few
@given(lens=lenses(), gamma=slopes)
def test_same_as_lenstronomy(lens, gamma):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel

    x, y = positions()
    x, y = x + lens["x_lens"], y + lens["y_lens"]
    centre = {"center_x": lens["x_lens"], "center_y": lens["y_lens"]}
    shape = {name: lens[name] for name in ("theta_E", "e1", "e2")}
    theirs = {
        "SIE": {**shape, **centre},
        "EPL": {**shape, "gamma": gamma, **centre},
        "SHEAR": {"gamma1": lens["e1"], "gamma2": lens["e2"], "ra_0": lens["x_lens"], "dec_0": lens["y_lens"]},
        "POINT_MASS": {"theta_E": lens["theta_E"], **centre},
    }
    flat = x.numpy().ravel(), y.numpy().ravel()
    # lenstronomy's own floor of the elliptical radius is 1e-9, its SIE has a core of 1e-10
    for (_, deflection, potential, convergence), (name, kwargs) in zip(models(lens, gamma), theirs.items()):
        oracle = LensModel([name])
        for ours, expected in zip(deflection(x, y), oracle.alpha(*flat, [kwargs])):
            np.testing.assert_allclose(ours.numpy().ravel(), expected, rtol=1e-12, atol=1e-6)
        np.testing.assert_allclose(potential(x, y).numpy().ravel(), oracle.potential(*flat, [kwargs]), atol=1e-6)
        if name == "EPL":
            np.testing.assert_allclose(convergence(x, y).numpy().ravel(), oracle.kappa(*flat, [kwargs]), rtol=1e-6)


@few
@given(lens=lenses(), gamma=slopes)
def test_curl_gradient_and_divergence(lens, gamma):
    """The deflection is the gradient of the potential, has no curl, and its divergence is twice the convergence."""
    x, y = positions()
    x, y = x + lens["x_lens"], y + lens["y_lens"]
    for name, deflection, potential, convergence in models(lens, gamma):
        xx, xy, yx, yy = jacobian(deflection, x, y)
        far = torch.hypot(x - lens["x_lens"], y - lens["y_lens"]) > 0.1
        assert (yx - xy)[far].abs().max() < 1e-10, name
        size = 1.0 + xx.abs() + xy.abs() + yy.abs()
        assert ((yx - xy) / size).abs().max() < 1e-10, name
        assert ((0.5 * (xx + yy) - convergence(x, y)) / size).abs().max() < 1e-9, name
        u, v = x.clone().requires_grad_(), y.clone().requires_grad_()
        slope = torch.autograd.grad(potential(u, v).sum(), (u, v))
        for gradient, alpha in zip(slope, deflection(x, y)):
            torch.testing.assert_close(gradient, alpha, rtol=1e-8, atol=1e-9)


@few
@given(lens=lenses())
def test_isothermal_power_law_is_the_sie(lens):
    x, y = positions()
    p = tensors(lens)
    for ours, theirs in zip(
        mass.epl_deflection(x, y, gamma=torch.tensor(2.0, dtype=torch.float64), **p), mass.sie_deflection(x, y, **p)
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@few
@given(lens=lenses())
def test_sie_jacobian_is_that_of_autograd(lens):
    x, y = positions(8)
    p = tensors(lens)
    names = ("e1", "e2")
    *alpha, by_x, by_y, by_e1, by_e2 = mass.sie_deflection_jacobian(x, y, **p)
    for ours, theirs in zip(alpha, mass.sie_deflection(x, y, **p)):
        torch.testing.assert_close(ours, theirs)
    xx, xy, yx, yy = jacobian(lambda x, y: mass.sie_deflection(x, y, **p), x, y)
    for ours, theirs in zip((*by_x, *by_y), (xx, yx, xy, yy)):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    for name, ours in zip(names, (by_e1, by_e2)):
        leaf = p[name].expand_as(x).clone().requires_grad_()
        alpha = mass.sie_deflection(x, y, **{**p, "e1": p["e1"].expand_as(x), "e2": p["e2"].expand_as(x), name: leaf})
        for component, derivative in zip(alpha, ours):
            expected = torch.autograd.grad(component.sum(), leaf, retain_graph=True)[0]
            # where a lens is nearly round the closed derivative is a series, which ends at the fourth power of v^2
            torch.testing.assert_close(derivative, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("e", [0.0, 0.005, 0.3])
@pytest.mark.parametrize("model", ["SIE", "EPL", "shear", "point mass"])
def test_gradients_against_finite_differences(model, e):
    x, y = (p[:3, :3].contiguous() for p in positions())
    values = {
        "SIE": [1.2, e, -0.5 * e, 0.02, -0.01],
        "EPL": [1.2, 2.1, e, -0.5 * e, 0.02, -0.01],
        "shear": [e, -e, 0.02, -0.01],
        "point mass": [0.4, 0.02, -0.01],
    }[model]
    function = getattr(mass, model.lower().replace(" ", "_") + "_deflection")
    inputs = [x, y, *(torch.tensor(value, dtype=torch.float64) for value in values)]
    inputs = [leaf.clone().requires_grad_() for leaf in inputs]
    # away from the centre: finite differences cannot resolve the cusp
    assert torch.autograd.gradcheck(lambda x, y, *p: function(3 * x + 0.5, 3 * y + 0.4, *p), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("e", [0.0, 1e-20, 1e-4, 0.4, 0.9])
@pytest.mark.parametrize("gamma", [1.3, 2.0, 2.7])
def test_finite_at_the_centre_and_when_round(dtype, e, gamma):
    """Values and gradients stay finite on the lens itself, for round lenses and for lenses without mass."""
    line = torch.tensor([0.0, 1e-30, 1e-12, 1e-7, 1e-3, 1.0, 1e3], dtype=dtype)
    x, y = torch.meshgrid(line, line, indexing="ij")
    for theta_E in (0.0, 1.0):
        values = {"theta_E": theta_E, "gamma": gamma, "e1": e, "e2": 0.0, "x_lens": 0.0, "y_lens": 0.0}
        for function in (
            mass.sie_deflection,
            mass.epl_deflection,
            mass.sie_potential,
            mass.epl_potential,
            mass.sie_convergence,
            mass.epl_convergence,
            mass.point_mass_deflection,
            mass.point_mass_potential,
        ):
            name = function.__name__
            names = ["theta_E", "x_lens", "y_lens"] if "point" in name else list(values)
            if "sie" in name:
                names.remove("gamma")
            scalars = [torch.tensor(values[k], dtype=dtype) for k in names]
            leaves = [leaf.clone().requires_grad_() for leaf in (x, y, *scalars)]
            answer = function(*leaves)
            answer = answer if isinstance(answer, tuple) else (answer,)
            for component in answer:
                assert torch.isfinite(component).all(), name
                gradients = torch.autograd.grad(component.sum(), leaves, retain_graph=True)
                for leaf, gradient in zip(["x", "y", *names], gradients):
                    assert torch.isfinite(gradient).all(), (name, leaf)


def test_float32_is_close_to_float64():
    x, y = positions()
    for e in (0.0, 0.02, 0.5):
        lens = {"theta_E": 1.3, "e1": e, "e2": -0.3 * e}
        gamma = torch.tensor(2.2, dtype=torch.float64)
        double = mass.epl_deflection(x, y, gamma=gamma, **tensors(lens))
        single = mass.epl_deflection(x.float(), y.float(), gamma=gamma.float(), **tensors(lens, torch.float32))
        for a, b in zip(double, single):
            assert b.dtype == torch.float32
            torch.testing.assert_close(b.double(), a, rtol=2e-6, atol=2e-6)


def test_batches_are_independent():
    """Parameters of shape (batch, 1, 1) give what each lens gives alone."""
    x, y = positions(6)
    batch = {
        "theta_E": torch.tensor([0.5, 1.0, 2.0]),
        "gamma": torch.tensor([1.8, 2.0, 2.3]),
        "e1": torch.tensor([0.0, 0.2, -0.5]),
        "e2": torch.tensor([0.0, 0.001, 0.3]),
    }
    batch = {name: value.double()[:, None, None] for name, value in batch.items()}
    together = mass.epl_deflection(x, y, **batch)
    assert together[0].shape == (3, 6, 6)
    for k in range(3):
        alone = mass.epl_deflection(x, y, **{name: value[k] for name, value in batch.items()})
        for a, b in zip(together, alone):
            torch.testing.assert_close(a[k], b)


@few
@given(lens=lenses(), gamma=slopes, turn=st.floats(0.0, 2 * math.pi))
def test_turning_the_lens_turns_the_deflection(lens, gamma, turn):
    x, y = positions(6)
    p = tensors({"theta_E": lens["theta_E"], "gamma": gamma})
    c, s, c2, s2 = math.cos(turn), math.sin(turn), math.cos(2 * turn), math.sin(2 * turn)
    e1, e2 = torch.tensor(lens["e1"]).double(), torch.tensor(lens["e2"]).double()
    a_x, a_y = mass.epl_deflection(x, y, e1=e1, e2=e2, **p)
    b_x, b_y = mass.epl_deflection(c * x - s * y, s * x + c * y, e1=c2 * e1 - s2 * e2, e2=s2 * e1 + c2 * e2, **p)
    torch.testing.assert_close(b_x, c * a_x - s * a_y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(b_y, s * a_x + c * a_y, rtol=1e-9, atol=1e-9)
