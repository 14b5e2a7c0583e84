# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the terms: their derivatives are right, they know truth from error, and nothing makes them NaN."""

import math

import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.losses import (
    Compactness, Curl, Deflection, FeatureLoss, ImageLoss, IntensityConservation, Likelihood, Observed, Positivity,
    Reconstruction, SourceLoss, VariationDensity,
)  # fmt: skip
from lensing_sr.losses.term import Term, in_noise, min_max
from lensing_sr.losses.tests.scenes import Channel, directions, reference, scaled, scene, slopes


def extractor():
    torch.manual_seed(0)
    layers = Channel(), torch.nn.Conv2d(1, 4, 3, stride=2), torch.nn.SiLU(), torch.nn.Conv2d(4, 6, 3, stride=2)
    return torch.nn.Sequential(*layers).double()


#: Terms without the full fit inside: nothing but rounding comes between the two derivatives.
PLAIN = (
    SourceLoss(fit="peak"),
    SourceLoss(fit="peak", units="noise"),
    SourceLoss(scales=(1,), fit="peak", source="back-projected"),
    ImageLoss(fit="peak", psf=False),
    ImageLoss(fit="peak", units="noise"),
    Likelihood(fit="peak"),
    IntensityConservation(),
    IntensityConservation(scale=0.5),
    Positivity(),
    Positivity("convergence"),
    VariationDensity(),
    VariationDensity("cartesian"),
    Curl(),
    Compactness(),
    FeatureLoss(extractor(), fit="peak", psf=False),
)
#: Terms through the full fit, whose optimum is known to the fit's tolerance.
FITTED = (
    SourceLoss(),
    SourceLoss(scales=(1, 0.5), units="noise"),
    SourceLoss(scales=(1,), source="back-projected", units="noise"),
    ImageLoss(),
    ImageLoss(psf=False, units="noise"),
    Likelihood(),
    Likelihood(log=True),
    IntensityConservation("sersic"),
    FeatureLoss(extractor()),
)


@pytest.mark.parametrize("term", PLAIN, ids=repr)
def test_derivatives_of_plain_terms(term):
    observed, alpha = scene((24, 28), 0.12, noise=0.05, seed=1, psf_fwhm=0.2)
    # rough, so that the curl and the negative parts are there too
    generator = torch.Generator().manual_seed(7)
    rough = (0.3 * torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in alpha)
    alpha = Deflection(*(0.3 * a + r for a, r in zip(alpha, rough, strict=True)))
    for direction in directions(alpha, 4, seed=2):
        found, expected = slopes(term, observed, alpha, direction, 1e-7)
        assert abs(found) > 0.0
        assert abs(found - expected) < 1e-5 * abs(expected) + 1e-8


@pytest.mark.parametrize("centres", [True, False])
@pytest.mark.parametrize("wrong", [1.0, 0.92])
@pytest.mark.parametrize("term", FITTED, ids=repr)
def test_derivatives_of_terms_through_the_fit(term, wrong, centres):
    observed, alpha = scene((24, 28), 0.12, noise=0.05, seed=1, pixel_centres=centres)
    alpha = scaled(alpha, wrong)
    pairs = [
        slopes(term, observed, alpha, direction, 2e-6, tolerance=1e-12, iterations=60)
        for direction in directions(alpha, 3, seed=3)
    ]
    scale = max(abs(expected) for _, expected in pairs)
    assert scale > 0.0
    for found, expected in pairs:
        assert abs(found - expected) < 5e-3 * scale


def _at(term, observed, alpha, factor):
    """Value and derivative at a deflection that is `factor` times the true one."""
    k = torch.tensor(factor, dtype=alpha.alpha_x.dtype, requires_grad=True)
    value = term(Reconstruction(observed, scaled(alpha, k)))
    return float(value.detach()), float(torch.autograd.grad(value, k)[0])


@pytest.mark.parametrize("model", [1, 2, 3])
def test_likelihood_is_one_at_the_truth(model):
    observed, alpha, _ = reference(model, 16, torch.float32)
    each = Likelihood().each(Reconstruction(observed, alpha))
    error = (2.0 / observed.image[0].numel()) ** 0.5
    # Model 3, at a signal-to-noise of 230, sees that alpha is known at fine pixel centres only: 0.015
    assert abs(float(each.mean()) - 1.0) < 4 * error / 4 + (0.02 if model == 3 else 0.0)
    assert float((each - each.mean()).abs().max()) < 5 * error + (0.03 if model == 3 else 0.0)


