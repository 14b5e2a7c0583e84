# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""One look at a cut-out: is it a lens, or a galaxy that only looks like one?

A network that tells draws of two simulations apart learns how much more probable an image is under the one than under
the other,

.. math:: \ln B = \ln \frac{p(d \mid \mathrm{lens})}{p(d \mid \mathrm{no\ lens})} ,

whatever hides the two likelihoods (here lens, source, neighbours, noise, PSF: all that was drawn and is not asked for).
"""

import torch

from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.view_reader import ViewReader

__all__ = ["LensFinder"]


class LensFinder(ViewReader):
    r"""Views of an image to ln B of a lens against a galaxy that is none.

    Parameters
    ----------
    widths, steps, hidden
        As in `ViewReader`.

    References
    ----------
    Cranmer, Pavez & Louppe 2015, arXiv:1506.02169 (the ratio of likelihoods by classification).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks.lens_finder import LensFinder
    >>> from lensing_sr.networks.views import make_views
    >>> views = make_views(
    ...     torch.randn(3, 80, 80), torch.ones(3, 80, 80), torch.eye(2) * 0.1, (39.5, 39.5), torch.zeros(3, 2)
    ... )
    >>> LensFinder()(views).shape
    torch.Size([3])
    """

    def __init__(self, *, widths=(32, 48, 80, 128), steps=(1, 2, 2, 2), hidden=256):
        super().__init__(1, widths=widths, steps=steps, hidden=hidden)
        self.settings = {"network": "lens-finder"} | self.settings

    def forward(self, views):
        """ln B of `Views`, ``(images,)``."""
        return self.read(views)[:, 0]

    @torch.no_grad()
    def judge(self, views, *, turns=8):
        """ln B, averaged over orientations of the image, ``(images,)`` float64.

        Parameters
        ----------
        views : Views
            The images.
        turns : int
            Orientations, 1 to 8.

        Returns
        -------
        torch.Tensor
        """
        return self(views.laid_down(*SYMMETRIES[:turns])).view(turns, -1).mean(dim=0).double()
