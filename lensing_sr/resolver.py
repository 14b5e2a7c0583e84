# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""`LensingSuperResolver`: one image of a strong lens in, everything that can be said of it out."""

import logging
import time

import numpy as np

from lensing_sr._assembly import assemble
from lensing_sr._stack import group_alike, stack
from lensing_sr.errors import InputError
from lensing_sr.geometry.wcs import check_scale
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.prepare import prepare
from lensing_sr.utils._checks import check_choice
from lensing_sr.utils._progress import progress as progress_bar
from lensing_sr.utils._repr import make_repr

__all__ = ["LensingSuperResolver"]

log = logging.getLogger("lensing_sr")

#: Images fitted at once, at most: more would not be faster, only larger.
BATCH = 64
#: Beyond this scale every fine pixel is interpolation.
LARGEST_SCALE = 16


class LensingSuperResolver:
    r"""Super-resolve images of galaxy-galaxy strong lenses with the physics of lensing.

    The forward model :math:`d = B\,P\,[S(\theta - \alpha) + G(\theta)] + n` is fitted to the image as it is; the fitted
    lens and source are seen through the same optics at the finer scale, and what the model could not explain comes
    back from the residual as far as it is significant.

    Parameters
    ----------
    scale : float
        Input pixels over output pixels along one axis, 1 to 16; need not be whole.
    method : {"auto", "fit"}
        How the deflection is found; "auto" is "fit".
    lens_light : "auto" or bool
        Whether the lens galaxy's light is in the image; "auto" models it where a galaxy
        is seen at the centre.
    supersampling : "auto" or int
        Samples of the light a PSF pixel and axis; 1 is at pixel centres, "auto" as many as the noise can tell.
    target_psf : "same", `~astropy.units.Quantity` or array
        PSF of the output: that of the same optics at the finer sampling, a Gaussian of this FWHM, or a kernel on the
        output pixels.
    device : str
        "auto" (CUDA where there is one), "cpu", "cuda" or any torch device.
    dtype : torch.dtype, optional
        Precision of the images; float32 by default, normal equations are always in float64.
    seed : int
        Recorded in the result.  The fit draws no random numbers.

    Raises
    ------
    lensing_sr.errors.InputError
        If a setting is none of these.

    Examples
    --------
    >>> from lensing_sr import LensingSuperResolver
    >>> from lensing_sr.datasets import example_path
    >>> result = LensingSuperResolver(scale=2).super_resolve(example_path())  # doctest: +SKIP
    >>> result.parameters.loc["theta_E"]["value"]  # doctest: +SKIP
    1.2
    """

    def __init__(
        self,
        *,
        scale=2,
        method="auto",
        lens_light="auto",
        supersampling="auto",
        target_psf="same",
        device="auto",
        dtype=None,
        seed=0,
    ):
        self.scale = check_scale(scale)
        if self.scale > LARGEST_SCALE:
            raise InputError("scale", f"must lie between 1 and {LARGEST_SCALE}", scale, "resample the result for more")
        check_choice(method, ("auto", "fit"), "method")
        if not (isinstance(lens_light, bool) or lens_light == "auto"):
            raise InputError("lens_light", "must be 'auto', True or False", repr(lens_light))
        whole = isinstance(supersampling, int | np.integer) and not isinstance(supersampling, bool)
        if not (supersampling == "auto" or (whole and 1 <= supersampling <= 16)):
            raise InputError("supersampling", "must be 'auto' or a whole number from 1 to 16", repr(supersampling))
        self.method, self.lens_light, self.supersampling = method, lens_light, supersampling
        self.target_psf, self.device, self.dtype, self.seed = target_psf, device, dtype, seed

    def __repr__(self):
        names = ("scale", "method", "lens_light", "supersampling", "target_psf", "device", "dtype", "seed")
        return make_repr(self, {name: getattr(self, name) for name in names})

    def super_resolve(self, image, **how_to_read):
        """Super-resolve one image.

        Parameters
        ----------
        image : str, path, HDUList, CCDData, NDData, (array, WCS) or LensImage
            The image.
        **how_to_read
            ``psf``, ``psf_oversampling``, ``noise``, ``mask``, ``ext``, ``pixel_scale``, ``cutout``, ``unit``,
            ``instrument``, as for `LensImage.read <lensing_sr.image.lens_image.LensImage.read>`.

        Returns
        -------
        SuperResolution

        Raises
        ------
        lensing_sr.errors.InputError
            If the image, or what comes with it, cannot be used; the message says why and what to do.
        """
        return self.super_resolve_many([image], **how_to_read)[0]

    def super_resolve_many(self, images, *, progress=False, **how_to_read):
        """Super-resolve several images, those of equal shape in batches.

        Parameters
        ----------
        images : sequence
            As for `super_resolve`.
        progress : bool
            Whether to show a progress bar.
        **how_to_read
            As for `super_resolve`, for all images alike; where they differ, give `LensImage` objects.

        Returns
        -------
        list of SuperResolution
            In the order of the images.
        """
        started = time.perf_counter()
        images = [LensImage.read(image, **how_to_read) for image in images]
        prepared = [prepare(image, lens_light=self.lens_light) for image in images]
        reading = (time.perf_counter() - started) / max(len(images), 1)
        results = [None] * len(images)
        groups = group_alike(images, prepared, BATCH)
        for members in progress_bar(groups, description="super-resolving", show=progress and len(groups) > 1):
            began = time.perf_counter()
            batch = stack(
                [images[i] for i in members],
                [prepared[i] for i in members],
                device=self._torch_device(),
                dtype=self.dtype,
            )
            assembled = assemble(
                batch,
                scale=self.scale,
                lens_light=prepared[members[0]].lens_visible if self.lens_light == "auto" else self.lens_light,
                supersampling=self.supersampling,
                target_psf=self.target_psf,
            )
            elapsed = (time.perf_counter() - began) / len(members) + reading
            for i, result in zip(members, assembled, strict=True):
                result.meta.update(method="fit", network="", weights_sha256="", seed=self.seed, time_s=elapsed)
                results[i] = result
                log.info("%s: %r", images[i].name or "image", result)
        return results

    def _torch_device(self):
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except (RuntimeError, TypeError):
            raise InputError("device", "must be 'auto', 'cpu', 'cuda' or a torch device", repr(self.device)) from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise InputError("device", "must be there", "'cuda', but torch sees no CUDA device", "use 'cpu' or 'auto'")
        return device
