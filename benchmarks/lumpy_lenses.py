# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Simulated lenses of a population as an observer has them, and beside them their sources as they are.

`LensPopulation.draw` gives images and numbers; what was lensed, a galaxy with arms and clumps, is drawn again from the
same random numbers, so that its brightness is known anywhere in the source plane.
"""

import dataclasses
import math

import numpy as np
import torch

from benchmarks.population_lenses import observed
from lensing_sr import LensImage
from lensing_sr.simulation import LensPopulation
from lensing_sr.simulation._members import draw_members
from lensing_sr.simulation._painter import Painter
from lensing_sr.simulation.laws import LogUniform, Uniform

__all__ = ["CLUMP_WIDTH", "ClumpPopulation", "LumpyLens", "lumpy_lenses"]

#: FWHM of an injected clump over that of the PSF; half-light radius of the smooth galaxy that has it, over the clump's
#: FWHM; distance of the clump from the centre in half-light radii; its brightness over that of the galaxy there.
CLUMP_WIDTH, CLUMP_HOST, CLUMP_PLACE, CLUMP_CONTRAST = 0.8, 2.5, (0.5, 1.0), 1.0
#: Least Einstein radius of a lens behind which there is such a galaxy, in its half-light radii.
CLUMP_LENS = 4.0

_IMAGES = ("LR", "noise", "psf", "HR_model", "arcs_HR", "alpha_x", "alpha_y", "source_flux")
_NUMBERS = ("theta_E", "gamma", "r_eff", "n", "x_source", "y_source", "magnification", "arc_sn", "correlation")


@dataclasses.dataclass(frozen=True, eq=False)
class LumpyLens:
    """One lens.

    Attributes
    ----------
    number : int
        Of the image in its set.
    image : LensImage
        What the observer has, its PSF as it was given to him.
    truth, arcs : numpy.ndarray
        Fine image without noise, blurred by the true PSF, and the arcs in it.
    alpha : tuple of numpy.ndarray
        True deflection at the fine pixel centres, arcsec.
    values : dict of str to float
        Numbers of the simulation.
    source : lensing_sr.simulation.galaxies.Galaxies
        The source, one of flux 1.
    """

    number: int
    image: LensImage
    truth: np.ndarray
    arcs: np.ndarray
    alpha: tuple
    values: dict
    source: object

    def brightness(self, x, y):
        """True surface brightness of the source, per arcsec^2, at positions in arcsec."""
        x, y = np.broadcast_arrays(x, y)
        at = (torch.as_tensor(np.ascontiguousarray(p, dtype=float)).reshape(1, 1, -1) for p in (x, y))
        return self.source.brightness(*at).numpy().reshape(x.shape) * self.values["source_flux"]


def lumpy_lenses(population, count, seed, first=0):
    """Draw lenses ``first`` to ``first + count - 1`` of a population, one after the other.

    Parameters
    ----------
    population : `~lensing_sr.simulation.LensPopulation`
        Without galaxies that are no lenses.
    count, seed, first : int
        As for its ``draw``.

    Yields
    ------
    LumpyLens
    """
    drawn = population.draw(count, seed=seed, first=first, keys=(*_IMAGES, *_NUMBERS))
    sources = draw_members(population._settings, seed, first, count).source
    if isinstance(population, ClumpPopulation):
        sources = population.clumpy(sources)
    for i in range(count):
        image = observed(population, drawn, i, first + i)
        alpha = tuple(drawn[key][i].double().numpy() for key in ("alpha_x", "alpha_y"))
        values = {key: float(drawn[key][i]) for key in (*_NUMBERS, "source_flux")}
        truth, arcs = (drawn[key][i].double().numpy() for key in ("HR_model", "arcs_HR"))
        yield LumpyLens(first + i, image, truth, arcs, alpha, values, sources[i : i + 1])


class ClumpPopulation(LensPopulation):
    """Smooth galaxies behind lenses, each with one clump: a Gaussian in the source plane.

    Its FWHM is 0.8 that of the PSF, it lies at 0.5 to 1 half-light radii of the galaxy, which is 2.5 times as large as
    the clump, and in its middle it is as bright as the galaxy is there: the brightness doubles.

    Parameters
    ----------
    instrument : str
        As for `LensPopulation`; so are the others.
    """

    def __init__(self, instrument, **settings):
        super().__init__(instrument, lumpiness=0.0, **settings)
        fields = {field.name: getattr(self._painter, field.name) for field in dataclasses.fields(Painter)}
        self._painter = _ClumpPainter(**fields, population=self)

    @property
    def clump_fwhm(self):
        """FWHM of the clumps in arcsec."""
        return CLUMP_WIDTH * self.instrument.psf_fwhm

    def _lenses(self):
        size = CLUMP_HOST * self.clump_fwhm
        low, high = CLUMP_LENS * size, 0.3 * self.instrument.pixel_scale * min(self.shape)
        return {
            "theta_E": LogUniform(low, max(high, 1.2 * low)),
            "r_eff": Uniform(size, size),
            "n": Uniform(0.7, 1.5),
            **super()._lenses(),
        }

    def place(self, sources):
        """Where the clumps of galaxies are, (x, y) in arcsec: random, and known from the galaxy alone."""
        x, y = sources.x.numpy(), sources.y.numpy()
        far, turn = (1e4 * x) % 1.0, (1e4 * y) % 1.0
        radius = sources.r_eff.numpy() * (CLUMP_PLACE[0] + (CLUMP_PLACE[1] - CLUMP_PLACE[0]) * far)
        return x + radius * np.cos(2.0 * np.pi * turn), y + radius * np.sin(2.0 * np.pi * turn)

    def clumpy(self, sources):
        """The smooth galaxies with a clump each, of flux 1 together."""
        x, y = self.place(sources)
        sigma = self.clump_fwhm / math.sqrt(8.0 * math.log(2.0))
        at = (torch.as_tensor(p)[:, None, None] for p in (x, y))
        flux = CLUMP_CONTRAST * sources.brightness(*at)[:, 0, 0] * 2.0 * math.pi * sigma**2
        # the slot of the companion: there the painter expects a peak
        clump = {"flux": flux / (1.0 + flux), "r_eff": torch.full_like(flux, 0.5 * self.clump_fwhm)}
        clump |= {"n": torch.full_like(flux, 0.5), "e1": torch.zeros_like(flux), "e2": torch.zeros_like(flux)}
        clump |= {"x": torch.as_tensor(x), "y": torch.as_tensor(y)}
        parts = {name: getattr(sources.parts, name).clone() for name in clump}
        for name, value in clump.items():
            parts[name][:, 1] = value
        return dataclasses.replace(
            sources, flux=sources.flux / (1.0 + flux), parts=dataclasses.replace(sources.parts, **parts)
        )


@dataclasses.dataclass(frozen=True)
class _ClumpPainter(Painter):
    """Paints members whose sources have a clump each."""

    population: ClumpPopulation = None

    def rendered(self, members, kernels, wanted):
        sources = self.population.clumpy(members.source)
        return super().rendered(dataclasses.replace(members, source=sources), kernels, wanted)
