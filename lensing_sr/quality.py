# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The verdict: flags are reasons not to trust a result, notes are facts worth knowing."""

import math
from dataclasses import dataclass, field

from lensing_sr.utils._repr import make_repr

__all__ = ["Quality", "judge"]

#: Reduced chi-square inside the arcs of a poor fit: residuals beyond three sigma, rms.
POOR_FIT = 10.0
#: Share of the arcs' power that a poor fit misses, however faint they are.
MISSED = 0.2
#: Signal-to-noise ratio of light about a lens without light, from which that is its galaxy.
OVERLOOKED_LIGHT = 10.0
#: ln of the evidence ratio below which a lens is not established.
WEAK_EVIDENCE = 10.0
#: Probability below which it is more likely none, and of an Einstein radius off by 20 % above which a lens is doubtful.
UNLIKELY, DOUBTFUL = 0.3, 0.2
#: How ln of the odds of a lens, and of an Einstein radius off by 20 %, follow from what is known of a fit
#: (``python -m benchmarks.calibration``: 360 images; for the latter 216 lenses more of ``--negatives 0 --seed 1 --count
#: 12``).
ODDS = {
    "offset": -1.11, "seen": 1.80, "behind": 1.35, "evidence": 0.48, "arc_chi2": -0.89, "shear": -0.38, "size": -0.49,
}  # fmt: skip
DOUBT = {
    "offset": -1.95, "seen": -0.75, "behind": -0.27, "evidence": -0.72, "arc_chi2": 0.10, "apart": 0.69,
    "unlikely": -1.46, "others": 0.02, "shear": 0.35, "size": -0.06,
}  # fmt: skip
#: A rival within this much of the best cost (chi-square over temperature) is as good, given how models err.
RIVAL_COST = 12.0
#: Two models disagree if their Einstein radii differ by this fraction.
DISAGREEMENT = 0.1
#: A source whose half-light radius exceeds this share of the Einstein radius is more likely a piece of the lens galaxy.
LARGE_SOURCE = 0.5
#: External shear beyond this is rare in the field, and often a sign of a wrong model.
LARGE_SHEAR = 0.2
#: Steps beyond a smooth lens and a Sersic source.
STEPS = ("pixel source", "potential", "perturbers")
#: Fields that a header holds as they are.
_SIMPLE = ("chi2", "noise_scale", "flags", "notes", "lens_evidence", "lens_probability", "doubt", "kept", "consistency")
#: Parameters of the lens that a sound fit leaves well inside their range.
EDGES = {"theta_E", "e1", "e2", "x_lens", "y_lens", "gamma1", "gamma2"}


@dataclass(frozen=True, repr=False)
class Quality:
    """How far to trust a result.

    Attributes
    ----------
    chi2 : float
        Reduced chi-square of the model over the fitted pixels, after `noise_scale`.
    noise_scale : float
        By what the given noise map was multiplied to match the scatter of blank sky.
    flags : tuple of str
        Reasons not to trust it; empty for a trustworthy result.
    notes : tuple of str
        Facts: correlated noise, no PSF, neighbours masked.
    lens_evidence : float
        ln of the evidence ratio of a lens over no lens: whether lensing explains the image better.
    lens_probability : float
        That it is a lens rather than a galaxy that only looks like one, where both are as likely beforehand: what the
        lens finder sees and what the fit says, together.  NaN without a network.
    doubt : float
        Probability that the Einstein radius is off by more than 20 %, if it is a lens: the fit as the networks see it.
        NaN without a network.
    evidence : dict
        ln of the evidence ratio of every step beyond a smooth lens and a Sersic source that was tried, by its name
        ("pixel source", "potential", "perturbers").
    kept : tuple of str
        Those that were kept.
    consistency : float
        Reduced chi-square of the delivered image, blurred and binned, against the input, over all pixels that are not
        masked: about 1 or a little less.

    Examples
    --------
    >>> from lensing_sr.quality import Quality
    >>> Quality(chi2=1.02, noise_scale=0.63, flags=(), notes=("correlated noise",), lens_evidence=812.0).trustworthy
    True
    """

    chi2: float
    noise_scale: float
    flags: tuple = ()
    notes: tuple = ()
    lens_evidence: float = float("nan")
    lens_probability: float = float("nan")
    doubt: float = float("nan")
    evidence: dict = field(default_factory=dict)
    kept: tuple = ()
    consistency: float = float("nan")

    @property
    def trustworthy(self):
        """Whether there is no flag."""
        return not self.flags

    def __repr__(self):
        return make_repr(
            self,
            {
                "chi2": self.chi2,
                "noise_scale": self.noise_scale,
                "flags": self.flags,
                "notes": self.notes,
                "lens_evidence": self.lens_evidence,
                "lens_probability": self.lens_probability,
                "doubt": self.doubt,
                "evidence": {name: round(gain, 1) for name, gain in self.evidence.items()},
                "kept": self.kept,
                "consistency": self.consistency,
            },
        )

    def to_values(self):
        """What the header of a result holds of it, by the names of `lensing_sr.export.fits_layout.KEYWORDS`."""
        values = {name: getattr(self, name) for name in _SIMPLE}
        return values | {f"evidence_{name.replace(' ', '_')}": gain for name, gain in self.evidence.items()}

    @classmethod
    def from_values(cls, values):
        """The verdict that `to_values` wrote; what a file does not hold has its default."""
        known = {name: values[name] for name in _SIMPLE if values.get(name) is not None}
        names = {f"evidence_{name.replace(' ', '_')}": name for name in STEPS}
        evidence = {names[key]: values[key] for key in names if values.get(key) is not None}
        return cls(**known, evidence=evidence)


