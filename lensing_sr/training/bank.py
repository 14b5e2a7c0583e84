# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Images with what their own likelihood says about them: what the lens estimator learns from.

No truth of a simulation is kept.  An image is drawn, its lens, source and lens light are fitted to it as they would be
to a real one (`lensing_sr.fit.coarse`, started by a scan and by what the network proposes so far), and the minimum of

.. math:: \chi^2(p) = \min_c \left\| \frac{d - A(p)\,c}{\sigma} \right\|^2 + \text{priors}

is stored with its Gauss-Newton matrix: the posterior in Laplace's approximation, from which the training draws.  Two
things of a simulation are used as its analyst would have them: the PSF as given, and where neighbours were masked.
"""

import dataclasses
import math

import numpy as np
import torch

from lensing_sr.fit.coarse import FitSettings, explained, fit_coarsely
from lensing_sr.fit.estimate import look
from lensing_sr.fit.evidence import lens_evidence
from lensing_sr.fit.observation import Observation
from lensing_sr.image.kernels import psf_kernel
from lensing_sr.networks.mixture import MACRO, TOTAL, free_of_scale
from lensing_sr.simulation.population import LensPopulation

__all__ = ["Population", "draw_observation", "fit_images", "fitted_shard"]

#: Images fitted at once.
BATCH = 64
#: Brightness of neighbours in sigma that prepares them to be masked.
NEIGHBOUR = 1.0
#: Scatter in pixels of a lens galaxy's measured position.
CENTRING = 0.4
#: How hard each fit tries, without and with proposals.
BLIND = FitSettings(shapes=0, starts=10, survivors=2, iterations=12)
LED = FitSettings(shapes=0, starts=2, survivors=2, iterations=8, guard=False)
#: Proposals an image.
PROPOSALS = 4
#: Widest posterior, in units of the population's scatter.
WIDEST = 1.5


@dataclasses.dataclass(frozen=True)
class Population:
    """Of which images a bank consists; one line of each is drawn a shard.

    Attributes
    ----------
    instruments : tuple of str
        Telescopes, which differ in the shape of the PSF and in the noise of their photons.
    shapes : tuple of int
        Pixels a side.
    psf_pixels : tuple of float
        FWHM of the PSF in pixels, log-uniform between the two.
    lumpiness : tuple of float
        Of the sources.
    correlations : tuple of float
        Of the noise.
    arc_sn : tuple of float
        S/N of the arcs, log-uniform between the two.
    lens_light : float
        Share of shards with lens light.
    judged : float
        Share of shards whose evidence is computed; half of their images are no lenses.
    masked : float
        Share of images whose neighbours are masked.
    shown : float
        Share of these in which the lens estimator sees the neighbours, although the fit that teaches it does not.
    presets : tuple of str
        Laws of lenses and sources (`lensing_sr.simulation.presets`), each as likely.
    """

    instruments: tuple = ("euclid-vis", "hst-acs-f814w", "hst-wfc3-f160w", "jwst-nircam-f150w", "lsst-i", "hsc-i")
    shapes: tuple = (46, 64, 96)
    psf_pixels: tuple = (0.8, 3.6)
    lumpiness: tuple = (0.0, 0.5, 1.0)
    correlations: tuple = (0.0, 0.2, 0.4)
    arc_sn: tuple = (12.0, 250.0)
    lens_light: float = 0.8
    judged: float = 0.25
    masked: float = 0.9
    shown: float = 0.0
    presets: tuple = ("broad",)


def draw_observation(population, seed, shard, count, first=0):
    """Draw images, as the fit takes them.

    Parameters
    ----------
    population : Population
        Of what.
    seed, shard : int
        Which.
    count, first : int
        How many images of the shard, from which on.

    Returns
    -------
    Observation
    dict
        Arguments of `fit_coarsely`: ``centre``, ``lens_light``, ``correlation``, ``psf_fwhm``.
    bool
        Whether the evidence is to be computed.
    torch.Tensor
        Which of the images are lenses, bool ``(count,)``.
    """
    rng = np.random.default_rng([seed, shard])
    instrument, side, lumpiness, correlation = (
        values[int(rng.integers(len(values)))]
        for values in (population.instruments, population.shapes, population.lumpiness, population.correlations)
    )
    lens_light, judged = bool(rng.random() < population.lens_light), bool(rng.random() < population.judged)
    preset = population.presets[0]
    if len(population.presets) > 1:  # where there is no choice, no number is taken
        preset = population.presets[int(rng.integers(len(population.presets)))]
    low, high = (math.log(value) for value in population.psf_pixels)
    drawn = LensPopulation(instrument, shape=(side, side), scale=1)
    pixel = drawn.instrument.pixel_scale
    fwhm = pixel * math.exp(low + (high - low) * rng.random())
    lenses = LensPopulation(
        instrument, shape=(side, side), scale=1, lumpiness=lumpiness, correlated_noise=correlation, psf_fwhm=fwhm,
        lens_light=lens_light, negatives=0.5 if judged else 0.0, arc_sn=population.arc_sn, preset=preset,
    )  # fmt: skip
    keys = ("LR", "noise", "neighbours_LR", "x_light", "y_light", "correlation", "is_lens")
    images = lenses.draw(count, seed=int(rng.integers(2**31)), first=first, keys=keys)
    others = images["neighbours_LR"] > NEIGHBOUR * images["noise"]
    others = torch.nn.functional.max_pool2d(others.float()[:, None], 3, 1, 1)[:, 0] > 0
    chance = np.random.default_rng([seed, shard, first])
    others &= torch.from_numpy(chance.random(count) < population.masked)[:, None, None]
    centre = torch.zeros(count, 2, dtype=torch.float64)
    if lens_light:
        centre = torch.stack([images["x_light"], images["y_light"]], dim=1).nan_to_num()
        centre = centre + CENTRING * pixel * torch.from_numpy(chance.standard_normal((count, 2)))
    optics = dataclasses.replace(lenses.instrument, psf_fwhm=fwhm)
    observation = Observation(
        torch.where(others, 0.0, images["LR"]),
        torch.where(others, 0.0, 1.0 / images["noise"]),
        pixel * torch.eye(2, dtype=torch.float64),
        (0.5 * (side - 1),) * 2,
        lambda sampling: torch.as_tensor(psf_kernel(optics, pixel / sampling)),
        analytic=fwhm,
    )
    given = {"centre": centre, "lens_light": lens_light, "correlation": images["correlation"].float(), "psf_fwhm": fwhm}
    return observation, given, judged, images["is_lens"] > 0.5


@torch.no_grad()
def fitted_shard(population, seed, shard, count, network=None):
    """Draw and fit images.

    Parameters
    ----------
    population : Population
        Of what.
    seed, shard : int
        Which.
    count : int
        How many images.
    network : LensEstimator, optional
        Proposes starts.

    Returns
    -------
    dict of torch.Tensor
        ``significance``, ``bare`` (float16), ``seen`` (uint8), ``conditions``, as in `Views`; ``mean`` ``(count, 19)``
        and ``root`` ``(count, 19, 19)``: the posterior's mean, free of scale, and a root of its covariance; ``misfit``:
        reduced chi-square of the arcs; ``gain``: by how much the lensed source lowers chi-square; ``evidence``: NaN
        where it was not computed.
    """
    parts = []
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        observation, given, judged, _ = draw_observation(population, seed, shard, size, first)
        seen = None
        if population.shown:
            less = dataclasses.replace(population, masked=population.masked * (1.0 - population.shown))
            seen = draw_observation(less, seed, shard, size, first)[0]
        parts.append(fit_images(observation, **given, judged=judged, network=network, seen=seen))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


@torch.no_grad()
def fit_images(
    observation, *, centre, lens_light=True, correlation=None, psf_fwhm=0.0, judged=False, network=None, seen=None
):
    """Fit images, and keep what their likelihood says of them.

    Parameters
    ----------
    observation, centre, lens_light, correlation, psf_fwhm
        As in `lensing_sr.fit.lens_fit.fit_lenses`.
    judged : bool
        Whether to compute the evidence.
    network : LensEstimator, optional
        Proposes starts.
    seen : Observation, optional
        What the network sees, where that differs from what is fitted.

    Returns
    -------
    dict of torch.Tensor
        As `fitted_shard`.
    """
    optics = {"lens_light": lens_light, "correlation": correlation, "psf_fwhm": psf_fwhm}
    views = look(observation if seen is None else seen, centre, **optics)
    proposals = None if network is None else network.propose(views, PROPOSALS, turns=2)[:, :, :MACRO]
    settings = BLIND if network is None else LED
    found = fit_coarsely(observation, centre, **optics, proposals=proposals, settings=settings)
    images = torch.arange(len(observation), device=observation.data.device)
    best = found.minima[images, found.costs.argmin(dim=1)]
    _, _, curvature = found.objective.evaluator(images)(best, images)
    misfit, gain = explained(found.objective, best)
    evidence = torch.full((len(images),), torch.nan, dtype=torch.float64)
    if judged:
        evidence = lens_evidence(found.objective, found.coarse, found.objective.weight, found.priors, best, 5)
    slopes = torch.func.vmap(torch.func.jacrev(free_of_scale))(best, views.half_width, views.centre)
    mean, root = free_of_scale(best, views.half_width, views.centre), _root(curvature, slopes)
    missing = TOTAL - best.shape[1]
    shard = {
        "significance": views.significance.clamp(-6e4, 6e4).half(),
        "bare": views.bare.clamp(-6e4, 6e4).half(),
        "seen": views.seen.byte(),
        "conditions": views.conditions,
        "mean": torch.nn.functional.pad(mean, (0, missing)).float(),
        "root": torch.nn.functional.pad(root, (0, missing, 0, missing)).float(),
        "misfit": misfit.float(),
        "gain": gain.float(),
        "evidence": evidence.float(),
    }
    # a bank outgrows the memory of an accelerator, and its draws are the processor's
    return {key: values.cpu() for key, values in shard.items()}


def _root(curvature, slopes):
    """Root of the covariance of scale-free parameters; directions that the data leave open are as wide as `WIDEST`."""
    inverse = torch.linalg.inv(slopes)
    matrix = inverse.mT @ curvature @ inverse
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mT).nan_to_num())
    return vectors * values.clamp_min(WIDEST**-2).rsqrt()[:, None, :]
