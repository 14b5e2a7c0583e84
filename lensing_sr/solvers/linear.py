# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Batched linear least squares with signs: the inner half of variable projection.

Amplitudes that enter a model linearly are never searched for: given the normal equations :math:`G c = b` of the
columns, the best non-negative amplitudes are computed exactly, for a whole batch at once.
"""

import torch

__all__ = ["nonnegative_least_squares", "products", "scaled_cholesky", "solve_spd", "weighted_amplitudes"]

#: Relative ridge that keeps nearly equal columns (two neighbouring Gaussians, say) from blowing up in the solution.
RIDGE = 1e-9

#: Rows of a block of `products`: smaller ones save no more.
BLOCK = 160

#: Full exchanges before falling back to single ones, which cannot cycle (Murty's rule).
PATIENCE = 12


def products(rows):
    """All scalar products of some rows, each computed once: nearly half of the work of ``rows @ rows.T`` is a mirror's.

    Parameters
    ----------
    rows : torch.Tensor
        Shape ``(n, k)``.

    Returns
    -------
    torch.Tensor
        Shape ``(n, n)``.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.solvers.linear import products
    >>> products(torch.tensor([[1.0, 2.0], [3.0, -1.0]])).tolist()
    [[5.0, 1.0], [1.0, 10.0]]
    """
    count = len(rows)
    if count <= BLOCK:
        return rows @ rows.T
    half = count // 2
    first, second = rows[:half], rows[half:]
    whole = rows.new_empty(count, count)
    whole[:half, :half], whole[half:, half:] = products(first), products(second)
    torch.mm(second, first.T, out=whole[half:, :half])
    whole[:half, half:] = whole[half:, :half].T
    return whole


def solve_spd(matrix, rhs):
    """Solve symmetric positive definite systems; a matrix that is not quite so is helped by a growing ridge.

    Parameters
    ----------
    matrix : torch.Tensor
        Shape ``(batch, n, n)``.
    rhs : torch.Tensor
        Shape ``(batch, n, k)``.

    Returns
    -------
    torch.Tensor
        Solution of shape ``(batch, n, k)``; NaN for a system that is not finite.
    """
    finite = torch.isfinite(matrix).all(dim=(1, 2)) & torch.isfinite(rhs).all(dim=(1, 2))
    if not bool(finite.all()):  # LAPACK would stop for all because of one
        solution = torch.full_like(rhs, torch.nan)
        solution[finite] = solve_spd(matrix[finite], rhs[finite])
        return solution
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    ridge = 0.0
    for _ in range(6):
        factor, info = torch.linalg.cholesky_ex(matrix)
        if not bool(info.any()):
            return torch.cholesky_solve(rhs, factor)
        ridge = max(100.0 * ridge, RIDGE)
        matrix = matrix + torch.diag_embed(ridge * diagonal.abs().clamp_min(1e-300))
    return torch.linalg.lstsq(matrix, rhs).solution


def scaled_cholesky(matrix, ridge=RIDGE):
    r"""Factor a symmetric positive definite matrix whose unknowns may have very different units.

    .. math:: L L^T = D A D + \epsilon\,I, \qquad D = \mathrm{diag}(A)^{-1/2}

    Solutions of :math:`A u = b` are :math:`D L^{-T} L^{-1} D b`; with D inside, no unit makes the ridge large or small.

    Parameters
    ----------
    matrix : torch.Tensor
        A, ``(n, n)``.
    ridge : float
        :math:`\epsilon`: what rounding takes from an eigenvalue, in units of the diagonal.

    Returns
    -------
    factor : torch.Tensor
        L, lower triangular, ``(n, n)``.
    scale : torch.Tensor
        Diagonal of D, ``(n,)``.

    Raises
    ------
    torch.linalg.LinAlgError
        If the matrix is not positive definite.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.solvers.linear import scaled_cholesky
    >>> factor, scale = scaled_cholesky(torch.diag(torch.tensor([4.0, 1e8], dtype=torch.float64)), ridge=0.0)
    >>> factor.tolist(), [f"{s:g}" for s in scale.tolist()]
    ([[1.0, 0.0], [0.0, 1.0]], ['0.5', '0.0001'])
    """
    scale = matrix.diagonal().clamp_min(1e-300).rsqrt()
    scaled = matrix * scale[:, None] * scale
    scaled.diagonal().add_(ridge)
    return torch.linalg.cholesky(scaled), scale


def _solve_subset(gram, rhs, passive):
    """Solve for the columns marked in `passive`, the others held at zero; shapes ``(batch, n, n)``, ``(batch, n)``."""
    inside = passive.to(gram.dtype)
    matrix = gram * inside[:, :, None] * inside[:, None, :] + torch.diag_embed(1.0 - inside)
    return solve_spd(matrix, (rhs * inside)[:, :, None])[:, :, 0]


def nonnegative_least_squares(gram, rhs, free=None):
    r"""Minimise :math:`\tfrac12 c^T G c - b^T c` subject to :math:`c \ge 0`, batched.

    Block principal pivoting (Kim & Park 2011, SIAM J. Sci. Comput. 33, 3261) on the normal equations: all columns that
    break a condition change sides at once; where that does not settle, the last such column alone does.

    Parameters
    ----------
    gram : torch.Tensor
        Normal matrices :math:`G = A^T A`, shape ``(batch, n, n)``; float64 is advised.
    rhs : torch.Tensor
        :math:`b = A^T d`, shape ``(batch, n)``.
    free : torch.Tensor, optional
        Boolean of shape ``(n,)``: columns that may be negative (a sky level).

    Returns
    -------
    amplitudes : torch.Tensor
        Solution of shape ``(batch, n)``.
    passive : torch.Tensor
        Boolean of shape ``(batch, n)``: columns off their bound.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.solvers.linear import nonnegative_least_squares
    >>> gram, rhs = torch.eye(2, dtype=torch.float64)[None], torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    >>> nonnegative_least_squares(gram, rhs)[0].tolist()
    [[2.0, 0.0]]
    """
    batch, n = rhs.shape
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    empty = diagonal <= 0.0  # a column without light in the field has no amplitude
    # unit diagonal: amplitudes of very different sizes then obey one tolerance
    scale = torch.where(empty, torch.ones_like(diagonal), diagonal).rsqrt()
    gram = gram * scale[:, :, None] * scale[:, None, :]
    gram = gram + RIDGE * torch.eye(n, dtype=gram.dtype, device=gram.device)
    rhs = rhs * scale
    bound = torch.ones(n, dtype=torch.bool, device=rhs.device) if free is None else ~free
    bound = bound.expand(batch, n)
    passive = ~empty
    fewest = torch.full((batch,), n + 1, device=rhs.device)
    patience = torch.full((batch,), PATIENCE, device=rhs.device)
    solution = torch.zeros_like(rhs)
    tolerance = 1e-12 * rhs.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
    order = torch.arange(n, device=rhs.device)
    for _ in range(20 * n):
        solution = _solve_subset(gram, rhs, passive)
        slope = torch.einsum("bij,bj->bi", gram, solution) - rhs
        wrong = bound & ((passive & (solution < -tolerance)) | (~passive & ~empty & (slope < -tolerance)))
        count = wrong.sum(dim=1)
        if not bool(count.any()):
            break
        better = count < fewest
        fewest = torch.where(better, count, fewest)
        patience = torch.where(better, torch.full_like(patience, PATIENCE), patience - 1)
        last = wrong & (order == torch.where(wrong, order, -1).amax(dim=1, keepdim=True))
        passive = passive ^ torch.where((patience >= 0)[:, None], wrong, last)
    solution = torch.where(bound, solution.clamp_min(0.0), solution)
    return solution * scale, passive


def weighted_amplitudes(columns, data, weight, free=None):
    r"""Amplitudes of images whose weighted sum is nearest to the data, :math:`\min_c \| w\,(d - \sum_l c_l A_l) \|`.

    Parameters
    ----------
    columns : torch.Tensor
        :math:`A_l`, ``(batch, n, rows, columns)``.
    data, weight : torch.Tensor
        d and w = 1 / sigma, ``(batch, rows, columns)``.
    free : sequence of bool, optional
        Which may be negative, n in number; default none.

    Returns
    -------
    torch.Tensor
        c, ``(batch, n)`` float64.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.solvers.linear import weighted_amplitudes
    >>> columns = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]]]])
    >>> weighted_amplitudes(columns, torch.tensor([[[5.0, 2.0]]]), torch.ones(1, 1, 2)).round(decimals=4).tolist()
    [[3.0, 2.0]]
    """
    weighted = (columns * weight[:, None]).flatten(2).double()
    target = (data * weight).flatten(1).double()
    gram, rhs = weighted @ weighted.mT, (weighted @ target[:, :, None])[:, :, 0]
    free = None if free is None else torch.as_tensor(free, device=gram.device)
    return nonnegative_least_squares(gram, rhs, free)[0]
