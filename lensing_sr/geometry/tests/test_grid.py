# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of PixelGrid: one frame, whichever way it is entered or left."""

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError, PixelScaleError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.geometry.tests.test_wcs import CASES, NX, NY, SCALE, make_wcs, rotated

PIX = u.arcsec / u.pix


@pytest.fixture(params=CASES)
def grid(request):
    return PixelGrid((NY, NX), wcs=CASES[request.param])


def test_centre_is_zero_and_x_follows_the_column():
    for shape in [(4, 6), (5, 7)]:
        x, y = PixelGrid(shape, pixel_scale=0.1).coordinates()
        assert x.shape == y.shape == shape and x.dtype == y.dtype == np.float64
        assert x.mean() == pytest.approx(0, abs=1e-15) and y.mean() == pytest.approx(0, abs=1e-15)
        np.testing.assert_allclose(np.diff(x, axis=1), 0.1)
        np.testing.assert_allclose(np.diff(y, axis=0), 0.1)
        assert np.ptp(x, axis=0).max() == np.ptp(y, axis=1).max() == 0


def test_frame_is_the_same_for_mirrored_and_rotated_images():
    """A RA-left and a RA-right image of the same array have the same x, y: the sky enters only by the orientation."""
    left = PixelGrid((NY, NX), wcs=make_wcs())
    right = PixelGrid((NY, NX), wcs=make_wcs(rotated(0.0, flip=True)))
    turned = PixelGrid((NY, NX), wcs=make_wcs(rotated(77.0)))
    bare = PixelGrid((NY, NX), pixel_scale=0.05 * PIX)
    for other in (right, turned, bare):
        np.testing.assert_allclose(left.coordinates(), other.coordinates(), atol=1e-6)
    assert left.handedness == -1 and right.handedness == 1 and bare.handedness is None
    np.testing.assert_allclose(left.orientation, [[-1, 0], [0, 1]], atol=1e-5)


def test_matrix_times_orientation_is_the_jacobian(grid):
    assert grid.matrix[1, 0] == 0 and np.all(np.diag(grid.matrix) > 0)
    np.testing.assert_allclose(grid.orientation @ grid.orientation.T, np.eye(2), atol=1e-12)
    assert grid.handedness == np.sign(np.linalg.det(grid.orientation))


def test_pixels_and_back(grid):
    cols, rows = np.meshgrid(np.arange(-0.5, NX, 10), np.arange(-0.5, NY, 10))
    np.testing.assert_allclose(grid.to_pixel(*grid.to_arcsec(cols, rows)), [cols, rows], rtol=0, atol=1e-9)
    x, y = grid.coordinates()
    back = grid.to_arcsec(*np.indices(grid.shape)[::-1])
    np.testing.assert_allclose([v.to_value("arcsec") for v in back], [x, y], rtol=0, atol=1e-12)


def test_sky_and_back(grid):
    x, y = np.array([-1.0, 0.0, 1.3]) * u.arcsec, np.array([0.2, 0.0, -0.9]) * u.arcsec
    back = grid.from_sky(grid.to_sky(x, y))
    tolerance = 1e-9 if abs(grid.wcs.wcs.crval[1]) < 80 else 1e-8
    np.testing.assert_allclose(u.Quantity(back).to_value("arcsec"), [x.value, y.value], rtol=0, atol=tolerance)


def test_sky_offsets_agree_with_the_orientation(grid):
    """(East, North) = orientation @ (x, y) is where the full WCS puts a nearby point."""
    centre = grid.to_sky(0, 0)
    for x, y in [(0.05, 0.0), (0.0, 0.05), (0.03, -0.04)]:
        measured = u.Quantity(centre.spherical_offsets_to(grid.to_sky(x, y))).to_value("arcsec")
        np.testing.assert_allclose(measured, grid.orientation @ [x, y], atol=2e-5)


