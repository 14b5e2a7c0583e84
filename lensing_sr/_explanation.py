# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What every method must be able to say of a batch of images, however it found the deflection."""

import math
from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import NamedTuple

import torch

from lensing_sr.light.sersic import sersic_flux

__all__ = ["NORMAL", "Explanation", "Misfit", "Verdict", "left_in_the_middle", "misfit"]

#: Half-width of the interval that holds 95 %, over that of one that holds 68 %, where errors are normal.
NORMAL = 1.96


class Misfit(NamedTuple):
    """How far a model is from the data where the arcs are.

    Attributes
    ----------
    arc_chi2 : float
        Reduced chi-square there; 1 where there are no arcs.
    missed : float
        Power of the residual above that of noise, over that of the arcs.
    """

    arc_chi2: float
    missed: float


class Verdict(NamedTuple):
    """How good an explanation of one image is.

    Attributes
    ----------
    chi2 : float
        Reduced chi-square over the fit region.
    evidence : float
        ln of the evidence ratio of a lens over no lens; NaN if not computed.
    flags : tuple of str
        Reasons not to trust it.
    probability, doubt : float
        That it is a lens and no look-alike; that the Einstein radius is off by more than 20 %.  NaN where no network
        looked.
    grounds : dict
        What these two rest on, by the names of `lensing_sr.quality.FEATURES`.
    belief : float
        How far to believe in the arcs, 0 to 1: what is delivered has as much of them.
    arc_chi2 : float
        Reduced chi-square inside the arcs.
    """

    chi2: float
    evidence: float
    flags: tuple
    probability: float = math.nan
    doubt: float = math.nan
    grounds: dict = MappingProxyType({})
    belief: float = 1.0
    arc_chi2: float = 1.0


class Explanation(ABC):
    """Lens, source and light behind a batch of images, in the frame of each image; flux as in the image.

    Attributes
    ----------
    supersampling : "auto" or int
        How finely light must be sampled; "auto" refines each pixel as far as the noise can tell.
    """

    supersampling = "auto"

    @property
    @abstractmethod
    def sky(self):
        """Level of the sky, flux a pixel, ``(images,)``."""

    @abstractmethod
    def render(self, formation, tolerance):
        """Arcs and lens light, as the detector behind `formation` sees them, ``(images, rows, columns)`` each.

        ``tolerance`` is that of `lensing_sr.fit.rendering.render`, None for the formation's own samples.
        """

    @abstractmethod
    def deflection(self, x, y):
        """(alpha_x, alpha_y) in arcsec at positions of shape ``(rows, columns)``, ``(images, rows, columns)`` each."""

    @abstractmethod
    def variance(self, i, formation):
        """Variance of arcs and light of image i on the pixels of `formation`, ``(rows, columns)``.

        As far as what is restored from the residual does not measure it: that has its own, which is added.
        """

    @abstractmethod
    def values(self, i):
        """Parameters of image i and their formal errors, two dictionaries; amplitude in flux per arcsec^2."""

    @abstractmethod
    def verdict(self, i, values):
        """`Verdict` on image i, whose parameters are ``values``."""

    def stated(self, i, values, errors, verdict):
        """Errors of image i as they are stated: the formal ones of `values`, widened by what the `Verdict` knows."""
        return errors

    def wide(self, values, errors, verdict):
        """Half-widths of the intervals that hold 95 %, by the stated errors, whose intervals hold 68 %."""
        return {name: NORMAL * error for name, error in errors.items()}

    def structure(self, i):
        """Source of image i where it is more than its Sersic profile, or None.

        Returns
        -------
        brightness, error : callable
            Each takes source-plane positions ``(rows, columns)`` and returns flux per arcsec^2 there.
        """
        return None

    def leverage(self, i):
        """How much each pixel of image i decides its own model value, 0 to 1, on the fit's pixels; None: hardly."""
        return None

    def tried(self, i):
        """Steps beyond a smooth lens and a Sersic source: ln of the evidence ratio of each by name, and those kept."""
        return {}, ()

    @abstractmethod
    def history(self, i):
        """What was done to image i, a text a step."""

    def substructure(self, i, x, y, width):
        """What image i has besides the smooth lens, or None: `lensing_sr.fit.mass_maps.MassMaps` at positions x, y in
        arcsec, point masses shown as Gaussians of `width`, and the point masses with their errors as
        `lensing_sr.fit.mass_maps.point_masses` lists them.
        """
        return None

    @staticmethod
    def magnification(values, arcs):
        """Flux of the arcs over that of the source; 0 without a source."""
        amplitude, r_eff, n = (torch.tensor(values[name], dtype=torch.float64) for name in ("amplitude", "r_eff", "n"))
        source_flux = float(sersic_flux(amplitude, r_eff, n))
        return float(arcs.sum()) / source_flux if source_flux > 0 else 0.0


def misfit(data, model, arcs, weight, temperature=1.0):
    """Compare a model with the data where its arcs stand out.

    Parameters
    ----------
    data, model, arcs, weight : torch.Tensor
        Image, model, the arcs in it, and 1 / sigma, ``(rows, columns)``.
    temperature : float or torch.Tensor
        By how much chi-square is too large for correlated noise.

    Returns
    -------
    Misfit
    """
    weight = weight * torch.as_tensor(temperature).to(weight).sqrt()
    normalised = (data - model) * weight
    bright = (arcs * weight > 1.0) & (weight > 0)
    if not bool(bright.any()):
        return Misfit(1.0, 0.0)
    power, arc_power = normalised[bright].square(), (arcs * weight)[bright].square()
    return Misfit(float(power.mean()), float((power - 1.0).sum() / arc_power.sum()))


def left_in_the_middle(normalised, distance, radius, correlation):
    """Signal-to-noise ratio of the light that a model leaves about its lens: of a galaxy that it does not have.

    Parameters
    ----------
    normalised : torch.Tensor
        Residual over sigma, 0 where masked, ``(rows, columns)``.
    distance : torch.Tensor
        From the lens, shaped alike.
    radius : float
        How far from it, in the same unit.
    correlation : float
        Of the noise of neighbouring pixels.

    Returns
    -------
    float
        Negative where there is too little light; 0 where all is masked.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr._explanation import left_in_the_middle
    >>> left_in_the_middle(torch.ones(4, 4), torch.zeros(4, 4), 1.0, 0.0)
    4.0
    """
    there = normalised[(distance < radius) & (normalised != 0)]
    return float(there.sum()) / max(len(there), 1) ** 0.5 / (1.0 + 2.0 * min(max(correlation, 0.0), 1.0))
