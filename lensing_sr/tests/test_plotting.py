# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What is drawn lies where it belongs: no half pixel off, nothing mirrored."""

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS

from lensing_sr.errors import InputError, OutputError
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.plotting import learning_figure, lens_figure, lens_title, nice_length, save_figure
from lensing_sr.tests.fake_result import make_result
from lensing_sr.training import History, LearningCurves

PANELS = ("Input", "Super-resolved", "Arcs (source, lensed)", "Source", "Convergence", "Normalised residual")


def grid_of(parity=-1, angle=0.0, shape=(41, 61)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [30.0, -40.0], [17.0, 25.5]
    c, s = np.cos(angle), np.sin(angle)
    wcs.wcs.cd = np.array([[parity * c, -parity * s], [s, c]]) * 0.1 / 3600
    return PixelGrid(shape, wcs=wcs)


def spot(grid, x, y, sigma=0.12):
    column, row = grid.coordinates()
    return np.exp(-0.5 * ((column - x) ** 2 + (row - y) ** 2) / sigma**2)


def figure_of(coarse, x=1.3, y=-0.8, scale=3, **options):
    """Every panel shows a spot at the same place; the curve is a square around it."""
    fine = coarse.upsampled(scale)
    square = np.array([-0.2, 0.2, 0.2, -0.2, -0.2]), np.array([-0.2, -0.2, 0.2, 0.2, -0.2])
    curve = (square[0] + x) * u.arcsec, (square[1] + y) * u.arcsec
    figure = lens_figure(
        input_image=spot(coarse, x, y),
        image=spot(fine, x, y),
        arcs=spot(fine, x, y),
        convergence=spot(fine, x, y),
        residual=spot(coarse, x, y),
        input_grid=coarse,
        grid=fine,
        source=spot(fine, x, y),
        source_grid=fine,
        noise=np.full(coarse.shape, 0.1),
        critical_curves=[curve],
        caustics=[curve],
        **options,
    )
    return figure, {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def centroid(picture):
    """Of what a picture shows, in data coordinates, from its values and its extent alone."""
    data = np.ma.filled(picture.get_array(), 0.0)
    data = np.where(data > 0.01 * data.max(), data, 0.0)
    left, right, bottom, top = picture.get_extent()
    rows, columns = data.shape
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
    return (data.sum(0) @ x) / data.sum(), (data.sum(1) @ y) / data.sum()


@pytest.mark.parametrize(("parity", "angle"), [(-1, 0.0), (-1, 0.5), (1, 2.0)])
def test_all_panels_show_the_same_sky_at_the_same_place(parity, angle):
    coarse = grid_of(parity, angle)
    _, panels = figure_of(coarse)
    assert tuple(panels) == PANELS
    truth = coarse.to_sky(1.3, -0.8)
    for name, axes in panels.items():
        column, row = centroid(axes.images[0])
        # The centroid of a spot two pixels wide is exact far beyond the half pixels looked for here.
        found = axes.wcs.pixel_to_world(column, row)
        assert found.separation(truth).arcsec < 1e-3, name


@pytest.mark.parametrize(("parity", "angle"), [(-1, 0.5), (1, 2.0)])
def test_curves_surround_what_they_should(parity, angle):
    coarse = grid_of(parity, angle)
    _, panels = figure_of(coarse)
    for name in ("Source", "Convergence"):
        line = panels[name].lines[0]
        middle = [np.mean(values[:-1]) for values in line.get_data()]
        np.testing.assert_allclose(middle, centroid(panels[name].images[0]), atol=0.02)


def test_without_a_wcs_axes_are_in_arcsec():
    coarse = PixelGrid((41, 61), pixel_scale=0.1)
    _, panels = figure_of(coarse)
    for axes in panels.values():
        world = axes.wcs.wcs_pix2world([centroid(axes.images[0])], 0)[0]
        np.testing.assert_allclose(world, (1.3, -0.8), atol=1e-3)


def test_panels_share_their_field_to_the_pixel_edge():
    coarse = grid_of()
    _, panels = figure_of(coarse)
    assert panels["Input"].get_xlim() == pytest.approx((-0.5, 60.5))
    assert panels["Input"].get_ylim() == pytest.approx((-0.5, 40.5))
    assert panels["Super-resolved"].get_xlim() == pytest.approx((-0.5, 182.5))
    _, panels = figure_of(coarse, centre=(0.3, 0.1) * u.arcsec, radius=1 * u.arcsec)
    for name in ("Input", "Convergence", "Normalised residual"):
        axes = panels[name]
        grid = coarse if name != "Convergence" else coarse.upsampled(3)
        corner = grid.to_arcsec(axes.get_xlim()[0], axes.get_ylim()[1])
        np.testing.assert_allclose([value.value for value in corner], (-0.7, 1.1), atol=1e-9)


@pytest.mark.parametrize(("parity", "angle"), [(-1, 0.0), (-1, 0.5), (1, 2.0)])
def test_compass_points_north_and_east(parity, angle):
    coarse = grid_of(parity, angle, shape=(51, 51))
    _, panels = figure_of(coarse, x=0.3, y=0.2)
    letters = {text.get_text(): np.array(text.get_position()) for text in panels["Input"].texts}
    origin = np.array([0.86, 0.80])
    here = coarse.to_sky(0.0, 0.0)
    for name, position_angle in (("N", 0 * u.deg), ("E", 90 * u.deg)):
        there = coarse.wcs.world_to_pixel(here.directional_offset_by(position_angle, 1 * u.arcsec))
        direction = np.array(there) - 25.0
        arrow = letters[name] - origin
        np.testing.assert_allclose(arrow / np.hypot(*arrow), direction / np.hypot(*direction), atol=1e-4)


def test_scale_bar_is_as_long_as_it_says():
    coarse = grid_of(angle=0.5)
    _, panels = figure_of(coarse)
    for name, axes in panels.items():
        (label,) = (text.get_text() for text in axes.texts if text.get_text().endswith('"'))
        columns, rows = axes.lines[-1].get_data()
        ends = axes.wcs.pixel_to_world(columns, rows)
        assert ends[0].separation(ends[1]).arcsec == pytest.approx(float(label[:-1]), rel=1e-4), name


def test_light_is_shown_as_surface_brightness():
    coarse = grid_of()
    for unit, factor in ((u.electron / u.s, 0.01), (u.MJy / u.sr, 1.0), (None, 0.01)):
        _, panels = figure_of(coarse, unit=unit)
        shown = panels["Input"].images[0].get_array().max() * factor
        assert shown == pytest.approx(spot(coarse, 1.3, -0.8).max())


def test_input_and_output_share_one_stretch():
    _, panels = figure_of(grid_of())
    assert panels["Input"].images[0].norm is panels["Super-resolved"].images[0].norm


def test_masked_pixels_are_blank_in_the_residual():
    coarse = grid_of()
    mask = np.zeros(coarse.shape, dtype=bool)
    mask[3, 5] = True
    _, panels = figure_of(coarse, mask=mask)
    shown = np.ma.getmaskarray(np.ma.masked_invalid(panels["Normalised residual"].images[0].get_array()))
    np.testing.assert_array_equal(shown, mask)


def test_figure_of_what_is_empty():
    coarse = grid_of()
    zero, fine = np.zeros(coarse.shape), coarse.upsampled(2)
    nothing = np.zeros(fine.shape)
    figure = lens_figure(
        input_image=zero,
        image=nothing,
        arcs=nothing,
        convergence=nothing,
        residual=zero,
        input_grid=coarse,
        grid=fine,
        source=nothing,
    )
    figure.canvas.draw()


def test_result_draws_itself(tmp_path):
    result = make_result(flags=("poor fit", "edge"))
    figure = result.plot(tmp_path / "lens.png")
    assert (tmp_path / "lens.png").read_bytes().startswith(b"\x89PNG")
    assert "1.200" in figure.get_suptitle()
    assert figure.get_supxlabel() == "flags: poor fit, edge"
    with pytest.raises(OutputError, match="exists already"):
        save_figure(figure, tmp_path / "lens.png")
    assert [file.name for file in tmp_path.iterdir()] == ["lens.png"]


def test_deflection_field_draws_itself():
    field = make_result(wcs=False).deflection
    titles = [axes.get_title() for axes in field.plot().axes if axes.get_title()]
    assert titles == ["Deflection", "Convergence", "Magnification"]


def learning_curves():
    """Five epochs, the last of fine-tuning: the total falls by a factor of 100, the weight of one term decays."""
    curves = LearningCurves()
    for number in range(5):
        row = {"epoch": number + 1, "stage": "fine-tuning" if number == 4 else "main"}
        row |= {"training_total": 10.0**-number, "validation_total": 2 * 10.0**-number}
        row |= {"training_smooth": 0.1 + 0.01 * number, "weight_smooth": 0.5**number}
        curves.append(row | {"validation_chi2": [2.0, np.nan, 1.5, 1.2, 1.1][number]})
    return curves


def test_learning_curves_show_the_table():
    curves = learning_curves()
    figure = curves.plot(best_epoch=4, title="a run")
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert tuple(panels) == ("total", "smooth", "chi2")
    training, validation, best = panels["total"].lines
    np.testing.assert_array_equal(training.get_xydata().T, [curves.column("epoch"), curves.column("training_total")])
    np.testing.assert_array_equal(validation.get_ydata(), curves.column("validation_total"))
    assert list(best.get_xdata()) == [4, 4] and figure.get_suptitle() == "a run"
    assert panels["total"].get_yscale() == "log" and panels["smooth"].get_yscale() == "linear"
    # of the weights only the one that changes has an axis
    (weight,) = (axes for axes in figure.axes if axes.get_ylabel() == "weight")
    np.testing.assert_array_equal(weight.lines[0].get_ydata(), curves.column("weight_smooth"))
    assert weight.get_position().bounds == pytest.approx(panels["smooth"].get_position().bounds)
    # the fine-tuning lies on grey
    for axes in panels.values():
        (grey,) = axes.patches
        assert (grey.get_x(), grey.get_width()) == (4.5, 1.0)
    figure.canvas.draw()


def test_learning_curves_of_one_epoch():
    figure = learning_figure({"epoch": [1], "stage": ["main"], "training_total": [np.nan], "weight_total": [1.0]})
    assert [axes.get_title() for axes in figure.axes] == ["total"]
    figure.canvas.draw()


@pytest.mark.parametrize("curves", [LearningCurves(), LearningCurves([{"epoch": 1, "stage": "main"}])])
def test_nothing_learned_is_nothing_to_draw(curves):
    with pytest.raises(InputError, match="columns: must hold curves"):
        curves.plot()


def test_history_draws_itself(tmp_path):
    path = tmp_path / "curves.png"
    history = History(learning_curves(), 4, 1.2, {}, 80, 0, 1.0, "end")
    figure = history.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(figure.axes[0].lines[-1].get_xdata()) == [4, 4]
    with pytest.raises(OutputError, match="exists already"):
        history.plot(path)
    history.plot(path, overwrite=True)


def test_title_survives_odd_names():
    assert (
        lens_title("a$b", 1.0, np.nan, np.nan, 2.5, ("edge",))
        == r"a\$b:  $\theta_\mathrm{E} = 1.000$ arcsec,  2.5$\times$ finer"
    )


@pytest.mark.parametrize(("length", "nice"), [(1.0, 1.0), (0.99, 0.5), (49.9, 20.0), (0.05, 0.05), (3e-3, 2e-3)])
def test_nice_lengths(length, nice):
    assert nice_length(length) == pytest.approx(nice)
