# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The classifier whose features compare images in the feature SRGAN: taught before the network, then frozen.

It learns to tell the simulators of a mixture apart (kinds of dark matter, as published) from low-resolution images
alone.  Which simulator drew an image is all that it is told; no high-resolution image, no parameter of a lens.
"""

import torch
from torch.nn import functional

from lensing_sr.errors import InputError
from lensing_sr.losses.observed import Observed
from lensing_sr.networks.features import Classifier
from lensing_sr.training import parallel
from lensing_sr.training.data import SimulatedBatches
from lensing_sr.training.schedule import WarmupCosine
from lensing_sr.utils._progress import progress as progress_bar

__all__ = ["scaled", "train_classifier"]

#: Batches of other images on which the classifier is tested.
TEST_BATCHES = 4


def scaled(observed: Observed):
    """Images stretched from their darkest to their brightest pixel onto 0 ... 1, as the classifier takes them."""
    image = observed.image
    low, high = (getattr(image, name)(dim=(-2, -1), keepdim=True) for name in ("amin", "amax"))
    return (image - low) / (high - low).clamp_min(torch.finfo(image.dtype).tiny)


def train_classifier(simulators, *, steps=600, batch_size=64, rate=1e-3, seed=0, device="cpu", progress=None):
    """Teach a classifier which of several simulators drew an image.

    Parameters
    ----------
    simulators : sequence of objects
        As of `~lensing_sr.training.data.SimulatedBatches`, at least two.
    steps, batch_size : int
        How long, on how many images at a time; each image is seen once.
    rate : float
        Highest learning rate of Adam, after warm-up; it ends with a cosine.
    seed : int
        Of weights and images; these are not those of a training of the same seed.
    device : str or torch.device
        Where to compute.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal.

    Returns
    -------
    classifier : `~lensing_sr.networks.features.Classifier`
        In `eval` mode.
    accuracy : float
        Share of right answers on images that it has not seen.

    Notes
    -----
    Several processes all teach the same classifier and give it the first one's weights.

    Examples
    --------
    >>> from lensing_sr.simulation import ReferenceSimulator
    >>> from lensing_sr.training.pretraining import train_classifier
    >>> simulators = [ReferenceSimulator(3, kind) for kind in ("no_sub", "cdm")]
    >>> classifier, accuracy = train_classifier(simulators, steps=2, batch_size=4)
    >>> 0 <= accuracy <= 1
    True
    """
    simulators = tuple(simulators)
    if len(simulators) < 2:
        raise InputError("simulators", "must be two or more, to be told apart", len(simulators))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(len(simulators)).to(device).train()
    schedule = WarmupCosine(rate)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=rate)
    train = SimulatedBatches(simulators, batch_size, seed, purpose="features")
    show = False if parallel.rank() else progress
    for step in progress_bar(range(steps), description="classifier", show=show):
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, steps)
        logits = classifier(scaled(train.batch(step).to(device)))
        loss = functional.cross_entropy(logits, train.kinds(step).to(logits.device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    parallel.same_everywhere(classifier)
    classifier.eval()
    test = SimulatedBatches(simulators, batch_size, seed, purpose="features, test")
    right = 0
    with torch.no_grad():
        for number in range(TEST_BATCHES):
            answers = classifier(scaled(test.batch(number).to(device))).argmax(1).cpu()
            right += int((answers == test.kinds(number)).sum())
    return classifier, right / (TEST_BATCHES * batch_size)
