# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A lens estimator goes on learning from a user's own images: each is fitted, and that is all there is to know."""

import math
import time

import torch

from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.training.checkpoint import copied
from lensing_sr.training.curves import LearningCurves
from lensing_sr.training.history import MAIN, History, TrainingError
from lensing_sr.training.schedule import WarmupCosine
from lensing_sr.training.teaching import Teaching, learn, validate
from lensing_sr.utils._progress import progress as progress_bar

__all__ = ["fine_tune"]


def fine_tune(network, train, validation, *, epochs, batch_size, rate, seed=0, augment=True, progress=None):
    """Teach a `LensEstimator` what the fits of some images found.

    Parameters
    ----------
    network : LensEstimator
        Goes on from where it is; ends with the weights of the epoch that did best on the validation images, which may
        be those that it came with.
    train, validation : list of dict
        From `lensing_sr.training.bank.fit_images`.
    epochs : int
        Times that all images are gone through.
    batch_size : int
        Images a step.
    rate : float
        Highest learning rate.
    seed : int
        Of the order, the orientations and the draws.
    augment : bool
        Whether images are turned and mirrored at random.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal.

    Returns
    -------
    History

    Raises
    ------
    lensing_sr.training.TrainingError
        If no fit explains its image, so that there is nothing to learn.
    """
    began = time.perf_counter()
    device = next(network.parameters()).device
    taught, held = Teaching(train, device), Teaching(validation, device)
    for name, part in (("train", taught), ("validate", held)):
        if not bool(part.teaches.any()):
            raise TrainingError(f"none of the {len(part)} images to {name} with is explained by its fit")
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    steps = math.ceil(len(taught) / batch_size)
    schedule = WarmupCosine(rate)
    curves, best, best_epoch, skipped = LearningCurves(), validate(network.eval(), held), 0, 0
    weights = copied(network.state_dict())
    for epoch in progress_bar(range(1, epochs + 1), show=progress, description="training"):
        network.train()
        total = torch.zeros(2)
        order = torch.randperm(len(taught), generator=generator)
        for step, index in enumerate(order.split(batch_size)):
            now = schedule((epoch - 1) * steps + step, epochs * steps)
            for group in optimiser.param_groups:
                group["lr"] = now
            symmetry = SYMMETRIES[int(torch.randint(8, (1,), generator=generator))] if augment else SYMMETRIES[0]
            losses, finite = learn(network, optimiser, taught, index, symmetry, generator)
            total += losses.nan_to_num()
            skipped += not finite
        scores = validate(network.eval(), held)
        row = {"epoch": epoch, "stage": MAIN, "passes": epoch * len(taught), "rate": now, "skipped": skipped}
        row |= {"training_total": float(total[0] / steps), "validation_total": scores["parameters"]}
        curves.append(row | {"validation_theta_E": scores["theta_E"]})
        if scores["parameters"] < best["parameters"]:
            best, best_epoch, weights = scores, epoch, copied(network.state_dict())
    network.load_state_dict(weights)
    seconds = time.perf_counter() - began
    evaluation = {"total": best["parameters"], "theta_E": best["theta_E"], "off": best["off"]}
    return History(curves, best_epoch, best["parameters"], evaluation, epochs * len(taught), skipped, seconds, "end")
