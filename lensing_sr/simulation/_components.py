# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The pieces galaxies are put together from: sets of Sersics, arcs and rings, spiral arms.

Each piece knows its flux in closed form, so that what is put together has exactly the flux that was asked for.
Ellipses are those of `lensing_sr.light.sersic`: with :math:`\zeta = x + i y` about the centre and
:math:`\epsilon = e_1 + i e_2`,

.. math:: u + i v = (\zeta - \epsilon \bar\zeta) / \sqrt{1 - |\epsilon|^2}

are the positions in the galaxy's own round frame, the disc seen face on.  The map keeps areas, hence fluxes.
"""

import dataclasses
import math

import numpy as np
import torch

from lensing_sr.errors import InputError
from lensing_sr.light.sersic import sersic_brightness, sersic_flux

__all__ = [
    "Arcs",
    "Sersics",
    "TensorSet",
    "as_column",
    "as_ellipse",
    "disc_frame",
    "from_disc_frame",
    "join",
    "spiral_factor",
]


class TensorSet:
    """A frozen dataclass whose fields are tensors ``(n, ...)``, or such sets again: moved and indexed as one."""

    def __len__(self):
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def __getitem__(self, index):
        """Return the set of some of the images: a slice, or an array of indices or of booleans."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
            if index.dim() != 1:
                raise InputError("index", "must be a slice or a list", index.tolist(), "use a list of one")
        return self._map(lambda value: value[index])

    def to(self, device=None, dtype=None):
        """Return the set on another device or in another dtype; None keeps what it is."""
        return self._map(lambda value: value.to(device=device, dtype=dtype))

    def _map(self, function):
        changed = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            changed[field.name] = function(value) if isinstance(value, torch.Tensor) else value._map(function)
        return dataclasses.replace(self, **changed)

    @classmethod
    def from_arrays(cls, **arrays):
        """Return the set with numpy arrays turned into float64 tensors on the CPU."""
        return cls(**{name: torch.as_tensor(np.array(value, dtype=np.float64)) for name, value in arrays.items()})


def join(sets, order):
    """Put sets one after the other along the images, and then into another order.

    Parameters
    ----------
    sets : sequence of TensorSet
        Of one kind, with the same number of slots.
    order : array_like
        ``(n,)`` indices into the images of all the sets.

    Returns
    -------
    TensorSet
        Of the same kind.
    """
    first, order = sets[0], torch.as_tensor(order)
    joined = {}
    for field in dataclasses.fields(first):
        values = [getattr(part, field.name) for part in sets]
        joined[field.name] = torch.cat(values)[order] if isinstance(values[0], torch.Tensor) else join(values, order)
    return type(first)(**joined)


def as_column(value, count, argument, *, low=-math.inf, high=math.inf):
    """Return a number or an array as float64 ``(count,)``, each within [low, high]; anything else is an `InputError`.

    Examples
    --------
    >>> from lensing_sr.simulation._components import as_column
    >>> as_column(0.5, 3, "r_eff", low=0)
    array([0.5, 0.5, 0.5])
    >>> as_column([0.5, -1], 2, "r_eff", low=0)
    Traceback (most recent call last):
    ...
    lensing_sr.errors.InputError: r_eff: must be finite numbers from 0 to inf, got -1.0
    """
    value = np.asarray(value, dtype=np.float64)
    if value.shape not in ((), (1,), (count,)):
        raise InputError(argument, f"must be one number or {count}, one an image", f"shape {value.shape}")
    wrong = ~(np.isfinite(value) & (value >= low) & (value <= high))
    if wrong.any():
        rule = "must be finite numbers" + (f" from {low:g} to {high:g}" if low > -math.inf else "")
        raise InputError(argument, rule, value[wrong].flat[0])
    return np.broadcast_to(value, (count,)).copy()


def as_ellipse(e1, e2, count):
    """Return both parts of the ellipticity as float64 ``(count,)``; its modulus must be below 1."""
    e1, e2 = as_column(e1, count, "e1"), as_column(e2, count, "e2")
    modulus = np.hypot(e1, e2)
    if (modulus >= 1.0).any():
        raise InputError("e1, e2", "must have a modulus below 1", float(modulus.max()))
    return e1, e2


def disc_frame(x, y, e1, e2, x0, y0):
    """Positions on the sky in a galaxy's own round frame (see the module); arrays or tensors that broadcast."""
    x, y = x - x0, y - y0
    scale = (1.0 - e1 * e1 - e2 * e2) ** -0.5
    return (x - e1 * x - e2 * y) * scale, (y + e1 * y - e2 * x) * scale


