# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What the lens estimator learns, and how a batch is scored.

.. math:: L = -\ln q(t \mid d) + w\,|e - e_q|, \qquad t \sim \mathcal N(\hat t, C)

with t drawn afresh each time from the posterior that the image's own likelihood gives (its minimum, its curvature), in
one of the eight orientations, e the evidence that the fit found and e_q the one that the network expects.  Fits that do
not explain their image teach nothing.
"""

import torch

from lensing_sr.networks.lens_estimator import EVIDENCE
from lensing_sr.networks.mixture import MACRO, SCATTER, laid_down_parameters
from lensing_sr.networks.symmetry import SYMMETRIES, laid_down
from lensing_sr.networks.views import Views

__all__ = ["Teaching", "learn", "loss_of", "validate"]

#: A fit teaches if the arcs lower chi-square by this much, and are fitted to this reduced chi-square.
GAIN, MISFIT = 30.0, 2.5
#: Weight of the evidence in the loss.
EVIDENCE_WEIGHT = 0.3
#: Longest gradient.
CLIP = 5.0


class Teaching:
    """Fitted images as batches.

    Parameters
    ----------
    shards : list of dict
        From `lensing_sr.training.bank.fitted_shard`.
    device : str or torch.device
        Where the network is that learns.
    """

    def __init__(self, shards, device="cpu"):
        self.device = torch.device(device)
        self.bank = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
        self.teaches = (self.bank["gain"] > GAIN) & (self.bank["misfit"] < MISFIT)
        judged = self.bank["evidence"].isfinite()
        # among the judged, half are no lenses: their fits are not to be believed
        self.teaches &= ~judged | (self.bank["evidence"] > EVIDENCE)
        self.judged = judged

    def __len__(self):
        return len(self.teaches)

    def batch(self, index, symmetry, generator):
        """Views, drawn parameters, what to learn of each: `Views`, ``(n, 19)``, two booleans, evidence."""
        z = torch.randn(len(index), self.bank["mean"].shape[1], 1, generator=generator).to(self.device)
        part = {key: values[index].to(self.device) for key, values in self.bank.items()}
        maps = (laid_down(part[key].float(), symmetry) for key in ("significance", "seen", "bare"))
        views = Views(*maps, part["conditions"], None, None)
        t = laid_down_parameters(part["mean"] + (part["root"] @ z)[:, :, 0], symmetry)
        return views, t, *(flags[index].to(self.device) for flags in (self.teaches, self.judged)), part["evidence"]


def loss_of(estimate, views, t, teaches, judged, evidence):
    """Loss of a batch, and its two parts: of the parameters, of the evidence."""
    shines = views.conditions[:, 3] > 0.5
    density = torch.where(shines, estimate.mixture.log_density(t), estimate.mixture.log_density(t, MACRO))
    # one wild fit must not undo what the others teach
    parameters = -(density.clamp_min(-100.0) * teaches).sum() / teaches.sum().clamp_min(1)
    target = torch.asinh(evidence.nan_to_num() / EVIDENCE)
    miss = torch.nn.functional.smooth_l1_loss(torch.asinh(estimate.evidence / EVIDENCE), target, reduction="none")
    judgement = (miss * judged).sum() / judged.sum().clamp_min(1)
    return parameters + EVIDENCE_WEIGHT * judgement, parameters, judgement


def learn(network, optimiser, taught, index, symmetry, generator):
    """One step on a batch; returns its two losses, and whether the gradient was finite, so that it changed anything."""
    views, t, teaches, judged, evidence = taught.batch(index, symmetry, generator)
    device = views.significance.device.type
    with torch.autocast(device, torch.bfloat16):
        estimate = network(views)
    loss, *parts = loss_of(estimate, views, t, teaches, judged, evidence)
    optimiser.zero_grad()
    loss.backward()
    length = torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    finite = bool(length.isfinite())
    if finite:
        optimiser.step()
    return torch.stack(parts).detach().cpu(), finite


@torch.no_grad()
def validate(network, held):
    """Loss, and typical error of theta_E against the fits, on images that do not teach."""
    index = torch.arange(len(held))
    views, t, teaches, judged, evidence = held.batch(index, SYMMETRIES[0], torch.Generator().manual_seed(1))
    estimate = network(views)
    total, parameters, judgement = loss_of(estimate, views, t, teaches, judged, evidence)
    found, fitted = estimate.mixture.best()[:, 0].cpu(), held.bank["mean"][:, 0]
    off = ((found - fitted)[held.teaches] * SCATTER[0]).abs()
    return {
        "parameters": float(parameters),
        "evidence": float(judgement),
        "theta_E": float(off.median()),
        "off": float((off > 0.2).float().mean()),
    }
