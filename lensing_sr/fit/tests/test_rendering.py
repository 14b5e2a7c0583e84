# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of rendering: light is sampled more finely exactly where that changes a pixel."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.fit import rendering
from lensing_sr.fit.rendering import render
from lensing_sr.forward.formation import ImageFormation

PIXEL = 0.1
FORMATION = ImageFormation((21, 21), PIXEL * torch.eye(2, dtype=torch.float64), (10.0, 10.0), None, dtype=torch.float64)
NOTHING = torch.zeros(1, 13, dtype=torch.float64)


def seen(light, limit):
    return render(NOTHING, torch.ones(1, 1), None, FORMATION, torch.tensor([limit], dtype=torch.float64), light)[0]


@settings(deadline=None, max_examples=40)
@given(
    x=st.floats(-0.8, 0.8), y=st.floats(-0.8, 0.8), width=st.floats(0.25, 20.0), q=st.floats(0.3, 1.0),
    turn=st.floats(0.0, math.pi), brightness=st.floats(0.1, 1e4),
)  # fmt: skip
def test_no_pixel_that_needs_finer_samples_is_passed_over(x, y, width, q, turn, brightness):
    """Wherever a source lies and however it is shaped, the mean of each pixel is as if all had been refined."""

    def light(u, v):
        u, v = u - x, v - y
        along, across = u * math.cos(turn) + v * math.sin(turn), v * math.cos(turn) - u * math.sin(turn)
        return brightness * torch.exp(-torch.hypot(along, across / q) / (width * PIXEL))

    limit = 1e-3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "_bent", lambda light, limit: torch.ones_like(light[:, 0], dtype=torch.bool))
        everywhere = seen(light, limit)
    assert float((seen(light, limit) - everywhere).abs().max()) < 1.5 * limit * PIXEL**2


def test_even_light_is_sampled_once():
    calls = []

    def light(u, v):
        calls.append(u.numel())
        return torch.full_like(u + v, 3.0)

    image = seen(light, 1e-3)
    assert calls == [441]
    torch.testing.assert_close(image[0], light(*FORMATION.positions) * PIXEL**2)
