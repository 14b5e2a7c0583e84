# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of painting: the flux is there, lensing keeps surface brightness, many more nodes change next to nothing."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import leggauss

from lensing_sr.forward.formation import ImageFormation
from lensing_sr.image.kernels import gaussian_kernel, moffat_kernel
from lensing_sr.simulation._components import Sersics
from lensing_sr.simulation._rays import Lens, by_image
from lensing_sr.simulation.galaxies import draw_galaxies
from lensing_sr.simulation.randomness import Streams
from lensing_sr.simulation.scene import Canvas, graded_rule, psf_kernels
from lensing_sr.simulation.substructure import draw_point_masses


NAMES = ("theta_E", "gamma", "e1", "e2", "x", "y", "gamma1", "gamma2")


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def lenses(count=1, **changed):
    numbers = dict(theta_E=0.8, gamma=2.0, e1=0.0, e2=0.0, x=0.0, y=0.0, gamma1=0.0, gamma2=0.0) | changed
    return Lens(**{name: column(*np.broadcast_to(value, (count,)).tolist()) for name, value in numbers.items()})


def sources(count=1, lumpiness=0.0, **changed):
    numbers = dict(r_eff=0.1, n=1.0, e1=0.1, e2=0.2, x=0.2, y=0.1) | changed
    streams = Streams(1, 0, count, "test of the scene")
    return draw_galaxies(streams, **numbers, lumpiness=lumpiness, smallest=0.03)


def to_single(lens):
    return dataclasses.replace(lens, **{name: getattr(lens, name).float() for name in NAMES})


def peaks(source):
    """The centre of each source, and that of its companion."""
    return torch.stack((source.x, source.parts.x[:, 1]), 1), torch.stack((source.y, source.parts.y[:, 1]), 1)


def brute(canvas, light, nodes=10):
    """Every pixel averaged over as many nodes."""
    places, weights = (torch.as_tensor(0.5 * a) for a in leggauss(nodes))
    x, y = ((axis.double().flatten()[:, None] + canvas.pixel * places).flatten() for axis in (canvas.x, canvas.y))
    samples = light(x[None, None, :], y[None, :, None]).unflatten(2, (-1, nodes)).unflatten(1, (-1, nodes))
    return torch.einsum("nikjl,k,l->nij", samples, weights, weights) * canvas.pixel**2


def blurred(image, fwhm=2.6):
    """As a PSF of 2.6 fine pixels shows it: less than that telescopes do not have."""
    n = len(image)
    shape = tuple(size - 12 for size in image.shape[1:])
    kernels = psf_kernels("gaussian", torch.full((n,), fwhm), torch.zeros(n), torch.zeros(n), 1.0, 6)
    return Canvas(shape, 1.0, 6, dtype=torch.float64).blur(image.double(), kernels.double())


def worst(image, known):
    image, known = blurred(image), blurred(known)
    return (image - known).abs().amax((1, 2)) / known.amax((1, 2))


