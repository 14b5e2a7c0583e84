# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images of a fitted model on any pixels, finely enough sampled."""

import torch

from lensing_sr.forward.model import lens_light, lensed_source

__all__ = ["LARGEST_SUPERSAMPLING", "converged_supersampling", "render"]

#: Finer sampling than this is not tried: a cusp at the centre of a source or of a galaxy converges slowly.
LARGEST_SUPERSAMPLING = 8

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


def converged_supersampling(observation, p, amplitudes, widths, largest=LARGEST_SUPERSAMPLING):
    """Smallest supersampling at which a finer one changes the model's image by less than `CONVERGED` of the noise.

    Parameters
    ----------
    observation : lensing_sr.fit.observation.Observation
        Pixels, PSF and noise.
    p, amplitudes, widths
        As for `render`.
    largest : int
        Where to stop.

    Returns
    -------
    supersampling : int
        At most `largest`.
    change : float
        What the last refinement changed, rms in units of the noise.
    """
    steps = [step for step in (1, 2, 3, 4, 6, 8) if step <= largest]
    image, change = sum(render(p, amplitudes, widths, observation.formation(1))), float("inf")
    for supersampling, finer in zip(steps, steps[1:], strict=False):
        finer_image = sum(render(p, amplitudes, widths, observation.formation(finer)))
        difference, image = (finer_image - image) * observation.weight, finer_image
        change = float(difference.square().mean(dim=(1, 2)).sqrt().amax())
        if change < CONVERGED:
            return supersampling, change
    return steps[-1], change
