# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""One look at a cut-out: the distribution of its lens, source and lens light, and whether it is a lens at all."""

import math
from typing import NamedTuple

import torch
from torch import nn

from lensing_sr.networks.mixture import MACRO, TOTAL, Mixture, in_arcsec, laid_down_parameters
from lensing_sr.networks.symmetry import SYMMETRIES, laid_down
from lensing_sr.networks.views import CONDITIONS, SIDE, ZOOMS

__all__ = ["Estimate", "LensEstimator", "channels"]

#: Significances that become of order one in each brightness channel.
STRETCHES = (1.0, 10.0)
#: Channels of one view: stretched brightness, the same without rings, without half a turn, what is seen, x, y, r.
CHANNELS = len(STRETCHES) + 2 + 1 + 3
#: Rings whose mean is taken off.
RINGS = 24
#: ln of the evidence that counts as one.
EVIDENCE = 10.0
#: Bounds of ln of the precision's diagonal.
SHARPEST, BLUNTEST = 6.0, -2.0


class Estimate(NamedTuple):
    """What `LensEstimator` answers.

    Attributes
    ----------
    mixture : `~lensing_sr.networks.mixture.Mixture`
        Of scale-free parameters.
    evidence : torch.Tensor
        ln of the evidence ratio, lens over no lens, as the fit is expected to find it, ``(images,)``.
    """

    mixture: Mixture
    evidence: torch.Tensor