@pytest.mark.parametrize(("profile", "beta"), [("gaussian", None), ("moffat", 1.7)])
def test_round_kernels_are_those_of_the_instruments(profile, beta):
    known = gaussian_kernel(0.16, 0.05) if beta is None else moffat_kernel(0.16, beta, 0.05)
    zero = torch.zeros(1, dtype=torch.float64)
    kernel = psf_kernels(profile, zero + 0.16, zero, zero, 0.05, len(known) // 2, beta)
    np.testing.assert_allclose(kernel[0].numpy(), known, rtol=1e-12)


def test_elliptical_kernels_are_wider_along_their_axis():
    kernel = psf_kernels("gaussian", *(torch.tensor([v], dtype=torch.float64) for v in (6.0, 0.1, 0.0)), 1.0, 20)[0]
    x = torch.arange(-20.0, 21.0)
    wide, narrow = float((kernel.sum(0) * x**2).sum()), float((kernel.sum(1) * x**2).sum())
    assert math.sqrt(narrow / wide) == pytest.approx((1 - 0.1) / (1 + 0.1), rel=1e-3)
    assert (narrow * wide) ** 0.25 == pytest.approx(6.0 / math.sqrt(8.0 * math.log(2.0)), rel=1e-3)


@pytest.mark.parametrize("grade", [1, 2])
def test_graded_nodes_integrate_cusps_and_polynomials(grade):
    ends = ([0.0, 0.0, 1.0], [1.0, 2.0, 2.0], [0.3, 0.0, 5.0])
    lower, upper, peak = (torch.tensor(values, dtype=torch.float64) for values in ends)
    places, weights = graded_rule(lower, upper, peak, 12, grade)
    np.testing.assert_allclose(weights.sum(1).numpy(), 1.0, rtol=1e-12)
    np.testing.assert_allclose((weights * places**4).sum(1).numpy(), [1 / 5, 16 / 5, 31 / 5], rtol=1e-10)
    cusp = (weights * (places - 0.3).abs().sqrt()).sum(1)[0]
    assert float(cusp) == pytest.approx((0.3**1.5 + 0.7**1.5) / 1.5, rel=1e-10 if grade == 2 else 1e-3)
    assert ((places >= lower[:, None]) & (places <= upper[:, None])).all()


def test_rows_of_images_meet_their_own_image():
    rng = np.random.default_rng(0)
    which = torch.from_numpy(np.repeat([0, 2, 5], [700, 1, 90]))
    x, scale = torch.from_numpy(rng.normal(size=(791, 3))), torch.arange(6.0, dtype=torch.float64) + 1.0
    twice, times = by_image(lambda index, x: (2.0 * x, scale[index, None, None] * x), which, x)
    assert torch.equal(twice, 2.0 * x)
    assert torch.equal(times, scale[which, None] * x)
    assert by_image(lambda index, x: x, which[:0], x[:0]).shape == (0, 3)


def test_an_image_does_not_depend_on_those_beside_it():
    canvas = Canvas((40, 48), 0.05, 4, dtype=torch.float64)
    lens = lenses(3, theta_E=[0.5, 0.9, 0.7], e1=0.2, gamma=[1.9, 2.0, 2.1])
    source, reach = sources(3, lumpiness=1.0, r_eff=np.array([0.3, 0.02, 0.1])), torch.tensor([2.0, 0.2, 0.8]).double()
    whole = canvas.lensed(lens, source, reach, peaks(source))
    for k in range(3):
        index = torch.tensor([k])
        alone = canvas.lensed(lens[index], source[index], reach[index], peaks(source[index]))
        torch.testing.assert_close(alone, whole[index], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.7, 2.0, 2.3])
def test_nothing_is_lost_beyond_the_farthest_image(gamma):
    source = SimpleNamespace(x=torch.tensor([0.3]).double(), y=torch.tensor([-0.2]).double())
    lens, reach = lenses(gamma=gamma, e1=0.25, e2=-0.1, gamma1=0.05, gamma2=-0.08), torch.tensor([0.5]).double()
    radius = float(lens.farthest_image(source, reach))
    angle = torch.linspace(0, 2 * math.pi, 60, dtype=torch.float64)
    far = radius * torch.linspace(1.0, 6.0, 40, dtype=torch.float64)[:, None]
    x, y = (far * angle.cos())[None], (far * angle.sin())[None]
    alpha_x, alpha_y = lens.deflection(x, y)
    assert float(torch.hypot(x - alpha_x - 0.3, y - alpha_y + 0.2).min()) > 0.5


@pytest.mark.parametrize("offset", [0.2, 0.5, 0.8])
def test_a_sphere_magnifies_as_two_over_the_offset(offset):
    canvas = Canvas((96, 96), 0.04, 0)
    source = sources(r_eff=0.02, x=0.8 * offset, y=0.0, e1=0.0, e2=0.0).to(dtype=torch.float32)
    image = canvas.lensed(to_single(lenses()), source, torch.tensor([0.2]), peaks(source))
    assert float(image.sum()) == pytest.approx(2.0 / offset, rel=0.02)


def test_without_a_lens_the_source_is_itself():
    canvas = Canvas((60, 60), 0.04, 0, dtype=torch.float64)
    source = sources(2, lumpiness=1.0, r_eff=0.12)
    image = canvas.lensed(lenses(2, theta_E=1e-9), source, torch.full((2,), 1.2).double(), peaks(source))
    np.testing.assert_allclose(image.sum((1, 2)).numpy(), 1.0, atol=5e-3)
    assert float(worst(image, brute(canvas, source.brightness, nodes=24)).max()) < 3e-3


@pytest.mark.parametrize(("n", "tolerance"), [(0.5, 1e-3), (1.0, 1e-3), (2.5, 2e-3), (4.0, 6e-3)])
def test_lensed_sources_are_those_of_many_nodes(n, tolerance):
    canvas = Canvas((40, 40), 0.04, 0)
    # the third of them almost an Einstein ring
    lens = lenses(3, theta_E=0.45, e1=[0.2, 0.0, -0.1], e2=0.1, gamma=[2.0, 1.8, 2.2], gamma1=0.05)
    source = sources(3, r_eff=np.array([0.05, 0.1, 0.2]), n=n, x=np.array([0.1, 0.25, 0.02]))

    def light(x, y):
        alpha_x, alpha_y = lens.deflection(x, y)
        return source.brightness(x - alpha_x, y - alpha_y)

    known = brute(canvas, light, nodes=24 if n > 1 else 10)
    single = source.to(dtype=torch.float32)
    image = canvas.lensed(to_single(lens), single, torch.full((3,), 6.0), peaks(single))
    assert float(worst(image, known).max()) < tolerance
    np.testing.assert_allclose(image.double().sum((1, 2)).numpy(), known.sum((1, 2)).numpy(), rtol=2e-3)


