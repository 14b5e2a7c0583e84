# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the scene: frames, vectors, and a sum of deflections and of light."""

import pytest
import torch

from lensing_sr.fit.tests.problems import full_scene, smooth_scene
from lensing_sr.forward.formation import ImageFormation
from lensing_sr.forward.model import LENS, LIGHT, SOURCE, deflection, lensed_source
from lensing_sr.forward.scene import by_mass
from lensing_sr.lensing.mass import point_mass_deflection

FULL = full_scene()


def places(seed=0, n=14):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * (2 * torch.rand(2, n, n + 3, generator=generator, dtype=torch.float64) - 1)


def test_a_smooth_scene_is_the_model():
    scene, (x, y) = smooth_scene(), places()
    for whole, smooth in zip(scene.deflection(x, y), deflection(scene.p[None], x, y), strict=True):
        assert torch.equal(whole, smooth[0])
    torch.testing.assert_close(scene.arcs(x, y), lensed_source(scene.p[None], x, y)[0] * scene.amplitudes[0])


def test_deflections_add_up():
    x, y = places()
    parts = [
        deflection(FULL.p[None], x, y),
        FULL.potential.deflection(FULL.q, x, y),
        *(point_mass_deflection(x, y, m[0].sqrt(), m[1], m[2]) for m in FULL.perturbers),
    ]
    for axis, whole in enumerate(FULL.deflection(x, y)):
        torch.testing.assert_close(whole, sum(part[axis].view(x.shape) for part in parts), rtol=0, atol=1e-5)


def test_a_point_mass_is_that_of_mass_outside_its_softening():
    scene = smooth_scene().with_changes(perturbers=torch.tensor([[0.01, 0.4, -0.3]], dtype=torch.float64))
    x, y = places()
    far = (x - 0.4) ** 2 + (y + 0.3) ** 2 > 0.1**2
    for found, known in zip(scene.correction(x, y), point_mass_deflection(x, y, 0.1, 0.4, -0.3), strict=True):
        torch.testing.assert_close(found[far], known[far], rtol=2e-4, atol=0)  # (softening / distance)^2
    middle = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([[-0.3]], dtype=torch.float64)
    assert all(float(alpha) == 0 for alpha in scene.correction(*middle))


def test_light_adds_up():
    x, y = places(1)
    sersic = FULL.with_changes(structure=None, grid=None)
    expected = sersic.source(x, y) + FULL.grid.evaluate(FULL.structure, x, y)
    torch.testing.assert_close(FULL.source(x, y), expected)


def test_arcs_are_the_source_where_rays_land():
    x, y = places(2)
    alpha_x, alpha_y = FULL.deflection(x, y)
    torch.testing.assert_close(FULL.arcs(x, y), FULL.source(x - alpha_x, y - alpha_y))
    stacked = torch.stack([x, x + 0.1]), torch.stack([y, y])
    torch.testing.assert_close(FULL.arcs(*stacked)[1], FULL.arcs(x + 0.1, y))


@pytest.mark.parametrize("scene", [smooth_scene(light=True), FULL], ids=["smooth", "full"])
def test_a_shifted_scene_shows_the_same_sky_at_shifted_positions(scene):
    x, y = places(3)
    there = scene.shifted(0.6, -1.1)
    torch.testing.assert_close(there.arcs(x + 0.6, y - 1.1), scene.arcs(x, y), rtol=0, atol=1e-8)
    for a, b in zip(there.deflection(x + 0.6, y - 1.1), scene.deflection(x, y), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8)
    names = LENS + SOURCE + LIGHT
    for name, a, b in zip(names, there.p.tolist(), scene.p.tolist(), strict=False):
        assert a - b == pytest.approx({"x_": 0.6, "y_": -1.1}.get(name[:2], 0.0))


def test_a_shift_leaves_the_original_alone():
    p, perturbers = FULL.p.clone(), FULL.perturbers.clone()
    FULL.shifted(1.0, 1.0)
    assert torch.equal(FULL.p, p) and torch.equal(FULL.perturbers, perturbers)


def test_vector_and_moved_are_inverse():
    vector = FULL.vector()
    assert len(vector) == len(FULL.p) + FULL.q.numel() + 3 * len(FULL.perturbers)
    again = FULL.moved(vector)
    for name in ("p", "q", "perturbers", "amplitudes", "structure"):
        assert torch.equal(getattr(again, name), getattr(FULL, name))
    other = FULL.moved(vector + 0.1)
    torch.testing.assert_close(other.vector(), vector + 0.1)
    assert other.q.shape == FULL.q.shape


def test_derivatives_by_a_mass_are_differences():
    """Of the light of a source with an even slope, which is the slope times the deflection."""
    x, y = places(4)
    mass, step = torch.tensor([0.02, 0.3, -0.2], dtype=torch.float64), 1e-6
    slope_x, slope_y = 2.0, -3.0

    def light(mass):
        alpha_x, alpha_y = smooth_scene().with_changes(perturbers=mass[None]).correction(x, y)
        return -slope_x * alpha_x - slope_y * alpha_y

    slopes = torch.full_like(x, slope_x), torch.full_like(x, slope_y)
    for j, found in enumerate(by_mass(mass.tolist(), x, y, *slopes)):
        ahead, behind = mass.clone(), mass.clone()
        ahead[j] += step
        behind[j] -= step
        torch.testing.assert_close(found, (light(ahead) - light(behind)) / (2 * step), rtol=1e-5, atol=1e-5)


def test_what_each_coefficient_of_the_potential_does_to_the_image():
    """`PotentialGrid.light_changes` behind the optics, against differences of the rendered arcs."""
    formation = ImageFormation(
        (20, 20), [[0.15, 0], [0, 0.15]], (9.5, 9.5), torch.full((3, 3), 1 / 9), 1, 2, dtype=torch.float64
    )
    x, y = formation.positions
    alpha_x, alpha_y = FULL.deflection(x, y)
    beta = [(x - alpha_x).requires_grad_(True), (y - alpha_y).requires_grad_(True)]
    slopes = torch.autograd.grad(FULL.source(*beta).sum(), beta)
    count = FULL.q.numel()
    images = formation.observe(FULL.potential.light_changes(*(c.expand(count, *c.shape) for c in (*slopes, x, y))))
    step = 1e-6
    for k in (3, 40, 60):
        change = torch.zeros(FULL.q.numel(), dtype=torch.float64)
        change[k] = step
        ahead, behind = (FULL.with_changes(q=FULL.q + s * change.view_as(FULL.q)).arcs(x, y) for s in (1, -1))
        numeric = formation.observe(ahead - behind) / (2 * step)
        torch.testing.assert_close(images[k], numeric, rtol=1e-4, atol=1e-4 * float(numeric.abs().max() + 1e-6))
