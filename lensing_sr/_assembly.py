# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From a batch of images to their results: explain, see finely, restore."""

import math

import astropy.units as u
import numpy as np
import torch

from lensing_sr._packing import pack
from lensing_sr.errors import InputError
from lensing_sr.fit.rendering import tolerance
from lensing_sr.forward.formation import ImageFormation, sample_positions
from lensing_sr.image.psf import PSF
from lensing_sr.metrics.interpolation import apply_axes, axis_matrix
from lensing_sr.quality import probability_of
from lensing_sr.restore.between_pixels import missed_variance
from lensing_sr.restore.residual import restore_residual
from lensing_sr.restore.target_psf import blur, matching_kernel, target_kernel
from lensing_sr.utils._threads import side_by_side

__all__ = ["assemble"]

#: More fine pixels than this are refused rather than left to exhaust the memory.
LARGEST_OUTPUT = 40_000_000
#: FWHM in pixels of a PSF that nobody has told.
WELL_SAMPLED = 2.0
#: By what the noise of the pixels is widened where nothing explains them: noise maps are off by as much, and a few
#: connected pixels of correlated noise by more.  From 120 look-alikes, ``python -m benchmarks.invented --seed 31
#: --count 120 --sorts unlensed``.
UNEXPLAINED = 1.25
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
    seen = _Seen(batch, explain(batch), fine_grids[0], scale, target_psf)
    explained, count = seen.explained, len(batch.images)
    values, verdicts = [], []
    for i in range(count):
        found, formal = explained.values(i)
        verdicts.append(explained.verdict(i, found))
        errors = explained.stated(i, found, formal, verdicts[i])
        values.append((found, errors, explained.wide(found, errors, verdicts[i])))
    image, variance, left = seen.as_believed(verdicts)
    good = batch.field.weight > 0
    agreement = (left * batch.field.weight).square().sum(dim=(1, 2)) / good.sum(dim=(1, 2)).clamp_min(1)
    alpha_x, alpha_y = seen.deflection()
    arrays = {
        "arcs": seen.arcs,
        "lens_light": seen.light,
        "image": image,
        "sigma": variance.clamp_min(0.0).sqrt(),
        "model": seen.model,
        "arcs_model": seen.parts[0],
        "alpha_x": alpha_x,
        "alpha_y": alpha_y,
    }
    arrays = {name: tensor.detach().cpu().double().numpy() for name, tensor in arrays.items()}
    return [
        pack(
            batch, explained, i, values[i], verdicts[i],
            {name: array[i] for name, array in arrays.items()} | {"consistency": float(agreement[i])},
            fine_grids[i], scale, seen.kernels[i],
        )
        for i in range(count)
    ]


