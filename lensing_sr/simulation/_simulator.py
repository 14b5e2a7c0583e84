# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What all simulators share: drawing images by their numbers, in portions that fit the processor, or without end."""

import numpy as np
import torch

from lensing_sr.utils._checks import check_choice, check_whole

__all__ = ["Simulator"]


class Simulator:
    """An endless, numbered set of images with known truth.

    Who inherits has ``keys`` (what can be drawn), ``_chunk`` (images made at once) and ``_draw(count, seed, first,
    keys)``, and may draw several chunks side by side in ``_drawn``.
    """

    #: Seed where `draw` is given none.
    seed = 0

    def draw(self, n, *, seed=None, first=0, keys=None):
        """Draw images, the same ones for the same seed whatever their number.

        Parameters
        ----------
        n : int
            How many.
        seed : int, optional
            Seed of the set; by default the simulator's own, 0 if it has none.
        first : int
            Number of the first image: ``draw(2, first=3)`` gives the last two of ``draw(5)``.
        keys : sequence of str, optional
            What is wanted; nothing else is computed.  By default everything.

        Returns
        -------
        dict
            Images ``(n, rows, columns)`` on the simulator's device, numbers ``(n,)`` float64 on the CPU, texts as a
            numpy array.

        Raises
        ------
        lensing_sr.errors.InputError
            If a number is not one, or a key is unknown.
        """
        n, first = check_whole(n, "n", least=1), check_whole(first, "first")
        seed = self.seed if seed is None else check_whole(seed, "seed")
        keys = self._checked(keys)
        chunk = self._chunk
        parts = self._drawn([(min(chunk, n - begin), seed, first + begin, keys) for begin in range(0, n, chunk)])
        return parts[0] if len(parts) == 1 else {key: _joined([part[key] for part in parts]) for key in keys}

    def stream(self, batch_size, *, seed=None, first=0, keys=None):
        """Draw batches without end: an iterator of what `draw` gives; nothing touches the disk."""
        batch_size, first = check_whole(batch_size, "batch_size", least=1), check_whole(first, "first")
        while True:
            yield self.draw(batch_size, seed=seed, first=first, keys=keys)
            first += batch_size

    def _drawn(self, tasks):
        return [self._draw(*task) for task in tasks]

    def _checked(self, keys):
        if keys is None:
            return self.keys
        keys = (keys,) if isinstance(keys, str) else tuple(keys)
        for key in keys:
            check_choice(key, self.keys, "keys")
        return keys


def _joined(parts):
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)
