# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a result promises: its file, its frames, its exports."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS

from lensing_sr.errors import ImageReadError, OutputError
from lensing_sr.export.fits_layout import EXTENSIONS, KEYWORDS
from lensing_sr.result import SuperResolution
from lensing_sr.tests.fake_result import make_result


@pytest.fixture(scope="module")
def result():
    return make_result()


@pytest.fixture(scope="module")
def bare():
    """Without a celestial system."""
    return make_result(wcs=False, flags=("poor fit", "edge"))


@pytest.fixture
def written(result, tmp_path):
    path = tmp_path / "sr.fits"
    result.write(path)
    return path


def test_ccddata_reads_the_file_plain(result, written):
    image = CCDData.read(written)
    assert image.unit == u.electron / u.s
    assert image.wcs.has_celestial
    assert isinstance(image.uncertainty, StdDevUncertainty)
    assert image.mask.dtype == bool
    np.testing.assert_array_equal(image.mask, result.image.mask)
    np.testing.assert_allclose(image.data, result.image.data, rtol=1e-6)
    np.testing.assert_allclose(image.psf, result.psf, rtol=1e-6)


def test_every_piece_has_its_extension(result, bare):
    for case in (result, bare):
        hdus = case.to_hdus()
        assert [hdu.name for hdu in hdus] == [
            "PRIMARY",
            "UNCERT",
            "MASK",
            "PSFIMAGE",
            "ARCS",
            "LENSLITE",
            "SOURCE",
            "DEFLECT",
            "KAPPA",
            "MODEL",
            "RESID",
            "LENSPARS",
        ]
        for name in ("PRIMARY", "UNCERT", "MASK", "ARCS", "LENSLITE", "KAPPA"):
            assert hdus[name].shape == (240, 256), name
        assert hdus["DEFLECT"].shape == (2, 240, 256)
        assert hdus["MODEL"].shape == hdus["RESID"].shape == (120, 128)
        assert hdus["LENSPARS"].columns.names == ["NAME", "VALUE", "ERR", "UNIT", "ERR95"]
        for name in ("PRIMARY", "ARCS", "LENSLITE", "MODEL", "RESID", "SOURCE", "UNCERT"):
            assert u.Unit(hdus[name].header["BUNIT"]) == u.electron / u.s
        assert hdus["DEFLECT"].header["BUNIT"] == "arcsec"


def test_every_value_has_its_keyword(result):
    header = result.to_hdus()[0].header
    assert set(header) >= {keyword for keyword, _ in KEYWORDS.values()}
    assert header["SRSCALE"] == 2
    assert header["SRMETHOD"] == "fit"
    assert header["SRTIME"] == 1.5
    assert header["CHI2RED"] == 1.01
    assert header["SRFLAGS"] == ""
    assert header["SRNOTES"] == "one; note"
    assert header["SKYLEVEL"] == result.sky
    assert list(header["HISTORY"]) == result.meta["history"]


def test_names_are_fit_for_fits():
    keywords = [keyword for keyword, _ in KEYWORDS.values()]
    for names in (keywords, list(EXTENSIONS.values())):
        assert len(set(names)) == len(names)
        assert all(len(name) <= 8 and name == name.upper() for name in names)


def test_header_of_the_observation_is_kept_and_that_of_its_array_is_not(result):
    header = result.to_hdus()[0].header
    assert header["OBJECT"] == "simulated lens"
    assert header["BUNIT"] == "electron / s"
    assert header["CRPIX1"] != 1e9


def test_values_that_no_card_can_hold(tmp_path):
    case = make_result(flags=("schön",), meta={"history": ["größer\nthan " + 100 * "x"], "network": None})
    case.quality = replace(case.quality, chi2=float("nan"), lens_evidence=float("inf"))
    case.write(tmp_path / "sr.fits")
    again = SuperResolution.read(tmp_path / "sr.fits")
    assert np.isnan(again.quality.chi2)
    assert np.isnan(again.quality.lens_evidence)
    assert again.quality.flags == ("sch?n",)
    assert fits.getheader(tmp_path / "sr.fits")["SRNET"] == ""


def test_long_notes_survive_the_file(tmp_path):
    case = make_result()
    case.quality = replace(case.quality, notes=tuple(f"note number {number} with some words" for number in range(12)))
    case.write(tmp_path / "sr.fits")
    assert SuperResolution.read(tmp_path / "sr.fits").quality.notes == case.quality.notes


