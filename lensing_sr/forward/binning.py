# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From finer pixels to coarser ones, and the adjoint."""

__all__ = ["bin_mean", "bin_sum", "unbin_sum"]


def bin_sum(image, factor):
    r"""Sum blocks of pixels: coarse pixel (r, c) collects fine pixels [s r, s (r+1)) x [s c, s (c+1)).

    Parameters
    ----------
    image : torch.Tensor or numpy.ndarray
        Shape ``(..., s rows, s columns)``.
    factor : int
        s, the side of a block.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Shape ``(..., rows, columns)``.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.forward.binning import bin_sum
    >>> bin_sum(torch.ones(4, 4), 2).tolist()
    [[4.0, 4.0], [4.0, 4.0]]
    """
    if factor == 1:
        return image
    *lead, rows, columns = image.shape
    blocks = image.reshape(*lead, rows // factor, factor, columns // factor, factor)
    return blocks.sum(-1).sum(-2)


def bin_mean(image, factor):
    """Average blocks of pixels; see `bin_sum`."""
    return bin_sum(image, factor) / factor**2


def unbin_sum(image, factor):
    """Adjoint of `bin_sum`: give every fine pixel of a block the block's value.

    Parameters
    ----------
    image : torch.Tensor
        Shape ``(..., rows, columns)``.
    factor : int
        Side of a block.

    Returns
    -------
    torch.Tensor
        Shape ``(..., s rows, s columns)``.
    """
    return image.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
