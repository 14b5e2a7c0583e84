# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From one look of a network at cut-outs to starts of a fit, or straight to parameters with errors."""

import torch

from lensing_sr.fit.coarse import light_widths, noise_temperature, search_range, tempered
from lensing_sr.fit.lens_fit import LensFit
from lensing_sr.fit.objective import Objective
from lensing_sr.fit.priors import lens_priors
from lensing_sr.networks.mixture import MACRO, TOTAL, free_of_scale, in_arcsec
from lensing_sr.networks.views import make_views

__all__ = ["estimate_lenses", "look", "propose_starts"]

#: Proposals from which a fit starts, those that compete where nothing is fitted, draws that tell the scatter.
STARTS, CANDIDATES, DRAWS = 8, 12, 512


def look(observation, centre, *, lens_light=True, correlation=None, psf_fwhm=0.0):
    """The `Views` of a batch of images; arguments as in `lensing_sr.fit.lens_fit.fit_lenses`."""
    return make_views(
        observation.data, observation.weight, observation.matrix, observation.origin, centre, psf_fwhm=psf_fwhm,
        correlation=correlation, lens_light=lens_light,
    )  # fmt: skip


def propose_starts(network, observation, centre, count=STARTS, **optics):
    """Parameters of lens and source from which to start a fit, ``(images, count, 13)`` float64.

    Parameters
    ----------
    network : LensEstimator
        In `eval` mode, on the device of the images.
    observation, centre, **optics
        As in `look`.
    count : int
        How many.

    Returns
    -------
    torch.Tensor
    """
    views = look(observation, centre, **optics)
    return network.propose(views, count)[:, :, :MACRO]


@torch.no_grad()
def estimate_lenses(
    network, observation, centre, *, lens_light=True, correlation=None, psf_fwhm=0.0, supersampling=1
):
    """Lens, source and lens light as a network sees them, without any fit.

    Of what the network holds possible the most likely is taken, as the image itself says; amplitudes follow exactly.

    Parameters
    ----------
    network : LensEstimator
        In `eval` mode, on the device of the images.
    observation, centre, lens_light, correlation, psf_fwhm, supersampling
        As in `lensing_sr.fit.lens_fit.fit_lenses`.

    Returns
    -------
    LensFit
        ``evidence`` is what the network expects the fit to find.
    torch.Tensor
        Covariance of the parameters, ``(images, n, n)`` float64: scatter, about what was taken, of the components
        to which it belongs.
    """
    images = torch.arange(len(observation), device=observation.data.device)
    views = look(observation, centre, lens_light=lens_light, correlation=correlation, psf_fwhm=psf_fwhm)
    count = TOTAL if lens_light else MACRO
    answer = network(views)
    candidates = network.propose(views, CANDIDATES, answer=answer)[:, :, :count]
    smallest, largest = search_range(observation, 0.0, None)  # the network's choice is not narrowed
    priors = lens_priors(
        centre, smallest=smallest, largest=largest, pixel=observation.pixel, lens_light=lens_light, centre_width=0.1
    )
    candidates = torch.minimum(torch.maximum(candidates, priors.lower[:, None]), priors.upper[:, None])
    temperature = noise_temperature(observation, correlation)
    objective = Objective(
        observation.data, tempered(observation.weight, None, temperature), observation.formation(supersampling),
        priors.mean, priors.width, widths=light_widths(observation) if lens_light else None,
    )  # fmt: skip
    owner = images.repeat_interleave(CANDIDATES)
    costs = objective.solve(candidates.flatten(0, 1), owner).chi2.view(len(images), -1)
    rank = costs.argsort(dim=1)
    modes, costs = candidates[images[:, None], rank], costs[images[:, None], rank]
    best = modes[:, 0]
    # of the mixture, what the likelihood has chosen
    near = answer.mixture.near(free_of_scale(best, views.half_width, views.centre).float(), count)
    draws = near.sample(DRAWS, torch.Generator().manual_seed(0)).double()
    draws = in_arcsec(draws, views.half_width[:, None].expand(-1, DRAWS), views.centre[:, None])[:, :, :count]
    offset = draws - best[:, None]
    covariance = offset.mT @ offset / DRAWS
    solution = objective.solve(best, images)
    evidence = answer.evidence.double()
    fit = LensFit(best, objective, solution, priors, temperature, costs[:, 0], modes, costs, evidence)
    return fit, covariance
