# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What a network is taught with: low-resolution images and what their observer knows, and nothing else.

Batches are numbered.  What batch k holds depends on the seed and on k alone, not on what was read before, so that a run
that was interrupted goes on with the very images that it would have seen, and several processes share one batch.
"""

import functools
import math
import zlib

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.image.kernels import psf_kernel
from lensing_sr.losses.observed import Observed
from lensing_sr.training.calibration import calibrated
from lensing_sr.utils._checks import check_whole
from lensing_sr.utils._repr import make_repr

__all__ = ["OBSERVER_KEYS", "ImageBatches", "SimulatedBatches"]

#: All that a simulator is ever asked for: the image, and what is written in the header of a real one.
OBSERVER_KEYS = ("LR", "psf_fwhm", "pixscale_LR", "exp_time_LR", "bkg_rms_LR")
#: Samplings, relative to the detector's, at which losses compare images, so at which they need the PSF.
SCALES = (0.5, 1, 2)


def _number(seed, purpose):
    """Seed of one purpose: streams of different purpose share no image."""
    return zlib.crc32(f"{purpose} {int(seed)}".encode())


def _one(values, key):
    """The one number that all images of a batch share."""
    first = float(values[0])
    if not bool((values == first).all()):
        low, high = float(values.min()), float(values.max())
        raise InputError(key, "must be the same for all images of a batch", f"{low:g} to {high:g}")
    return first


class SimulatedBatches:
    """Batches without end from a simulator, each image seen once; of a mixture, the simulators take turns.

    The simulator is asked for nothing but `OBSERVER_KEYS`: no high-resolution image and no true parameter can reach
    the network.  What it doesn't draw of them is read from its instrument, as an observer would.

    Parameters
    ----------
    simulator : object or sequence of objects
        Anything with ``draw``, ``keys``, ``units`` and ``instrument``, as
        `~lensing_sr.simulation.reference_models.ReferenceSimulator`; several of one instrument are mixed.
    batch_size : int
        Images of a batch, of all processes together.
    seed : int
        Seed of the set.
    purpose : str
        Sets of one seed and different purpose share no image: "training", "validation".

    Examples
    --------
    >>> from lensing_sr.simulation import ReferenceSimulator
    >>> from lensing_sr.training import SimulatedBatches
    >>> batches = SimulatedBatches([ReferenceSimulator(3, kind) for kind in ("no_sub", "axion", "cdm")], 6, seed=1)
    >>> observed = batches.batch(0)
    >>> observed.image.shape, observed.pixel_scale, observed.psf_fwhm
    (torch.Size([6, 64, 64]), 0.08, 0.08)
    """

    def __init__(self, simulator, batch_size, seed=0, *, purpose="training"):
        self.simulators = tuple(simulator) if isinstance(simulator, list | tuple) else (simulator,)
        if not self.simulators:
            raise InputError("simulator", "must be one or more", "none")
        self.batch_size, self.seed, self.purpose = check_whole(batch_size, "batch_size", least=1), int(seed), purpose
        if len({one.instrument.name for one in self.simulators}) != 1:
            names = ", ".join(one.instrument.name for one in self.simulators)
            raise InputError("simulator", "must be of one instrument", names, "train each instrument on its own")

    def __repr__(self):
        facts = {"simulators": len(self.simulators), "instrument": self.simulators[0].instrument.name}
        return make_repr(self, facts | {"batch_size": self.batch_size, "seed": self.seed, "purpose": self.purpose})

    def __iter__(self):
        number = 0
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number, rank=0, world=1):
        """Batch of a number, or the share of it that is one process's.

        Parameters
        ----------
        number : int
            Which, from 0; there is no last one.
        rank, world : int
            Number of the process and how many there are.

        Returns
        -------
        lensing_sr.losses.observed.Observed
            ``batch_size / world`` images.
        """
        share = _share(self.batch_size, world)
        return self._observed(number * self.batch_size + rank * share, share)

    def kinds(self, number, rank=0, world=1):
        """Which of the simulators drew each image of a batch, as `batch` gives them: ``(images,)`` int64."""
        share = _share(self.batch_size, world)
        return (number * self.batch_size + rank * share + torch.arange(share)) % len(self.simulators)

    def images(self, count, **settings):
        """The first images of the set, kept in memory: a finite set, as a telescope gives.

        Parameters
        ----------
        count : int
            How many.
        settings
            As of `ImageBatches`, if other than its defaults; ``batch_size`` and ``seed`` are those of this set.

        Returns
        -------
        ImageBatches
        """
        count = check_whole(count, "count", least=1)
        parts = [self._observed(first, min(256, count - first)) for first in range(0, count, 256)]
        image, noise = (torch.cat([getattr(part, name) for part in parts]) for name in ("image", "noise"))
        one = parts[0]
        settings = {"batch_size": self.batch_size, "seed": self.seed} | settings
        return ImageBatches(
            image, noise, one.pixel_scale, psf_fwhm=one.psf_fwhm, kernels=one.kernels,
            pixel_centres=one.pixel_centres, **settings,
        )  # fmt: skip

    def _observed(self, first, count):
        """Images first, first + 1, ... of the mixture."""
        several = len(self.simulators)
        order, parts = [], []
        for turn, simulator in enumerate(self.simulators):
            mine = np.flatnonzero((first + np.arange(count)) % several == turn)
            if len(mine):
                order.append(mine)
                seed = _number(self.seed, f"{self.purpose} {turn}")
                parts.append(_drawn(simulator, len(mine), seed, (first + int(mine[0])) // several))
        place = torch.from_numpy(np.argsort(np.concatenate(order)))
        image, noise = (torch.cat([part[k] for part in parts])[place.to(parts[0][k].device)] for k in (0, 1))
        pixel = _one(torch.cat([part[2] for part in parts]), "pixscale_LR")
        fwhm = _one(torch.cat([part[3] for part in parts]), "psf_fwhm")
        simulator = self.simulators[0]
        return Observed(
            image, noise, pixel, fwhm, kernels=_kernels(simulator.instrument, pixel),
            pixel_centres=bool(getattr(simulator, "pixel_centres", False)),
        )  # fmt: skip


def _drawn(simulator, n, seed, first):
    """Flux, sigma, pixel and FWHM of images of one simulator, all that is ever read of them."""
    drawn = simulator.draw(n, seed=seed, first=first, keys=[key for key in OBSERVER_KEYS if key in simulator.keys])
    instrument = simulator.instrument

    def known(key, value):
        return drawn[key] if key in drawn else torch.full((n,), float(value), dtype=torch.float64)

    image, counts = drawn["LR"], simulator.units["LR"] == "ct"
    exposure = known("exp_time_LR", instrument.total_exposure)
    background = known("bkg_rms_LR", instrument.background_rms())
    if counts:  # of the whole exposure
        image, background = image / exposure.to(image)[:, None, None], background / exposure
    flux, noise = calibrated(
        image, exposure, background, clipped_sky=counts and getattr(simulator, "clipped_sky", False),
        photon_draws=2 if counts and getattr(simulator, "double_poisson", False) else 1,
    )  # fmt: skip
    return flux, noise, known("pixscale_LR", instrument.pixel_scale), known("psf_fwhm", instrument.psf_fwhm)


def _kernels(instrument, pixel):
    """PSF of an instrument at every sampling, None where nothing is blurred."""
    kernels = {scale: psf_kernel(instrument, pixel / scale) for scale in SCALES}
    return {scale: None if kernel is None else torch.from_numpy(kernel).float() for scale, kernel in kernels.items()}


class ImageBatches:
    """Batches of a finite set of images, a user's own or simulated ones: an epoch sees each image once, shuffled.

    Parameters
    ----------
    images : sequence of array or array
        ``(n, rows, columns)``, or n images of one shape: flux per pixel, sky and lens galaxy taken off.
    noise : sequence of array, array or sequence of float
        Sigma of each pixel, shaped as the images, or one number an image.  A pixel without a positive, finite sigma or
        a finite flux is shown as empty, and left out of every comparison.
    pixel_scale : float
        arcsec.
    batch_size : int
        Images of a batch, of all processes together; at most as many as there are.
    psf_fwhm : float
        arcsec, 0 where nothing is blurred.
    kernels : dict or callable, optional
        The PSF at each sampling, see `~lensing_sr.losses.observed.Observed`: of all images, ``(k, k)``, or one an
        image, ``(n, k, k)``; by default a Gaussian of ``psf_fwhm``.
    pixel_centres : bool
        Whether the images hold the brightness at pixel centres, as the reference simulations do.
    seed : int
        Of the order, the turns and the split.
    shuffle : bool
        Whether each epoch has an order of its own.
    augment : bool
        Whether each batch is turned by a multiple of 90 degrees, and mirrored, at random, its PSF alike.  Images that
        are not square are turned by 180 degrees only.

    Raises
    ------
    lensing_sr.errors.InputError
        If the shapes disagree, or an image has no good pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.training import ImageBatches
    >>> batches = ImageBatches(np.ones((10, 8, 8)), np.full(10, 0.1), 0.05, batch_size=4)
    >>> training, validation = batches.split()
    >>> len(batches), training.count, validation.count
    (2, 8, 2)
    """

    def __init__(
        self, images, noise, pixel_scale, *, batch_size=16, psf_fwhm=0.0, kernels=None, pixel_centres=False, seed=0,
        shuffle=True, augment=False,
    ):  # fmt: skip
        self._image = _stacked(images, "images")
        if self._image.dim() != 3 or not len(self._image):
            raise InputError("images", "must have the shape (n, rows, columns)", tuple(self._image.shape))
        noise = _stacked(noise, "noise")
        if noise.dim() == 1:
            noise = noise[:, None, None].expand(-1, *self._image.shape[1:])
        if noise.shape != self._image.shape:
            raise InputError("noise", f"must have the shape {tuple(self._image.shape)} of the images, or one number an "
                             "image", tuple(noise.shape))  # fmt: skip
        good = self._image.isfinite() & noise.isfinite() & (noise > 0)
        dark = (~good.flatten(1).any(1)).nonzero()[:, 0].tolist()
        if dark:
            rule = "must have pixels of finite flux and positive, finite sigma"
            raise InputError("images", rule, f"none in image {dark[0]}", "leave it out")
        self._image = torch.where(good, self._image, 0.0)
        self._noise = torch.where(good, noise, math.inf)
        self.pixel_scale, self.psf_fwhm = _positive(pixel_scale, "pixel_scale"), float(psf_fwhm)
        self.kernels, self.pixel_centres = kernels, bool(pixel_centres)
        self.batch_size = min(check_whole(batch_size, "batch_size", least=1), len(self._image))
        self.seed, self.shuffle, self.augment = int(seed), bool(shuffle), bool(augment)

    def __repr__(self):
        facts = {"images": self.count, "shape": tuple(self._image.shape[1:]), "pixel_scale": self.pixel_scale}
        return make_repr(self, facts | {"psf_fwhm": self.psf_fwhm, "batch_size": self.batch_size, "seed": self.seed})

    def __len__(self):
        """Batches of an epoch; what doesn't fill one is left out, others each time."""
        return self.count // self.batch_size

    def __iter__(self):
        number = 0
        while True:
            yield self.batch(number)
            number += 1

    @property
    def count(self):
        """How many images there are."""
        return len(self._image)

    def batch(self, number, rank=0, world=1):
        """Batch of a number, counted over all epochs, or the share of it that is one process's.

        Parameters
        ----------
        number : int
            Which, from 0; after ``len`` of them the images come again, in another order.
        rank, world : int
            Number of the process and how many there are.

        Returns
        -------
        lensing_sr.losses.observed.Observed
            ``batch_size / world`` images.
        """
        epoch, place = divmod(int(number), len(self))
        order = self._shuffled(f"epoch {epoch}") if self.shuffle else np.arange(self.count)
        share = _share(self.batch_size, world)
        first = place * self.batch_size + rank * share
        turn = None
        if self.augment:
            turn = int(np.random.default_rng([self.seed, _number(number, "turn")]).integers(8))
        return self._observed(order[first : first + share], turn)

    def once(self, rank=0, world=1):
        """Go once through all images in order, as validation does; processes take the batches in turns.

        Parameters
        ----------
        rank, world : int
            Number of the process and how many there are.

        Yields
        ------
        lensing_sr.losses.observed.Observed
            The last batch may be smaller.
        """
        for first in range(rank * self.batch_size, self.count, world * self.batch_size):
            yield self._observed(np.arange(first, min(first + self.batch_size, self.count)))

    def select(self, index, **settings):
        """The batches of some of the images; ``settings`` change what the new set does with them."""
        index = torch.as_tensor(np.asarray(index, dtype=np.int64))
        names = ("batch_size", "psf_fwhm", "pixel_centres", "seed", "shuffle", "augment")
        kernels = None if self.kernels is None else functools.partial(_own_kernels, self.kernels, index=index)
        settings = {name: getattr(self, name) for name in names} | {"kernels": kernels} | settings
        return ImageBatches(self._image[index], self._noise[index], self.pixel_scale, **settings)

    def split(self, fraction=0.8):
        """Two sets, for training and for validation, by the seed.

        Parameters
        ----------
        fraction : float
            Share of the images that train; at least one image is in each set.

        Returns
        -------
        training, validation : ImageBatches
            The second neither shuffled nor turned.
        """
        if not 0 < fraction < 1 or self.count < 2:
            found = f"{fraction:g} of {self.count} images"
            raise InputError("fraction", "must leave images for training and for validation", found)
        order = self._shuffled("split")
        cut = min(max(round(fraction * self.count), 1), self.count - 1)
        validation = self.select(np.sort(order[cut:]), shuffle=False, augment=False)
        return self.select(np.sort(order[:cut])), validation

    def _shuffled(self, purpose):
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())]).permutation(self.count)

    def _observed(self, index, turn=None):
        index = torch.from_numpy(index)
        image, noise, kernels = self._image[index], self._noise[index], self.kernels
        if kernels is not None:
            kernels = functools.partial(_own_kernels, kernels, index=index)
        if turn is not None:
            square = image.shape[1] == image.shape[2]
            image, noise = _turned(image, turn, square), _turned(noise, turn, square)
            if kernels is not None:
                kernels = functools.partial(_turned_kernel, kernels, turn=turn, square=square)
        return Observed(
            image, noise, self.pixel_scale, self.psf_fwhm, kernels=kernels, pixel_centres=self.pixel_centres
        )


