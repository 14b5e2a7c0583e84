# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of weights and sums: schedules decay, totals add up, the published compositions are as published."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.losses import (
    Adversarial, Constant, CosineDecay, Deflection, ExponentialDecay, FeatureLoss, ImageLoss, LensingLoss, Likelihood,
    LinearDecay, Reconstruction, SourceLoss, VariationDensity, build_loss, build_schedule, published_loss,
)  # fmt: skip
from lensing_sr.losses.published import PUBLISHED
from lensing_sr.losses.tests.scenes import reference

CRITICS = [torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 1))] * 3


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 10.0), st.floats(0.0, 1.0), st.floats(1.0, 100.0), st.floats(0.0, 50.0))
def test_decaying_weights_really_decay(start, share, epochs, first):
    stop = share * start
    for schedule in (
        LinearDecay(start, stop, epochs, first),
        CosineDecay(start, stop, epochs, first),
        ExponentialDecay(start, epochs, stop, first),
    ):
        weights = [schedule(first + k * epochs / 8) for k in range(-2, 12)]
        assert weights[0] == weights[2] == pytest.approx(start)
        assert all(b <= a + 1e-12 for a, b in zip(weights, weights[1:], strict=False))
        assert weights[10] <= max(0.5 * start, stop) + 1e-12
        assert schedule(1e9) == pytest.approx(stop, abs=1e-12)


def test_schedules_of_a_recipe():
    assert build_schedule(0.5) == Constant(0.5)
    assert build_schedule({"schedule": "linear", "start": 1, "stop": 0, "epochs": 4})(1) == 0.75
    assert build_schedule({"schedule": "cosine", "start": 1, "stop": 0, "epochs": 4})(2) == pytest.approx(0.5)
    assert build_schedule(abs) is abs
    assert LinearDecay(1.0, 0.2, epochs=0)(0) == pytest.approx(0.2)
    for wrong in ({"schedule": "sudden"}, {"schedule": "linear", "begin": 1}, {"start": 1}):
        with pytest.raises(InputError, match="^schedule:"):
            build_schedule(wrong)


def _reconstruction(model=2):
    observed, alpha, _ = reference(model, 2, torch.float32)
    fields = Deflection(*(0.97 * a for a in alpha))
    for field in fields:
        field.requires_grad_()
    return Reconstruction(observed, fields), fields


def test_total_is_the_weighted_sum_and_the_weight_decays():
    terms = {"likelihood": (Likelihood(), 2.0), "variation": (VariationDensity(), ExponentialDecay(1e3, 1.0))}
    loss = LensingLoss(terms)
    reconstruction, fields = _reconstruction()
    slopes = []
    for epoch in (0, 1, 10):
        total, values = loss(reconstruction, epoch)
        weights = loss.weights(epoch)
        assert weights == {"likelihood": 2.0, "variation": 1e3 * 0.5**epoch}
        assert list(values) == list(terms)
        assert not any(value.requires_grad for value in values.values())
        assert float(total.detach()) == pytest.approx(sum(weights[k] * float(values[k]) for k in terms), rel=1e-5)
        slopes.append(torch.autograd.grad(total, fields.alpha_x, retain_graph=True)[0])
    likelihood = torch.autograd.grad(2.0 * Likelihood()(reconstruction), fields.alpha_x, retain_graph=True)[0]
    pull = [float((slope - likelihood).abs().sum()) for slope in slopes]
    assert pull[1] == pytest.approx(0.5 * pull[0], rel=1e-3)
    assert pull[2] < 2e-3 * pull[0]


def test_a_weight_of_zero_only_looks():
    reconstruction, fields = _reconstruction()
    loss = LensingLoss({"likelihood": (Likelihood(), 0.0), "variation": (VariationDensity(), 1.0)})
    total, values = loss(reconstruction)
    assert float(values["likelihood"]) > 1.0
    torch.testing.assert_close(total.detach(), values["variation"])
    nothing, _ = LensingLoss({"likelihood": (Likelihood(), 0.0)})(reconstruction)
    nothing.backward()
    assert float(fields.alpha_x.grad.abs().sum()) == 0.0


def test_half_precision_is_for_networks():
    reconstruction, _ = _reconstruction()
    loss = LensingLoss({"likelihood": (Likelihood(), 1.0), "image": (ImageLoss(), 1.0)})
    wanted, _ = loss(reconstruction)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = loss(_reconstruction()[0])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("network", list(PUBLISHED))
@pytest.mark.parametrize("model", [1, 2, 3])
def test_published_compositions(network, model):
    extractor = torch.nn.AvgPool2d(4)
    loss = published_loss(network, model, discriminators=CRITICS, extractor=extractor)
    kinds = {name: type(term) for name, (term, _) in loss.terms.items()}
    expected = {"source": SourceLoss, "image": ImageLoss, "variation": VariationDensity}
    if "srgan" in network:
        expected["adversarial"] = Adversarial
    if network == "feature-srgan":
        expected["image"] = FeatureLoss
    assert kinds == expected
    weights = loss.weights(17)
    assert weights["source"] == weights["image"] == 1.0
    assert weights["variation"] == PUBLISHED[network].variation[model - 1]
    assert weights.get("adversarial", 1e-3) == 1e-3
    assert (loss.adversary is None) == ("srgan" not in network)
    assert loss.terms["source"][0] == SourceLoss(scales=(2, 1, 0.5), fit="peak")
    total, values = loss.to("cpu")(_reconstruction(model)[0])
    assert torch.isfinite(total)
    assert set(values) == set(weights)
    for name in kinds:
        assert name in loss.describe()


def test_published_weights_are_those_of_the_table():
    assert PUBLISHED["residual-cnn"] == ((1e-5, 1e-5, 1e-5), (150, 100, 150), (0.5, 0.75, 0.5))
    assert PUBLISHED["rcan"].rate[2] == 1e-6
    assert PUBLISHED["srgan"].variation == (0.1, 0.75, 0.75)
    decaying = published_loss("residual-cnn", 3, variation=LinearDecay(0.5, 0.0, epochs=10))
    assert decaying.weights(5)["variation"] == 0.25


def test_published_networks_need_their_helpers():
    with pytest.raises(InputError, match="^discriminators:"):
        published_loss("srgan", 1)
    with pytest.raises(InputError, match="^extractor:"):
        published_loss("feature-srgan", 1, discriminators=CRITICS)
    with pytest.raises(InputError, match="^network:"):
        published_loss("transformer", 1)
    with pytest.raises(InputError, match="^model:"):
        published_loss("rcan", 4)


def test_losses_of_a_recipe():
    recipe = {
        "likelihood": {"log": True},
        "source": {"fit": "peak", "scales": [2, 1], "weight": 0.1},
        "smooth": {"term": "variation", "weight": {"schedule": "exponential", "start": 0.5, "half_life": 5}},
        "adversarial": {"weight": 1e-3},
    }
    loss = build_loss(recipe, discriminators=CRITICS)
    assert loss.terms["source"][0] == SourceLoss(scales=(2, 1), fit="peak")
    assert loss.weights(5) == {"likelihood": 1.0, "source": 0.1, "smooth": 0.25, "adversarial": 1e-3}
    assert loss.adversary.discriminators[0] is CRITICS[0]
    assert "Likelihood(fit='full', log=True)" in repr(loss)
    for wrong, name in (
        ({"gravity": {}}, "gravity"), ({"features": {}}, "extractor"), ({"curl": {"power": 2}}, "curl"), ({}, "terms"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^{name}:"):
            build_loss(wrong)
