# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import pytest
import torch

from lensing_sr.networks import build_network
from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.mixture import MACRO, TOTAL, laid_down_parameters
from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.tests.probes import awake, select, views_of_noise

SMALL = {"widths": (8, 8, 8, 8), "steps": (1, 1, 1, 1), "hidden": 16, "components": 3}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return awake(LensEstimator(**SMALL))


@pytest.fixture(scope="module")
def views():
    return views_of_noise()


def test_settings_make_it_again(network):
    made = build_network(network.settings)
    made.load_state_dict(network.state_dict())
    assert made.settings == network.settings


def test_batch_is_loop(network, views):
    together = network(views)
    for i in range(5):
        alone = network(select(views, slice(i, i + 1)))
        assert torch.allclose(alone.mixture.mean[0], together.mixture.mean[i], atol=1e-4)
        assert torch.allclose(alone.evidence[0], together.evidence[i], rtol=1e-3, atol=1e-3)


def test_precisions_are_positive_and_light_stands_apart(network, views):
    precision = network(views).mixture.precision
    assert (precision.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert torch.equal(precision, precision.tril())
    assert (precision[..., MACRO:, :MACRO] == 0).all()


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_turned_answers_belong_to_the_image_as_it_is(network, views, symmetry):
    """What is said of an image laid down, asked to be laid down likewise, is what was said in the first place."""
    laid = views.laid_down(symmetry)
    transposed, columns, rows = symmetry
    back = (transposed, rows, columns) if transposed else symmetry
    there_and_back = network.turned(laid, back)
    answer = network(views).mixture
    assert torch.allclose(there_and_back.mean, laid_down_parameters(answer.mean, symmetry), atol=1e-4)
    ours, theirs = answer.covariance(), there_and_back.covariance()
    assert torch.allclose(
        theirs.diagonal(dim1=-2, dim2=-1).sum(-1), ours.diagonal(dim1=-2, dim2=-1).sum(-1), rtol=1e-3
    )


def test_density_turns_with_the_parameters(network, views):
    t = torch.randn(5, TOTAL, generator=torch.Generator().manual_seed(4))
    symmetry = SYMMETRIES[5]
    laid = views.laid_down(symmetry)
    one = network(laid).mixture.log_density(laid_down_parameters(t, symmetry))
    other = network.turned(views, symmetry).log_density(t)
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-2)


def test_proposals_are_in_arcsec_and_differ(network, views):
    starts = network.propose(views, 9)
    assert starts.shape == (5, 9, TOTAL) and starts.dtype == torch.float64
    assert starts.isfinite().all()
    assert torch.equal(starts, network.propose(views, 9))  # nothing is left to chance
    assert (starts[:, :, 0].std(dim=1) > 0).all()
    larger = views._replace(half_width=2 * views.half_width, centre=2 * views.centre)
    assert torch.allclose(network.propose(larger, 9)[:, :, 0].exp(), 2 * starts[:, :, 0].exp())


def test_gradients_reach_every_weight(network, views):
    made = LensEstimator(**SMALL)
    estimate = made(views)
    loss = -estimate.mixture.log_density(torch.zeros(5, TOTAL)).mean() + estimate.evidence.mean()
    loss.backward()
    silent = {name for name, p in made.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    assert not silent


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_answers_as_the_processor_does(network, views):
    there = type(views)(*(t.cuda() for t in views))
    starts = network.propose(views, 9)
    try:
        found = network.cuda().propose(there, 9).cpu()
    finally:
        network.cpu()
    torch.testing.assert_close(found, starts, rtol=1e-3, atol=1e-3)