def test_perturbers_bend_too():
    masses = draw_point_masses("cdm", Streams(1, 0, 2, "masses"))
    lens = lenses(2)
    x, y = torch.linspace(-1, 1, 9).double()[None, None, :], torch.linspace(-1, 1, 7).double()[None, :, None]
    alone, more = lens.deflection(x, y), masses.deflection(x, y)
    both = dataclasses.replace(lens, perturbers=masses)
    for total, one, other in zip(both.deflection(x, y), alone, more, strict=True):
        torch.testing.assert_close(total, one + other)
    index = torch.tensor([1])
    torch.testing.assert_close(both[index].deflection(x, y)[0], both.deflection(x, y)[0][index])


@pytest.mark.parametrize("n", [1.0, 4.0, 5.0])
def test_galaxies_are_those_of_many_nodes(n):
    zero = torch.zeros(3, 1, dtype=torch.float64)
    r_eff = torch.tensor([[1.5], [4.0], [10.0]], dtype=torch.float64)
    light = Sersics(zero + 1, r_eff, zero + n, zero + 0.2, zero - 0.1, zero + 0.3, zero - 0.45)
    canvas = Canvas((72, 72), 1.0, 0)
    image = canvas.compact(light.to(dtype=torch.float32), light.x.float(), light.y.float())
    known = brute(canvas, light.brightness, nodes=16)
    # about the centre even 16 nodes are not enough: finer ones there
    part = Canvas((4, 4), 1.0, 0)
    known[:, 34:38, 34:38] = brute(part, light.brightness, nodes=150)
    assert float(worst(image, known).max()) < 1e-3
    np.testing.assert_allclose(image.double().sum((1, 2)).numpy(), known.sum((1, 2)).numpy(), rtol=1e-3)


def test_slots_without_a_peak_are_left_alone():
    zero = torch.zeros(2, 2, dtype=torch.float64)
    flux = torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[-4.2, 6.1], [3.3, 0.0]], dtype=torch.float64)
    light = Sersics(flux, zero + 0.4, zero + 0.5, zero, zero, x, zero + 1.3)
    canvas = Canvas((40, 40), 1.0, 0, dtype=torch.float64)
    image = canvas.compact(light, light.x, light.y, flux > 0)
    np.testing.assert_allclose(image.sum((1, 2)).numpy(), flux.sum(1).numpy(), rtol=1e-4)


def test_smooth_light_keeps_its_flux():
    canvas = Canvas((64, 64), 1.0, 0, dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    light = Sersics(zero + 1, zero + 0.6, zero + 0.5, zero, zero, zero + 0.37, zero - 0.21)
    assert float(canvas.smooth(light).sum()) == pytest.approx(1.0, abs=2e-3)


def test_light_from_beyond_the_field_scatters_in():
    kernels = psf_kernels("moffat", torch.full((1,), 3.0), torch.zeros(1), torch.zeros(1), 1.0, 8, 2.0)
    zero = torch.zeros(1, 1)
    light = Sersics(zero + 1, zero + 3.0, zero + 1, zero, zero, zero + 9.0, zero)
    wide, narrow = Canvas((40, 40), 1.0, 8), Canvas((20, 20), 1.0, 8)
    images = [canvas.blur(canvas.compact(light, light.x, light.y), kernels) for canvas in (wide, narrow)]
    torch.testing.assert_close(images[1], images[0][:, 10:30, 10:30], rtol=1e-4, atol=1e-7)


def test_canvas_and_image_formation_agree():
    """The painter of simulations and the forward model of the fit are the same operator."""
    kernel = torch.from_numpy(gaussian_kernel(0.16, 0.05))
    canvas = Canvas((64, 64), 0.05, len(kernel) // 2, dtype=torch.float64)
    formation = ImageFormation((32, 32), [[0.1, 0], [0, 0.1]], (15.5, 15.5), kernel, 2, 6, dtype=torch.float64)
    source = sources(r_eff=0.15, n=1.0)
    fine = canvas.blur(canvas.lensed(lenses(), source, torch.tensor([3.0]).double(), peaks(source)), kernel[None])
    alpha_x, alpha_y = lenses().deflection(formation.x, formation.y)
    known = formation.observe(source.brightness(formation.x - alpha_x, formation.y - alpha_y))
    image = fine.unflatten(2, (32, 2)).unflatten(1, (32, 2)).sum((2, 4))
    assert float((image - known).abs().max() / known.max()) < 1e-3
