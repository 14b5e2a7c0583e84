# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A network learns from a user's own low-resolution images."""

import warnings

import numpy as np
import torch

from lensing_sr._stack import group_alike, stack
from lensing_sr.errors import InputError, LensingSRWarning
from lensing_sr.losses import build_loss
from lensing_sr.training import Trainer, WarmupCosine
from lensing_sr.training.bank import fit_images
from lensing_sr.training.data import ImageBatches
from lensing_sr.training.fine_tuning import fine_tune

__all__ = ["SMALLEST", "train_deflection", "train_estimator", "training_images"]

#: What a network of the reference method minimises by default.
LOSS = {"likelihood": {"log": True}, "variation": {"weight": 0.1}}
#: Images fitted at once.
BATCH = 64

#: Pixels a side that the images must have in common about their lenses.
SMALLEST = 16
#: Fraction by which pixel scales may differ and still be one.
SAME_SCALE = 1e-3


def train_deflection(
    network, images, prepared, *, loss, folder, device, pixel_centres, epochs, batch_size, rate, validation, augment,
    seed, progress,
):  # fmt: skip
    """Train a network of the reference method; arguments as in `LensingSuperResolver.train`. Returns the `History`."""
    batches = training_images(
        images, prepared, batch_size=batch_size, seed=seed, augment=augment, pixel_centres=pixel_centres
    )
    training, held = batches.split(1.0 - validation)
    if loss is None or isinstance(loss, dict):
        loss = build_loss(LOSS if loss is None else loss)
    criterion = "likelihood" if "likelihood" in loss.terms else "total"
    trainer = Trainer(
        network, loss, training, held, epochs=epochs, rate=WarmupCosine(rate), clip=1.0, criterion=criterion, seed=seed,
        device=device, folder=folder, progress=progress,
    )  # fmt: skip
    return trainer.run()


def train_estimator(
    network, images, prepared, *, lens_light, dtype, epochs, batch_size, rate, validation, augment, seed, progress
):
    """Train a lens estimator by the fits of the images; arguments as in `LensingSuperResolver.train`.

    Raises
    ------
    lensing_sr.errors.InputError
        If there are fewer than two images.
    """
    if len(images) < 2:
        raise InputError("images", "must be two at least, one to train with and one to validate", len(images))
    device, dtype = next(network.parameters()).device, dtype or torch.float32
    shards = []
    for members in group_alike(images, prepared, BATCH):
        batch = stack([images[i] for i in members], [prepared[i] for i in members], device=device, dtype=dtype)
        shining = prepared[members[0]].lens_visible if lens_light is None else lens_light
        shards.append(
            fit_images(
                batch.observation, centre=batch.centre, lens_light=shining, correlation=batch.correlation,
                psf_fwhm=batch.psf_fwhm, network=network,
            )  # fmt: skip
        )
    bank = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held = max(1, round(validation * len(images)))
    parts = [{key: values[part] for key, values in bank.items()} for part in (order[held:], order[:held])]
    return fine_tune(
        network, parts[:1], parts[1:], epochs=epochs, batch_size=batch_size, rate=rate, seed=seed, augment=augment,
        progress=progress,
    )  # fmt: skip


