# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What makes a lens a discovered lens: enough magnification, and arcs bright enough to be seen.

The signal-to-noise ratio of the arcs is that of Collett (2015): of all apertures made of the pixels with the highest
:math:`s_i / \sigma_i`, the best one,

.. math:: \mathrm{S/N} = \max_k \frac{\sum_{i \le k} s_i}{\sqrt{\sum_{i \le k} \sigma_i^2}}

with s the noise-free flux of the arcs alone and :math:`\sigma` the noise of the whole image: sky, read-out and the
photons of the lens galaxy, the neighbours and the arcs themselves.
"""

import torch

from lensing_sr.lensing.mass import epl_deflection, shear_deflection

__all__ = ["choose_place", "flux_for_signal_to_noise", "magnifications", "total_signal_to_noise"]

#: Rays along each axis, and half the side of their square in Einstein radii, of the estimated magnification.
RAYS, RAY_FIELD = 36, 2.1
#: Standard deviation (in half-light radii) of the Gaussian that stands for the source there.
WIDTH_OF_HALF_LIGHT = 0.85
#: Steps of the solution for the flux, which converges quadratically: three leave less than 1e-3 of the S/N.
STEPS = 3


def _best_aperture(signal, variance):
    """Return the largest S/N, the signal in its aperture, the pixels in order (or the first of them), the last one."""
    count = signal.shape[1]
    ratio = signal / variance.sqrt()
    best, total, order, last, end = _best_of_first(ratio, signal, variance, max(count // 4, 1))
    # by the inequality of Cauchy and Schwarz no aperture with more pixels has more than this: seldom is it worth a look
    beyond = (ratio * ratio).sum(1) - ratio.gather(1, order).square().sum(1)
    wide = (end * end + beyond > best * best).nonzero()[:, 0]
    if len(wide) and count > 1:
        order = torch.cat((order, order.new_zeros(len(order), count - order.shape[1])), 1)
        parts = _best_of_first(ratio[wide], signal[wide], variance[wide], count)
        old = best, total, order, last
        best, total, order, last = (o.index_copy(0, wide, new) for o, new in zip(old, parts[:4], strict=True))
    return best, total, order, last


def _best_of_first(ratio, signal, variance, count):
    """`_best_aperture` among those of at most `count` pixels, and the S/N of all of these."""
    order = ratio.topk(count, 1).indices
    signal_sum = signal.gather(1, order).cumsum(1, dtype=torch.float64)
    variance_sum = variance.gather(1, order).cumsum(1, dtype=torch.float64)
    curve = signal_sum / variance_sum.sqrt()
    best, last = curve.max(1, keepdim=True)
    return best[:, 0], signal_sum.gather(1, last)[:, 0], order, last, curve[:, -1]


def total_signal_to_noise(signal, sigma):
    r"""Total signal-to-noise ratio of the arcs, in the best aperture (see the module).

    Parameters
    ----------
    signal : torch.Tensor
        s, noise-free flux of the arcs, ``(n, rows, columns)``.
    sigma : torch.Tensor
        :math:`\sigma`, noise of the image in the same unit and shape.

    Returns
    -------
    torch.Tensor
        ``(n,)`` float64; 0 where there is no signal.

    References
    ----------
    Collett 2015, ApJ 811, 20, section 4.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation.selection import total_signal_to_noise
    >>> signal = torch.tensor([[[3.0, 3.0], [3.0, 0.1]]])  # three equal pixels: sqrt(3) times the S/N of one
    >>> round(float(total_signal_to_noise(signal, torch.ones(1, 2, 2))), 4)
    5.1962
    """
    return _best_aperture(signal.flatten(1), sigma.flatten(1) ** 2)[0]


def flux_for_signal_to_noise(target, unit, fixed, growing):
    r"""Flux f for which an image f u on the noise variance :math:`v + f w` reaches a signal-to-noise ratio.

    In a given aperture that is a quadratic equation; the aperture of the answer is found by taking, in turns, the best
    aperture at the flux and the flux of the aperture (it converges from above, quadratically).

    Parameters
    ----------
    target : torch.Tensor
        Signal-to-noise ratio wanted (`total_signal_to_noise`), ``(n,)``, positive.
    unit : torch.Tensor
        u, image of unit flux, ``(n, rows, columns)``, somewhere positive.
    fixed : torch.Tensor
        v, variance of what is there anyway, positive, in the square of the flux' unit; shaped as the image.
    growing : torch.Tensor
        w, variance that grows with the flux (photons), not negative; shaped as the image.

    Returns
    -------
    torch.Tensor
        f, ``(n,)`` float64.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation.selection import flux_for_signal_to_noise
    >>> one = torch.ones(1, 1, 1)
    >>> flux = flux_for_signal_to_noise(torch.tensor([10.0]), one, fixed=11 * one, growing=one)  # f = 10 sqrt(11 + f)
    >>> round(float(flux), 3)
    110.0
    """
    unit, fixed, growing = unit.flatten(1), fixed.flatten(1), growing.flatten(1)
    target2 = target.double() ** 2
    variance = fixed
    for _ in range(STEPS):
        _, total, order, last = _best_aperture(unit, variance)
        v, w = (part.gather(1, order).cumsum(1, dtype=torch.float64).gather(1, last)[:, 0] for part in (fixed, growing))
        # (f total)^2 = target^2 (v + f w)
        half = 0.5 * target2 * w
        flux = (half + (half * half + total * total * target2 * v).sqrt()) / (total * total)
        variance = fixed + flux[:, None].to(fixed.dtype) * growing
    return flux


def magnifications(places, *, theta_E, gamma, e1, e2, gamma1, gamma2, r_eff):
    r"""Estimate the magnification of sources by shooting rays through their lens.

    .. math:: \mu \approx \frac{\delta^2}{2 \pi w^2} \sum_\theta e^{-|\beta(\theta) - \beta_s|^2 / 2 w^2}

    with the source a Gaussian of its half-light radius, or as wide as the distance :math:`\delta` of the rays (0.12
    theta_E) where that is wider.

    Parameters
    ----------
    places : torch.Tensor
        Source positions about the lens in units of theta_E, ``(n, m, 2)``: m sources a lens.
    theta_E, gamma, e1, e2, gamma1, gamma2, r_eff : torch.Tensor
        Lens, external shear and half-light radius of its sources (arcsec), each ``(n,)`` float64.

    Returns
    -------
    torch.Tensor
        ``(n, m)``.

    Examples
    --------
    A singular isothermal sphere magnifies a point source at offset x by 2 / x:

    >>> import torch
    >>> from lensing_sr.simulation.selection import magnifications
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> lens = dict(theta_E=one, gamma=2 * one, e1=0 * one, e2=0 * one, gamma1=0 * one, gamma2=0 * one)
    >>> places = torch.tensor([[[0.8, 0.0], [0.0, 0.5]]], dtype=torch.float64)
    >>> [round(float(mu), 1) for mu in magnifications(places, **lens, r_eff=0.05 * one)[0]]
    [2.4, 4.1]
    """
    column = lambda value: value[:, None, None]  # noqa: E731
    delta = 2.0 * RAY_FIELD / RAYS
    axis = (torch.arange(RAYS, dtype=theta_E.dtype, device=theta_E.device) + 0.5) * delta - RAY_FIELD
    x, y = axis[None, None, :], axis[None, :, None]
    bend_x, bend_y = epl_deflection(x, y, torch.ones_like(column(theta_E)), *map(column, (gamma, e1, e2)))
    shear_x, shear_y = shear_deflection(x, y, column(gamma1), column(gamma2))
    x, y = (x - bend_x - shear_x).flatten(1), (y - bend_y - shear_y).flatten(1)
    width2 = (WIDTH_OF_HALF_LIGHT * r_eff / theta_E).clamp_min(delta)[:, None, None] ** 2
    # exp(-|b - c|^2 / 2 w^2) for every ray and source, the square multiplied out to spare two large temporaries
    rays = torch.stack((x, y, -0.5 * (x * x + y * y), torch.ones_like(x)), 2) / width2
    c_x, c_y = places[..., 0], places[..., 1]
    sources = torch.stack((c_x, c_y, torch.ones_like(c_x), -0.5 * (c_x * c_x + c_y * c_y)), 1)
    return (rays @ sources).exp_().sum(1) * (delta**2 / (2.0 * torch.pi)) / width2[:, 0]


def choose_place(magnification, least, bias, uniform):
    r"""Choose one of the candidate places of a source, with a chance that grows with its magnification.

    Galaxies lie anywhere behind a lens, but a survey finds those that are magnified: of :math:`N(> F) \propto F^{-p}`
    galaxies it sees :math:`\mu^p` times as many.  So a candidate has the weight :math:`\mu^p` if :math:`\mu` is enough,
    and none otherwise; where no candidate has any, the most magnified one is taken.  One number decides, whatever the
    candidates: nothing is drawn again.

    Parameters
    ----------
    magnification : torch.Tensor
        :math:`\mu` of the candidates, ``(n, m)``.
    least : float
        The least magnification that is enough.
    bias : float
        p; zero for no preference.
    uniform : torch.Tensor
        Numbers in [0, 1), ``(n,)``.

    Returns
    -------
    torch.Tensor
        Number of the candidate, ``(n,)`` integers.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation.selection import choose_place
    >>> magnification = torch.tensor([[2.0, 4.0, 6.0], [1.0, 2.0, 0.0]])
    >>> [choose_place(magnification, 3.0, 1.0, torch.full((2,), u)).tolist() for u in (0.3, 0.5)]
    [[1, 1], [2, 1]]
    """
    weight = torch.where(magnification >= least, magnification**bias, 0.0)
    sums = weight.cumsum(1)
    chosen = (sums <= uniform[:, None] * sums[:, -1:]).sum(1).clamp_max(weight.shape[1] - 1)
    return torch.where(sums[:, -1] > 0, chosen, magnification.argmax(1))
