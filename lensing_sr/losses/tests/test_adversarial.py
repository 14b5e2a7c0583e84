# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the adversarial term: it works, on both sides, and the two sides do not leak into each other."""

import math

import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.losses import Adversarial, Deflection, Reconstruction
from lensing_sr.losses.tests.scenes import Channel, directions, reference, scaled, scene, slopes

SCALES = (2, 1, 0.5)


def critics(dtype=torch.float32):
    torch.manual_seed(0)

    def critic():
        return torch.nn.Sequential(
            Channel(), torch.nn.Conv2d(1, 6, 3, stride=2), torch.nn.SiLU(), torch.nn.Conv2d(6, 8, 3, stride=2),
            torch.nn.SiLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(128, 1),
        )  # fmt: skip

    return [critic().to(dtype) for _ in SCALES]


def test_derivative():
    observed, alpha = scene((24, 28), 0.12, noise=0.05, seed=1)
    for fit, settings, step, tolerance in (
        ("peak", {}, 1e-6, 1e-5), ("full", {"tolerance": 1e-12, "iterations": 60}, 3e-5, 5e-3),
    ):  # fmt: skip
        term = Adversarial(critics(torch.float64), fit=fit, noise=False)
        pairs = [slopes(term, observed, scaled(alpha, 0.95), d, step, **settings) for d in directions(alpha, 3)]
        scale = max(abs(expected) for _, expected in pairs)
        assert scale > 1e-4
        for found, expected in pairs:
            assert abs(found - expected) < tolerance * scale


def _fields(alpha, factor):
    return Deflection(*((factor * a).requires_grad_() for a in alpha))


@pytest.mark.parametrize("fit", ["full", "peak"])
def test_discriminators_separate_and_the_generator_feels_it(fit):
    observed, alpha, _ = reference(3, 4, torch.float32)
    term = Adversarial(critics(), fit=fit)
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(term.discriminators.parameters(), lr=1e-2)
    # a lens that is far too weak: its images are another kind of image
    weak = scaled(alpha, 0.6)
    for _ in range(25):
        reconstruction = Reconstruction(observed, weak)
        optimiser.zero_grad()
        loss = term.discriminator_loss(reconstruction)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.7 * 2 * math.log(2) * len(SCALES)
    for critic, scale, fake in zip(term.discriminators, SCALES, term._fakes(reconstruction), strict=True):
        real = reconstruction.image(scale)
        real = (real - real.amin((1, 2), keepdim=True)) / (real.amax((1, 2)) - real.amin((1, 2)))[:, None, None]
        with torch.no_grad():
            assert float(critic(real).mean()) > float(critic(fake).mean())
    fields = _fields(alpha, 0.6)
    value = term(Reconstruction(observed, fields))
    assert float(value.detach()) > math.log(2) * len(SCALES)  # they tell its images from real ones
    for slope in torch.autograd.grad(value, fields):
        assert torch.isfinite(slope).all()
        assert float(slope.abs().sum()) > 1e-3


def test_the_two_sides_do_not_leak():
    observed, alpha, _ = reference(2, 2, torch.float32)
    term = Adversarial(critics())
    fields = _fields(alpha, 1.0)
    reconstruction = Reconstruction(observed, fields)
    term(reconstruction).backward()
    assert all(p.grad is None and p.requires_grad for p in term.discriminators.parameters())
    assert float(fields.alpha_x.grad.abs().sum()) > 0.0
    fields.alpha_x.grad = None
    # after the generator's graph is gone, on the same reconstruction
    term.discriminator_loss(reconstruction).backward()
    assert fields.alpha_x.grad is None
    assert all(float(p.grad.abs().sum()) > 0.0 for p in term.discriminators.parameters())


def test_an_undecided_discriminator_costs_ln_two():
    observed, alpha, _ = reference(2, 2, torch.float32)
    undecided = critics()
    for critic in undecided:
        torch.nn.init.zeros_(critic[-1].weight)
        torch.nn.init.zeros_(critic[-1].bias)
    term = Adversarial(undecided)
    reconstruction = Reconstruction(observed, alpha)
    assert float(term(reconstruction)) == pytest.approx(3 * math.log(2))
    assert float(term.discriminator_loss(reconstruction).detach()) == pytest.approx(6 * math.log(2))


def test_noise_of_the_fakes_is_the_images():
    observed, alpha, _ = reference(2, 2)
    torch.manual_seed(0)
    noisy = list(Adversarial(critics())._fakes(Reconstruction(observed, alpha)))
    torch.manual_seed(0)
    again = list(Adversarial(critics())._fakes(Reconstruction(observed, alpha)))
    clean = list(Adversarial(critics(), noise=False)._fakes(Reconstruction(observed, alpha)))
    for a, b, c in zip(noisy, again, clean, strict=True):
        torch.testing.assert_close(a, b)
        assert float((a - c).std()) > 1e-3


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="^discriminators: must be one a scale, 3"):
        Adversarial(critics()[:2])
    with pytest.raises(InputError, match="^fit:"):
        Adversarial(critics(), fit="best")
