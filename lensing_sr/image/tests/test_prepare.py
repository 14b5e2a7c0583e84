# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the preparation: the lens is found, the arcs are kept, neighbours are not, units and orientation drop out."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lensing_sr.errors import InputError
from lensing_sr.forward.model import LENS, SOURCE, lensed_source
from lensing_sr.image.detect import arc_radius, find_lens, lens_is_visible
from lensing_sr.image.galaxy import adaptive_moments, arc_residual, fit_galaxy
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.pieces import Detections
from lensing_sr.image.prepare import prepare

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
PIXEL = 0.05
SHAPE = (161, 171)


def scene(lens=(0.0, 0.0), radius=1.2, *, q=0.8, arc=4.0, light=40.0, neighbours=((3.0, 0.5),), seed=0, shape=SHAPE):
    """Galaxy, an arc with its counter-image, and stars at the given offsets from it, in sigma, and where each is."""
    rows, columns = np.indices(shape)
    x, y = (columns - (shape[1] - 1) / 2) * PIXEL - lens[0], (rows - (shape[0] - 1) / 2) * PIXEL - lens[1]
    galaxy = light * np.exp(-3.7 * (np.sqrt(q * x**2 + y**2 / q) / 0.8) ** 0.5 + 3.7 * 0.3)
    r, phi = np.hypot(x, y), np.arctan2(y, x)
    arcs = np.exp(-0.5 * ((r - 1.15 * radius) / 0.1) ** 2 - 0.5 * ((phi - 1.0) / 0.5) ** 2)
    arcs += np.exp(-0.5 * ((r - 0.85 * radius) / 0.08) ** 2 - 0.5 * ((phi + 2.1) / 0.2) ** 2)
    stars = sum(np.exp(-0.5 * ((x - dx) ** 2 + (y - dy) ** 2) / 0.06**2) for dx, dy in neighbours) + 0 * x
    image = galaxy + arc * arcs + 30.0 * stars + np.random.default_rng(seed).normal(size=shape)
    return image, arcs > 0.3, stars > 0.3


def prepared(image, noise=1.0, **options):
    return prepare(LensImage(image, noise=noise, pixel_scale=PIXEL, unit="electron/s"), **options)


def field_mask(part, shape=SHAPE):
    full = np.zeros(shape, bool)
    full[part.slices] = part.mask
    return full