def test_checksums_hold(written):
    with fits.open(written, checksum=True) as hdus:  # a wrong one warns, and warnings are errors here
        assert all("CHECKSUM" in hdu.header for hdu in hdus)


def test_corners_stay_where_they_are_on_the_sky(result, written):
    """The outer corner of the first fine pixel is that of the first input pixel, and so for the last ones."""
    fine, coarse = WCS(fits.getheader(written)), result.input_grid.wcs
    corners = np.array([(column, row) for column in (-0.5, 127.5) for row in (-0.5, 119.5)])
    here = coarse.pixel_to_world(*corners.T)
    there = fine.pixel_to_world(*(corners.T * 2 + 0.5))
    assert here.separation(there).arcsec.max() < 1e-6


def test_source_plane_lies_where_the_source_is(result, bare):
    for case in (result, bare):
        header = case.to_hdus()["SOURCE"].header
        row, column = np.unravel_index(np.argmax(case.source_image.data), case.source_image.shape)
        x, y = case.source_grid.to_arcsec(column, row)
        near = 0.6 * case.source_grid.pixel_scale.value
        assert abs(x.value - case.source.x.value) < near
        assert abs(y.value - case.source.y.value) < near
        world = WCS(header).all_pix2world([[column, row]], 0)[0]
        expected = (x.value, y.value)
        if case is result:
            sky = case.grid.to_sky(x, y)
            expected = sky.ra.deg, sky.dec.deg
        np.testing.assert_allclose(world, expected, atol=1e-9)


def test_pixel_scale_survives_without_a_celestial_system(bare):
    hdus = bare.to_hdus()
    for name, size in (("PRIMARY", 0.025), ("ARCS", 0.025), ("MODEL", 0.05), ("RESID", 0.05), ("SOURCE", 0.00625)):
        header = hdus[name].header
        assert header["CUNIT1"] == header["CUNIT2"] == "arcsec"
        assert "CTYPE1" not in header
        np.testing.assert_allclose(WCS(header).pixel_scale_matrix, np.diag([size, size]))
    # The centre of the array is (0, 0) arcsec on both grids.
    np.testing.assert_allclose(WCS(hdus[0].header).wcs_world2pix([[0, 0]], 0), [[127.5, 119.5]])
    np.testing.assert_allclose(WCS(hdus["MODEL"].header).wcs_world2pix([[0, 0]], 0), [[63.5, 59.5]])


@pytest.mark.parametrize("scale", [2, 2.5, 3])
def test_input_grid_shares_frame_and_edges(scale):
    for wcs in (True, False):
        case = make_result(wcs=wcs, scale=scale)
        for corner in ((-0.5, -0.5), (20.0, 33.25)):
            fine = case.grid.to_arcsec(*((pixel + 0.5) * scale - 0.5 for pixel in corner))
            coarse = case.input_grid.to_arcsec(*corner)
            np.testing.assert_allclose([value.value for value in fine], [value.value for value in coarse], atol=1e-7)


def test_file_comes_back(result, bare, tmp_path):
    for case in (result, bare):
        path = tmp_path / f"{case is bare}.fits"
        case.write(path)
        again = SuperResolution.read(path)
        for name in ("image", "arcs", "lens_light", "model", "residual", "source_image"):
            given, read = getattr(case, name), getattr(again, name)
            np.testing.assert_allclose(read.data, given.data, rtol=1e-6, atol=1e-7)
            assert read.unit == given.unit
        assert (again.image.wcs is None) == (case.image.wcs is None)
        assert again.grid == case.grid
        assert again.input_grid == case.input_grid
        assert again.source_grid == case.source_grid
        assert again.quality.flags == case.quality.flags
        assert again.parameters.loc["theta_E"]["value"] == 1.2
        assert again.parameters.colnames == case.parameters.colnames
        np.testing.assert_array_equal(again.parameters["error_95"], case.parameters["error_95"])
        assert again.source.r_eff == case.source.r_eff
        np.testing.assert_allclose(again.deflection.alpha_x, case.deflection.alpha_x, atol=1e-6 * u.arcsec)
        np.testing.assert_allclose(again.input_image.data, case.input_image.data, atol=1e-6)
        np.testing.assert_allclose(again.psf, case.psf, rtol=1e-6)


