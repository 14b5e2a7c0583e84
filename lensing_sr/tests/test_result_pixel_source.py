# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A result whose source is one of pixels: its file, and what others get."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from lensing_sr.light.pixel_source import PixelSource
from lensing_sr.light.sersic_source import SersicSource
from lensing_sr.result import SuperResolution
from lensing_sr.tests.fake_result import UNIT, make_result


def with_pixel_source(wcs):
    """The example's result, with a clump in the source beyond its Sersic profile."""
    result = make_result(wcs=wcs)
    grid, smooth = result.source_grid, result.source
    x, y = grid.coordinates()
    clump = SersicSource(smooth.amplitude, 0.02 * u.arcsec, 0.5, x=smooth.x, y=smooth.y + 0.1 * u.arcsec)
    brightness = smooth.evaluate(x, y) + clump.evaluate(x, y)
    error = np.full(grid.shape, 0.1)
    error[0] = np.nan
    source = PixelSource(brightness, grid, error=error, sersic=smooth)
    names = ("image", "arcs", "lens_light", "model", "residual", "deflection", "parameters", "quality", "sky", "scale")
    pieces = {name: getattr(result, name) for name in (*names, "psf", "input_image", "meta")}
    return SuperResolution(source=source, source_image=source.to_ccddata(UNIT), **pieces)


@pytest.fixture(scope="module", params=[True, False], ids=["sky", "no sky"])
def result(request):
    return with_pixel_source(request.param)


def test_file_and_back(result, tmp_path):
    path = tmp_path / "sr.fits"
    result.write(path)
    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus]
        assert names[names.index("SOURCE") + 1] == "SRCERR"
        assert hdus["SRCERR"].shape == hdus["SOURCE"].shape
        assert hdus["SRCERR"].header["BUNIT"] == hdus["SOURCE"].header["BUNIT"] == "electron / s"
        assert hdus[0].header["SRSOURCE"] == "pixel"
    again = SuperResolution.read(path)
    assert again.meta["source"] == result.meta["source"] == "pixel"
    for source in (again.source, PixelSource.read(path)):
        assert isinstance(source, PixelSource)
        assert source.brightness.unit == result.source.brightness.unit
        largest = result.source.brightness.value.max()
        np.testing.assert_allclose(source.brightness.value, result.source.brightness.value, atol=1e-6 * largest)
        np.testing.assert_allclose(source.error.value, result.source.error.value, rtol=1e-6)
        for here, there in zip(source.grid.coordinates(), result.source.grid.coordinates()):
            np.testing.assert_allclose(here, there, atol=1e-7)
    assert repr(again.source.sersic) == repr(result.source.sersic)
    assert again.source_image.uncertainty is not None


def test_a_sersic_source_says_so(tmp_path):
    result = make_result()
    result.write(tmp_path / "sr.fits")
    with fits.open(tmp_path / "sr.fits") as hdus:
        assert hdus[0].header["SRSOURCE"] == "sersic" and "SRCERR" not in hdus
    again = SuperResolution.read(tmp_path / "sr.fits")
    assert again.meta["source"] == "sersic" and isinstance(again.source, SersicSource)
    # the picture of the profile, in the frame of the image
    picture = PixelSource.read(tmp_path / "sr.fits")
    x, y = (float(p.value) for p in picture.centroid)
    assert (x, y) == pytest.approx((again.source.x.value, again.source.y.value), abs=0.01)
    assert picture.flux.value == pytest.approx(again.source.flux.value, rel=0.1)


def test_others_get_the_nearest_sersic(result):
    smooth = make_result(wcs=result.grid.wcs is not None)
    assert result.to_lenstronomy()["kwargs_source"] == smooth.to_lenstronomy()["kwargs_source"]
    assert result.to_coolest()["lensing_entities"] == smooth.to_coolest()["lensing_entities"]
    # even where the table does not name its amplitude
    result.parameters.remove_row(int(np.flatnonzero(result.parameters["name"] == "amplitude")[0]))
    del result.__dict__["_values"]
    assert result.to_lenstronomy()["kwargs_source"] == smooth.to_lenstronomy()["kwargs_source"]


def test_lenstronomys_frame_is_that_of_the_result(result):
    """The pixels show the source where the nearest profile lies, in its frame too."""
    [image] = result.source.to_lenstronomy()[1]
    [profile] = result.to_lenstronomy()["kwargs_source"]
    ny, nx = image["image"].shape
    row, column = np.unravel_index(np.argmax(image["image"]), (ny, nx))
    x = image["center_x"] + (column - (nx - 1) / 2) * image["scale"]
    y = image["center_y"] + (row - (ny - 1) / 2) * image["scale"]
    assert (x, y) == pytest.approx((profile["center_x"], profile["center_y"]), abs=0.02)


def test_lensed_again(result):
    """The deflection takes the source: where the light of its pixels is seen, the arcs are at least what they were."""
    arcs = result.deflection.lens(result.source)
    assert arcs.unit == UNIT
    x, y = (beta.value for beta in result.deflection.ray_trace())
    left, right, bottom, top = result.source.grid.extent
    inside = (x > left) & (x < right) & (y > bottom) & (y < top)
    brightest = result.arcs.data.max()
    assert (arcs.value - result.arcs.data)[inside].min() > -0.05 * brightest
    assert (arcs.value - result.arcs.data)[inside].max() > 0.2 * brightest


def test_figure(result):
    assert len(result.plot().axes) >= 6
