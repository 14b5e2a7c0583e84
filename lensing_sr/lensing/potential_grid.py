# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What a smooth lens model misses, as a potential on a coarse grid: its deflection is free of curl by construction.

.. math:: \delta\psi(\theta) = \sum_k q_k\, B_k(\theta), \qquad \delta\alpha = \nabla \delta\psi, \qquad
          \delta\kappa = \tfrac12 \nabla^2 \delta\psi

with cubic B-splines :math:`B_k`, so that the convergence is continuous.
"""

import torch

from lensing_sr.lensing._splines import Taps, cubic_spline

__all__ = ["PotentialGrid"]

#: Part of the mean curvature with which every coefficient is held: a tilt of the potential only shifts the source.
HOLD = 1e-3


class PotentialGrid:
    """Square grid of cubic splines about a lens.

    Parameters
    ----------
    centre : tuple of float
        x, y of its middle in arcsec.
    reach : float
        Half of its side in arcsec; the potential runs into zero within two spacings beyond.
    size : int
        Nodes along each axis.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.potential_grid import PotentialGrid
    >>> grid = PotentialGrid((0.0, 0.0), reach=2.0, size=9)
    >>> grid.deflection(torch.zeros(9, 9), torch.zeros(2, 2), torch.zeros(2, 2))[0].tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """

    def __init__(self, centre, reach, size):
        self.centre = tuple(float(c) for c in centre)
        self.reach, self.size = float(reach), int(size)
        self.spacing = 2.0 * self.reach / (self.size - 1)

    def __repr__(self):
        return f"PotentialGrid(({self.centre[0]:.6g}, {self.centre[1]:.6g}), reach={self.reach:.6g}, size={self.size})"

    def shifted(self, dx, dy):
        """The same grid in a frame whose zero point lies at (-dx, -dy)."""
        return PotentialGrid((self.centre[0] + float(dx), self.centre[1] + float(dy)), self.reach, self.size)

    def _taps(self, x, y, order):
        middle = 0.5 * (self.size - 1)
        u, v = (x - self.centre[0]) / self.spacing + middle, (y - self.centre[1]) / self.spacing + middle
        return Taps(u, v, self.size, order)

    def deflection(self, coefficients, x, y):
        """Deflection (alpha_x, alpha_y) in arcsec.

        Parameters
        ----------
        coefficients : torch.Tensor
            Potential in arcsec^2, ``(size, size)``.
        x, y : torch.Tensor
            Positions in arcsec, ``(rows, columns)``.
        """
        taps, q = self._taps(x, y, 1), coefficients.to(x)
        return taps.value(q, by_u=1) / self.spacing, taps.value(q, by_v=1) / self.spacing

    def convergence(self, coefficients, x, y):
        """Convergence, dimensionless; shapes as in `deflection`."""
        taps, q = self._taps(x, y, 2), coefficients.to(x)
        return 0.5 * (taps.value(q, by_u=2) + taps.value(q, by_v=2)) / self.spacing**2

    def convergence_columns(self, x, y):
        """Convergence of each spline of coefficient 1 at positions: ``(size**2, rows, columns)``."""
        weight = torch.full_like(x, 0.5 / self.spacing**2)
        index = torch.arange(x.numel(), device=x.device).view(x.shape)
        columns = self._taps(x, y, 2).columns([(weight, 2, 0), (weight, 0, 2)], index, x.numel())
        return columns.view(-1, *x.shape)

    def nodes(self, *, device=None):
        """Positions of the nodes in arcsec, x and y of shape ``(size**2,)`` float64."""
        offset = (torch.arange(self.size, dtype=torch.float64, device=device) - 0.5 * (self.size - 1)) * self.spacing
        y, x = torch.meshgrid(self.centre[1] + offset, self.centre[0] + offset, indexing="ij")
        return x.flatten(), y.flatten()

    @property
    def extent(self):
        """Distance from its node, along either axis, beyond which a spline is zero, in arcsec."""
        return 2.0 * self.spacing

    def light_changes(self, slope_x, slope_y, x, y, nodes=slice(None)):
        r"""Change of the lensed light by each coefficient, :math:`-\nabla S \cdot \nabla B_k`, at places of its own.

        Parameters
        ----------
        slope_x, slope_y : torch.Tensor
            Slope of the source where the rays from (x, y) land, ``(k, rows, columns)``: a block for each node.
        x, y : torch.Tensor
            Positions in arcsec, shaped alike.
        nodes : slice
            Which of the nodes these are.

        Returns
        -------
        torch.Tensor
            Shaped alike.
        """
        middle = (c[nodes].to(x)[:, None, None] for c in self.nodes(device=x.device))
        (u, by_u), (v, by_v) = (cubic_spline((c - m) / self.spacing) for c, m in zip((x, y), middle, strict=True))
        return -(slope_x * by_u * v + slope_y * u * by_v) / self.spacing

    def precision(self, kappa, *, device=None):
        r"""Inverse covariance of the coefficients for a convergence of rms `kappa`.

        The energy :math:`\int \psi_{xx}^2 + 2\psi_{xy}^2 + \psi_{yy}^2` of a thin plate, at the nodes; external shears
        cost as much as mass does, and are left to the smooth model.

        Parameters
        ----------
        kappa : float
            Expected rms of the convergence at a node.

        Returns
        -------
        torch.Tensor
            ``(size**2, size**2)`` float64.
        """
        one = torch.ones(self.size, dtype=torch.float64, device=device)

        def band(side, middle, sign=1.0):
            return torch.diag(middle * one) + side * (sign * torch.diag(one[1:], -1) + torch.diag(one[1:], 1))

        value = band(1.0 / 6.0, 2.0 / 3.0)
        slope, curvature = band(0.5, 0.0, -1.0) / self.spacing, band(1.0, -2.0) / self.spacing**2
        xx, yy, xy = torch.kron(value, curvature), torch.kron(curvature, value), torch.kron(slope, slope)
        energy = xx.T @ xx + yy.T @ yy + 2.0 * xy.T @ xy
        energy = energy + HOLD * energy.diagonal().mean() * torch.eye(self.size**2, dtype=torch.float64, device=device)
        # half of the energy is the convergence's: kappa^2 = (psi_xx + psi_yy)^2 / 4, the rest shear
        return energy / (8.0 * kappa**2)
