# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Regions lie where the curves do."""

import re

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from lensing_sr.export.regions import region_text
from lensing_sr.geometry.grid import PixelGrid

CLOSED = np.array([0.0, 0.4, 0.5, 0.0]) * u.arcsec, np.array([0.0, 0.1, 0.6, 0.0]) * u.arcsec
OPEN = np.array([0.0, 0.4, 0.5]), np.array([0.0, 0.1, 0.6])


def sky_grid():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [200.0, 30.0], [4.0, 9.0]
    wcs.wcs.cd = np.array([[-0.6, 0.8], [0.8, 0.6]]) * 0.1 / 3600
    return PixelGrid((20, 20), wcs=wcs)


def vertices(line):
    return np.array(re.search(r"\((.*?)\)", line)[1].split(","), dtype=float).reshape(-1, 2)


def test_sky_regions_come_back_to_the_curves():
    grid = sky_grid()
    lines = region_text([CLOSED], [CLOSED], grid).splitlines()
    assert lines[1] == "icrs"
    for line, name in zip(lines[2:], ("critical curve", "caustic")):
        assert name in line
        x, y = grid.from_sky(SkyCoord(vertices(line), unit="deg"))
        np.testing.assert_allclose(x.value, CLOSED[0].value[:-1], atol=1e-5)
        np.testing.assert_allclose(y.value, CLOSED[1].value[:-1], atol=1e-5)


def test_pixels_count_from_one():
    grid = PixelGrid((5, 5), pixel_scale=0.1)
    lines = region_text([CLOSED], [], grid).splitlines()
    assert lines[1] == "image"
    np.testing.assert_allclose(vertices(lines[2])[0], (3.0, 3.0))  # (0, 0) arcsec is pixel (2, 2) from 0


def test_open_curves_stay_open():
    lines = region_text([OPEN], [], sky_grid()).splitlines()[2:]
    assert len(lines) == 2
    assert all(line.startswith("line(") for line in lines)


def test_no_curve_no_region():
    assert region_text([], [], sky_grid()).splitlines()[1:] == ["icrs"]