def probability_of(odds):
    """Probability that goes with ln of odds; NaN of NaN."""
    return 0.5 * (1.0 + math.tanh(0.5 * odds))


#: Grounds as numbers of order one.
FEATURES = {
    "seen": lambda g: min(max(g["seen"], -8.0), 8.0) / 3.0,
    "behind": lambda g: min(max(g["behind"], -8.0), 8.0) / 3.0,
    "evidence": lambda g: math.asinh(g["evidence"] / 30.0) if math.isfinite(g["evidence"]) else 0.0,
    "arc_chi2": lambda g: math.log(max(g["arc_chi2"], 0.5)),
    "apart": lambda g: min(g["apart"], 1.5),
    "unlikely": lambda g: min(max(g["unlikely"], -15.0), 0.0) / 5.0,
    "others": lambda g: float(min(g["others"], 3)),
    "shear": lambda g: min(g["shear"], 0.5) / 0.1,
    "size": lambda g: math.log(min(max(g["size"], 0.01), 2.0)),
}


def weighed(grounds, weights):
    r"""Probability by all that is known: of a lens (weights `ODDS`), of an Einstein radius off by 20 % (`DOUBT`).

    .. math:: \ln\frac{p}{1 - p} = w_0 + \sum_j w_j g_j

    Parameters
    ----------
    grounds : mapping
        "seen": ln B of the lens finder; "behind": likewise, with the lens galaxy taken off as it was fitted;
        "evidence": ln E of a lens over no lens, by the fit; "arc_chi2": reduced chi-square inside the arcs; "apart":
        difference of ln theta_E between the fit and what the lens estimator sees where nothing is masked; "unlikely":
        ln of the density that the estimator gives to the fit's, less its highest; "others": how many flags the fit
        itself has raised; "shear": the external shear; "size": r_eff / theta_E.
    weights : mapping
        w by the names of those of the grounds that count, w_0 as "offset"; g are the `FEATURES` of the grounds.

    Returns
    -------
    float

    Examples
    --------
    >>> from lensing_sr.quality import DOUBT, ODDS, weighed
    >>> fit = {"evidence": 800.0, "arc_chi2": 1.0, "unlikely": -0.2, "others": 0, "shear": 0.02, "size": 0.1}
    >>> lens, none = {"seen": 4.0, "behind": 4.0}, {"seen": -7.0, "behind": -7.0}
    >>> weighed(fit | lens, ODDS) > 0.9 > 0.1 > weighed(fit | none, ODDS)
    True
    >>> weighed(fit | lens | {"apart": 0.02}, DOUBT) < weighed(fit | lens | {"apart": 0.7}, DOUBT)
    True
    """
    odds = weights["offset"]
    return probability_of(odds + sum(w * FEATURES[name](grounds) for name, w in weights.items() if name != "offset"))


def judge(
    values, *, arc_chi2, missed, evidence, probability, doubt, at_bound, rivals, magnification, overlooked=0.0,
    tolerated=(POOR_FIT, MISSED),
):  # fmt: skip
    """Flags of a fit.

    Parameters
    ----------
    values : dict
        Parameters by name, angles in arcsec.
    arc_chi2 : float
        Reduced chi-square where the arcs are.
    missed : float
        Power of the residual there, above that of noise, over that of the arcs.
    evidence : float
        ln of the evidence ratio of a lens over no lens; NaN if not computed.
    probability, doubt : float
        That it is a lens and no look-alike; that its Einstein radius is off by more than 20 %.  NaN if not computed.
    at_bound : list of str
        Parameters that ended at the edge of their range.
    rivals : list of (float, float)
        Einstein radius in arcsec and cost above the best of every other minimum.
    magnification : float
        Flux of the arcs over that of the source.
    overlooked : float
        Signal-to-noise ratio of light about the lens that the model does not have.
    tolerated : (float, float)
        The largest `arc_chi2`, and `missed`, that do not make a poor fit.

    Returns
    -------
    list of str
        Any of "poor fit", "not a lens", "doubtful", "ambiguous", "edge", "swapped", "not multiply imaged",
        "lens light not modelled".
    """
    flags = []
    theta_E = values["theta_E"]
    if arc_chi2 > tolerated[0] or (missed > tolerated[1] and arc_chi2 > 2.0):
        flags.append("poor fit")
    if math.isnan(probability):
        none = evidence < WEAK_EVIDENCE
    else:  # where lensing explains nothing better, the look alone must speak for it
        none = probability < (0.5 if evidence < 0.0 else UNLIKELY)
    if none:
        flags.append("not a lens")
    if doubt > DOUBTFUL:
        flags.append("doubtful")
    if any(abs(rival / theta_E - 1.0) > DISAGREEMENT and cost < RIVAL_COST for rival, cost in rivals):
        flags.append("ambiguous")
    if not EDGES.isdisjoint(at_bound):
        flags.append("edge")
    shear = (values["gamma1"] ** 2 + values["gamma2"] ** 2) ** 0.5
    if values["r_eff"] > LARGE_SOURCE * theta_E or shear > LARGE_SHEAR:
        flags.append("swapped")
    if magnification < 2.0:
        flags.append("not multiply imaged")
    if overlooked > OVERLOOKED_LIGHT:
        flags.append("lens light not modelled")
    return flags
