# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From a batch of images to their results: fit, see finely, restore."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from lensing_sr._packing import pack
from lensing_sr.errors import InputError
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.objective import Solution
from lensing_sr.fit.rendering import render, tolerance
from lensing_sr.fit.uncertainty import image_variance, joint_covariance
from lensing_sr.forward.formation import ImageFormation, sample_positions
from lensing_sr.forward.model import LENS, LIGHT, SOURCE, deflection
from lensing_sr.restore.residual import restore_residual
from lensing_sr.restore.target_psf import blur, matching_kernel, target_kernel
from lensing_sr.solvers.linear import nonnegative_least_squares

__all__ = ["Fitted", "assemble"]

#: More fine pixels than this are refused rather than left to exhaust the memory.
LARGEST_OUTPUT = 40_000_000
#: Supersampling of the fit where it is free; the images are evaluated more finely where they need it.
FIT_SUPERSAMPLING = 2


@dataclass
class Fitted:
    """A fit with its images' frame and sampling: what rendering needs."""

    fit: object
    parameters: torch.Tensor  # in the images' frame
    amplitudes: torch.Tensor
    covariance: torch.Tensor
    supersampling: object  # "auto" or int


def assemble(batch, *, scale, lens_light, supersampling, target_psf):
    """Fit a batch and build a `SuperResolution` for each of its images.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    scale : float
        Input pixels over output pixels.
    lens_light : bool
        Whether to model the lens galaxy's light.
    supersampling : "auto" or int
        As in `LensingSuperResolver`.
    target_psf : "same", Quantity or array
        As in `LensingSuperResolver`.

    Returns
    -------
    list of SuperResolution
    """
    fine_grids = [image.grid.upsampled(scale) for image in batch.images]
    pixels = math.prod(fine_grids[0].shape)
    if pixels > LARGEST_OUTPUT:
        raise InputError(
            "scale",
            f"must leave at most {LARGEST_OUTPUT:g} output pixels",
            f"{scale:g} for an image of {batch.images[0].shape[0]} x {batch.images[0].shape[1]} pixels",
            "cut the lens out (--cutout RA DEC SIZE), or use a smaller scale",
        )
    fitted = _fit(batch, lens_light, supersampling)
    field, widths = batch.field, fitted.fit.objective.widths
    seen = (fitted.parameters, fitted.amplitudes, widths)
    limit = tolerance(field.weight, field.pixel**2) if supersampling == "auto" else None
    native = field.formation(supersampling)
    model = sum(render(*seen, native, limit))
    sky = fitted.amplitudes[:, -1]
    model = model + sky[:, None, None].to(model)

    pixel = float(batch.images[0].grid.pixel_scale.value)
    kernels = [target_kernel(target_psf, image.psf, pixel, scale) for image in batch.images]
    fine = fine_grids[0]
    samples = native.oversampling * native.supersampling
    finer = 1 if limit is not None else math.ceil(samples / scale)
    formation = _fine_formation(field, fine, scale, [kernel for kernel, _ in kernels], finer)
    arcs, light = render(*seen, formation, limit)

    residual = field.data - model
    binned = limit is not None or samples > 1
    corrections, spreads = _restore(batch, residual, scale, binned=binned, kernels=kernels, target=target_psf)
    variance = _model_variance(batch, fitted, fine, scale, kernels) + spreads**2
    alpha = deflection(
        fitted.parameters, *sample_positions(fine.shape, fine.matrix, fine.origin, device=fitted.parameters.device)
    )

    def host(tensor):
        return tensor.detach().cpu().double().numpy()

    arrays = {
        "arcs": host(arcs),
        "lens_light": host(light),
        "image": host(arcs + light + corrections),
        "sigma": host(variance.clamp_min(0.0).sqrt()),
        "model": host(model),
        "alpha_x": host(alpha[0]),
        "alpha_y": host(alpha[1]),
    }
    return [
        pack(batch, fitted, i, {name: array[i] for name, array in arrays.items()}, fine_grids[i], scale, kernels[i])
        for i in range(len(batch.images))
    ]