def _turned(image, turn, square):
    """One of the eight ways to lay a square down, of the four for a rectangle."""
    image = image.rot90(turn % 4 if square else 2 * (turn % 2), (-2, -1))
    return image.flip(-1) if turn >= 4 else image


def _own_kernels(kernels, scale, *, index):
    """Those of some of the images where each has its own, else that of all."""
    kernel = kernels(scale) if callable(kernels) else kernels[scale]
    return kernel[index] if kernel is not None and kernel.ndim == 3 else kernel


def _turned_kernel(kernels, scale, *, turn, square):
    kernel = kernels(scale) if callable(kernels) else kernels[scale]
    return None if kernel is None else _turned(torch.as_tensor(kernel), turn, square)


def _stacked(values, argument):
    """Float32 tensor of an array or of a sequence of equal ones."""
    if isinstance(values, torch.Tensor):
        return values.float()
    try:
        return torch.from_numpy(np.ascontiguousarray(np.asarray(values, dtype=np.float32)))
    except (TypeError, ValueError):
        shapes = sorted({np.shape(value) for value in values})
        found = ", ".join(map(str, shapes[:3]))
        raise InputError(argument, "must be numbers, all of one shape", found, "crop the images alike") from None


def _share(batch_size, world):
    if batch_size % world:
        raise InputError("batch_size", "must be a multiple of the number of processes", f"{batch_size} for {world}")
    return batch_size // world


def _positive(value, argument):
    if not (isinstance(value, int | float | np.number) and math.isfinite(value) and value > 0):
        raise InputError(argument, "must be positive and finite", repr(value))
    return float(value)
