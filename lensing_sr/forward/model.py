# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Parameters to light on the sky, with derivatives in closed form: a lensed Sersic source and the lens galaxy.

.. math:: I(\theta) = S(\theta - \alpha(\theta)) + \sum_k c_k\, G_k(\theta)

The parameter vector has a fixed order, `LENS` + `SOURCE` (+ `LIGHT`) (+ `SLOPE`), see `names`; positive parameters
enter by their logarithm, so that steps of the fit are relative.  Without `SLOPE` the lens is isothermal.
Amplitudes are not among them: they are linear and solved for exactly.
"""

import torch

from lensing_sr.lensing.mass import epl_deflection, shear_deflection, sie_deflection, sie_deflection_jacobian
from lensing_sr.lensing.power_law_jacobian import epl_deflection_jacobian
from lensing_sr.light.gaussians import gaussian_family
from lensing_sr.light.sersic import CENTRE, sersic_b, sersic_b_slope

__all__ = [
    "LENS",
    "LIGHT",
    "SLOPE",
    "SOURCE",
    "deflection",
    "has_slope",
    "lens_light",
    "lens_light_jacobian",
    "lensed_source",
    "lensed_source_jacobian",
    "names",
    "ray_jacobian",
    "source_jacobian",
    "source_light",
]

#: Mass: ellipsoid and external shear about its centre.
LENS = ("log_theta_E", "e1", "e2", "x_lens", "y_lens", "gamma1", "gamma2")
#: Source: elliptical Sersic.
SOURCE = ("x_source", "y_source", "log_r_eff", "log_n", "e1_source", "e2_source")
#: Lens light: one centre, and one ellipticity for each of two families of Gaussians (twists and discs).
LIGHT = ("x_light", "y_light", "e1_inner", "e2_inner", "e1_outer", "e2_outer")
#: Slope of the mass density in three dimensions.
SLOPE = ("gamma",)

_N_MACRO = len(LENS) + len(SOURCE)


def names(count):
    """Names of the parameters of a vector of that length.

    Parameters
    ----------
    count : int
        13 or 19, one more with the slope.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from lensing_sr.forward.model import names
    >>> len(names(19)), names(14)[-1]
    (19, 'gamma')
    """
    return LENS + SOURCE + (LIGHT if count > _N_MACRO + 1 else ()) + (SLOPE if _is_free(count) else ())


def has_slope(p):
    """Whether parameters ``(..., n)`` hold the slope of the lens."""
    return _is_free(p.shape[-1])


def _is_free(count):
    return count in (len(LENS) + 1, _N_MACRO + 1, _N_MACRO + len(LIGHT) + 1)


def _columns(p, first, count):
    return (c[:, None, None] for c in p[:, first : first + count].unbind(1))


def deflection(p, x, y):
    """Deflection (alpha_x, alpha_y) in arcsec of the lens and its external shear.

    Parameters
    ----------
    p : torch.Tensor
        Parameters, ``(batch, n)``: `LENS` and what follows, or `LENS` + `SLOPE`.
    x, y : torch.Tensor
        Positions in arcsec, ``(rows, columns)``.

    Returns
    -------
    alpha_x, alpha_y : torch.Tensor
        Shape ``(batch, rows, columns)``.
    """
    log_theta_E, e1, e2, x_lens, y_lens, gamma1, gamma2 = _columns(p, 0, len(LENS))
    shape = e1, e2, x_lens, y_lens
    if has_slope(p):
        alpha_x, alpha_y = epl_deflection(x, y, log_theta_E.exp(), p[:, -1, None, None], *shape)
    else:
        alpha_x, alpha_y = sie_deflection(x, y, log_theta_E.exp(), *shape)
    shear_x, shear_y = shear_deflection(x, y, gamma1, gamma2, x_lens, y_lens)
    return alpha_x + shear_x, alpha_y + shear_y


def source_light(p, x, y):
    """Surface brightness of the source at source-plane positions, 1 at r_eff; shapes as in `deflection`."""
    x_source, y_source, log_r, log_n, e1, e2 = _columns(p, len(LENS), len(SOURCE))
    x, y = x - x_source, y - y_source
    w_x, w_y = x - e1 * x - e2 * y, y + e1 * y - e2 * x
    log_ratio2 = ((w_x * w_x + w_y * w_y) / (1.0 - e1 * e1 - e2 * e2)).clamp_min(1e-30).log() - 2.0 * log_r
    power = torch.exp(log_ratio2.clamp_min(2.0 * _LOG_CENTRE) * (0.5 * torch.exp(-log_n)))
    return torch.exp(-sersic_b(log_n.exp()) * (power - 1.0))


_LOG_CENTRE = float(torch.tensor(CENTRE, dtype=torch.float64).log())


def lensed_source(p, x, y):
    """Surface brightness of the lensed source in the image plane; shapes as in `deflection`."""
    alpha_x, alpha_y = deflection(p, x, y)
    return source_light(p, x - alpha_x, y - alpha_y)


def ray_jacobian(p, x, y):
    """Where rays land in the source plane, with derivatives by the `LENS` parameters.

    Parameters
    ----------
    p : torch.Tensor
        ``(batch, n)``, ordered as `LENS` and what follows.
    x, y : torch.Tensor
        Positions in arcsec, ``(rows, columns)``.

    Returns
    -------
    beta_x, beta_y : torch.Tensor
        Source-plane positions in arcsec, ``(batch, rows, columns)``.
    derivatives : list of tuple
        Seven pairs, of beta_x and beta_y; an eighth one is by the slope, where there is one.
    """
    log_theta_E, e1, e2, x_lens, y_lens, gamma1, gamma2 = _columns(p, 0, len(LENS))
    shape, by_slope = (e1, e2, x_lens, y_lens), []
    if has_slope(p):
        gamma = p[:, -1, None, None]
        *lens, (turn_x, turn_y) = epl_deflection_jacobian(x, y, log_theta_E.exp(), gamma, *shape)
        alpha_x, alpha_y, by_x, by_y, by_e1, by_e2 = lens
        by_radius, by_slope = ((1.0 - gamma) * alpha_x, (1.0 - gamma) * alpha_y), [(-turn_x, -turn_y)]
    else:
        alpha_x, alpha_y, by_x, by_y, by_e1, by_e2 = sie_deflection_jacobian(x, y, log_theta_E.exp(), *shape)
        by_radius = -alpha_x, -alpha_y
    u, v = x - x_lens, y - y_lens
    derivatives = [
        by_radius,
        (-by_e1[0], -by_e1[1]),
        (-by_e2[0], -by_e2[1]),
        (by_x[0] + gamma1, by_x[1] + gamma2),
        (by_y[0] + gamma2, by_y[1] - gamma1),
        (-u, v),
        (-v, -u),
        *by_slope,
    ]
    return x - alpha_x - gamma1 * u - gamma2 * v, y - alpha_y - gamma2 * u + gamma1 * v, derivatives


def source_jacobian(p, beta_x, beta_y):
    """Surface brightness of the source, its slope, and its derivatives by the `SOURCE` parameters.

    Parameters
    ----------
    p : torch.Tensor
        ``(batch, n)``, ordered as `LENS` + `SOURCE` (+ `LIGHT`).
    beta_x, beta_y : torch.Tensor
        Source-plane positions in arcsec, ``(batch, rows, columns)``.

    Returns
    -------
    light : torch.Tensor
        1 at r_eff, ``(batch, rows, columns)``.
    slope_x, slope_y : torch.Tensor
        Its derivatives by the position, per arcsec.
    derivatives : list of torch.Tensor
        Six, of the light.
    """
    x_source, y_source, log_r, log_n, s1, s2 = _columns(p, len(LENS), len(SOURCE))
    d_x, d_y = beta_x - x_source, beta_y - y_source
    # the source and its logarithmic slope
    n = log_n.exp()
    b, b_slope = sersic_b_slope(n)
    w_x, w_y = d_x - s1 * d_x - s2 * d_y, d_y + s1 * d_y - s2 * d_x
    s_squared = 1.0 - s1 * s1 - s2 * s2
    # the same floor as the profile's centre: |w|^2 >= CENTRE^2 s^2 r_eff^2
    modulus2 = torch.maximum(w_x * w_x + w_y * w_y, CENTRE**2 * s_squared * torch.exp(2.0 * log_r))
    log_ratio = 0.5 * (modulus2 / s_squared).log() - log_r
    power = torch.exp(log_ratio / n)
    light = torch.exp(-b * (power - 1.0))
    slope = -b * power * light / n
    h_x, h_y = slope * w_x / modulus2, slope * w_y / modulus2
    s_x, s_y = (1.0 - s1) * h_x - s2 * h_y, (1.0 + s1) * h_y - s2 * h_x  # dS/dbeta
    derivatives = [
        -s_x,
        -s_y,
        -slope,
        -light * (n * b_slope * (power - 1.0)) - slope * log_ratio,
        h_y * d_y - h_x * d_x + slope * (s1 / s_squared),
        -(h_x * d_y + h_y * d_x) + slope * (s2 / s_squared),
    ]
    return light, s_x, s_y, derivatives


def lensed_source_jacobian(p, x, y):
    """Lensed source with its derivatives by the `LENS` and `SOURCE` parameters.

    Parameters
    ----------
    p : torch.Tensor
        ``(batch, n)``, ordered as `LENS` + `SOURCE` (+ `LIGHT`).
    x, y : torch.Tensor
        Positions in arcsec, ``(rows, columns)``.

    Returns
    -------
    light : torch.Tensor
        Surface brightness, 1 at r_eff, ``(batch, rows, columns)``.
    jacobian : torch.Tensor
        ``(batch, 13, rows, columns)``; the slope, where there is one, is the fourteenth.
    """
    beta_x, beta_y, rays = ray_jacobian(p, x, y)
    light, slope_x, slope_y, own = source_jacobian(p, beta_x, beta_y)
    count = len(rays) + len(own)
    jacobian = torch.empty((*light.shape[:1], count, *light.shape[1:]), dtype=light.dtype, device=light.device)
    places = (*range(len(LENS)), count - 1)
    for j, (by_x, by_y) in zip(places, rays, strict=False):
        jacobian[:, j] = slope_x * by_x + slope_y * by_y
    for j, derivative in enumerate(own, start=len(LENS)):
        jacobian[:, j] = derivative
    return light, jacobian


def _light_families(p):
    """Centre and ellipticities, one pair for each half of the Gaussians (inner and outer)."""
    x0, y0, *shapes = (c[:, None, None] for c in p[:, _N_MACRO : _N_MACRO + len(LIGHT)].unbind(1))
    return x0, y0, ((shapes[0], shapes[1]), (shapes[2], shapes[3]))


def lens_light(p, x, y, sigma):
    """Columns of the lens galaxy's light: unit-flux Gaussians of every width in both shapes.

    Parameters
    ----------
    p : torch.Tensor
        ``(batch, 19)``, ordered as `LENS` + `SOURCE` + `LIGHT`.
    x, y : torch.Tensor
        Positions in arcsec, ``(rows, columns)``.
    sigma : torch.Tensor
        Widths in arcsec, ``(k,)``, from `lensing_sr.light.gaussians.gaussian_widths`.

    Returns
    -------
    torch.Tensor
        Surface brightness, ``(batch, 2 k, rows, columns)``: the inner family first.
    """
    x0, y0, shapes = _light_families(p)
    e1, e2 = (torch.stack(component, dim=1) for component in zip(*shapes, strict=True))
    return gaussian_family(x, y, sigma, e1, e2, x0[:, None], y0[:, None]).flatten(1, 2)


def lens_light_jacobian(p, x, y, sigma, columns, amplitudes):
    """Derivatives of the lens light by the `LIGHT` parameters, at given amplitudes.

    Parameters
    ----------
    p, x, y, sigma
        As in `lens_light`.
    columns : torch.Tensor
        What `lens_light` returned.
    amplitudes : torch.Tensor
        Fluxes, ``(batch, 2 k)``.

    Returns
    -------
    torch.Tensor
        ``(batch, 6, rows, columns)``.
    """
    x0, y0, shapes = _light_families(p)
    weights = amplitudes / (sigma * sigma).repeat(2)
    k = len(sigma)
    u, v = x - x0, y - y0
    jacobian = torch.zeros((len(p), len(LIGHT), *columns.shape[2:]), dtype=columns.dtype, device=columns.device)
    for family, (e1, e2) in enumerate(shapes):
        part = slice(family * k, (family + 1) * k)
        # dG = -G / (2 sigma^2) d(r^2)
        total = torch.einsum("bk,bkij->bij", weights[:, part], columns[:, part])
        w_x, w_y = u - e1 * u - e2 * v, v + e1 * v - e2 * u
        s_squared = 1.0 - e1 * e1 - e2 * e2
        t_x, t_y = total * w_x / s_squared, total * w_y / s_squared
        jacobian[:, 0] += (1.0 - e1) * t_x - e2 * t_y
        jacobian[:, 1] += (1.0 + e1) * t_y - e2 * t_x
        r2 = (w_x * w_x + w_y * w_y) / s_squared
        jacobian[:, 2 + 2 * family] = t_x * u - t_y * v - total * r2 * (e1 / s_squared)
        jacobian[:, 3 + 2 * family] = t_x * v + t_y * u - total * r2 * (e2 / s_squared)
    return jacobian
