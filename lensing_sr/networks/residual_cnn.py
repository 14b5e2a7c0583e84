# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The residual CNN of the reference method: from an image to maps on a grid twice as fine."""

from torch import nn
from torch.nn import functional

from lensing_sr.networks._layers import (
    FiLM,
    OutputNorm,
    check_count,
    full_precision,
    he_initialise,
    make_norm,
    shrink,
)
from lensing_sr.utils._checks import check_choice

__all__ = ["ResidualCNN"]


class ResidualCNN(nn.Module):
    r"""Residual network with one upsampling by pixel shuffle; 900 422 parameters as published.

    3x3 convolution, norm, ReLU; ``blocks`` times (3x3 convolution, norm, ReLU, 5x5 convolution, norm, ReLU, skip);
    9x9 convolution and a skip over all blocks; 3x3 convolution, pixel shuffle, ReLU; 3x3 convolution, norm.  What
    comes out are plain numbers: a head (`lensing_sr.networks.heads`) makes a deflection of them.

    Two things differ from the publication, and neither changes the number of parameters.  The last activation, through
    which everything must pass, lets a tenth of negative values through: as a plain ReLU it died in some published
    networks, which then gave one field for every image.  And the last gain cannot vanish (`OutputNorm`), as it did in
    others.

    Parameters
    ----------
    in_channels : int
        Maps of the input.
    outputs : int
        Maps of the output.
    channels : int
        Width.
    blocks : int
        Depth, in residual blocks.
    norm : {"batch", "group"}
        Normalisation in the trunk; batch (published) wants batches of eight or more.
    output_norm : {"batch", "affine"}, optional
        That of the output, see `OutputNorm`; by default ``"batch"`` (published) where `norm` is.
    context : int
        Length of the vector that modulates the blocks (`lensing_sr.networks.GlobalContext`); 0 for none (published).
    slope : float
        Slope of the last activation below 0; 0 as published.

    References
    ----------
    Ledig et al. 2017, Proc. CVPR, 4681 (the architecture); Shi et al. 2016, Proc. CVPR, 1874 (pixel shuffle).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import ResidualCNN
    >>> network = ResidualCNN()
    >>> sum(parameter.numel() for parameter in network.parameters())
    900422
    >>> network(torch.rand(2, 1, 8, 9)).shape
    torch.Size([2, 2, 16, 18])
    """

    #: Settings of its own, with the published values.
    defaults = {"channels": 64, "blocks": 3, "norm": "batch"}

    def __init__(
        self, in_channels=1, outputs=2, *, channels=64, blocks=3, norm="batch", output_norm=None, context=0, slope=0.1
    ):
        super().__init__()
        check_count(channels, "channels")
        check_count(blocks, "blocks")
        check_choice(norm, ("batch", "group"), "norm")
        output_norm = output_norm or ("batch" if norm == "batch" else "affine")
        self.slope = slope

        def convolution(size):
            return [nn.Conv2d(channels, channels, size, padding=size // 2), make_norm(norm, channels), nn.ReLU()]

        self.entry = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1), make_norm(norm, channels), nn.ReLU()
        )
        self.blocks = nn.ModuleList(nn.Sequential(*convolution(3), *convolution(5)) for _ in range(blocks))
        self.films = nn.ModuleList(FiLM(context, channels) for _ in range(blocks + 1 if context else 0))
        self.merge = nn.Conv2d(channels, channels, 9, padding=4)
        self.expand = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.output = nn.Conv2d(channels, outputs, 3, padding=1)
        self.output_norm = OutputNorm(outputs, output_norm)
        he_initialise(self)
        shrink(*(film.linear for film in self.films))
        if output_norm == "affine":
            shrink(self.output)

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
        for i, block in enumerate(self.blocks):
            step = block(x)
            x = x + (self.films[i](step, context) if self.films else step)
        x = self.merge(x) + first
        if self.films:
            x = self.films[-1](x, context)
        x = functional.leaky_relu(functional.pixel_shuffle(self.expand(x), 2), self.slope)
        # eight bits would put steps of 0.001 arcsec into the field, and its derivatives would see nothing else
        with full_precision(x):
            return self.output_norm(self.output(x.to(self.output.weight.dtype)))
