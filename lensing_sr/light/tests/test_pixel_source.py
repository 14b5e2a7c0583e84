# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""PixelSource: units, the light it gives back, what is read off it, files and others' terms."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import FitError, ImageReadError, InputError, OutputError, PixelScaleError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.lensing.deflection import DeflectionField
from lensing_sr.light.pixel_source import PixelSource
from lensing_sr.light.sersic_source import SersicSource

UNIT = u.electron / u.s
SKIES = [None, [[-1, 0], [0, 1]], [[1, 0], [0, 1]], [[-0.6, 0.8], [0.8, 0.6]]]


def grid_of(cd=None, shape=(70, 80), scale=0.02, origin=(30.0, 41.5)):
    if cd is None:
        return PixelGrid(shape, pixel_scale=scale, origin=origin)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (10.0, 5.0), (18.5, 15.5)
    wcs.wcs.cd = np.array(cd) * scale / 3600
    return PixelGrid(shape, wcs=wcs, origin=origin)


def galaxy(**other):
    values = {"amplitude": 5 * UNIT / u.arcsec**2, "r_eff": 0.12, "n": 1.0, "x": 0.21, "y": -0.15}
    return SersicSource(**{**values, "ellipticity": 0.35, "angle": 30, **other})


def example(grid=None, profile=None, **options):
    grid = grid_of() if grid is None else grid
    return PixelSource((profile or galaxy(n=0.8)).evaluate(*grid.coordinates()), grid, **options)


def same(one, other, rtol=1e-12):
    assert one.brightness.unit == other.brightness.unit
    np.testing.assert_allclose(one.brightness.value, other.brightness.value, rtol=rtol)
    assert (one.error is None) == (other.error is None)
    if one.error is not None:
        np.testing.assert_allclose(one.error.value, other.error.value, rtol=rtol)
    for here, there in zip(one.grid.coordinates(), other.grid.coordinates()):
        np.testing.assert_allclose(here, there, atol=1e-8)


# Through the door ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "factor"),
    [(1, 1), (UNIT, 1), (UNIT / u.arcsec**2, 1), (UNIT / u.arcmin**2, 1 / 3600), (u.MJy / u.sr, 2.350443e-11)],
)
def test_brightness_is_per_square_arcsec(unit, factor):
    values = np.arange(12.0).reshape(3, 4)
    source = PixelSource(values * unit, PixelGrid((3, 4), pixel_scale=0.1), error=(values + 1) * unit)
    np.testing.assert_allclose(source.brightness.value, factor * values, rtol=1e-6)
    np.testing.assert_allclose(source.error.value, factor * (values + 1), rtol=1e-6)
    assert source.error.unit == source.brightness.unit
    assert source.brightness.unit.bases.count(u.arcsec) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"brightness": np.ones((3, 3))}, "brightness: must have the shape"),
        ({"brightness": np.full((3, 4), np.nan)}, "brightness: must be finite, got 12 pixels that are not; set"),
        ({"brightness": np.ones((3, 4)) * UNIT / u.pix}, "brightness: must be a surface brightness"),
        ({"grid": (3, 4)}, "grid: must be a PixelGrid"),
        ({"error": np.ones((3, 3))}, "error: must have the shape"),
        ({"error": -np.ones((3, 4))}, "error: must not be negative, got 12 pixels"),
        ({"error": np.ones((3, 4)) * u.nJy / u.arcsec**2}, "error: must be in the unit of brightness"),
        ({"sersic": 4}, "sersic: must be a SersicSource"),
    ],
)
def test_what_is_refused(arguments, message):
    good = {"brightness": np.ones((3, 4)) * UNIT, "grid": PixelGrid((3, 4), pixel_scale=0.1)}
    with pytest.raises(InputError, match=message):
        PixelSource(**{**good, **arguments})