class TestPrepare:
    @settings(max_examples=12, deadline=None)
    @given(x=st.floats(-0.6, 0.6), y=st.floats(-0.6, 0.6), q=st.floats(0.55, 1.0), seed=st.integers(0, 10**6))
    def test_finds_the_lens_keeps_the_arcs_masks_the_neighbour(self, x, y, q, seed):
        image, arcs, stars = scene((x, y), q=q, seed=seed)
        part = prepared(image)
        assert np.hypot(part.lens_position[0] - x, part.lens_position[1] - y) < 0.3 * PIXEL
        mask = field_mask(part)
        assert not (mask & arcs).any()
        inside = field_mask(part) | False
        inside[part.slices] = True
        assert mask[stars & inside].all()
        assert part.neighbours >= 1
        assert inside[arcs].all()
        assert part.arc_radius == pytest.approx(1.2, rel=0.25)
        assert part.flags == []

    @settings(max_examples=8, deadline=None)
    @given(factor=st.floats(1e-8, 1e8), level=st.floats(-3, 3))
    def test_units_and_sky_drop_out(self, factor, level):
        image, _, _ = scene()
        one, other = prepared(image), prepared((image + level) * factor, noise=2 * factor)
        assert other.slices == one.slices
        np.testing.assert_array_equal(other.mask, one.mask)
        np.testing.assert_allclose(other.lens_position, one.lens_position, atol=1e-3)
        assert other.noise_scale == pytest.approx(0.5 * one.noise_scale, rel=1e-6)
        np.testing.assert_allclose(other.noise, one.noise * factor, rtol=1e-6)
        assert other.sky / factor == pytest.approx(one.sky + level, abs=1e-3)

    @pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.transpose])
    def test_orientation_drops_out(self, turn):
        image, _, _ = scene((0.3, -0.2), shape=(161, 161))
        one, other = prepared(image), prepared(np.ascontiguousarray(turn(image)))
        x, y = one.lens_position
        expected = {"fliplr": (-x, y), "flipud": (x, -y), "transpose": (y, x)}[turn.__name__]
        np.testing.assert_allclose(other.lens_position, expected, atol=2e-3)
        assert other.neighbours == one.neighbours
        assert other.arc_radius == pytest.approx(one.arc_radius, rel=0.02)

    def test_cutout_keeps_frame_data_and_noise(self):
        image, _, _ = scene((0.3, -0.2))
        whole = LensImage(image, noise=1.3, pixel_scale=PIXEL, unit="electron/s")
        part = prepare(whole)
        np.testing.assert_array_equal(part.data, image[part.slices])
        np.testing.assert_allclose(part.noise, 1.3 * part.noise_scale)
        np.testing.assert_array_equal(part.full_noise[part.slices], part.noise)
        assert part.full_noise.shape == image.shape
        for cut, full in zip(part.grid.coordinates(), whole.grid.coordinates()):
            np.testing.assert_allclose(cut, full[part.slices], atol=1e-12)
        assert part.data.shape[0] == part.data.shape[1]

    def test_bad_pixels_stay_masked_and_harmless(self):
        image, arcs, _ = scene()
        bad = np.random.default_rng(1).random(SHAPE) < 0.03
        image[bad] = np.nan
        part = prepared(image)
        np.testing.assert_array_equal(part.mask[bad[part.slices]], True)
        assert not (part.mask & ~bad[part.slices])[arcs[part.slices]].any()
        assert np.hypot(*part.lens_position) < 0.5 * PIXEL
        assert part.noise_scale == pytest.approx(1.0, rel=0.05)

    def test_noise_is_estimated_where_missing(self):
        part = prepared(scene()[0], noise=None)
        assert part.noise_scale == 1.0
        assert np.median(part.noise) == pytest.approx(1.0, rel=0.05)
        assert any("noise estimated" in note for note in part.notes)

    def test_correlated_noise_is_noted(self):
        image, _, _ = scene()
        rng = np.random.default_rng(2)
        white = rng.normal(size=(SHAPE[0] + 1, SHAPE[1]))
        part = prepared(image + 3 * (white[1:] + white[:-1]))
        assert part.correlation > 0.15
        assert any("correlated noise" in note for note in part.notes)
        assert not any("correlated noise" in note for note in prepared(image).notes)

    def test_a_lens_that_does_not_shine(self):
        rows, columns = np.indices((64, 64))
        x, y = (columns - 31.5) * 0.1, (rows - 31.5) * 0.1
        r, phi = np.hypot(x, y), np.arctan2(y, x)
        arcs = 30 * np.exp(-0.5 * ((r - 0.9) / 0.2) ** 2 - 0.5 * (phi / 0.6) ** 2)
        arcs += 29 * np.exp(-0.5 * ((r - 0.7) / 0.15) ** 2 - 0.5 * ((np.abs(phi) - np.pi) / 0.5) ** 2)
        image = arcs + np.random.default_rng(0).normal(size=arcs.shape)
        image = LensImage(image, noise=1.0, pixel_scale=0.1, unit="electron/s")
        for lens_light in ("auto", False):
            part = prepare(image, lens_light=lens_light)
            assert part.lens_position == (0.0, 0.0)
            assert not part.lens_visible
            assert part.data.shape == (64, 64)
            assert part.arc_radius == pytest.approx(0.8, rel=0.2)
            assert not part.mask.any()

    def test_large_images_are_searched_in_their_middle(self):
        image = np.random.default_rng(0).normal(size=(700, 720))
        image[270:431, 275:446] += scene(seed=1)[0]
        part = prepared(image)
        assert np.hypot(*part.lens_position) < PIXEL
        assert max(part.data.shape) < 200
        assert part.full_noise.shape == (700, 720)

    def test_max_radius(self):
        assert prepared(scene()[0], max_radius=1.5).data.shape == (60, 60)
        with pytest.raises(InputError, match="max_radius: must be positive"):
            prepared(scene()[0], max_radius=-1)

    def test_position_on_a_turned_and_mirrored_sky(self):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.crval, wcs.wcs.crpix = (150.0, 2.0), (10.0, 20.0)
        angle = np.deg2rad(35)
        wcs.wcs.cd = PIXEL / 3600 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        part = prepare(LensImage(scene((0.4, 0.2))[0], noise=1.0, wcs=wcs, unit="electron/s"))
        np.testing.assert_allclose(part.lens_position, (0.4, 0.2), atol=0.3 * PIXEL)
        sky = part.grid.to_sky(*(part.lens_position * u.arcsec))
        column, row = part.grid.to_pixel(*(part.lens_position * u.arcsec))
        column, row = column + part.slices[1].start, row + part.slices[0].start
        assert sky.separation(wcs.pixel_to_world(column, row)).to_value("arcsec") < 1e-6


