# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What reaches a network: low-resolution images, once each, the same ones whatever reads them."""

import math

import numpy as np
import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.simulation import ReferenceSimulator
from lensing_sr.training.calibration import calibrated
from lensing_sr.training.data import OBSERVER_KEYS, ImageBatches, SimulatedBatches

CLASSES = ("no_sub", "axion", "cdm")


class Spy:
    """A simulator that refuses to give what an observer cannot know."""

    def __init__(self, simulator):
        self._simulator, self.asked = simulator, set()

    def draw(self, n, *, seed=0, first=0, keys=None):
        assert keys is not None, "everything was asked for"
        forbidden = set(keys) - {"LR", "psf_fwhm", "pixscale_LR", "exp_time_LR", "bkg_rms_LR"}
        assert not forbidden, f"an observer does not know {forbidden}"
        self.asked |= set(keys)
        return self._simulator.draw(n, seed=seed, first=first, keys=keys)

    def __getattr__(self, name):
        assert name in ("keys", "units", "instrument", "pixel_centres", "clipped_sky", "double_poisson"), name
        return getattr(self._simulator, name)


def mixture(model=3, batch_size=6, **settings):
    return SimulatedBatches([ReferenceSimulator(model, kind) for kind in CLASSES], batch_size, **settings)


@pytest.mark.parametrize("model", [1, 2, 3])
def test_nothing_but_what_an_observer_knows_is_read(model):
    spy = Spy(ReferenceSimulator(model, "axion"))
    batches = SimulatedBatches(spy, 4)
    batches.batch(1)
    batches.images(5)
    assert spy.asked == set(OBSERVER_KEYS)
    with pytest.raises(AssertionError, match="HR"):
        spy.draw(1, keys=("LR", "HR"))


def test_batches_of_other_sizes_hold_the_same_images():
    large, small = mixture(batch_size=12).batch(0), mixture(batch_size=4)
    parts = [small.batch(number).image for number in range(3)]
    assert torch.equal(large.image, torch.cat(parts))
    assert torch.equal(mixture(batch_size=5).images(12)._image, large.image)


