# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The example is what it says it is."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from lensing_sr.datasets.example import example_path, load_example
from lensing_sr.datasets.make_example import PIXEL, SKY_LEFT, TRUTH, make_example, noise_free_image
from lensing_sr.geometry.grid import PixelGrid


@pytest.fixture(scope="module")
def hdus():
    with fits.open(example_path(), checksum=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def again():
    return make_example()


def test_it_is_small():
    assert example_path().stat().st_size < 300_000


def test_the_script_makes_it(hdus, again):
    assert [hdu.name for hdu in hdus] == [hdu.name for hdu in again]
    for name in ("SCI", "ERR", "DQ", "PSF"):
        np.testing.assert_allclose(hdus[name].data, again[name].data, rtol=1e-5, atol=1e-6, err_msg=name)


def test_truth_and_noise_explain_the_data(hdus):
    good = hdus["DQ"].data == 0
    pull = (hdus["SCI"].data - noise_free_image() - SKY_LEFT) / hdus["ERR"].data
    assert np.mean(pull[good] ** 2) == pytest.approx(1.0, abs=0.04)
    assert np.mean(pull[good]) == pytest.approx(0.0, abs=0.03)
    assert np.abs(pull[good]).max() < 6


def test_sampling_is_fine_enough():
    """Already half as many positions in a pixel change the image by little of the noise, the very centre apart."""
    change = np.abs(noise_free_image(5) - noise_free_image(10)) / 0.008
    centre = tuple(np.round(np.array([(n - 1) / 2 for n in change.shape]) - 0.02 / PIXEL).astype(int))
    far = np.hypot(*(index - place for index, place in zip(np.indices(change.shape), centre))) > 3
    assert change[far].max() < 0.2


def test_it_has_a_turned_sky(hdus):
    grid = PixelGrid(hdus["SCI"].shape, wcs=WCS(hdus["SCI"].header))
    assert grid.pixel_scale.value == pytest.approx(0.05)
    assert grid.handedness == -1
    north = grid.position_angle(90 * u.deg).wrap_at(180 * u.deg)
    assert abs(north.deg) == pytest.approx(28.0, abs=0.01)


def test_kernel_is_normalised(hdus):
    assert hdus["PSF"].data.sum() == pytest.approx(1.0, abs=1e-6)


def test_truth_lies_beside_it(hdus):
    table = {row["NAME"]: row["VALUE"] for row in hdus["TRUTH"].data}
    assert table == {name: value for name, (value, _) in TRUTH.items()}


def test_it_loads():
    image = load_example()
    assert image.shape == (120, 128)
    assert image.unit == u.electron / u.s
    assert image.psf is not None
    assert image.noise.shape == image.shape
    np.testing.assert_array_equal(image.mask, fits.getdata(example_path(), "DQ") > 0)
