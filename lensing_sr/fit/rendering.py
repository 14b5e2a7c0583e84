# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images of a fitted model on any pixels, sampled where they need it as finely as they need it."""

import torch
from numpy.polynomial.legendre import leggauss

from lensing_sr.forward.model import lens_light, lensed_source

__all__ = ["CONVERGED", "render", "tolerance"]

#: A pixel is sampled finely enough once finer sampling changes it by less than this, in units of the noise.
CONVERGED = 1e-3

#: Part of the tolerance that the bend of the light over a pixel may reach before finer samples are tried at all.
EVEN = 0.25

#: Samples a pixel and axis that are tried in turn.
LEVELS = (2, 4, 8, 16)

#: Samples evaluated at once: small enough for memory to be reused.
SAMPLES = 250_000


def tolerance(weight, pixel_area):
    """Change of surface brightness, per arcsec^2, that the noise of an image cannot tell: ``(images,)``.

    Parameters
    ----------
    weight : torch.Tensor
        1 / sigma of the pixels, 0 where masked, ``(images, rows, columns)``.
    pixel_area : float
        Area of a pixel in arcsec^2.
    """
    return CONVERGED / (weight.amax(dim=(1, 2)).clamp_min(1e-30) * pixel_area)


def render(p, amplitudes, widths, formation, tolerance=None, source=None):
    """Arcs and lens light, as the detector behind `formation` sees them.

    Parameters
    ----------
    p : torch.Tensor
        Parameters, ``(images, n)``, in the frame of `formation`.
    amplitudes : torch.Tensor
        Source first, then the Gaussians, if there are any: ``(images, >= 1 + 2 k)``.
    widths : torch.Tensor or None
        Widths of the Gaussians in arcsec, ``(k,)``.
    formation : lensing_sr.forward.formation.ImageFormation
        The pixels.
    tolerance : torch.Tensor, optional
        From `tolerance`, ``(images,)``: light is averaged over each pixel of the PSF kernel by Gauss-Legendre
        quadrature of growing order until its surface brightness changes by less, at most 16 x 16 samples.  None: the
        formation's own samples.
    source : callable, optional
        Takes positions in arcsec, returns the surface brightness of the lensed source there, for a single image whose
        source or lens is not that of the parameters.

    Returns
    -------
    arcs, light : torch.Tensor
        Flux a pixel, ``(images, rows, columns)``.
    """
    x, y = formation.positions
    p, amplitudes = p.to(x), amplitudes.to(x)
    widths = None if widths is None else widths.to(x)
    chunk = max(1, SAMPLES // x.numel())
    seen = []
    for part in torch.arange(len(p), device=p.device).split(chunk):
        state = p[part], amplitudes[part], widths, source
        light = _light(*state, x, y)
        if tolerance is not None:
            light = _refined(light, state, formation, tolerance[part])
        seen.append(formation.select(part).observe(light))
    seen = torch.cat(seen)
    return seen[:, 0], seen[:, 1]


def _light(p, amplitudes, widths, own, x, y):
    """Surface brightness of source and lens, ``(images, 2, rows, columns)``."""
    source = lensed_source(p, x, y) * amplitudes[:, :1, None] if own is None else own(x, y).expand(len(p), -1, -1)
    if widths is None:
        return torch.stack([source, torch.zeros_like(source)], dim=1)
    light = torch.empty_like(source)
    # row by row: all Gaussians of a large field together would not fit into memory
    step = max(1, SAMPLES // (x.shape[-1] * len(p)))
    fluxes = amplitudes[:, 1 : 1 + 2 * len(widths)]
    shared = (x, y) if x.ndim == 2 else (x[:, None], y[:, None])  # positions of all images, or of each its own
    for first in range(0, x.shape[-2], step):
        rows = slice(first, first + step)
        columns = lens_light(p, *(c[..., rows, :] for c in shared), widths)
        light[:, rows] = torch.einsum("bk,bkij->bij", fluxes, columns)
    return torch.stack([source, light], dim=1)


def _refined(light, state, formation, tolerance):
    """Replace samples at pixel centres by means over the pixels, where the two differ."""
    x, y = formation.positions
    p, amplitudes, widths, source = state
    rows, columns = x.shape
    image, pixel = _bent(light, EVEN * tolerance).flatten(1).nonzero(as_tuple=True)
    if not len(image):
        return light
    flat = light.flatten(2)
    value = flat[image, :, pixel]
    for samples in LEVELS:
        finer = torch.cat(
            [
                _pixel_means(p, amplitudes, widths, source, formation, i, k, samples)
                for i, k in zip(*(t.split(max(1, SAMPLES // samples**2)) for t in (image, pixel)), strict=True)
            ]
        )
        flat[image, :, pixel] = finer
        open_ = ((finer - value).abs() > tolerance[image, None]).any(dim=1)
        image, pixel, value = image[open_], pixel[open_], finer[open_]
        if not len(image):
            break
    return flat.unflatten(2, (rows, columns))


def _bent(light, limit):
    r"""Pixels over which light may bend by more than a limit, boolean ``(images, rows, columns)``.

    The mean over a pixel of side h is :math:`f + h^2 (f_{xx} + f_{yy}) / 24` to second order.  A cusp between the
    centres of pixels bends the light at all of them, so that their neighbours count, too.
    """
    padded = torch.nn.functional.pad(light, (1, 1, 1, 1), mode="replicate")
    here = padded[..., 1:-1, 1:-1]
    along = padded[..., 1:-1, 2:] - 2.0 * here + padded[..., 1:-1, :-2]
    across = padded[..., 2:, 1:-1] - 2.0 * here + padded[..., :-2, 1:-1]
    bend = (along.abs() + across.abs()).amax(dim=1, keepdim=True) / 24.0
    return torch.nn.functional.max_pool2d(bend, 3, 1, 1)[:, 0] > limit[:, None, None]


def _pixel_means(p, amplitudes, widths, source, formation, image, pixel, samples):
    """Means of source and lens light over single kernel pixels, ``(len(pixel), 2)``."""
    x, y = formation.positions
    nodes, weights = (0.5 * torch.as_tensor(a).to(x) for a in leggauss(samples))
    cell = formation.cell.to(x)
    u, v = nodes.repeat(samples), nodes.repeat_interleave(samples)
    dx, dy = cell[0, 0] * u + cell[0, 1] * v, cell[1, 0] * u + cell[1, 1] * v
    xs, ys = x.flatten()[pixel, None, None] + dx, y.flatten()[pixel, None, None] + dy
    light = _light(p[image], amplitudes[image], widths, source, xs, ys)
    return light[:, :, 0] @ weights.outer(weights).flatten()
