# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""How lenses, sources and their light are distributed: one prior for every telescope, and two published samples.

A preset is a table of laws (`lensing_sr.simulation.laws`), one a parameter, and of correlations: every parameter keeps
its own law whatever these are.  Magnification and signal-to-noise ratio follow (`lensing_sr.simulation.selection`).

==========  =========================================================================================================
broad       A training prior for every telescope.  Lensing has no scale, so that theta_E follows the field and the PSF:
            log-uniform from max(PSF FWHM, 2 pixels, 0.06 of half the field) to 0.6 of half the field, where the
            outermost image of a lens of magnification 3 still falls inside.  3 % have magnifications below 3 (1 %
            below 2.8): no candidate was magnified enough, or the estimate was too high.
bright      The same behind galaxies that hide their arcs, as the near ones of SLACS do: 10 to 300 times as bright, with
            effective radii about 1.4 theta_E.
group       The same in the middle of groups, as many wide lenses are: galaxies 0.5 to 200 times as bright as their
            arcs, in an envelope of stars that has a centre and a shape of its own; three neighbours a field, which
            may lie among the arcs.
euclid      Lenses discoverable by Euclid: Collett 2015, ApJ 811, 20 (15 999 lenses; percentiles 5, 16, 50, 84, 95 of
            theta_E, axis ratios, sizes, magnitude of the lens).  What follows agrees with the table too: 4000 lenses on
            Euclid VIS have magnifications of 3.7, 5.7, 10.2 (percentiles 16, 50, 84; published 3.5, 5.4, 11.1), arcs of
            S/N 21.9, 28.0, 48.8 (22, 29, 49), offsets of 0.17, 0.37, 0.57 theta_E (0.18, 0.39, 0.64) and of
            magnitude 22.9, 23.7, 24.4 (22.7, 23.7, 24.4), sources of magnitude 24.7, 25.6, 26.5 (24.4, 25.5, 26.7).
            2 % have magnifications below 3.  Three numbers were chosen to this end: the preference for magnified
            sources, the slope of their counts, and how the size of sources goes with theta_E.
hst         SLACS-like lenses.  Theta_E, mass axis ratio: Bolton et al. 2008, ApJ 682, 964 (SIE models); effective
            radius and I-band magnitude of the lens: there and Auger et al. 2009, ApJ 705, 1099; size of the sources
            (median n of about 1, magnification 8.8): Newton et al. 2011, ApJ 734, 104.  The percentiles are
            approximate, set by hand after these papers; the S/N of the arcs is a guess for one orbit of ACS.
==========  =========================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lensing_sr.errors import InputError
from lensing_sr.simulation.laws import LogNormal, LogUniform, Pareto, Quantiles, Rayleigh, TruncatedNormal, Uniform

__all__ = ["PRESETS", "Field", "Preset", "preset"]

#: Names of the presets.
PRESETS = ("broad", "bright", "group", "euclid", "hst")


@dataclass(frozen=True)
class Field:
    """What a telescope can show, in arcsec: half the side of the cut-out, FWHM of the PSF, side of a pixel."""

    half_width: float
    psf_fwhm: float
    pixel_scale: float


@dataclass(frozen=True)
class Preset:
    """Laws of a population.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    laws : mapping
        Parameter name -> law.  Angles and everything else that is uniform by symmetry is not listed.
    correlations : mapping
        Pair of names -> correlation of their normal deviates.
    farthest_source : float
        Sources lie evenly spread over a disc behind the lens; its radius in theta_E.
    least_magnification, magnification_bias : float
        Of these, survey finds those that are magnified; see `lensing_sr.simulation.selection.choose_place`.
    arc_sn : object
        Law of the arcs' total S/N; a `Pareto` is one of their flux, above the flux of the S/N `Pareto.least`.
    lens_flux : {"ratio", "magnitude"}
        What "lens_brightness" is: the flux of the lens galaxy over that of the arcs, or its magnitude.
    correlated_noise : tuple of float
        Lag-1 correlations of the noise, each as likely as the others.
    neighbour_density : float or None
        Neighbours per arcsec^2; None for `neighbours` a field, whatever its size.
    neighbours : float
        How many there are then, on average.
    clear_radius : float
        No neighbour's centre lies nearer to the middle, in theta_E; the PSF's FWHM is added.
    """

    name: str
    laws: Mapping
    correlations: Mapping
    farthest_source: float
    least_magnification: float
    magnification_bias: float
    arc_sn: object
    lens_flux: str
    correlated_noise: tuple
    neighbour_density: float | None
    neighbours: float = 0.7
    clear_radius: float = 1.5

    def draw(self, normal):
        """Turn standard normal deviates into parameters.

        Parameters
        ----------
        normal : numpy.ndarray
            ``(count, len(laws))``.

        Returns
        -------
        dict
            Parameter name -> float64 ``(count,)``.
        """
        names = list(self.laws)
        matrix = np.eye(len(names))
        for (one, other), value in self.correlations.items():
            i, j = names.index(one), names.index(other)
            matrix[i, j] = matrix[j, i] = value
        # summed name by name and not by BLAS, whose rounding may depend on the number of images
        factor = np.linalg.cholesky(matrix)
        deviates = (normal[:, None, :] * factor).sum(2)
        values = {}
        for k, name in enumerate(names):
            law = self.laws[name]
            # a source of the size of its ring makes no arcs
            bound = {"high": 0.5 * values["theta_E"]} if name == "r_eff" and isinstance(law, LogNormal) else {}
            values[name] = law(deviates[:, k], **bound)
        return values


