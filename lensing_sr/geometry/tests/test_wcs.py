# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the WCS functions: the same sky before and after, to rounding."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable, Sip
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError, PixelScaleError
from lensing_sr.geometry.wcs import (
    bin_wcs,
    celestial_wcs,
    check_table_distortions,
    crop_wcs,
    local_jacobian,
    pixel_scale_matrix,
    sky_to_pixel,
    upsample_wcs,
    upsampled_shape,
)

SCALE = 0.05 / 3600
NY, NX = 80, 101


def make_wcs(cd=((-SCALE, 0.0), (0.0, SCALE)), crval=(1.5, 2.0), crpix=(50.5, 30.25), projection="TAN", sip=False):
    w = WCS(naxis=2)
    w.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    w.wcs.crval, w.wcs.crpix = crval, crpix
    w.wcs.cd = cd
    if sip:
        a, b = np.zeros((4, 4)), np.zeros((4, 4))
        a[2, 0], a[1, 1], a[0, 2], a[3, 0] = 3e-5, -2e-5, 1e-5, 4e-8
        b[2, 0], b[1, 1], b[0, 2], b[0, 3] = -1e-5, 2.5e-5, -3e-5, -6e-8
        w.wcs.ctype = [f"RA---{projection}-SIP", f"DEC--{projection}-SIP"]
        w.sip = Sip(a, b, None, None, crpix)
    w.array_shape = (NY, NX)
    w.wcs.set()
    return w


def rotated(angle, flip=False, skew=0.0):
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    mirror = np.diag([1.0 if flip else -1.0, 1.0])
    return SCALE * np.array([[c, -s], [s, c]]) @ mirror @ np.array([[1.0, skew], [0.0, 1.0]])


CASES = {
    "north up": make_wcs(),
    "rotated": make_wcs(rotated(33.0)),
    "flipped": make_wcs(rotated(-140.0, flip=True)),
    "skewed": make_wcs(rotated(12.0, skew=0.3)),
    "oblong": make_wcs([[-SCALE, 0.0], [0.0, 2 * SCALE]]),
    "sip": make_wcs(rotated(70.0), sip=True),
    "far reference pixel": make_wcs(crpix=(-8574.0, -8017.0), crval=(5.7, -51.0)),
    "near the pole": make_wcs(rotated(5.0), crval=(3.0, 89.99)),
    "SIN": make_wcs(rotated(20.0), projection="SIN"),
}


def fine_of_coarse(p, s):
    return (np.asarray(p) + 0.5) * s - 0.5


def assert_same_sky(a, pixels_a, b, pixels_b, arcsec=1e-8):
    sky_a = SkyCoord(*a.all_pix2world(*pixels_a, 0), unit="deg")
    sky_b = SkyCoord(*b.all_pix2world(*pixels_b, 0), unit="deg")
    assert sky_a.separation(sky_b).arcsec.max() < arcsec


@pytest.mark.parametrize("scale", [1, 2, 3, 2.5, 4.0, 1.7])
@pytest.mark.parametrize("name", CASES)
def test_upsampling_keeps_the_sky(name, scale):
    """Corners of the field, centre and a lattice of pixels lie at the same sky, far below 1e-6 arcsec."""
    wcs = CASES[name]
    cols, rows = (g.ravel() for g in np.meshgrid(np.linspace(-0.5, NX - 0.5, 7), np.linspace(-0.5, NY - 0.5, 5)))
    fine = upsample_wcs(wcs, scale)
    assert_same_sky(wcs, (cols, rows), fine, (fine_of_coarse(cols, scale), fine_of_coarse(rows, scale)))
    assert fine.array_shape == upsampled_shape((NY, NX), scale)