@pytest.mark.parametrize("model", [1, 2, 3])
@pytest.mark.parametrize("log", [False, True])
def test_likelihood_draws_towards_the_truth_from_both_sides(model, log):
    observed, alpha, _ = reference(model, 8, torch.float32)
    term = Likelihood(log=log)
    least, at_truth = _at(term, observed, alpha, 1.0)
    for step in (0.02, 0.1):
        for sign in (-1.0, 1.0):
            value, slope = _at(term, observed, alpha, 1.0 + sign * step)
            assert value > least
            assert sign * slope > 5.0 * abs(at_truth)


@pytest.mark.parametrize("log", [False, True])
def test_likelihood_draws_from_far_away(log):
    """The published network starts near 1.05 arcsec everywhere, lenses lie between 0.8 and 1.3."""
    for model, sign in ((1, -1.0), (2, 1.0), (3, 1.0)):
        observed, alpha, _ = reference(model, 8, torch.float32)
        radius = (alpha.alpha_x**2 + alpha.alpha_y**2).sqrt()
        assert sign * _at(Likelihood(log=log), observed, Deflection(*(a / radius for a in alpha)), 1.05)[1] > 0.0


@pytest.mark.parametrize(
    "term",
    [SourceLoss(units="noise"), ImageLoss(), ImageLoss(units="noise"), IntensityConservation(),
     IntensityConservation("sersic")],
    ids=repr,
)  # fmt: skip
def test_other_terms_know_the_truth_too(term):
    observed, alpha, _ = reference(2, 8, torch.float32)
    least = _at(term, observed, alpha, 1.0)[0]
    for factor in (0.8, 0.9, 1.1, 1.2):
        value, slope = _at(term, observed, alpha, factor)
        assert value > 1.05 * least
        assert (factor - 1.0) * slope > 0.0


def test_published_terms_prefer_the_truth_to_no_lens():
    observed, alpha, _ = reference(3, 8, torch.float32)
    for term in (SourceLoss(fit="peak"), ImageLoss(fit="peak", psf=False)):
        assert _at(term, observed, alpha, 1.0)[0] < 0.3 * _at(term, observed, alpha, 0.0)[0]


def test_intensity_is_conserved_by_the_true_lens_alone():
    """Chi-square near 1 where images of one place agree; a pixel's agreement with itself does not count."""
    observed, alpha = scene((48, 56), 0.06, noise=0.05, seed=4)
    truth = _at(IntensityConservation(), observed, alpha, 1.0)[0]
    assert truth == pytest.approx(1.1, abs=0.2)
    for factor in (0.5, 0.9, 1.1):
        assert _at(IntensityConservation(), observed, alpha, factor)[0] > 1.3 * truth
    # without a lens only neighbours are compared, and a smooth image passes for nearly right
    assert _at(IntensityConservation(), observed, alpha, 0.05)[0] > truth
    sky = Observed(observed.image - scene((48, 56), 0.06)[0].image, observed.noise, 0.06)
    for factor in (0.05, 0.5, 1.0):
        assert _at(IntensityConservation(), sky, alpha, factor)[0] == pytest.approx(1.1, abs=0.2)


def test_variation_of_known_fields():
    observed, _ = scene((12, 14), 0.1)
    still = torch.zeros(1, 24, 28, dtype=torch.float64)
    ramp = 0.01 * torch.arange(28, dtype=torch.float64).expand(1, 24, 28)
    reconstruction = Reconstruction(observed, Deflection(ramp, still))
    assert float(VariationDensity("cartesian")(reconstruction)) == pytest.approx(0.01)
    x, y = reconstruction.positions(2)
    r = (x * x + y * y).sqrt()
    sphere = Reconstruction(observed, Deflection((0.8 * x / r)[None], (0.8 * y / r)[None]))
    assert float(VariationDensity()(sphere)) < 1e-12
    assert float(VariationDensity("cartesian")(sphere)) > 0.01