def preset(name, field):
    """Make the laws of a preset for a field.

    Parameters
    ----------
    name : {"broad", "bright", "group", "euclid", "hst"}
        Which.
    field : Field
        What the telescope can show.

    Returns
    -------
    Preset

    Raises
    ------
    lensing_sr.errors.InputError
        If the name is unknown, or the field too small for its PSF.

    Examples
    --------
    >>> from lensing_sr.simulation.presets import Field, preset
    >>> laws = preset("broad", Field(half_width=3.2, psf_fwhm=0.16, pixel_scale=0.1)).laws
    >>> laws["theta_E"]
    LogUniform(low=0.2, high=1.92)
    """
    if name not in PRESETS:
        raise InputError("preset", f"must be one of {', '.join(PRESETS)}", repr(name))
    low = max(field.psf_fwhm, 2.0 * field.pixel_scale, 0.06 * field.half_width)
    high = 0.6 * field.half_width
    if low > 0.5 * high:
        rule = f"must be wide enough for an Einstein radius of {2.0 * low:.3g} arcsec (twice the PSF's width)"
        raise InputError("shape", rule, f"half a width of {field.half_width:.3g} arcsec", "ask for more pixels")
    makers = {"broad": _broad, "bright": _bright, "group": _group, "euclid": _euclid, "hst": _hst}
    return makers[name](field, low, high)


def _bright(field, low, high):
    broad = _broad(field, low, high)
    galaxy = {"lens_r_eff": LogNormal(1.4, 0.5, 0.4, 4.0), "lens_brightness": LogUniform(10.0, 300.0)}
    return replace(broad, name="bright", laws=broad.laws | galaxy)


def _group(field, low, high):
    broad = _broad(field, low, high)
    galaxy = {
        "lens_r_eff": LogNormal(1.2, 0.5, 0.3, 4.0),
        "lens_brightness": LogUniform(0.5, 200.0),
        "envelope_share": Uniform(0.05, 0.6),
        "envelope_size": LogUniform(1.5, 4.0),  # in units of the galaxy's r_eff, as is how far off it lies
        **{f"envelope_e{k}": TruncatedNormal(0.0, 0.12, -0.4, 0.4) for k in (1, 2)},
        **{f"envelope_shift_{axis}": TruncatedNormal(0.0, 0.15, -0.5, 0.5) for axis in "xy"},
    }
    return replace(broad, name="group", laws=broad.laws | galaxy, neighbours=3.0, clear_radius=0.6)


def _light(n, r_eff):
    """Laws of the lens galaxy's light, but for its brightness."""
    return {
        "lens_r_eff": r_eff,
        "lens_n": n,
        # light as elongated as the mass, give or take; centred on it to a few hundredths of theta_E
        "lens_stretch": TruncatedNormal(0.95, 0.2, 0.4, 1.5),
        "lens_twist_1": TruncatedNormal(0.0, 0.03, -0.1, 0.1),
        "lens_twist_2": TruncatedNormal(0.0, 0.03, -0.1, 0.1),
        "lens_shift_x": TruncatedNormal(0.0, 0.02, -0.06, 0.06),
        "lens_shift_y": TruncatedNormal(0.0, 0.02, -0.06, 0.06),
        "disc_share": Uniform(0.15, 0.6),
        "disc_size": LogUniform(1.3, 2.5),
        "disc_flattening": Uniform(1.0, 1.8),
    }


