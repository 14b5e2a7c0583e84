# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Interpolations against PyTorch and SciPy, and the laws of the shared-edge grid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lensing_sr.errors import InputError
from lensing_sr.metrics.interpolation import (
    METHODS,
    axis_matrix,
    baselines,
    conserving_matrix,
    fine_length,
    upsample,
)

LENGTHS = st.integers(4, 20)
SCALES = st.floats(1, 5)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_the_baselines_are_those_of_pytorch(method, scale):
    image = torch.tensor(np.random.default_rng(0).normal(size=(2, 9, 12)))
    options = {} if method == "nearest" else {"align_corners": False}
    expected = functional.interpolate(image[:, None], scale_factor=scale, mode=method, **options)[:, 0]
    torch.testing.assert_close(upsample(image, scale, method, conserve_flux=False), expected)


@pytest.mark.parametrize("scale", [2, 2.5, 3])
def test_the_cubic_spline_is_that_of_scipy(scale):
    image = np.random.default_rng(1).normal(size=(9, 12))
    positions = [(np.arange(fine_length(n, scale)) + 0.5) / scale - 0.5 for n in image.shape]
    expected = ndimage.map_coordinates(image, np.meshgrid(*positions, indexing="ij"), order=3, mode="reflect")
    found = upsample(image, scale, "cubic_spline", conserve_flux=False)
    inside = tuple(slice(0, int(n * scale)) for n in image.shape)  # past the edge the last position is repeated
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-12)


@given(n=LENGTHS, scale=SCALES)
def test_shapes_and_constants(n, scale):
    for method in METHODS:
        matrix = axis_matrix(n, scale, method)
        assert matrix.shape == (fine_length(n, scale), n)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)


@given(n=LENGTHS)
def test_scale_one_changes_nothing(n):
    for method in METHODS:
        np.testing.assert_allclose(axis_matrix(n, 1, method), np.eye(n), atol=1e-12)
    np.testing.assert_allclose(conserving_matrix(n, 1), np.eye(n), atol=1e-12)


@given(n=LENGTHS, scale=st.integers(2, 5))
def test_the_grids_share_their_edges(n, scale):
    """Mirroring commutes with interpolation, and a ramp keeps its place: no half-pixel shift."""
    ramp = np.arange(n, dtype=float)
    fine = (np.arange(n * scale) + 0.5) / scale - 0.5
    inside = (fine > 3) & (fine < n - 4)
    for method in METHODS:
        matrix = axis_matrix(n, scale, method)
        np.testing.assert_allclose(matrix[::-1, ::-1], matrix, atol=1e-12)
        if method == "bilinear":  # the bicubic of PyTorch does not even keep a ramp
            np.testing.assert_allclose((matrix @ ramp)[inside], fine[inside], atol=1e-9)


@given(n=LENGTHS, scale=st.integers(1, 5))
def test_the_conserving_spline_gives_every_pixel_back(n, scale):
    sums = conserving_matrix(n, scale).reshape(n, scale, n).sum(axis=1)
    np.testing.assert_allclose(sums, np.eye(n), atol=1e-12)


@given(n=LENGTHS, scale=SCALES)
def test_the_conserving_spline_keeps_the_total(n, scale):
    matrix = conserving_matrix(n, scale)
    assert matrix.shape == (fine_length(n, scale), n)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)


def test_the_conserving_spline_converges_to_a_smooth_function():
    edges = np.linspace(-5, 5, 41)
    fluxes = np.diff(np.tanh(edges))
    fine = np.diff(np.tanh(np.linspace(-5, 5, 121)))
    assert np.abs(conserving_matrix(40, 3) @ fluxes - fine).max() < 1e-3 * fine.max()


@pytest.mark.parametrize("method", METHODS)
def test_kind_and_type_are_kept(method):
    image = np.random.default_rng(2).normal(size=(2, 6, 7)).astype(np.float32)
    fine, tensor = upsample(image, 2.5, method), upsample(torch.tensor(image), 2.5, method)
    assert fine.dtype == np.float32 and tensor.dtype == torch.float32 and fine.shape == (2, 15, 18)
    np.testing.assert_allclose(tensor.numpy(), fine, atol=1e-6)


def test_flux_of_an_isolated_source_is_conserved():
    y, x = np.mgrid[:31, :31] - 15
    image = np.exp(-(x**2 + y**2) / 8)
    for name, fine in baselines(image, 3).items():
        assert fine.sum() == pytest.approx(image.sum(), rel=1e-3 if name == "lanczos" else 1e-6), name


@pytest.mark.parametrize(("scale", "method"), [(0.5, "bilinear"), (float("nan"), "nearest")])
def test_scales_below_one_are_refused(scale, method):
    with pytest.raises(InputError, match=r"^scale: must be at least 1"):
        upsample(np.ones((4, 4)), scale, method)


def test_unknown_methods_are_refused():
    with pytest.raises(InputError, match=r"^method: must be one of nearest, bilinear"):
        upsample(np.ones((4, 4)), 2, "magic")
