# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What all separable interpolations end with: a weighted sum of the pixels around each position."""

import torch

__all__ = ["weighted_pixels"]


def weighted_pixels(image, first_row, weights_row, first_column, weights_column):
    """Sum over a block of pixels at each position, ``sum_ji w_j v_i image[first_row + j, first_column + i]``.

    Parameters
    ----------
    image : torch.Tensor
        ``(..., ny, nx)``; all blocks must lie in it.
    first_row, first_column : torch.Tensor
        Whole numbers, ``(..., my, mx)`` (of any shape for an image of two dimensions); leading dimensions broadcast
        with those of the image.
    weights_row, weights_column : sequence of torch.Tensor
        One weight for each row and each column of a block, shaped as the positions.

    Returns
    -------
    torch.Tensor
        Shaped as the positions; differentiable in the image and the weights.
    """
    width = image.shape[-1]
    flat, start = image.flatten(-2), first_row * width + first_column
    if image.dim() > 2:
        lead = torch.broadcast_shapes(image.shape[:-2], start.shape[:-2])
        flat = flat.expand(*lead, flat.shape[-1])
        start = start.expand(*lead, *start.shape[-2:])
    value = 0.0
    for j, weight_row in enumerate(weights_row):
        line = 0.0
        for i, weight_column in enumerate(weights_column):
            if image.dim() > 2:
                index = start + (j * width + i)
                tap = torch.gather(flat, -1, index.flatten(-2)).view(index.shape)
            else:
                # the same places of an image that begins later: much faster than to index
                tap = flat[j * width + i :].index_select(0, start.flatten()).view(start.shape)
            line = line + weight_column * tap
        value = value + weight_row * line
    return value
