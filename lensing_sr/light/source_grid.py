# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""A source plane of cubic splines whose nodes lie where rays land.

The nodes are those of a square grid stretched along each axis by

.. math:: x = x_0 + w \sinh\left(\frac{u - u_0}{k}\right), \qquad k = \frac{n - 1}{2\,\mathrm{asinh}(R / w)}

fine and even within w of the centre, where most rays of the arcs land, and coarser towards the edge R.
"""

import math

import torch

from lensing_sr.lensing._splines import Taps

__all__ = ["SourceGrid"]


class SourceGrid:
    """Stretched square grid of cubic splines in one source plane.

    Parameters
    ----------
    centre : tuple of float
        x, y of its middle in arcsec.
    width : float
        w in arcsec, within which the nodes are even.
    reach : float
        R, half of the grid's side, in arcsec.
    size : int
        n, nodes along each axis.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.light.source_grid import SourceGrid
    >>> grid = SourceGrid((0.0, 0.0), width=0.1, reach=0.5, size=24)
    >>> x, y = grid.nodes()
    >>> round(float(x[0, -1]), 6), round(float(grid.spacing), 4)
    (0.5, 0.0201)
    """

    def __init__(self, centre, width, reach, size):
        self.centre = tuple(float(c) for c in centre)
        self.width, self.reach, self.size = float(width), float(reach), int(size)
        self._k = 0.5 * (self.size - 1) / float(torch.asinh(torch.tensor(self.reach / self.width)))

    def __repr__(self):
        return (
            f"SourceGrid(({self.centre[0]:.6g}, {self.centre[1]:.6g}), width={self.width:.6g}, "
            f"reach={self.reach:.6g}, size={self.size})"
        )

    @property
    def spacing(self):
        """Distance of the nodes at the middle, in arcsec."""
        return self.width / self._k

    @property
    def extent(self):
        """Distance from the middle, along either axis, beyond which it is dark: two nodes past the edge, in arcsec."""
        return self.width * math.sinh((0.5 * (self.size - 1) + 2.0) / self._k)

    def shifted(self, dx, dy):
        """The same grid in a frame whose zero point lies at (-dx, -dy)."""
        return SourceGrid((self.centre[0] + float(dx), self.centre[1] + float(dy)), self.width, self.reach, self.size)

    def with_size(self, size):
        """The same region with another number of nodes."""
        return SourceGrid(self.centre, self.width, self.reach, size)

    def nodes_for(self, spacing):
        """Nodes a side that make the spacing at the middle no larger than this, in arcsec."""
        return int(2.0 * self.width / spacing * float(torch.asinh(torch.tensor(self.reach / self.width)))) + 2

    def nodes(self, *, dtype=torch.float64, device=None):
        """Positions of the nodes in arcsec, x and y of shape ``(size, size)``."""
        u = torch.arange(self.size, dtype=dtype, device=device) - 0.5 * (self.size - 1)
        offset = self.width * torch.sinh(u / self._k)
        y, x = torch.meshgrid(self.centre[1] + offset, self.centre[0] + offset, indexing="ij")
        return x, y

    def areas(self, *, dtype=torch.float64, device=None):
        """Area in arcsec^2 that each node stands for, ``(size, size)``: the integral of its spline, nearly."""
        u = torch.arange(self.size, dtype=dtype, device=device) - 0.5 * (self.size - 1)
        step = self.width / self._k * torch.cosh(u / self._k)
        return step[:, None] * step

    def _stretched(self, x, middle):
        """Position in units of the spacing, and its derivative by x."""
        z = (x - middle) / self.width
        return torch.asinh(z) * self._k + 0.5 * (self.size - 1), self._k / (self.width * (1.0 + z * z).sqrt())

    def taps(self, x, y, order=0):
        """`~lensing_sr.lensing._splines.Taps` at source-plane positions in arcsec."""
        return Taps(self._stretched(x, self.centre[0])[0], self._stretched(y, self.centre[1])[0], self.size, order)

    def evaluate(self, coefficients, x, y):
        """Surface brightness at positions in arcsec.

        Parameters
        ----------
        coefficients : torch.Tensor
            ``(size, size)``.
        x, y : torch.Tensor
            ``(rows, columns)``.

        Returns
        -------
        torch.Tensor
            Shaped as the positions; zero beyond the grid.
        """
        return self.taps(x, y).value(coefficients.to(x))

    def gradient(self, coefficients, x, y):
        """Derivatives of the surface brightness by x and y, per arcsec; shapes as in `evaluate`."""
        u, by_x = self._stretched(x, self.centre[0])
        v, by_y = self._stretched(y, self.centre[1])
        taps, coefficients = Taps(u, v, self.size, 1), coefficients.to(x)
        return taps.value(coefficients, by_u=1) * by_x, taps.value(coefficients, by_v=1) * by_y
