# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The door from images to tensors: alike images become batches, units and masks are left behind."""

from dataclasses import dataclass

import numpy as np
import torch

from lensing_sr.fit.observation import Observation

__all__ = ["Batch", "group_alike", "stack"]


@dataclass
class Batch:
    """Images of one shape, PSF shape and pixel geometry, as they are and as the fit sees them.

    Attributes
    ----------
    images : list of LensImage
    prepared : list of PreparedImage
    observation : Observation
        Cut-outs for the fit; (0, 0) arcsec is the centre of each cut-out.
    field : Observation
        The whole images, in their own frame.
    shift : torch.Tensor
        Position of each cut-out's (0, 0) in its image's frame, ``(images, 2)`` arcsec.
    centre : torch.Tensor
        Lens centres in the frame of the cut-outs, ``(images, 2)`` arcsec.
    correlation : torch.Tensor
        Lag-1 correlation of the noise, ``(images,)``.
    arc_radius : torch.Tensor
        Radius in arcsec about which the arcs' light gathers, 0 where unknown, ``(images,)`` float64.
    psf_fwhm : float
        Largest FWHM of the PSFs in arcsec, 0 without one.
    """

    images: list
    prepared: list
    observation: Observation
    field: Observation
    shift: torch.Tensor
    centre: torch.Tensor
    correlation: torch.Tensor
    arc_radius: torch.Tensor
    psf_fwhm: float


def _likeness(image, prepared):
    psf = image.psf
    optics = None
    if psf is not None:
        optics = psf.oversampling, psf.kernel.shape if psf.kernel is not None else (psf.fwhm.value, psf.beta)
    grid = image.grid
    frame = grid.shape, tuple(np.round(grid.matrix, 12).ravel()), tuple(grid.origin)
    return frame, prepared.data.shape, optics, prepared.lens_visible


def group_alike(images, prepared, largest):
    """Indices of the images in groups that can be fitted as one batch, at most `largest` each."""
    groups = {}
    for i, pair in enumerate(zip(images, prepared, strict=True)):
        groups.setdefault(_likeness(*pair), []).append(i)
    return [group[k : k + largest] for group in groups.values() for k in range(0, len(group), largest)]


def _tensors(data, noise, mask, device, dtype):
    """Data and 1 / sigma; masked pixels are zero in both."""
    data, noise, mask = (np.stack(arrays) for arrays in (data, noise, mask))
    bad = mask | ~np.isfinite(data) | ~np.isfinite(noise) | (noise <= 0)
    data = np.where(bad, 0.0, data)
    weight = np.where(bad, 0.0, 1.0 / np.where(bad, 1.0, noise))
    return tuple(torch.as_tensor(array).to(device=device, dtype=dtype) for array in (data, weight))


def stack(images, prepared, *, device, dtype=None):
    """Stack alike images (see `group_alike`) into a `Batch` on a device."""
    dtype = dtype or torch.float32
    grid, psf = images[0].grid, images[0].psf
    psfs = [image.psf for image in images]
    pixel = float(grid.pixel_scale.value)

    def kernel(sampling):
        if psf is None:
            return None
        if psf.kernel is None:
            return torch.as_tensor(psf.kernel_at(pixel, sampling))
        if all(other.kernel is psf.kernel or np.array_equal(other.kernel, psf.kernel) for other in psfs):
            return torch.as_tensor(psf.kernel_at(pixel, sampling))
        return torch.as_tensor(np.stack([other.kernel_at(pixel, sampling) for other in psfs]))

    matrix = torch.as_tensor(np.array(grid.matrix), dtype=torch.float64)
    optics = {
        "matrix": matrix,
        "kernel": kernel,
        "oversampling": 1 if psf is None else psf.oversampling,
        "analytic": float(psf.fwhm.value) if psf is not None and psf.kernel is None else 0.0,
    }
    rows, columns = prepared[0].data.shape
    middle = ((columns - 1) / 2, (rows - 1) / 2)
    cut = _tensors(*([getattr(p, name) for p in prepared] for name in ("data", "noise", "mask")), device, dtype)
    whole = _tensors(
        [i.data for i in images], [p.full_noise for p in prepared], [i.mask for i in images], device, dtype
    )
    shift = np.array([np.ravel([v.value for v in p.grid.to_arcsec(*middle)]) for p in prepared])
    centre = np.array([p.lens_position for p in prepared]) - shift
    return Batch(
        images,
        prepared,
        Observation(*cut, origin=middle, **optics),
        Observation(*whole, origin=tuple(grid.origin), **optics),
        torch.as_tensor(shift, dtype=torch.float64, device=device),
        torch.as_tensor(centre, dtype=torch.float64, device=device),
        torch.tensor([float(p.correlation) for p in prepared], device=device),
        torch.tensor([float(p.arc_radius) for p in prepared], dtype=torch.float64, device=device),
        0.0 if psf is None else max(p.measured_fwhm(pixel) for p in psfs),
    )