class TestFlags:
    noise = np.random.default_rng(0).normal(size=(150, 150))
    rows, columns = np.indices((150, 150))

    def galaxy(self, x, y, light=50.0):
        return light * np.exp(-np.hypot(self.columns - x, self.rows - y) / 6)

    def star(self, x, y, light):
        return light * np.exp(-0.5 * ((self.columns - x) ** 2 + (self.rows - y) ** 2))

    def flags(self, image, **options):
        return prepare(LensImage(image, noise=1.0, pixel_scale=PIXEL, unit="electron/s", **options)).flags

    def test_none_for_a_galaxy(self):
        part = prepared(self.noise + self.galaxy(75, 75))
        assert part.flags == []
        assert part.arc_radius == 0.0
        assert "no arcs seen beside the lens galaxy" in part.notes

    def test_empty_sky(self):
        assert self.flags(self.noise) == ["no source detected"]

    def test_star(self):
        assert "point source" in self.flags(self.noise + self.star(75, 75, 500), psf=0.1178 * u.arcsec)
        assert self.flags(self.noise + self.galaxy(75, 75), psf=0.1178 * u.arcsec) == []

    def test_star_field(self):
        rng = np.random.default_rng(4)
        stars = sum(self.star(*rng.uniform(0, 150, 2), 10 ** rng.uniform(1.3, 3)) for _ in range(60))
        assert "crowded field" in self.flags(self.noise + stars)

    def test_two_galaxies(self):
        assert "second galaxy" in self.flags(self.noise + self.galaxy(50, 75) + self.galaxy(100, 75))

    def test_galaxy_at_the_edge(self):
        assert "edge" in self.flags(self.noise + self.galaxy(4, 75, 500))

    def test_too_little_sky(self):
        mask = np.ones((150, 150), bool)
        mask[70:80, 70:80] = False
        part = prepare(LensImage(self.galaxy(75, 75), noise=1.0, mask=mask, pixel_scale=PIXEL, unit="electron/s"))
        assert part.noise_scale == 1.0
        assert "too little blank sky to check the noise map" in part.notes


class TestGalaxy:
    @settings(max_examples=20, deadline=None)
    @given(
        x=st.floats(24, 30), y=st.floats(24, 30), a=st.floats(3, 5), q=st.floats(0.5, 1.0), phi=st.floats(0, np.pi)
    )
    def test_moments_of_a_gaussian_are_its_own(self, x, y, a, q, phi):
        rows, columns = np.indices((55, 53))
        z = ((columns - x) + 1j * (rows - y)) * np.exp(-1j * phi)
        light = np.exp(-0.5 * ((z.real / a) ** 2 + (z.imag / (a * q)) ** 2))
        centre, e, size = adaptive_moments(light, np.zeros(light.shape, bool), (27, 27), iterations=200)
        np.testing.assert_allclose(centre, (x, y), atol=0.02)
        expected = (1 - q) / (1 + q) * np.exp(2j * phi)
        np.testing.assert_allclose(e, (expected.real, expected.imag), atol=0.02)
        assert size == pytest.approx(a * np.sqrt(q), rel=0.03)

    def test_no_light_to_follow(self):
        centre, e, _ = adaptive_moments(np.zeros((30, 30)), np.zeros((30, 30), bool), (12, 13))
        assert centre == (12.0, 13.0)
        assert e == (0.0, 0.0)

    @settings(max_examples=10, deadline=None)
    @given(bright=st.floats(300.0, 3000.0), angle=st.floats(0.0, 2 * np.pi))
    def test_a_galaxy_that_is_held_stays_where_it_is(self, bright, angle):
        """Brighter light two pixels and a half beside it draws the moments away."""
        rows, columns = np.indices((61, 61)) - 30.0
        light = 100 * np.exp(-np.hypot(rows, columns) / 4)
        beside = (rows - 2.5 * np.sin(angle)) ** 2 + (columns - 2.5 * np.cos(angle)) ** 2
        light += bright * np.exp(-0.5 * beside)
        given = light, np.ones(light.shape), np.zeros(light.shape, bool), (30, 30)
        free, held = fit_galaxy(*given), fit_galaxy(*given, held=True)
        assert held.centre == (30, 30)
        assert np.hypot(free.centre[0] - 30, free.centre[1] - 30) > 1.0

    def test_a_ring_is_left_over_and_a_galaxy_is_not(self):
        rows, columns = np.indices((121, 121))
        r = np.hypot(columns - 60, rows - 60)
        galaxy, ring = 300 * np.exp(-r / 8), 6 * np.exp(-0.5 * ((r - 30) / 2) ** 2)
        image = galaxy + ring + np.random.default_rng(0).normal(size=r.shape)
        model = fit_galaxy(image, np.ones(r.shape), np.zeros(r.shape, bool), (60, 60))
        assert model.residual[np.abs(r - 30) < 1].mean() > 4
        assert abs(np.median(model.residual[r > 40])) < 0.3
        assert model.image[10 < r].min() > -1
        assert model.half_light_radius == pytest.approx(1.678 * 8, rel=0.1)

    def test_residual_of_an_elliptical_galaxy_is_noise(self):
        image, arcs, _ = scene(arc=0.0, neighbours=())
        residual = arc_residual(image, np.ones(SHAPE), np.zeros(SHAPE, bool), (85, 80))
        assert residual.std() == pytest.approx(1.0, abs=0.1)
        with_arcs = scene(neighbours=())[0]
        assert arc_residual(with_arcs, np.ones(SHAPE), np.zeros(SHAPE, bool), (85, 80))[arcs].mean() > 2

    def test_masked_pixels_are_zero_in_the_residual(self):
        image, _, _ = scene()
        mask = np.random.default_rng(1).random(SHAPE) < 0.1
        image[mask] = 1e6
        residual = arc_residual(image, np.ones(SHAPE), mask, (85, 80))
        assert np.all(residual[mask] == 0)
        assert np.median(np.abs(residual[~mask])) < 1.5


