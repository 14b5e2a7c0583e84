# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From a batch of images to their results: explain, see finely, restore."""

import math

import numpy as np
import torch

from lensing_sr._packing import pack
from lensing_sr.errors import InputError
from lensing_sr.fit.rendering import tolerance
from lensing_sr.forward.formation import ImageFormation, sample_positions
from lensing_sr.restore.residual import restore_residual
from lensing_sr.restore.target_psf import blur, matching_kernel, target_kernel
from lensing_sr.utils._threads import side_by_side

__all__ = ["assemble"]

#: More fine pixels than this are refused rather than left to exhaust the memory.
LARGEST_OUTPUT = 40_000_000
#: A probability of no lens below which an image is delivered as if there were one for sure.
NEGLIGIBLE = 0.1


def assemble(batch, explain, *, scale, target_psf):
    """Explain a batch and build a `SuperResolution` for each of its images.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    explain : callable
        The method: takes the batch, returns its `lensing_sr._explanation.Explanation`.
    scale : float
        Input pixels over output pixels.
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
    explained = explain(batch)
    field, free = batch.field, explained.supersampling == "auto"
    limit = tolerance(field.weight, field.pixel**2) if free else None
    native = field.formation(explained.supersampling)
    pixel = float(batch.images[0].grid.pixel_scale.value)
    kernels = [target_kernel(target_psf, image.psf, pixel, scale) for image in batch.images]
    fine = fine_grids[0]
    samples = native.oversampling * native.supersampling
    finer = 1 if limit is not None else math.ceil(samples / scale)
    formation = _fine_formation(field, fine, scale, [kernel for kernel, _ in kernels], finer)
    parts, (arcs, light), model_variance = side_by_side(
        [
            lambda: explained.render(native, limit),
            lambda: explained.render(formation, limit),
            lambda: _model_variance(batch, explained, fine, scale, kernels),
        ],
        field.data.device,
    )
    model = sum(parts) + explained.sky[:, None, None].to(parts[0])
    residual = field.data - model
    optics = {"binned": limit is not None or samples > 1, "kernels": kernels, "target": target_psf}
    corrections, spreads, kept = _restore(batch, explained, range(len(residual)), residual, parts, scale, **optics)
    variance = explained.delivered_variance(model_variance, spreads**2)
    image, left = arcs + light + corrections, residual - kept
    values = [explained.values(i) for i in range(len(residual))]
    verdicts = [explained.verdict(i, found) for i, (found, _) in enumerate(values)]
    values = [
        (found, explained.stated(i, found, errors, verdicts[i])) for i, (found, errors) in enumerate(values)
    ]
    doubted = [i for i, verdict in enumerate(verdicts) if verdict.belief < 1.0 - NEGLIGIBLE]
    if doubted:  # what is delivered is what is believed: a lens and none, as probable as each is
        p = torch.tensor([verdicts[i].belief for i in doubted], dtype=torch.float64).to(image)[:, None, None]
        unlensed = residual[doubted] + parts[0][doubted]
        no_arcs = torch.zeros_like(unlensed), parts[1][doubted]
        restored, spread, kept = _restore(batch, explained, doubted, unlensed, no_arcs, scale, **optics)
        other = light[doubted] + restored
        power = light[doubted].square()  # that part of the model remains, and with it its share of the variance
        share = power / (power + arcs[doubted].square()).clamp_min(torch.finfo(power.dtype).tiny)
        other_variance = explained.delivered_variance(share * model_variance[doubted], spread**2)
        between = p * (1.0 - p) * (image[doubted] - other).square()
        variance[doubted] = p * variance[doubted] + (1.0 - p) * other_variance + between
        image[doubted] = p * image[doubted] + (1.0 - p) * other
        left[doubted] = p * left[doubted] + (1.0 - p) * (unlensed - kept)
    good = field.weight > 0
    agreement = (left * field.weight).square().sum(dim=(1, 2)) / good.sum(dim=(1, 2)).clamp_min(1)
    alpha = explained.deflection(*sample_positions(fine.shape, fine.matrix, fine.origin, device=field.data.device))

    def host(tensor):
        return tensor.detach().cpu().double().numpy()

    arrays = {
        "arcs": host(arcs),
        "lens_light": host(light),
        "image": host(image),
        "sigma": host(variance.clamp_min(0.0).sqrt()),
        "model": host(model),
        "arcs_model": host(parts[0]),
        "alpha_x": host(alpha[0]),
        "alpha_y": host(alpha[1]),
    }
    return [
        pack(
            batch, explained, i, values[i], verdicts[i],
            {name: array[i] for name, array in arrays.items()} | {"consistency": float(agreement[i])},
            fine_grids[i], scale, kernels[i],
        )
        for i in range(len(batch.images))
    ]


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


def _restore(batch, explained, members, residual, parts, scale, *, binned, kernels, target):
    """What the model missed of some images, on the output's pixels, with its uncertainty; and on the input's."""
    field = batch.field
    sigma = torch.where(field.weight > 0, field.weight, torch.ones_like(field.weight)).reciprocal()
    corrections, spreads, kept = [], [], []
    for row, i in enumerate(members):
        image = batch.images[i]
        restored = restore_residual(
            residual[row : row + 1],
            sigma[i : i + 1],
            scale,
            model=tuple(part[row : row + 1] for part in parts),
            leverage=_on_field(explained.leverage(i), batch, i),
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
        kept.append(restored.kept)
    return torch.cat(corrections), torch.cat(spreads), torch.cat(kept)


def _on_field(leverage, batch, i):
    """A map of the fit's pixels on those of the whole image, ``(1, rows, columns)``; zero elsewhere."""
    whole = torch.zeros_like(batch.field.data[i : i + 1])
    if leverage is not None:
        whole[(0, *batch.prepared[i].slices)] = leverage.to(whole)
    return whole


def _model_variance(batch, explained, fine, scale, kernels):
    """Variance of the model on the output's pixels; computed where the method looked, zero elsewhere."""
    device = batch.field.data.device
    variance = torch.zeros((len(batch.images), *fine.shape), dtype=batch.field.data.dtype, device=device)
    for i, prepared in enumerate(batch.prepared):
        rows, columns = (
            slice(math.floor(part.start * scale), min(math.ceil(part.stop * scale), n))
            for part, n in zip(prepared.slices, fine.shape, strict=True)
        )
        window = fine.cropped(rows, columns)
        formation = _fine_formation(batch.field, window, scale, [kernels[i][0]], 1)
        variance[i, rows, columns] = explained.variance(i, formation)
    return variance