def from_disc_frame(u, v, e1, e2, x0, y0):
    """Positions in a galaxy's own round frame on the sky: the inverse of `disc_frame`.

    Examples
    --------
    >>> from lensing_sr.simulation._components import disc_frame, from_disc_frame
    >>> ellipse = dict(e1=0.2, e2=-0.1, x0=0.3, y0=0.4)
    >>> u, v = disc_frame(1.0, 2.0, **ellipse)
    >>> [round(float(c), 12) for c in from_disc_frame(u, v, **ellipse)]
    [1.0, 2.0]
    """
    scale = (1.0 - e1 * e1 - e2 * e2) ** -0.5
    return x0 + (u + e1 * u + e2 * v) * scale, y0 + (v - e1 * v + e2 * u) * scale


def spiral_factor(u, v, r_eff, strength, arms, winding, phase, inner, outer):
    r"""Logarithmic spiral arms: a positive factor whose mean over azimuth is exactly 1 at every radius.

    .. math:: F = \frac{\exp(\kappa \cos\psi)}{I_0(\kappa)}, \qquad
        \psi = m \left[\varphi - \varphi_0 - w \ln(r / r_\mathrm{eff})\right], \qquad
        \kappa = \kappa_0 \left(1 - e^{-r^2 / r_\mathrm{in}^2}\right) e^{-r^2 / 2 r_\mathrm{out}^2}

    The contrast between arm and gap, (max - min) / (max + min), is :math:`\tanh\kappa`.  Multiplying a round disc by F
    changes neither its flux nor the light within any radius.

    Parameters
    ----------
    u, v : torch.Tensor
        Positions in the frame of the disc (`disc_frame`), arcsec.
    r_eff : torch.Tensor
        Radius where an arm passes the azimuth `phase`, arcsec.
    strength : torch.Tensor
        :math:`\kappa_0`, zero for no arms.
    arms : torch.Tensor
        m, the number of arms: a whole number.
    winding : torch.Tensor
        w, the cotangent of the pitch angle; its sign is the sense of winding.
    phase : torch.Tensor
        :math:`\varphi_0` in rad.
    inner, outer : torch.Tensor
        Radii within and beyond which arms fade, arcsec.

    Returns
    -------
    torch.Tensor
        The factor, broadcast of positions and parameters.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.simulation._components import spiral_factor
    >>> angle = torch.arange(64, dtype=torch.float64) * torch.pi / 32
    >>> one = torch.ones((), dtype=torch.float64)
    >>> factor = spiral_factor(angle.cos(), angle.sin(), one, one, 2 * one, 3 * one, 0 * one, 0.3 * one, 3 * one)
    >>> round(float(factor.mean()), 9), round(float(factor.max() / factor.min()), 3)
    (1.0, 6.632)
    """
    # at the very centre, where the logarithm has no end, the arms have long faded
    radius2 = (u * u + v * v).clamp_min(1e-12)
    cosine = torch.cos(arms * (torch.atan2(v, u) - phase - 0.5 * winding * (radius2 / r_eff**2).log()))
    kappa = -strength * torch.expm1(-radius2 / inner**2) * torch.exp(-0.5 * radius2 / outer**2)
    # I0(kappa) = exp(kappa) i0e(kappa)
    return torch.exp(kappa * (cosine - 1.0)) / torch.special.i0e(kappa)


def _add_parts(total, x, y, parameters, profile):
    """Add `profile` slot by slot, each only to the images where the slot holds light: memory of one image a slot."""
    n, slots = parameters["flux"].shape
    for k in range(slots):
        used = parameters["flux"][:, k].nonzero()[:, 0]
        if len(used) == 0:
            continue
        chosen = {name: value[used, k, None, None] for name, value in parameters.items()}
        here = [p[used] if p.dim() == 3 and len(p) == n and len(used) < n else p for p in (x, y)]
        part = profile(here, **chosen)
        total = total + part if len(used) == n else total.index_add(0, used, part.to(total.dtype))
    return total


