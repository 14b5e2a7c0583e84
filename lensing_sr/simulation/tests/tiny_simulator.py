# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A simulator without physics, which keeps the protocol of the real ones and shows every kind of value they draw."""

import numpy as np
import torch

from lensing_sr.simulation.randomness import Streams


class TinySimulator:
    """Images of noise, non-square, with a fine kind, numbers with NaN, texts of all lengths."""

    keys = ("LR", "HR_model", "psf", "theta_E", "mass", "rate", "kind", "note")
    units = {"LR": "electron / s", "HR_model": "ct / s", "psf": "", "theta_E": "arcsec", "mass": "solMass"}
    units |= {"rate": "electron2 / s2", "kind": "", "note": ""}
    cards = {"SIMMODEL": ("tiny", "what drew it"), "SIMPIXEL": (0.1, "[arcsec] pixel")}
    pixel_scales = {"LR": 0.1, "HR_model": 0.05, "psf": 0.05}
    shapes = {"LR": (5, 7), "HR_model": (10, 14), "psf": (3, 3)}

    def __init__(self):
        self.batches = []

    def draw(self, n, *, seed=0, first=0, keys=None):
        """As the protocol says."""
        self.batches.append(n)
        keys = self.keys if keys is None else keys
        batch = {}
        for key in keys:
            streams = Streams(seed, first, n, key)
            if key in self.shapes:
                batch[key] = streams.normal_field(*self.shapes[key])
            elif key == "kind":
                batch[key] = np.array(["lens" if value < 0.5 else "merger" for value in streams.uniform()])
            elif key == "note":
                batch[key] = np.array([" x" * int(9 * value) for value in streams.uniform()])  # some are empty
            else:
                value = streams.uniform()
                batch[key] = torch.from_numpy(np.where(value < 0.3, np.nan, value) if key == "mass" else value)
        return batch
