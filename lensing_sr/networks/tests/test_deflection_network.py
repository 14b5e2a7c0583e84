# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the whole network: it answers to its image, whatever the settings, and is rebuilt by them."""

import json

import pytest
import torch
from torch import nn

from lensing_sr.errors import InputError, NoiseError
from lensing_sr.networks import DeflectionNetwork, build_network, prepare_inputs
from lensing_sr.networks.deflection_network import NETWORKS
from lensing_sr.networks.tests.probes import SMALL, VARIANTS, lens, make, observed

every_variant = pytest.mark.parametrize("name", VARIANTS)


def test_published_sizes():
    sizes = {name: build_network({"network": name}).parameter_count for name in NETWORKS}
    assert sizes == {"residual-cnn": 900_422, "rcan": 2_283_650, "srgan": 900_422, "feature-srgan": 900_422}


@every_variant
@pytest.mark.parametrize("training", [True, False])
def test_it_answers_to_its_image(name, training):
    """A lens, another lens and pure noise give different fields, in both modes: constant output is no answer."""
    network = make(name).train(training)
    noise = 0.05 * torch.randn(32, 32, generator=torch.Generator().manual_seed(9))
    image = torch.stack([lens(0.7), lens(1.3), noise])
    with torch.no_grad():
        alpha = torch.stack(network(image, pixel_scale=0.14, noise=torch.full((3, 1, 1), 0.05)))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (alpha[:, i] - alpha[:, j]).square().mean().sqrt() > 2e-3
    assert network.training is training


@every_variant
def test_response_is_measured_without_a_trace(name):
    network = make(name).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    response = network.response((32, 32))
    assert response == network.response((32, 32)) > 2e-3
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_response_finds_a_dead_network():
    network = make("published")
    nn.init.zeros_(network.trunk.output.weight)
    assert network.response() == 0.0


@every_variant
@pytest.mark.parametrize("shape", [(16, 16), (11, 18)])
def test_field_is_finite_and_twice_as_fine(name, shape):
    image, settings = observed(3, shape)
    field = make(name)(image, **settings)
    for component in field:
        assert component.shape == (3, 2 * shape[0], 2 * shape[1])
        assert component.dtype == torch.float32
        assert torch.isfinite(component).all()


@every_variant
def test_batch_is_a_loop(name):
    image, settings = observed(3)
    network = make(name).eval()
    noise = settings.pop("noise")
    with torch.no_grad():
        together = torch.stack(network(image, noise=noise, **settings), 1)
        single = [torch.stack(network(image[i : i + 1], noise=noise[i : i + 1], **settings), 1) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(single), rtol=1e-4, atol=1e-5)


@every_variant
def test_gradient_reaches_every_parameter(name):
    network = make(name).eval()  # batch norm in training takes out the biases before it
    image, settings = observed(2, (16, 16))
    torch.manual_seed(1)
    sum((component * torch.randn_like(component)).sum() for component in network(image, **settings)).backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead


@every_variant
def test_half_precision_and_channels_last(name):
    network = make(name).eval()
    image, settings = observed()
    with torch.no_grad():
        expected = torch.stack(network(image, **settings))
        network.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found = torch.stack(network(image, **settings))
    assert found.dtype == torch.float32
    assert (found - expected).square().mean().sqrt() < 0.03


@pytest.mark.parametrize("name", ["group", "informed"])
def test_it_learns_the_radius(name):
    """A few steps towards another constant field bring it there, under autocast too."""
    network = make(name).train()
    image, settings = observed(4)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16):
            field = network(image, **settings)
        loss = (torch.hypot(*field) - 1.3).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_context_carries_what_is_far_away():
    """A change in one corner moves the field in the other, thirty pixels off; the published network cannot know."""
    image, settings = observed(1, (64, 64))
    other = image.clone()
    other[:, :12, :12] += 0.3 * torch.rand(12, 12, generator=torch.Generator().manual_seed(3))
    moved = {}
    for name in ("group", "informed"):  # group norm sees the whole image as well, but only its mean and spread
        network = DeflectionNetwork(**VARIANTS[name] | {"scaling": "snr", "norm": "batch"}).eval()
        with torch.no_grad():
            before, after = (network(x, **settings).alpha_x[..., -40:, -40:] for x in (image, other))
        moved[name] = float((after - before).abs().max())
    assert moved["group"] == 0.0
    assert moved["informed"] > 1e-5


