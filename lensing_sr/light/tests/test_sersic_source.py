# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""SersicSource: units, others' conventions, and fits that find what was put in."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import FitError, InputError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.image.lens_image import LensImage
from lensing_sr.light.sersic_source import SersicSource

UNIT = u.electron / u.s


def example(**other):
    values = {
        "amplitude": 5 * UNIT / u.arcsec**2,
        "r_eff": 0.4 * u.arcsec,
        "n": 1.5,
        "x": 0.13 * u.arcsec,
        "y": -0.08 * u.arcsec,
        "ellipticity": 0.35,
        "angle": 30 * u.deg,
    }
    return SersicSource(**{**values, **other})


@pytest.mark.parametrize(
    ("amplitude", "expected"),
    [
        (3.0, 3.0 * u.arcsec**-2),
        (3.0 * UNIT, 3.0 * UNIT / u.arcsec**2),
        (3.0 * UNIT / u.arcmin**2, 3.0 / 3600 * UNIT / u.arcsec**2),
        (3.0 * u.MJy / u.sr, (3.0 * u.MJy / u.sr).to(u.MJy / u.arcsec**2)),
    ],
)
def test_amplitude_is_per_square_arcsec(amplitude, expected):
    source = example(amplitude=amplitude)
    assert source.amplitude.unit == expected.unit
    assert source.amplitude.value == pytest.approx(expected.value)
    assert source.flux.unit.is_equivalent(expected.unit * u.arcsec**2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("amplitude", 3 * UNIT / u.pix, "amplitude: must be a surface brightness"),
        ("amplitude", 3 * UNIT / u.arcsec, "amplitude: must be a surface brightness"),
        ("amplitude", np.nan, "amplitude: must be one finite"),
        ("r_eff", -1, "r_eff: must be positive"),
        ("r_eff", 1 * u.kg, "r_eff: must be one finite number in arcsec"),
        ("n", 12, "n: must lie between 0.3 and 10"),
        ("x", np.inf, "x: must be one finite"),
        ("ellipticity", 1.0, "ellipticity: is 1 - q and must be below 1"),
        ("ellipticity", -0.1, "ellipticity: must not be negative"),
        ("angle", 3 * u.m, "angle: must be one finite number in deg"),
    ],
)
def test_what_is_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        example(**{name: value})


@given(e=st.floats(0.0, 0.9), angle=st.floats(-90, 90))
@settings(max_examples=25, deadline=None)
def test_components_and_back(e, angle):
    source = example(ellipticity=e, angle=angle)
    again = SersicSource.from_components(1.0, source.r_eff, source.n, source.x, source.y, *source.components)
    assert again.q == pytest.approx(source.q)
    assert again.components == pytest.approx(source.components, abs=1e-12)


def test_same_as_astropy():
    source = example()
    model = source.to_astropy()
    x, y = (c * u.arcsec for c in PixelGrid((40, 50), pixel_scale=0.1).coordinates())
    theirs, ours = model(x, y), source.evaluate(x, y)
    assert ours.unit == theirs.unit
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-6)
    # the centre itself, and plain numbers in arcsec
    np.testing.assert_allclose(source.evaluate(0.13, -0.08).value, model(source.x, source.y).value, rtol=1e-6)


@pytest.mark.parametrize("cd", [None, [[-1, 0], [0, 1]], [[1, 0], [0, 1]], [[-0.6, 0.8], [0.8, 0.6]]])
def test_same_as_lenstronomy(cd):
    """The same light in its frame (x East, y North), although its b_n is approximate."""
    pytest.importorskip("lenstronomy")
    from lenstronomy.LightModel.light_model import LightModel

    grid = PixelGrid((30, 36), pixel_scale=0.1)
    if cd is not None:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (10.0, 5.0), (18.5, 15.5)
        wcs.wcs.cd = np.array(cd) * 0.1 / 3600
        grid = PixelGrid((30, 36), wcs=wcs)
    names, kwargs = example().to_lenstronomy(grid)
    x, y = grid.coordinates()
    turn = np.eye(2) if grid.orientation is None else grid.orientation
    east, north = np.tensordot(turn, [x, y], axes=1)
    theirs = LightModel(names).surface_brightness(east.ravel(), north.ravel(), kwargs).reshape(grid.shape)
    np.testing.assert_allclose(example().evaluate(x, y).value, theirs, rtol=1e-6)
    if cd == [[-1, 0], [0, 1]]:
        e1, e2 = example().components
        assert (kwargs[0]["e1"], kwargs[0]["e2"]) == pytest.approx((e1, -e2))
        assert kwargs[0]["center_x"] == pytest.approx(-0.13)


