# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the linearised image: every derivative is a difference, every row a piece of the rendered image."""

import pytest
import torch

from lensing_sr.fit.objective import Objective
from lensing_sr.fit.tests.problems import WIDTHS, full_scene, rendered, seen, smooth_scene, whole_response
from lensing_sr.light.source_grid import SourceGrid

SAMPLINGS = [{}, {"supersampling": 2}, {"oversampling": 2, "supersampling": 1}]


def hole(size=32):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[3:7, 20:24] = True
    return mask


@pytest.mark.parametrize("light", [False, True], ids=["arcs", "lens light"])
def test_every_derivative_is_a_difference_of_the_rendered_image(light):
    scene = full_scene(light=light)
    mask = hole(28)
    problem = seen(scene, size=28, mask=mask, light=light)
    found, vector = problem.derivatives(scene), scene.vector()
    assert found.shape == (len(vector), int((~mask).sum()))
    step = 1e-6
    for j in range(len(vector)):
        moved = []
        for sign in (1, -1):
            other = vector.clone()
            other[j] += sign * step
            moved.append(rendered(scene.moved(other), problem.formation))
        numeric = problem.rows(((moved[0] - moved[1]) / (2 * step))[None])[0]
        scale = float(numeric.abs().max())
        error = float((found[j] - numeric).abs().max())
        assert error < 1e-4 * scale + 1e-6, f"entry {j} of {len(vector)}: {error:.3g} of {scale:.3g}"


@pytest.mark.parametrize("sampling", SAMPLINGS[1:])
def test_a_derivative_is_a_difference_at_any_sampling(sampling):
    scene = full_scene()
    problem, vector = seen(scene, size=28, **sampling), scene.vector()
    direction = torch.randn(len(vector), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    direction[-6:] *= 1e-2  # masses move the light next to them fast
    moved = [rendered(scene.moved(vector + step * direction), problem.formation) for step in (1e-6, -1e-6)]
    numeric = problem.rows(((moved[0] - moved[1]) / 2e-6)[None])[0]
    found = direction @ problem.derivatives(scene)
    torch.testing.assert_close(found, numeric, rtol=1e-4, atol=1e-4 * float(numeric.abs().max()))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_linear_rows_make_up_the_image(sampling):
    scene = smooth_scene(light=True)
    problem = seen(scene, noise=0.0, light=True, mask=hole(40), **sampling)
    torch.testing.assert_close(scene.amplitudes @ problem.linear(scene), problem.target, rtol=0, atol=1e-8)


def test_linear_rows_are_those_of_the_objective():
    scene = smooth_scene(light=True)
    problem = seen(scene, light=True)
    priors = scene.p[None], torch.full_like(scene.p[None], torch.inf)
    data = problem.image(problem.target)[None]
    objective = Objective(data, problem.weight[None], problem.formation, *priors, widths=WIDTHS)
    columns = objective.light_columns(scene.p[None], problem.formation)[0][0]
    torch.testing.assert_close(problem.linear(scene)[:-1], problem.rows(columns))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("centre, reach", [((0.2, -0.1), 0.5), ((0.0, 0.0), 3.0), ((0.9, 0.9), 0.1)])
def test_the_response_is_the_grid_seen_through_the_lens(sampling, centre, reach):
    """A small grid is computed on the few pixels that see it: nothing may be missing."""
    scene = full_scene()
    problem = seen(scene, size=32, mask=hole(), **sampling)
    grid = SourceGrid(centre, 0.3 * reach, reach, 9)
    coefficients = torch.randn(9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, y = problem.formation.positions
    whole = problem.formation.observe(grid.evaluate(coefficients, *problem.land(scene, x, y)))
    response = whole_response(problem, scene, grid)
    assert response.shape == (81, int((~hole()).sum()))
    torch.testing.assert_close(coefficients.flatten() @ response, problem.rows(whole[None])[0], rtol=0, atol=1e-9)


def test_a_source_out_of_sight_has_no_response():
    scene = smooth_scene()
    assert (whole_response(seen(scene), scene, SourceGrid((40.0, 40.0), 0.1, 0.2, 5)) == 0).all()


def test_slopes_are_those_of_the_source():
    scene = full_scene()
    problem = seen(scene)
    beta = [b.requires_grad_(True) for b in problem.land(scene, *problem.formation.positions)]
    expected = torch.autograd.grad(scene.source(*beta).sum(), beta)
    for found, known in zip(problem.slopes(scene), expected, strict=True):
        torch.testing.assert_close(found, known, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_centres_are_those_of_the_pixels(sampling):
    problem = seen(smooth_scene(), size=20, **sampling)
    ticks = 0.1 * (torch.arange(20, dtype=torch.float64) - 9.5)
    x, y = problem.centres
    torch.testing.assert_close(x, ticks.expand(20, 20), rtol=0, atol=1e-12)
    torch.testing.assert_close(y, ticks[:, None].expand(20, 20), rtol=0, atol=1e-12)


def test_rows_and_images_are_inverse_where_nothing_is_masked():
    problem = seen(smooth_scene(), mask=hole(40))
    image = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    again = problem.image(problem.rows(image)[0])
    torch.testing.assert_close(again, torch.where(hole(40), 0.0, image[0]))


def test_masked_pixels_do_not_matter():
    problem, mask = seen(smooth_scene(), mask=hole(40)), hole(40)
    spoiled = seen(smooth_scene(), mask=hole(40))
    data = torch.where(mask, 1e9, problem.image(problem.target))
    other = type(problem)(data, spoiled.weight, spoiled.formation, None)
    torch.testing.assert_close(other.target, problem.target)
