# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The trunk of networks that read `Views`: what they see, and one vector of it from which they answer."""

import math

import torch
from torch import nn

from lensing_sr.networks.views import CONDITIONS, SIDE, ZOOMS

__all__ = ["ViewReader", "channels"]

#: Significances that become of order one in each brightness channel.
STRETCHES = (1.0, 10.0)
#: Channels of one view: stretched brightness, the same without rings, without half a turn, what is seen, x, y, r; last,
#: without its galaxy.
CHANNELS = len(STRETCHES) + 2 + 1 + 3 + 1
#: Rings whose mean is taken off.
RINGS = 24


class _Step(nn.Module):
    """Two convolutions beside an open path; silent at first."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x):
        return x + self.gain * self.second(torch.relu(self.first(torch.relu(x))))


class ViewReader(nn.Module):
    r"""Views of an image to a few numbers.

    One trunk sees both views (lensing has no scale), its last maps are flattened with their places; the conditions
    shift the first maps and join the vector.

    Parameters
    ----------
    outputs : int
        How many numbers.
    widths : sequence of int
        Channels at 32, 16, 8 and 4 pixels a side.
    steps : sequence of int
        Residual steps at each.
    hidden : int
        Length of the vectors.

    Notes
    -----
    There are no normalisation layers: what one image is told must not depend on its neighbours in the batch.
    """

    def __init__(self, outputs, *, widths, steps, hidden):
        super().__init__()
        self.settings = {"widths": list(widths), "steps": list(steps), "hidden": hidden}
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
        self.answer = nn.Linear(hidden, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.answer.weight, std=0.02)
        nn.init.zeros_(self.answer.bias)

    def read(self, views):
        """The numbers of `Views`, ``(images, outputs)`` float32."""
        images = len(views.significance)
        maps = channels(*(part.flatten(0, 1) for part in (views.significance, views.seen, views.bare)))
        told = self.told(views.conditions).repeat_interleave(len(ZOOMS), dim=0)
        maps = self.stem(maps.to(memory_format=torch.channels_last)) + told[:, :, None, None]
        vectors = torch.relu(self.squeeze(torch.relu(self.trunk(maps)).flatten(1))).view(images, -1)
        vector = torch.relu(self.join(torch.cat([vectors, views.conditions], dim=1)))
        vector = vector + torch.relu(self.deep(vector))
        return self.answer(vector).float()


def channels(significance, seen, bare):
    """Input channels of one view each, ``(n, CHANNELS, SIDE, SIDE)``.

    Parameters
    ----------
    significance, seen, bare : torch.Tensor
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
    return torch.stack([*parts, torch.asinh(bare)], dim=1)
