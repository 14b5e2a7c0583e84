# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Binning an observation keeps flux, noise and the arcsec frame."""

import torch

from lensing_sr.fit.tests.conftest import observe
from lensing_sr.forward.formation import sample_positions


def test_binned_pixels_lie_where_their_parts_lay():
    observation, _ = observe(1)
    coarse = observation.binned(3)  # 56 is no multiple of 3
    x, y = sample_positions(observation.data.shape[1:], observation.matrix, observation.origin)
    coarse_x, coarse_y = sample_positions(coarse.data.shape[1:], coarse.matrix, coarse.origin)
    torch.testing.assert_close(coarse_x[0, 1], x[0, 3:6].mean())
    torch.testing.assert_close(coarse_y[2, 0], y[6:9, 0].mean())


def test_flux_and_noise_add_up():
    observation, _ = observe(1)
    observation.weight[:, 10, 10] = 0.0
    coarse = observation.binned(2)
    torch.testing.assert_close(coarse.data[0, 0, 0], observation.data[0, :2, :2].sum())
    torch.testing.assert_close(coarse.weight[0, 0, 0], observation.weight[0, 0, 0] / 2)
    assert coarse.weight[0, 5, 5] == 0 and coarse.data[0, 5, 5] == 0
    odd = observation.binned(3)
    assert (odd.weight[0, -1] == 0).all()  # an incomplete row of pixels is not used


def test_an_analytic_psf_acts_on_pixels_that_sample_it():
    observation, _ = observe(1)
    assert observation.formation(1).oversampling == 1
    assert observation.formation(2).oversampling * observation.analytic / observation.pixel >= 2.5
