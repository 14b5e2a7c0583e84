# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The losses of the reference method, term by term and weight by weight."""

from typing import NamedTuple

from lensing_sr.errors import InputError
from lensing_sr.losses.adversarial import Adversarial
from lensing_sr.losses.features import FeatureLoss
from lensing_sr.losses.image import ImageLoss
from lensing_sr.losses.source import SourceLoss
from lensing_sr.losses.total import LensingLoss
from lensing_sr.losses.variation import VariationDensity
from lensing_sr.utils._checks import check_choice

__all__ = ["PUBLISHED", "PublishedTraining", "published_loss"]


class PublishedTraining(NamedTuple):
    """Settings with which a network of the reference method was trained, for Models 1, 2 and 3.

    Attributes
    ----------
    rate : tuple of float
        Constant learning rates of Adam; the batch is 5 images.
    epochs : tuple of int
        Passes through about 4100 training images.
    variation : tuple of float
        Weights of the variation density.
    """

    rate: tuple
    epochs: tuple
    variation: tuple


#: By network; "residual-cnn-sparse" is the residual CNN on 20 % of the data, "residual-cnn-two" the two components of
#: the quality study.
PUBLISHED = {
    "residual-cnn": PublishedTraining((1e-5, 1e-5, 1e-5), (150, 100, 150), (0.5, 0.75, 0.5)),
    "rcan": PublishedTraining((1e-5, 1e-5, 1e-6), (50, 100, 250), (0.1, 0.75, 0.5)),
    "srgan": PublishedTraining((5e-5, 5e-5, 5e-5), (125, 100, 100), (0.1, 0.75, 0.75)),
    "feature-srgan": PublishedTraining((5e-5, 5e-5, 5e-5), (125, 125, 125), (0.1, 0.75, 0.75)),
    "residual-cnn-sparse": PublishedTraining((1e-4, 1e-5, 5e-5), (250, 1000, 350), (0.5, 0.75, 0.5)),
    "residual-cnn-two": PublishedTraining((1e-5, 1e-5, 1e-5), (150, 200, 200), (0.5, 0.5, 0.5)),
}
#: Weight of the adversarial term.
ADVERSARIAL = 1e-3


def published_loss(network, model, *, discriminators=None, extractor=None, variation=None):
    r"""Loss of the reference method for a network and a model.

    .. math:: L = \sum_{s \in \{2, 1, 1/2\}} L_\mathrm{source}^{(s)} + L_\mathrm{image} + w\,L_\mathrm{VDL}
              \;(+\,10^{-3} L_\mathrm{adversarial})

    All images are min-max normalised, the Sersic is round with n = 1 and r_eff = 0.25 arcsec at the brightest pixel,
    nothing is blurred.  Its mistakes (half pixels, the mirror, a zero adversarial loss) are not reproduced.

    Parameters
    ----------
    network : str
        Of `PUBLISHED`: "residual-cnn", "rcan", "srgan", "feature-srgan", "residual-cnn-sparse", "residual-cnn-two".
    model : {1, 2, 3}
        Reference telescope.
    discriminators : sequence of torch.nn.Module
        "srgan" and "feature-srgan": one a scale of 2, 1 and 0.5.
    extractor : torch.nn.Module
        "feature-srgan": its features take the place of the image.
    variation : float or callable, optional
        Weight or schedule of the variation density, in place of the published constant: the text describes a decay
        that the code does not have.

    Returns
    -------
    LensingLoss

    Raises
    ------
    lensing_sr.errors.InputError
        If the network or model does not exist, or a network that a term needs is missing.

    Examples
    --------
    >>> from lensing_sr.losses import published_loss
    >>> published_loss("residual-cnn", 2).weights(0)
    {'source': 1.0, 'image': 1.0, 'variation': 0.75}
    """
    check_choice(network, tuple(PUBLISHED), "network")
    check_choice(model, (1, 2, 3), "model")
    peak = {"fit": "peak", "psf": False}
    if network == "feature-srgan":
        if extractor is None:
            raise InputError("extractor", f"must be given for {network!r}")
        image = FeatureLoss(extractor, **peak)
    else:
        image = ImageLoss(**peak)
    if variation is None:
        variation = PUBLISHED[network].variation[model - 1]
    terms = {
        "source": (SourceLoss(fit="peak"), 1.0),
        "image": (image, 1.0),
        "variation": (VariationDensity(), variation),
    }
    if network in ("srgan", "feature-srgan"):
        if discriminators is None:
            raise InputError("discriminators", f"must be given for {network!r}, one a scale")
        terms["adversarial"] = (Adversarial(discriminators, fit="peak"), ADVERSARIAL)
    return LensingLoss(terms)