def test_it_keeps_its_own_pixels():
    values, error = np.ones((4, 5)), np.ones((4, 5))
    source = PixelSource(values, PixelGrid((4, 5), pixel_scale=0.1), error=error)
    values[:], error[:] = 7.0, 7.0
    assert (source.brightness.value == 1).all() and (source.error.value == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        source.brightness[0, 0] = 3 * u.arcsec**-2


def test_errors_that_are_unknown():
    values, error = np.full((2, 3), 6.0), np.array([[2.0, 0.0, np.inf], [np.nan, 3.0, 1.0]])
    source = PixelSource(values, PixelGrid((2, 3), pixel_scale=0.1), error=error)
    np.testing.assert_array_equal(source.significance, [[3, np.nan, np.nan], [np.nan, 2, 6]])
    assert "peak_significance=6" in repr(source)
    bare = PixelSource(values, source.grid)
    assert bare.error is None and bare.significance is None and "significance" not in repr(bare)


# Its light -----------------------------------------------------------------------------------------------------------


@given(st.floats(-0.5, 0.8), st.floats(-0.7, 0.5))
@settings(max_examples=25, deadline=None)
def test_light_between_the_pixels_is_that_of_a_smooth_galaxy(x, y):
    truth = galaxy(n=0.5)  # a Gaussian: the others have a cusp
    found, expected = example(profile=truth).evaluate(x, y), truth.evaluate(x, y)
    assert found.unit == expected.unit and found.shape == ()
    assert abs(found - expected) < 2e-3 * truth.amplitude


def test_light_at_the_pixels_and_beyond_them():
    source = example()
    x, y = source.grid.coordinates()
    np.testing.assert_allclose(source.evaluate(x * u.arcsec, y / 60 * u.arcmin), source.brightness, atol=1e-12)
    assert source.evaluate(5.0, 0.0) == 0
    assert np.isnan(source.evaluate([np.nan, 0.0], 0.1)).tolist() == [True, False]


def test_image_is_flux_per_pixel():
    source = example(profile=galaxy(n=0.5))
    coarse = PixelGrid((30, 30), pixel_scale=0.08)
    image = source.image(coarse, supersampling=4)
    assert image.unit == UNIT and image.shape == coarse.shape
    assert image.sum().value == pytest.approx(source.flux.value, rel=1e-4)
    assert source.flux.value == pytest.approx(galaxy(n=0.5).flux.value, rel=1e-3)
    with pytest.raises(InputError, match="supersampling"):
        source.image(coarse, supersampling=0)


@pytest.mark.parametrize("cd", SKIES)
def test_lensed_like_the_galaxy_it_shows(cd):
    """A deflection field takes it wherever its own grid lies."""
    grid = grid_of(cd, shape=(60, 60), scale=0.05, origin=(29.5, 29.5))
    lens = DeflectionField.from_sie(1.1 * u.arcsec, 0.1, 0.05, grid=grid)
    truth = galaxy(n=0.5)
    plane = grid.upsampled(5).cropped(slice(70, 200), slice(100, 230))
    seen, expected = lens.lens(example(plane, truth)), lens.lens(truth)
    assert seen.unit == expected.unit
    np.testing.assert_allclose(seen.value, expected.value, atol=2e-3 * expected.value.max())


# What is read off it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0.5, 1.0])
@pytest.mark.parametrize("ellipticity", [0.0, 0.35])
def test_radius_and_centroid_of_a_galaxy(n, ellipticity):
    truth = galaxy(n=n, ellipticity=ellipticity)
    grid = grid_of(shape=(140, 140), origin=(60.0, 71.5))
    source = example(grid, truth)
    assert source.r_eff.value == pytest.approx(0.12, rel=0.02)
    assert [p.to_value(u.arcsec) for p in source.centroid] == pytest.approx([0.21, -0.15], abs=1e-3)


def test_light_below_zero_has_no_radius():
    dark = PixelSource(np.full((5, 5), -1.0), PixelGrid((5, 5), pixel_scale=0.1))
    assert np.isnan(dark.r_eff) and np.isnan(dark.centroid[0])
    assert dark.flux.value < 0
    with pytest.raises(FitError):
        dark.sersic


def test_a_row_of_light_has_a_radius():
    """Although its ellipse has no area."""
    row = np.zeros((1, 9))
    row[0, 2:7] = 1.0
    assert np.isfinite(PixelSource(row, PixelGrid((1, 9), pixel_scale=0.1)).r_eff)


def test_nearest_sersic_of_a_sersic():
    truth = galaxy()
    found = example(profile=truth).sersic
    assert found.amplitude.unit == truth.amplitude.unit
    assert found.flux.value == pytest.approx(truth.flux.value, rel=1e-3)
    assert found.r_eff.value == pytest.approx(0.12, rel=1e-3)
    assert found.n == pytest.approx(1.0, rel=1e-3)
    assert (found.x.value, found.y.value) == pytest.approx((0.21, -0.15), abs=1e-4)
    assert found.components == pytest.approx(truth.components, abs=1e-3)


def test_nearest_sersic_is_the_one_given_or_fitted_once():
    given_one = galaxy(n=3)
    assert example(sersic=given_one).sersic is given_one
    source = example()
    assert source.sersic is source.sersic


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cd", SKIES)
@pytest.mark.parametrize("with_error", [True, False])
def test_file_and_back(cd, with_error, tmp_path):
    grid = grid_of(cd)
    error = np.linspace(1, 2, 5600).reshape(grid.shape)
    error[3, 4] = np.nan
    source, path = example(grid, error=error if with_error else None), tmp_path / "source.fits"
    source.write(path)
    again = PixelSource.read(path)
    same(again, source)
    assert again.grid == source.grid
    if cd is not None:
        # what others read
        plain = CCDData.read(path)
        assert plain.unit == source.brightness.unit
        assert (plain.uncertainty is not None) == with_error
        same(PixelSource.from_ccddata(plain), source)
    with pytest.raises(OutputError):
        source.write(path)


@pytest.mark.parametrize("cd", SKIES)
@pytest.mark.parametrize("unit", [None, UNIT, UNIT / u.arcmin**2])
def test_image_and_back(cd, unit):
    source = example(grid_of(cd), error=np.ones((70, 80)))
    image = source.to_ccddata(unit)
    assert image.unit == (unit or UNIT / u.arcsec**2)
    if unit == UNIT:
        assert image.data.sum() == pytest.approx(source.flux.value, rel=1e-5)
    same(PixelSource.from_ccddata(image), source)
    same(PixelSource.from_ccddata(image, source.grid), source)
    with pytest.raises(InputError, match="unit: must be a unit to which"):
        source.to_ccddata("nJy")


def test_image_of_another():
    """Flux a pixel, a mask, a variance, axes in degrees."""
    data, mask = np.full((4, 5), 3.0), np.zeros((4, 5), dtype=bool)
    data[1, 1], mask[2, 2] = np.nan, True
    wcs = WCS(naxis=2)
    wcs.wcs.crpix, wcs.wcs.cdelt, wcs.wcs.cunit = (2.0, 3.0), (0.1 / 3600, 0.1 / 3600), ("deg", "deg")
    image = CCDData(data, unit=UNIT / u.pix, mask=mask, uncertainty=VarianceUncertainty(np.full((4, 5), 4.0)), wcs=wcs)
    source = PixelSource.from_ccddata(image)
    assert source.brightness.unit == UNIT / u.arcsec**2
    assert source.brightness.value[0, 0] == pytest.approx(300) and source.error.value[0, 0] == pytest.approx(200)
    assert source.brightness.value[1, 1] == source.brightness.value[2, 2] == 0
    assert np.isnan(source.error.value[1, 1]) and np.isnan(source.error.value[2, 2])
    assert source.grid.origin == pytest.approx((1.0, 2.0))
    with pytest.raises(PixelScaleError, match="image: needs a WCS, celestial or linear in arcsec.*give the grid"):
        PixelSource.from_ccddata(CCDData(data, unit=UNIT))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ImageReadError, match="must be a FITS file"):
        PixelSource.read(tmp_path / "missing.fits")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(ImageReadError, match="must hold an image"):
        PixelSource.read(tmp_path / "empty.fits")


