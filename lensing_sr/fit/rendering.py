# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images of a fitted model on any pixels, finely enough sampled."""

import torch

from lensing_sr.forward.model import lens_light, lensed_source

__all__ = ["converged_supersampling", "render", "render_each"]

#: The image is sampled finely enough once finer sampling changes it by less than this, rms in units of the noise.
CONVERGED = 1e-3

#: Samples whose Gaussians are computed at once.
ROWS = 200_000


def render(p, amplitudes, widths, formation):
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

    Returns
    -------
    arcs, light : torch.Tensor
        Flux a pixel, ``(images, rows, columns)``.
    """
    x, y = formation.positions
    p, amplitudes = p.to(x), amplitudes.to(x)
    source = lensed_source(p, x, y) * amplitudes[:, :1, None]
    if widths is None:
        arcs = formation.observe(source[:, None])[:, 0]
        return arcs, torch.zeros_like(arcs)
    light = torch.zeros_like(source)
    k = len(widths)
    # row by row: all columns of a large field together would not fit into memory
    step = max(1, ROWS // x.shape[1])
    for rows in (slice(i, i + step) for i in range(0, len(x), step)):
        columns = lens_light(p, x[rows], y[rows], widths.to(x))
        light[:, rows] = torch.einsum("bk,bkij->bij", amplitudes[:, 1 : 1 + 2 * k], columns)
    observed = formation.observe(torch.stack([source, light], dim=1))
    return observed[:, 0], observed[:, 1]


def render_each(p, amplitudes, widths, supersampling, formation):
    """`render` images that are sampled each in its own way.

    Parameters
    ----------
    p, amplitudes, widths
        As for `render`.
    supersampling : torch.Tensor
        Whole numbers, ``(images,)``.
    formation : callable
        Returns the `ImageFormation` of a supersampling.

    Returns
    -------
    arcs, light : torch.Tensor
        ``(images, rows, columns)``.
    """
    parts = []
    for value in supersampling.unique().tolist():
        index = (supersampling == value).nonzero()[:, 0]
        parts.append((index, render(p[index], amplitudes[index], widths, formation(value).select(index))))
    shape = parts[0][1][0].shape[1:]
    whole = [parts[0][1][0].new_empty((len(p), *shape)) for _ in range(2)]
    for index, images in parts:
        for target, image in zip(whole, images, strict=True):
            target[index] = image
    return tuple(whole)


def converged_supersampling(observation, p, amplitudes, widths):
    """Smallest supersampling of each image at which a finer one changes it by less than `CONVERGED` of the noise.

    Parameters
    ----------
    observation : lensing_sr.fit.observation.Observation
        Pixels, PSF and noise.
    p, amplitudes, widths
        As for `render`.

    Returns
    -------
    supersampling : torch.Tensor
        ``(images,)``; the largest that is tried where none suffices.
    change : torch.Tensor
        What the last refinement changed, rms in units of the noise, ``(images,)``.
    """
    steps = observation.samplings
    index = torch.arange(len(p), device=observation.data.device)
    supersampling = torch.full_like(index, steps[-1])
    change = torch.zeros(len(p), dtype=observation.data.dtype, device=observation.data.device)
    image = sum(render(p, amplitudes, widths, observation.formation(1)))
    for step, finer in zip(steps, steps[1:], strict=False):
        finer_image = sum(render(p[index], amplitudes[index], widths, observation.formation(finer).select(index)))
        difference = (finer_image - image) * observation.weight[index]
        change[index] = difference.square().mean(dim=(1, 2)).sqrt()
        done = change[index] < CONVERGED
        supersampling[index[done]] = step
        index, image = index[~done], finer_image[~done]
        if not len(index):
            break
    return supersampling, change