def test_image_is_flux_per_pixel():
    source = example()
    grid = PixelGrid((161, 161), pixel_scale=0.05)
    image = source.image(grid, supersampling=3)
    assert image.unit == UNIT and image.shape == grid.shape
    assert image.sum().value == pytest.approx(source.flux.value, rel=5e-3)
    np.testing.assert_allclose(source.image(grid).value, source.evaluate(*grid.coordinates()).value * 0.05**2)
    with pytest.raises(InputError, match="supersampling"):
        source.image(grid, supersampling=0)


def test_from_parameters():
    e1, e2 = example().components
    rows = [
        ("theta_E", 1.2, "arcsec"),
        ("amplitude", 5.0, "electron / (s arcsec2)"),
        ("r_eff", 400.0, "marcsec"),
        ("n", 1.5, ""),
        ("x_source", 0.13, "arcsec"),
        ("y_source", -0.08, "arcsec"),
        ("e1_source", e1, ""),
        ("e2_source", e2, ""),
    ]
    table = Table(rows=rows, names=("name", "value", "unit"))
    for parameters in (table, {name: value * u.Unit(unit) for name, value, unit in rows}):
        source = SersicSource.from_parameters(parameters)
        assert repr(source) == repr(example())
    with pytest.raises(InputError, match="parameters: must name .*none of amplitude"):
        SersicSource.from_parameters({"r_eff": 1.0})


def check(found, truth, rel):
    assert found.flux.value == pytest.approx(truth.flux.value, rel=rel)
    assert found.r_eff.value == pytest.approx(truth.r_eff.value, rel=rel)
    assert found.n == pytest.approx(truth.n, rel=2 * rel)
    assert (found.x.value, found.y.value) == pytest.approx((truth.x.value, truth.y.value), abs=0.05 * rel)
    assert found.components == pytest.approx(truth.components, abs=rel)


@pytest.mark.parametrize("n", [0.7, 1.5, 4.0])
def test_fit_finds_what_was_put_in(n):
    """Blurred by a PSF, with noise, a sky and masked pixels."""
    rng = np.random.default_rng(5)
    truth = example(n=n)
    grid = PixelGrid((81, 90), pixel_scale=0.05)
    from scipy.signal import fftconvolve

    from lensing_sr.image.psf import PSF

    kernel = PSF.from_fwhm(0.12 * u.arcsec).kernel_at(0.05, 1)
    clean = fftconvolve(truth.image(grid, 3).value, kernel, mode="same")
    noise = 0.002 * clean.max()
    data = clean + 0.01 * clean.max() + rng.normal(0, noise, grid.shape)
    mask = np.zeros(grid.shape, dtype=bool)
    data[20:24, 30:33], mask[20:24, 30:33] = 1e3, True
    image = LensImage(data, noise=noise, mask=mask, psf=0.12 * u.arcsec, pixel_scale=0.05, unit="electron/s")
    found = SersicSource.fit(image)
    assert found.amplitude.unit == UNIT / u.arcsec**2
    check(found, truth, 0.01 if n < 2 else 0.05)


def test_fit_of_a_file(tmp_path):
    truth = example()
    grid = PixelGrid((60, 60), pixel_scale=0.08)
    path = tmp_path / "source.fits"
    hdu = fits.PrimaryHDU(truth.image(grid).value)
    hdu.header["BUNIT"] = "electron / s"
    hdu.writeto(path)
    check(SersicSource.fit(path, supersampling=1, pixel_scale=0.08 * u.arcsec), truth, 1e-3)


def test_fit_keeps_surface_brightness():
    truth = example(amplitude=2 * u.MJy / u.sr)
    grid = PixelGrid((60, 60), pixel_scale=0.08)
    data = truth.evaluate(*grid.coordinates()).to_value(u.MJy / u.sr)
    found = SersicSource.fit(LensImage(data, pixel_scale=0.08, unit="MJy/sr"), supersampling=1)
    assert found.amplitude.to_value(u.MJy / u.sr) == pytest.approx(2.0, rel=1e-3)


def test_nothing_to_fit():
    rng = np.random.default_rng(6)
    for noise in (None, 1.0):
        blank = LensImage(rng.normal(size=(40, 40)), noise=noise, pixel_scale=0.05)
        with pytest.raises(FitError, match="nothing stands out"):
            SersicSource.fit(blank, supersampling=1)
    mask = np.ones((30, 30), dtype=bool)
    mask[:3, :3] = False
    with pytest.raises(FitError, match="16 good pixels"):
        SersicSource.fit(LensImage(rng.normal(size=(30, 30)), mask=mask, pixel_scale=0.05))
