# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of the reconstruction: the re-lensed image is the truth's, on every grid, the right way up."""

import pytest
import torch

from lensing_sr.errors import InputError
from lensing_sr.forward.binning import bin_sum
from lensing_sr.losses import Deflection, Observed, Reconstruction
from lensing_sr.losses.sersic_fit import sersic_light
from lensing_sr.losses.tests.scenes import lens, lensed, reference, scene


@pytest.mark.parametrize("model", [1, 2, 3])
def test_relensed_image_is_the_high_resolution_truth(model):
    observed, alpha, truth = reference(model, 4, noisy=False)
    found, wanted = Reconstruction(observed, alpha).relensed(2), truth["HR_model"]
    error = (found - wanted).abs() / wanted.amax((1, 2), keepdim=True)
    # the deflection of an isothermal sphere turns round within the central pixels
    row, column = (n // 2 for n in wanted.shape[1:])
    error[:, row - 3 : row + 3, column - 3 : column + 3] = 0.0
    assert float(error.max()) < 1e-3


@pytest.mark.parametrize("model", [1, 2, 3])
def test_relensed_sum_is_the_high_resolution_truth_of_integrated_pixels(model):
    observed, alpha, truth = reference(model, 4, faithful=False, noisy=False)
    reconstruction = Reconstruction(observed, alpha)
    found, wanted = reconstruction.relensed(2), truth["HR_model"]
    # light at the centres of the fine pixels instead of their mean: a per cent where it is steep
    assert float((found - wanted).abs().max() / wanted.max()) < 0.06
    assert float(((found - wanted) ** 2).mean().sqrt() / wanted.max()) < 3e-3
    torch.testing.assert_close(bin_sum(found, 2), reconstruction.relensed(1))


@pytest.mark.parametrize("shape", [(36, 44), (45, 38), (37, 51)])
@pytest.mark.parametrize("scale", [1, 2, 0.5, 3, 1.5])
def test_every_grid_shares_the_first_edge(shape, scale):
    """Not square, off-centre in x and y, any scale: against light at those very positions."""
    pixel = 0.08
    observed, alpha = scene(shape, pixel)
    reconstruction = Reconstruction(observed, alpha)
    found = reconstruction.relensed(scale)[0]
    rows, columns = reconstruction.shape(scale)
    assert found.shape == (rows, columns)
    x, y = reconstruction.positions(scale)
    edge = 0.5 * pixel / scale
    assert float(x[0, 0]) == pytest.approx(-0.5 * shape[1] * pixel + edge)
    assert float(y[0, 0]) == pytest.approx(-0.5 * shape[0] * pixel + edge)
    assert float(x[0, 1] - x[0, 0]) == pytest.approx(pixel / scale)
    alpha_x, alpha_y = lens(x, y)
    model = _light(reconstruction, x - alpha_x, y - alpha_y) * (pixel / scale) ** 2
    far = ((x - 0.03) ** 2 + (y - 0.02) ** 2).sqrt() > 3 * pixel
    assert float((found - model)[far].abs().max() / model.max()) < 3e-3
    # turned over it is another image
    assert min(float((found.flip(axis) - model).abs().max() / model.max()) for axis in (0, 1)) > 0.3


def _light(reconstruction, x, y):
    found = reconstruction.fit()
    return found.amplitude[:, None, None][0] * sersic_light(x[None], y[None], found.parameters)[0]


def test_observed_image_on_other_scales_keeps_its_flux():
    image = lensed((37, 44), 0.08)
    reconstruction = Reconstruction(*_with_noise(image, 0.08))
    torch.testing.assert_close(reconstruction.image(1), image)
    assert float(reconstruction.image(2).sum() / image.sum()) == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(reconstruction.image(0.5), bin_sum(image[:, :36], 2))
    assert reconstruction.image(0.5).shape[1:] == reconstruction.shape(0.5)


def _with_noise(image, pixel):
    fine = torch.zeros(len(image), 2 * image.shape[1], 2 * image.shape[2], dtype=image.dtype)
    return Observed(image, torch.ones_like(image), pixel), Deflection(fine, fine)


def test_radial_and_tangential_parts():
    observed, _ = scene((20, 26), 0.1)
    x, y = Reconstruction(*_with_noise(observed.image, 0.1)).positions(2)
    r = (x * x + y * y).sqrt()
    alpha = Deflection((0.7 * x - 0.2 * y)[None] / r, (0.7 * y + 0.2 * x)[None] / r)
    reconstruction = Reconstruction(observed, alpha)
    torch.testing.assert_close(reconstruction.alpha_r(), torch.full((1, 40, 52), 0.7).double())
    torch.testing.assert_close(reconstruction.alpha_t(), torch.full((1, 40, 52), 0.2).double())
    assert reconstruction.alpha_r(0.5).shape == (1, 10, 13)


def test_convergence_and_curl():
    observed, _ = scene((10, 12), 0.1)
    x, y = Reconstruction(*_with_noise(observed.image, 0.1)).positions(2)
    reconstruction = Reconstruction(observed, Deflection((0.3 * x - 0.1 * y)[None], (0.5 * y + 0.3 * x)[None]))
    torch.testing.assert_close(reconstruction.convergence, torch.full((1, 20, 24), 0.4).double())
    torch.testing.assert_close(reconstruction.curl, torch.full((1, 20, 24), 0.4).double())


def test_blurring_and_kernels_agree():
    """A kernel given is the kernel that a width gives, one an image or one for all; blurring keeps the flux."""
    observed, alpha, _ = reference(2, 3)
    wanted = Reconstruction(observed, alpha).relensed(2)
    kernels = {scale: observed.kernel(scale).expand(3, -1, -1) for scale in (1, 2)}
    given = Observed(observed.image, observed.noise, observed.pixel_scale, kernels=kernels)
    torch.testing.assert_close(Reconstruction(given, alpha).relensed(2), wanted, rtol=0, atol=1e-7)
    reconstruction = Reconstruction(observed, alpha)
    sharp = reconstruction.relensed(2, psf=False)
    assert float(sharp.max()) > 1.02 * float(wanted.max())
    assert float(sharp.sum() / wanted.sum()) == pytest.approx(1.0, abs=1e-3)


def test_each_quantity_is_computed_once_and_shared():
    observed, alpha = scene((20, 24), 0.14)
    alpha.alpha_x.requires_grad_()
    reconstruction = Reconstruction(observed, alpha)
    first = reconstruction.fit()
    assert reconstruction.fit() is first
    with torch.no_grad():
        assert reconstruction.fit() is first
        quiet = reconstruction.source(2)
    assert not quiet.requires_grad
    assert reconstruction.source(2).requires_grad


def test_half_precision_stays_outside():
    observed, alpha, _ = reference(3, 2, torch.float32)
    wanted = Reconstruction(observed, alpha).relensed(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = Reconstruction(observed, Deflection(*alpha)).relensed(2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)


def test_bad_pixels_do_not_matter():
    observed, alpha = scene((28, 32), 0.1, seed=1)
    image, noise = observed.image.clone(), observed.noise.clone()
    noise[0, 3, 4], noise[0, 8:12, 9] = torch.inf, -1.0
    clean = Reconstruction(Observed(image, noise, 0.1), alpha).fit()
    image[0, 3, 4], image[0, 8:12, 9] = 1e9, torch.nan
    found = Reconstruction(Observed(image, noise, 0.1), alpha).fit()
    torch.testing.assert_close(found.parameters, clean.parameters)


def test_errors_name_the_argument():
    observed, alpha = scene((20, 24), 0.14)
    with pytest.raises(InputError, match="^alpha_y: .*(1, 40, 48)"):
        Reconstruction(observed, Deflection(alpha.alpha_x, alpha.alpha_y[:, :-1]))
    reconstruction = Reconstruction(observed, alpha)
    with pytest.raises(InputError, match="^fit:"):
        reconstruction.fit("best")
    with pytest.raises(InputError, match="^method:"):
        reconstruction.source(1, "magic")
