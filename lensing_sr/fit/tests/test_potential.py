# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the potential's choice: mass that is there is evident, and none is found where none is."""

import pytest
import torch

from lensing_sr.fit.potential import KAPPAS, NODES, choose_potential
from lensing_sr.fit.source_inversion import invert
from lensing_sr.fit.tests.problems import bent_scene, minimum, prior, seen, smooth_scene
from lensing_sr.lensing.potential_grid import PotentialGrid


def offered(truth):
    problem = seen(truth, size=44, sigma=0.02)
    inversion = invert(problem, minimum(problem))
    mean, precision, _, _ = prior(smooth_scene())
    return choose_potential(problem, inversion, inversion.scene.vector() - mean, torch.diag(precision))


@pytest.fixture(scope="module")
def bent():
    return offered(bent_scene())


@pytest.fixture(scope="module")
def smooth():
    return offered(smooth_scene())


def test_mass_that_a_smooth_lens_lacks_is_evident(bent):
    assert bent[1] > 50.0


def test_a_smooth_lens_needs_no_correction(smooth):
    assert smooth[1] < 5.0


def test_the_grid_is_about_the_lens(bent):
    (potential, precision), _ = bent
    p = smooth_scene().p
    assert isinstance(potential, PotentialGrid)
    assert potential.centre == pytest.approx(p[3:5].tolist(), abs=0.1)
    assert precision.shape == (NODES**2, NODES**2)
    assert potential.reach > float(p[0].exp())


def test_the_strength_is_one_of_those_tried_(bent, smooth):
    for (potential, precision), _ in (smooth, bent):
        ratio = precision.diagonal().mean() / potential.precision(1.0).diagonal().mean()
        assert min(abs(float(ratio.rsqrt()) / kappa - 1) for kappa in KAPPAS) < 1e-6
