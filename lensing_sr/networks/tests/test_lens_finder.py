# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the lens finder: one number an image, whatever way up it lies."""

import pytest
import torch

from lensing_sr.networks import build_network
from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.lens_finder import LensFinder
from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.tests.probes import awake, select, views_of_noise

SMALL = {"widths": (8, 8, 8, 8), "steps": (1, 1, 1, 1), "hidden": 16}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return awake(LensFinder(**SMALL))


@pytest.fixture(scope="module")
def views():
    return views_of_noise()


def test_settings_make_it_again(network, views):
    made = build_network(network.settings).eval()
    made.load_state_dict(network.state_dict())
    assert made.settings == network.settings and torch.equal(made(views), network(views))


def test_batch_is_loop(network, views):
    together = network.judge(views)
    alone = torch.cat([network.judge(select(views, slice(i, i + 1))) for i in range(5)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    assert together.std() > 1e-3


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_lens_is_one_whichever_way_up(network, views, symmetry):
    """Averaged over all orientations, an image laid down otherwise is judged alike; by one look it is not."""
    turned = views.laid_down(symmetry)
    torch.testing.assert_close(network.judge(turned), network.judge(views), rtol=1e-4, atol=1e-4)
    if any(symmetry):
        assert not torch.allclose(network(turned), network(views), atol=1e-3)


def test_it_can_begin_with_what_the_estimator_sees():
    """Both read views with the same trunk."""
    estimator, finder = LensEstimator(**SMALL).state_dict(), LensFinder(**SMALL).state_dict()
    shared = {key: value.shape for key, value in finder.items() if not key.startswith("answer")}
    own = {key: value.shape for key, value in estimator.items() if not key.startswith("answer")}
    assert shared == own
