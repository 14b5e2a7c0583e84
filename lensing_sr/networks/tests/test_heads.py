# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the heads: what is radial is radial, a field turns with its frame, and where none should be is no curl."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.lensing.relens import distortion
from lensing_sr.networks import ConvergenceHead, PolarHead, PotentialHead

SCALE = 0.05
MATRIX = ((SCALE, 0.0), (0.0, SCALE))
HEADS = {"polar": PolarHead, "convergence": ConvergenceHead, "potential": PotentialHead}


def positions(rows, columns):
    y, x = torch.meshgrid(
        (torch.arange(rows, dtype=torch.float64) - 0.5 * (rows - 1)) * SCALE,
        (torch.arange(columns, dtype=torch.float64) - 0.5 * (columns - 1)) * SCALE,
        indexing="ij",
    )
    return x, y


def smooth(outputs, rows=48, columns=48, seed=0):
    """Smooth random outputs: a few waves each."""
    generator = torch.Generator().manual_seed(seed)
    x, y = positions(rows, columns)
    k = torch.randn(2, outputs, 3, 1, 1, generator=generator, dtype=torch.float64)
    phase = 6.0 * torch.rand(outputs, 3, 1, 1, generator=generator, dtype=torch.float64)
    return torch.sin(1.5 * (k[0] * x + k[1] * y) + phase).mean(1)[None]


