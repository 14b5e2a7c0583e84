# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What the fit minimises: chi-square with linear amplitudes solved inside (variable projection), plus priors.

For given non-linear parameters p the image is :math:`\sum_l c_l A_l(p)` with the source, the Gaussians of the lens
light and the sky as columns; the best c >= 0 (sky free) follow exactly.  What is left depends on p alone:

.. math:: \chi^2(p) = \min_c \left\| \frac{d - A(p)\,c}{\sigma} \right\|^2
                    + \sum_j \left(\frac{p_j - m_j}{s_j}\right)^2

Derivatives are Kaufman's (1975): the columns' derivatives at the best c, projected off the active columns.
"""

import copy
from typing import NamedTuple

import torch

from lensing_sr.forward.model import LENS, SOURCE, lens_light, lens_light_jacobian, lensed_source_jacobian
from lensing_sr.solvers.linear import RIDGE, nonnegative_least_squares

__all__ = ["LinearState", "Objective", "Solution"]

#: Numbers of a chunk's largest tensor: small enough for memory to be reused, large enough to keep a processor busy.
CHUNK = 1_000_000

N_MACRO = len(LENS) + len(SOURCE)


class Solution(NamedTuple):
    """Everything about a set of parameters at the data's resolution.

    Attributes
    ----------
    amplitudes : torch.Tensor
        ``(m, columns)``: source (flux per unit profile), Gaussians (flux), sky (per pixel), as far as present.
    chi2 : torch.Tensor
        ``(m,)``, without the prior.
    model : torch.Tensor
        ``(m, rows, columns)``, sky included.
    arcs, light : torch.Tensor
        ``(m, rows, columns)``: its lensed source and its lens light.
    """

    amplitudes: torch.Tensor
    chi2: torch.Tensor
    model: torch.Tensor
    arcs: torch.Tensor
    light: torch.Tensor


class LinearState(NamedTuple):
    """Columns at given parameters, and their best amplitudes.

    Attributes
    ----------
    columns : torch.Tensor
        ``(m, L, rows, columns)``.
    weighted : torch.Tensor
        Divided by sigma and flattened, ``(m, L, pixels)`` float64.
    gram : torch.Tensor
        ``(m, L, L)``.
    amplitudes : torch.Tensor
        ``(m, L)``.
    passive : torch.Tensor
        Boolean ``(m, L)``: off their bound.
    left : torch.Tensor
        Normalised residual, ``(m, pixels)``.
    """

    columns: torch.Tensor
    weighted: torch.Tensor
    gram: torch.Tensor
    amplitudes: torch.Tensor
    passive: torch.Tensor
    left: torch.Tensor

    def active_gram(self, index=slice(None)):
        """Normal matrix of the active columns; the others' rows are those of the unit matrix, so that it inverts."""
        gram, inside = self.gram[index], self.passive[index].to(self.gram)
        diagonal = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300)
        return gram * inside[:, :, None] * inside[:, None, :] + torch.diag_embed(
            torch.where(self.passive[index], RIDGE * diagonal, diagonal)
        )