@pytest.mark.parametrize("scale", [2, 2.5, 5])
@pytest.mark.parametrize("name", CASES)
def test_upsampling_is_exact_in_the_focal_plane(name, scale):
    """To 1e-9 pixel where degrees do not round: SIP and matrix give the same offsets from the reference point."""
    wcs, fine = CASES[name], upsample_wcs(CASES[name], scale)
    cols, rows = (g.ravel() for g in np.meshgrid(np.linspace(-0.5, NX - 0.5, 7), np.linspace(-0.5, NY - 0.5, 5)))

    def plane(w, x, y):
        if w.sip is not None:  # distorted offsets from CRPIX
            u_v = w.sip_pix2foc(np.stack([x + 1, y + 1], axis=-1), 1)
        else:
            u_v = np.stack([x + 1, y + 1], axis=-1) - w.wcs.crpix
        return u_v @ pixel_scale_matrix(w).T

    coarse_plane = plane(wcs, cols, rows)
    fine_plane = plane(fine, fine_of_coarse(cols, scale), fine_of_coarse(rows, scale))
    np.testing.assert_allclose(fine_plane, coarse_plane, rtol=0, atol=1e-9 * 0.05 / scale)


def test_upsampling_shares_the_edge_and_not_the_pixel_centre():
    """The classic bug: CRPIX * s would be off by (s - 1) / 2 fine pixels."""
    wcs = CASES["north up"]
    fine = upsample_wcs(wcs, 3)
    assert fine.wcs.crpix == pytest.approx((np.array([50.5, 30.25]) - 0.5) * 3 + 0.5, abs=1e-12)
    # coarse pixel (r, c) covers fine pixels 3c, 3c+1, 3c+2: its centre is the centre of the middle one
    assert_same_sky(wcs, ([10], [20]), fine, ([31], [61]))
    fine = upsample_wcs(wcs, 2)
    assert_same_sky(wcs, ([10], [20]), fine, ([20.5], [40.5]))


@pytest.mark.parametrize("name", CASES)
def test_upsampling_twice_is_upsampling_by_the_product(name):
    once, twice = upsample_wcs(CASES[name], 6), upsample_wcs(upsample_wcs(CASES[name], 2), 3)
    assert once.wcs.crpix == pytest.approx(twice.wcs.crpix, abs=1e-9)
    np.testing.assert_allclose(once.pixel_scale_matrix, twice.pixel_scale_matrix, rtol=1e-13, atol=1e-22)


@pytest.mark.parametrize("name", CASES)
def test_binning_undoes_upsampling(name):
    wcs = CASES[name]
    again = bin_wcs(upsample_wcs(wcs, 3), 3, (NY, NX))
    assert again.array_shape == (NY, NX)
    for corner in ((-0.5, -0.5), (NX - 0.5, NY - 0.5)):
        here, there = wcs.pixel_to_world(*corner), again.pixel_to_world(*corner)
        assert here.separation(there).arcsec < 1e-8
    assert bin_wcs(None, 2) is None


@pytest.mark.parametrize("name", CASES)
def test_cropping_keeps_the_sky(name):
    wcs = CASES[name]
    cropped = crop_wcs(wcs, 7, 13, (20, 30))
    cols, rows = np.array([0.0, 29.0, -0.5]), np.array([0.0, 19.0, 19.5])
    assert_same_sky(wcs, (cols + 7, rows + 13), cropped, (cols, rows))
    assert cropped.array_shape == (20, 30)


