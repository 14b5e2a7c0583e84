# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The slope of the lens: told by good images, and part of the errors where it is not."""

import torch

from lensing_sr.fit.coarse import FitSettings
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.priors import SLOPES
from lensing_sr.fit.tests.conftest import observe
from lensing_sr.fit.uncertainty import joint_covariance
from lensing_sr.forward.model import names, ray_jacobian


def _fit(observation, **settings):
    centre = torch.zeros(len(observation), 2, dtype=torch.float64)
    return fit_lenses(observation, centre, psf_fwhm=0.18, lens_light=False, settings=FitSettings(**settings))


def _errors(fit, held=None):
    images = torch.arange(len(fit.parameters))
    count = fit.parameters.shape[1]
    covariance = joint_covariance(fit.objective, fit.parameters, images, held)
    return covariance.diagonal(dim1=1, dim2=2)[:, :count].sqrt()


def test_names_are_as_many_as_parameters():
    assert [len(names(n)) for n in (13, 14, 19, 20)] == [13, 14, 19, 20]
    assert names(14)[-1] == names(20)[-1] == "gamma" and "gamma" not in names(19)


def test_an_isothermal_power_law_bends_as_an_isothermal_ellipsoid():
    p = torch.tensor([[0.2, 0.15, -0.1, 0.03, -0.02, 0.04, 0.02]], dtype=torch.float64)
    axis = torch.linspace(-2.0, 2.0, 21, dtype=torch.float64) + 0.013
    x, y = axis.expand(21, 21), axis[:, None].expand(21, 21)
    with_slope = torch.cat([p, torch.full((1, 1), 2.0, dtype=torch.float64)], dim=1)
    first, second = ray_jacobian(p, x, y), ray_jacobian(with_slope, x, y)
    torch.testing.assert_close(first[:2], second[:2], rtol=0, atol=1e-9)
    assert len(second[2]) == len(first[2]) + 1
    for own, other in zip(first[2], second[2], strict=False):
        torch.testing.assert_close(torch.stack(own), torch.stack(other), rtol=0, atol=1e-8)


def test_rays_by_slope_are_differences():
    p = torch.tensor([[0.2, 0.15, -0.1, 0.03, -0.02, 0.04, 0.02, 1.85]], dtype=torch.float64)
    axis = torch.linspace(-2.0, 2.0, 15, dtype=torch.float64) + 0.017
    x, y = axis.expand(15, 15), axis[:, None].expand(15, 15)
    step = 1e-5 * torch.eye(8, dtype=torch.float64)
    analytic = ray_jacobian(p, x, y)[2]
    for j in range(8):
        up, down = (ray_jacobian(p + sign * step[j], x, y)[:2] for sign in (1, -1))
        for axis_ in (0, 1):
            difference = (up[axis_] - down[axis_]) / 2e-5
            torch.testing.assert_close(analytic[j][axis_].expand_as(difference), difference, rtol=1e-5, atol=1e-7)


def test_a_good_image_tells_its_slope():
    fit = _fit(observe(2)[0], evidence=False)
    error = _errors(fit)
    assert not fit.slope_held.any()
    assert (error[:, -1] < 0.8 * SLOPES[1]).all()
    assert ((fit.parameters[:, -1] - 2.0).abs() < 4.0 * error[:, -1]).all()


def test_what_is_not_fitted_is_as_wide_as_its_prior():
    fit = _fit(observe(2)[0], evidence=False)
    free, held = _errors(fit), _errors(fit, torch.tensor([True, False]))
    torch.testing.assert_close(held[1], free[1], rtol=1e-6, atol=0)
    assert abs(float(held[0, -1]) / SLOPES[1] - 1.0) < 1e-3
    assert (held[0] > 0.999 * free[0]).all() and float(held[0, 0]) > 1.1 * float(free[0, 0])


def test_an_image_that_no_sersic_explains_does_not_tell_its_slope():
    observation, _ = observe(2)
    observation.weight[1] *= 6.0  # noise six times what is said: nothing fits
    fit = _fit(observation, evidence=False)
    assert fit.slope_held.tolist() == [False, True]
    assert float(fit.parameters[1, -1]) == SLOPES[0] != float(fit.parameters[0, -1])


def test_the_slope_can_be_left_out():
    fit = _fit(observe(1)[0], evidence=False, slope=False)
    assert fit.parameters.shape[1] == 13 and not fit.slope_held.any()
