# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what judges images in training: discriminators, classifier, frozen features."""

import pytest
import torch
from torch.nn import functional

from lensing_sr.errors import InputError
from lensing_sr.networks import Classifier, Discriminator, FeatureExtractor, build_network, discriminators
from lensing_sr.networks.tests.probes import lens


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes():
    # with the generator 1.23 million; the text of the publication says 1.21
    assert [count(judge) for judge in discriminators((75, 75))] == [223_153, 69_553, 36_785]
    assert count(discriminators((64, 64))) == 227_091
    assert 0.40e6 < count(FeatureExtractor(Classifier())) < 0.42e6


@pytest.mark.parametrize("shape", [(64, 64), (75, 75), (10, 21)])
def test_one_judge_a_scale(shape):
    judges = discriminators(shape, channels=2, hidden=4)
    for judge, scale in zip(judges, (2, 1, 0.5), strict=True):
        assert judge(torch.rand(3, *(int(n * scale) for n in shape))).shape == (3,)
    # half of an odd size may be rounded either way
    assert judges[-1](torch.rand(2, *((n + 1) // 2 for n in shape))).shape == (2,)


def test_judges_learn_to_tell_and_their_gradient_reaches_the_image():
    torch.manual_seed(0)
    judge = Discriminator((32, 32), norm="group")
    rings, noise = torch.stack([lens(1.0, seed=i) for i in range(4)]), torch.rand(4, 32, 32)
    optimiser = torch.optim.Adam(judge.parameters(), 1e-3)
    for _ in range(20):
        loss = functional.softplus(-judge(rings)).mean() + functional.softplus(judge(noise)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (judge(rings) > 0).all() and (judge(noise) < 0).all()
    image = noise.clone().requires_grad_()
    functional.softplus(-judge(image)).mean().backward()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize("module", [Discriminator((16, 16)), Classifier()], ids=["discriminator", "classifier"])
def test_gradient_reaches_every_parameter(module):
    module.eval()(torch.rand(3, 16, 16)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


def test_features_are_frozen():
    classifier = Classifier(widths=(4, 8), blocks=1)
    extractor = FeatureExtractor(classifier)
    extractor.train()
    assert not any(module.training for module in extractor.modules())
    image = torch.rand(2, 16, 16, requires_grad=True)
    before = {key: value.clone() for key, value in extractor.state_dict().items()}
    extractor(image).square().sum().backward()
    assert image.grad.abs().max() > 0
    assert all(torch.equal(value, before[key]) for key, value in extractor.state_dict().items())
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    # the classifier itself can go on learning
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert torch.equal(extractor(image), classifier.eval().features(image))


def test_classifier_takes_any_size_and_is_rebuilt_by_its_settings():
    classifier = build_network({"network": "classifier", "classes": 4, "widths": [4, 8], "norm": "group"})
    for shape in ((16, 16), (9, 31)):
        assert classifier(torch.rand(2, *shape)).shape == (2, 4)
    assert build_network(classifier.settings).settings == classifier.settings


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Discriminator((0, 4)), "shape"),
        (lambda: Discriminator((8, 8), layers=0), "layers"),
        (lambda: discriminators((8, 8), scales=(0.1,)), "scales"),
        (lambda: Classifier(1), "classes"),
        (lambda: Classifier(norm="none"), "norm"),
    ],
)
def test_wrong_settings_are_named(make, argument):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.argument == argument