@pytest.mark.parametrize("name", CASES)
def test_cropping_and_upsampling_commute(name):
    a = upsample_wcs(crop_wcs(CASES[name], 4, 6), 3)
    b = crop_wcs(upsample_wcs(CASES[name], 3), 12, 18)
    assert a.wcs.crpix == pytest.approx(b.wcs.crpix, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_sky_round_trip(name):
    """Pixel -> sky -> pixel to 5e-9 pixel: 2.5e-10 arcsec, the rounding of degrees in double precision."""
    wcs = CASES[name]
    cols, rows = np.meshgrid(np.linspace(-0.5, NX - 0.5, 5), np.linspace(-0.5, NY - 0.5, 4))
    back = sky_to_pixel(wcs, wcs.pixel_to_world(cols, rows))
    tolerance = 1e-7 if name == "near the pole" else 5e-9
    np.testing.assert_allclose(back, [cols, rows], rtol=0, atol=tolerance)


def test_sky_round_trip_in_another_frame():
    wcs = CASES["sip"]
    sky = wcs.pixel_to_world(12.0, 34.0).galactic
    np.testing.assert_allclose(sky_to_pixel(wcs, sky), [12.0, 34.0], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda m: abs(m[0] * m[3] - m[1] * m[2]) > 0.05),
    st.floats(1.0, 6.0),
    st.floats(-200.0, 300.0),
    st.booleans(),
)
def test_any_matrix(matrix, scale, crpix, sip):
    """Whatever the CD matrix: the same sky after upsampling, a round trip, and CD / s."""
    wcs = make_wcs(SCALE * np.reshape(matrix, (2, 2)), crpix=(crpix, 40.0), sip=sip)
    fine = upsample_wcs(wcs, scale)
    np.testing.assert_allclose(pixel_scale_matrix(fine) * scale, pixel_scale_matrix(wcs), rtol=1e-12, atol=1e-15)
    cols, rows = np.array([-0.5, NX - 0.5, 50.0]), np.array([-0.5, NY - 0.5, 12.25])
    assert_same_sky(wcs, (cols, rows), fine, (fine_of_coarse(cols, scale), fine_of_coarse(rows, scale)))
    if not sip:  # far from CRPIX a strong SIP polynomial need not be invertible
        fine_pixels = fine_of_coarse(cols, scale), fine_of_coarse(rows, scale)
        back = sky_to_pixel(fine, fine.pixel_to_world(*fine_pixels))
        np.testing.assert_allclose(back, fine_pixels, rtol=0, atol=1e-7)  # a stretched pixel is down to 0.0025 arcsec


def header_with_both():
    """CD and PC + CDELT at once, as some pipelines write; they disagree on purpose."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"], header["CRPIX1"], header["CRPIX2"] = 1.5, 2.0, 50.5, 30.5
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -SCALE, 0.0, 0.0, SCALE
    header["PC1_1"], header["PC1_2"], header["PC2_1"], header["PC2_2"] = 0.6, -0.8, 0.8, 0.6
    header["CDELT1"], header["CDELT2"] = -2 * SCALE, 2 * SCALE
    return header


def test_cd_and_pc_at_once():
    """The parsed WCS decides; the fresh one carries a single form, which a written header brings back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(header_with_both())
    wcs.array_shape = (NY, NX)
    fine = upsample_wcs(wcs, 2)
    corners = np.array([-0.5, NX - 0.5, -0.5, NX - 0.5]), np.array([-0.5, -0.5, NY - 0.5, NY - 0.5])
    fine_corners = fine_of_coarse(corners[0], 2), fine_of_coarse(corners[1], 2)
    assert_same_sky(wcs, corners, fine, fine_corners)
    header = fine.to_header(relax=True)
    assert not any(card.startswith("CD1_") for card in header)
    assert_same_sky(wcs, corners, WCS(header), fine_corners, arcsec=1e-6)


@pytest.mark.parametrize("cards", ["CDELT", "CROTA2", "PC"])
def test_other_ways_to_write_a_matrix(cards):
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"], header["CRPIX1"], header["CRPIX2"] = 1.5, 2.0, 50.5, 30.5
    header["CDELT1"], header["CDELT2"] = -SCALE, SCALE
    angle = 0.0 if cards == "CDELT" else np.deg2rad(25.0)
    if cards == "CROTA2":
        header["CROTA2"] = 25.0
    if cards == "PC":
        header["PC1_1"], header["PC1_2"], header["PC2_1"], header["PC2_2"] = (
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
        )  # fmt: skip
    wcs = WCS(header)
    assert abs(np.linalg.det(pixel_scale_matrix(wcs))) == pytest.approx(0.05**2, rel=1e-12)
    assert_same_sky(wcs, ([0.0], [0.0]), upsample_wcs(wcs, 2), ([0.5], [0.5]))


