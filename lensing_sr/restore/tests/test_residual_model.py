# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the residual where a model shines: its error comes in as far as there is one, and noise stays out."""

import pytest
import torch

from lensing_sr.restore.residual import restore_residual, shrink_residual


def noise(seed, shape=(16, 64, 64)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places():
    ticks = torch.arange(64, dtype=torch.float64) - 31.5
    return torch.meshgrid(ticks, ticks, indexing="ij")


def ring(peak):
    """Arcs: a ring 4 pixels wide."""
    y, x = places()
    return (peak * torch.exp(-0.5 * ((torch.hypot(x, y) - 18.0) / 2.0) ** 2))[None]


def galaxy(peak):
    y, x = places()
    return (peak * torch.exp(-torch.hypot(x, y) / 4.0))[None]


def texture(seed):
    """Rough structure of unit variance, a few pixels in size."""
    kernel = torch.full((1, 1, 3, 3), 1 / 3, dtype=torch.float64)
    return torch.nn.functional.conv2d(noise(seed, (1, 1, 66, 66)), kernel)[0]


NOTHING = torch.zeros(1, 64, 64, dtype=torch.float64)


def given(arcs=NOTHING, light=NOTHING, shape=(16, 64, 64)):
    return arcs.expand(shape), light.expand(shape)


@pytest.mark.parametrize("peak", [3.0, 30.0])
def test_on_arcs_of_a_right_model_noise_stays_out(peak):
    """Less than 1 % of its power comes in where the arcs shine."""
    arcs = ring(peak)
    kept = shrink_residual(noise(0), 1.0, model=given(arcs))
    on = (arcs > 1.0).expand_as(kept)
    assert kept[on].square().mean() < 0.01
    assert kept[~on].square().mean() < 0.005


def test_a_dark_model_changes_nothing():
    data = noise(1) + ring(8.0)
    torch.testing.assert_close(shrink_residual(data, 1.0, model=given()), shrink_residual(data, 1.0))


def test_off_the_light_everything_is_as_without_a_model():
    """Wavelets reach 32 pixels, weights are local: where no light is near, the same residual is kept."""
    spot = torch.zeros(1, 64, 64, dtype=torch.float64)
    spot[0, 4:7, 4:7] = 20.0
    data = spot + noise(2, (1, 64, 64))
    light = galaxy(50.0)
    light = torch.where(light > 0.05, light, 0.0)
    plain = shrink_residual(data, 1.0)
    with_light = shrink_residual(data, 1.0, model=(NOTHING, light))
    far = light[0] == 0
    assert (with_light - plain)[0, far].abs().max() < 1e-9


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_what_is_wrong_in_proportion_to_the_arcs_is_kept(share):
    """Rough errors of the model, a share of its light: most of what stands out from noise comes in."""
    arcs = ring(30.0)
    error = share * arcs * texture(3)
    data = error + noise(4, (1, 64, 64))
    kept = shrink_residual(data, 1.0, model=(arcs, NOTHING))
    plain = shrink_residual(data, 1.0)
    on = arcs > 10.0
    left, before = ((k - error)[on].square().mean() for k in (kept, plain))
    assert left < 0.5 * error[on].square().mean()
    assert left < 1.05 * before


def test_the_proportion_reaches_places_that_do_not_stand_out_alone():
    """A weak error beside strong ones of the same model is kept better than without the model."""
    arcs = ring(10.0).expand(16, -1, -1)
    error = 0.2 * arcs * torch.cat([texture(k) for k in range(16)])
    data = error + noise(5)
    on = arcs > 5.0
    left = [(k - error)[on].square().mean() for k in (shrink_residual(data, 1.0, model=(arcs, 0 * arcs)),
                                                      shrink_residual(data, 1.0))]  # fmt: skip
    assert left[0] < left[1]


def test_on_the_galaxy_the_threshold_is_low():
    light = galaxy(100.0)
    error = 1.2 * (light > 3.0) * texture(6)
    data = error + noise(7, (1, 64, 64))
    on = light > 3.0
    kept, plain = (shrink_residual(data, 1.0, model=m)[on].square().mean() for m in ((NOTHING, light), None))
    assert kept > 1.5 * plain


def test_a_defect_does_little_elsewhere():
    """One pixel far off lets in no more than a quarter of the noise at the other side of the ring."""
    arcs = ring(30.0).expand(16, -1, -1)
    data = noise(8)
    data[:, 32, 50] += 500.0
    kept = shrink_residual(data, 1.0, model=(arcs, 0 * arcs))
    assert kept[:, 32, 50].min() > 400
    other_side = (arcs > 3.0) & (torch.arange(64) < 24)
    assert kept[other_side].square().mean() < 0.25


def test_uncertainty_grows_with_what_the_model_misses():
    """Where a model is hopelessly wrong all of the noise comes in, where it is right little, else something between."""
    arcs = ring(30.0)
    on = torch.nn.functional.interpolate((arcs > 15.0)[None].double(), scale_factor=2)[0] > 0
    stated = []
    for share in (0.0, 0.1, 100.0):
        data = share * arcs * texture(9) + noise(10, (1, 64, 64))
        stated.append(float(restore_residual(data, 1.0, 2, model=(arcs, NOTHING)).uncertainty[on].mean()))
    whole = float(restore_residual(1e4 * ring(30.0) + 1e5, 1.0, 2).uncertainty[on].mean())
    assert stated[0] < 0.35 * whole
    assert stated[0] < stated[1] < stated[2] < 1.02 * whole
    assert stated[2] > 0.9 * whole


@pytest.mark.parametrize("peak", [1e-3, 0.3, 0.9])
def test_established_arcs_however_faint_hide_less_than_blank_sky(peak):
    """Where they shine with a tenth of their peak, though no pixel stands out; elsewhere nothing is known better."""
    arcs, left = ring(peak), noise(9, NOTHING.shape)
    model = given(arcs, shape=NOTHING.shape)
    plain, known = (restore_residual(left, 1.0, 1, model=model, established=e) for e in (False, True))
    torch.testing.assert_close(known.kept, plain.kept)
    on, off = arcs > 0.3 * peak, arcs < 0.03 * peak
    assert known.uncertainty[on].mean() < 0.5 * plain.uncertainty[on].mean()
    assert (known.uncertainty <= plain.uncertainty * 1.001).all()
    torch.testing.assert_close(known.uncertainty[off], plain.uncertainty[off])


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_flux_does_not_matter(factor):
    arcs, light = ring(20.0), galaxy(30.0)
    data = 0.2 * arcs * texture(11) + noise(12, (1, 64, 64))
    one = restore_residual(data, 1.0, 2, model=(arcs, light))
    other = restore_residual(factor * data, factor, 2, model=(factor * arcs, factor * light))
    torch.testing.assert_close(other.kept, factor * one.kept, rtol=1e-6, atol=factor * 1e-9)
    torch.testing.assert_close(other.uncertainty, factor * one.uncertainty, rtol=1e-6, atol=factor * 1e-9)


def test_a_batch_is_a_loop():
    arcs = torch.cat([ring(20.0), ring(5.0)])
    data = torch.cat([0.3 * ring(20.0) * texture(13), NOTHING]) + noise(14, (2, 64, 64))
    whole = shrink_residual(data, 1.0, model=(arcs, 0 * arcs))
    for i in range(2):
        part = slice(i, i + 1)
        torch.testing.assert_close(whole[part], shrink_residual(data[part], 1.0, model=(arcs[part], 0 * arcs[part])))


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_model_that_follows_its_data_leaves_less_noise(share):
    """A residual from which the model has taken noise is judged by the noise that is left."""
    data = ring(8.0) + noise(15, (1, 64, 64))
    left = (1.0 - share) ** 0.5
    whole = restore_residual(data, 1.0, 1).kept
    part = restore_residual(left * data, 1.0, 1, leverage=torch.full_like(data, share)).kept
    torch.testing.assert_close(part, left * whole)


def test_no_leverage_is_none():
    data = ring(8.0) + noise(16, (1, 64, 64))
    one, other = restore_residual(data, 1.0, 2), restore_residual(data, 1.0, 2, leverage=torch.zeros_like(data))
    assert torch.equal(one.kept, other.kept) and torch.equal(one.uncertainty, other.uncertainty)
