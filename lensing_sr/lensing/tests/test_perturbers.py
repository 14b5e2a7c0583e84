# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of small masses: what others compute, what derivatives must obey, and sums that do not depend on the batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.lensing import perturbers
from lensing_sr.lensing.mass import point_mass_deflection

few = settings(max_examples=25, deadline=None)
double = torch.float64


def grid(rows, columns, pixel=0.1, dtype=torch.float32):
    """Positions of a regular grid: x of (1, 1, columns), y of (1, rows, 1)."""
    x, y = ((torch.arange(n, dtype=dtype) - (n - 1) / 2) * pixel for n in (columns, rows))
    return x.reshape(1, 1, -1), y.reshape(1, -1, 1)


def masses(images, count, seed=0, dtype=double):
    """Strengths (some of them zero) and positions, (images, count)."""
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0.0, 0.1, (images, count)) * (rng.uniform(size=(images, count)) < 0.9)
    return tuple(torch.tensor(v, dtype=dtype) for v in (strength, *rng.uniform(-2, 2, (2, images, count))))


def sizes(images, count, seed=1, dtype=double):
    """An inner and an outer radius, (images, count)."""
    rng = np.random.default_rng(seed)
    inner = 10.0 ** rng.uniform(-3, -0.5, (images, count))
    return tuple(torch.tensor(v, dtype=dtype) for v in (inner, inner * 10.0 ** rng.uniform(0.1, 1.5, inner.shape)))


def radii(n=400, low=-3.0, high=1.0, dtype=double):
    return torch.logspace(low, high, n, dtype=dtype)


def number(value, dtype=double):
    return torch.tensor(value, dtype=dtype)


HALOS = {
    "pseudo-Jaffe": (perturbers.pseudo_jaffe_deflection, perturbers.pseudo_jaffe_convergence),
    "truncated NFW": (perturbers.truncated_nfw_deflection, perturbers.truncated_nfw_convergence),
}
SUMS = {
    "pseudo-Jaffe": (perturbers.pseudo_jaffes_deflection, perturbers.pseudo_jaffes_convergence),
    "truncated NFW": (perturbers.truncated_nfws_deflection, perturbers.truncated_nfws_convergence),
}


