# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Discriminators and network learn in turns, each with the other held fixed."""

import pytest
import torch

from lensing_sr.training import Adversary
from lensing_sr.training.checkpoint import copied, load_checkpoint
from lensing_sr.training.tests.test_trainer import same
from lensing_sr.training.tests.two_processes import adversarial_trainer


def test_discriminators_learn_to_tell_apart():
    run = adversarial_trainer(None)
    reconstruction = run._reconstructed(run.validation.batch(0), run.network)
    adversary = Adversary(run.adversary.term, rate=1e-2)
    losses = [float(adversary.step(reconstruction)) for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]


def test_their_step_leaves_the_network_alone_and_the_other_way_round():
    run = adversarial_trainer(None)
    network, judges = run.network, run.adversary.module
    reconstruction = run._reconstructed(run.validation.batch(0), network)
    before = copied(network.state_dict()), copied(judges.state_dict())
    run.adversary.step(reconstruction)
    assert same(before[0], network.state_dict()) and all(one.grad is None for one in network.parameters())
    assert not same(before[1], judges.state_dict())
    run.adversary.optimiser.zero_grad()
    with run.adversary.frozen():
        run.adversary.term(reconstruction).backward()
    assert all(one.grad is None for one in judges.parameters())
    assert sum(float(one.grad.abs().sum()) for one in network.parameters()) > 0, "no adversarial gradient"
    assert all(one.requires_grad for one in judges.parameters())


def test_a_step_that_is_not_finite_changes_nothing():
    run = adversarial_trainer(None)
    observed = run.validation.batch(0)
    reconstruction = run._reconstructed(observed, run.network)
    before = copied(run.adversary.state_dict())
    observed.image[0, 0, 0] = torch.inf
    assert not torch.isfinite(run.adversary.step(reconstruction))
    assert same(before, run.adversary.state_dict())


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_resumed_adversarial_run_equals_an_uninterrupted_one(tmp_path, norm):
    settings = {"norm": norm, "dropout": 0.3}
    adversarial_trainer(tmp_path / "whole", **settings).run()
    with pytest.raises(KeyboardInterrupt):
        adversarial_trainer(tmp_path / "parts", stop=6, **settings).run()
    adversarial_trainer(tmp_path / "parts", seed=99, **settings).run(resume=True)
    states = [load_checkpoint(tmp_path / part / "checkpoint.pt") for part in ("whole", "parts")]
    for state in states:
        del state["run"]["seconds"]
    assert same(*states) and states[0]["adversary"]["optimiser"]["state"]


def test_every_term_has_a_curve():
    history = adversarial_trainer(None).run()
    assert history.curves.terms == ("total", "image", "smooth", "adversarial", "discriminator")
    assert {f"weight_{name}" for name in ("image", "smooth", "adversarial")} <= set(history.curves.columns)
