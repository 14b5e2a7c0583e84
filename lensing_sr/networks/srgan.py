# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The judges of the SRGAN: one at each scale of the loss.  Its generator is the residual CNN."""

import math

from torch import nn
from torch.nn import functional

from lensing_sr.errors import InputError
from lensing_sr.networks._layers import check_count, he_initialise, make_norm

__all__ = ["Discriminator", "discriminators"]


class Discriminator(nn.Module):
    r"""Tell images of one kind from those of another.

    9x9 convolution; ``layers`` times a 3x3 convolution of stride 2 with norm, doubling the channels at every other one;
    a layer of ``hidden`` units; one number.  All activations are leaky (0.2), so that none can die.

    The answer is the logarithm of the odds, not a probability: losses that take it as such
    (`torch.nn.functional.binary_cross_entropy_with_logits`, `torch.nn.functional.softplus`) have a gradient however
    sure it is.  The published loss, a cross-entropy over one class, is zero for any answer.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the images; others are pooled to the same number of cells before the hidden layer.
    channels : int
        Width of the first convolution.
    layers : int
        Strided convolutions.
    hidden : int
        Units of the hidden layer.
    norm : {"batch", "group"}
        Normalisation; batch as published.

    References
    ----------
    Ledig et al. 2017, Proc. CVPR, 4681; Radford, Metz & Chintala 2016, ICLR (leaky activations).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import Discriminator
    >>> Discriminator((64, 64))(torch.rand(3, 64, 64)).shape
    torch.Size([3])
    """

    def __init__(self, shape, *, channels=8, layers=4, hidden=64, norm="batch"):
        super().__init__()
        for value, argument in ((channels, "channels"), (layers, "layers"), (hidden, "hidden")):
            check_count(value, argument)
        rows, columns = shape
        self.cells = tuple(math.ceil(check_count(n, "shape") / 2**layers) for n in (rows, columns))
        body = [nn.Conv2d(1, channels, 9, padding=4), nn.LeakyReLU(0.2)]
        width = channels
        for i in range(layers):
            wider = 2 * width if i % 2 == 0 else width
            body += [nn.Conv2d(width, wider, 3, stride=2, padding=1), make_norm(norm, wider), nn.LeakyReLU(0.2)]
            width = wider
        self.body = nn.Sequential(*body)
        self.judge = nn.Sequential(
            nn.Linear(width * self.cells[0] * self.cells[1], hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )
        he_initialise(self)

    def forward(self, image):
        """Logarithm of the odds, ``(batch,)``, of images ``(batch, rows, columns)`` scaled to 0 ... 1."""
        features = functional.adaptive_avg_pool2d(self.body(image[:, None]), self.cells)
        return self.judge(features.flatten(1))[:, 0].float()


def discriminators(shape, scales=(2, 1, 0.5), **settings):
    """Make one `Discriminator` a scale.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the low-resolution image.
    scales : sequence of float
        Pixels a low-resolution pixel at each scale; shapes are rounded down.
    **settings
        Those of `Discriminator`, for all of them.

    Returns
    -------
    torch.nn.ModuleList of Discriminator
        One a scale, in their order.

    Notes
    -----
    For images of 75 x 75 the three have 329 491 parameters, with the generator 1.23 million (published: 1.21); for
    64 x 64 they have 227 091, together 1.13 million.

    Examples
    --------
    >>> from lensing_sr.networks import discriminators
    >>> [judge.cells for judge in discriminators((64, 64))]
    [(8, 8), (4, 4), (2, 2)]
    """
    judges = nn.ModuleList()
    for scale in scales:
        sizes = tuple(int(n * scale) for n in shape)
        if min(sizes) < 1:
            raise InputError("scales", "must leave at least one pixel", scale)
        judges.append(Discriminator(sizes, **settings))
    return judges
