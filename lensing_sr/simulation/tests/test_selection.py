# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of selection: the best aperture is the best of all, fluxes reach what is asked for, spheres magnify as 2 / x."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.simulation.selection import (
    choose_place,
    flux_for_signal_to_noise,
    magnifications,
    total_signal_to_noise,
)

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def ring(seed, n=3, size=24, filled=False):
    """Arcs of unit flux, and the variance of a lens galaxy and of the sky."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2)[:, None]
    r = np.hypot(x, y)
    radius = rng.uniform(3, 8, (n, 1, 1))
    unit = np.exp(-0.5 * ((r - radius) / (30.0 if filled else 1.2)) ** 2) * (1.2 + np.cos(np.arctan2(y, x)))
    galaxy = np.exp(-r / rng.uniform(1, 4, (n, 1, 1)))
    unit, galaxy = (torch.from_numpy(a / a.sum((1, 2), keepdims=True)) for a in (unit, galaxy))
    return unit, 0.01 + 0.3 * galaxy, 0.05 * (unit + galaxy)


@given(seeds)
@few
def test_the_best_aperture_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    signal, sigma = rng.exponential(size=(2, 5, 7)), rng.uniform(0.5, 2.0, (2, 5, 7))
    found = total_signal_to_noise(*map(torch.from_numpy, (signal, sigma))).numpy()
    for one, s, noise in zip(found, signal.reshape(2, -1), sigma.reshape(2, -1), strict=True):
        order = np.argsort(-s / noise)
        assert one == pytest.approx(max(s[order[:k]].sum() / math.hypot(*noise[order[:k]]) for k in range(1, 36)))


def test_signal_to_noise_of_nothing_is_zero():
    assert total_signal_to_noise(torch.zeros(2, 4, 4), torch.ones(2, 4, 4)).tolist() == [0.0, 0.0]


@given(seeds, st.floats(0.1, 10.0))
@few
def test_signal_to_noise_has_no_unit_and_no_place(seed, unit):
    signal, variance, _ = ring(seed)
    sigma = variance.sqrt()
    known = total_signal_to_noise(signal, sigma)
    torch.testing.assert_close(total_signal_to_noise(unit * signal, unit * sigma), known)
    torch.testing.assert_close(total_signal_to_noise(signal.flip(1).mT, sigma.flip(1).mT), known)


@given(seeds, st.floats(5.0, 300.0), st.booleans())
@few
def test_flux_reaches_the_signal_to_noise_ratio(seed, target, filled):
    unit, fixed, growing = ring(seed, filled=filled)
    flux = flux_for_signal_to_noise(torch.full((3,), target), unit, fixed, growing)[:, None, None]
    found = total_signal_to_noise(flux * unit, (fixed + flux * growing).sqrt())
    assert float((found / target - 1.0).abs().max()) < 1e-3


def test_flux_does_not_depend_on_the_batch_nor_on_the_precision():
    unit, fixed, growing = ring(3, n=6)
    target = torch.linspace(10, 200, 6, dtype=torch.float64)
    whole = flux_for_signal_to_noise(target, unit, fixed, growing)
    parts = [flux_for_signal_to_noise(*(a[k : k + 1] for a in (target, unit, fixed, growing))) for k in range(6)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=0.0)
    single = flux_for_signal_to_noise(target, unit.float(), fixed.float(), growing.float())
    torch.testing.assert_close(single, whole, rtol=1e-5, atol=0.0)


def sphere(n=1, **changed):
    numbers = dict(theta_E=1.0, gamma=2.0, e1=0.0, e2=0.0, gamma1=0.0, gamma2=0.0, r_eff=0.1) | changed
    return {name: torch.full((n,), float(value), dtype=torch.float64) for name, value in numbers.items()}


@pytest.mark.parametrize("offset", [0.4, 0.5, 0.8])
def test_a_sphere_magnifies_as_two_over_the_offset(offset):
    places = torch.tensor([[[offset, 0.0], [0.0, -offset], [0.6 * offset, 0.8 * offset]]], dtype=torch.float64)
    found = magnifications(places, **sphere())
    np.testing.assert_allclose(found.numpy(), 2.0 / offset, rtol=0.1)


def test_magnification_has_no_scale_and_no_direction():
    places = torch.tensor([[[0.4, 0.1]]], dtype=torch.float64)
    known = magnifications(places, **sphere(e1=0.2, gamma1=0.05))
    torch.testing.assert_close(magnifications(places, **sphere(theta_E=3.0, e1=0.2, gamma1=0.05, r_eff=0.3)), known)
    turned = torch.tensor([[[-0.1, 0.4]]], dtype=torch.float64)  # by 90 degrees
    torch.testing.assert_close(magnifications(turned, **sphere(e1=-0.2, gamma1=-0.05)), known)


def test_only_the_magnified_are_chosen_and_the_bias_prefers_them():
    magnification = torch.tensor([2.9, 3.0, 12.0, 0.5, 6.0]).expand(3000, 5)
    uniform = (torch.arange(3000) + 0.5) / 3000
    for bias, shares in ((0.0, [0, 1 / 3, 1 / 3, 0, 1 / 3]), (1.0, [0, 3 / 21, 12 / 21, 0, 6 / 21])):
        chosen = choose_place(magnification, 3.0, bias, uniform)
        found = torch.bincount(chosen, minlength=5) / 3000
        np.testing.assert_allclose(found.numpy(), shares, atol=1e-3)
    assert choose_place(magnification, 20.0, 1.0, uniform).unique().tolist() == [2]