@pytest.mark.parametrize("phi", [0.0, 30.0, 90.0, 200.0])
def test_position_angle_is_astropys(grid, phi):
    direction = np.deg2rad(phi)
    there = grid.to_sky(0.01 * np.cos(direction), 0.01 * np.sin(direction))
    expected = grid.to_sky(0, 0).position_angle(there)
    difference = (grid.position_angle(phi * u.deg) - expected).wrap_at(180 * u.deg)
    assert abs(difference.deg) < 0.02
    assert grid.position_angle(direction).deg == pytest.approx(grid.position_angle(phi * u.deg).deg)


def test_position_angle_of_a_north_up_image():
    """+y is North (0 deg); +x is West (270 deg) where RA grows to the left; East is at phi = 180 deg."""
    grid = PixelGrid((NY, NX), wcs=make_wcs(crval=(10.0, 0.0)))
    assert grid.position_angle(90 * u.deg).wrap_at("180d").deg == pytest.approx(0, abs=1e-3)
    assert grid.position_angle(0.0).deg == pytest.approx(270, abs=1e-3)
    assert grid.position_angle(180 * u.deg).deg == pytest.approx(90, abs=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 2.5])
def test_upsampled_keeps_frame_edges_and_sky(grid, scale):
    fine = grid.upsampled(scale)
    assert fine.pixel_scale.value == pytest.approx(grid.pixel_scale.value / scale)
    corner = grid.to_arcsec(-0.5, -0.5), fine.to_arcsec(-0.5, -0.5)
    np.testing.assert_allclose(u.Quantity(corner[0]).value, u.Quantity(corner[1]).value, atol=1e-12)
    for x, y in [(-1.0, 0.5), (1.2, 1.1)]:
        assert grid.to_sky(x, y).separation(fine.to_sky(x, y)).arcsec < 1e-8
    # what it carries is what a grid built from the fine WCS would find
    rebuilt = PixelGrid(fine.shape, wcs=fine.wcs, origin=fine.origin)
    np.testing.assert_allclose(fine.matrix, rebuilt.matrix, rtol=1e-8, atol=1e-10)


def test_binning_fine_coordinates_gives_coarse_ones(grid):
    """Half-pixel law: the mean position of the s^2 fine pixels in a coarse pixel is the coarse pixel's centre."""
    for coarse, fine in zip(grid.coordinates(), grid.upsampled(3).coordinates()):
        binned = fine.reshape(NY, 3, NX, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(binned, coarse, atol=1e-12)


def test_cropped_keeps_positions(grid):
    part = grid.cropped(slice(10, 40), slice(5, 25))
    assert part.shape == (30, 20)
    for whole, cut in zip(grid.coordinates(), part.coordinates()):
        np.testing.assert_allclose(whole[10:40, 5:25], cut, atol=1e-12)
    assert grid.to_sky(0.1, 0.2).separation(part.to_sky(0.1, 0.2)).arcsec < 1e-8
    with pytest.raises(InputError, match="step 1"):
        grid.cropped(slice(0, 10, 2), slice(0, 10))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda m: abs(m[0] * m[3] - m[1] * m[2]) > 0.05),
    st.floats(-60, 60),
)
def test_any_matrix(matrix, dec):
    grid = PixelGrid((NY, NX), wcs=make_wcs(SCALE * np.reshape(matrix, (2, 2)), crval=(1.0, dec)))
    det = abs(np.linalg.det(np.reshape(matrix, (2, 2)))) * 0.05**2
    assert grid.pixel_area.to_value("arcsec2") == pytest.approx(det, rel=1e-6)
    assert grid.matrix[1, 0] == 0 and np.all(np.diag(grid.matrix) > 0)
    cols, rows = np.array([0.0, 50.0]), np.array([79.0, -0.5])
    np.testing.assert_allclose(grid.to_pixel(*grid.to_arcsec(cols, rows)), [cols, rows], rtol=0, atol=1e-9)
    back = u.Quantity(grid.from_sky(grid.to_sky(0.3, 0.4))).to_value("arcsec")
    np.testing.assert_allclose(back, [0.3, 0.4], rtol=0, atol=1e-8)


