# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The nearest isothermal ellipsoid: itself where the field is one, a stationary point where it is not."""

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from lensing_sr.forward.model import deflection
from lensing_sr.lensing.nearest import nearest_sie

Y, X = torch.meshgrid(*2 * [torch.linspace(-2.0, 2.0, 24, dtype=torch.float64)], indexing="ij")


def field(p):
    return tuple(alpha.flatten(1) for alpha in deflection(p, X, Y))


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.5, 1.6), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1),
    st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0.6, 1.7),
)  # fmt: skip
def test_such_a_lens_is_found_again(theta_E, e1, e2, x, y, g1, g2, factor):
    truth = torch.tensor([[theta_E, e1, e2, x, y, g1, g2]], dtype=torch.float64)
    truth[:, 0] = truth[:, 0].log()
    found = nearest_sie(*field(truth), X.flatten(), Y.flatten(), torch.ones(1, X.numel()), truth[:, 0].exp() * factor)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-4)


def test_of_any_field_it_is_the_nearest():
    generator = torch.Generator().manual_seed(1)
    truth = torch.tensor([[0.0, 0.1, 0.2, 0.0, 0.0, 0.0, 0.1], [0.2, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0]]).double()
    alpha = [a + 0.05 * torch.randn(a.shape, generator=generator, dtype=torch.float64) for a in field(truth)]
    weight = torch.rand(2, X.numel(), generator=generator, dtype=torch.float64)
    found = nearest_sie(*alpha, X.flatten(), Y.flatten(), weight, torch.ones(2))

    def distance(p):
        return sum((weight * (a - b) ** 2).sum(1) for a, b in zip(field(p), alpha, strict=True))

    best = distance(found)
    for j in range(7):
        for step in (-1e-3, 1e-3):
            moved = found.clone()
            moved[:, j] += step
            assert (distance(moved) > best).all()


def test_points_without_weight_do_not_count():
    truth = torch.tensor([[0.1, 0.1, -0.1, 0.02, 0.0, 0.03, 0.0]], dtype=torch.float64)
    alpha = [a.clone() for a in field(truth)]
    weight = (X.flatten() > 0).double()[None]
    for a in alpha:
        a[weight == 0] = 7.0
    found = nearest_sie(*alpha, X.flatten(), Y.flatten(), weight, torch.ones(1))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-4)