class _Parts(TensorSet):
    """Slots of light, fields ``(n, K)``; a slot of zero flux is unused and costs nothing."""

    def brightness(self, x, y):
        """Surface brightness ``(n, rows, columns)`` per arcsec^2 of all slots together at positions in arcsec.

        Parameters
        ----------
        x, y : torch.Tensor
            Positions that broadcast with ``(n, 1, 1)``, arcsec.
        """
        shape = torch.broadcast_shapes(x.shape, y.shape, (len(self), 1, 1))
        kind = torch.promote_types(x.dtype, self.flux.dtype)
        total = torch.zeros(shape, dtype=kind, device=x.device)
        parameters = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _add_parts(total, x, y, parameters, self._profile)


@dataclasses.dataclass(frozen=True, eq=False)
class Sersics(_Parts):
    """Several Sersic profiles an image, each of known flux.

    Parameters
    ----------
    flux : torch.Tensor
        ``(n, K)`` total flux; zero for an unused slot.
    r_eff : torch.Tensor
        ``(n, K)`` half-light radius on the intermediate axis, arcsec.
    n : torch.Tensor
        ``(n, K)`` Sersic index; 0.5 is a Gaussian.
    e1, e2 : torch.Tensor
        ``(n, K)`` ellipticity, as in `lensing_sr.light.sersic`.
    x, y : torch.Tensor
        ``(n, K)`` centre, arcsec.
    """

    flux: torch.Tensor
    r_eff: torch.Tensor
    n: torch.Tensor
    e1: torch.Tensor
    e2: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor

    @staticmethod
    def _profile(positions, flux, r_eff, n, e1, e2, x, y):
        amplitude = flux / sersic_flux(torch.ones_like(flux), r_eff, n)
        return sersic_brightness(*positions, amplitude, r_eff, n, e1, e2, x, y)


@dataclasses.dataclass(frozen=True, eq=False)
class Arcs(_Parts):
    r"""Rings, pieces of rings and tidal tails, each of known flux.

    .. math:: I = \frac{f}{N R(\varphi)^2}\, e^{-(r / R(\varphi) - 1)^2 / 2\omega^2}\;
        \frac{e^{\kappa \cos(\varphi - \varphi_0)}}{2\pi I_0(\kappa)}, \quad R(\varphi) = R\, e^{t(\varphi - \varphi_0)}

    with :math:`N = \int \rho\, e^{-(\rho - 1)^2 / 2\omega^2} d\rho`, azimuths counted from the brightest point:
    :math:`|\varphi - \varphi_0| \le \pi`.  A tail (:math:`t \ne 0`) has a step at the far end of that range, where it
    is fainter than its middle by about :math:`e^{-2\kappa}`.

    Parameters
    ----------
    flux : torch.Tensor
        ``(n, K)`` total flux; zero for an unused slot.
    radius : torch.Tensor
        ``(n, K)`` R on the intermediate axis, arcsec.
    width : torch.Tensor
        ``(n, K)`` :math:`\omega`, standard deviation over the radius.
    strength : torch.Tensor
        ``(n, K)`` :math:`\kappa`: zero is an even ring, 10 an arc of 18 degrees (standard deviation).
    angle : torch.Tensor
        ``(n, K)`` :math:`\varphi_0`, azimuth of the brightest point in the round frame, rad.
    opening : torch.Tensor
        ``(n, K)`` t, tangent of the angle at which the arc opens outwards; zero for a ring.
    e1, e2, x, y : torch.Tensor
        ``(n, K)`` ellipse and centre of the ring, as for `Sersics`.
    """

    flux: torch.Tensor
    radius: torch.Tensor
    width: torch.Tensor
    strength: torch.Tensor
    angle: torch.Tensor
    opening: torch.Tensor
    e1: torch.Tensor
    e2: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor

    @staticmethod
    def _profile(positions, flux, radius, width, strength, angle, opening, e1, e2, x, y):
        u, v = disc_frame(*positions, e1, e2, x, y)
        cos, sin = torch.cos(angle), torch.sin(angle)
        u, v = u * cos + v * sin, v * cos - u * sin
        azimuth = torch.atan2(v, u)
        where = radius * torch.exp(opening * azimuth)
        ratio = (u * u + v * v).clamp_min(1e-12).sqrt() / where
        norm = width**2 * torch.exp(-0.5 / width**2)
        norm = norm + width * math.sqrt(0.5 * math.pi) * (1.0 + torch.erf(math.sqrt(0.5) / width))
        scale = flux / (2.0 * math.pi * norm * torch.special.i0e(strength))
        exponent = strength * (torch.cos(azimuth) - 1.0) - 0.5 * ((ratio - 1.0) / width) ** 2
        return scale * torch.exp(exponent) / where**2
