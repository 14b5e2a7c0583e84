# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The method "network": what follows from a predicted deflection, and how a network learns from a user's images."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from lensing_sr import DeflectionField, LensImage, LensingSuperResolver, PixelGrid, SersicSource
from lensing_sr.errors import InputError, LensingSRWarning
from lensing_sr.losses import Deflection
from lensing_sr.metrics.interpolation import baselines
from lensing_sr.metrics.scores import psnr
from lensing_sr.networks import average_symmetries, build_network, file_sha256
from lensing_sr.networks._layers import pixel_offsets
from lensing_sr.networks.deflection_network import DeflectionNetwork
from lensing_sr.networks.registry import REGISTRY
from lensing_sr.simulation import ReferenceSimulator
from lensing_sr.training.calibration import calibrated

PIXEL, THETA_E = 0.1, 1.1
SMALL = {"network": "residual-cnn", "channels": 4, "blocks": 1, "scaling": "snr", "inputs": ["r"], "norm": "group"}


class Oracle(DeflectionNetwork):
    """A network that has learned the isothermal sphere at the centre, and looks alike from all sides."""

    def forward(self, image, *, pixel_scale, psf_fwhm=0.0, noise=None):
        rows, columns = (2 * n for n in image.shape[-2:])
        x, y = (0.5 * pixel_scale * c for c in pixel_offsets(rows, columns, device=image.device, dtype=image.dtype))
        x, y = torch.broadcast_tensors(x, y)
        r = torch.hypot(x, y)
        return Deflection(*(self.theta_E * (c / r).expand(len(image), -1, -1) for c in (x, y)))


def oracle(theta_E=THETA_E):
    network = Oracle("residual-cnn", channels=4, blocks=1)
    network.theta_E = theta_E
    return network.eval()