@few
@given(b=st.floats(1e-4, 1.0), inner=st.floats(-3.0, 0.0), ratio=st.floats(1.05, 100.0), turn=st.floats(0.0, 6.28))
def test_halos_are_those_of_lenstronomy(b, inner, ratio, turn):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel

    inner = 10.0**inner
    cut = inner * ratio
    # further in and at the scale radius, lenstronomy's TNFW is a difference of large terms; its PJAFFE ends at 1e-4"
    r = radii(low=-2.0) * max(0.1, inner)
    r = r[(r / inner - 1.0).abs() > 1e-3]
    x, y = 0.3 + r * math.cos(turn), -0.2 + r * math.sin(turn)
    # kappa = (b / 2) [...] here, sigma0 Ra Rs / (Rs - Ra) [...] there; rho_s = kappa_s / r_s in units of Sigma_cr
    theirs = {
        "pseudo-Jaffe": ("PJAFFE", {"sigma0": 0.5 * b * (cut - inner) / (inner * cut), "Ra": inner, "Rs": cut}),
        "truncated NFW": (
            "TNFW",
            {"alpha_Rs": 4.0 * b * inner * (1.0 + math.log(0.5)), "Rs": inner, "r_trunc": cut},
        ),
    }
    for name, (oracle, kwargs) in theirs.items():
        lens, kwargs = LensModel([oracle]), [{**kwargs, "center_x": 0.3, "center_y": -0.2}]
        deflection, convergence = HALOS[name]
        p = (number(b), number(inner), number(cut), 0.3, -0.2)
        for ours, expected in zip(deflection(x, y, *p), lens.alpha(x.numpy(), y.numpy(), kwargs), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9 * b)
        kappa = lens.kappa(x.numpy(), y.numpy(), kwargs)
        np.testing.assert_allclose(convergence(x, y, *p), kappa, rtol=1e-6, atol=1e-9 * b / inner)


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0, 10.0, 1e4])
def test_truncated_nfw_against_fifty_digits(tau):
    """The published formula, which cancels near and far, in 50 digits; float64 keeps 13 of them, float32 5."""
    mp = pytest.importorskip("mpmath")

    def mass_and_density(x, t):
        wide = mp.acosh(1 / x) / mp.sqrt(1 - x * x) if x < 1 else mp.acos(1 / x) / mp.sqrt(x * x - 1)
        root = mp.sqrt(t * t + x * x)
        log, front = mp.log(x / (t + root)), t**2 / (t**2 + 1) ** 2
        g = (t**2 + 1 + 2 * (x * x - 1)) * wide + t * mp.pi + (t**2 - 1) * mp.log(t)
        g += root * (-mp.pi + (t**2 - 1) / t * log)
        k = (t**2 + 1) * (1 - wide) / (x * x - 1) + 2 * wide - mp.pi / root + (t**2 - 1) / (t * root) * log
        return float(4 * front * g / x), float(2 * front * k)

    for dtype, rtol in ((double, 1e-13), (torch.float32, 1e-5)):
        r = radii(60, -6.0, 3.0, dtype)
        # a scale radius of 1 and a kappa_s of 1; t in the type of the numbers
        p = [number(value, dtype) for value in (1.0, 1.0, tau)]
        alpha, _ = perturbers.truncated_nfw_deflection(r, 0 * r, *p)
        kappa = perturbers.truncated_nfw_convergence(r, 0 * r, *p)
        with mp.workdps(50):
            expected = [mass_and_density(mp.mpf(float(x)), mp.mpf(float(p[2]))) for x in r]
        expected_alpha, expected_kappa = np.array(expected).T
        np.testing.assert_allclose(alpha, expected_alpha, rtol=rtol)
        np.testing.assert_allclose(kappa, expected_kappa, rtol=rtol, atol=0.3 * rtol)


def test_a_far_truncation_is_no_truncation():
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel

    r, kappa_s, r_s = radii(), 0.03, 0.4
    kwargs = [{"alpha_Rs": 4.0 * kappa_s * r_s * (1.0 + math.log(0.5)), "Rs": r_s}]
    expected = LensModel(["NFW"]).alpha(r.numpy(), 0 * r.numpy(), kwargs)[0]
    ours, _ = perturbers.truncated_nfw_deflection(r, 0 * r, number(kappa_s), number(r_s), number(1e6 * r_s))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


@few
@given(inner=st.floats(-2.5, 0.0), ratio=st.floats(1.1, 50.0))
def test_divergence_curl_and_mass(inner, ratio):
    """The deflection has no curl, half its divergence is the convergence, and far away it is that of the total mass."""
    inner = number(10.0**inner)
    shape = (number(0.05), inner, ratio * inner)
    rng = np.random.default_rng(3)
    r, turn = radii(200), torch.tensor(rng.uniform(0, 2 * np.pi, 200))
    for name, (deflection, convergence) in HALOS.items():
        x, y = (p.clone().requires_grad_() for p in (r * turn.cos(), r * turn.sin()))
        alpha_x, alpha_y = deflection(x, y, *shape)
        xx, xy = torch.autograd.grad(alpha_x.sum(), (x, y), retain_graph=True)
        yx, yy = torch.autograd.grad(alpha_y.sum(), (x, y))
        size = 1e-3 + xx.abs() + xy.abs() + yy.abs()
        assert ((xy - yx) / size).abs().max() < 1e-9, name
        # the small square beneath the root of the isothermal cusp counts close to it
        assert ((0.5 * (xx + yy) - convergence(x, y, *shape)) / size).abs().max() < 1e-8, name
    far = number(1e7) * ratio * inner
    for name, mass in (
        ("pseudo-Jaffe", perturbers.pseudo_jaffe_mass(*shape)),
        ("truncated NFW", perturbers.truncated_nfw_mass(*shape)),
    ):
        alpha, _ = HALOS[name][0](far, number(0.0), *shape)
        assert math.isclose(float(math.pi * alpha * far), float(mass), rel_tol=1e-5), name


