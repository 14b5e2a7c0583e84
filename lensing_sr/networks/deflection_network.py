# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From an image to its deflection field: input, trunk and head as one network, described by plain settings."""

import inspect
from dataclasses import dataclass

import torch
from torch import nn

from lensing_sr.errors import InputError
from lensing_sr.networks._layers import full_precision
from lensing_sr.networks.context import GlobalContext
from lensing_sr.networks.features import Classifier
from lensing_sr.networks.heads import ConvergenceHead, PolarHead, PotentialHead
from lensing_sr.networks.inputs import INPUTS, SCALINGS, prepare_inputs
from lensing_sr.networks.lens_estimator import LensEstimator
from lensing_sr.networks.lens_finder import LensFinder
from lensing_sr.networks.rcan import RCAN
from lensing_sr.networks.residual_cnn import ResidualCNN
from lensing_sr.utils._checks import check_choice

__all__ = ["NETWORKS", "DeflectionNetwork", "NetworkKind", "build_network"]

#: Networks that give something else than a field.
OTHERS = {"classifier": Classifier, "lens-estimator": LensEstimator, "lens-finder": LensFinder}


@dataclass(frozen=True)
class NetworkKind:
    """What makes one of the four networks of the reference method.

    Attributes
    ----------
    title : str
        Name as it is written.
    trunk : type
        Class of the trunk.
    bounded : bool
        Whether the published output passes a logistic function.
    adversarial : bool
        Whether it is trained against `lensing_sr.networks.discriminators`.
    features : bool
        Whether a `lensing_sr.networks.FeatureExtractor` compares its images in training.
    """

    title: str
    trunk: type
    bounded: bool = True
    adversarial: bool = False
    features: bool = False


#: The networks by name; the last two are trained otherwise than the first, but are the same network.
NETWORKS = {
    "residual-cnn": NetworkKind("residual CNN", ResidualCNN),
    "rcan": NetworkKind("RCAN", RCAN, bounded=False),
    "srgan": NetworkKind("SRGAN", ResidualCNN, adversarial=True),
    "feature-srgan": NetworkKind("feature SRGAN", ResidualCNN, adversarial=True, features=True),
}

_HEADS = {"polar": PolarHead, "convergence": ConvergenceHead, "potential": PotentialHead}


