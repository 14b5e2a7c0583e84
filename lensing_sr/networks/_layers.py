# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Pieces that the networks share: normalisation, initialisation, modulation by context, positions of pixels."""

import math

import torch
from torch import nn

from lensing_sr.errors import InputError
from lensing_sr.utils._checks import check_choice

__all__ = [
    "FiLM",
    "OutputNorm",
    "check_count",
    "full_precision",
    "he_initialise",
    "make_norm",
    "pixel_offsets",
    "shrink",
]

#: What an output layer starts with, as a fraction of He's width, where no statistics bring it to order.
SMALL = 0.1

#: Smallest gain of the output layer: the published networks' fell to 1e-5 and took the response with it.
GAIN_FLOOR = 0.01


def check_count(value, argument, minimum=1):
    """Return a setting that counts something, or raise an `~lensing_sr.errors.InputError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(argument, f"must be an integer of at least {minimum}", repr(value))
    return value


def make_norm(norm, channels):
    """Make a normalisation layer: ``"batch"`` (over the batch) or ``"group"`` (within an image, up to 8 groups).

    Batch normalisation learns the running mean and variance that `eval` mode uses; from batches of fewer than about
    eight images these are noisy, and the network then answers otherwise than it was trained to.  Group normalisation
    has no such memory.
    """
    if check_choice(norm, ("batch", "group"), "norm") == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(8, channels), channels)


def he_initialise(module):
    """Draw all weights of convolutions and linear layers from N(0, 2 / fan_in), and set their biases to 0.

    References
    ----------
    He, Zhang, Ren & Sun 2015, Proc. ICCV, 1026.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def shrink(*layers, factor=SMALL):
    """Scale freshly drawn weights down, so that what follows starts near 0 but not at it."""
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(factor)


def full_precision(tensor):
    """Context in which autocast is off for the tensor's device: numbers that need all their digits are made there."""
    return torch.autocast(tensor.device.type, enabled=False)


def pixel_offsets(rows, columns, *, device=None, dtype=torch.float32):
    """Offsets of pixel centres from the centre of the array: x ``(1, columns)`` and y ``(rows, 1)``, in pixels."""
    x = torch.arange(columns, device=device, dtype=dtype) - 0.5 * (columns - 1)
    y = torch.arange(rows, device=device, dtype=dtype) - 0.5 * (rows - 1)
    return x[None, :], y[:, None]


class OutputNorm(nn.Module):
    r"""Gain and offset of each output channel, after batch normalisation or alone.

    .. math:: z_c = \sqrt{w_c^2 + w_0^2}\; \hat z_c + b_c, \qquad w_0 = 0.01

    The published networks end with batch normalisation, whose gain fell to 1e-5 in training: behind the sigmoid nothing
    of the image was left.  Here the gain cannot fall below w_0.  Normalisation within an image is no choice here: it
    would take each image's mean deflection away.

    Parameters
    ----------
    channels : int
        Number of output channels.
    norm : {"batch", "affine"}
        ``"batch"`` normalises over the batch first (published).  As the mean over the batch is then given by b alone,
        it suits images of one lens; ``"affine"`` has no statistics.
    """

    def __init__(self, channels, norm="batch"):
        super().__init__()
        check_choice(norm, ("batch", "affine"), "output_norm")
        self.statistics = nn.BatchNorm2d(channels, affine=False) if norm == "batch" else nn.Identity()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        """Scale and shift ``(batch, channels, rows, columns)``."""
        gain = (self.weight**2 + GAIN_FLOOR**2).sqrt()
        return self.statistics(x) * gain[:, None, None] + self.bias[:, None, None]


class FiLM(nn.Module):
    r"""Feature-wise linear modulation: :math:`x_c \to (1 + \gamma_c)\, x_c + \beta_c` with (gamma, beta) from a vector.

    References
    ----------
    Perez, Strub, de Vries, Dumoulin & Courville 2018, Proc. AAAI, 3942.
    """

    def __init__(self, width, channels):
        super().__init__()
        self.linear = nn.Linear(width, 2 * channels)

    def forward(self, x, vector):
        """Modulate ``(batch, channels, rows, columns)`` by ``(batch, width)``."""
        with full_precision(vector):
            gamma, beta = self.linear(vector).to(x.dtype)[..., None, None].chunk(2, dim=1)
        return torch.addcmul(x + beta, x, gamma)