def test_gradients_against_finite_differences():
    strength, x0, y0 = masses(2, 3)
    inner, cut = sizes(2, 3)
    for x, y in (grid(2, 3, 0.7, double), (torch.rand(2, 2, 3, dtype=double), torch.rand(1, 2, 3, dtype=double))):
        inputs = [p.clone().requires_grad_() for p in (x, y, strength, x0, y0)]
        assert torch.autograd.gradcheck(perturbers.point_masses_deflection, inputs)
        inputs = [p.clone().requires_grad_() for p in (x, y, strength, inner, cut, x0, y0)]
        for functions in SUMS.values():
            for function in functions:
                assert torch.autograd.gradcheck(function, inputs)


def test_sums_are_sums():
    """A sum over masses is the sum of the single ones, for a grid, for scattered positions, with gradients or not."""
    strength, x0, y0 = masses(3, 150)
    inner, cut = sizes(3, 150)
    x, y = grid(9, 7, 0.5, double)
    each = [p[:, None, None] for p in (strength, inner, cut, x0, y0)]
    cases = [(perturbers.point_masses_deflection, point_mass_deflection, (0, 3, 4))]
    for name in SUMS:
        cases += [(both, single, range(5)) for both, single in zip(SUMS[name], HALOS[name], strict=True)]
    for both, single, some in cases:
        parameters = [(strength, inner, cut, x0, y0)[i] for i in some]
        expected = single(x[..., None], y[..., None], *(each[i] for i in some))
        expected = expected if isinstance(expected, tuple) else (expected,)
        expected = [component.sum(-1) for component in expected]
        scattered = x.expand(1, 9, 7).contiguous(), y.expand(3, 9, 7).contiguous()
        traced = [p.clone().requires_grad_() for p in parameters]
        for answer in (both(x, y, *parameters), both(*scattered, *parameters), both(x, y, *traced)):
            answer = answer if isinstance(answer, tuple) else (answer,)
            for a, b in zip(answer, expected, strict=True):
                torch.testing.assert_close(a.detach(), b, rtol=1e-12, atol=1e-12)


@few
@given(count=st.sampled_from([1, 25, 100]), seed=st.integers(0, 1000))
def test_point_masses_in_float32(count, seed):
    """Good to 1e-6 arcsec outside 0.05" of every mass, and the masses' places are not rounded."""
    theta_E, x0, y0 = masses(3, count, seed)
    x, y = grid(40, 36)
    exact = perturbers.point_masses_deflection(x.double(), y.double(), theta_E, x0, y0)
    near = torch.hypot(x[..., None] - x0[:, None, None], y[..., None] - y0[:, None, None]).amin(-1) < 0.05
    for ours, expected in zip(perturbers.point_masses_deflection(x, y, theta_E, x0, y0), exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - expected).abs()[~near].max() < 1e-6