class DeflectionNetwork(nn.Module):
    r"""A network of the reference method, from the image to (alpha_x, alpha_y) on a grid twice as fine.

    The input is scaled (`lensing_sr.networks.prepare_inputs`), a trunk makes plain numbers of it on the fine grid, and
    a head a deflection of these.  Every setting's default is the published one; so is then the number of parameters.

    Parameters
    ----------
    network : str
        One of `NETWORKS`: "residual-cnn", "rcan", "srgan", "feature-srgan".
    channels, blocks, groups, reduction : int, optional
        Width and depth of the trunk, `ResidualCNN` or `RCAN` (only that has groups and reduction).
    norm : {"batch", "group"}, optional
        Normalisation in the trunk of a residual CNN, and in the context branch.
    output_norm : {"batch", "affine"}, optional
        That of the residual CNN's output; by default "batch" (published) for a polar head without context under
        batch norm, "affine" otherwise.
    scaling : {"minmax", "snr"}
        How the image is brought to order one.
    inputs : sequence of str, optional
        Maps shown beside the image, of "x", "y", "r", "noise", "psf", "scale"; by default none, or ("x", "y", "r")
        with context.  With "noise" or the scaling "snr" each call needs `noise`.
    context : bool
        Whether a branch looks at the whole image at once (`GlobalContext`, 70 thousand parameters more): needed where
        lenses differ in theta_E, of which the field far from the arcs says nothing by itself.
    head : {"polar", "convergence", "potential"}
        What the trunk's numbers mean: `PolarHead` (published), `ConvergenceHead`, `PotentialHead`; the latter two are
        curl-free.
    low, high : float
        Bounds of the radial deflection, or of the mean field's theta_E, arcsec.
    tangential, bounded
        Those of `PolarHead`; by default the published RCAN is not bounded.
    mean_field : bool, optional
        That of `ConvergenceHead`.
    strength : float, optional
        That of `PotentialHead`.

    Raises
    ------
    lensing_sr.errors.InputError
        If a setting is unknown, of the wrong kind, or does not belong to this network or head.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import DeflectionNetwork
    >>> network = DeflectionNetwork("residual-cnn", channels=8, blocks=1)
    >>> field = network(torch.rand(2, 16, 20), pixel_scale=0.1)
    >>> field.alpha_x.shape
    torch.Size([2, 32, 40])
    """

    def __init__(
        self,
        network="residual-cnn",
        *,
        channels=None,
        blocks=None,
        groups=None,
        reduction=None,
        norm=None,
        output_norm=None,
        scaling="minmax",
        inputs=None,
        context=False,
        head="polar",
        low=0.5,
        high=1.6,
        tangential=None,
        bounded=None,
        mean_field=None,
        strength=None,
    ):
        super().__init__()
        kind = NETWORKS[check_choice(network, tuple(NETWORKS), "network")]
        check_choice(head, tuple(_HEADS), "head")
        check_choice(scaling, SCALINGS, "scaling")
        inputs = _checked_inputs(inputs, context)
        if bounded is None and head == "polar":
            bounded = kind.bounded
        if output_norm is None and kind.trunk is ResidualCNN:
            published = norm in (None, "batch") and head == "polar" and not context
            output_norm = "batch" if published else "affine"
        given = {"tangential": tangential, "bounded": bounded, "mean_field": mean_field, "strength": strength}
        self.head = _make(_HEADS[head], f"the head {head!r}", {"low": low, "high": high}, given)
        width = len(inputs) + 1
        branch_norm = norm or "batch"
        self.context = GlobalContext(width, self.head.outputs, norm=branch_norm) if context else None
        given = {"channels": channels, "blocks": blocks, "groups": groups, "reduction": reduction}
        # an RCAN has no norm of its own; its context branch has
        if kind.trunk is ResidualCNN or not context:
            given |= {"norm": norm}
        given |= {"output_norm": output_norm}
        links = {
            "in_channels": width,
            "outputs": self.head.outputs,
            "context": self.context.squeeze.out_features if context else 0,
        }
        self.trunk = _make(kind.trunk, f"the network {network!r}", links, given)
        self.scaling, self.inputs = scaling, inputs
        #: What rebuilds this network without its weights (`build_network`); plain numbers and texts, for JSON or TOML.
        self.settings = {
            "network": network,
            "scaling": scaling,
            "inputs": list(inputs),
            "context": bool(context),
            "head": head,
            "low": float(low),
            "high": float(high),
        }
        optional = given | {"norm": norm, "tangential": tangential, "bounded": bounded}
        optional |= {"mean_field": mean_field, "strength": strength}
        defaults = {**kind.trunk.defaults, **({"norm": branch_norm} if context else {})}
        chosen = {key: defaults.get(key) if value is None else value for key, value in optional.items()}
        self.settings |= {key: value for key, value in chosen.items() if value is not None}

    @property
    def parameter_count(self):
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def extra_repr(self):
        """Name the kind and the size."""
        return f"{NETWORKS[self.settings['network']].title}, {self.parameter_count / 1e6:.2f} M parameters"

    def raw(self, image, *, pixel_scale, psf_fwhm=0.0, noise=None):
        """Return what the head gets, ``(batch, outputs, 2 ny, 2 nx)``; parameters are those of `forward`."""
        if isinstance(image, torch.Tensor) and image.is_floating_point():
            image = image.to(self.trunk.output.weight.dtype)
        x = prepare_inputs(
            image,
            pixel_scale=pixel_scale,
            psf_fwhm=psf_fwhm,
            noise=noise,
            scaling=self.scaling,
            inputs=self.inputs,
        )
        if self.context is None:
            return self.trunk(x)
        vector = self.context(x)
        raw = self.trunk(x, vector)
        with full_precision(raw):
            return raw + self.context.field(vector, raw.shape[-2:])

    def forward(self, image, *, pixel_scale, psf_fwhm=0.0, noise=None):
        """Deflection field of each image.

        Parameters
        ----------
        image : torch.Tensor
            ``(batch, ny, nx)``, flux per pixel without sky, finite.
        pixel_scale : float
            arcsec of a pixel.
        psf_fwhm : float
            Full width at half maximum of the point-spread function, arcsec; 0 for none.
        noise : torch.Tensor, optional
            Sigma per pixel, ``(batch, ny, nx)`` or ``(batch, 1, 1)``, where the settings ask for it.

        Returns
        -------
        Deflection
            alpha_x and alpha_y in arcsec, ``(batch, 2 ny, 2 nx)``, in single precision or better.
        """
        raw = self.raw(image, pixel_scale=pixel_scale, psf_fwhm=psf_fwhm, noise=noise)
        return self.head(raw, 0.5 * float(pixel_scale))

    @torch.no_grad()
    def response(self, shape=(64, 64), pixel_scale=0.08, psf_fwhm=0.0):
        """Smallest rms difference of the fields of two rings of different size and of pure noise, arcsec.

        A network that answers every image alike has lost its response, as many of the published ones have; no loss on
        images of a single lens would tell.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of the probes.
        pixel_scale, psf_fwhm : float
            arcsec.

        Returns
        -------
        float
            In `eval` mode; the network's own mode is left as it is.
        """
        modes = [(module, module.training) for module in self.modules()]
        parameter = next(self.parameters())
        image = _probes(shape).to(parameter)
        noise = torch.full_like(image[:, :1, :1], 0.05)
        try:
            alpha = torch.stack(self.eval()(image, pixel_scale=pixel_scale, psf_fwhm=psf_fwhm, noise=noise))
        finally:
            for module, mode in modes:
                module.training = mode
        pairs = ((0, 1), (0, 2), (1, 2))
        return min(float((alpha[:, i] - alpha[:, j]).square().sum(0).mean().sqrt()) for i, j in pairs)