@given(rows=st.integers(2, 9), columns=st.integers(2, 9), seed=st.integers(0, 99), bounded=st.booleans())
def test_polar_components_are_what_they_are_called(rows, columns, seed, bounded):
    raw = torch.randn(2, 2, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    head = PolarHead(0.4, 2.0, tangential=0.3, bounded=bounded)
    alpha_x, alpha_y = head(raw, SCALE)
    alpha_r, alpha_t = head.components(raw)
    x, y = positions(rows, columns)
    r = torch.hypot(x, y).clamp_min(1e-300)
    away = (x != 0) | (y != 0)
    torch.testing.assert_close(((alpha_x * x + alpha_y * y) / r)[:, away], alpha_r[:, away])
    torch.testing.assert_close(((alpha_y * x - alpha_x * y) / r)[:, away], alpha_t[:, away])


def test_polar_bounds_are_the_published_ones():
    head = PolarHead()
    alpha_r, alpha_t = head.components(torch.tensor([-80.0, 0.0, 80.0]).expand(1, 2, 1, 3))
    torch.testing.assert_close(alpha_r.flatten(), torch.tensor([0.5, 1.05, 1.6]))
    torch.testing.assert_close(alpha_t.flatten(), torch.tensor([-0.001375, 0.0, 0.001375]))


def test_linear_output_agrees_with_the_bounded_one_to_first_order():
    raw = torch.tensor([-1e-3, 1e-3]).expand(1, 2, 1, 2)
    for bounded, linear in zip(PolarHead().components(raw), PolarHead(bounded=False).components(raw), strict=True):
        torch.testing.assert_close(bounded, linear, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shape", [(16, 16), (14, 22)])
def test_field_turns_with_the_frame(name, shape):
    """A quarter turn of the outputs is a quarter turn of the field: positions, and the vectors at them."""
    head = HEADS[name]()
    raw = smooth(head.outputs, *shape)
    if name != "polar":  # the shear is a quadrupole: it changes sign
        raw[:, 2:] -= raw[:, 2:].mean(dim=(-2, -1), keepdim=True)
        raw[:, 2:] += torch.tensor([0.4, -0.2])[:, None, None]
    turned = torch.rot90(raw, 1, (-1, -2))  # x towards y
    if name != "polar":
        turned = torch.cat([turned[:, :2], -turned[:, 2:]], dim=1)
    alpha_x, alpha_y = (torch.rot90(component, 1, (-1, -2)) for component in head(raw, SCALE))
    found_x, found_y = head(turned, SCALE)
    torch.testing.assert_close(found_x, -alpha_y)
    torch.testing.assert_close(found_y, alpha_x)


def test_potential_has_no_curl():
    """Differences along the two axes exchange: no curl beyond rounding, for rough outputs too."""
    head = PotentialHead()
    raw = torch.randn(2, 4, 24, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kappa, gamma1, _, curl = distortion(*head(raw, SCALE), MATRIX)
    assert kappa.abs().max() > 1.0
    assert curl.abs().max() < 1e-6
    single = distortion(*head(smooth(4).float(), SCALE), MATRIX)[3]
    assert single.abs().max() < 1e-3


def test_convergence_is_that_of_the_field():
    """Half the divergence of the field is the head's own mass map, and the curl vanishes, as fast as pixels shrink."""
    head = ConvergenceHead()
    raw = smooth(4)
    kappa, _, _, curl = distortion(*head(raw, SCALE), MATRIX)
    x, y = positions(48, 48)
    far = (torch.hypot(x, y) > 0.4) & (x.abs() < 0.9) & (y.abs() < 0.9)
    expected = head.convergence(raw, SCALE)
    assert (kappa - expected)[:, far].abs().max() < 0.01 * expected[:, far].max()
    assert curl[:, far].abs().max() < 1e-3
    assert (head.convergence(10.0 * torch.randn(1, 4, 8, 8), SCALE) > 0).all()


@pytest.mark.parametrize("head", [ConvergenceHead(), PotentialHead()], ids=["convergence", "potential"])
def test_mean_field_is_an_isothermal_sphere_in_shear(head):
    """With no correction alpha = theta_E r^ + Gamma theta, mass beyond the frame included."""
    raw = torch.zeros(1, 4, 64, 64, dtype=torch.float64)
    raw[:, 1], raw[:, 2] = math.log(3.0), math.atanh(0.5)
    alpha_x, alpha_y = head(raw, SCALE)
    x, y = positions(64, 64)
    r = torch.hypot(x, y)
    theta_E = 0.5 + 0.75 * 1.1
    far = r > 0.4
    torch.testing.assert_close(alpha_x[0, far], (theta_E * x / r + 0.15 * x)[far], rtol=0.0, atol=0.01)
    torch.testing.assert_close(alpha_y[0, far], (theta_E * y / r - 0.15 * y)[far], rtol=0.0, atol=0.01)


def test_a_map_alone_deflects_by_its_own_mass_only():
    head = ConvergenceHead(mean_field=False)
    x, y = positions(64, 64)
    raw = torch.where(torch.hypot(x, y) < 0.5, 0.0, -60.0).double()[None, None]
    alpha_x, alpha_y = head(raw, SCALE)
    mass = head.convergence(raw, SCALE).sum() * SCALE**2 / math.pi
    outside = torch.hypot(x, y) > 0.8
    expected = (mass * x / (x**2 + y**2))[outside]
    torch.testing.assert_close(alpha_x[0, outside], expected, rtol=0.0, atol=1e-2 * float(expected.max()))


@pytest.mark.parametrize("name", HEADS)
def test_autocast_does_not_reach_the_head(name):
    head = HEADS[name]()
    raw = smooth(head.outputs, 12, 12).float()
    expected = head(raw, SCALE)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(raw, SCALE)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
    assert head(raw.bfloat16(), SCALE).alpha_x.dtype == torch.float32


@pytest.mark.parametrize("name", HEADS)
def test_gradient_is_that_of_finite_differences(name):
    head = HEADS[name](0.4, 2.0)
    raw = 0.3 * torch.randn(1, head.outputs, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: head(z, SCALE), raw.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: PolarHead(1.0, 0.5), "low, high"),
        (lambda: ConvergenceHead(-1.0, 0.5), "low, high"),
        (lambda: PolarHead(tangential=-1.0), "tangential"),
        (lambda: PotentialHead(strength=0.0), "strength"),
    ],
)
def test_wrong_settings_are_named(make, argument):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.argument == argument
