# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a network is shown: the image in numbers of order one, and maps of what it should know beside it."""

import math

import torch

from lensing_sr.errors import InputError, NoiseError
from lensing_sr.networks._layers import full_precision, pixel_offsets
from lensing_sr.utils._checks import check_choice

__all__ = ["INPUTS", "SCALINGS", "prepare_inputs"]

#: Maps that may accompany the image.
INPUTS = ("x", "y", "r", "noise", "psf", "scale")

#: Ways to bring the image to order one.
SCALINGS = ("minmax", "snr")


def prepare_inputs(image, *, pixel_scale, psf_fwhm=0.0, noise=None, scaling="minmax", inputs=()):
    r"""Stack the scaled image and the maps that go with it.

    .. math:: \frac{I - \min I}{\max I - \min I} \quad (\text{"minmax"}), \qquad
              \tfrac12\,\mathrm{arsinh}(I / \sigma) \quad (\text{"snr"})

    The first is the published scaling; it depends on two pixels, and blank sky comes out differently in every image.
    The second keeps the sky at 0 and says how significant each pixel is.

    Parameters
    ----------
    image : torch.Tensor
        ``(batch, ny, nx)``, flux per pixel, finite.
    pixel_scale : float
        arcsec of a pixel.
    psf_fwhm : float
        Full width at half maximum of the point-spread function, arcsec; 0 for none.
    noise : torch.Tensor, optional
        Sigma per pixel, ``(batch, ny, nx)`` or ``(batch, 1, 1)``; needed for ``scaling="snr"`` and the input "noise".
    scaling : {"minmax", "snr"}
        How the image is brought to order one.
    inputs : sequence of str
        Maps to be added: "x", "y" and "r" (position from the centre in units of half the longer side), "noise"
        (decimal logarithm of the image's range over sigma), "psf" (FWHM in pixels), "scale" (natural logarithm of the
        pixel in units of 0.1 arcsec).

    Returns
    -------
    torch.Tensor
        ``(batch, 1 + len(inputs), ny, nx)``.

    Raises
    ------
    lensing_sr.errors.InputError
        If the image is no batch of images, a number has the wrong sign, or an input is unknown.
    lensing_sr.errors.NoiseError
        If noise is needed and not given, or has the wrong shape.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import prepare_inputs
    >>> image = torch.tensor([[[1.0, 3.0], [2.0, 1.0]]])
    >>> prepare_inputs(image, pixel_scale=0.1, inputs=("x",)).tolist()
    [[[[0.0, 1.0], [0.5, 0.0]], [[-0.5, 0.5], [-0.5, 0.5]]]]
    """
    if not isinstance(image, torch.Tensor) or image.ndim != 3 or not image.is_floating_point():
        found = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise InputError("image", "must be a tensor of floats of shape (batch, ny, nx)", found, "add a dimension")
    if not pixel_scale > 0:
        raise InputError("pixel_scale", "must be positive", pixel_scale, "give it in arcsec")
    if not psf_fwhm >= 0:
        raise InputError("psf_fwhm", "must not be negative", psf_fwhm, "0 stands for no blurring")
    check_choice(scaling, SCALINGS, "scaling")
    if scaling == "snr" or "noise" in inputs:
        noise = _checked_noise(noise, image)
    with full_precision(image):
        lowest, highest = image.amin(dim=(-2, -1), keepdim=True), image.amax(dim=(-2, -1), keepdim=True)
        # a constant image has no range; it becomes 0 rather than NaN
        extent = (highest - lowest).clamp_min(torch.finfo(image.dtype).tiny)
        scaled = (image - lowest) / extent if scaling == "minmax" else 0.5 * torch.asinh(image / noise)
        maps = [_map(name, scaled, extent, noise, pixel_scale, psf_fwhm) for name in inputs]
        return torch.stack([scaled, *(item.expand_as(scaled) for item in maps)], dim=1)


def _checked_noise(noise, image):
    if noise is None:
        raise NoiseError("noise", "must be given to this network", None, "pass sigma per pixel, or a network without")
    noise = torch.as_tensor(noise, dtype=image.dtype, device=image.device)
    batch, rows, columns = image.shape
    shapes = [(n, *size) for n in {1, batch} for size in ((1, 1), (rows, columns))]
    if tuple(noise.shape) not in shapes:
        rule = f"must have the shape {tuple(image.shape)} of the image or ({batch}, 1, 1)"
        raise NoiseError("noise", rule, tuple(noise.shape))
    return noise


def _map(name, image, extent, noise, pixel_scale, psf_fwhm):
    """Make one of the `INPUTS`, of a shape that broadcasts with the image."""
    check_choice(name, INPUTS, "inputs")
    if name in ("x", "y", "r"):
        rows, columns = image.shape[-2:]
        half = 0.5 * max(rows, columns)
        x, y = (offset / half for offset in pixel_offsets(rows, columns, device=image.device, dtype=image.dtype))
        return {"x": x, "y": y, "r": torch.hypot(*torch.broadcast_tensors(x, y))}[name]
    if name == "noise":
        # masked pixels may have any sigma at all
        return torch.log10(extent / noise).nan_to_num(0.0).clamp(-2.0, 5.0)
    return image.new_tensor(psf_fwhm / pixel_scale if name == "psf" else math.log(pixel_scale / 0.1))