class Objective:
    """Chi-square of a batch of images under the lens model, ready for `levenberg_marquardt`.

    Parameters
    ----------
    data : torch.Tensor
        ``(images, rows, columns)``.
    weight : torch.Tensor
        1 / sigma, 0 where masked; shaped as the data.
    formation : lensing_sr.forward.formation.ImageFormation
        From light to these pixels.
    prior_mean, prior_width : torch.Tensor
        Gaussian priors, ``(images, n)`` float64; an infinite width is no prior.
    widths : torch.Tensor or None
        Widths of the lens light's Gaussians in arcsec; None: no lens light.
    source : bool
        Whether there is a lensed source.
    """

    def __init__(self, data, weight, formation, prior_mean, prior_width, *, widths=None, source=True):
        self.formation = formation
        self.data, self.weight = data, weight
        self.scaled = data * weight
        self.prior_mean, self.prior_precision = prior_mean, prior_width**-2
        self.widths = None if widths is None else widths.to(data)
        self.source = source
        self.held = None
        self.n_light = 0 if widths is None else 2 * len(widths)
        n_columns = int(source) + self.n_light + 1
        self.free = torch.zeros(n_columns, dtype=torch.bool, device=data.device)
        self.free[-1] = True

    def without_source(self):
        """Return the objective of the same images without a lensed source."""
        prior = self.prior_mean, self.prior_precision**-0.5
        return Objective(self.data, self.weight, self.formation, *prior, widths=self.widths, source=False)

    def select(self, index):
        """Return the objective of some images."""
        part = copy.copy(self)
        part.formation = self.formation.select(index)
        part.data, part.weight, part.scaled = self.data[index], self.weight[index], self.scaled[index]
        part.prior_mean, part.prior_precision = self.prior_mean[index], self.prior_precision[index]
        part.held = None if self.held is None else self.held[index]
        return part

    def holding_light(self, p):
        """Return the same objective with the lens light's shapes held where `p`, ``(images, n)``, has them.

        Their images are computed once, so that an evaluation costs those of the source alone; the amplitudes stay free.
        """
        if not self.n_light:
            return self
        held = copy.copy(self)
        light = [self._light_images(p[part], part) for part in self._chunks(len(p))]
        held.held = torch.cat(light)
        return held

    def _light_images(self, p, part):
        images = torch.arange(len(self.data), device=p.device)[part]
        formation = self.formation.select(images)
        return formation.observe(lens_light(p.to(self.data), *formation.positions, self.widths))

    def _chunks(self, count):
        x, _ = self.formation.positions
        largest = x.numel() * (N_MACRO + (self.n_light if self.held is None else 1))
        size = max(1, CHUNK // largest)
        return [slice(i, i + size) for i in range(0, count, size)]

    def evaluator(self, owner):
        """Return ``evaluate(p, index)`` for problems that belong to the images `owner` (several starts an image)."""

        def evaluate(p, index):
            images = owner[index]
            parts = [self._normal_equations(p[part], images[part]) for part in self._chunks(len(p))]
            chi2, gradient, curvature = (torch.cat(column) for column in zip(*parts, strict=True))
            offset = p - self.prior_mean[images]
            precision = self.prior_precision[images]
            chi2 = chi2 + (offset * offset * precision).sum(dim=1)
            return chi2, gradient + offset * precision, curvature + torch.diag_embed(precision)

        return evaluate

    def solve(self, p, owner):
        """Return the `Solution` of parameters that belong to the images `owner`."""
        parts = [self._solution(p[part], owner[part]) for part in self._chunks(len(p))]
        return Solution(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @property
    def one_kernel(self):
        """Whether all images share one PSF."""
        return self.formation.select(torch.zeros(1, dtype=torch.long)) is self.formation

    def light_columns(self, p, formation):
        """Fluxes of the unit columns on the pixels of `formation`: source and Gaussians, ``(m, L - 1, rows, columns)``.

        Also returns what the derivatives of the columns need.
        """
        x, y = formation.positions
        light = lens_light(p, x, y, self.widths) if self.n_light else None
        source, jacobian = lensed_source_jacobian(p, x, y) if self.source else (None, None)
        stack = ([source[:, None]] if self.source else []) + ([light] if self.n_light else [])
        return formation.observe(torch.cat(stack, dim=1)), light, jacobian

    def light_derivatives(self, p, formation, amplitudes, light, jacobian):
        """Derivatives of the image by the parameters on the pixels of `formation`, ``(m, n, rows, columns)``."""
        x, y = formation.positions
        derivatives = []
        if self.source:
            macro = jacobian * amplitudes[:, :1, None, None].to(p)
            derivatives.append(macro[:, :N_MACRO])
        if self.n_light and self.held is None:
            fluxes = amplitudes[:, int(self.source) : int(self.source) + self.n_light].to(p)
            derivatives.append(lens_light_jacobian(p, x, y, self.widths, light, fluxes))
        if self.source:
            derivatives.append(macro[:, N_MACRO:])  # the slope comes last
        return formation.observe(torch.cat(derivatives, dim=1))

    def linear_state(self, p, images):
        """Return the `LinearState` of parameters `p` that belong to `images`."""
        return self._state(p.to(self.data), images)[0]

    def _state(self, p, images):
        weight = self.weight[images]
        ones = torch.ones_like(weight)[:, None]
        if self.held is not None:
            formation, light = self.formation.select(images), None
            source, jacobian = lensed_source_jacobian(p, *formation.positions)
            columns = torch.cat([formation.observe(source[:, None]), self.held[images], ones], dim=1)
        elif self.source or self.n_light:
            columns, light, jacobian = self.light_columns(p, self.formation.select(images))
            columns = torch.cat([columns, ones], dim=1)
        else:
            columns, light, jacobian = ones, None, None
        weighted = (columns * weight[:, None]).flatten(2).double()
        target = self.scaled[images].flatten(1).double()
        gram = weighted @ weighted.transpose(1, 2)
        rhs = (weighted @ target[:, :, None])[:, :, 0]
        amplitudes, passive = nonnegative_least_squares(gram, rhs, self.free)
        left = target - (amplitudes[:, None] @ weighted)[:, 0]
        return LinearState(columns, weighted, gram, amplitudes, passive, left), light, jacobian

    def _weighted_derivatives(self, p, images, state, light, jacobian):
        derivatives = self.light_derivatives(p, self.formation.select(images), state.amplitudes, light, jacobian)
        derivatives = (derivatives * self.weight[images][:, None]).flatten(2).double()
        if not self.source:
            derivatives = torch.nn.functional.pad(derivatives, (0, 0, N_MACRO, 0))
        return derivatives

    def _normal_equations(self, p, images):
        p = p.to(self.data)
        state, light, jacobian = self._state(p, images)
        derivatives = self._weighted_derivatives(p, images, state, light, jacobian)
        gradient = -(derivatives @ state.left[:, :, None])[:, :, 0]
        cross = (state.weighted @ derivatives.transpose(1, 2)) * state.passive[:, :, None]
        projected = torch.linalg.solve(state.active_gram(), cross)
        curvature = derivatives @ derivatives.transpose(1, 2) - cross.transpose(1, 2) @ projected
        held = p.shape[1] - gradient.shape[1]
        if held:
            gradient = torch.nn.functional.pad(gradient, (0, held))
            curvature = torch.nn.functional.pad(curvature, (0, held, 0, held))
        return (state.left * state.left).sum(dim=1), gradient, curvature

    def joint_curvature(self, p, owner):
        """Half the second derivative of chi-square by parameters and active amplitudes together, priors included.

        Returns
        -------
        torch.Tensor
            ``(m, n + L, n + L)``; rows of amplitudes at their bound are those of the unit matrix.
        torch.Tensor
            Boolean ``(m, L)``: the amplitudes off their bound.
        """
        q = p.to(self.data)
        state, light, jacobian = self._state(q, owner)
        rows = torch.cat([self._weighted_derivatives(q, owner, state, light, jacobian), state.weighted], dim=1)
        inside = torch.cat([torch.ones_like(p), state.passive.to(p)], dim=1)
        joint = (rows @ rows.transpose(1, 2)) * inside[:, :, None] * inside[:, None, :]
        prior = torch.cat([self.prior_precision[owner], 1.0 - state.passive.to(p)], dim=1)
        return joint + torch.diag_embed(prior), state.passive

    def _solution(self, p, images):
        state, _, _ = self._state(p.to(self.data), images)
        parts = state.columns * state.amplitudes[:, :, None, None].to(state.columns)
        first = int(self.source)
        arcs = parts[:, :first].sum(dim=1)
        light = parts[:, first : first + self.n_light].sum(dim=1)
        return Solution(state.amplitudes, (state.left * state.left).sum(dim=1), parts.sum(dim=1), arcs, light)