def lens(seed=0, n=48, theta_E=THETA_E, name=None, **changes):
    """Image of an isothermal sphere at the centre of the field, and its source."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [20.0, 30.0]
    wcs.wcs.cd = PIXEL / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    grid = PixelGrid((n, n), wcs=wcs)
    field = DeflectionField.from_sie(theta_E * u.arcsec, 0.0, 0.0, grid=grid)
    rng = np.random.default_rng(seed)
    source = SersicSource.from_components(60.0 * u.ct / u.s / u.arcsec**2, 0.2, 1.0, *rng.uniform(-0.2, 0.2, 2), 0.1, 0)
    data = field.lens(source, supersampling=4).value + 0.02 * rng.normal(size=(n, n))
    settings = {"noise": 0.02, "wcs": wcs, "unit": "ct / s", "name": name or f"lens {seed}"} | changes
    return LensImage(data, **settings), source


@pytest.fixture(scope="module")
def resolver():
    torch.manual_seed(4)
    return LensingSuperResolver(method="network", network=build_network(SMALL), lens_light=False)


def test_a_right_prediction_explains_the_image():
    image, source = lens()
    result = LensingSuperResolver(method="network", network=oracle(), lens_light=False).super_resolve(image)
    assert result.quality.trustworthy and 0.85 < result.quality.chi2 < 1.15
    row = result.parameters.loc["theta_E"]
    assert abs(row["value"] / THETA_E - 1) < 1e-4 and row["error"] < 1e-5
    for name in ("x", "y"):
        assert abs(getattr(result.source, name) - getattr(source, name)) < 0.01 * u.arcsec
    truth = DeflectionField.from_sie(THETA_E * u.arcsec, 0, 0, grid=image.grid.upsampled(2)).lens(source, 4).value
    assert psnr(result.image.data, truth) > 40
    fitted = LensingSuperResolver(lens_light=False).super_resolve(image)
    assert psnr(result.arcs.data, fitted.arcs.data) > 40


def test_a_wrong_prediction_is_flagged():
    image, _ = lens()
    result = LensingSuperResolver(method="network", network=oracle(0.7), lens_light=False).super_resolve(image)
    assert "poor fit" in result.quality.flags


def test_one_image_or_many(resolver):
    images = [lens(seed)[0] for seed in range(3)]
    together, alone = resolver.super_resolve_many(images), resolver.super_resolve(images[1])
    peak = alone.image.data.max()
    np.testing.assert_allclose(together[1].image.data, alone.image.data, rtol=0, atol=1e-4 * peak)
    np.testing.assert_allclose(together[1].deflection.alpha_x.value, alone.deflection.alpha_x.value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2, 3, 2.5])
def test_any_scale(resolver, scale):
    image, _ = lens()
    result = LensingSuperResolver(
        scale=scale, method="network", network=resolver.network, lens_light=False
    ).super_resolve(image)  # fmt: skip
    assert result.image.shape == result.deflection.alpha_x.shape == image.grid.upsampled(scale).shape
    assert abs(np.sum(result.arcs.data) / np.sum(result.model.data - result.sky) - 1) < 0.02
    assert np.isfinite(result.image.uncertainty.array).all()


def test_a_mirrored_image_gives_the_mirrored_result(resolver):
    image, _ = lens()
    mirrored = LensImage(image.data[:, ::-1].copy(), noise=0.02, pixel_scale=PIXEL, unit="ct / s")
    first, second = resolver.super_resolve(image), resolver.super_resolve(mirrored)
    peak = first.image.data.max()
    np.testing.assert_allclose(first.image.data[:, ::-1], second.image.data, rtol=0, atol=1e-3 * peak)
    np.testing.assert_allclose(first.deflection.alpha_x.value[:, ::-1], -second.deflection.alpha_x.value, atol=1e-4)


def test_beyond_the_region_the_field_goes_on_along_rays():
    image, _ = lens(n=120)
    result = LensingSuperResolver(method="network", network=oracle(), lens_light=False).super_resolve(image)
    field = result.deflection
    modulus = np.hypot(field.alpha_x.value, field.alpha_y.value)
    np.testing.assert_allclose(modulus, THETA_E, rtol=1e-2)
    x, y = image.grid.upsampled(2).coordinates()
    far = np.hypot(x, y) > 0.5
    cross = (field.alpha_x.value * y - field.alpha_y.value * x) / (THETA_E * np.hypot(x, y))
    assert abs(cross[far]).max() < 1e-2


def test_the_header_says_which_weights(resolver, tmp_path):
    resolver = LensingSuperResolver(method="network", network=resolver.network, lens_light=False)
    image, _ = lens()
    assert resolver.super_resolve(image).meta["weights_sha256"] == ""
    path = tmp_path / "mine.safetensors"
    resolver.save(path)
    again = LensingSuperResolver.from_pretrained(path, lens_light=False)
    again.super_resolve(image).write(tmp_path / "sr.fits")
    header = fits.getheader(tmp_path / "sr.fits")
    assert (header["SRMETHOD"], header["SRNET"], header["SRWTSHA"]) == ("network", "mine", file_sha256(path))
    assert "network='mine'" in repr(again)


def test_auto_takes_the_network_that_is_given(resolver):
    image, _ = lens()
    auto = LensingSuperResolver(network=resolver.network, lens_light=False).super_resolve(image)
    fit = LensingSuperResolver(network=resolver.network, method="fit", lens_light=False).super_resolve(image)
    assert (auto.meta["method"], fit.meta["method"], fit.meta["network"]) == ("network", "fit", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "residual-cnn-model9"}, "network: must be a path or one of those in the package"),
        ({"network": "nowhere.safetensors"}, "network: must be an existing file"),
        ({"network": 3}, "network: must be a name, a file of weights, a DeflectionNetwork or a LensEstimator"),
        ({"network": oracle(), "lens_light": True}, "lens_light: must be 'auto' or False where a network predicts"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LensingSuperResolver(**settings)


def test_what_needs_a_network_says_so():
    resolver = LensingSuperResolver(method="fit")
    for action in (lambda: resolver.train([lens()[0]] * 2), lambda: resolver.save("x.safetensors")):
        with pytest.raises(InputError, match="method: must not be 'fit' for"):
            action()


def test_pixels_must_be_square(resolver):
    image = LensImage(lens()[0].data, noise=0.02, pixel_scale=(0.1, 0.12) * u.arcsec / u.pix, unit="ct / s")
    with pytest.raises(InputError, match="image: must have square pixels for a network"):
        resolver.super_resolve(image)


def test_lens_light_is_flagged(resolver):
    from lensing_sr.datasets import load_example

    seeing = LensingSuperResolver(network=resolver.network)
    assert "lens light not modelled" in seeing.super_resolve(load_example()).quality.flags


# -- what comes with the package --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in REGISTRY if "-model" in name])
def test_our_networks_beat_interpolation(name):
    """On fresh draws without noise; medians of a few images, so the margin asked for is small."""
    model = int(name[-1])
    keys = ("LR", "HR_model", "exp_time_LR", "bkg_rms_LR", "psf_fwhm", "pixscale_LR")
    drawn = ReferenceSimulator(model, "no_sub").draw(5, seed=77, keys=keys)
    exposure = drawn["exp_time_LR"]
    if model == 1:
        image, background = drawn["LR"] / exposure[:, None, None], drawn["bkg_rms_LR"] / exposure
        flux, noise = calibrated(image, exposure, background, clipped_sky=True, photon_draws=2)
    else:
        flux, noise = calibrated(drawn["LR"], exposure, drawn["bkg_rms_LR"])
    fwhm, pixel = (float(drawn[key][0]) for key in ("psf_fwhm", "pixscale_LR"))
    psf = fwhm * u.arcsec if fwhm else None
    images = [
        LensImage(one.double().numpy(), noise=sigma.double().numpy(), psf=psf, pixel_scale=pixel)
        for one, sigma in zip(flux, noise, strict=True)
    ]
    resolver = LensingSuperResolver.from_pretrained(name, lens_light=False, supersampling=1)
    truth = drawn["HR_model"].double().numpy()
    ours = np.median(psnr(np.array([one.image.data for one in resolver.super_resolve_many(images)]), truth))
    best = max(np.median(psnr(images, truth)) for images in baselines(flux.double().numpy(), 2).values())
    assert ours > best + 1.0


@pytest.mark.parametrize("name", [name for name in REGISTRY if not name.startswith("lens-")])
def test_our_networks_answer_to_their_image(name):
    """A lens, another lens, the first one turned, and noise: four answers; that to the turned one is turned."""
    network = LensingSuperResolver(network=name, lens_light=False).network
    drawn = ReferenceSimulator(3, "no_sub").draw(2, seed=5, keys=("LR", "bkg_rms_LR"))
    sigma = drawn["bkg_rms_LR"].float()[:, None, None]
    noise = sigma[:1] * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(1))
    images = torch.cat([drawn["LR"], drawn["LR"][:1].rot90(1, (-2, -1)), noise])
    sigma = torch.cat([sigma, sigma[:1], sigma[:1]])
    mean, _ = average_symmetries(network, images, pixel_scale=0.08, psf_fwhm=0.08, noise=sigma)
    for i in range(4):
        for j in range(i):
            difference = torch.hypot(mean.alpha_x[i] - mean.alpha_x[j], mean.alpha_y[i] - mean.alpha_y[j])
            assert float(difference.square().mean().sqrt()) > 1e-3, f"{i} and {j}"
    radial = torch.hypot(mean.alpha_x, mean.alpha_y)
    torch.testing.assert_close(radial[0].rot90(1), radial[2], rtol=0, atol=1e-4)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_a_network_learns_from_low_resolution_images(tmp_path):
    images = [lens(seed, n=32, theta_E=0.8)[0] for seed in range(8)]
    torch.manual_seed(1)
    resolver = LensingSuperResolver(method="network", network=build_network(SMALL), lens_light=False, seed=3)
    before = resolver.super_resolve(images[0]).quality.chi2
    history = resolver.train(
        images, epochs=12, batch_size=4, rate=3e-3, validation=0.25, folder=tmp_path / "run", progress=False
    )
    assert history.best < history.curves.column("validation_likelihood")[0]
    assert resolver.super_resolve(images[0]).quality.chi2 < before
    assert {"best.safetensors", "curves.csv", "training.log"} <= {path.name for path in (tmp_path / "run").iterdir()}
    # what was written is what was learned, to half precision
    resolver.save(tmp_path / "mine.safetensors")
    again = LensingSuperResolver.from_pretrained(tmp_path / "mine.safetensors", lens_light=False)
    first, second = (one.super_resolve(images[1]).deflection.alpha_x.value for one in (resolver, again))
    np.testing.assert_allclose(first, second, rtol=0, atol=5e-3)


def test_the_same_seed_learns_the_same():
    images = [lens(seed, n=24, theta_E=0.6)[0] for seed in range(4)]
    weights = []
    for _ in range(2):
        torch.manual_seed(1)
        resolver = LensingSuperResolver(network=build_network(SMALL), lens_light=False, seed=3)
        resolver.train(images, epochs=1, batch_size=2, progress=False)
        weights.append(resolver.network.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_each_image_keeps_its_own_optics():
    from lensing_sr._learning import training_images
    from lensing_sr.image.prepare import prepare

    images = [lens(k, n=32 + 4 * k, psf=(0.15 + 0.05 * k) * u.arcsec)[0] for k in range(3)]
    prepared = [prepare(image, lens_light=False) for image in images]
    batches = training_images(images, prepared, batch_size=2, seed=0, augment=False, pixel_centres=False)
    assert batches.count == 3
    observed = batches.select([2, 1], shuffle=False).batch(0)
    kernel = observed.kernel(2)
    for i, image in zip(range(2), (images[2], images[1]), strict=True):
        own = torch.as_tensor(image.psf.kernel_at(PIXEL, 2)).to(kernel)
        border = (kernel.shape[-1] - len(own)) // 2
        inner = kernel[i, border : border + len(own), border : border + len(own)]
        torch.testing.assert_close(inner, own)
        assert abs(float(kernel[i].sum()) - 1) < 1e-5
        # cut about the lens: the middle of the larger image
        edge = (image.shape[0] - 32) // 2
        data = torch.as_tensor(image.data[edge : edge + 32, edge : edge + 32]).float()
        assert float((observed.image[i] - data).std()) < 1e-6


def test_images_that_do_not_go_together_are_refused():
    resolver = LensingSuperResolver(network=build_network(SMALL), lens_light=False)
    image, _ = lens()
    coarse = LensImage(image.data, noise=0.02, pixel_scale=0.2, unit="ct / s", name="coarse")
    blurred = LensImage(image.data, noise=0.02, pixel_scale=0.1, unit="ct / s", psf=0.2 * u.arcsec)
    for others, message in (
        ([], "images: must be two at least"),
        ([coarse], "images: must have square pixels of 0.1 arcsec, as the first one, got coarse with 0.2 arcsec"),
        ([blurred], "psf: must be known for all images or for none"),
    ):
        with pytest.raises(InputError, match=message):
            resolver.train([image, *others], progress=False)


def test_a_lens_at_the_edge_leaves_too_little():
    from lensing_sr._learning import training_images
    from lensing_sr.image.prepare import prepare

    images = [lens(seed)[0] for seed in range(2)]
    prepared = [prepare(image, lens_light=False) for image in images]
    x, y = (float(c.value) for c in images[0].grid.to_arcsec(5.0, 23.5))
    prepared[0] = replace(prepared[0], lens_position=(x, y))
    with pytest.raises(InputError, match="at least 16 x 16 pixels about their lenses in common, got 48 x 11"):
        training_images(images, prepared, batch_size=1, seed=0, augment=False, pixel_centres=False)


def test_lens_light_is_warned_of():
    from lensing_sr.datasets import load_example

    image = load_example()
    resolver = LensingSuperResolver(network=build_network(SMALL), supersampling=1)
    with pytest.warns(LensingSRWarning, match="the lens galaxy's light is seen in 2 of 2 images"):
        resolver.train([image, image], epochs=1, batch_size=1, validation=0.5, progress=False)
