# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""How rough a source may be: covariances of the coefficients of a `~lensing_sr.light.source_grid.SourceGrid`.

A source is its Sersic profile plus a random field, :math:`t = s + \delta`, with

.. math:: \langle\delta\,\delta^T\rangle = \lambda^2\, D K D

K is a correlation of unit diagonal, D the envelope: how bright structure is expected to be at each node.  Where the
data say nothing, the source is the Sersic.
"""

import math

import torch

__all__ = ["KINDS", "correlation", "curvature_correlation", "envelope", "gradient_correlation", "matern_correlation"]

#: Part of the diagonal that keeps correlations of close nodes invertible.
JITTER = 1e-6
#: Ratio of structure to the smooth profile far from the centre: companions and outskirts, over the central brightness.
FLOOR = 0.02


def matern_correlation(grid, length):
    r"""Matern correlation of smoothness 3/2, :math:`(1 + \sqrt3 r / \ell)\, e^{-\sqrt3 r / \ell}`.

    Parameters
    ----------
    grid : lensing_sr.light.source_grid.SourceGrid
        The nodes.
    length : float
        :math:`\ell` in arcsec.

    Returns
    -------
    torch.Tensor
        ``(size**2, size**2)`` float64.
    """
    x, y = (c.flatten() for c in grid.nodes())
    r = ((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2).sqrt() * (math.sqrt(3.0) / length)
    return (1.0 + r) * torch.exp(-r) + JITTER * torch.eye(len(r), dtype=r.dtype)


def _from_energy(energy, length):
    """Correlation whose inverse is an energy of differences plus a term that makes it forget beyond `length` nodes."""
    n = len(energy)
    held = energy + energy.diagonal().mean() / length * torch.eye(n, dtype=energy.dtype)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(held))
    scale = covariance.diagonal().rsqrt()
    return covariance * scale[:, None] * scale + JITTER * torch.eye(n, dtype=energy.dtype)


def _differences(size):
    return torch.diff(torch.eye(size, dtype=torch.float64), dim=0)


def gradient_correlation(grid, length):
    """Correlation whose inverse penalises differences of neighbouring nodes; `length` in arcsec as in the Matern."""
    step, one = _differences(grid.size), torch.eye(grid.size, dtype=torch.float64)
    first = step.T @ step
    reach = (length / grid.spacing) ** 2
    return _from_energy(torch.kron(first, one) + torch.kron(one, first), 4.0 * reach)


def curvature_correlation(grid, length):
    """Correlation whose inverse penalises second differences of nodes; `length` in arcsec as in the Matern."""
    step, one = _differences(grid.size), torch.eye(grid.size, dtype=torch.float64)
    laplacian = torch.kron(step.T @ step, one) + torch.kron(one, step.T @ step)
    reach = (length / grid.spacing) ** 2
    return _from_energy(laplacian @ laplacian, 16.0 * reach**2)


KINDS = {"matern": matern_correlation, "gradient": gradient_correlation, "curvature": curvature_correlation}


def correlation(kind, grid, length):
    """Correlation of a kind by name: "matern", "gradient" or "curvature"."""
    return KINDS[kind](grid, length)


def envelope(sersic):
    """Expected brightness of structure at each node: that of the smooth profile there, and a little everywhere.

    Parameters
    ----------
    sersic : torch.Tensor
        Profile at the nodes, its cusp left out.

    Returns
    -------
    torch.Tensor
        Shaped as the profile.
    """
    return sersic + FLOOR * sersic.amax()
