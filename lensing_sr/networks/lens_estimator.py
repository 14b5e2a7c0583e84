# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""One look at a cut-out: the distribution of its lens, source and lens light, and whether it is a lens at all."""

from typing import NamedTuple

import torch

from lensing_sr.networks.mixture import MACRO, TOTAL, Mixture, in_arcsec, laid_down_parameters
from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.view_reader import ViewReader

__all__ = ["Estimate", "LensEstimator"]

#: ln of the evidence that counts as one.
EVIDENCE = 10.0
#: Bounds of ln of the precision's diagonal.
SHARPEST, BLUNTEST = 6.0, -2.0


class Estimate(NamedTuple):
    """What `LensEstimator` answers.

    Attributes
    ----------
    mixture : `~lensing_sr.networks.mixture.Mixture`
        Of scale-free parameters.
    evidence : torch.Tensor
        ln of the evidence ratio, lens over no lens, as the fit is expected to find it, ``(images,)``.
    """

    mixture: Mixture
    evidence: torch.Tensor


class LensEstimator(ViewReader):
    r"""Views of an image to the distribution of its parameters.

    The answer of a `ViewReader` is a `Mixture`, and the expected evidence for a lens.

    Parameters
    ----------
    widths : sequence of int
        Channels at 32, 16, 8 and 4 pixels a side.
    steps : sequence of int
        Residual steps at each.
    hidden : int
        Length of the vectors.
    components : int
        Of the mixture.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks.lens_estimator import LensEstimator
    >>> from lensing_sr.networks.views import make_views
    >>> views = make_views(
    ...     torch.randn(3, 80, 80), torch.ones(3, 80, 80), torch.eye(2) * 0.1, (39.5, 39.5), torch.zeros(3, 2)
    ... )
    >>> LensEstimator()(views).mixture.mean.shape
    torch.Size([3, 4, 19])
    """

    def __init__(self, *, widths=(32, 48, 80, 128), steps=(1, 2, 2, 2), hidden=256, components=4):
        self._lower = torch.tril_indices(MACRO, MACRO, -1)
        outputs = components * (1 + TOTAL + TOTAL + self._lower.shape[1]) + 1
        super().__init__(outputs, widths=widths, steps=steps, hidden=hidden)
        self.settings = {"network": "lens-estimator"} | self.settings | {"components": components}
        self.components = components
        with torch.no_grad():  # components that begin alike stay alike
            self.answer.bias[components : components * (1 + TOTAL)].normal_(std=0.5)

    def forward(self, views):
        """The `Estimate` of `Views`."""
        return self._read(self.read(views))

    def _read(self, numbers):
        k = self.components
        share, mean, sharp, lower, evidence = numbers.split(
            [k, k * TOTAL, k * TOTAL, k * self._lower.shape[1], 1], dim=1
        )
        sharp = BLUNTEST + (SHARPEST - BLUNTEST) * torch.sigmoid(sharp.view(-1, k, TOTAL) * 0.5 - 0.7)
        precision = torch.diag_embed(sharp.exp())
        below = torch.zeros_like(precision)
        rows, columns = self._lower.to(numbers.device)
        # in units of the diagonal's row, so that a sharper answer is not a more twisted one
        below[..., rows, columns] = lower.view(len(numbers), k, -1) * sharp.exp()[..., columns]
        return Estimate(
            Mixture(torch.log_softmax(share, dim=1), mean.view(-1, k, TOTAL), precision + below),
            EVIDENCE * torch.sinh(evidence[:, 0].clamp(-6.0, 6.0)),
        )

    @torch.no_grad()
    def propose(self, views, count, *, turns=8, answer=None):
        """Parameters from which to start a fit, ``(images, count, 19)``, arcsec.

        First comes the median of the best components in `turns` orientations of the image, which errs less than any of
        them; then the best of the image as it is, the other components, the best of the other orientations, and draws.

        Parameters
        ----------
        views : Views
            The images.
        count : int
            How many.
        turns : int
            Orientations, 1 to 8.
        answer : Estimate, optional
            That of the images as they are, where it is known.

        Returns
        -------
        torch.Tensor
            float64, ordered as `lensing_sr.forward.model.LENS` + `SOURCE` + `LIGHT`.
        """
        first = (self(views) if answer is None else answer).mixture
        best = [first.best()]
        if turns > 1:
            others = self(views.laid_down(*SYMMETRIES[1:turns])).mixture.best().unflatten(0, (turns - 1, -1))
            best += [
                laid_down_parameters(mean, _back(symmetry))
                for mean, symmetry in zip(others, SYMMETRIES[1:turns], strict=True)
            ]
        best = torch.stack(best, dim=1)
        order = first.log_share.argsort(dim=1, descending=True)
        images = torch.arange(len(order), device=order.device)[:, None]
        middle = best.quantile(0.5, dim=1, keepdim=True)
        rows = torch.cat([middle, best[:, :1], first.mean[images, order[:, 1:]], best[:, 1:]], dim=1)
        if rows.shape[1] < count:
            generator = torch.Generator().manual_seed(0)
            rows = torch.cat([rows, first.sample(count - rows.shape[1], generator)], dim=1)
        rows = rows[:, :count].double()
        return in_arcsec(rows, views.half_width[:, None].expand(-1, count), views.centre[:, None])

    def turned(self, views, symmetry):
        """The `Mixture` that the image laid down otherwise suggests, in the frame of the image as it is."""
        mixture = self(views.laid_down(symmetry)).mixture
        if not any(symmetry):
            return mixture
        back = _back(symmetry)
        mean = laid_down_parameters(mixture.mean, back)
        turn = laid_down_parameters(torch.eye(TOTAL, dtype=mean.dtype, device=mean.device), back)
        # t' = t M, so that the covariance turns to M^T C M and the precision's root to M^T L, made triangular again
        root = turn.T @ mixture.precision
        factor = torch.linalg.cholesky((root @ root.mT).double()).to(mean)
        return Mixture(mixture.log_share, mean, factor)


def _back(symmetry):
    """The symmetry that undoes one: the last reversal first, where a transposition has swapped columns and rows."""
    transposed, columns, rows = symmetry
    return (transposed, rows, columns) if transposed else symmetry
