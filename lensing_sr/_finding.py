# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The networks' look at a batch of which nothing is masked: is it a lens, and how large does it seem?"""

from typing import NamedTuple

import torch

from lensing_sr.networks.mixture import MIDDLE, SCATTER
from lensing_sr.networks.symmetry import SYMMETRIES
from lensing_sr.networks.views import make_views

__all__ = ["Look", "look_again", "look_behind", "open_views"]

#: Orientations in which the estimator is asked for the Einstein radius.
TURNS = 4


class Look(NamedTuple):
    """What networks see in a batch.

    Attributes
    ----------
    odds : torch.Tensor
        ln B of a lens against a galaxy that only looks like one, ``(images,)`` float64.
    log_share, mean, sigma : torch.Tensor
        Gaussians of ln theta_E in arcsec that the lens estimator holds possible, in each of a few orientations,
        ``(orientations, images, components)``.
    """

    odds: torch.Tensor
    log_share: torch.Tensor
    mean: torch.Tensor
    sigma: torch.Tensor

    def apart(self, i, theta_E):
        """How far an Einstein radius in arcsec is from what is seen in image i.

        Returns
        -------
        float
            Difference in ln theta_E from the likeliest component, in the median of the orientations.
        float
            ln of the density at theta_E less the highest at any component, in the mean of the orientations.
        """
        x = torch.tensor(theta_E, dtype=torch.float64).log()
        share, mean, sigma = (part[:, i].double() for part in self[1:])

        def density(at):
            z = (at[..., None] - mean[:, None]) / sigma[:, None]
            return torch.logsumexp(share[:, None] - 0.5 * z.square() - sigma[:, None].log(), dim=-1)

        best = mean.gather(1, share.argmax(dim=1, keepdim=True)).median()
        lower = density(x.expand(len(mean), 1))[:, 0] - density(mean).max(dim=1).values
        return float((x - best).abs()), float(lower.mean())


def open_views(batch):
    """The `Views` of a batch with nothing masked but bad pixels, of the fit region.

    What the preparation took for neighbours may be arcs, and arcs neighbours: both are seen here.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images; alike in whether a lens galaxy is seen.

    Returns
    -------
    lensing_sr.networks.views.Views
    """
    return _views(batch, batch.field, batch.field.data, batch.centre + batch.shift)


def _views(batch, frame, data, centre):
    prepared = batch.prepared[0]
    return make_views(
        data, frame.weight, frame.matrix, frame.origin, centre, psf_fwhm=batch.psf_fwhm, correlation=batch.correlation,
        lens_light=prepared.lens_visible, half_width=0.5 * min(prepared.data.shape) * frame.pixel,
    )  # fmt: skip


@torch.no_grad()
def look_again(estimator, finder, views):
    """Look at a batch with both networks.

    Parameters
    ----------
    estimator : lensing_sr.networks.lens_estimator.LensEstimator
    finder : lensing_sr.networks.lens_finder.LensFinder
        In `eval` mode, on the device of the batch.
    views : lensing_sr.networks.views.Views
        Its `open_views`.

    Returns
    -------
    Look
        On the processor.
    """
    answers = [estimator.turned(views, symmetry) for symmetry in SYMMETRIES[:TURNS]]
    share, mean, sigma = (
        torch.stack(parts) for parts in zip(*((m.log_share, m.mean[..., 0], _sigma(m)) for m in answers), strict=True)
    )
    mean = MIDDLE[0] + SCATTER[0] * mean.double() + views.half_width.log()[:, None]
    return Look(*(part.cpu() for part in (finder.judge(views), share, mean, SCATTER[0] * sigma)))


@torch.no_grad()
def look_behind(finder, views, batch, light):
    """Look at a batch whose neighbours are masked and whose lens galaxies are taken off as they were fitted.

    What is left of ellipses stands beside the image as it is, in place of what `without_isophotes` leaves of that: arcs
    that a bright galaxy hid from a profile come out of a fit that knew them.

    Parameters
    ----------
    finder : lensing_sr.networks.lens_finder.LensFinder
        In `eval` mode, on the device of the batch.
    views : lensing_sr.networks.views.Views
        The `open_views` of the batch.
    batch : lensing_sr._stack.Batch
        The images.
    light : torch.Tensor
        Lens light on the pixels of the fit, ``(images, rows, columns)``.

    Returns
    -------
    torch.Tensor
        ln B of a lens against a galaxy that only looks like one, ``(images,)`` float64, on the processor.
    """
    behind = _views(batch, batch.observation, batch.observation.data - light, batch.centre)
    return finder.judge(views._replace(bare=behind.bare)).cpu()


def _sigma(mixture):
    """Standard deviation of the first parameter in each component, the others integrated out."""
    root = torch.linalg.solve_triangular(
        mixture.precision, torch.eye(mixture.precision.shape[-1]).to(mixture.precision), upper=False
    )
    return root[..., :, 0].square().sum(dim=-1).sqrt()