def test_extent_and_equivalency():
    grid = PixelGrid((10, 20), pixel_scale=0.1 * PIX)
    assert grid.extent == pytest.approx((-1.0, 1.0, -0.5, 0.5))
    assert (3 * u.pix).to(u.arcsec, grid.equivalency).value == pytest.approx(0.3)
    assert grid.pixel_area.unit == u.arcsec**2 and grid.pixel_scale.unit == PIX


@pytest.mark.parametrize("scale", [0.05, 0.05 * u.arcsec, 0.05 * PIX, 50 * u.mas / u.pix, 5e-2 * u.arcsec / u.pix])
def test_ways_to_state_the_pixel_scale(scale):
    assert PixelGrid((4, 4), pixel_scale=scale) == PixelGrid((4, 4), pixel_scale=0.05)


def test_oblong_pixels():
    grid = PixelGrid((4, 4), pixel_scale=[0.1, 0.2] * u.arcsec)
    assert not grid.is_square and grid.pixel_scale.value == pytest.approx(np.sqrt(0.02))
    assert not PixelGrid((NY, NX), wcs=CASES["skewed"]).is_square
    assert PixelGrid((NY, NX), wcs=CASES["rotated"]).is_square
    assert "0.1 x 0.2" in repr(grid)


def test_equality():
    a, b = PixelGrid((4, 4), pixel_scale=0.1), PixelGrid((4, 4), pixel_scale=0.1, origin=(0, 0))
    assert a != b and a != PixelGrid((4, 5), pixel_scale=0.1) and a != 3
    assert PixelGrid((NY, NX), wcs=CASES["sip"]) == PixelGrid((NY, NX), wcs=CASES["sip"].deepcopy())
    assert PixelGrid((NY, NX), wcs=make_wcs()) != PixelGrid((NY, NX), wcs=make_wcs(rotated(0.0, flip=True)))
    assert PixelGrid((NY, NX), wcs=make_wcs()) != PixelGrid((NY, NX), wcs=make_wcs(crval=(1.5, 2.1)))


def test_repr_tells_the_science():
    assert repr(PixelGrid((4, 6), pixel_scale=0.1)) == "<PixelGrid 4 x 6 pixels of 0.1 arcsec, no WCS>"
    text = repr(PixelGrid((NY, NX), wcs=CASES["north up"]))
    assert "0.05 arcsec" in text and "00h06m00" in text and "PA" in text


@pytest.mark.parametrize("scale", [0, -0.05, np.nan, 0.05 * u.s, "x", [1, 2, 3] * u.arcsec])
def test_bad_pixel_scale_names_itself(scale):
    with pytest.raises(PixelScaleError, match="^pixel_scale: must be"):
        PixelGrid((4, 4), pixel_scale=scale)


def test_unknown_and_contradicting_pixel_scale():
    with pytest.raises(PixelScaleError, match="^pixel_scale: is needed.*--pixel-scale"):
        PixelGrid((4, 4))
    with pytest.raises(PixelScaleError, match="--pixel-scale"):
        PixelGrid((4, 4), wcs=WCS(naxis=2))
    with pytest.raises(PixelScaleError, match="agree with the WCS.*0.05 arcsec, got 0.06"):
        PixelGrid((NY, NX), wcs=make_wcs(), pixel_scale=0.06)
    assert PixelGrid((NY, NX), wcs=make_wcs(), pixel_scale=0.05).wcs is not None


@pytest.mark.parametrize("shape", [(4,), (4, 0), (4, 4, 4), (4.5, 4), 7, "ab"])
def test_bad_shape(shape):
    with pytest.raises(InputError, match="^shape: must be two positive integers"):
        PixelGrid(shape, pixel_scale=0.1)


def test_sky_needs_a_wcs():
    grid = PixelGrid((4, 4), pixel_scale=0.1)
    for method, arguments in [("to_sky", (0, 0)), ("position_angle", (0,)), ("from_sky", (None,))]:
        with pytest.raises(PixelScaleError, match=f"^{method}: needs a celestial WCS"):
            getattr(grid, method)(*arguments)
