# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images brought back to the source plane, batched and differentiable in the deflection."""

import torch

__all__ = ["deliver", "gather", "sample_source", "shares"]


def sample_source(image, alpha_x, alpha_y, x, y, pixel):
    r"""Source reconstructed as the reference method does it: the image, read where a ray from beta would arrive.

    .. math:: S(\beta) = I(\theta), \qquad \theta = \beta + \alpha(\beta)

    The deflection is taken at beta instead of theta.  For an isothermal lens at the origin that is exact for the outer
    image, because alpha is the same all along a radius; elsewhere it is an approximation.

    Parameters
    ----------
    image : torch.Tensor
        ``(batch, rows, columns)``, its centre at (0, 0) arcsec.
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec at the positions, ``(batch, m, n)``.
    x, y : torch.Tensor
        Positions beta in arcsec, ``(m, n)``.
    pixel : float
        arcsec a pixel of the image.

    Returns
    -------
    torch.Tensor
        Bilinear values of the image, zero beyond it, ``(batch, m, n)``.
    """
    rows, columns = image.shape[1:]
    # edges of the image at -1 and 1
    where = torch.stack([(x + alpha_x) * (2.0 / (columns * pixel)), (y + alpha_y) * (2.0 / (rows * pixel))], dim=-1)
    return torch.nn.functional.grid_sample(
        image[:, None], where, mode="bilinear", padding_mode="zeros", align_corners=False
    )[:, 0]


def shares(x, y, shape, pixel, origin):
    """Four cells of a grid among which each position is shared, with bilinear weights.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, ``(batch, ...)``.
    shape : tuple of int
        Rows and columns of the grid.
    pixel : float
        arcsec a cell.
    origin : tuple of float
        Cell (column, row) of (0, 0) arcsec.

    Returns
    -------
    cells : torch.Tensor
        Indices into the flattened grids of the whole batch, ``(4, batch, points)``.
    weights : torch.Tensor
        Shares, ``(4, batch, points)``; zero for cells beyond the grid.
    """
    rows, columns = shape
    x, y = x.flatten(1), y.flatten(1)
    # far outside is as good as just outside, and stays an index
    col = (x / pixel + origin[0]).clamp(-2.0, columns + 1.0)
    row = (y / pixel + origin[1]).clamp(-2.0, rows + 1.0)
    first_col, first_row = col.detach().floor(), row.detach().floor()
    u, v = col - first_col, row - first_row
    image = torch.arange(len(x), device=x.device)[:, None] * (rows * columns)
    cells, weights = [], []
    for j, share_row in enumerate((1.0 - v, v)):
        for i, share_col in enumerate((1.0 - u, u)):
            c, r = first_col.long() + i, first_row.long() + j
            inside = (c >= 0) & (c < columns) & (r >= 0) & (r < rows)
            cells.append(image + torch.where(inside, r * columns + c, 0))
            weights.append(torch.where(inside, share_row * share_col, 0.0))
    return torch.stack(cells), torch.stack(weights)


def deliver(values, cells, weights, shape):
    """Sum of shares that arrive in each cell: the transpose of `gather`.

    Parameters
    ----------
    values : torch.Tensor
        ``(batch, ...)``, one a position; or None for the shares alone.
    cells, weights : torch.Tensor
        From `shares`.
    shape : tuple of int
        Rows and columns of the grid.

    Returns
    -------
    torch.Tensor
        ``(batch, rows, columns)``.
    """
    parcel = weights if values is None else weights * values.flatten(1)
    total = weights.new_zeros(weights.shape[1] * shape[0] * shape[1])
    return total.index_add(0, cells.flatten(), parcel.flatten()).view(-1, *shape)


def gather(grid, cells, weights):
    """Value of a grid at positions between its cells, ``(batch, points)``: zero beyond it."""
    return (weights * grid.flatten()[cells]).sum(0)
