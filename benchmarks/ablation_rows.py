# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What the ablation changes, one row at a time: network, loss, optics, or nothing but the random start."""

import dataclasses
from dataclasses import dataclass, field

__all__ = ["ROWS", "Row", "make_loss"]


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes
    ----------
    changes : str
        What it changes, in one line.
    against : str
        Name of the row from which it differs by that; "" for none.
    network : dict
        Settings of the network in place of the common ones.
    loss : str
        "ours" or "published"; see `make_loss`.
    without, settings : tuple, dict
        Terms that the loss leaves out, and settings of terms: ``{term: {setting: value}}``.
    extra : dict
        Terms that it has besides: ``{term: settings}``, ``weight`` among them.
    fit : str
        Source of its re-lensed image, and of the chi-square that chooses its best epoch.
    psf : bool
        Whether its re-lensed image is blurred.
    optics : bool
        Whether network and loss are told the PSF that the images have.
    start : int
        Added to the seed of weights; the images are those of all rows.
    """

    changes: str
    against: str = "ours"
    network: dict = field(default_factory=dict)
    loss: str = "ours"
    without: tuple = ()
    settings: dict = field(default_factory=dict)
    extra: dict = field(default_factory=dict)
    fit: str = "full"
    psf: bool = True
    optics: bool = True
    start: int = 0


_PEAK = {"loss": "published", "fit": "peak", "psf": False}

ROWS = {
    "ours": Row("likelihood with a full Sersic fit and the PSF; VDL that decays; mass map", ""),
    "other-start": Row("nothing but the random start: what a difference must exceed", start=1),
    "no-vdl": Row("no VDL", without=("variation",)),
    "intensity": Row("intensity conservation as a further term, weight 0.001", extra={"intensity": {"weight": 1e-3}}),
    "peak": Row(
        "source fit by peak: round, n = 1, 0.25 arcsec", settings={"likelihood": {"fit": "peak"}}, fit="peak"
    ),
    "no-psf": Row("network and loss are not told the PSF", optics=False),
    "polar": Row("polar field in place of a mass map, tangential up to 0.3 arcsec",
                 network={"head": "polar", "tangential": 0.3}),  # fmt: skip
    "polar-0.00138": Row("tangential alpha as published, up to 0.00138 arcsec", "polar",
                         network={"head": "polar", "tangential": 0.00138}),  # fmt: skip
    "polar-0": Row("no tangential alpha", "polar", network={"head": "polar", "tangential": 0.0}),
    "published": Row("loss as published: source at 3 scales, image, constant VDL; fit by peak, no PSF", **_PEAK),
    "published-no-vdl": Row("no VDL", "published", without=("variation",), **_PEAK),
    "published-one-scale": Row("source at 1 scale (2x) only", "published", settings={"source": {"scales": (2,)}},
                               **_PEAK),  # fmt: skip
    "published-intensity": Row("intensity conservation as a further term, weight 1e-5", "published",
                               extra={"intensity": {"weight": 1e-5}}, **_PEAK),  # fmt: skip
    "published-full": Row("full Sersic fit and the PSF", "published", loss="published",
                          settings={"source": {"fit": "full"}, "image": {"fit": "full", "psf": True}}),  # fmt: skip
}


def make_loss(row, model, epochs):
    """The loss of a row: our recipes' or the published one, with what the row changes.

    Parameters
    ----------
    row : Row
    model : {1, 2, 3}
        Whose published weights are taken.
    epochs : int
        Of the training: VDL halves five times within them, as in our recipes.

    Returns
    -------
    lensing_sr.losses.LensingLoss
    """
    from lensing_sr.losses import (
        ExponentialDecay, LensingLoss, Likelihood, VariationDensity, build_loss, published_loss,
    )  # fmt: skip

    if row.loss == "published":
        terms = published_loss("residual-cnn", model).terms
    else:
        decay = ExponentialDecay(5.0, half_life=epochs / 5, floor=0.1)
        terms = {"likelihood": (Likelihood(log=True), 1.0), "variation": (VariationDensity(), decay)}
    terms = {name: term for name, term in terms.items() if name not in row.without}
    for name, settings in row.settings.items():
        term, weight = terms[name]
        terms[name] = dataclasses.replace(term, **settings), weight
    return LensingLoss(terms | (build_loss(row.extra).terms if row.extra else {}))
