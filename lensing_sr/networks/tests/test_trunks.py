# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the trunks: published sizes, shapes, precision, what their last layers cannot do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lensing_sr.errors import InputError
from lensing_sr.networks import RCAN, GlobalContext, ResidualCNN
from lensing_sr.networks._layers import GAIN_FLOOR, OutputNorm, he_initialise
from lensing_sr.networks.context import multipoles


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes():
    assert count(ResidualCNN()) == 900_422
    assert count(ResidualCNN(norm="group")) == 900_422
    assert count(RCAN()) == 2_283_650


def test_context_stays_near_the_published_size():
    branch = GlobalContext(4)
    width = branch.squeeze.out_features
    size = count(branch) + count(ResidualCNN(4, context=width, output_norm="affine"))
    # three of them, in half precision, fill no more than 6 MB
    assert size < 1.09 * 900_422
    assert 3 * 2 * size < 6e6


@given(rows=st.integers(2, 19), columns=st.integers(2, 19), trunk=st.sampled_from((ResidualCNN, RCAN)))
def test_output_is_twice_as_fine_whatever_the_size(rows, columns, trunk):
    out = trunk(3, 4, channels=4, blocks=1).eval()(torch.rand(2, 3, rows, columns))
    assert out.shape == (2, 4, 2 * rows, 2 * columns)
    assert out.dtype == torch.float32


@given(rows=st.integers(1, 70), columns=st.integers(1, 70))
def test_context_takes_any_size(rows, columns):
    branch = GlobalContext(2, widths=(4, 4, 4, 4)).eval()
    vector = branch(torch.rand(2, 2, rows, columns))
    assert vector.shape == (2, branch.squeeze.out_features)
    assert branch.field(vector, (2 * rows, 2 * columns)).shape == (2, 2, 2 * rows, 2 * columns)


def test_multipoles_turn_with_the_frame():
    """A quarter turn leaves 1 and r as they are, takes (cos, sin) into (sin, -cos), and flips the quadrupoles."""
    fields = multipoles(10, 10, dtype=torch.float64)
    turned = torch.rot90(fields, 1, (-1, -2))  # the value at (x, y) comes from (y, -x): phi - 90 degrees
    one, r, cos, sin, *quadrupoles = fields
    torch.testing.assert_close(turned, torch.stack([one, r, sin, -cos, *(-q for q in quadrupoles)]))
    assert torch.isfinite(multipoles(7, 7)).all()


@pytest.mark.parametrize("trunk", [ResidualCNN(channels=8), RCAN(channels=8)], ids=["residual", "rcan"])
def test_half_precision_and_channels_last_give_the_same(trunk):
    trunk.eval()
    x = torch.rand(2, 1, 12, 12)
    with torch.no_grad():
        expected = trunk(x)
        trunk.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found = trunk(x.contiguous(memory_format=torch.channels_last))
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    # what comes out is not rounded to eight bits
    assert (found != found.bfloat16().float()).float().mean() > 0.9


def test_initialisation_keeps_the_scale():
    """He's rule: the mean square of what follows a ReLU stays the same from layer to layer."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Conv2d(48, 48, 3, padding=1), nn.ReLU())))
    he_initialise(layers)
    x = torch.relu(torch.randn(1, 48, 48, 48))
    with torch.no_grad():
        assert 0.4 < float(layers(x).square().mean() / x.square().mean()) < 2.5
    assert all((layer.bias == 0).all() for layer in layers if isinstance(layer, nn.Conv2d))


def test_last_gain_cannot_vanish():
    layer = OutputNorm(2)
    nn.init.zeros_(layer.weight)
    out = layer(torch.randn(4, 2, 8, 8))
    torch.testing.assert_close(out.std(dim=(0, 2, 3), correction=0), torch.full((2,), GAIN_FLOOR), rtol=1e-3, atol=0.0)


def test_last_activation_cannot_die():
    """With every pre-activation far below zero, the published network is constant; ours still hears the image."""
    x = torch.rand(2, 1, 8, 8)
    spread = []
    for slope in (0.1, 0.0):
        torch.manual_seed(0)
        trunk = ResidualCNN(channels=4, slope=slope).eval()
        nn.init.constant_(trunk.expand.bias, -100.0)
        with torch.no_grad():
            inside = trunk(x)[..., 4:-4, 4:-4]
        spread.append(float((inside[0] - inside[1]).abs().max()))
    assert spread[0] > 1e-3
    assert spread[1] == 0.0


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"channels": 0}, "channels"),
        ({"blocks": 1.5}, "blocks"),
        ({"norm": "layer"}, "norm"),
        ({"output_norm": "group"}, "output_norm"),
    ],
)
def test_wrong_settings_are_named(settings, argument):
    with pytest.raises(InputError) as caught:
        ResidualCNN(**settings)
    assert caught.value.argument == argument
