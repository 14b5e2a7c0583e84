# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A small classifier of lenses by their dark matter, and its truncation, whose features compare images."""

import copy

import torch
from torch import nn

from lensing_sr.networks._layers import check_count, he_initialise, make_norm

__all__ = ["Classifier", "FeatureExtractor"]


class _Residual(nn.Module):
    def __init__(self, channels, norm):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            make_norm(norm, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            make_norm(norm, channels),
        )

    def forward(self, x):
        return torch.relu(x + self.body(x))


class Classifier(nn.Module):
    r"""Strided convolutions, residual blocks, mean over the image, one logit a class.

    Parameters
    ----------
    classes : int
        Number of classes; 3 for no substructure, vortex, halos.
    widths : sequence of int
        Channels of the 3x3 convolutions, each of stride 2.
    blocks : int
        Residual blocks at the last width.
    norm : {"batch", "group"}
        Normalisation.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import Classifier
    >>> Classifier()(torch.rand(2, 64, 64)).shape
    torch.Size([2, 3])
    """

    def __init__(self, classes=3, *, widths=(16, 32, 64, 96), blocks=2, norm="batch"):
        super().__init__()
        widths = [check_count(width, "widths") for width in widths]
        #: What rebuilds it, as `lensing_sr.networks.build_network` takes it.
        self.settings = {
            "network": "classifier",
            "classes": check_count(classes, "classes", 2),
            "widths": widths,
            "blocks": check_count(blocks, "blocks", 0),
            "norm": norm,
        }
        layers = []
        for before, after in zip((1, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), make_norm(norm, after), nn.ReLU()]
        self.body = nn.Sequential(*layers, *(_Residual(widths[-1], norm) for _ in range(blocks)))
        self.judge = nn.Linear(widths[-1], classes)
        he_initialise(self)

    def features(self, image):
        """Map of features, ``(batch, widths[-1], rows / 16, columns / 16)`` for four widths, before the mean."""
        return self.body(image[:, None])

    def forward(self, image):
        """Logits ``(batch, classes)`` of images ``(batch, rows, columns)`` scaled to 0 ... 1, of any size."""
        return self.judge(self.features(image).mean(dim=(-2, -1))).float()


class FeatureExtractor(nn.Module):
    """A trained classifier without its judgement, frozen: 0.41 million parameters by default.

    It stays in `eval` mode whatever the mode of what it is part of, and its own weights have no gradient; the images
    have.

    Parameters
    ----------
    classifier : Classifier
        Trained on low-resolution images; copied.

    References
    ----------
    Johnson, Alahi & Fei-Fei 2016, Proc. ECCV, 694 (features as a measure of likeness).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks import Classifier, FeatureExtractor
    >>> FeatureExtractor(Classifier())(torch.rand(2, 64, 64)).shape
    torch.Size([2, 96, 4, 4])
    """

    def __init__(self, classifier):
        super().__init__()
        self.body = copy.deepcopy(classifier.body).requires_grad_(False)
        self.train(False)

    def train(self, mode=True):
        """Stay as it is: statistics are frozen too."""
        return super().train(False)

    def forward(self, image):
        """Features ``(batch, channels, rows / 16, columns / 16)`` of images ``(batch, rows, columns)``."""
        return self.body(image[:, None]).float()
