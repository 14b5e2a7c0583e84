# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""How well the fit knows what it says: covariance of all parameters, and what it means for the fine image.

Parameters and amplitudes are taken together, as their joint curvature at the minimum says (Laplace's approximation), in
units of the tempered noise: correlation and misfit widen every error.
"""

import torch

from lensing_sr.solvers.linear import RIDGE

__all__ = ["image_variance", "joint_covariance"]


def joint_covariance(objective, p, owner, held=None):
    """Covariance of parameters and active amplitudes.

    Parameters
    ----------
    objective : lensing_sr.fit.objective.Objective
        The images with the weights of the fit.
    p : torch.Tensor
        Parameters at the minimum, ``(m, n)``.
    owner : torch.Tensor
        The images that they belong to, ``(m,)``.
    held : torch.Tensor, optional
        Where the last parameter was not fitted, boolean ``(m,)``: there it is as uncertain as its prior says, whatever
        the curvature, and the others with it.

    Returns
    -------
    torch.Tensor
        ``(m, n + L, n + L)`` float64; zero for amplitudes at their bound.
    """
    curvature, passive = objective.joint_curvature(p, owner)
    if held is not None and bool(held.any()):
        curvature[held] = _without_likelihood(curvature[held], p.shape[1] - 1, objective.prior_precision[owner][held])
    scale = curvature.diagonal(dim1=1, dim2=2).clamp_min(1e-300).rsqrt()
    correlation = curvature * scale[:, :, None] * scale[:, None, :]
    values, vectors = torch.linalg.eigh(correlation)
    # a direction that the data leave open to rounding is as wide as rounding allows, not negative
    values = values.clamp_min(1e-9)
    covariance = (vectors / values[:, None, :]) @ vectors.transpose(1, 2)
    covariance = covariance * scale[:, :, None] * scale[:, None, :]
    known = torch.cat([torch.ones_like(p), passive.to(p)], dim=1)
    return covariance * known[:, :, None] * known[:, None, :]


def _without_likelihood(curvature, j, prior):
    """Joint precision in which the data say nothing of parameter j, but what they say of the others depends on it."""
    others = torch.arange(curvature.shape[1], device=curvature.device) != j
    cross = curvature[:, others, j]
    block = curvature[:, others][:, :, others]
    scale = block.diagonal(dim1=1, dim2=2).clamp_min(1e-300).rsqrt()
    block = block * scale[:, :, None] * scale[:, None, :]
    block = block + RIDGE * torch.eye(block.shape[1], dtype=block.dtype, device=block.device)
    scaled = (cross * scale)[:, :, None]
    curvature = curvature.clone()
    curvature[:, j, j] = (scaled * torch.linalg.solve(block, scaled)).sum(dim=(1, 2)) + prior[:, j]
    return curvature


def image_variance(objective, p, amplitudes, covariance, formation):
    """Variance of the model's image from the covariance of its parameters, sky left out.

    Parameters
    ----------
    objective : lensing_sr.fit.objective.Objective
        Supplies the model and its derivatives.
    p : torch.Tensor
        Parameters in the frame of `formation`, ``(m, n)``.
    amplitudes : torch.Tensor
        ``(m, L)``.
    covariance : torch.Tensor
        From `joint_covariance`.
    formation : lensing_sr.forward.formation.ImageFormation
        The pixels.

    Returns
    -------
    torch.Tensor
        ``(m, rows, columns)``, flux a pixel squared.
    """
    values, vectors = torch.linalg.eigh(covariance[:, :-1, :-1])
    root = vectors * values.clamp_min(0.0).sqrt()[:, None, :]
    variance = []
    for i in range(len(p)):
        q = p[i : i + 1].to(objective.data)
        columns, light, jacobian = objective.light_columns(q, formation)
        derivatives = objective.light_derivatives(q, formation, amplitudes[i : i + 1], light, jacobian)
        rows = torch.cat([derivatives, columns], dim=1)[0].flatten(1)
        total = torch.zeros_like(rows[0])
        for direction in (root[i].T.to(rows) @ rows).split(8):
            total += direction.square().sum(dim=0)
        variance.append(total.view(columns.shape[2:]))
    return torch.stack(variance)
