# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A small simulated lens whose truth is known: made with the package's own forward model."""

import math

import pytest
import torch

from lensing_sr.fit.observation import Observation
from lensing_sr.fit.rendering import render
from lensing_sr.forward.model import LENS, LIGHT, SOURCE
from lensing_sr.light.gaussians import gaussian_widths

SIZE, PIXEL, SIGMA = 56, 0.1, 0.05
TRUTH = {
    "log_theta_E": math.log(1.3), "e1": 0.1, "e2": -0.05, "x_lens": 0.03, "y_lens": -0.02,
    "gamma1": 0.03, "gamma2": 0.02,
    "x_source": 0.2, "y_source": -0.1, "log_r_eff": math.log(0.2), "log_n": 0.0, "e1_source": 0.1, "e2_source": 0.05,
    "x_light": 0.03, "y_light": -0.02, "e1_inner": 0.1, "e2_inner": -0.05, "e1_outer": 0.1, "e2_outer": -0.05,
}  # fmt: skip


def gaussian_kernel(sampling, fwhm=0.18, pixel=PIXEL):
    sigma = fwhm / 2.3548 / (pixel / sampling)
    ticks = torch.arange(-math.ceil(5 * sigma), math.ceil(5 * sigma) + 1, dtype=torch.float64)
    profile = torch.exp(-0.5 * (ticks / sigma) ** 2)
    kernel = profile[:, None] * profile
    return kernel / kernel.sum()


def observe(n=1, *, light=False, arcs=True, seed=0, noise=True, supersampling=1):
    """`n` noisy images of the truth, and the truth itself ``(n, parameters)``."""
    p = torch.tensor([[TRUTH[name] for name in LENS + SOURCE + LIGHT]], dtype=torch.float64).repeat(n, 1)
    widths = gaussian_widths(0.5 * PIXEL, 1.5)
    k = len(widths)
    amplitudes = torch.zeros(n, 2 + 2 * k, dtype=torch.float64)
    amplitudes[:, 0] = 12.0 if arcs else 0.0
    if light:
        amplitudes[:, 1 + k // 2] = 30.0
        amplitudes[:, 2 + k // 2] = 30.0
    blank = torch.zeros(n, SIZE, SIZE, dtype=torch.float64)
    middle = ((SIZE - 1) / 2, (SIZE - 1) / 2)
    observation = Observation(
        blank, blank + 1 / SIGMA, PIXEL * torch.eye(2, dtype=torch.float64), middle, gaussian_kernel, analytic=0.18
    )
    clean = sum(render(p, amplitudes, widths, observation.formation(supersampling)))
    generator = torch.Generator().manual_seed(seed)
    noisy = clean + SIGMA * float(noise) * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    observation.data = (noisy + 0.02).float()
    observation.weight = observation.weight.float()
    return observation, p


@pytest.fixture(scope="session")
def arcs_only():
    return observe(3)


@pytest.fixture(scope="session")
def with_light():
    return observe(1, light=True)