@pytest.mark.parametrize("name", CASES)
def test_written_header_brings_the_wcs_back(name):
    fine = upsample_wcs(CASES[name], 2)
    corners = np.array([-0.5, 2 * NX - 0.5]), np.array([-0.5, 2 * NY - 0.5])
    assert_same_sky(fine, corners, WCS(fine.to_header(relax=True)), corners, arcsec=1e-6)


def test_declination_first():
    """Axes stay in the order of the pixels even where longitude is the second world axis."""
    wcs = make_wcs()
    wcs.wcs.ctype = ["DEC--TAN", "RA---TAN"]
    wcs.wcs.crval = [2.0, 1.5]
    wcs.wcs.set()
    fine = upsample_wcs(celestial_wcs(wcs), 2)
    np.testing.assert_allclose(fine.all_pix2world(20.5, 40.5, 0), wcs.all_pix2world(10.0, 20.0, 0), atol=1e-12)
    np.testing.assert_allclose(sky_to_pixel(wcs, wcs.pixel_to_world(10.0, 20.0)), [10.0, 20.0], atol=1e-8)


def test_spectral_axis_is_dropped():
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", "FREQ"]
    wcs.wcs.cdelt = [-SCALE, SCALE, 1e6]
    assert celestial_wcs(wcs).naxis == 2
    assert celestial_wcs(WCS(naxis=2)) is None
    assert celestial_wcs(None) is None


def test_jacobian_of_a_plain_image():
    jacobian = local_jacobian(CASES["north up"], 49.5, 29.25)
    np.testing.assert_allclose(jacobian, [[-0.05, 0.0], [0.0, 0.05]], atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_jacobian_against_offsets_on_the_sky(name):
    """d(East, North) per pixel equals what astropy's SkyCoord measures over a small step."""
    wcs, step = CASES[name], 0.5
    here = wcs.pixel_to_world(30.0, 40.0)
    for axis, (dc, dr) in enumerate([(step, 0.0), (0.0, step)]):
        a, b = wcs.pixel_to_world(30.0 - dc, 40.0 - dr), wcs.pixel_to_world(30.0 + dc, 40.0 + dr)
        east, north = (u.Quantity(here.spherical_offsets_to(p)).to_value("arcsec") for p in (a, b))
        measured = (np.array(north) - np.array(east)) / (2 * step)
        np.testing.assert_allclose(local_jacobian(wcs, 30.0, 40.0)[:, axis], measured, atol=3e-8)


def test_table_distortions_are_refused():
    wcs = make_wcs()
    wcs.cpdis1 = DistortionLookupTable(np.zeros((4, 4), dtype=np.float32), (1, 1), (1, 1), (10, 10))
    with pytest.raises(PixelScaleError, match="table distortions.*cpdis1"):
        upsample_wcs(wcs, 2)
    with pytest.raises(PixelScaleError, match="table distortions"):
        celestial_wcs(wcs)
    with pytest.raises(PixelScaleError, match="D2IMDIS1"):
        check_table_distortions(fits.Header([("D2IMDIS1", "LOOKUP")]))


def test_singular_matrix_is_refused():
    with pytest.raises(PixelScaleError, match="inverted"):
        celestial_wcs(_singular())


def _singular():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cd = [[SCALE, SCALE], [SCALE, SCALE]]
    return wcs


@pytest.mark.parametrize("scale", [0.5, 0, -2, np.nan, np.inf, "big", None])
def test_scale_must_be_a_number_of_at_least_one(scale):
    with pytest.raises(InputError, match="^scale: must be"):
        upsampled_shape((10, 10), scale)


def test_huge_scale_names_scale_and_remedy():
    with pytest.raises(InputError, match="^scale: .*--cutout"):
        upsampled_shape((100, 100), 1e4)


@pytest.mark.parametrize("scale, shape", [(1, (100, 7)), (2.2, (220, 16)), (2.5, (250, 18)), (3, (300, 21))])
def test_shape_is_rounded_up(scale, shape):
    assert upsampled_shape((100, 7), scale) == shape
