# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The lens estimator in the resolver: it starts the fit, or answers alone, and learns from a user's own images."""

import numpy as np
import pytest
import torch
from astropy import units as u

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.datasets import load_example
from lensing_sr.errors import InputError
from lensing_sr.image.prepare import prepare
from lensing_sr.networks import LensEstimator, file_sha256
from lensing_sr.networks.registry import FOLDER, REGISTRY
from lensing_sr.simulation import LensPopulation

SMOOTH = {"source": "sersic", "potential": False}
TINY = {"widths": (4, 4, 4, 4), "steps": (1, 1, 1, 1), "hidden": 8, "components": 2}


@pytest.fixture(scope="module")
def example():
    return load_example()


@pytest.fixture(scope="module")
def population():
    """Twelve bright lenses without light of their own, and their truth."""
    simulator = LensPopulation(
        "euclid-vis", shape=(48, 48), lens_light=False, neighbours=False, psf_error=False, lumpiness=0.0, gamma=2.0,
        correlated_noise=0.0, arc_sn=(150.0, 200.0), theta_E=(0.7, 1.2), scale=1,
    )  # fmt: skip
    drawn = simulator.draw(12, seed=20, keys=("LR", "noise", "theta_E"))
    images = [
        LensImage(
            data.numpy(), noise=noise.numpy(), pixel_scale=0.1 * u.arcsec / u.pix, unit="electron / s",
            psf=simulator.draw(1, seed=20, keys=("psf",))["psf"][0].numpy(),
        )
        for data, noise in zip(drawn["LR"], drawn["noise"], strict=True)
    ]  # fmt: skip
    return images, drawn["theta_E"].numpy()


@pytest.fixture(scope="module")
def started(example):
    return LensingSuperResolver(**SMOOTH).super_resolve(example)


def test_the_fit_ends_where_the_search_ends(example, started):
    """A start is a start: the minimum is that of the coarse search."""
    searched = LensingSuperResolver(method="fit", **SMOOTH).super_resolve(example)
    assert started.quality.chi2 < 1.01 * searched.quality.chi2
    one, other = (result.parameters.loc["theta_E"] for result in (started, searched))
    assert abs(one["value"] - other["value"]) < 0.2 * other["error"]


def test_header_says_which_network_started_the_fit(started, tmp_path):
    started.write(tmp_path / "sr.fits")
    from astropy.io import fits

    header = fits.getheader(tmp_path / "sr.fits")
    entry = REGISTRY["lens-estimator"]
    assert (header["SRMETHOD"], header["SRNET"]) == ("fit", "lens-estimator")
    assert header["SRWTSHA"] == entry.sha256 == file_sha256(FOLDER / entry.file)


def test_the_weights_are_small():
    assert (FOLDER / REGISTRY["lens-estimator"].file).stat().st_size <= 8e6


def test_nothing_is_loaded_before_it_is_needed():
    resolver = LensingSuperResolver()
    assert resolver._chosen is None
    assert isinstance(resolver.network, LensEstimator)
    assert LensingSuperResolver(method="fit").network is None


def test_alone_it_gives_everything(example):
    result = LensingSuperResolver(method="network").super_resolve(example)
    assert (result.meta["method"], result.meta["network"]) == ("network", "lens-estimator")
    assert np.isfinite(result.image.data).all() and np.isfinite(result.quality.lens_evidence)
    for row in result.parameters:
        assert np.isfinite(row["value"]) and row["error"] >= 0
    assert result.parameters.loc["theta_E"]["error"] > 0
    assert any("nothing fitted" in line for line in result.meta["history"])


def test_alone_it_knows_bright_lenses(population):
    images, theta_E = population
    results = LensingSuperResolver(method="network").super_resolve_many(images)
    found = np.array([result.parameters.loc["theta_E"]["value"] for result in results])
    assert np.median(abs(found / theta_E - 1)) < 0.05


def test_a_network_that_knows_nothing_does_no_harm(population):
    """The guard of the search: an untrained network costs time, not the answer, where no arcs are masked."""
    images, theta_E = population
    whole = [i for i, image in enumerate(images) if not prepare(image).neighbours][:4]
    torch.manual_seed(3)
    resolver = LensingSuperResolver(network=LensEstimator(**TINY), **SMOOTH)
    found = [
        float(result.parameters.loc["theta_E"]["value"])
        for result in resolver.super_resolve_many([images[i] for i in whole])
    ]
    assert len(whole) == 4 and abs(found / theta_E[whole] - 1).max() < 0.1


def test_batch_is_loop(population):
    images, _ = population
    resolver = LensingSuperResolver(method="network")
    together = resolver.super_resolve_many(images[:3])
    for image, result in zip(images[:3], together, strict=True):
        alone = resolver.super_resolve(image)
        np.testing.assert_allclose(
            alone.parameters["value"], result.parameters["value"], rtol=5e-3, atol=5e-3
        )


def test_it_learns_from_its_own_images_and_is_kept(population, tmp_path):
    images, _ = population
    torch.manual_seed(4)
    resolver = LensingSuperResolver(network=LensEstimator(**TINY), lens_light=False)
    history = resolver.train(images, epochs=20, batch_size=4, rate=1e-2, progress=False)
    totals = history.curves.column("validation_total")
    assert history.best == min(totals) < totals[0]
    resolver.save(tmp_path / "mine.safetensors")
    again = LensingSuperResolver.from_pretrained(tmp_path / "mine.safetensors", method="network", lens_light=False)
    assert again.method == "network" and again.network.settings == resolver.network.settings
    assert np.isfinite(again.super_resolve(images[0]).parameters["value"]).all()


def test_training_settings_of_other_networks_are_refused(population, tmp_path):
    images, _ = population
    resolver = LensingSuperResolver(network=LensEstimator(**TINY), lens_light=False)
    for wrong in ({"loss": {"likelihood": {}}}, {"folder": tmp_path}):
        (name,) = wrong
        with pytest.raises(InputError, match=f"{name}: has no use for a lens estimator"):
            resolver.train(images, epochs=1, **wrong)
    with pytest.raises(InputError, match="images: must be two at least"):
        resolver.train(images[:1], epochs=1)


def test_from_pretrained_is_the_default():
    resolver = LensingSuperResolver.from_pretrained()
    assert resolver.method == "auto" and isinstance(resolver.network, LensEstimator)
