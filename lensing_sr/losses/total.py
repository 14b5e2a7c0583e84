# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Terms and their weights together."""

from collections.abc import Mapping

import torch

from lensing_sr.errors import InputError
from lensing_sr.losses.adversarial import Adversarial
from lensing_sr.losses.compactness import Compactness
from lensing_sr.losses.curl import Curl
from lensing_sr.losses.features import FeatureLoss
from lensing_sr.losses.image import ImageLoss
from lensing_sr.losses.intensity import IntensityConservation
from lensing_sr.losses.likelihood import Likelihood
from lensing_sr.losses.positivity import Positivity
from lensing_sr.losses.schedules import build_schedule
from lensing_sr.losses.source import SourceLoss
from lensing_sr.losses.variation import VariationDensity

__all__ = ["TERMS", "LensingLoss", "build_loss"]

#: Terms by the name that a recipe gives them.
TERMS = {
    "source": SourceLoss,
    "image": ImageLoss,
    "likelihood": Likelihood,
    "intensity": IntensityConservation,
    "positivity": Positivity,
    "variation": VariationDensity,
    "curl": Curl,
    "compactness": Compactness,
    "adversarial": Adversarial,
    "features": FeatureLoss,
}


class LensingLoss:
    r"""Weighted sum of terms, :math:`L = \sum_k w_k(t)\,L_k`.

    Parameters
    ----------
    terms : mapping of str to tuple
        Name to (term, weight); the weight is a number or a schedule (epoch to number).

    Attributes
    ----------
    terms : dict of {str: tuple}
        Name to (term, schedule).

    Raises
    ------
    lensing_sr.errors.InputError
        If there is no term.

    Examples
    --------
    >>> from lensing_sr.losses import ExponentialDecay, LensingLoss, Likelihood, VariationDensity
    >>> loss = LensingLoss({
    ...     "likelihood": (Likelihood(), 1.0),
    ...     "variation": (VariationDensity(), ExponentialDecay(0.5, half_life=10)),
    ... })
    >>> loss.weights(10)
    {'likelihood': 1.0, 'variation': 0.25}
    >>> print(loss.describe())
    likelihood  Constant(value=1.0)  Likelihood(fit='full', log=False)
    variation   ExponentialDecay(start=0.5, half_life=10, floor=0.0, first=0.0)  VariationDensity(components='polar')
    """

    def __init__(self, terms: Mapping):
        if not terms:
            raise InputError("terms", "must be at least one")
        self.terms = {name: (term, build_schedule(weight)) for name, (term, weight) in terms.items()}

    def __repr__(self):
        return f"LensingLoss({self.terms!r})"

    def describe(self):
        """Name, weight and settings of every term, one a line, for a log."""
        width = max(map(len, self.terms))
        return "\n".join(f"{name:{width}}  {weight}  {term}" for name, (term, weight) in self.terms.items())

    def weights(self, epoch):
        """Weight of every term at an epoch, counted from 0: a dict of floats."""
        return {name: float(schedule(epoch)) for name, (_, schedule) in self.terms.items()}

    @property
    def adversary(self):
        """The adversarial term, whose discriminators need training too, or None."""
        return next((term for term, _ in self.terms.values() if isinstance(term, Adversarial)), None)

    def to(self, device):
        """Move networks that terms hold to a device, in place, and return the loss."""
        for term, _ in self.terms.values():
            term.to(device)
        return self

    def __call__(self, reconstruction, epoch=0):
        """Total and parts at an epoch.

        Parameters
        ----------
        reconstruction : Reconstruction
            What the network's deflections make of a batch.
        epoch : float
            Counted from 0; for the schedules.

        Returns
        -------
        total : torch.Tensor
            Scalar, differentiable in the deflection.
        values : dict of {str: torch.Tensor}
            Every term without its weight, detached scalars; terms of weight zero are only looked at.
        """
        total, values = 0.0, {}
        # autocast is for networks: chi-squares in half precision are no good
        with torch.autocast(reconstruction.flux.device.type, enabled=False):
            for name, (term, schedule) in self.terms.items():
                weight = float(schedule(epoch))
                if weight == 0.0:
                    with torch.no_grad():
                        values[name] = term(reconstruction)
                    continue
                value = term(reconstruction)
                total = total + weight * value
                values[name] = value.detach()
        if not isinstance(total, torch.Tensor):
            total = 0.0 * reconstruction.deflection.alpha_x.sum()
        return total, values


def build_loss(settings, *, discriminators=None, extractor=None):
    """Make a loss of what a recipe says.

    Parameters
    ----------
    settings : mapping of str to mapping
        Name of each term (of `TERMS`, or any name with the key ``term``) to its ``weight`` (a number or a schedule,
        see `build_schedule`; 1 if absent) and its own settings.
    discriminators : sequence of torch.nn.Module, optional
        For "adversarial".
    extractor : torch.nn.Module, optional
        For "features".

    Returns
    -------
    LensingLoss

    Raises
    ------
    lensing_sr.errors.InputError
        If a term or a setting does not exist, or a network that a term needs is missing.

    Examples
    --------
    >>> from lensing_sr.losses import build_loss
    >>> loss = build_loss({
    ...     "likelihood": {"log": True},
    ...     "variation": {"weight": {"schedule": "linear", "start": 0.5, "stop": 0.0, "epochs": 50}},
    ... })
    >>> loss.weights(25)
    {'likelihood': 1.0, 'variation': 0.25}
    """
    networks = {"adversarial": ("discriminators", discriminators), "features": ("extractor", extractor)}
    terms = {}
    for name, own in settings.items():
        own = dict(own)
        weight, kind = own.pop("weight", 1.0), own.pop("term", name)
        if kind not in TERMS:
            raise InputError(name, f"must be one of {', '.join(TERMS)}", repr(kind), "or name one with 'term'")
        if kind in networks:
            argument, network = networks[kind]
            if network is None:
                raise InputError(argument, f"must be given for the term {name!r}")
            own[argument] = network
        try:
            terms[name] = (TERMS[kind](**own), weight)
        except TypeError as error:
            raise InputError(name, str(error)) from None
    return LensingLoss(terms)