class _Seen:
    """An explained batch as the telescope sees it and as the output shows it.

    Attributes
    ----------
    parts : tuple of torch.Tensor
        Arcs and lens light on the input's pixels, ``(images, rows, columns)`` each.
    arcs, light : torch.Tensor
        The same on the output's pixels, through its PSF.
    variance : torch.Tensor
        Of the model there.
    model, residual : torch.Tensor
        Of the input, sky included.
    kernels : list of tuple
        Of the output's PSF, an image each, as `target_kernel` gives them.
    """

    def __init__(self, batch, explained, fine, scale, target_psf):
        self.batch, self.explained, self._fine, self._scale, self._target = batch, explained, fine, scale, target_psf
        field = batch.field
        limit = tolerance(field.weight, field.pixel**2) if explained.supersampling == "auto" else None
        native = field.formation(explained.supersampling)
        samples = native.oversampling * native.supersampling
        self._binned = limit is not None or samples > 1
        pixel = float(batch.images[0].grid.pixel_scale.value)
        self.kernels = [target_kernel(target_psf, image.psf, pixel, scale) for image in batch.images]
        finer = 1 if limit is not None else math.ceil(samples / scale)
        formation = self._formation(fine, [kernel for kernel, _ in self.kernels], finer)
        self.parts, (self.arcs, self.light), self.variance = side_by_side(
            [
                lambda: explained.render(native, limit),
                lambda: explained.render(formation, limit),
                self._model_variance,
            ],
            field.data.device,
        )
        self.model = sum(self.parts) + explained.sky[:, None, None].to(self.parts[0])
        self.residual = field.data - self.model

    def deflection(self):
        """(alpha_x, alpha_y) in arcsec on the output's pixels, ``(images, rows, columns)`` each."""
        fine, device = self._fine, self.batch.field.data.device
        return self.explained.deflection(*sample_positions(fine.shape, fine.matrix, fine.origin, device=device))

    def as_believed(self, verdicts):
        """The image to deliver, its variance, and what of the input's residual it leaves: a mean over lens and none.

        What is delivered is what is believed: an image with arcs and one without, as probable as each is.
        """
        established = [_established(verdict) for verdict in verdicts]
        correction, spread, kept = self._restored(range(len(verdicts)), self.residual, self.parts, established)
        image, left = self.arcs + self.light + correction, self.residual - kept
        variance = self.variance + spread**2
        doubted = [i for i, verdict in enumerate(verdicts) if verdict.belief < 1.0 - NEGLIGIBLE]
        if doubted:
            p = torch.tensor([verdicts[i].belief for i in doubted], dtype=torch.float64).to(image)[:, None, None]
            other, other_variance, other_left = self._unlensed(doubted)
            between = p * (1.0 - p) * (image[doubted] - other).square()
            variance[doubted] = p * variance[doubted] + (1.0 - p) * other_variance + between
            image[doubted] = p * image[doubted] + (1.0 - p) * other
            left[doubted] = p * left[doubted] + (1.0 - p) * other_left
        return image, variance, left

    def _unlensed(self, members):
        """Image, variance and what is left of the residual of some images if they show no lens.

        Where nothing explains an image, nothing of it is known better than its pixels.
        """
        arcs, light = self.arcs[members], self.light[members]
        residual = self.residual[members] + self.parts[0][members]
        parts = torch.zeros_like(residual), self.parts[1][members]
        correction, spread, kept = self._restored(members, residual, parts, [False] * len(members))
        power = light.square()  # that part of the model remains, and with it its share of the variance
        share = power / (power + arcs.square()).clamp_min(torch.finfo(power.dtype).tiny)
        variance = share * self.variance[members] + spread**2
        return light + correction, torch.maximum(variance, self._pixel_variance(members)), residual - kept

    def _pixel_variance(self, members):
        """Variance of the noise of some images on the output's pixels, as if they were interpolated; widened."""
        weight = self.batch.field.weight[members]
        good = weight > 0
        variance = torch.where(good, weight, torch.ones_like(weight)).reciprocal().square() * good
        matrices = (axis_matrix(n, self._scale, "bilinear") for n in weight.shape[1:])
        return UNEXPLAINED**2 * apply_axes(variance, *matrices) / self._scale**4

    def _restored(self, members, residual, parts, established):
        """What the model missed of some images, on the output's pixels, with its uncertainty; and on the input's."""
        field = self.batch.field
        sigma = torch.where(field.weight > 0, field.weight, torch.ones_like(field.weight)).reciprocal()
        corrections, spreads, kept = [], [], []
        for row, i in enumerate(members):
            image = self.batch.images[i]
            restored = restore_residual(
                residual[row : row + 1],
                sigma[i : i + 1],
                self._scale,
                model=tuple(part[row : row + 1] for part in parts),
                established=established[row],
                leverage=self._on_field(i),
                mask=field.weight[i : i + 1] <= 0,
                binned=self._binned,
                correlation=round(min(max(float(self.batch.correlation[i]), 0.0), 0.95), 2),
            )
            correction = restored.correction
            if not isinstance(self._target, str) and image.psf is not None:
                pixel = float(image.grid.pixel_scale.value)
                match = matching_kernel(image.psf.kernel_at(pixel, self._scale), self.kernels[i][0])
                correction = blur(correction, torch.as_tensor(match).to(correction))
            corrections.append(correction)
            missed = missed_variance(restored.kept, *self._point(i), self._scale)
            spreads.append((restored.uncertainty.square() + missed).sqrt())
            kept.append(restored.kept)
        return torch.cat(corrections), torch.cat(spreads), torch.cat(kept)

    def _point(self, i):
        """Image of a point in image i, on so many fine pixels a pixel."""
        factor, image = math.ceil(self._scale), self.batch.images[i]
        psf = image.psf or PSF.from_fwhm(WELL_SAMPLED * u.pix * image.grid.pixel_scale)
        return torch.as_tensor(psf.kernel_at(float(image.grid.pixel_scale.value), factor)), factor

    def _on_field(self, i):
        """How much each pixel of image i decides its own model value, ``(1, rows, columns)``; 0 beyond the fit."""
        whole, leverage = torch.zeros_like(self.batch.field.data[i : i + 1]), self.explained.leverage(i)
        if leverage is not None:
            whole[(0, *self.batch.prepared[i].slices)] = leverage.to(whole)
        return whole

    def _model_variance(self):
        """Variance of the model on the output's pixels; computed where the method looked, zero elsewhere."""
        data, fine = self.batch.field.data, self._fine
        variance = torch.zeros((len(data), *fine.shape), dtype=data.dtype, device=data.device)
        for i, prepared in enumerate(self.batch.prepared):
            rows, columns = (
                slice(math.floor(part.start * self._scale), min(math.ceil(part.stop * self._scale), n))
                for part, n in zip(prepared.slices, fine.shape, strict=True)
            )
            formation = self._formation(fine.cropped(rows, columns), [self.kernels[i][0]], 1)
            variance[i, rows, columns] = self.explained.variance(i, formation)
        return variance

    def _formation(self, grid, kernels, supersampling):
        """The operator that sees the sky through the output's PSF on (a part of) the output's pixels."""
        field, kernel = self.batch.field, kernels[0]
        if kernel is not None:
            alike = all(np.array_equal(kernel, other) for other in kernels[1:])
            kernel = torch.as_tensor(kernel if alike else np.stack(kernels))
        return ImageFormation(
            grid.shape, field.matrix / self._scale, grid.origin, kernel, 1, supersampling, dtype=field.data.dtype,
            device=field.data.device,
        )  # fmt: skip


def _established(verdict):
    """Whether neither the belief in the arcs nor, where there is any, the evidence for lensing leaves a doubt."""
    doubts = [1.0 - verdict.belief, 1.0 - probability_of(verdict.evidence)]
    return not any(doubt > NEGLIGIBLE for doubt in doubts)  # that of no evidence is not a number
