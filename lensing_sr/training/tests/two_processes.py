# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A tiny training with an adversary, to be started alone or by ``torchrun``, broken off and resumed."""

import sys
from pathlib import Path

import torch

from lensing_sr.training import Adversary, FineTuning, Trainer, WarmupCosine
from lensing_sr.training.parallel import process_group, rank
from lensing_sr.training.tests.tiny import AdversarialLoss, Interrupted, TinyNetwork, TinyTerm, tiny_images


def adversarial_trainer(folder, device="cpu", *, seed=0, epochs=2, stop=None, norm="none", dropout=0.0):
    """A training with an adversary; the weights at the start depend on ``seed``; fails at the step ``stop``."""
    torch.manual_seed(seed)
    network, term = TinyNetwork(norm, dropout), TinyTerm()
    images, validation = tiny_images(22, 8).split(0.75)
    return Trainer(
        network, AdversarialLoss(term), Interrupted(images, stop), validation, epochs=epochs, steps=4, clip=1.0, seed=3,
        rate=WarmupCosine(3e-3, warmup=0.2), fine_tuning=FineTuning(1, 1e-4), amp=False, device=device,
        adversary=Adversary(term, rate=1e-3), folder=folder, progress=False,
    )  # fmt: skip


def main(folder):
    """Train in as many processes as there are, each begun with weights of its own, and break off; then go on."""
    with process_group("cpu") as device:
        try:
            adversarial_trainer(folder, device, seed=rank(), stop=6).run()
        except KeyboardInterrupt:
            trainer = adversarial_trainer(folder, device, seed=7)
            trainer.run(resume=True)
            torch.save(trainer.network.state_dict(), Path(folder) / f"rank{rank()}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
