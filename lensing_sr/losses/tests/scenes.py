# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lenses with known truth for the tests, made without the code under test."""

import functools

import torch

from lensing_sr.lensing.mass import shear_deflection, sie_deflection
from lensing_sr.light.sersic import sersic_brightness
from lensing_sr.losses import Deflection, Observed, Reconstruction
from lensing_sr.simulation import ReferenceSimulator
from lensing_sr.simulation.detector import noise_sigma

#: Off-centre in both axes, so that a mirror or half a pixel shows.
SOURCE = {"r_eff": 0.22, "n": 1.3, "e1": 0.15, "e2": -0.1, "x_source": 0.17, "y_source": -0.08}
BRIGHTNESS = 30.0


class Channel(torch.nn.Module):
    """Images get the axis that convolutions want."""

    def forward(self, image):
        return image[:, None]


def grid(shape, pixel, dtype=torch.float64):
    """Pixel centres (x, y), the array's centre at (0, 0)."""
    y, x = torch.meshgrid(*((torch.arange(n, dtype=dtype) - 0.5 * (n - 1)) * pixel for n in shape), indexing="ij")
    return x, y


def lens(x, y, theta_E=0.8):
    """Deflection of an elliptical lens off the centre, with shear."""
    one = torch.ones((), dtype=x.dtype)
    alpha = sie_deflection(x, y, theta_E * one, 0.1 * one, -0.05 * one, 0.03, 0.02)
    shear = shear_deflection(x, y, 0.04 * one, -0.03 * one)
    return alpha[0] + shear[0], alpha[1] + shear[1]


def source(x, y):
    """Surface brightness of the source per arcsec^2."""
    numbers = {name: torch.as_tensor(value, dtype=x.dtype) for name, value in SOURCE.items()}
    return sersic_brightness(x, y, BRIGHTNESS * torch.ones((), dtype=x.dtype), **numbers)


def lensed(shape, pixel, deflection=lens):
    """Image at pixel centres without blur, flux a pixel, ``(1, rows, columns)``."""
    x, y = grid(shape, pixel)
    alpha_x, alpha_y = deflection(x, y)
    return source(x - alpha_x, y - alpha_y)[None] * pixel**2


def scene(shape=(36, 44), pixel=0.08, noise=1e-3, seed=None, deflection=lens, **settings):
    """An image without blur, not square, and its true deflection on the fine grid."""
    image = lensed(shape, pixel, deflection)
    sigma = torch.full_like(image, noise)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        image = image + sigma * torch.randn(image.shape, generator=generator, dtype=image.dtype)
    fine = tuple(2 * n for n in shape)
    alpha = Deflection(*(a[None] for a in deflection(*grid(fine, pixel / 2))))
    return Observed(image, sigma, pixel, **settings), alpha


@functools.lru_cache(maxsize=8)
def reference(model, n=4, dtype=torch.float64, faithful=True, noisy=True, seed=3):
    """Reference lenses: (observed, true deflection, everything that the simulator knows), an oracle for tests only."""
    simulator = ReferenceSimulator(model, dtype=dtype, faithful=faithful)
    truth = simulator.draw(n, seed=seed)
    exposure = truth["exp_time_LR"].to(dtype)[:, None, None]
    sigma = noise_sigma(truth["LR_model"], simulator.instrument.background_rms(), exposure)
    image = truth["LR_model"]
    if noisy:
        image = image + sigma * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    instrument = simulator.instrument
    observed = Observed(image, sigma, instrument.pixel_scale, instrument.psf_fwhm, pixel_centres=faithful)
    return observed, Deflection(truth["alpha_x"], truth["alpha_y"]), truth


def scaled(alpha, factor):
    """The same deflection, stronger or weaker."""
    return Deflection(alpha.alpha_x * factor, alpha.alpha_y * factor)


def directions(alpha, count, seed=0):
    """Changes of a deflection, of about 1 arcsec each: smooth ones, and single pixels."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = alpha.alpha_x.shape[1:]
    v, u = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    found = []
    for k in range(count):
        a = torch.randn(8, generator=generator)
        smooth = [torch.sin(a[0 + i] + 2 * a[2 + i] * u + 2 * a[4 + i] * v) for i in range(2)]
        if k % 3 == 2:
            where = torch.rand(2, rows, columns, generator=generator) < 0.01
            smooth = [s * w for s, w in zip(smooth, where, strict=True)]
        found.append(Deflection(*(s.to(alpha.alpha_x).expand_as(alpha.alpha_x) for s in smooth)))
    return found


def slopes(function, observed, alpha, direction, step, **settings):
    """Derivative of a scalar of a reconstruction along a change of the deflection: (autograd's, central difference)."""

    def value(t):
        moved = Deflection(*(a + t * d for a, d in zip(alpha, direction, strict=True)))
        return function(Reconstruction(observed, moved, **settings))

    t = torch.zeros((), dtype=alpha.alpha_x.dtype, requires_grad=True)
    found = torch.autograd.grad(value(t), t)[0]
    expected = (value(t + step) - value(t - step)) / (2.0 * step)
    return float(found), float(expected.detach())
