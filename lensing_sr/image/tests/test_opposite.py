# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of opposite images: the far one of two is kept, whatever else is far out is not, and simulated arcs stay."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.image.detect import is_image
from lensing_sr.image.galaxy import moments_near
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.opposite import opposite_image
from lensing_sr.image.pieces import Detections
from lensing_sr.image.prepare import prepare
from lensing_sr.simulation import LensPopulation

ROWS, COLUMNS = np.indices((121, 121))
MIDDLE = (60.0, 60.0)


def blob(distance, angle, width, peak=25.0):
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    return peak * np.exp(-0.5 * ((COLUMNS - 60 - x) ** 2 + (ROWS - 60 - y) ** 2) / width**2)


class TestOppositeImage:
    @settings(max_examples=15, deadline=None)
    @given(angle=st.floats(-np.pi, np.pi), radius=st.floats(14, 24), offset=st.floats(0.2, 0.7))
    def test_the_outer_image_is_kept_whatever_its_direction(self, angle, radius, offset):
        near, far = radius * (1 - offset), radius * (1 + offset)
        # area in the ratio of the magnifications
        image = blob(near, angle + np.pi, 2.0) + blob(far, angle, 2.0 * np.sqrt(far / near))
        pieces = Detections(image, MIDDLE).pieces(near)
        assert not pieces.neighbours.any()
        assert 0.95 * radius < pieces.ring < 2 * radius

    @pytest.mark.parametrize("other", [
        pytest.param(blob(40, 0.0, 2.0, 250.0), id="star: too bright for its size"),
        pytest.param(blob(40, 0.0, 8.0, 8.0), id="halo: too faint for an image"),
        pytest.param(blob(40, np.pi / 2, 4.0), id="not opposite"),
        pytest.param(blob(40, np.pi, 4.0), id="on the same side"),
    ])  # fmt: skip
    def test_a_neighbour_is_none(self, other):
        inner = blob(12, np.pi, 2.0)
        assert opposite_image(inner + other, inner > 4, 1 * (other > 4), MIDDLE) == (0, 0.0)
        assert Detections(inner + other, MIDDLE).pieces(12.0).count == 1

    def test_arcs_on_both_sides_lack_nothing(self):
        arcs, other = blob(12, np.pi, 2.0) + blob(14, 0.0, 2.2), blob(45, 0.0, 4.0)
        assert Detections(arcs + other, MIDDLE).pieces(12.0).count == 1

    def test_nothing_to_look_at(self):
        nothing = np.zeros(ROWS.shape)
        assert opposite_image(nothing, nothing > 0, 1 * (nothing > 0), MIDDLE) == (0, 0.0)

    def test_without_a_lens_galaxy_something_is_an_image(self):
        far = blob(40, 0.0, 3.0)
        assert Detections(far, MIDDLE).pieces(12.0, 3.0).count == 1
        assert Detections(far, MIDDLE).pieces(12.0, None).count == 0


def test_one_of_two_images_is_no_lens():
    near, far = blob(10, np.pi, 2.0), blob(25, 0.0, 3.2)
    assert is_image(near + far, (50.0, 60.0)) and is_image(near + far, (85.0, 60.0))
    assert not is_image(near, (50.0, 60.0))
    assert not is_image(near + far, (60.0, 60.0))


def test_an_arc_draws_the_moments_not_away():
    galaxy, arc = blob(0, 0.0, 2.5), blob(10, 1.0, 3.0, 60.0)
    assert moments_near(galaxy + arc, np.zeros(ROWS.shape, bool), MIDDLE)[0] == MIDDLE


@pytest.mark.parametrize("lens_light", [True, False])
def test_arcs_of_simulated_lenses_are_kept(lens_light):
    """Of twenty lenses one may lose more than a tenth of its arcs to the mask or to the fit region."""
    population = LensPopulation("euclid-vis", arc_sn=(60.0, 200.0), neighbours=False, lens_light=lens_light)
    drawn = population.draw(20, seed=20260101, keys=("LR", "noise", "arcs_LR"))
    pixel = population.instrument.pixel_scale * u.arcsec / u.pix
    lost = []
    for data, noise, arcs in zip(*(drawn[key].double().numpy() for key in ("LR", "noise", "arcs_LR")), strict=True):
        image = LensImage(data, noise=noise, pixel_scale=pixel, unit=population.units["LR"])
        part = prepare(image, lens_light="auto" if lens_light else False)
        lost.append(1.0 - arcs[part.slices][~part.mask].sum() / arcs.sum())
    assert np.sum(np.array(lost) > 0.1) <= 1
