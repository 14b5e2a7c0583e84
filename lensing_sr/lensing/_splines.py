# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Cubic B-splines on grids that end in zeros: values and derivatives at any position, and as columns.

A grid of n x n coefficients :math:`c_{ij}` describes :math:`f(u, v) = \sum_{ij} c_{ij}\, B(v - i)\, B(u - j)` in units
of its own spacing.  Beyond the grid coefficients are zero, so f runs smoothly into zero within two spacings.
"""

import torch

from lensing_sr.lensing._gather import weighted_pixels

__all__ = ["Taps", "axis_taps", "cubic_spline"]

#: Zeros around the coefficients: as far as B reaches beyond the outermost node, and one more.
MARGIN = 3


def axis_taps(position, size, order=0):
    """First coefficient and four weights at positions along one axis.

    Parameters
    ----------
    position : torch.Tensor
        In units of the spacing, 0 at the first node.
    size : int
        Nodes along the axis.
    order : int
        Derivatives wanted besides the value, up to 2.

    Returns
    -------
    first : torch.Tensor
        Whole numbers, index among the coefficients with `MARGIN` zeros before them.
    weights : list of tuple
        Four weights for the value and for each derivative.
    """
    position = position.clamp(-2.0, size + 1.0)
    base = position.detach().floor().nan_to_num().clamp_max(size)
    t = position - base
    s = 1.0 - t
    t2, s2 = t * t, s * s
    weights = [(s2 * s / 6.0, 2.0 / 3.0 - t2 + 0.5 * t2 * t, 2.0 / 3.0 - s2 + 0.5 * s2 * s, t2 * t / 6.0)]
    if order > 0:
        weights.append((-0.5 * s2, 1.5 * t2 - 2.0 * t, 2.0 * s - 1.5 * s2, 0.5 * t2))
    if order > 1:
        weights.append((s, 3.0 * t - 2.0, 3.0 * s - 2.0, t))
    return base.long() + (MARGIN - 1), weights


def cubic_spline(t):
    """The spline and its derivative at distances from its node, in units of the spacing."""
    far = t.abs()
    outer, inner = (2.0 - far).clamp_min(0.0), (1.0 - far).clamp_min(0.0)
    value = outer * outer * outer / 6.0 - inner * inner * inner * (2.0 / 3.0)
    return value, t.sign() * (2.0 * inner * inner - 0.5 * outer * outer)


class Taps:
    """Where positions lie on a square grid of splines.

    Parameters
    ----------
    u, v : torch.Tensor
        Positions in units of the spacing along columns and rows, ``(..., rows, columns)``.
    size : int
        Nodes along each axis.
    order : int
        Derivatives wanted besides the value, up to 2.
    """

    def __init__(self, u, v, size, order=0):
        self.size = size
        self.first_u, self.u = axis_taps(u, size, order)
        self.first_v, self.v = axis_taps(v, size, order)

    def value(self, coefficients, by_u=0, by_v=0):
        """Values, or derivatives of order (by_u, by_v), of splines with coefficients ``(..., size, size)``."""
        padded = torch.nn.functional.pad(coefficients, (MARGIN,) * 4)
        return weighted_pixels(padded, self.first_v, self.v[by_v], self.first_u, self.u[by_u])

    def columns(self, terms, index, count):
        """Image of each spline: samples times weights, summed over the pixels that the samples lie in.

        Parameters
        ----------
        terms : list of tuple
            (weight, by_u, by_v): a weight for each sample, ``(rows, columns)``, and the derivative that it multiplies.
        index : torch.Tensor
            Pixel of each sample, ``(rows, columns)``.
        count : int
            Number of pixels.

        Returns
        -------
        torch.Tensor
            ``(size**2, count)``.
        """
        return torch.cat([row.clone() for row in self.column_rows(terms, index, count)])

    def column_rows(self, terms, index, count):
        """As `columns`, one row of the grid after the other, in memory that the next row overwrites.

        Yields
        ------
        torch.Tensor
            ``(size, count)``, `size` times.
        """
        # samples in the order of the rows that they touch: each row of splines finds its own side by side
        order = self.first_v.flatten().argsort()
        first_v, first_u, index = (k.flatten()[order] for k in (self.first_v, self.first_u, index))
        weights = [weight.flatten()[order] for weight, _, _ in terms]
        along_u = [[w.flatten()[order] for w in self.u[by_u]] for _, by_u, _ in terms]
        along_v = [[w.flatten()[order] for w in self.v[by_v]] for _, _, by_v in terms]
        padded = self.size + 2 * MARGIN
        begins = torch.searchsorted(first_v, torch.arange(padded + 1, device=index.device)).tolist()
        out = torch.empty(padded * count, dtype=weights[0].dtype, device=index.device)
        for row in range(MARGIN, MARGIN + self.size):
            out.zero_()
            for j in range(4):
                here = slice(begins[row - j], begins[row - j + 1])
                if here.start == here.stop:
                    continue
                at = first_u[here] * count + index[here]
                lines = [weight[here] * v[j][here] for weight, v in zip(weights, along_v, strict=True)]
                for i in range(4):
                    value = sum(line * u[i][here] for line, u in zip(lines, along_u, strict=True))
                    out.scatter_add_(0, at + i * count, value)
            yield out.view(padded, count)[MARGIN : MARGIN + self.size]
