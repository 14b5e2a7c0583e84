# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the model: closed-form derivatives are autograd's, finite everywhere; the parts are the public profiles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.forward.model import (
    LENS,
    LIGHT,
    SOURCE,
    lens_light,
    lens_light_jacobian,
    lensed_source,
    lensed_source_jacobian,
    source_light,
)
from lensing_sr.light.gaussians import gaussian_brightness, gaussian_widths
from lensing_sr.light.sersic import sersic_brightness

N = len(LENS) + len(SOURCE) + len(LIGHT)


def _parameters(seed, batch=2, round_lens=False):
    rng = np.random.default_rng(seed)
    p = torch.as_tensor(rng.normal(size=(batch, N)) * 0.12)
    p[:, 9] -= 1.2
    p[:, 10] += 0.3
    if round_lens:
        p[:, [1, 2, 11, 12, 15, 16, 17, 18]] = 0.0
    return p


def _positions(seed):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=(2, 1, 80)))


def _autograd(function, p):
    rows = torch.func.jacrev(function)(p)  # (batch, 1, points, batch, n)
    return torch.stack([rows[i, 0, :, i].T for i in range(len(p))])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_source_derivatives_are_autograds(seed, round_lens):
    p, (x, y) = _parameters(seed, round_lens=round_lens), _positions(seed + 1)
    light, jacobian = lensed_source_jacobian(p, x, y)
    torch.testing.assert_close(light, lensed_source(p, x, y), rtol=1e-12, atol=0)
    expected = _autograd(lambda q: lensed_source(q, x, y), p)[:, : len(LENS) + len(SOURCE)]
    scale = expected.abs().amax(dim=2, keepdim=True).clamp_min(1e-3)
    torch.testing.assert_close(jacobian[:, :, 0] / scale, expected / scale, rtol=0, atol=1e-8)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_light_derivatives_are_autograds(seed):
    p, (x, y) = _parameters(seed), _positions(seed + 1)
    widths = gaussian_widths(0.1, 1.5)
    fluxes = torch.as_tensor(np.random.default_rng(seed).uniform(size=(2, 2 * len(widths))))
    columns = lens_light(p, x, y, widths)
    jacobian = lens_light_jacobian(p, x, y, widths, columns, fluxes)
    expected = _autograd(lambda q: (lens_light(q, x, y, widths) * fluxes[:, :, None, None]).sum(1), p)
    torch.testing.assert_close(jacobian[:, :, 0], expected[:, -len(LIGHT) :], rtol=1e-9, atol=1e-9)


def test_gaussians_are_the_public_ones():
    p, (x, y) = _parameters(3), _positions(4)
    widths = gaussian_widths(0.08, 1.0)
    columns = lens_light(p, x, y, widths)
    k = len(widths)
    x0, y0, *shapes = (c[:, None, None] for c in p[:, -len(LIGHT) :].unbind(1))
    for i in range(k):
        for family in (0, 1):
            expected = gaussian_brightness(x, y, widths[i], shapes[2 * family], shapes[2 * family + 1], x0, y0)
            torch.testing.assert_close(columns[:, family * k + i], expected, rtol=1e-10, atol=1e-300)


def test_chained_gaussians_hold_in_float32():
    p, (x, y) = _parameters(3), _positions(4)
    widths = gaussian_widths(0.05, 3.0)
    exact = lens_light(p, x, y, widths)
    single = lens_light(p.float(), x.float(), y.float(), widths.float()).double()
    assert ((single - exact).abs().amax(dim=(0, 2, 3)) / exact.amax(dim=(0, 2, 3))).max() < 2e-5


def test_source_is_the_public_sersic():
    p, (x, y) = _parameters(5), _positions(6)
    x_source, y_source, log_r, log_n, e1, e2 = (c[:, None, None] for c in p[:, 7:13].unbind(1))
    expected = sersic_brightness(x, y, torch.ones_like(e1), log_r.exp(), log_n.exp(), e1, e2, x_source, y_source)
    torch.testing.assert_close(source_light(p, x, y), expected, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_at_the_centre_of_a_round_lens(dtype):
    p = _parameters(7, round_lens=True).to(dtype)
    p[:, 3:5] = 0.0
    p[:, 7:9] = 0.0
    p[:, 5:7] = 0.0
    p[:, -len(LIGHT) : -4] = 0.0
    x = torch.tensor([[0.0, 1e-20, 1e-9, 1.0]], dtype=dtype)
    light, jacobian = lensed_source_jacobian(p, x, torch.zeros_like(x))
    assert torch.isfinite(light).all() and torch.isfinite(jacobian).all()
    widths = gaussian_widths(0.05, 1.0).to(dtype)
    columns = lens_light(p, x, torch.zeros_like(x), widths)
    fluxes = torch.ones(2, 2 * len(widths)).to(dtype)
    derivatives = lens_light_jacobian(p, x, torch.zeros_like(x), widths, columns, fluxes)
    assert torch.isfinite(columns).all() and torch.isfinite(derivatives).all()


def test_without_a_lens_the_source_is_seen_as_it_is():
    p, (x, y) = _parameters(8), _positions(9)
    p[:, 0] = -40.0
    p[:, 5:7] = 0.0
    torch.testing.assert_close(lensed_source(p, x, y), source_light(p, x, y), rtol=1e-9, atol=1e-300)
