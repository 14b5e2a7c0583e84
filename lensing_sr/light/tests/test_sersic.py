# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the light profiles: what others compute, half of the light within r_eff, derivatives, nothing infinite."""

import math

import numpy as np
import pytest
import torch
from astropy.modeling.models import Sersic2D
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaincinv

from lensing_sr.light.gaussians import gaussian_brightness, gaussian_family, gaussian_widths
from lensing_sr.light.sersic import sersic_b, sersic_brightness, sersic_flux

few = settings(max_examples=25, deadline=None)


@st.composite
def profiles(draw):
    """Parameters of a Sersic profile in the order of `sersic_brightness`."""
    e, phi = draw(st.sampled_from([0.0, 1e-6]) | st.floats(0.0, 0.65)), draw(st.floats(0.0, math.pi))
    return {
        "amplitude": draw(st.floats(0.1, 20.0)),
        "r_eff": draw(st.floats(0.05, 2.0)),
        "n": draw(st.floats(0.4, 8.0)),
        "e1": e * math.cos(2 * phi),
        "e2": e * math.sin(2 * phi),
        "x_source": draw(st.floats(-0.3, 0.3)),
        "y_source": draw(st.floats(-0.3, 0.3)),
    }


def tensors(values, dtype=torch.float64):
    return {name: torch.tensor(value, dtype=dtype) for name, value in values.items()}


def positions(profile, dtype=torch.float64):
    """Positions between 0.001 and 5 r_eff from the centre of a profile, and the centre itself as the first."""
    rng = np.random.default_rng(11)
    radius = profile["r_eff"] * 10.0 ** rng.uniform(-3, 0.7, 300)
    radius[0] = 0.0
    angle = rng.uniform(0, 2 * np.pi, 300)
    x, y = profile["x_source"] + radius * np.cos(angle), profile["y_source"] + radius * np.sin(angle)
    x[0], y[0] = profile["x_source"], profile["y_source"]
    return torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)


@few
@given(profile=profiles())
def test_same_as_astropy(profile):
    """Everywhere, the very centre included; its r_eff is on the major axis."""
    x, y = positions(profile)
    e = math.hypot(profile["e1"], profile["e2"])
    q = (1 - e) / (1 + e)
    theirs = Sersic2D(
        amplitude=profile["amplitude"],
        r_eff=profile["r_eff"] / math.sqrt(q),
        n=profile["n"],
        x_0=profile["x_source"],
        y_0=profile["y_source"],
        ellip=1 - q,
        theta=0.5 * math.atan2(profile["e2"], profile["e1"]),
    )
    ours = sersic_brightness(x, y, **tensors(profile)).numpy()
    np.testing.assert_allclose(ours, theirs(x.numpy(), y.numpy()), rtol=1e-6, atol=1e-300)


@few
@given(profile=profiles())
def test_same_as_lenstronomy(profile):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LightModel.light_model import LightModel

    x, y = (p[1:] for p in positions(profile))
    kwargs = {
        "amp": profile["amplitude"],
        "R_sersic": profile["r_eff"],
        "n_sersic": profile["n"],
        "e1": profile["e1"],
        "e2": profile["e2"],
        "center_x": profile["x_source"],
        "center_y": profile["y_source"],
    }
    theirs = LightModel(["SERSIC_ELLIPSE"]).surface_brightness(x.numpy(), y.numpy(), [kwargs])
    ours = sersic_brightness(x, y, **tensors(profile), bn="lenstronomy").numpy()
    # it flattens radii (of the ellipse) below 1e-4 arcsec
    e = math.hypot(profile["e1"], profile["e2"])
    r = np.hypot(x.numpy() - profile["x_source"], y.numpy() - profile["y_source"])
    far = r > 1e-4 * math.sqrt((1 + e) / (1 - e))
    np.testing.assert_allclose(ours[far], theirs[far], rtol=1e-6)


def test_b_is_exact():
    n = torch.linspace(0.3, 10, 60, dtype=torch.float64)
    np.testing.assert_allclose(sersic_b(n).numpy(), gammaincinv(2 * n.numpy(), 0.5), rtol=1e-12)
    np.testing.assert_allclose(sersic_b(n.float()).numpy(), gammaincinv(2 * n.numpy(), 0.5), rtol=1e-6)
    np.testing.assert_allclose(sersic_b(n, "lenstronomy").numpy(), 1.9992 * n.numpy() - 0.3271)


def test_derivative_of_b_is_exact():
    n = torch.linspace(0.35, 9.5, 40, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(sersic_b(n).sum(), n)
    a, h = 2 * n.detach().numpy(), 1e-5
    np.testing.assert_allclose(slope, (gammaincinv(a + h, 0.5) - gammaincinv(a - h, 0.5)) / h, rtol=1e-7)


@few
@given(profile=profiles())
def test_flux_and_half_light(profile):
    """Integrating rings gives the flux, and half of it within r_eff."""
    n = tensors(profile)["n"]
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)

    def light_between(first, last):
        # r = u^m: smooth in u for every n
        m = max(profile["n"], 1.0)
        u = torch.linspace(first, last, 20001, dtype=torch.float64)
        light = sersic_brightness(u**m, zero, one, one, n, zero, zero)
        return torch.trapezoid(2 * math.pi * m * light * u ** (2 * m - 1), u)

    inner = light_between(0.0, 1.0)
    total = inner + light_between(1.0, 60.0)
    assert inner.item() == pytest.approx(0.5 * total.item(), rel=1e-4)
    flux = sersic_flux(tensors(profile)["amplitude"], tensors(profile)["r_eff"], n)
    assert flux.item() == pytest.approx(profile["amplitude"] * profile["r_eff"] ** 2 * total.item(), rel=1e-4)


