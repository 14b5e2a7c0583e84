# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what takes a galaxy off: it goes, arcs stay, whatever way up the image lies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.light.sersic import sersic_b
from lensing_sr.networks.isophotes import without_isophotes
from lensing_sr.networks.symmetry import SYMMETRIES, laid_down

AXIS = torch.arange(64) - 31.5
X, Y = AXIS.expand(64, 64), AXIS[:, None].expand(64, 64)


def galaxy(peak=300.0, q=0.7, turn=0.4, x=0.0, y=0.0, r_eff=9.0, n=3.0):
    dx, dy = X - x, Y - y
    along = (dx * torch.tensor(turn).cos() + dy * torch.tensor(turn).sin()) * q**0.5
    across = (dy * torch.tensor(turn).cos() - dx * torch.tensor(turn).sin()) / q**0.5
    radius = (along**2 + across**2 + 1.5**2).sqrt()  # blurred in the middle
    b = float(sersic_b(torch.tensor(float(n))))
    light = torch.exp(-b * ((radius / r_eff) ** (1.0 / n) - 1.0))
    return peak * light / light.max()


def arc(flux, radius=14.0, where=1.0, width=1.5, length=0.5):
    distance = torch.hypot(X, Y)
    angle = torch.atan2(Y, X) - where
    angle = torch.atan2(angle.sin(), angle.cos())
    return flux * torch.exp(-0.5 * ((distance - radius) / width) ** 2 - 0.5 * (angle / length) ** 2)


def noise(seed):
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(
    st.floats(30, 600), st.floats(0.5, 1.0), st.floats(0, 3.1), st.floats(-1, 1), st.floats(-1, 1), st.floats(5, 15),
    st.floats(1, 4),
)  # fmt: skip
def test_a_galaxy_goes(peak, q, turn, x, y, r_eff, n):
    """Off the core, where pixels are too large for its profile, a few percent of it are left at most."""
    light = galaxy(peak, q, turn, x, y, r_eff, n)
    left = without_isophotes(light[None], torch.ones(1, 64, 64))[0]
    off = torch.hypot(X, Y) > 5.0
    assert left[off].abs().max() < 0.5 + 0.05 * light[off].max()


@pytest.mark.parametrize("peak", [0.0, 30.0, 300.0])
def test_arcs_stay(peak):
    """Of the flux of arcs on any galaxy most is left, and nowhere else shines anything."""
    arcs = arc(8.0) + arc(4.0, radius=9.0, where=1.0 + torch.pi, length=0.3)
    left = without_isophotes((galaxy(peak) + arcs + noise(1))[None], torch.ones(1, 64, 64))[0]
    there = arcs > 2.0
    assert 0.6 < float(left[there].sum() / arcs[there].sum()) < 1.1
    elsewhere = (arcs < 0.1) & (torch.hypot(X, Y) > 5.0)
    assert left[elsewhere].std() < 1.3


def test_noise_stays_noise():
    left = without_isophotes(noise(2)[None], torch.ones(1, 64, 64))
    assert left.std() == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_it_does_not_matter_which_way_up(symmetry):
    images = torch.stack([galaxy() + arc(8.0) + noise(3), galaxy(40.0, 0.5, 2.0, 1.0, -0.5) + noise(4)])[:, None]
    seen = torch.ones_like(images)
    seen[:, :, 40:50, 5:15] = 0.0
    found = without_isophotes(laid_down(images, symmetry), laid_down(seen, symmetry))
    torch.testing.assert_close(found, laid_down(without_isophotes(images, seen), symmetry), rtol=1e-3, atol=2e-2)


def test_what_is_masked_is_nothing_and_does_not_matter():
    light = galaxy() + arc(8.0) + noise(5)
    seen = torch.ones(64, 64)
    seen[8:20, 44:60] = 0.0
    left = without_isophotes((light * seen)[None], seen[None])[0]
    assert (left[seen == 0] == 0).all()
    whole = without_isophotes(light[None], torch.ones(1, 64, 64))[0]
    off = (torch.hypot(X, Y) > 5.0) & (seen > 0)
    assert (left - whole)[off].abs().median() < 0.2
    nothing = without_isophotes(torch.zeros(1, 64, 64), torch.zeros(1, 64, 64))
    assert (nothing == 0).all()


def test_batch_is_loop():
    images = torch.stack([galaxy(q=0.5) + noise(6), noise(7), galaxy(900.0, n=4.0) + arc(20.0)])
    seen = torch.ones_like(images)
    alone = torch.cat([without_isophotes(images[i : i + 1], seen[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(without_isophotes(images, seen), alone, rtol=1e-4, atol=1e-3)