def test_processes_share_a_batch():
    batches = mixture(batch_size=6)
    shares = [batches.batch(2, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([share.image for share in shares]), batches.batch(2).image)
    finite = batches.images(13)
    shares = [finite.batch(3, rank, 3).image for rank in range(3)]
    assert torch.equal(torch.cat(shares), finite.batch(3).image)
    with pytest.raises(InputError, match="multiple of the number of processes, got 6 for 4"):
        batches.batch(0, 0, 4)


def test_the_simulators_of_a_mixture_take_turns():
    batches, first = mixture(batch_size=4), mixture(batch_size=12).batch(0).image
    assert batches.kinds(0).tolist() == [0, 1, 2, 0] and batches.kinds(1).tolist() == [1, 2, 0, 1]
    # the second simulator alone, with its own stream
    alone = ReferenceSimulator(3, "axion").draw(1, seed=set_seed("training 1"), keys="LR")["LR"]
    assert torch.allclose(first[1], alone[0])


def set_seed(purpose, seed=0):
    from lensing_sr.training.data import _number

    return _number(seed, purpose)


def test_seeds_and_purposes_share_no_image():
    image = mixture(batch_size=3).batch(0).image
    for other in (mixture(batch_size=3, seed=1), mixture(batch_size=3, purpose="validation")):
        assert not any(torch.equal(a, b) for a in image for b in other.batch(0).image)


def test_iterating_counts_the_batches():
    batches = mixture(batch_size=3)
    for number, observed in zip(range(2), batches, strict=False):
        assert torch.equal(observed.image, batches.batch(number).image)


@pytest.mark.parametrize(("model", "kernel"), [(1, None), (2, (9, 9)), (3, (7, 7))])
def test_flux_noise_and_optics_of_the_reference_telescopes(model, kernel):
    """The flux is that of the noise-free image, and the residuals have the sigma that is stated."""
    simulator = ReferenceSimulator(model, "no_sub")
    observed = SimulatedBatches(simulator, 96).batch(0)
    truth = simulator.draw(96, seed=set_seed("training 0"), keys=("LR_model",))["LR_model"]
    pull = (observed.image - truth) / observed.noise
    background = simulator.instrument.background_rms()
    bright = truth > 3 * background
    for part in (bright, ~bright):
        assert abs(pull[part].mean()) < 0.07, "biased flux"
        assert pull[part].std() == pytest.approx(1.0, abs=0.06), "wrong sigma"
    assert observed.pixel_scale == simulator.instrument.pixel_scale
    assert observed.psf_fwhm == simulator.instrument.psf_fwhm and observed.pixel_centres
    assert (None if kernel is None else kernel) == (None if observed.kernel(1) is None else observed.kernel(1).shape)


def test_the_corrected_simulation_is_calibrated_too():
    simulator = ReferenceSimulator(1, "no_sub", faithful=False)
    observed = SimulatedBatches(simulator, 64).batch(0)
    truth = simulator.draw(64, seed=set_seed("training 0"), keys=("LR_model",))["LR_model"]
    pull = (observed.image - truth) / observed.noise
    assert abs(pull.mean()) < 0.05 and pull.std() == pytest.approx(1.0, abs=0.05) and not observed.pixel_centres


def test_what_clipping_adds_to_the_sky():
    """Blank sky is brighter by sigma / sqrt(2 pi) and loses a third of its scatter; bright pixels don't change."""
    one, sky = torch.ones(1), 0.01
    offset = sky / math.sqrt(2 * math.pi)
    assert round(offset, 4) == 0.0040
    for flux, change in ((offset, -offset), (0.1, 0.0)):
        image = torch.full((1, 9, 9), flux)
        corrected, noise = calibrated(image, 1e12 * one, sky * one, clipped_sky=True)
        assert torch.allclose(corrected - image, torch.full_like(image, change), atol=1e-6)
        sigma = sky * math.sqrt(0.5 - 0.5 / math.pi) if change else sky
        assert torch.allclose(noise, torch.full_like(image, sigma), rtol=1e-4)


def test_simulators_must_be_of_one_telescope():
    with pytest.raises(InputError, match="must be of one instrument, got model-1, model-2"):
        SimulatedBatches([ReferenceSimulator(1), ReferenceSimulator(2)], 4)
    with pytest.raises(InputError, match="must be one or more"):
        SimulatedBatches([], 4)


def ramps(count=10, shape=(6, 6), **settings):
    images = np.arange(count * shape[0] * shape[1], dtype=float).reshape(count, *shape)
    return ImageBatches(images, np.full(count, 0.5), 0.1, **settings)


def numbers(observed):
    """Which of the ramps are in a batch."""
    return sorted((observed.image.amin((1, 2)) / 36).int().tolist())


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own():
    batches = ramps(batch_size=5)
    epochs = [[numbers(batches.batch(2 * epoch + k)) for k in range(2)] for epoch in range(3)]
    assert all(sorted(sum(epoch, [])) == list(range(10)) for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) > 1
    assert numbers(ramps(batch_size=5, shuffle=False).batch(0)) == [0, 1, 2, 3, 4]


def test_validation_goes_once_through_all_images():
    batches = ramps(batch_size=4)
    assert [len(observed) for observed in batches.once()] == [4, 4, 2]
    shares = [numbers(observed) for rank in range(2) for observed in batches.once(rank, 2)]
    assert sorted(sum(shares, [])) == list(range(10))


def test_split():
    training, validation = ramps(batch_size=3).split()
    assert (training.count, validation.count) == (8, 2)
    images = [image for batches in (training, validation) for observed in batches.once() for image in observed.image]
    assert sorted(int(image.min() / 36) for image in images) == list(range(10))
    again = ramps(batch_size=3).split()[1]
    assert torch.equal(again._image, validation._image) and not validation.shuffle
    other = ramps(batch_size=3, seed=7).split()[1]
    assert not torch.equal(other._image, validation._image)
    with pytest.raises(InputError, match="must leave images"):
        ramps(1).split()


def test_turns_move_image_noise_and_kernel_alike():
    """The eight ways to lay a square down, each of them the same physics."""
    images = np.arange(36.0).reshape(1, 6, 6)
    kernel = torch.arange(9.0).view(3, 3)
    batches = ImageBatches(images, 1 + images, 0.1, batch_size=1, kernels={2: kernel, 1: None}, augment=True)
    seen = set()
    for number in range(60):
        observed = batches.batch(number)
        assert torch.equal(observed.noise, 1 + observed.image) and observed.kernel(1) is None
        turned = observed.kernel(2)
        ways = [
            (k, mirrored) for k in range(4) for mirrored in (False, True)
            if torch.equal(observed.image[0], turn(batches._image[0], k, mirrored))
        ]  # fmt: skip
        assert len(ways) == 1 and torch.equal(turned, turn(kernel, *ways[0]))
        seen.add(ways[0])
    assert len(seen) == 8


def turn(image, k, mirrored):
    image = image.rot90(k, (-2, -1))
    return image.flip(-1) if mirrored else image


def test_turns_keep_the_shape_of_a_rectangle():
    batches = ramps(4, (6, 5), batch_size=2, augment=True)
    assert {tuple(batches.batch(number).image.shape) for number in range(20)} == {(2, 6, 5)}


def test_bad_pixels_are_empty_and_do_not_count():
    images, noise = np.ones((2, 4, 4)), np.ones((2, 4, 4))
    images[0, 0, 0], noise[0, 1, 1], noise[1, 2, 2] = np.nan, 0.0, np.inf
    observed = next(ImageBatches(images, noise, 0.1).once())
    assert observed.image.isfinite().all() and observed.image[0, 0, 0] == 0
    assert observed.noise.isinf().sum() == 3 and observed.noise[0, 0, 0].isinf() and observed.noise[0, 1, 1].isinf()
    images[1] = np.nan
    with pytest.raises(InputError, match="none in image 1"):
        ImageBatches(images, noise, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.ones((4, 4))}, r"images: must have the shape \(n, rows, columns\), got \(4, 4\)"),
        ({"images": [np.ones((4, 4)), np.ones((5, 4))]}, "images: must be numbers, all of one shape"),
        ({"noise": np.ones((2, 3, 4))}, "noise: must have the shape"),
        ({"pixel_scale": 0.0}, "pixel_scale: must be positive"),
        ({"batch_size": 0}, "batch_size: must be a whole number of at least 1"),
    ],
)
def test_errors_name_argument_rule_and_value(change, message):
    arguments = {"images": np.ones((2, 4, 4)), "noise": np.ones(2), "pixel_scale": 0.1, "batch_size": 2} | change
    with pytest.raises(InputError, match=message):
        ImageBatches(**arguments)


def test_small_sets_make_small_batches():
    assert ramps(3, batch_size=16).batch_size == 3


def test_representations():
    assert repr(mixture()) == (
        "<SimulatedBatches(simulators=3, instrument='model-3', batch_size=6, seed=0, purpose='training')>"
    )
    assert repr(ramps()).startswith("<ImageBatches(images=10, shape=(6, 6), pixel_scale=0.1")
