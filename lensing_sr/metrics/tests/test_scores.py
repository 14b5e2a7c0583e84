# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Scores against scikit-image, and the laws they obey."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.metrics.scores import arc_mask, mse, psnr, self_normalised, ssim

metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is the oracle of the scores")


def pair(seed, shape=(3, 24, 31)):
    rng = np.random.default_rng(seed)
    truth = rng.gamma(0.5, 1.0, shape)
    return truth + rng.normal(0, 0.1, shape), truth


@given(seed=st.integers(0, 2**32 - 1))
def test_scores_equal_those_of_scikit_image(seed):
    image, truth = pair(seed)
    for index, (a, b) in enumerate(zip(image, truth, strict=True)):
        peak = b.max()
        assert mse(image, truth)[index] == pytest.approx(metrics.mean_squared_error(b, a), rel=1e-6)
        assert psnr(image, truth)[index] == pytest.approx(
            metrics.peak_signal_noise_ratio(b, a, data_range=peak), rel=1e-6
        )
        gaussian = metrics.structural_similarity(
            b, a, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim(image, truth)[index] == pytest.approx(gaussian, abs=1e-6)
        uniform = metrics.structural_similarity(b, a, data_range=peak)
        assert ssim(image, truth, window="uniform")[index] == pytest.approx(uniform, abs=1e-6)


def test_ssim_of_the_arcs_is_the_mean_of_the_map_there():
    image, truth = pair(1, (26, 26))
    _, full = metrics.structural_similarity(truth, image, data_range=truth.max(), full=True)
    mask = np.zeros_like(truth, dtype=bool)
    mask[5:12, 6:20] = True
    assert ssim(image, truth, mask=mask, window="uniform") == pytest.approx(full[mask].mean(), abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1), flux=st.floats(1e-3, 1e3))
def test_ratios_do_not_depend_on_the_flux_unit(seed, flux):
    image, truth = pair(seed)
    np.testing.assert_allclose(psnr(flux * image, flux * truth), psnr(image, truth), rtol=1e-9)
    np.testing.assert_allclose(ssim(flux * image, flux * truth), ssim(image, truth), rtol=1e-9)


def test_batches_score_like_single_images_in_torch_and_numpy():
    image, truth = pair(2, (2, 3, 20, 20))
    for score in (mse, psnr, ssim):
        batched = score(torch.tensor(image), torch.tensor(truth))
        assert isinstance(batched, torch.Tensor) and batched.shape == (2, 3)
        assert score(torch.tensor(image), torch.tensor(truth)).dtype == torch.float64
        np.testing.assert_allclose(batched[1, 2].item(), score(image[1, 2], truth[1, 2]), rtol=1e-12)


def test_masked_scores_ignore_what_lies_outside():
    image, truth = pair(3, (4, 30, 30))
    mask = arc_mask(truth, 0.2)
    spoiled = np.where(mask, image, np.nan)
    np.testing.assert_array_equal(mse(spoiled, truth, mask=mask), mse(image, truth, mask=mask))
    everything = np.ones(truth.shape, dtype=bool)
    np.testing.assert_allclose(psnr(image, truth, mask=everything), psnr(image, truth))


def test_a_perfect_image():
    _, truth = pair(4)
    assert np.all(np.isposinf(psnr(truth, truth)))
    np.testing.assert_allclose(ssim(truth, truth), 1)
    assert np.all(mse(truth, truth) == 0)


def test_fits_byte_order_and_integers_are_understood():
    image, truth = pair(5)
    np.testing.assert_allclose(psnr(image.astype(">f8"), truth.astype(">f8")), psnr(image, truth))
    counts = np.arange(144).reshape(12, 12)
    assert mse(counts, counts + 2) == 4


def test_self_normalised_fills_the_unit_interval():
    image, _ = pair(6)
    for one in (image, torch.tensor(image)):
        stretched = self_normalised(one)
        assert float(stretched.min()) == 0 and float(stretched.max()) == 1
        np.testing.assert_allclose(self_normalised(5 * one - 2), stretched, atol=1e-12)


def test_arc_masks_agree_between_torch_and_numpy():
    _, truth = pair(7)
    np.testing.assert_array_equal(arc_mask(torch.tensor(truth)).numpy(), arc_mask(truth))


@pytest.mark.parametrize(
    ("score", "named"),
    [
        (lambda: mse(np.ones((4, 4)), np.ones((4, 5))), "image"),
        (lambda: mse(np.ones((4, 4)), np.ones((4, 4)), mask=np.zeros((4, 4), bool)), "mask"),
        (lambda: mse(np.ones((4, 4)), np.ones((4, 4)), mask=np.zeros((3, 4), bool)), "mask"),
        (lambda: psnr(np.ones((4, 4)), np.zeros((4, 4))), "data_range"),
        (lambda: ssim(np.ones((4, 4)), np.ones((4, 4))), "image"),
        (lambda: ssim(np.ones((14, 14)), np.ones((14, 14)), window="hann"), "window"),
        (lambda: ssim(np.ones((12, 12)), np.ones((12, 12)), mask=np.eye(12, k=11, dtype=bool)), "mask"),
    ],
)
def test_wrong_arguments_are_named(score, named):
    with pytest.raises(InputError, match=f"^{named}:"):
        score()
