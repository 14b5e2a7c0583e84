# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Random numbers that belong to an image: the same whatever the batch, the device, or what else is computed.

Every image has generators of its own, named by the seed, by the number of the image and by what they are for, and they
live on the CPU.  Whoever draws takes a fixed count of numbers and turns them into what is wanted by inverse
distribution functions: no rejection, so that no number depends on how many another one took.
"""

import math
import zlib

import numpy as np
import torch

__all__ = ["Streams"]


class Streams:
    """Random numbers of a batch of images, each image with a generator of its own.

    Parameters
    ----------
    seed : int
        Seed of the set, at least 0.
    first : int
        Number of the first image in the set, at least 0.
    count : int
        Images in the batch.
    purpose : str
        What the numbers are for: streams of different purpose are independent.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.simulation.randomness import Streams
    >>> four, last = Streams(1, 0, 4, "noise").uniform(3), Streams(1, 3, 1, "noise").uniform(3)
    >>> bool(np.all(four[3] == last[0]))
    True
    """

    def __init__(self, seed, first, count, purpose):
        self.count = int(count)
        key = zlib.crc32(purpose.encode())
        self._generators = [np.random.default_rng([int(seed), int(first) + i, key]) for i in range(self.count)]

    def uniform(self, *shape):
        """Numbers in [0, 1), float64 ``(count, *shape)``."""
        return self._filled(shape, np.float64, lambda generator, out: generator.random(out=out))

    def normal(self, *shape):
        """Standard normal numbers, float64 ``(count, *shape)``."""
        return self._filled(shape, np.float64, lambda generator, out: generator.standard_normal(out=out))

    def normal_field(self, *shape):
        """Standard normal numbers as a float32 tensor ``(count, *shape)`` on the CPU."""
        fill = lambda generator, out: generator.standard_normal(out=out, dtype=np.float32)  # noqa: E731
        return torch.from_numpy(self._filled(shape, np.float32, fill))

    def _filled(self, shape, dtype, fill):
        numbers = np.empty((self.count, *shape), dtype)
        flat = numbers.reshape(self.count, math.prod(shape))
        for generator, out in zip(self._generators, flat, strict=True):
            fill(generator, out)
        return numbers
