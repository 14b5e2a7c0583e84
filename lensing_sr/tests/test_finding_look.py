# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the networks' look at what is not masked."""

import math

import astropy.units as u
import pytest
import torch

from lensing_sr import LensImage
from lensing_sr._finding import Look, _sigma, look_again, look_behind, open_views
from lensing_sr._stack import stack
from lensing_sr.image.prepare import prepare
from lensing_sr.networks import load_network
from lensing_sr.networks.mixture import Mixture
from lensing_sr.networks.views import make_views
from lensing_sr.simulation import LensPopulation


def lens_image(seed, shape=(70, 70), **settings):
    population = LensPopulation("euclid-vis", shape=shape, scale=1, arc_sn=(80, 120), **settings)
    drawn = population.draw(1, seed=seed, keys=("LR", "noise", "psf"))
    return LensImage(
        drawn["LR"][0].double().numpy(), noise=drawn["noise"][0].double().numpy(), psf=drawn["psf"][0].numpy(),
        pixel_scale=population.instrument.pixel_scale * u.arcsec / u.pix, unit="electron / s",
    )  # fmt: skip


def test_one_component_is_a_gaussian():
    """Of one Gaussian in every orientation: distance to its mean, and half the square of it in sigma."""
    one = torch.zeros(3, 1, 1)
    look = Look(torch.zeros(1), one, one + math.log(1.2), one + 0.1)
    apart, unlikely = look.apart(0, 1.5)
    assert apart == pytest.approx(math.log(1.5 / 1.2)) and unlikely == pytest.approx(-0.5 * (apart / 0.1) ** 2)
    assert look.apart(0, 1.2) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_a_second_component_forgives():
    share, mean = torch.tensor([0.7, 0.3]).log().expand(2, 1, 2), torch.tensor([1.0, 2.0]).log().expand(2, 1, 2)
    look = Look(torch.zeros(1), share, mean, torch.full((2, 1, 2), 0.05))
    apart, unlikely = look.apart(0, 2.0)
    assert apart == pytest.approx(math.log(2.0)) and unlikely == pytest.approx(math.log(0.3 / 0.7), abs=1e-3)


def test_the_others_are_integrated_out():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(2, 3, 19, 19, generator=generator).tril() * 0.3 + 2.0 * torch.eye(19)
    mixture = Mixture(torch.zeros(2, 3), torch.zeros(2, 3, 19), root)
    expected = torch.linalg.inv((root @ root.mT).double())[..., 0, 0].sqrt()
    torch.testing.assert_close(_sigma(mixture).double(), expected, rtol=1e-4, atol=0)


def test_nothing_is_masked_but_bad_pixels():
    image = lens_image(3, neighbours=True)
    image.mask[10:14, 50:55] = True
    prepared = prepare(image)
    prepared.mask[:20, :20] = True  # a neighbour, as the preparation has it
    batch = stack([image], [prepared], device="cpu")
    views = open_views(batch)
    assert views.half_width[0] == pytest.approx(0.5 * min(prepared.data.shape) * image.grid.pixel_scale.value)
    unseen = 1.0 - float(views.seen[0, 0].mean())
    assert unseen < 2.0 * 20 / prepared.data.size
    assert 0.0 < unseen or not image.mask[prepared.slices].any()


def test_large_fields_are_seen_about_the_lens():
    """The views of a cut-out in a large field are those of the cut-out alone, unmasked, but for what it cuts in two."""
    image = lens_image(4, shape=(170, 170), theta_E=(1.0, 1.2))
    prepared = prepare(image)
    batch = stack([image], [prepared], device="cpu")
    assert min(prepared.data.shape) < 150
    found = open_views(batch)
    observed = batch.observation
    alone = make_views(
        torch.from_numpy(prepared.data)[None], torch.from_numpy(1.0 / prepared.noise)[None], observed.matrix,
        observed.origin, batch.centre, psf_fwhm=batch.psf_fwhm, correlation=batch.correlation,
    )  # fmt: skip
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(
        found.significance[inside].double(), alone.significance[inside].double(), rtol=1e-3, atol=1e-2
    )
    torch.testing.assert_close(found.conditions.double(), alone.conditions.double())


def test_both_networks_look():
    images = [lens_image(5, neighbours=False), lens_image(6, neighbours=False)]
    prepared = [prepare(image, lens_light=True) for image in images]
    batch = stack(images, prepared, device="cpu") if prepared[0].data.shape == prepared[1].data.shape else None
    networks = load_network("lens-estimator"), load_network("lens-finder")
    each = [stack([i], [p], device="cpu") for i, p in zip(images, prepared, strict=True)]
    alone = [look_again(*networks, open_views(one)) for one in each]
    assert all(look.odds.isfinite().all() and (look.sigma > 0).all() for look in alone)
    if batch is not None:
        together = look_again(*networks, open_views(batch))
        for i, look in enumerate(alone):
            torch.testing.assert_close(look.odds[0], together.odds[i], rtol=1e-3, atol=1e-3)
            assert look.apart(0, 1.0) == pytest.approx(together.apart(i, 1.0), rel=1e-3, abs=1e-3)


def test_a_galaxy_taken_off_as_fitted_is_not_seen_behind():
    """What the finder is shown behind a galaxy does not depend on the galaxy, if all of it is taken off."""
    finder, seen = load_network("lens-finder"), []
    for brightness in (0.0, 30.0):
        image = lens_image(7, neighbours=False)
        prepared = prepare(image, lens_light=True)
        batch = stack([image], [prepared], device="cpu")
        data = batch.observation.data
        y, x = torch.meshgrid(*(torch.arange(n) - 0.5 * (n - 1) for n in data.shape[1:]), indexing="ij")
        galaxy = brightness * float(prepared.noise.mean()) * torch.exp(-torch.hypot(x, 0.7 * y) / 4.0)[None]
        batch.observation.data = data + galaxy
        seen.append(look_behind(finder, open_views(batch), batch, galaxy))
    assert seen[0].isfinite().all() and seen[0].dtype == torch.float64
    torch.testing.assert_close(*seen, rtol=0, atol=1e-3)


def test_nothing_taken_off_is_what_is_seen_anyway():
    """Where nothing is masked and no galaxy is taken off, the second look is the first."""
    image = lens_image(8, neighbours=False)
    prepared = prepare(image, lens_light=True)
    batch = stack([image], [prepared], device="cpu")
    finder = load_network("lens-finder")
    found = look_behind(finder, open_views(batch), batch, torch.zeros_like(batch.observation.data))
    assert not prepared.mask.any() and prepared.data.shape == image.shape
    torch.testing.assert_close(found, finder.judge(open_views(batch)), rtol=0, atol=1e-2)
