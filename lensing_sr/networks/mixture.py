# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What is known about a lens after one look: a mixture of Gaussians over all its parameters.

.. math:: q(t) = \sum_k \pi_k\, \mathcal N\!\left(t;\ \mu_k,\ (L_k L_k^T)^{-1}\right)

The degeneracies of lensing are real: an image may be explained by a large lens or a small one.  The parameters t are
free of scale (`free_of_scale`), so that one network serves every telescope.
"""

import math
from typing import NamedTuple

import torch

__all__ = ["MACRO", "TOTAL", "Mixture", "free_of_scale", "in_arcsec", "laid_down_parameters"]

#: Parameters of lens and source, and with the shape of the lens light.
MACRO, TOTAL = 13, 19
#: Middle and scatter of each in a population, which make them numbers of order one.
MIDDLE = (-1.35, *(0.0,) * 8, -1.3, 0.2, *(0.0,) * 8)
SCATTER = (
    0.7, 0.15, 0.15, 0.02, 0.02, 0.06, 0.06,  # theta_E / h, ellipticity, centre / h, shear
    0.4, 0.4, 0.8, 0.5, 0.2, 0.2,  # source offset / theta_E, r_eff / theta_E, n, ellipticity
    0.015, 0.015, 0.15, 0.15, 0.15, 0.15,  # light: centre / h, inner and outer ellipticity
)  # fmt: skip


def free_of_scale(p, half_width, centre):
    r"""Parameters of the fit without their scale, as numbers of order one.

    Radii and offsets of the lens in units of the half-width h, those of the source in units of theta_E and about the
    lens.

    Parameters
    ----------
    p : torch.Tensor
        ``(..., 19)`` or ``(..., 13)``, ordered as `lensing_sr.forward.model.LENS` + `SOURCE` + `LIGHT`; arcsec.
    half_width : torch.Tensor
        h in arcsec, ``(...)``.
    centre : torch.Tensor
        Middle of the views in arcsec, ``(..., 2)``.

    Returns
    -------
    torch.Tensor
        Of the shape of p.
    """
    h, log_theta_E = half_width[..., None], p[..., :1]
    parts = [
        log_theta_E - h.log(),
        p[..., 1:3],
        (p[..., 3:5] - centre) / h,
        p[..., 5:7],
        (p[..., 7:9] - p[..., 3:5]) / log_theta_E.exp(),
        p[..., 9:10] - log_theta_E,
        p[..., 10:13],
    ]
    if p.shape[-1] == TOTAL:
        parts += [(p[..., 13:15] - centre) / h, p[..., 15:]]
    t = torch.cat(parts, dim=-1)
    return (t - t.new_tensor(MIDDLE[: t.shape[-1]])) / t.new_tensor(SCATTER[: t.shape[-1]])


def in_arcsec(t, half_width, centre):
    """Inverse of `free_of_scale`."""
    t = t * t.new_tensor(SCATTER[: t.shape[-1]]) + t.new_tensor(MIDDLE[: t.shape[-1]])
    h = half_width[..., None]
    log_theta_E = t[..., :1] + h.log()
    lens = t[..., 3:5] * h + centre
    parts = [
        log_theta_E,
        t[..., 1:3],
        lens,
        t[..., 5:7],
        t[..., 7:9] * log_theta_E.exp() + lens,
        t[..., 9:10] + log_theta_E,
        t[..., 10:13],
    ]
    if t.shape[-1] == TOTAL:
        parts += [t[..., 13:15] * h + centre, t[..., 15:]]
    return torch.cat(parts, dim=-1)


def laid_down_parameters(t, symmetry):
    """Scale-free parameters of an image that was laid down otherwise (`lensing_sr.networks.symmetry.laid_down`).

    Positions are vectors, ellipticities and shears turn twice as fast.

    Parameters
    ----------
    t : torch.Tensor
        ``(..., 19)`` or ``(..., 13)`` from `free_of_scale`.
    symmetry : tuple of bool
        Transpose first, then reverse columns, then rows.

    Returns
    -------
    torch.Tensor
    """
    transposed, columns, rows = symmetry
    t = t.clone()
    vectors = [(3, 4), (7, 8)] + ([(13, 14)] if t.shape[-1] == TOTAL else [])
    shapes = [(1, 2), (5, 6), (11, 12)] + ([(15, 16), (17, 18)] if t.shape[-1] == TOTAL else [])
    if transposed:
        for x, y in vectors:
            t[..., [x, y]] = t[..., [y, x]]
        for plus, _ in shapes:
            t[..., plus] = -t[..., plus]
    for axis, reverse in ((0, columns), (1, rows)):
        if reverse:
            for vector in vectors:
                t[..., vector[axis]] = -t[..., vector[axis]]
            for _, cross in shapes:
                t[..., cross] = -t[..., cross]
    return t


class Mixture(NamedTuple):
    """The distribution of scale-free parameters of a batch of images.

    Attributes
    ----------
    log_share : torch.Tensor
        ln of each component's share, ``(images, k)``.
    mean : torch.Tensor
        ``(images, k, 19)``.
    precision : torch.Tensor
        L, lower triangular with a positive diagonal, ``(images, k, 19, 19)``: the covariance is (L L^T)^-1.
    """

    log_share: torch.Tensor
    mean: torch.Tensor
    precision: torch.Tensor

    def log_density(self, t, count=TOTAL):
        """ln q of the first `count` parameters `t`, ``(images, 19)``; returns ``(images,)``.

        L is lower triangular and block diagonal between lens with source and lens light, so that the first 13 stand
        alone.
        """
        return torch.logsumexp(self._each(t, count), dim=1)

    def near(self, t, count=TOTAL):
        """The mixture whose shares are the chances that the first `count` parameters `t` belong to each component."""
        return self._replace(log_share=torch.log_softmax(self._each(t, count), dim=1))

    def _each(self, t, count):
        """ln of each component's density times its share, ``(images, k)``."""
        offset = t[:, None, :count] - self.mean[..., :count]
        factor = self.precision[..., :count, :count]
        z = torch.einsum("bkij,bki->bkj", factor, offset)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        each = log_det - 0.5 * z.square().sum(-1) - 0.5 * count * math.log(2.0 * math.pi)
        return self.log_share + each

    def best(self):
        """Mean of the component of the highest density at its own mean, ``(images, 19)``."""
        peak = self.log_share + self.precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return self.mean[torch.arange(len(peak), device=peak.device), peak.argmax(dim=1)]

    def covariance(self):
        """Covariance of each component, ``(images, k, 19, 19)``."""
        inverse = torch.linalg.inv(self.precision)
        return inverse.mT @ inverse

    def sample(self, count, generator=None):
        """Draw from the mixture, ``(images, count, 19)``."""
        images = torch.arange(len(self.mean), device=self.mean.device)[:, None]
        shape = (len(self.mean), count)
        # drawn on the processor, whose generator the draws are to follow wherever the network is
        chosen = torch.multinomial(self.log_share.exp().cpu(), count, replacement=True, generator=generator)
        chosen = chosen.to(self.mean.device)
        z = torch.randn(*shape, self.mean.shape[2], generator=generator, dtype=self.mean.dtype).to(self.mean)
        factor = self.precision[images, chosen]
        # t = mu + L^-T z has the covariance (L L^T)^-1
        shift = torch.linalg.solve_triangular(factor.mT, z[..., None], upper=True)[..., 0]
        return self.mean[images, chosen] + shift