class _Step(nn.Module):
    """Two convolutions beside an open path; silent at first."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x):
        return x + self.gain * self.second(torch.relu(self.first(torch.relu(x))))


class LensEstimator(nn.Module):
    r"""Views of an image to the distribution of its parameters.

    One trunk sees both views (lensing has no scale), its last maps are flattened with their places; the conditions
    shift the first maps and join the vector.  The answer is a `Mixture`, and the expected evidence for a lens.

    Parameters
    ----------
    widths : sequence of int
        Channels at 32, 16, 8 and 4 pixels a side.
    steps : sequence of int
        Residual steps at each.
    hidden : int
        Length of the vectors.
    components : int
        Of the mixture.

    Notes
    -----
    There are no normalisation layers: what one image is told must not depend on its neighbours in the batch.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks.lens_estimator import LensEstimator
    >>> from lensing_sr.networks.views import make_views
    >>> views = make_views(
    ...     torch.randn(3, 80, 80), torch.ones(3, 80, 80), torch.eye(2) * 0.1, (39.5, 39.5), torch.zeros(3, 2)
    ... )
    >>> LensEstimator()(views).mixture.mean.shape
    torch.Size([3, 4, 19])
    """

    def __init__(self, *, widths=(32, 48, 80, 128), steps=(1, 2, 2, 2), hidden=256, components=4):
        super().__init__()
        self.settings = {
            "network": "lens-estimator", "widths": list(widths), "steps": list(steps), "hidden": hidden,
            "components": components,
        }  # fmt: skip
        self.components = components
        self.told = nn.Linear(CONDITIONS, widths[0])
        layers, before = [], CHANNELS
        self.stem = nn.Conv2d(CHANNELS, widths[0], 5, stride=2, padding=2)
        for k, (width, count) in enumerate(zip(widths, steps, strict=True)):
            if k:
                layers.append(nn.Conv2d(before, width, 3, stride=2, padding=1))
            layers += [_Step(width) for _ in range(count)]
            before = width
        self.trunk = nn.Sequential(*layers)
        cells = (SIDE // 2 ** len(widths)) ** 2
        self.squeeze = nn.Linear(widths[-1] * cells, hidden)
        self.join = nn.Linear(len(ZOOMS) * hidden + CONDITIONS, hidden)
        self.deep = nn.Linear(hidden, hidden)
        self._lower = torch.tril_indices(MACRO, MACRO, -1)
        outputs = components * (1 + TOTAL + TOTAL + self._lower.shape[1]) + 1
        self.answer = nn.Linear(hidden, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.answer.weight, std=0.02)
        nn.init.zeros_(self.answer.bias)
        with torch.no_grad():  # components that begin alike stay alike
            self.answer.bias[components : components * (1 + TOTAL)].normal_(std=0.5)

    def forward(self, views):
        """The `Estimate` of `Views`."""
        images = len(views.significance)
        maps = channels(views.significance.flatten(0, 1), views.seen.flatten(0, 1))
        told = self.told(views.conditions).repeat_interleave(len(ZOOMS), dim=0)
        maps = self.stem(maps.to(memory_format=torch.channels_last)) + told[:, :, None, None]
        vectors = torch.relu(self.squeeze(torch.relu(self.trunk(maps)).flatten(1))).view(images, -1)
        vector = torch.relu(self.join(torch.cat([vectors, views.conditions], dim=1)))
        vector = vector + torch.relu(self.deep(vector))
        return self._read(self.answer(vector).float())

    def _read(self, numbers):
        k = self.components
        share, mean, sharp, lower, evidence = numbers.split(
            [k, k * TOTAL, k * TOTAL, k * self._lower.shape[1], 1], dim=1
        )
        sharp = BLUNTEST + (SHARPEST - BLUNTEST) * torch.sigmoid(sharp.view(-1, k, TOTAL) * 0.5 - 0.7)
        precision = torch.diag_embed(sharp.exp())
        below = torch.zeros_like(precision)
        rows, columns = self._lower.to(numbers.device)
        # in units of the diagonal's row, so that a sharper answer is not a more twisted one
        below[..., rows, columns] = lower.view(len(numbers), k, -1) * sharp.exp()[..., columns]
        return Estimate(
            Mixture(torch.log_softmax(share, dim=1), mean.view(-1, k, TOTAL), precision + below),
            EVIDENCE * torch.sinh(evidence[:, 0].clamp(-6.0, 6.0)),
        )

    @torch.no_grad()
    def propose(self, views, count, *, turns=4, answer=None):
        """Parameters from which to start a fit, ``(images, count, 19)``, arcsec.

        The best component of each of `turns` orientations of the image comes first, then the other components, then
        draws.

        Parameters
        ----------
        views : Views
            The images.
        count : int
            How many.
        turns : int
            Orientations, 1 to 8.
        answer : Estimate, optional
            That of the images as they are, where it is known.

        Returns
        -------
        torch.Tensor
            float64, ordered as `lensing_sr.forward.model.LENS` + `SOURCE` + `LIGHT`.
        """
        first = (self(views) if answer is None else answer).mixture
        answers = [first, *(self.turned(views, symmetry) for symmetry in SYMMETRIES[1:turns])]
        rows = [mixture.best()[:, None] for mixture in answers]
        order = first.log_share.argsort(dim=1, descending=True)
        images = torch.arange(len(order), device=order.device)[:, None]
        rows.append(first.mean[images, order[:, 1:]])
        rows = torch.cat(rows, dim=1)
        if rows.shape[1] < count:
            generator = torch.Generator().manual_seed(0)
            rows = torch.cat([rows, first.sample(count - rows.shape[1], generator)], dim=1)
        rows = rows[:, :count].double()
        return in_arcsec(rows, views.half_width[:, None].expand(-1, count), views.centre[:, None])

    def turned(self, views, symmetry):
        """The `Mixture` that the image laid down otherwise suggests, in the frame of the image as it is."""
        views = views._replace(
            significance=laid_down(views.significance, symmetry), seen=laid_down(views.seen, symmetry)
        )
        mixture = self(views).mixture
        if not any(symmetry):
            return mixture
        # back: the last reversal first; a transposition swaps columns and rows
        transposed, columns, rows = symmetry
        back = (transposed, rows, columns) if transposed else symmetry
        mean = laid_down_parameters(mixture.mean, back)
        turn = laid_down_parameters(torch.eye(TOTAL, dtype=mean.dtype, device=mean.device), back)
        # t' = t M, so that the covariance turns to M^T C M and the precision's root to M^T L, made triangular again
        root = turn.T @ mixture.precision
        factor = torch.linalg.cholesky((root @ root.mT).double()).to(mean)
        return Mixture(mixture.log_share, mean, factor)


def channels(significance, seen):
    """Input channels of one view each, ``(n, CHANNELS, SIDE, SIDE)``.

    Parameters
    ----------
    significance, seen : torch.Tensor
        As in `Views`, ``(n, SIDE, SIDE)``.

    Returns
    -------
    torch.Tensor
    """
    n, device = len(significance), significance.device
    axis = (torch.arange(SIDE, device=device, dtype=significance.dtype) + 0.5) / (SIDE / 2) - 1.0
    x, y = axis.expand(SIDE, SIDE), axis[:, None].expand(SIDE, SIDE)
    radius = torch.hypot(x, y)
    ring = (radius * (RINGS / math.sqrt(2.0))).long().clamp_max(RINGS - 1).flatten()
    member = torch.nn.functional.one_hot(ring, RINGS).to(significance)
    mean = (significance.flatten(1) @ member) / (seen.flatten(1) @ member).clamp_min(1.0)
    without_rings = (significance - mean[:, ring].view_as(significance)) * seen
    both = seen * seen.flip(-1, -2)
    half_turn = (significance - significance.flip(-1, -2)) * both
    parts = [torch.asinh(significance / s) for s in STRETCHES]
    parts += [torch.asinh(without_rings), torch.asinh(half_turn), seen]
    parts += [plane.expand(n, -1, -1) for plane in (x, y, radius)]
    return torch.stack(parts, dim=1)
