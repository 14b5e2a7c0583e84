# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The compact residual channel-attention network of the reference method."""

from torch import nn
from torch.nn import functional

from lensing_sr.networks._layers import FiLM, check_count, full_precision, he_initialise, shrink

__all__ = ["RCAN"]


class _Attention(nn.Module):
    """Weigh each channel by a number that depends on the mean of all of them."""

    def __init__(self, channels, reduction):
        super().__init__()
        inner = max(1, channels // reduction)
        narrow, widen = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.weigh = nn.Sequential(narrow, nn.ReLU(), widen, nn.Sigmoid())

    def forward(self, x):
        return x * self.weigh(functional.adaptive_avg_pool2d(x, 1))


class RCAN(nn.Module):
    r"""Residual groups of channel-attention blocks and one upsampling by pixel shuffle; 2 283 650 parameters.

    3x3 convolution; ``groups`` times (``blocks`` times (3x3 convolution, ReLU, 3x3 convolution, channel attention,
    skip), 3x3 convolution, skip); 3x3 convolution and a skip over all groups; 3x3 convolution, pixel shuffle; 3x3
    convolution.  The output is linear: a head (`lensing_sr.networks.heads`) makes a deflection of it.

    Parameters
    ----------
    in_channels : int
        Maps of the input.
    outputs : int
        Maps of the output.
    channels : int
        Width.
    groups, blocks : int
        Depth: residual groups, and blocks in each.
    reduction : int
        By how much the attention narrows the channels.
    context : int
        Length of the vector that modulates the blocks (`lensing_sr.networks.GlobalContext`); 0 for none (published).

    References
    ----------
    Zhang, Li, Li, Wang, Zhong & Fu 2018, Proc. ECCV, 286.

    Examples
    --------
    >>> from lensing_sr.networks import RCAN
    >>> sum(parameter.numel() for parameter in RCAN().parameters())
    2283650
    """

    #: Settings of its own, with the published values.
    defaults = {"channels": 128, "groups": 2, "blocks": 2, "reduction": 2}

    def __init__(self, in_channels=1, outputs=2, *, channels=128, groups=2, blocks=2, reduction=2, context=0):
        super().__init__()
        counts = {"channels": channels, "groups": groups, "blocks": blocks, "reduction": reduction}
        for argument, value in counts.items():
            check_count(value, argument)

        def convolution():
            return nn.Conv2d(channels, channels, 3, padding=1)

        def block():
            return nn.Sequential(convolution(), nn.ReLU(), convolution(), _Attention(channels, reduction))

        self.entry = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.groups = nn.ModuleList(nn.ModuleList(block() for _ in range(blocks)) for _ in range(groups))
        self.closings = nn.ModuleList(convolution() for _ in range(groups))
        self.films = nn.ModuleList(FiLM(context, channels) for _ in range(groups if context else 0))
        self.merge = convolution()
        self.expand = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.output = nn.Conv2d(channels, outputs, 3, padding=1)
        he_initialise(self)
        # nothing normalises what the skips add up to
        shrink(self.output, *(film.linear for film in self.films))

    def forward(self, x, context=None):
        """Map ``(batch, in_channels, ny, nx)`` to ``(batch, outputs, 2 ny, 2 nx)``, in full precision.

        Parameters
        ----------
        x : torch.Tensor
            The input.
        context : torch.Tensor, optional
            ``(batch, context)``; needed if the network was made for one.
        """
        x = first = self.entry(x)
        for i, (blocks, closing) in enumerate(zip(self.groups, self.closings, strict=True)):
            inner = x
            for block in blocks:
                inner = inner + block(inner)
            inner = closing(inner)
            x = x + (self.films[i](inner, context) if self.films else inner)
        x = functional.pixel_shuffle(self.expand(self.merge(x) + first), 2)
        with full_precision(x):
            return self.output(x.to(self.output.weight.dtype))
