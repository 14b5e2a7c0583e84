# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the potential's choice: mass that is there is evident, and none is found where none is."""

import pytest
import torch

from lensing_sr.fit.potential import KAPPAS, NODES, choose_potential
from lensing_sr.fit.source_inversion import invert
from lensing_sr.fit.tests.problems import bent_scene, prior, seen, smooth_scene
from lensing_sr.lensing.potential_grid import PotentialGrid


def offered(truth):
    scene = smooth_scene()
    problem = seen(truth, size=48, sigma=0.01)
    inversion = invert(problem, scene)
    mean, precision, _, _ = prior(scene)
    return choose_potential(problem, inversion, inversion.scene.vector() - mean, torch.diag(precision))


@pytest.fixture(scope="module")
def bent():
    return offered(bent_scene())


@pytest.fixture(scope="module")
def smooth():
    return offered(smooth_scene())


def test_a_clump_of_mass_is_evident(bent):
    assert bent[1] > 50.0


def test_a_smooth_lens_needs_no_correction(smooth):
    assert smooth[1] < 5.0


def test_the_grid_is_about_the_lens(bent):
    (potential, precision), _ = bent
    scene = smooth_scene()
    assert isinstance(potential, PotentialGrid) and potential.centre == tuple(scene.p[3:5].tolist())
    assert precision.shape == (NODES**2, NODES**2)
    assert potential.reach > float(scene.p[0].exp())


def test_the_strength_is_one_of_those_tried_(bent, smooth):
    for (potential, precision), _ in (smooth, bent):
        ratio = precision.diagonal().mean() / potential.precision(1.0).diagonal().mean()
        assert min(abs(float(ratio.rsqrt()) / kappa - 1) for kappa in KAPPAS) < 1e-6
