# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Small masses beside the main lens: point masses, pseudo-Jaffe and truncated NFW halos, one by one or many at once.

All are round: a radial function of the squared distance times the distance vector,

.. math:: \alpha(\theta) = \sum_k w_k\, p(|\theta - \theta_k|^2)\, (\theta - \theta_k) ,

so that the sum over K masses costs one pass over (image, row, column, mass).  That pass goes through blocks that stay
in the processor's cache, and on a regular grid (x a row, y a column) the distances are made of K numbers a row and a
column.  The functions named in the plural are these sums; their parameters have the shape (n, K), and a slot that
holds no mass has strength zero.
"""

import math

import torch

from lensing_sr.errors import InputError
from lensing_sr.lensing._truncated_nfw import projected_mass, surface_density

__all__ = [
    "point_masses_deflection",
    "pseudo_jaffe_convergence",
    "pseudo_jaffe_deflection",
    "pseudo_jaffe_mass",
    "pseudo_jaffes_convergence",
    "pseudo_jaffes_deflection",
    "truncated_nfw_convergence",
    "truncated_nfw_deflection",
    "truncated_nfw_mass",
    "truncated_nfws_convergence",
    "truncated_nfws_deflection",
]

#: Squared distance (arcsec^2) below which a position counts as the centre of a halo.
CENTRE = 1e-16

#: Smallest scale radius (arcsec): slots without a mass may have none.
SMALLEST = 1e-6

#: Numbers of (image, row, column, mass) at once: 2 MiB of float32, which stays in a processor's cache, or enough to
#: keep an accelerator busy.  Halos take a quarter of it, for they need several such blocks.
BLOCK = {"cpu": 2**19, "cuda": 2**26}

#: Masses summed at once.  Slots beyond the last mass of an image then change nothing, not even the rounding.
GROUP = 128


def pseudo_jaffe_deflection(x, y, b, r_core, r_cut, x0=0.0, y0=0.0):
    r"""Deflection of a round pseudo-Jaffe halo: isothermal between a core and a cut.

    .. math:: \alpha = b\, \theta \left( \frac{1}{r_c + \sqrt{r_c^2 + \theta^2}}
              - \frac{1}{r_t + \sqrt{r_t^2 + \theta^2}} \right)

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, any shapes that broadcast with the parameters.
    b : torch.Tensor
        Einstein radius in arcsec that it would have without core and cut.
    r_core, r_cut : torch.Tensor
        Core and cut radius in arcsec, the core below the cut.  The density falls as :math:`r^{-2}` between them, as
        :math:`r^{-4}` beyond the cut.
    x0, y0 : torch.Tensor or float
        Centre in arcsec.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec.

    References
    ----------
    Keeton 2001, arXiv:astro-ph/0102341; Eliasdottir et al. 2007, arXiv:0710.5636.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.perturbers import pseudo_jaffe_deflection
    >>> number = lambda value: torch.tensor(value)
    >>> alpha_x, _ = pseudo_jaffe_deflection(number(0.1), number(0.0), number(0.02), number(0.0), number(100.0))
    >>> round(float(alpha_x), 5)  # far inside the cut: a singular isothermal sphere
    0.01999
    """
    x, y = x - x0, y - y0
    pull = b * _jaffe_pull(x * x + y * y, r_core, r_cut)
    return pull * x, pull * y


def pseudo_jaffe_convergence(x, y, b, r_core, r_cut, x0=0.0, y0=0.0):
    r"""Convergence of a round pseudo-Jaffe halo, dimensionless.

    .. math:: \kappa = \frac b2 \left( \frac{1}{\sqrt{r_c^2 + \theta^2}} - \frac{1}{\sqrt{r_t^2 + \theta^2}} \right)

    Parameters are those of `pseudo_jaffe_deflection`.
    """
    x, y = x - x0, y - y0
    return b * _jaffe_density(x * x + y * y, r_core, r_cut)


def pseudo_jaffe_mass(b, r_core, r_cut):
    r"""Total mass of a pseudo-Jaffe halo, :math:`\pi b (r_t - r_c)`, in arcsec^2 of critical surface density."""
    return math.pi * b * (r_cut - r_core)


def _jaffe_pull(r2, r_core, r_cut):
    # the difference of the two terms, written as one fraction without cancellation
    core, cut = (r_core * r_core + r2 + CENTRE).sqrt(), (r_cut * r_cut + r2 + CENTRE).sqrt()
    span = (r_cut - r_core) * (1.0 + (r_core + r_cut) / (core + cut))
    return span / ((r_core + core) * (r_cut + cut))


def _jaffe_density(r2, r_core, r_cut):
    core, cut = (r_core * r_core + r2 + CENTRE).sqrt(), (r_cut * r_cut + r2 + CENTRE).sqrt()
    return 0.5 * (r_cut - r_core) * (r_cut + r_core) / ((core + cut) * core * cut)


def truncated_nfw_deflection(x, y, kappa_s, r_s, r_cut, x0=0.0, y0=0.0):
    r"""Deflection of a tidally truncated NFW halo.

    .. math:: \rho = \frac{\rho_s}{(r / r_s)(1 + r / r_s)^2}\, \frac{r_t^2}{r^2 + r_t^2}, \qquad
              \kappa_s = \frac{\rho_s r_s}{\Sigma_{cr}}

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, any shapes that broadcast with the parameters.
    kappa_s : torch.Tensor
        Characteristic convergence, dimensionless.
    r_s, r_cut : torch.Tensor
        Scale and truncation radius in arcsec; the truncation from a tenth of the scale radius up to a million of
        them, which is no truncation.
    x0, y0 : torch.Tensor or float
        Centre in arcsec.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Deflection in arcsec.

    References
    ----------
    Baltz, Marshall & Oguri 2009, JCAP 01, 015.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.perturbers import truncated_nfw_deflection
    >>> number = lambda value: torch.tensor(value)
    >>> alpha_x, _ = truncated_nfw_deflection(number(0.2), number(0.0), number(0.01), number(0.3), number(0.6))
    >>> round(float(alpha_x), 5)
    0.00291
    """
    x, y = x - x0, y - y0
    pull = kappa_s * _nfw_pull(x * x + y * y, r_s, r_cut)
    return pull * x, pull * y


def truncated_nfw_convergence(x, y, kappa_s, r_s, r_cut, x0=0.0, y0=0.0):
    """Convergence of a tidally truncated NFW halo, dimensionless.  Parameters: see `truncated_nfw_deflection`.

    Its cusp is logarithmic; it ends at 1e-10 scale radii.
    """
    x, y = x - x0, y - y0
    return kappa_s * _nfw_density(x * x + y * y, r_s, r_cut)


def truncated_nfw_mass(kappa_s, r_s, r_cut):
    r"""Total mass of a truncated NFW halo in arcsec^2 of critical surface density, of tensors.

    .. math:: M = 4 \pi \kappa_s r_s^2\, \frac{\tau^2}{(\tau^2 + 1)^2}
              \left[ (\tau^2 - 1) \ln \tau + \tau \pi - (\tau^2 + 1) \right], \qquad \tau = r_t / r_s
    """
    tau = r_cut / r_s
    t2 = tau * tau
    bracket = (t2 - 1.0) * tau.log() + math.pi * tau - (t2 + 1.0)
    return 4.0 * math.pi * kappa_s * r_s * r_s * t2 / (t2 + 1.0) ** 2 * bracket


def _nfw_pull(r2, r_s, r_cut):
    r_s = r_s.clamp_min(SMALLEST)
    return 4.0 * projected_mass(r2 / (r_s * r_s), r_cut.clamp_min(SMALLEST) / r_s)


def _nfw_density(r2, r_s, r_cut):
    r_s = r_s.clamp_min(SMALLEST)
    return 2.0 * surface_density(r2 / (r_s * r_s), r_cut.clamp_min(SMALLEST) / r_s)


def point_masses_deflection(x, y, theta_E, x0, y0, softening=1e-8):
    r"""Deflection of many point masses at distances :math:`\Delta_k`.

    .. math:: \alpha = \sum_k \theta_{E,k}^2\, \frac{\Delta_k}{|\Delta_k|^2 + \varepsilon^2}

    The sum of `~lensing_sr.lensing.point_mass_deflection` over the last axis of the parameters, in one pass.

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in arcsec, of shapes that broadcast with (n, 1, 1).  A grid is fastest as x of (1, 1, columns) and y
        of (1, rows, 1).
    theta_E : torch.Tensor
        (n, K) Einstein radii in arcsec; 0 for no mass.
    x0, y0 : torch.Tensor
        (n, K) positions of the masses in arcsec.  On a grid, masses in float64 keep their place exactly even where x
        and y, and so the answer, are in float32.
    softening : float
        :math:`\varepsilon` in arcsec: a core that keeps the deflection finite on the masses themselves.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        (n, rows, columns) deflection in arcsec, of the type of x and y.

    Raises
    ------
    InputError
        If the parameters are not all (n, K), or the positions have more than three axes.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.lensing.perturbers import point_masses_deflection
    >>> x, y = torch.linspace(-1, 1, 4).reshape(1, 1, 4), torch.linspace(-1, 1, 3).reshape(1, 3, 1)
    >>> two = torch.tensor([[-0.5, 0.5]])
    >>> alpha_x, alpha_y = point_masses_deflection(x, y, torch.full((1, 2), 0.1), two, 0 * two)
    >>> alpha_x.shape
    torch.Size([1, 3, 4])
    """
    return _sum(x, y, x0, y0, theta_E * theta_E, (), _reciprocal, vector=True, core=softening * softening)


def _reciprocal(r2):
    # in place where no gradient is asked for: half the memory traffic
    return r2.reciprocal() if r2.requires_grad else r2.reciprocal_()


def pseudo_jaffes_deflection(x, y, b, r_core, r_cut, x0, y0):
    """Deflection of many pseudo-Jaffe halos: the sum of `pseudo_jaffe_deflection` over parameters of shape (n, K).

    Positions and answer are those of `point_masses_deflection`.
    """
    return _sum(x, y, x0, y0, b, (r_core, r_cut), _jaffe_pull, vector=True)


def pseudo_jaffes_convergence(x, y, b, r_core, r_cut, x0, y0):
    """Convergence of many pseudo-Jaffe halos: the sum of `pseudo_jaffe_convergence` over parameters of shape (n, K)."""
    return _sum(x, y, x0, y0, b, (r_core, r_cut), _jaffe_density, vector=False)[0]


def truncated_nfws_deflection(x, y, kappa_s, r_s, r_cut, x0, y0):
    """Deflection of many truncated NFW halos: the sum of `truncated_nfw_deflection` over parameters of shape (n, K).

    Positions and answer are those of `point_masses_deflection`.
    """
    return _sum(x, y, x0, y0, kappa_s, (r_s, r_cut), _nfw_pull, vector=True)


def truncated_nfws_convergence(x, y, kappa_s, r_s, r_cut, x0, y0):
    """Convergence of many truncated NFW halos: the sum of `truncated_nfw_convergence` over parameters (n, K)."""
    return _sum(x, y, x0, y0, kappa_s, (r_s, r_cut), _nfw_density, vector=False)[0]


def _sum(x, y, x0, y0, weight, shape, radial, *, vector, core=0.0):
    """Sum ``weight * radial(r^2 + core, *shape)``, times the distance vector if `vector`, over the last axis of (n, K).

    `radial` may overwrite r^2 where no gradient is asked for.  Without gradients the memory is bounded by BLOCK; with
    them autograd keeps a few numbers for every (image, row, column, mass).
    """
    for name, value in (("y0", y0), ("strength", weight), *(("shape", value) for value in shape)):
        if value.ndim != 2 or value.shape != x0.shape:
            raise InputError(name, f"must be (n, K) as x0 is, {tuple(x0.shape)}", tuple(value.shape))
    if max(x.ndim, y.ndim) > 3:
        raise InputError("x, y", "must broadcast with (n, 1, 1)", (tuple(x.shape), tuple(y.shape)))
    x, y = (p[(None,) * (3 - p.ndim)] for p in (x, y))
    dtype = torch.promote_types(x.dtype, y.dtype)
    images, rows, columns = torch.broadcast_shapes(x.shape, y.shape, (len(x0), 1, 1))
    if x0.shape[1] == 0:
        return x.new_zeros((1 + vector, images, rows, columns), dtype=dtype).unbind()
    if x.shape[1] > 1 or y.shape[2] > 1:
        # not a grid: the masses' places in the type of the positions, for a block of distances in float64 is costly
        x, y, x0, y0 = x.expand(-1, rows, -1), y.expand(-1, -1, columns), x0.to(dtype), y0.to(dtype)
    x, y = (p.expand(images, *p.shape[1:])[..., None] for p in (x, y))
    masses = [p.expand(images, -1)[:, None, None] for p in (x0, y0, weight.to(dtype), *(p.to(dtype) for p in shape))]

    limit, group = BLOCK.get(x.device.type, BLOCK["cuda"]) // (4 if shape else 1), min(x0.shape[1], GROUP)
    high = min(rows, max(1, limit // (columns * group)))
    deep = max(1, limit // (rows * columns * group))
    # without gradients the blocks share their memory: fresh pages for each of them would cost more than the sums
    free = not (torch.is_grad_enabled() and any(p.requires_grad for p in (x, y, *masses)))
    work = x.new_empty((2, min(deep, images) * high * columns * group), dtype=dtype) if free else None
    strips = []
    for i in range(0, images, deep):
        some = slice(i, i + deep)
        own, cut = [p[some] for p in masses], lambda p, at: p[some, at] if p.shape[1] > 1 else p[some]
        ats = [slice(r, r + high) for r in range(0, rows, high)]
        parts = [_block(cut(x, at), cut(y, at), own, radial, vector, core, dtype, work) for at in ats]
        strips.append(torch.cat(parts, 2))
    return torch.cat(strips, 1).unbind()


def _block(x, y, masses, radial, vector, core, dtype, work):
    """Sum over the masses for some images and rows: (component, images, rows, columns)."""
    total = 0.0
    for k in range(0, masses[0].shape[-1], GROUP):
        x0, y0, weight, *shape = (p[..., k : k + GROUP] for p in masses)
        dx, dy = (x - x0).to(dtype), (y - y0).to(dtype)
        r2, product = None, None
        if work is not None:
            size = torch.broadcast_shapes(dx.shape, dy.shape)
            r2, product = work[:, : math.prod(size)].view(2, *size)
        value = radial(torch.add(dx * dx + core, dy * dy, out=r2), *shape)
        factors = (weight * dx, weight * dy) if vector else (weight,)
        total = total + torch.stack([torch.mul(value, factor, out=product).sum(-1) for factor in factors])
    return total