def training_images(images, prepared, *, batch_size, seed, augment, pixel_centres):
    """Cut images alike about their lenses and stack them; sky is subtracted, what is masked has no weight.

    Parameters
    ----------
    images : list of LensImage
        Of one pixel scale.
    prepared : list of PreparedImage
        The same, prepared.
    batch_size, seed, augment, pixel_centres
        As in `lensing_sr.training.ImageBatches`.

    Returns
    -------
    ImageBatches

    Raises
    ------
    lensing_sr.errors.InputError
        If there are fewer than two images, pixels are not square or differ, or the images have too little in common.

    Warns
    -----
    lensing_sr.errors.LensingSRWarning
        If lens galaxies shine: no network of the reference method knows of their light.
    """
    if len(images) < 2:
        raise InputError("images", "must be two at least, one to train with and one to validate", len(images))
    scales = np.array([float(image.grid.pixel_scale.value) for image in images])
    odd = np.flatnonzero((abs(scales / scales[0] - 1.0) > SAME_SCALE) | [not i.grid.is_square for i in images])
    if odd.size:
        rule = f"must have square pixels of {scales[0]:.5g} arcsec, as the first one"
        found = f"{images[odd[0]].name or f'image {odd[0]}'} with {scales[odd[0]]:.5g} arcsec"
        raise InputError("images", rule, found, "train on the images of one instrument at a time")
    shining = sum(one.lens_visible for one in prepared)
    if shining:
        text = f"the lens galaxy's light is seen in {shining} of {len(images)} images; the loss takes it for arcs"
        warnings.warn(f"{text}: subtract it, or train on images without", LensingSRWarning, stacklevel=3)
    windows = _windows(prepared)
    fluxes, sigmas = [], []
    for one, window in zip(prepared, windows, strict=True):
        bad = one.mask | ~np.isfinite(one.data) | ~np.isfinite(one.noise) | (one.noise <= 0)
        fluxes.append(np.where(bad, 0.0, one.data - one.sky)[window])
        sigmas.append(np.where(bad, np.inf, one.noise)[window])
    psfs, pixel = [image.psf for image in images], float(scales[0])
    return ImageBatches(
        fluxes, sigmas, pixel, batch_size=batch_size, seed=seed, augment=augment, pixel_centres=pixel_centres,
        **_optics(psfs, pixel),
    )  # fmt: skip


def _windows(prepared):
    """Slices of one size, each about its lens, as large as all images have."""
    centres, reach = [], []
    for one in prepared:
        column, row = (float(c) for c in one.grid.to_pixel(*one.lens_position))
        centres.append((row, column))
        # pixels that a window about the lens may have and still be inside
        reach.append([2.0 * min(c + 0.5, n - 0.5 - c) for c, n in zip((row, column), one.data.shape, strict=True)])
    size = [int(np.floor(extent + 1e-6)) for extent in np.min(reach, axis=0)]
    if min(size) < SMALLEST:
        found = f"{size[0]} x {size[1]}"
        rule = f"must have at least {SMALLEST} x {SMALLEST} pixels about their lenses in common"
        raise InputError("images", rule, found, "leave out those whose lens is at the edge")
    windows = []
    for centre, one in zip(centres, prepared, strict=True):
        starts = [
            int(np.clip(round(c - 0.5 * (n - 1)), 0, whole - n))
            for c, n, whole in zip(centre, size, one.data.shape, strict=True)
        ]
        windows.append(tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True)))
    return windows


def _optics(psfs, pixel):
    """What the batches are told of the point-spread functions."""
    if all(psf is None for psf in psfs):
        return {}
    if any(psf is None for psf in psfs):
        raise InputError("psf", "must be known for all images or for none", "some have one", "give psf for each")
    widths = [psf.measured_fwhm(pixel) for psf in psfs]
    if all(psf.kernel is None and psf.beta is None for psf in psfs) and np.ptp(widths) < 1e-6:
        return {"psf_fwhm": widths[0]}
    known = {}

    def kernels(scale):
        if scale not in known:
            known[scale] = _stacked([psf.kernel_at(pixel, scale) for psf in psfs])
        return known[scale]

    return {"psf_fwhm": float(np.mean(widths)), "kernels": kernels}


def _stacked(kernels):
    """One kernel where all are equal, else one an image, the smaller ones padded."""
    if all(np.array_equal(kernel, kernels[0]) for kernel in kernels[1:]):
        return torch.as_tensor(kernels[0])
    largest = max(len(kernel) for kernel in kernels)
    return torch.as_tensor(np.stack([np.pad(kernel, (largest - len(kernel)) // 2) for kernel in kernels]))
