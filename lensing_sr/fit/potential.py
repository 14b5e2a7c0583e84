# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What bends the arcs that the smooth lens does not: a correction of the potential, its strength by the evidence."""

import torch

from lensing_sr.fit.source_inversion import reduced
from lensing_sr.lensing.potential_grid import PotentialGrid
from lensing_sr.solvers.linear import products

__all__ = ["choose_potential"]

#: Half of the grid's side in Einstein radii, and its nodes a side.
REACH, NODES = 1.7, 15
#: Expected convergences (rms at a node) that are tried.
KAPPAS = (0.003, 0.01, 0.03, 0.1)


def choose_potential(problem, inversion, offset, precision):
    """Strength of a potential correction that the data make most likely, and what it gains over none.

    Parameters
    ----------
    problem : lensing_sr.fit.joint.Problem
        The image.
    inversion : lensing_sr.fit.source_inversion.Inversion
        Its best model without a correction.
    offset, precision : torch.Tensor
        How far the scene's `vector` is from the mean of its prior, and the prior's precision, ``(n,)`` and ``(n, n)``.

    Returns
    -------
    potential, precision : tuple
        `PotentialGrid`, and the prior precision of its coefficients, ``(M, M)``.
    gain : float
        ln of the evidence over that without a correction.
    """
    scene = inversion.scene
    potential = PotentialGrid(scene.p[3:5].tolist(), REACH * float(scene.p[0].exp()), NODES)
    trial = scene.with_changes(potential=potential, q=scene.p.new_zeros(NODES, NODES))
    derivatives, smooth = problem.derivatives(trial), len(scene.p)
    own = slice(smooth, smooth + NODES**2)
    others, rows = torch.cat([derivatives[: own.start], derivatives[own.stop :]]), derivatives[own]
    across = inversion.across(torch.cat([others, rows]))
    count, residual = len(others), inversion.residual
    # the amplitudes and the source are at their best: the data pull at the others alone
    slope = torch.cat([residual.new_zeros(len(across)), others @ residual - precision @ offset])
    gram, pull = reduced(
        inversion.joint(others, precision), slope, torch.cat([across[:, count:], others @ rows.T]),
        products(rows), rows @ residual,
    )  # fmt: skip
    best = None
    one = potential.precision(1.0, device=offset.device)
    root = torch.linalg.cholesky(one)
    gram = torch.linalg.solve_triangular(root, gram, upper=False)
    gram = torch.linalg.solve_triangular(root, gram.T, upper=False)
    pull = torch.linalg.solve_triangular(root, pull[:, None], upper=False)[:, 0]
    values, vectors = torch.linalg.eigh(0.5 * (gram + gram.T))
    along = vectors.T @ pull
    for kappa in KAPPAS:
        grown = kappa**2
        gain = 0.5 * float((grown * along**2 / (1.0 + grown * values) - (1.0 + grown * values).log()).sum())
        if best is None or gain > best[0]:
            best = gain, kappa
    gain, kappa = best
    return (potential, one / kappa**2), gain
