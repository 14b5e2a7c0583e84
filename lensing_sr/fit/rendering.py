# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images of a fitted model on any pixels, finely enough sampled."""

import torch

from lensing_sr.forward.model import lensed_source
from lensing_sr.fit.objective import N_MACRO
from lensing_sr.light.gaussians import gaussian_brightness

__all__ = ["LARGEST_SUPERSAMPLING", "converged_supersampling", "render"]

#: Finer sampling than this is not tried: a cusp at the centre of a source or of a galaxy converges slowly.
LARGEST_SUPERSAMPLING = 8

#: The image is sampled finely enough once halving the step changes it by less than this, rms in units of the noise.
CONVERGED = 1e-3


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
    x0, y0, *shapes = (c[:, None, None] for c in p[:, N_MACRO:].unbind(1))
    k = len(widths)
    # one Gaussian at a time: all columns of a large field together would not fit into memory
    for i in range(2 * k):
        flux = amplitudes[:, 1 + i, None, None]
        if bool((flux != 0).any()):
            e1, e2 = shapes[0:2] if i < k else shapes[2:4]
            light += flux * gaussian_brightness(x, y, widths[i % k].to(x), e1, e2, x0, y0)
    observed = formation.observe(torch.stack([source, light], dim=1))
    return observed[:, 0], observed[:, 1]


def converged_supersampling(observation, p, amplitudes, widths, largest=LARGEST_SUPERSAMPLING):
    """Smallest supersampling (1, 2, 4, ...) whose images of the model change by less than `CONVERGED` of the noise.

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
        What the last doubling changed, rms in units of the noise.
    """
    supersampling, change = 1, float("inf")
    coarse = sum(render(p, amplitudes, widths, observation.formation(1)))
    while supersampling < largest:
        fine = sum(render(p, amplitudes, widths, observation.formation(2 * supersampling)))
        difference = (fine - coarse) * observation.weight
        change = float(difference.square().mean(dim=(1, 2)).sqrt().amax())
        if change < CONVERGED:
            break
        supersampling, coarse = 2 * supersampling, fine
    return supersampling, change