def _probes(shape):
    """Return two lumpy rings in noise, and noise alone: ``(3, rows, columns)``."""
    generator = torch.Generator().manual_seed(1)
    rows, columns = (torch.linspace(-1.0, 1.0, n) for n in shape)
    r, phi = torch.hypot(columns, rows[:, None]), torch.atan2(rows[:, None], columns)
    rings = [
        torch.exp(-0.5 * ((r - radius) / 0.08) ** 2) * (1.0 + 0.7 * torch.cos(phi - turn))
        for radius, turn in ((0.35, 0.5), (0.6, 2.5))
    ]
    image = torch.stack([*rings, torch.zeros(shape)])
    return image + 0.05 * torch.randn(image.shape, generator=generator)


def _checked_inputs(inputs, context):
    if inputs is None:
        return ("x", "y", "r") if context else ()
    if isinstance(inputs, str):
        raise InputError("inputs", "must be a list of texts", repr(inputs), f"say [{inputs!r}]")
    for name in inputs:
        check_choice(name, INPUTS, "inputs")
    if len({*inputs}) != len(tuple(inputs)):
        raise InputError("inputs", "must not name one map twice", list(inputs))
    return tuple(inputs)


def _make(cls, name, links, given):
    """Make a part of the network; a setting that was given but is none of its own is an error."""
    given = {key: value for key, value in given.items() if value is not None}
    known = inspect.signature(cls).parameters
    for key in given:
        if key not in known:
            raise InputError(key, f"is no setting of {name}", repr(given[key]), "leave it out")
    return cls(**{key: value for key, value in links.items() if key in known}, **given)


def build_network(settings):
    """Make an untrained network from its settings.

    Parameters
    ----------
    settings : mapping
        "network" and the other arguments of `DeflectionNetwork`, or ``{"network": "classifier", ...}`` for a
        `Classifier`, ``{"network": "lens-estimator", ...}`` for a `LensEstimator`.  `DeflectionNetwork.settings` is
        such a mapping.

    Returns
    -------
    DeflectionNetwork, Classifier or LensEstimator

    Raises
    ------
    lensing_sr.errors.InputError
        If a setting is unknown or has no such value.

    Examples
    --------
    >>> from lensing_sr.networks import build_network
    >>> network = build_network({"network": "residual-cnn", "channels": 16, "context": True})
    >>> build_network(network.settings).settings == network.settings
    True
    """
    settings = dict(settings)
    name = settings.pop("network", None)
    check_choice(name, (*NETWORKS, *OTHERS), "network")
    cls = OTHERS.get(name, DeflectionNetwork)
    known = [key for key in inspect.signature(cls).parameters if key != "network"]
    for key in settings:
        if key not in known:
            raise InputError(key, f"is no setting of a network; known are {', '.join(known)}", repr(settings[key]))
    return cls(**settings) if name in OTHERS else cls(name, **settings)
