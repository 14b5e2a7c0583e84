# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Re-lensed images must be indistinguishable from observed ones."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.nn.functional import softplus

from lensing_sr.errors import InputError
from lensing_sr.losses.reconstruction import FITS
from lensing_sr.losses.term import Term, min_max
from lensing_sr.utils._checks import check_choice

__all__ = ["Adversarial"]


@dataclass(frozen=True, eq=False)
class Adversarial(Term):
    r"""Non-saturating adversarial loss with one discriminator a scale.

    .. math:: L_G = -\sum_s \langle \ln\,\mathrm{sig}\,D_s(f_s) \rangle, \qquad
              L_D = -\sum_s \left[\langle \ln\,\mathrm{sig}\,D_s(r_s) \rangle
                    + \langle \ln\,\mathrm{sig}(-D_s(f_s)) \rangle\right]

    Real r are the observed images brought to the scale, fake f the re-lensed ones, both min-max normalised.  Called,
    it gives the generator's side; `discriminator_loss` is the other.  The published form, a cross-entropy over a
    single logit, is zero whatever the discriminator says, and so is its gradient.

    Parameters
    ----------
    discriminators : sequence of torch.nn.Module
        One a scale, in their order: images ``(batch, rows, columns)`` in 0 ... 1 to logits.
    scales : tuple of float
        Pixels a detector pixel.
    fit : {"full", "peak"}
        See `Reconstruction.fit`.
    noise : bool
        Whether the fakes get noise of the observed sigma, brought to the scale as the image is.  Without, the noise
        itself gives the observed images away, and the generator learns nothing about lensing.

    Raises
    ------
    lensing_sr.errors.InputError
        If there is not one discriminator a scale, or the fit is none of these.

    Notes
    -----
    In units of nats an image.  Use with a small weight (published: 1e-3) and an optimiser for the discriminators of
    its own.

    References
    ----------
    Goodfellow et al. 2014, arXiv:1406.2661.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses import Adversarial
    >>> critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1))
    >>> Adversarial([critic], scales=(1,))
    Adversarial(scales=(1,), fit='full', noise=True)
    """

    discriminators: torch.nn.ModuleList = field(repr=False)
    scales: tuple = (2, 1, 0.5)
    fit: str = "full"
    noise: bool = True

    def __post_init__(self):
        object.__setattr__(self, "scales", tuple(self.scales))
        object.__setattr__(self, "discriminators", torch.nn.ModuleList(self.discriminators))
        check_choice(self.fit, FITS, "fit")
        if len(self.discriminators) != len(self.scales):
            raise InputError(
                "discriminators", f"must be one a scale, {len(self.scales)}", f"{len(self.discriminators)} of them"
            )

    def to(self, device):
        """Move the discriminators to a device, in place, and return the term."""
        self.discriminators.to(device)
        return self

    def __call__(self, reconstruction):
        with _frozen(self.discriminators):
            return sum(
                softplus(-critic(fake)).mean()
                for critic, fake in zip(self.discriminators, self._fakes(reconstruction), strict=True)
            )

    def discriminator_loss(self, reconstruction):
        """The discriminators' side: a scalar with gradients for them, and none for the deflection.

        Parameters
        ----------
        reconstruction : Reconstruction
            The one that the generator's step has used already, or a new one.

        Returns
        -------
        torch.Tensor
        """
        total = 0.0
        for critic, scale, fake in zip(self.discriminators, self.scales, self._fakes(reconstruction), strict=True):
            real = min_max(reconstruction.image(scale))
            total = total + softplus(-critic(real)).mean() + softplus(critic(fake.detach())).mean()
        return total

    def _fakes(self, reconstruction):
        noise = None
        if self.noise:
            weight = reconstruction.weight
            sigma = torch.where(weight > 0.0, 1.0 / torch.where(weight > 0.0, weight, 1.0), 0.0)
            noise = sigma * torch.randn_like(sigma)
        for scale in self.scales:
            image = reconstruction.relensed(scale, self.fit)
            yield min_max(image if noise is None else image + reconstruction.resample(noise, scale))


@contextmanager
def _frozen(module):
    """Gradients pass through a module, but none is left in it."""
    flags = [(p, p.requires_grad) for p in module.parameters()]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