def _fit(batch, lens_light, supersampling):
    """Fit the batch and settle how finely its images must be sampled."""
    observation = batch.observation
    free = supersampling == "auto"
    fit = fit_lenses(
        observation,
        batch.centre,
        lens_light=lens_light,
        correlation=batch.correlation,
        psf_fwhm=batch.psf_fwhm,
        arc_radius=batch.arc_radius,
        supersampling=FIT_SUPERSAMPLING if free else supersampling,
    )
    images = torch.arange(len(observation), device=observation.data.device)
    if free:
        fit.solution = _rescaled(fit, observation)
    covariance = joint_covariance(fit.objective, fit.parameters, images)
    parameters = fit.parameters.clone()
    order = LENS + SOURCE + LIGHT
    for j, name in enumerate(order[: parameters.shape[1]]):
        if name.startswith(("x_", "y_")):
            parameters[:, j] += batch.shift[:, "xy".index(name[0])]
    return Fitted(fit, parameters, fit.solution.amplitudes, covariance, supersampling)


def _rescaled(fit, observation):
    """The solution with arcs and light sampled to convergence: each gets one factor, and the sky its best level."""
    weight, amplitudes = fit.objective.weight, fit.solution.amplitudes
    parts = render(
        fit.parameters,
        amplitudes,
        fit.objective.widths,
        observation.formation("auto"),
        tolerance(observation.weight, observation.pixel**2),
    )
    columns = torch.stack([*parts, torch.ones_like(weight)], dim=1)
    weighted = (columns * weight[:, None]).flatten(2).double()
    target = (observation.data * weight).flatten(1).double()
    gram, rhs = weighted @ weighted.transpose(1, 2), (weighted @ target[:, :, None])[:, :, 0]
    factors, _ = nonnegative_least_squares(gram, rhs, torch.tensor([False, False, True], device=gram.device))
    source, gaussians = amplitudes[:, :1] * factors[:, :1], amplitudes[:, 1:-1] * factors[:, 1:2]
    amplitudes = torch.cat([source, gaussians, factors[:, 2:]], dim=1)
    arcs, light, sky = (columns * factors[:, :, None, None].to(columns)).unbind(1)
    left = target - (factors[:, None] @ weighted)[:, 0]
    return Solution(amplitudes, left.square().sum(dim=1), arcs + light + sky, arcs, light)


def _fine_formation(field, grid, scale, kernels, supersampling):
    """The operator that sees the sky through the output's PSF on (a part of) the output's pixels."""
    if kernels[0] is None:
        kernel = None
    elif all(np.array_equal(kernel, kernels[0]) for kernel in kernels[1:]):
        kernel = torch.as_tensor(kernels[0])
    else:
        kernel = torch.as_tensor(np.stack(kernels))
    return ImageFormation(
        grid.shape,
        field.matrix / scale,
        grid.origin,
        kernel,
        1,
        supersampling,
        dtype=field.data.dtype,
        device=field.data.device,
    )


def _restore(batch, residual, scale, *, binned, kernels, target):
    """What the model missed, on the output's pixels, with its uncertainty."""
    field = batch.field
    sigma = torch.where(field.weight > 0, field.weight, torch.ones_like(field.weight)).reciprocal()
    corrections, spreads = [], []
    for i, image in enumerate(batch.images):
        restored = restore_residual(
            residual[i : i + 1],
            sigma[i : i + 1],
            scale,
            mask=field.weight[i : i + 1] <= 0,
            binned=binned,
            correlation=round(min(max(float(batch.correlation[i]), 0.0), 0.95), 2),
        )
        correction, spread = restored.correction, restored.uncertainty
        if not isinstance(target, str) and image.psf is not None:
            pixel = float(image.grid.pixel_scale.value)
            match = matching_kernel(image.psf.kernel_at(pixel, scale), kernels[i][0])
            correction = blur(correction, torch.as_tensor(match).to(correction))
        corrections.append(correction)
        spreads.append(spread)
    return torch.cat(corrections), torch.cat(spreads)


def _model_variance(batch, fitted, fine, scale, kernels):
    """Variance of the model on the output's pixels; computed where the fit looked, zero elsewhere."""
    device = batch.field.data.device
    variance = torch.zeros((len(batch.images), *fine.shape), dtype=batch.field.data.dtype, device=device)
    for i, prepared in enumerate(batch.prepared):
        rows, columns = (
            slice(math.floor(part.start * scale), min(math.ceil(part.stop * scale), n))
            for part, n in zip(prepared.slices, fine.shape, strict=True)
        )
        window = fine.cropped(rows, columns)
        formation = _fine_formation(batch.field, window, scale, [kernels[i][0]], 1)
        part = slice(i, i + 1)
        variance[i, rows, columns] = image_variance(
            fitted.fit.objective, fitted.parameters[part], fitted.amplitudes[part], fitted.covariance[part], formation
        )[0]
    return variance