@every_variant
def test_settings_rebuild_it(name):
    network = make(name)
    settings = json.loads(json.dumps(network.settings))
    torch.manual_seed(0)
    twin = build_network(settings)
    assert twin.settings == network.settings
    for (key, a), (twin_key, b) in zip(network.state_dict().items(), twin.state_dict().items(), strict=True):
        assert key == twin_key
        assert torch.equal(a, b)
    image, call = observed()
    assert torch.equal(network.eval()(image, **call).alpha_x, twin.eval()(image, **call).alpha_x)


def test_precision_of_the_image_does_not_matter():
    image, settings = observed()
    network = make("informed").eval()
    assert torch.equal(network(image.double(), **settings).alpha_x, network(image, **settings).alpha_x)
    assert network.double()(image, **settings).alpha_x.dtype == torch.float64


def test_minmax_does_not_see_flux_and_sky_snr_does():
    image, settings = observed()
    image = image.double()
    for scaling, blind in (("minmax", True), ("snr", False)):
        call = {"pixel_scale": 0.1, "noise": settings["noise"], "scaling": scaling}
        first, second = (prepare_inputs(x, **call) for x in (image, 3.0 * image + 1.0))
        assert torch.allclose(first, second) is blind
    scaled = prepare_inputs(image, pixel_scale=0.1)
    assert (scaled.amin(dim=(1, 2, 3)) == 0).all()
    assert (scaled.amax(dim=(1, 2, 3)) == 1).all()
    assert (prepare_inputs(torch.ones(1, 4, 4), pixel_scale=0.1) == 0).all()


def test_maps_are_what_they_are_called():
    image, settings = observed(1, (10, 20))
    stack = prepare_inputs(image, **settings, inputs=("x", "y", "r", "noise", "psf", "scale"))
    x, y, r, noise, psf, scale = stack[0, 1:]
    torch.testing.assert_close(x[0], (torch.arange(20) - 9.5) / 10.0)
    torch.testing.assert_close(y[:, 0], (torch.arange(10) - 4.5) / 10.0)
    torch.testing.assert_close(r, torch.hypot(x, y))
    torch.testing.assert_close(noise, ((image.amax() - image.amin()) / 0.05).log10().expand(10, 20))
    torch.testing.assert_close(psf, torch.full((10, 20), 0.2 / 0.14))
    torch.testing.assert_close(scale.exp(), torch.full((10, 20), 1.4))


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({}, "network"),
        ({"network": "transformer"}, "network"),
        ({"network": "residual-cnn", "depth": 3}, "depth"),
        ({"network": "residual-cnn", "groups": 3}, "groups"),
        ({"network": "rcan", "norm": "batch"}, "norm"),
        ({"network": "rcan", "output_norm": "batch"}, "output_norm"),
        ({"network": "residual-cnn", "head": "mass"}, "head"),
        ({"network": "residual-cnn", "head": "potential", "tangential": 0.1}, "tangential"),
        ({"network": "residual-cnn", "scaling": "log"}, "scaling"),
        ({"network": "residual-cnn", "inputs": "xy"}, "inputs"),
        ({"network": "residual-cnn", "inputs": ["x", "x"]}, "inputs"),
        ({"network": "residual-cnn", "inputs": ["phi"]}, "inputs"),
        ({"network": "residual-cnn", "low": 2.0}, "low, high"),
        ({"network": "classifier", "channels": 4}, "channels"),
    ],
)
def test_wrong_settings_are_named(settings, argument):
    with pytest.raises(InputError) as caught:
        build_network(settings)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"image": torch.zeros(8, 8)}, "image"),
        ({"image": torch.zeros(1, 8, 8, dtype=torch.int32)}, "image"),
        ({"image": [[1.0]]}, "image"),
        ({"pixel_scale": 0.0}, "pixel_scale"),
        ({"psf_fwhm": -1.0}, "psf_fwhm"),
        ({"noise": None}, "noise"),
        ({"noise": torch.ones(3, 1, 1)}, "noise"),
        ({"noise": torch.ones(8, 8)}, "noise"),
    ],
)
def test_wrong_images_are_named(change, argument):
    network = DeflectionNetwork(**SMALL, scaling="snr")
    call = {"image": torch.zeros(2, 8, 8), "pixel_scale": 0.1, "noise": torch.ones(2, 8, 8)} | change
    with pytest.raises(NoiseError if argument == "noise" else InputError) as caught:
        network(**call)
    assert caught.value.argument == argument


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_variant
def test_cuda_agrees(name):
    image, settings = observed()
    network = make(name).eval()
    noise = settings.pop("noise")
    with torch.no_grad():
        expected = torch.stack(network(image, noise=noise, **settings))
        found = torch.stack(network.cuda()(image.cuda(), noise=noise.cuda(), **settings)).cpu()
    # convolutions there may use ten bits
    assert (found - expected).square().mean().sqrt() < 5e-3