def test_older_files_without_wide_intervals_are_read(result, tmp_path):
    result.parameters.remove_column("error_95")
    result.write(tmp_path / "old.fits")
    with fits.open(tmp_path / "old.fits") as hdus:
        assert hdus["LENSPARS"].columns.names == ["NAME", "VALUE", "ERR", "UNIT"]
    assert SuperResolution.read(tmp_path / "old.fits").parameters.colnames == ["name", "value", "error", "unit"]


def test_reading_something_else_says_so(tmp_path):
    fits.PrimaryHDU(np.ones((4, 4))).writeto(tmp_path / "other.fits")
    (tmp_path / "no.fits").write_text("SIMPLE")
    for name in ("other.fits", "no.fits", "absent.fits"):
        with pytest.raises(ImageReadError, match="path: must be"):
            SuperResolution.read(tmp_path / name)


def test_an_existing_file_is_never_replaced_unasked(result, tmp_path):
    path = tmp_path / "sr.fits"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        result.write(path)
    assert path.read_text() == "precious"
    result.write(path, overwrite=True)
    assert CCDData.read(path).shape == (240, 256)
    assert os.listdir(tmp_path) == ["sr.fits"]


def test_missing_folder_is_named(result, tmp_path):
    with pytest.raises(OutputError, match="absent does not exist; make it first"):
        result.write(tmp_path / "absent" / "sr.fits")


@pytest.mark.parametrize("where", ["writing", "renaming"])
def test_full_disk_leaves_nothing_behind(result, tmp_path, monkeypatch, where):
    path = tmp_path / "sr.fits"
    path.write_text("precious")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    def half_written(self, name, **kwargs):
        name.write_text("SIMPLE")
        full()

    if where == "writing":
        monkeypatch.setattr(fits.HDUList, "writeto", half_written)
    else:
        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"sr\.fits: cannot be written \(No space left on device\)"):
        result.write(path, overwrite=True)
    assert os.listdir(tmp_path) == ["sr.fits"]
    assert path.read_text() == "precious"


def test_parameters_by_name(result):
    assert result.parameters.loc["theta_E"]["value"] == 1.2


def test_repr_tells_the_science(result):
    text = repr(result)
    for fact in ("theta_E=1.2 arcsec", "chi2=1.01", "(240, 256)", "flags=()"):
        assert fact in text


def test_lenstronomy_sees_the_same_lens_and_source(result, bare):
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model")
    light_model = pytest.importorskip("lenstronomy.LightModel.light_model")
    for case in (result, bare):
        kwargs = case.to_lenstronomy()
        turn = np.eye(2) if case.grid.orientation is None else case.grid.orientation
        x, y = (value[::16, ::16].ravel() + 0.011 for value in case.grid.coordinates())
        east, north = turn @ np.stack([x, y])
        lens = lens_model.LensModel(kwargs["kwargs_model"]["lens_model_list"])
        alpha = np.stack(lens.alpha(east, north, kwargs["kwargs_lens"]))
        ours = turn @ np.stack([value.value for value in case.deflection.at(x, y)])
        np.testing.assert_allclose(alpha, ours, atol=2e-4)  # bicubic between the pixels of ours
        light = light_model.LightModel(kwargs["kwargs_model"]["source_light_model_list"])
        theirs = light.surface_brightness(east / 4, north / 4, kwargs["kwargs_source"])
        np.testing.assert_allclose(theirs, case.source.evaluate(x / 4, y / 4).value, rtol=1e-6)


def test_lenstronomy_sees_the_same_pixels(result):
    data = pytest.importorskip("lenstronomy.Data.imaging_data")
    kwargs = result.to_lenstronomy()
    image = data.ImageData(**kwargs["kwargs_data"])
    east, north = image.pixel_coordinates
    np.testing.assert_allclose(
        np.stack([east, north]),
        np.tensordot(result.input_grid.orientation, result.input_grid.coordinates(), axes=1),
        atol=1e-10,
    )
    np.testing.assert_allclose(image.data, result.input_image.data - result.sky)
    (keep,) = kwargs["kwargs_likelihood"]["image_likelihood_mask_list"]
    np.testing.assert_array_equal(keep, ~result.input_image.mask)


def test_coolest_file(result, tmp_path):
    template = result.to_coolest(tmp_path / "lens")
    assert json.loads((tmp_path / "lens.json").read_text()) == template
    with pytest.raises(OutputError):
        result.to_coolest(tmp_path / "lens.json")


def test_region_file(result, tmp_path):
    text = result.to_regions(tmp_path / "lens.reg")
    assert (tmp_path / "lens.reg").read_text() == text + "\n"
    assert "icrs" in text
