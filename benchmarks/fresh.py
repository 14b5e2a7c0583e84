# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Fresh simulated lenses as their observer sees them, and the truth about them, which only the scoring sees."""

from lensing_sr.training import SimulatedBatches

__all__ = ["draw_fresh"]


class _Witness:
    """Gives what a simulator is asked for, and remembers the truth about the images that it drew."""

    def __init__(self, simulator, keys):
        self._simulator, self._keys, self.truth = simulator, tuple(keys), None

    def __getattr__(self, name):
        return getattr(self._simulator, name)

    def draw(self, n, *, keys, **settings):
        drawn = self._simulator.draw(n, keys=tuple(dict.fromkeys((*keys, *self._keys))), **settings)
        self.truth = {key: drawn[key] for key in self._keys}
        return {key: drawn[key] for key in keys}


def draw_fresh(simulator, count, keys, *, seed=0, number=0):
    """Draw images that no training has seen: sets of another purpose share no image.

    Parameters
    ----------
    simulator : object
        As `lensing_sr.training.SimulatedBatches` takes it.
    count : int
        Images.
    keys : sequence of str
        Of the truth, as the simulator calls it.
    seed, number : int
        Of the set, and which batch of it.

    Returns
    -------
    observed : lensing_sr.losses.Observed
        What a network may look at, its noise calibrated as in training.
    truth : dict of {str: torch.Tensor}
        What it may not.
    """
    witness = _Witness(simulator, keys)
    observed = SimulatedBatches(witness, count, seed, purpose="benchmark").batch(number)
    return observed, witness.truth
