# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The other side of an adversarial training: discriminators that learn in turns with the network."""

from contextlib import contextmanager

import torch

from lensing_sr.training.checkpoint import copied
from lensing_sr.training.parallel import average_gradients, mean_over_processes

__all__ = ["Adversary"]


class Adversary:
    """Discriminators and their optimiser.

    In every step of the training they learn first, on what the network has just made, which is held fixed; then the
    network learns against them, held fixed in their turn.

    Parameters
    ----------
    term : `~lensing_sr.losses.adversarial.Adversarial`
        The adversarial term of the loss; its ``discriminators`` learn, by its ``discriminator_loss(reconstruction)``.
    rate : float
        Learning rate of Adam.
    betas : tuple of float
        Decay of Adam's averages; the first is small since the network to be told apart changes all the time.

    References
    ----------
    Goodfellow et al. 2014, NeurIPS (arXiv:1406.2661); Radford et al. 2016, ICLR (arXiv:1511.06434) for the betas.
    """

    def __init__(self, term, *, rate, betas=(0.5, 0.999)):
        self.term, self.module = term, term.discriminators
        self.optimiser = torch.optim.Adam(self.module.parameters(), lr=rate, betas=betas)

    def step(self, reconstruction):
        """One step of the discriminators; a step whose loss is not finite changes nothing.

        Parameters
        ----------
        reconstruction : `~lensing_sr.losses.reconstruction.Reconstruction`
            What the network made of a batch; no gradient reaches the network.

        Returns
        -------
        torch.Tensor
            Their loss, a scalar without gradient.
        """
        self.module.train()
        before = [buffer.clone() for buffer in self.module.buffers()]
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.term.discriminator_loss(reconstruction)
        loss.backward()
        average_gradients(self.module.parameters())
        bad = ~torch.stack([loss.detach().isfinite(), *(
            parameter.grad.isfinite().all() for parameter in self.module.parameters() if parameter.grad is not None
        )]).all()  # fmt: skip
        if bool(mean_over_processes(bad.float()) > 0):
            restore_buffers(self.module, before)
        else:
            self.optimiser.step()
        return loss.detach()

    @contextmanager
    def frozen(self):
        """The discriminators don't learn while the network does."""
        self.module.requires_grad_(False)
        try:
            yield
        finally:
            self.module.requires_grad_(True)

    def to(self, device):
        """Move the discriminators."""
        self.module.to(device)
        return self

    def state_dict(self):
        """Copy of the discriminators and of their optimiser."""
        return {"module": copied(self.module.state_dict()), "optimiser": copied(self.optimiser.state_dict())}

    def load_state_dict(self, state):
        """Take over what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])


def restore_buffers(module, before):
    """Put back the buffers of a module, running means among them, as they were."""
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), before, strict=True):
            buffer.copy_(value)