def test_curl_and_positivity_of_known_fields():
    observed, _ = scene((12, 14), 0.1)
    x, y = (p[None] for p in Reconstruction(observed, scene((12, 14), 0.1)[1]).positions(2))
    gradient = Reconstruction(observed, Deflection(0.3 * x + 0.1 * y, 0.1 * x + 0.4 * y))
    whirl = Reconstruction(observed, Deflection(-0.2 * y, 0.2 * x))
    assert float(Curl()(gradient)) < 1e-20
    assert float(Curl()(whirl)) == pytest.approx(0.16)
    assert float(Positivity()(gradient)) == float(Positivity("convergence")(gradient)) == 0.0
    inward = Reconstruction(observed, Deflection(-0.3 * x, -0.5 * y))
    assert float(Positivity("convergence")(inward)) == pytest.approx(0.16)
    assert float(Positivity()(inward)) == pytest.approx(float(inward.alpha_r().square().mean()))


def test_compactness_knows_a_lens_from_far_away():
    observed, alpha = scene((48, 48), 0.08, noise=0.05, seed=1)
    factors = (0.0, 0.3, 0.6, 1.0, 1.4, 2.0)
    values = {f: float(Compactness()(Reconstruction(observed, scaled(alpha, f)))) for f in factors}
    assert values[0.0] == pytest.approx(0.0, abs=1e-6)
    assert values[0.0] > values[0.3] > values[0.6] > values[1.0] < values[1.4] < values[2.0]
    # a sheet of mass brings everything together: the trap that the class warns of
    x, y = Reconstruction(observed, alpha).positions(2)
    sheet = Deflection(*(c.expand_as(alpha.alpha_x) for c in (x, y)))
    assert float(Compactness()(Reconstruction(observed, sheet))) == pytest.approx(math.log(1e-4), abs=0.1)
    # the unit of the flux means nothing
    brighter = Observed(7.0 * observed.image, 7.0 * observed.noise, observed.pixel_scale, observed.psf_fwhm)
    assert float(Compactness()(Reconstruction(brighter, alpha))) == pytest.approx(values[1.0])


def test_units():
    image = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]])
    scaled_image = min_max(image)
    assert scaled_image[0].min() == 0.0
    assert scaled_image[0].max() == 1.0
    assert torch.equal(scaled_image[1], torch.zeros(2, 2))
    torch.testing.assert_close(min_max(7.0 * image + 3.0), scaled_image)
    weight = torch.tensor([[[2.0, 0.0], [2.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(in_noise(image, weight), image * torch.tensor([2.0, 0.0])[:, None, None])


@pytest.mark.parametrize("term", [*PLAIN[:-1], *FITTED[:-1]], ids=repr)
def test_nothing_makes_them_nan(term):
    """Deflections of a network at its start, or gone astray, and images without signal, in float32."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(1, 12, 14, generator=generator)
    fields = {
        "nothing": torch.zeros(2, 1, 24, 28),
        "random": torch.randn(2, 1, 24, 28, generator=generator),
        "wild": 1e6 * torch.randn(2, 1, 24, 28, generator=generator),
        "constant": torch.full((2, 1, 24, 28), 1.05),
    }
    images = {"noise": noise, "zero": 0.0 * noise, "negative": -5.0 - noise, "bright": 1e6 * noise.abs()}
    for field in fields.values():
        for image in images.values():
            alpha = Deflection(*field.clone().requires_grad_())
            value = term(Reconstruction(Observed(image, torch.ones_like(image), 0.1, 0.15), alpha))
            assert torch.isfinite(value)
            if value.requires_grad:
                for slope in torch.autograd.grad(value, alpha, allow_unused=True):
                    assert slope is None or torch.isfinite(slope).all()


def test_settings_are_checked_and_shown():
    for wrong in (
        lambda: SourceLoss(fit="best"), lambda: SourceLoss(source="magic"), lambda: SourceLoss(units="mag"),
        lambda: ImageLoss(units="mag"), lambda: Likelihood(fit=1), lambda: IntensityConservation("gas"),
        lambda: Positivity("mass"), lambda: VariationDensity("spherical"), lambda: Compactness(0.0),
    ):  # fmt: skip
        with pytest.raises(InputError):
            wrong()
    for term in (SourceLoss(scales=[1]), Likelihood(log=True), Curl()):
        assert eval(repr(term)) == term
    with pytest.raises(NotImplementedError):
        Term()(None)


def test_features_are_frozen():
    network = extractor()
    term = FeatureLoss(network)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert term.to("cpu") is term