@pytest.mark.parametrize("bn", ["exact", "lenstronomy"])
@pytest.mark.parametrize("n", [0.6, 1.0, 4.0])
@pytest.mark.parametrize("e", [0.0, 0.3])
def test_gradients_against_finite_differences(n, e, bn):
    torch.manual_seed(3)
    x, y = torch.rand(4).double() + 0.3, torch.rand(4).double() - 0.5
    values = [x, y, *(torch.tensor(v, dtype=torch.float64) for v in (2.0, 0.4, n, e, -e, 0.02, 0.01))]
    leaves = [value.clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(lambda *p: sersic_brightness(*p, bn=bn), leaves)
    flux = [leaf for k, leaf in enumerate(leaves) if k in (2, 3, 4)]
    assert torch.autograd.gradcheck(lambda *p: sersic_flux(*p, bn=bn), flux)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0.3, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("e", [0.0, 1e-20, 0.5])
def test_finite_everywhere(dtype, n, e):
    line = torch.tensor([0.0, 1e-30, 1e-12, 1e-8, 1e-4, 1.0, 100.0], dtype=dtype)
    x, y = torch.meshgrid(line, line, indexing="ij")
    values = [torch.tensor(value, dtype=dtype) for value in (1, 0.2, n, e, 0, 0, 0)]
    leaves = [value.clone().requires_grad_() for value in (x, y, *values)]
    for light in (
        sersic_brightness(*leaves),
        gaussian_brightness(leaves[0], leaves[1], leaves[3], *leaves[5:]),
    ):
        assert light.dtype == dtype and torch.isfinite(light).all()
        for gradient in torch.autograd.grad(light.sum(), leaves, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


@few
@given(profile=profiles())
def test_gaussians(profile):
    """Unit flux on any ellipse; a Sersic profile of n = 1/2; gradients."""
    p = tensors({name: profile[name] for name in ("e1", "e2")})
    sigma = torch.tensor(profile["r_eff"], dtype=torch.float64)
    line = torch.linspace(-1, 1, 401, dtype=torch.float64) * 14 * profile["r_eff"]
    x, y = torch.meshgrid(line, line, indexing="xy")
    light = gaussian_brightness(x, y, sigma, **p)
    assert (light.sum() * (line[1] - line[0]) ** 2).item() == pytest.approx(1, rel=1e-6)
    half = sigma * math.sqrt(2 * math.log(2))
    flat = torch.tensor(0.5, dtype=torch.float64)
    as_sersic = sersic_brightness(x, y, 0.5 * light.max(), half, flat, **p)
    torch.testing.assert_close(light, as_sersic, rtol=1e-6, atol=1e-12)


def test_gaussian_gradients():
    torch.manual_seed(4)
    values = [torch.rand(3).double(), torch.rand(3).double()]
    values += [torch.tensor(value, dtype=torch.float64) for value in (0.4, 0.1, -0.2, 0.0, 0.1)]
    assert torch.autograd.gradcheck(gaussian_brightness, [value.requires_grad_() for value in values])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_family_is_its_gaussians(dtype):
    """Widths in steps of sqrt(3) over the range asked for; each plane the Gaussian of its width."""
    widths = gaussian_widths(0.02, 1.5)
    assert widths[0].item() == pytest.approx(0.02) and 1.5 <= widths[-1].item() < 1.5 * math.sqrt(3)
    torch.testing.assert_close(widths[1:] / widths[:-1], torch.full_like(widths[1:], math.sqrt(3)))
    x, y = torch.meshgrid(torch.linspace(-2, 2, 9, dtype=dtype), torch.linspace(-2, 2, 8, dtype=dtype), indexing="xy")
    e1, e2 = (torch.tensor(e, dtype=dtype)[:, None, None] for e in ([0.0, 0.3], [0.0, -0.1]))
    family = gaussian_family(x, y, widths.to(dtype), e1, e2, 0.1, -0.2)
    assert family.shape == (2, len(widths), 8, 9) and family.dtype == dtype
    for k, width in enumerate(widths.to(dtype)):
        alone = gaussian_brightness(x, y, width, e1, e2, 0.1, -0.2)
        # relative to the peak: far out, exponents of hundreds turn rounding into more
        peak = 1 / (2 * math.pi * float(width) ** 2)
        near = {"rtol": 1e-4, "atol": 1e-7} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
        torch.testing.assert_close(family[:, k] / peak, alone / peak, **near)


def test_batches_broadcast():
    x, y = torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 4), indexing="xy")
    n = torch.tensor([1.0, 4.0])[:, None, None]
    one, zero = torch.ones(()), torch.zeros(())
    light = sersic_brightness(x, y, one, 0.3 * one, n, zero, zero)
    assert light.shape == (2, 4, 5)
    torch.testing.assert_close(light[1], sersic_brightness(x, y, one, 0.3 * one, 4 * one, zero, zero))
