# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of DeflectionField: units, frames, derived maps and curves, there and back through the lens, files."""

import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import ImageReadError, InputError, OutputError, PixelScaleError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.lensing.deflection import DeflectionField
from lensing_sr.lensing.mass import epl_deflection, shear_deflection, sie_convergence
from lensing_sr.light.sersic_source import SersicSource


def plain_grid(n=121, scale=0.05):
    return PixelGrid((n, n + 6), pixel_scale=scale * u.arcsec / u.pix)


def sky_grid(shape=(101, 110), scale=0.05, angle=0.0, mirrored=True):
    """Grid on the sky, East to the left unless mirrored is False, turned by an angle in degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.2
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2  # elsewhere North would not be quite along the columns
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0]) * scale / 3600
    return PixelGrid(shape, wcs=wcs)


def sie(grid=None, **other):
    values = {"theta_E": 1.2 * u.arcsec, "e1": 0.12, "e2": -0.07, "x": 0.03 * u.arcsec, "y": -0.02, **other}
    return DeflectionField.from_sie(**values, grid=plain_grid() if grid is None else grid)


def test_units_and_shapes():
    grid = plain_grid(20)
    field = DeflectionField(np.ones(grid.shape), 0.001 * u.arcmin * np.ones(grid.shape), grid)
    assert field.alpha_x.unit == field.alpha_y.unit == u.arcsec
    np.testing.assert_allclose(field.alpha_y.value, 0.06)
    assert field.shape == (20, 26)
    assert "26" in repr(field) and "0.05 arcsec" in repr(field)
    with pytest.raises(InputError, match=r"alpha_x: must have the shape \(20, 26\)"):
        DeflectionField(np.ones((26, 20)), np.ones(grid.shape), grid)
    with pytest.raises(InputError, match="alpha_y: must be an array of angles"):
        DeflectionField(np.ones(grid.shape), np.ones(grid.shape) * u.kg, grid)
    with pytest.raises(InputError, match="grid: must be a PixelGrid"):
        DeflectionField(np.ones((5, 5)), np.ones((5, 5)), (5, 5))
    with pytest.raises(InputError, match="modulus below 1"):
        sie(e1=1.0)
    with pytest.raises(InputError, match="theta_E: must be positive"):
        sie(theta_E=0)


def test_polar_components():
    field = sie(e1=0, e2=0, x=0, y=0)
    r = np.hypot(*field.grid.coordinates())
    np.testing.assert_allclose(field.radial.value[r > 0], 1.2, rtol=1e-9)
    np.testing.assert_allclose(field.tangential.value, 0, atol=1e-12)
    x, y = field.grid.coordinates()
    turning = DeflectionField(-y, x, field.grid)
    np.testing.assert_allclose(turning.tangential.value, r, rtol=1e-12)
    np.testing.assert_allclose(turning.radial.value, 0, atol=1e-12)
    np.testing.assert_allclose(turning.curl, 2.0, rtol=1e-9)


def test_convergence_from_arrays_is_analytic():
    field = sie()
    x, y = (torch.from_numpy(c) for c in field.grid.coordinates())
    p = [torch.tensor(value, dtype=torch.float64) for value in (1.2, 0.12, -0.07)]
    expected = sie_convergence(x, y, *p, 0.03, -0.02).numpy()
    far = torch.hypot(x, y).numpy() > 30 * 0.05
    np.testing.assert_allclose(field.convergence[far], expected[far], rtol=1e-3)
    assert np.abs(field.curl[far]).max() < 1e-3
    # an isothermal lens: |gamma| = kappa, magnification 1 / (1 - 2 kappa)
    np.testing.assert_allclose(np.hypot(*field.shear)[far], expected[far], rtol=2e-3)
    np.testing.assert_allclose(1 / field.magnification[far], 1 - 2 * expected[far], atol=2e-3)


@settings(max_examples=15, deadline=None)
@given(theta_E=st.floats(0.5, 2.2), e=st.floats(0.0, 0.4), phi=st.floats(0, np.pi))
def test_einstein_radius_of_an_sie_is_theta_E(theta_E, e, phi):
    field = sie(theta_E=theta_E, e1=e * np.cos(2 * phi), e2=e * np.sin(2 * phi))
    assert field.einstein_radius.to_value(u.arcsec) == pytest.approx(theta_E, rel=2e-3)


def test_no_einstein_radius_without_a_closed_curve():
    assert np.isnan(sie(theta_E=9.0).einstein_radius)
    grid = plain_grid(20)
    empty = DeflectionField(np.zeros(grid.shape), np.zeros(grid.shape), grid)
    assert np.isnan(empty.einstein_radius) and empty.critical_curves() == []


def test_critical_curve_and_caustic():
    """The tangential curve of an SIE is its isodensity kappa = 1/2; its caustic is the astroid."""
    field = sie()
    [(x, y)] = field.critical_curves()
    assert x.unit == u.arcsec
    p = [torch.tensor(value, dtype=torch.float64) for value in (1.2, 0.12, -0.07)]
    kappa = sie_convergence(torch.from_numpy(x.value), torch.from_numpy(y.value), *p, 0.03, -0.02)
    np.testing.assert_allclose(kappa.numpy(), 0.5, rtol=3e-3)
    [(beta_x, beta_y)] = field.caustics("tangential")
    assert 0.05 < np.ptp(beta_x.value) < 1 and 0.05 < np.ptp(beta_y.value) < 1
    with pytest.raises(InputError, match="kind"):
        field.critical_curves("inner")


def test_potential_is_integrated():
    grid = plain_grid(61)
    x, y = grid.coordinates()
    field = DeflectionField(0.3 * x + 0.1 * y, 0.1 * x - 0.2 * y, grid)
    expected = 0.15 * x**2 + 0.1 * x * y - 0.1 * y**2
    assert field.potential.unit == u.arcsec**2
    np.testing.assert_allclose(field.potential.value, expected - expected.min(), atol=1e-10)


def test_from_convergence_inverts_convergence():
    grid = sky_grid(angle=30.0)
    x, y = grid.coordinates()
    kappa = 1.5 * np.exp(-0.5 * ((x - 0.2) ** 2 + (y / 0.7) ** 2) / 0.4**2)
    field = DeflectionField.from_convergence(kappa, grid)
    np.testing.assert_allclose(field.convergence, kappa, atol=2e-3)
    assert np.abs(field.curl).max() < 1e-3
    with pytest.raises(InputError, match="kappa: must have the shape"):
        DeflectionField.from_convergence(kappa[1:], grid)


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("angle", [0.0, 37.0])
def test_lenstronomys_frame(mirrored, angle):
    """Its x is East, its y North: phi -> pi - phi, e2 -> -e2, gamma2 -> -gamma2 where East is left."""
    pytest.importorskip("lenstronomy")
    grid = sky_grid(angle=angle, mirrored=mirrored)
    e1, e2, gamma1, gamma2, x0, y0 = 0.15, 0.08, 0.03, -0.04, 0.1, -0.05
    x, y = (torch.from_numpy(c) for c in grid.coordinates())
    p = [torch.tensor(value, dtype=torch.float64) for value in (1.1, 2.1, e1, e2, gamma1, gamma2)]
    alpha, shear = epl_deflection(x, y, *p[:4], x0, y0), shear_deflection(x, y, *p[4:])
    if angle == 0.0 and mirrored:
        theirs = {"e1": e1, "e2": -e2, "center_x": -x0, "center_y": y0}, {"gamma1": gamma1, "gamma2": -gamma2}
    else:
        turn = grid.orientation
        spin = [turn @ [[a, b], [b, -a]] @ turn.T for a, b in ((e1, e2), (gamma1, gamma2))]
        cx, cy = turn @ [x0, y0]
        theirs = (
            {"e1": spin[0][0, 0], "e2": spin[0][0, 1], "center_x": cx, "center_y": cy},
            {"gamma1": spin[1][0, 0], "gamma2": spin[1][0, 1]},
        )
    kwargs = [{"theta_E": 1.1, "gamma": 2.1, **theirs[0]}, {**theirs[1], "ra_0": 0.0, "dec_0": 0.0}]
    field = DeflectionField.from_lenstronomy(["EPL", "SHEAR"], kwargs, grid=grid)
    np.testing.assert_allclose(field.alpha_x.value, (alpha[0] + shear[0]).numpy(), atol=1e-6)
    np.testing.assert_allclose(field.alpha_y.value, (alpha[1] + shear[1]).numpy(), atol=1e-6)


def test_ray_tracing():
    field = sie()
    x, y = field.grid.coordinates()
    beta_x, beta_y = field.ray_trace()
    np.testing.assert_allclose((beta_x + field.alpha_x).value, x)
    np.testing.assert_allclose(field.ray_trace(x, y)[1].value, beta_y.value, atol=1e-12)
    # between the pixels: the model itself, to a fraction of a milli-arcsec
    points = np.array([1.013, -0.777]) * u.arcsec, np.array([0.021, 1.5]) * u.arcsec
    fine = sie(plain_grid(484, 0.0125)).ray_trace(*points)
    for a, b in zip(field.ray_trace(*points), fine):
        np.testing.assert_allclose(a.value, b.value, atol=2e-4)
    assert np.isnan(field.ray_trace(100.0, 0.0)[0])


@pytest.mark.parametrize("scale", [2, 2.5, 3])
def test_resampled_field_is_the_field_on_the_finer_grid(scale):
    grid = sky_grid(angle=20.0)
    field = sie(grid, x=0.013, y=0.021)
    fine = field.resample(scale)
    assert fine.grid == grid.upsampled(scale)
    expected = sie(fine.grid, x=0.013, y=0.021)
    r = np.hypot(*fine.grid.coordinates())
    np.testing.assert_allclose(fine.alpha_x.value[r > 0.6], expected.alpha_x.value[r > 0.6], atol=1e-3)
    assert fine.einstein_radius.value == pytest.approx(1.2, rel=2e-3)


def source():
    return SersicSource(10 * u.ct / u.s / u.arcsec**2, 0.25, 1.0, 0.1, 0.05, 0.2, 40)


def test_lensed_sersic_is_flux_per_pixel():
    field = sie()
    image = field.lens(source())
    assert image.unit == u.ct / u.s and image.shape == field.shape
    expected = source().evaluate(*field.ray_trace()) * field.grid.pixel_area
    np.testing.assert_allclose(image.value, expected.to_value(u.ct / u.s))
    # finer points change little, and the flux is magnified
    fine = field.lens(source(), supersampling=3)
    assert fine.sum().value == pytest.approx(image.sum().value, rel=0.01)
    assert image.sum() > 3 * source().flux
    with pytest.raises(InputError, match="supersampling"):
        field.lens(source(), supersampling=1.5)


def test_lens_of_an_image_is_that_of_the_profile():
    """In flux per pixel of the field, whatever the pixels of the source; a surface brightness stays one."""
    field = sie()
    expected = field.lens(source())
    fine = PixelGrid((301, 301), pixel_scale=0.01)
    image = field.lens((source().image(fine), fine))
    np.testing.assert_allclose(image.value, expected.value, atol=0.02 * expected.value.max())
    brightness = field.lens((source().evaluate(*fine.coordinates()), fine))
    assert brightness.unit == u.ct / u.s / u.arcsec**2
    np.testing.assert_allclose((brightness * field.grid.pixel_area).value, image.value, rtol=1e-9, atol=1e-12)
    bare = field.lens(np.ones(field.shape))
    assert type(bare) is np.ndarray and bare.max() == pytest.approx(1.0)
    with pytest.raises(InputError, match="source: must have the shape"):
        field.lens(np.ones((3, 3)))


@pytest.mark.parametrize("on_sky", [False, True])
def test_delens_brings_the_source_back(on_sky):
    grid = sky_grid((121, 127), angle=15.0) if on_sky else plain_grid()
    field = sie(grid)
    seen = field.lens(source())
    plane = grid.upsampled(2)
    if on_sky:
        image = CCDData(seen.value, unit=seen.unit, wcs=grid.wcs, mask=np.zeros(grid.shape, dtype=bool))
        image.data[3, 4], image.mask[3, 4] = 1e9, True
    else:
        image = seen
    back = field.delens(image, plane)
    truth = source().image(plane)
    assert back.shape == plane.shape and back.unit == truth.unit
    known = np.isfinite(back.value)
    x, y = plane.coordinates()
    assert known[np.hypot(x, y) < 0.4].mean() > 0.8
    # the bilinear shares blur the cusp of the profile a little
    assert np.abs(back.value - truth.value)[known].max() < 0.12 * truth.value.max()
    assert np.median(np.abs(back.value - truth.value)[known]) < 0.01 * truth.value.max()
    assert field.delens(np.ones(grid.shape)).shape == grid.shape


@pytest.mark.parametrize("grid", [plain_grid(30), sky_grid((30, 34), angle=33.0)], ids=["plain", "sky"])
def test_written_and_read(tmp_path, grid):
    grid = grid.cropped(slice(3, 29), slice(2, 30))  # the frame's origin is not the centre of the array
    field = sie(grid)
    path = tmp_path / "alpha.fits"
    field.write(path)
    again = DeflectionField.read(path)
    np.testing.assert_array_equal(again.alpha_x.value, field.alpha_x.value)
    np.testing.assert_array_equal(again.alpha_y.value, field.alpha_y.value)
    assert again.grid == grid
    assert fits.getheader(path, "DEFLECT")["BUNIT"] == "arcsec"
    with pytest.raises(OutputError, match="exists"):
        field.write(path)
    field.write(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["alpha.fits"]


def test_published_pairs(tmp_path):
    """One component a file, in arcsec or in pixels, scaled by D_ls / D_s."""
    grid = sky_grid((30, 34))
    field = sie(grid)
    header = grid.wcs.to_header()
    x_file, y_file = tmp_path / "x.fits", tmp_path / "y.fits"
    for unit, factor in (("arcsec", 1.0), ("pix", 1 / 0.05), (None, 1.0)):
        for name, alpha in ((x_file, field.alpha_x), (y_file, field.alpha_y)):
            hdu = fits.PrimaryHDU(alpha.value * factor, header)
            if unit is not None:
                hdu.header["BUNIT"] = unit
            hdu.writeto(name, overwrite=True)
        again = DeflectionField.from_fits(x_file, y_file, 0.8)
        assert again.grid == grid
        np.testing.assert_allclose(again.alpha_x.value, 0.8 * field.alpha_x.value, atol=1e-8)
        np.testing.assert_allclose(again.alpha_y.value, 0.8 * field.alpha_y.value, atol=1e-8)
    with pytest.raises(InputError, match="unit: must be an angle, or pixels"):
        DeflectionField.from_fits(x_file, y_file, unit="kg")
    with pytest.raises(InputError, match="scale: must be positive"):
        DeflectionField.from_fits(x_file, y_file, -1)
    fits.PrimaryHDU(np.ones((30, 34))).writeto(x_file, overwrite=True)
    with pytest.raises(PixelScaleError, match="give pixel_scale"):
        DeflectionField.from_fits(x_file, y_file)
    assert DeflectionField.from_fits(x_file, y_file, pixel_scale=0.1).grid.pixel_scale.value == pytest.approx(0.1)


def test_files_that_hold_no_field(tmp_path):
    path = tmp_path / "image.fits"
    with pytest.raises(ImageReadError, match="path: must be a FITS file"):
        DeflectionField.read(path)
    path.write_text("not FITS at all")
    with pytest.raises(ImageReadError, match="path: must be a FITS file"):
        DeflectionField.read(path)
    fits.PrimaryHDU(np.ones((6, 6))).writeto(path, overwrite=True)
    with pytest.raises(ImageReadError, match="must hold a deflection field"):
        DeflectionField.read(path)
    with pytest.raises(ImageReadError, match="ext: must be one of"):
        DeflectionField.read(path, ext="ALPHA")
    other = tmp_path / "other.fits"
    fits.PrimaryHDU(np.ones((7, 6))).writeto(other)
    with pytest.raises(InputError, match="y_file: must have the shape"):
        DeflectionField.from_fits(path, other)
    two = fits.HDUList([fits.PrimaryHDU(np.ones((6, 6))), fits.ImageHDU(np.ones((6, 6)))])
    two.writeto(other, overwrite=True)
    with pytest.raises(ImageReadError, match="y_file: must hold one"):
        DeflectionField.from_fits(path, other)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    figure = sie(sky_grid((60, 64))).plot(tmp_path / "field.png")
    assert len(figure.axes) >= 1 and (tmp_path / "field.png").stat().st_size > 1000


def test_importing_the_classes_does_not_load_torch():
    code = "import lensing_sr.lensing.deflection, lensing_sr.light.sersic_source, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