@few
@given(seed=st.integers(0, 1000))
def test_halos_in_float32(seed):
    strength, x0, y0 = masses(2, 6, seed)
    inner, cut = sizes(2, 6, seed)
    x, y = grid(24, 24)
    for name, (deflection, convergence) in SUMS.items():
        exact = deflection(x.double(), y.double(), strength, inner, cut, x0, y0)
        for ours, expected in zip(deflection(x, y, strength, inner, cut, x0, y0), exact, strict=True):
            assert (ours - expected).abs().max() < 2e-6, name
        exact = convergence(x.double(), y.double(), strength, inner, cut, x0, y0)
        torch.testing.assert_close(
            convergence(x, y, strength, inner, cut, x0, y0).double(), exact, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("dtype", [torch.float32, double])
def test_finite_everywhere(dtype):
    """Values and gradients stay finite on a mass, at the scale radius, far away, and in slots without a mass."""
    line = torch.tensor([0.0, 1e-30, 1e-12, 1e-7, 1e-4, 0.1, 0.2, 1.0, 1e3], dtype=dtype)
    x, y = line.reshape(1, 1, -1), line.reshape(1, -1, 1)
    nothing = torch.zeros(1, 3, dtype=dtype)
    strength = torch.tensor([[0.1, 0.0, 0.2]], dtype=dtype)
    inner, cut = torch.tensor([[0.1, 0.0, 0.2]], dtype=dtype), torch.tensor([[0.1, 0.0, 3.0]], dtype=dtype)
    cases = [(perturbers.point_masses_deflection, (strength, nothing, nothing))]
    cases += [(f, (strength, inner, cut, nothing, nothing)) for both in SUMS.values() for f in both]
    for function, parameters in cases:
        leaves = [p.clone().requires_grad_() for p in (x, y, *parameters)]
        answer = function(*leaves)
        for component in answer if isinstance(answer, tuple) else (answer,):
            assert torch.isfinite(component).all(), function.__name__
            for gradient in torch.autograd.grad(component.sum(), leaves, retain_graph=True):
                assert torch.isfinite(gradient).all(), function.__name__


def test_an_image_does_not_depend_on_its_batch(monkeypatch):
    """Not on its neighbours, nor on the size of the blocks, nor on empty slots: to the last bit."""
    x, y = grid(30, 30)
    strength, x0, y0 = masses(5, 100, dtype=torch.float32)
    inner, cut = sizes(5, 100, dtype=torch.float32)
    together = perturbers.point_masses_deflection(x, y, strength, x0, y0)
    halos = perturbers.pseudo_jaffes_deflection(x, y, strength, inner, cut, x0, y0)
    one = [p[3:4] for p in (strength, inner, cut, x0, y0)]
    monkeypatch.setitem(perturbers.BLOCK, "cpu", 7 * 30 * 100)
    alone = perturbers.point_masses_deflection(x, y, one[0], *one[3:])
    assert all(torch.equal(a[3], b[0]) for a, b in zip(together, alone, strict=True))
    assert all(
        torch.equal(a[3], b[0]) for a, b in zip(halos, perturbers.pseudo_jaffes_deflection(x, y, *one), strict=True)
    )
    # in groups of 128: 156 more empty slots than 100 in one group and 28 empty ones
    padded = [
        [torch.nn.functional.pad(p, (0, size - 100)) for p in (strength, inner, cut, x0, y0)] for size in (128, 256)
    ]
    few_slots, many = (perturbers.pseudo_jaffes_deflection(x, y, *p) for p in padded)
    assert all(torch.equal(a, b) for a, b in zip(few_slots, many, strict=True))


def test_no_masses_no_deflection():
    x, y = grid(4, 5)
    none = torch.zeros(3, 0)
    alpha_x, alpha_y = perturbers.point_masses_deflection(x, y, none, none, none)
    assert alpha_x.shape == alpha_y.shape == (3, 4, 5)
    assert not alpha_x.any() and not alpha_y.any()
    kappa = perturbers.pseudo_jaffes_convergence(x, y, none, none, none, none, none)
    assert kappa.shape == (3, 4, 5) and not kappa.any()


def test_wrong_shapes_are_told():
    x, y = grid(4, 5)
    with pytest.raises(InputError, match=r"strength: must be \(n, K\)"):
        perturbers.point_masses_deflection(x, y, torch.ones(3), torch.ones(3, 1), torch.ones(3, 1))
    with pytest.raises(InputError, match=r"y0: must be \(n, K\)"):
        perturbers.point_masses_deflection(x, y, torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 1))
    with pytest.raises(InputError, match="must broadcast with"):
        perturbers.point_masses_deflection(x[None], y, *masses(1, 2))