class TestDetect:
    def test_nothing_to_detect(self):
        empty = np.zeros((80, 80))
        assert arc_radius(empty, (40, 40)) == 0.0
        pieces = Detections(empty, (40, 40)).pieces(10.0)
        assert pieces.count == 0
        assert not pieces.neighbours.any()

    @pytest.mark.parametrize(("distance", "masked"), [(15, False), (24, False), (45, True)])
    def test_distance_decides(self, distance, masked):
        rows, columns = np.indices((121, 121))
        blob = 30 * np.exp(-0.5 * ((columns - 60 - distance) ** 2 + (rows - 60) ** 2) / 4)
        assert Detections(blob, (60, 60)).pieces(20.0).neighbours.any() == masked

    def test_an_arc_is_kept_where_a_blob_is_not(self):
        rows, columns = np.indices((121, 121))
        r, phi = np.hypot(columns - 60, rows - 60), np.arctan2(rows - 60, columns - 60)
        blob = 30 * np.exp(-0.5 * ((columns - 90) ** 2 + (rows - 60) ** 2) / 9)
        arc = 30 * np.exp(-0.5 * ((r - 30) / 2) ** 2 - 0.5 * (phi / 0.35) ** 2)
        assert Detections(blob, (60, 60)).pieces(20.0).neighbours.any()
        assert not Detections(arc, (60, 60)).pieces(20.0).neighbours.any()

    def test_visible(self):
        image, _, _ = scene()
        assert lens_is_visible(image, np.zeros(SHAPE, bool), (85, 80))

    @pytest.mark.parametrize("seed", range(4))
    def test_an_image_of_a_strongly_elliptical_lens_is_no_galaxy(self, seed):
        """The brightest light of four images lies far off the middle, and its centroid runs away along the arc."""
        axis = (torch.arange(64, dtype=torch.float64) - 31.5) * 0.08
        x, y = axis.expand(64, 64), axis[:, None].expand(64, 64)
        order = LENS + SOURCE
        values = {
            "log_theta_E": math.log(1.453), "e1": 0.182, "e2": -0.237, "gamma1": -0.048, "gamma2": -0.018,
            "x_source": 0.023, "y_source": 0.175, "log_r_eff": math.log(0.271), "log_n": math.log(1.624),
            "e1_source": -0.036, "e2_source": 0.031,
        }  # fmt: skip
        p = torch.tensor([[values.get(name, 0.0) for name in order]], dtype=torch.float64)
        light = ndimage.gaussian_filter(lensed_source(p, x, y)[0].numpy(), 0.85)
        image = light / light.max() + 0.02 * np.random.default_rng(seed).normal(size=(64, 64))
        mask = np.zeros(image.shape, bool)
        place, _ = find_lens(image, np.full(image.shape, 0.02), mask)
        assert np.hypot(place[0] - 31.5, place[1] - 31.5) > 8
        assert not lens_is_visible(image, mask, place)


def test_slacs():
    """On real lenses: the arcs' radius brackets the published one, and no field is flagged."""
    folder = DATA / "real" / "slacs"
    if not folder.exists():
        pytest.skip("real data not found")
    with open(folder / "published.csv", newline="") as file:
        published = {row["name"]: float(row["theta_E_SIE_arcsec"]) for row in csv.DictReader(file)}
    for name in sorted(published)[::4]:
        image, noise, psf = (fits.getdata(folder / name / f"{part}.fits") for part in ("image", "noise", "psf"))
        image = LensImage(image, noise=noise, psf=psf, pixel_scale=0.05, unit="ct/s")
        part = prepare(image)
        assert np.hypot(*part.lens_position) < 0.05
        assert part.lens_visible
        assert part.flags == []
        assert 0.9 < part.arc_radius / published[name] < 2.1