def _mass(theta_E, q, gamma, shear):
    return {
        "theta_E": theta_E,
        "q": q,
        "gamma": gamma,
        "gamma1": TruncatedNormal(0.0, shear, -4 * shear, 4 * shear),
        "gamma2": TruncatedNormal(0.0, shear, -4 * shear, 4 * shear),
    }


def _broad(field, low, high):
    return Preset(
        "broad",
        {
            **_mass(LogUniform(low, high), Rayleigh(0.25, 0.3), TruncatedNormal(2.0, 0.15, 1.5, 2.5), 0.05),
            "n": LogUniform(0.5, 4.0),
            "r_eff": LogNormal(0.12, 0.8, low=max(0.02, field.pixel_scale / 6.0)),
            "q_source": Rayleigh(0.25, 0.2),
            **_light(Uniform(2.0, 5.0), LogNormal(0.8, 0.5, 0.25, 2.5)),  # in units of theta_E
            "lens_brightness": LogUniform(0.3, 30.0),
        },
        {},
        0.9,
        3.0,
        0.0,
        LogUniform(15.0, 200.0),
        "ratio",
        (0.0, 0.25, 0.8),
        None,
    )


def _euclid(field, low, high):
    return Preset(
        "euclid",
        {
            **_mass(
                Quantiles((0.25, 0.37, 0.65, 1.11, 1.51), "log", 0.12, 0.75 * field.half_width),
                Quantiles((0.39, 0.52, 0.71, 0.85, 0.92), "logit", 0.2),
                TruncatedNormal(2.0, 0.1, 1.7, 2.3),
                0.03,
            ),
            "n": LogNormal(1.0, 0.3, 0.5, 3.0),
            "r_eff": Quantiles((0.02, 0.04, 0.11, 0.27, 0.44), "log", 0.008, 1.2),
            "q_source": Quantiles((0.32, 0.45, 0.66, 0.83, 0.91), "logit", 0.15),
            **_light(Uniform(3.0, 5.0), Quantiles((0.27, 0.35, 0.53, 0.82, 1.14), "log", 0.12, 3.0)),
            "lens_brightness": Quantiles((17.1, 18.6, 20.9, 23.6, 25.5), "linear", 15.5, 27.5),
        },
        # bright lenses are massive and large, the faint ones of the table are far away; a source larger than its
        # ring is not discovered
        {
            ("theta_E", "r_eff"): 0.6,
            ("theta_E", "lens_r_eff"): 0.5,
            ("theta_E", "lens_brightness"): -0.3,
            ("lens_r_eff", "lens_brightness"): -0.6,
        },
        1.0,
        3.0,
        1.5,
        Pareto(20.0, 1.9),
        "magnitude",
        (0.0,),
        0.012,
    )


def _hst(field, low, high):
    return Preset(
        "hst",
        {
            **_mass(
                Quantiles((0.80, 0.98, 1.21, 1.46, 1.65), "log", 0.4, 0.75 * field.half_width),
                Quantiles((0.58, 0.69, 0.80, 0.89, 0.95), "logit", 0.3),
                TruncatedNormal(2.08, 0.16, 1.6, 2.5),  # Auger et al. 2010, ApJ 724, 511
                0.04,
            ),
            "n": LogNormal(1.1, 0.45, 0.5, 4.0),
            "r_eff": Quantiles((0.05, 0.08, 0.16, 0.32, 0.50), "log", 0.03, 0.8),
            "q_source": Quantiles((0.32, 0.45, 0.62, 0.80, 0.90), "logit", 0.2),
            **_light(Uniform(3.0, 5.0), Quantiles((1.2, 1.6, 2.2, 3.2, 4.6), "log", 0.8, 6.0)),
            "lens_brightness": Quantiles((15.7, 16.3, 16.9, 17.6, 18.3), "linear", 15.0, 19.5),
        },
        {
            ("theta_E", "r_eff"): 0.3,
            ("theta_E", "lens_r_eff"): 0.3,
            ("theta_E", "lens_brightness"): -0.3,
            ("lens_r_eff", "lens_brightness"): -0.7,
        },
        1.0,
        3.0,
        3.0,
        LogNormal(70.0, 0.6, 20.0, 400.0),
        "magnitude",
        (0.25,),
        0.012,
    )