# In others' terms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cd", SKIES)
def test_same_as_lenstronomy(cd):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LightModel.light_model import LightModel

    source = example(grid_of(cd))
    names, kwargs = source.to_lenstronomy(supersampling=6)
    x, y = (p + 0.003 for p in grid_of(cd, shape=(90, 100), origin=(40.0, 51.5)).coordinates())
    turn = np.eye(2) if cd is None else source.grid.orientation
    east, north = np.tensordot(turn, [x, y], axes=1)
    theirs = LightModel(names).surface_brightness(east.ravel(), north.ravel(), kwargs).reshape(x.shape)
    ours = source.evaluate(x, y).value
    np.testing.assert_allclose(theirs, ours, atol=5e-3 * ours.max())


def test_figure(tmp_path):
    source = example(grid_of(SKIES[3]), error=np.ones((70, 80)))
    source.plot(tmp_path / "source.png")
    assert (tmp_path / "source.png").stat().st_size > 1000
    titles = lambda source: [axes.get_title() for axes in source.plot().axes if axes.get_title()]
    assert titles(source) == ["Source", "Beyond the nearest Sersic", "Significance"]
    # nothing that a Sersic profile could follow
    assert titles(PixelSource(np.zeros((9, 9)), PixelGrid((9, 9), pixel_scale=0.1))) == ["Source"]


def test_uncertainty_of_an_image_is_a_standard_deviation():
    image = example(error=np.full((70, 80), 2.0)).to_ccddata(UNIT)
    assert isinstance(image.uncertainty, StdDevUncertainty)
    np.testing.assert_allclose(image.uncertainty.array, 2.0 * 0.02**2)
