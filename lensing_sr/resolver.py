# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""`LensingSuperResolver`: one image of a strong lens in, everything that can be said of it out."""

import copy
import logging
import time
from functools import partial

import numpy as np

from lensing_sr._batches import resolve, resolve_again
from lensing_sr._estimated import Estimated
from lensing_sr._fitted import HASTY, Fitted
from lensing_sr._network import ChosenNetwork, lens_finder
from lensing_sr._predicted import Predicted
from lensing_sr._refined import Refined
from lensing_sr.errors import InputError
from lensing_sr.fit.refinement import Settings
from lensing_sr.geometry.wcs import check_scale
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.prepare import prepare
from lensing_sr.utils._checks import check_choice
from lensing_sr.utils._devices import torch_device
from lensing_sr.utils._repr import make_repr
from lensing_sr.validation import validate

__all__ = ["LensingSuperResolver"]

log = logging.getLogger("lensing_sr")

#: The network that looks at images unless another is named.
ESTIMATOR = "lens-estimator"
#: Beyond this scale every fine pixel is interpolation.
LARGEST_SCALE = 16


class LensingSuperResolver:
    r"""Super-resolve images of galaxy-galaxy strong lenses with the physics of lensing.

    A network looks at the image and tells where to start; then the forward model
    :math:`d = B\,P\,[S(\theta - \alpha) + G(\theta)] + n` is fitted to the image as it is; the fitted lens and source
    are seen through the same optics at the finer scale, and what the model could not explain comes back from the
    residual as far as it is significant.

    Parameters
    ----------
    scale : float
        Input pixels over output pixels along one axis, 1 to 16; need not be whole.
    method : {"auto", "fit", "network"}
        How the deflection is found.  "auto": a fit of lens and source that a network starts.  "fit": the same from a
        coarse search, without a network.  "network": by a network alone, in milliseconds; the default one estimates
        lens and source, those of the reference method predict a deflection field (they see no lens light and were
        trained on one kind of image: heed the flags).  "auto" with one of the latter is "network".
    network : str, path, `~lensing_sr.networks.DeflectionNetwork` or `~lensing_sr.networks.LensEstimator`, optional
        Which network: a name, as "residual-cnn-model3", a file of weights, or the network itself; "lens-estimator" by
        default.
    lens_light : "auto" or bool
        Whether the lens galaxy's light is in the image; "auto" models it where a galaxy
        is seen at the centre.
    source : {"auto", "sersic", "pixel"}
        Source model of a fit: a Sersic profile, with structure on pixels of the source plane where the evidence asks
        for it ("auto") or always ("pixel").
    potential : "auto" or False
        Whether a fit may correct the potential of the smooth lens where the evidence asks for it.
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
        network=None,
        lens_light="auto",
        source="auto",
        potential="auto",
        supersampling="auto",
        target_psf="same",
        device="auto",
        dtype=None,
        seed=0,
    ):
        self.scale = check_scale(scale)
        if self.scale > LARGEST_SCALE:
            raise InputError("scale", f"must lie between 1 and {LARGEST_SCALE}", scale, "resample the result for more")
        check_choice(method, ("auto", "fit", "network"), "method")
        self._chosen = None if network is None else ChosenNetwork(network)
        if not (isinstance(lens_light, bool) or lens_light == "auto"):
            raise InputError("lens_light", "must be 'auto', True or False", repr(lens_light))
        whole = isinstance(supersampling, int | np.integer) and not isinstance(supersampling, bool)
        if not (supersampling == "auto" or (whole and 1 <= supersampling <= 16)):
            raise InputError("supersampling", "must be 'auto' or a whole number from 1 to 16", repr(supersampling))
        check_choice(source, ("auto", "sersic", "pixel"), "source")
        if not (potential is False or potential == "auto"):
            raise InputError("potential", "must be 'auto' or False", repr(potential))
        self.method, self.lens_light, self.supersampling = method, lens_light, supersampling
        if self._predicts and lens_light is True:
            rule = "must be 'auto' or False where a network predicts the deflection"
            raise InputError("lens_light", rule, True, "it sees arcs alone: subtract the lens, or use method='fit'")
        self.source, self.potential = source, potential
        self.target_psf, self.device, self.dtype, self.seed = target_psf, device, dtype, seed

    def __repr__(self):
        names = (
            "scale", "method", "network", "lens_light", "source", "potential", "supersampling", "target_psf", "device",
            "dtype", "seed",
        )  # fmt: skip
        network = None if self._chosen is None else self._chosen.name
        return make_repr(self, {name: network if name == "network" else getattr(self, name) for name in names})

    @classmethod
    def from_pretrained(cls, network=ESTIMATOR, **settings):
        """Make a resolver with a trained network.

        Parameters
        ----------
        network : str or path
            A name, as "residual-cnn-model3", or a file that `save` wrote.
        **settings
            Of the class; ``method`` is "auto" unless given: a fit that the network starts, or the network alone where
            it predicts a deflection.

        Returns
        -------
        LensingSuperResolver

        Examples
        --------
        >>> from lensing_sr import LensingSuperResolver
        >>> LensingSuperResolver.from_pretrained("residual-cnn-model3", scale=3).network.settings["network"]
        'residual-cnn'
        """
        return cls(network=network, **settings)

    @property
    def network(self):
        """The `~lensing_sr.networks.DeflectionNetwork` or `~lensing_sr.networks.LensEstimator`, or None."""
        return None if self._looks is None else self._looks.module

    @property
    def _looks(self):
        """The network in use, loaded when it is first needed."""
        if self.method != "fit" and self._chosen is None:
            self._chosen = ChosenNetwork(ESTIMATOR)
        return self._chosen if self.method != "fit" else None

    @property
    def _predicts(self):
        """Whether a network predicts a deflection field."""
        return self.method != "fit" and self._chosen is not None and not self._chosen.estimates

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
        self._explain(True)  # networks are loaded once, which is no image's time
        started = time.perf_counter()
        images = [LensImage.read(image, **how_to_read) for image in images]
        prepared = [prepare(image, lens_light=self.lens_light) for image in images]
        reading = (time.perf_counter() - started) / max(len(images), 1)
        device = torch_device(self.device)
        settings = {"scale": self.scale, "target_psf": self.target_psf, "device": device, "dtype": self.dtype}
        results = resolve(images, prepared, self._explain, progress=progress, **settings)
        if not self._predicts:
            resolve_again(images, prepared, results, self._explain, self._weigh, **settings)
        for image, result in zip(images, results, strict=True):
            result.meta.update(self._provenance(), seed=self.seed, time_s=result.meta["time_s"] + reading)
            log.info("%s: %r", image.name or "image", result)
        return results

    def validate(self, image, *, scale=2, seed=0, result=None, **how_to_read):
        """Withhold pixels of an image, super-resolve it without them, and score what becomes of them.

        The image is binned and given more noise, so that it shares little of it with the withheld pixels; the coarse
        image is super-resolved back with these settings, at its own PSF; on the arcs the native pixels are compared
        with it, and with interpolations of the same coarse image.

        Parameters
        ----------
        image
            As for `super_resolve`.
        scale : int
            By which to bin it.
        seed : int
            Of the added noise.
        result : SuperResolution, optional
            Of this image, if there is one already; otherwise it is made.
        **how_to_read
            As for `super_resolve`.

        Returns
        -------
        `~lensing_sr.validation.Validation`
            Set it as ``result.validation`` to write it with the result.

        Raises
        ------
        lensing_sr.errors.InputError
            If the image cannot be used, is too small to be binned, or is not that of the result.
        """
        image = LensImage.read(image, **how_to_read)
        if result is not None and result.model.shape != image.shape:
            size = " x ".join(map(str, result.model.shape))
            raise InputError("result", "must be of this image", f"one of {size} pixels", "leave it out")
        own = copy.copy(self)
        own.scale, own.target_psf = check_scale(scale), "same"
        if self.supersampling != "auto" and (image.psf is None or image.psf.kernel is None):
            own.supersampling = self.supersampling * int(own.scale)  # the light is sampled where it was
        return validate(image, own.super_resolve, scale=scale, seed=seed, native=result, lens_light=self.lens_light)

    def train(
        self, images, *, epochs=20, batch_size=8, rate=1e-4, validation=0.2, loss=None, augment=True, folder=None,
        progress=None, **how_to_read,
    ):  # fmt: skip
        """Train the network on low-resolution images, without anything else: the lens equation is the teacher.

        The network goes on learning from where it is; make an untrained one with `lensing_sr.networks.build_network`.
        A lens estimator learns from the fits of the images, which it starts.  A network of the reference method sees
        images cut alike about their lenses, the sky subtracted, and each is explained by its predicted deflection, a
        Sersic source and its own optics.  How well that does, in the images that were set aside, says which epoch was
        best.

        Parameters
        ----------
        images : sequence
            As for `super_resolve_many`; for a network of the reference method of one pixel scale and without light of
            the lens galaxies.
        epochs : int
            Times that all images are gone through.
        batch_size : int
            Images a step.
        rate : float
            Highest learning rate; it rises in a twentieth of the steps, then falls along a cosine.
        validation : float
            Share of the images that are set aside.
        loss : dict or `~lensing_sr.losses.LensingLoss`, optional
            Terms and weights as `lensing_sr.losses.build_loss` takes them; by default the log-likelihood, with a little
            variation density.  Not for a lens estimator, nor is `folder`.
        augment : bool
            Whether batches are turned and mirrored at random.
        folder : path, optional
            Of checkpoint, best weights, learning curves and log; a new or empty one.
        progress : bool, optional
            Whether to show a progress bar; by default on a terminal.
        **how_to_read
            As for `super_resolve`.

        Returns
        -------
        `~lensing_sr.training.History`
            Learning curves, and which epoch was best; the network has its weights.

        Raises
        ------
        lensing_sr.errors.InputError
            If there is no network to train, or the images do not go together.
        lensing_sr.training.TrainingError
            If no loss is finite.
        """
        # a user who does not train need not wait for the simulators and the trainer to load
        from lensing_sr._learning import train_deflection, train_estimator

        if self._looks is None:
            raise InputError("method", "must not be 'fit' for train", repr(self.method), "a fit has nothing to learn")
        images = [LensImage.read(image, **how_to_read) for image in images]
        prepared = [prepare(image, lens_light=self.lens_light) for image in images]
        settings = {
            "epochs": epochs, "batch_size": batch_size, "rate": rate, "validation": validation, "augment": augment,
            "seed": self.seed, "progress": progress,
        }  # fmt: skip
        device = torch_device(self.device)
        if self._looks.estimates:
            for name, value in (("loss", loss), ("folder", folder)):
                if value is not None:
                    raise InputError(name, "has no use for a lens estimator, whose teacher is the fit", repr(value))
            lens_light = None if self.lens_light == "auto" else self.lens_light
            history = train_estimator(
                self._looks.on(device), images, prepared, lens_light=lens_light, dtype=self.dtype, **settings
            )
        else:
            centres = self.supersampling == 1
            history = train_deflection(
                self._looks.module, images, prepared, loss=loss, folder=folder, device=device, pixel_centres=centres,
                **settings,
            )  # fmt: skip
        self._looks.trained(history)
        return history

    def save(self, path):
        """Write the network's weights, to be named as ``network=`` or given to `from_pretrained`.

        Parameters
        ----------
        path : str or path
            The file, which should end in ".safetensors"; an existing one is replaced.

        Raises
        ------
        lensing_sr.errors.InputError
            If there is no network.
        lensing_sr.errors.OutputError
            If the file cannot be written.
        """
        if self._looks is None:
            raise InputError("method", "must not be 'fit' for save", repr(self.method), "a fit has no weights")
        self._looks.save(path)

    def _lens_light(self, visible):
        """Whether to model the light of a lens galaxy that is seen or not."""
        return visible if self.lens_light == "auto" else self.lens_light

    def _networks(self):
        """The networks that look at images, by what `Fitted` calls them."""
        if self._looks is None:
            return {}
        device = torch_device(self.device)
        networks = {"network": self._looks.on(device)}
        return networks if self._predicts else networks | {"finder": lens_finder(device)}

    def _weigh(self, batch, visible):
        """A quick explanation of a batch, to tell whether there is a lens."""
        settings = {"lens_light": self._lens_light(visible), "supersampling": 1} | self._networks()
        return Estimated(batch, **settings) if self.method == "network" else Fitted(batch, **settings, settings=HASTY)

    def _explain(self, visible):
        """The method, as `assemble` takes it, for lenses that shine or not."""
        settings = {"lens_light": self._lens_light(visible), "supersampling": self.supersampling} | self._networks()
        if self._predicts:
            return partial(Predicted, **settings)
        if self.method == "network":
            return partial(Estimated, **settings)
        if self.source == "sersic" and not self.potential:
            return partial(Fitted, **settings)
        return partial(Refined, settings=Settings(source=self.source, potential=self.potential), **settings)

    def _provenance(self):
        """What the header says of the method."""
        if self._looks is None:
            return {"method": "fit", "network": "", "weights_sha256": ""}
        method = "network" if self._predicts or self.method == "network" else "fit"
        return {"method": method, "network": self._looks.name, "weights_sha256": self._looks.sha256}
