# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Headers lose nothing."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS, Sip
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr.export.fits_layout import _card, build_hdus, linear_header, wcs_header
from lensing_sr.geometry.grid import PixelGrid


def through_text(header):
    """What another program would read."""
    return fits.Header.fromstring(header.tostring())


@given(
    st.floats(0, 360),
    st.floats(-89, 89),
    st.floats(-3.2, 3.2),
    st.sampled_from([-1, 1]),
    st.floats(-500, 500),
    st.booleans(),
)
def test_positions_survive_the_header(ra, dec, angle, parity, pixel, sip):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"] if sip else ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [pixel, 30.123456789]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = turn @ np.diag([parity, 1.0]) * 0.05 / 3600
    if sip:
        a = np.zeros((3, 3))
        a[2, 0], a[1, 1], a[0, 2] = 1.1e-7, -3e-8, 2e-8
        wcs.sip = Sip(a, a.T, None, None, wcs.wcs.crpix)
    corners = np.array([(-0.5, -0.5), (199.5, -0.5), (-0.5, 149.5), (199.5, 149.5)])
    again = WCS(through_text(wcs_header(wcs)))
    here, there = wcs.pixel_to_world(*corners.T), again.pixel_to_world(*corners.T)
    assert here.separation(there).arcsec.max() < 1e-7


def test_mixture_of_cards_becomes_one_matrix():
    """Real headers carry CD and PC + CDELT at once."""
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 1.0,
            "CRVAL2": 2.0,
            "CRPIX1": 3.0,
            "CRPIX2": 4.0,
            "CD1_1": -1e-5,
            "CD2_2": 1e-5,
            "CD1_2": 0.0,
            "CD2_1": 0.0,
        }
    )
    written = wcs_header(WCS(header))
    assert not {"PC1_1", "CDELT1"} & set(written)
    assert written["CD1_1"] == -1e-5


def test_linear_axes():
    wcs = WCS(through_text(linear_header([[0.05, 0.0], [0.0, 0.07]], (2.0, 3.0))))
    np.testing.assert_allclose(wcs.wcs_pix2world([[2.0, 3.0], [3.0, 4.0]], 0), [[0, 0], [0.05, 0.07]], atol=1e-12)


def test_third_axis_of_the_deflection_does_not_disturb_the_sky():
    from lensing_sr.tests.fake_result import make_result

    result = make_result()
    header = through_text(result.to_hdus()["DEFLECT"].header)
    assert WCS(header, naxis=2).pixel_to_world(3, 4).separation(result.grid.wcs.pixel_to_world(3, 4)).arcsec < 1e-7


def test_unknown_unit_is_an_empty_card(tmp_path):
    """CCDData.read fails without the card."""
    image = CCDData(np.ones((4, 4)), unit="")
    hdus = build_hdus({"image": image}, {}, grids={"fine": PixelGrid((4, 4), pixel_scale=1)})
    hdus.writeto(tmp_path / "sr.fits")
    assert hdus[0].header["BUNIT"] == ""
    assert CCDData.read(tmp_path / "sr.fits").unit == ""


def test_header_of_the_input_is_filtered():
    header = fits.Header()
    header["OBJECT"], header["EXPTIME"], header["LTV1"], header["CD1_1"], header["CHI2RED"] = (
        "J1430",
        2100.0,
        3.0,
        9.0,
        9.0,
    )
    header["NAXIS1"], header["EXTNAME"], header["A_ORDER"], header["CPDIS1"] = 7, "SCI", 3, "LOOKUP"
    header["HIERARCH long keyword"] = 1
    header.add_history("drizzled")
    image = CCDData(np.ones((4, 4)), unit="adu", meta=header)
    written = build_hdus({"image": image}, {}, grids={"fine": PixelGrid((4, 4), pixel_scale=1)}, history=["fitted"])[
        0
    ].header
    assert written["OBJECT"] == "J1430"
    assert written["EXPTIME"] == 2100.0
    assert list(written["HISTORY"]) == ["drizzled", "fitted"]
    assert not {"LTV1", "CHI2RED", "A_ORDER", "CPDIS1", "EXTNAME", "LONG KEYWORD"} & set(written)
    assert written["CD1_1"] == 1.0


@pytest.mark.parametrize("unit", ["electron / s", "ct / s", "nJy", "MJy / sr", "adu", "1e-20 erg / (s cm2 Angstrom)"])
def test_units_come_back(unit, tmp_path):
    image = CCDData(np.ones((4, 4)), unit=unit)
    build_hdus({"image": image}, {}, grids={"fine": PixelGrid((4, 4), pixel_scale=1)}).writeto(tmp_path / "sr.fits")
    assert CCDData.read(tmp_path / "sr.fits").unit == image.unit


@pytest.mark.parametrize("quotes", ["", "''"])
def test_texts_of_any_length_are_kept(quotes):
    """Warnings are errors here: astropy warns of a comment that a value leaves no room for."""
    comment = "reasons not to trust the result"
    for length in range(160):
        text = (quotes + "x" * length)[:length]
        header = fits.Header()
        header["SRFLAGS"] = _card(text, comment)
        again = fits.Header.fromstring(header.tostring())
        assert again["SRFLAGS"] == text
        if length < 30:
            assert again.comments["SRFLAGS"] == comment
