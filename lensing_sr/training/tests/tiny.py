# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A network, a loss and images so small that laws of the training hold bit for bit within a second."""

import torch
from torch import nn
from torch.nn.functional import softplus

from lensing_sr.losses.observed import Deflection
from lensing_sr.training import ImageBatches


class TinyNetwork(nn.Module):
    """Two convolutions; answers on the fine grid.  Dropout draws random numbers in every step."""

    def __init__(self, norm="none", dropout=0.0):
        super().__init__()
        self.settings = {"network": "tiny", "norm": norm, "dropout": dropout}
        between = {"none": nn.Identity(), "batch": nn.BatchNorm2d(4), "group": nn.GroupNorm(2, 4)}[norm]
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), between, nn.Tanh(), nn.Dropout(dropout), nn.Conv2d(4, 8, 3, padding=1)
        )

    def forward(self, image, *, pixel_scale, psf_fwhm=0.0, noise=None):
        """As `lensing_sr.networks.DeflectionNetwork`."""
        maps = nn.functional.pixel_shuffle(self.layers(image[:, None]), 2).float()
        return Deflection(maps[:, 0], maps[:, 1])


class TinyLoss:
    """The deflection shall be the image, and smooth; the weight of smoothness halves each epoch, or stays."""

    def __init__(self, decay=1.0):
        self.decay, self.epochs = decay, []

    def weights(self, epoch):
        """As `lensing_sr.losses.LensingLoss`."""
        return {"image": 1.0, "smooth": 0.1 * self.decay**epoch}

    def terms(self, reconstruction):
        """Each term by its name."""
        alpha = reconstruction.deflection
        image = reconstruction.observed.image.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return {"image": (alpha.alpha_x - image).square().mean(), "smooth": alpha.alpha_y.diff().abs().mean()}

    def __call__(self, reconstruction, epoch):
        self.epochs.append(epoch)
        terms = self.terms(reconstruction)
        return sum(weight * terms[name] for name, weight in self.weights(epoch).items()), terms


class TinyTerm:
    """An adversarial term: images against deflections."""

    def __init__(self):
        self.discriminators = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 4), nn.Tanh(), nn.Linear(4, 1))

    def discriminator_loss(self, reconstruction):
        """Logistic loss."""
        real = reconstruction.observed.image.repeat_interleave(2, -1).repeat_interleave(2, -2)
        fake = reconstruction.deflection.alpha_x.detach()
        return (softplus(-self.discriminators(real)) + softplus(self.discriminators(fake))).mean()

    def __call__(self, reconstruction):
        return softplus(-self.discriminators(reconstruction.deflection.alpha_x)).mean()


class AdversarialLoss(TinyLoss):
    """The tiny loss and the adversarial term."""

    def __init__(self, term):
        super().__init__()
        self.term = term

    def weights(self, epoch):
        return super().weights(epoch) | {"adversarial": 0.1}

    def terms(self, reconstruction):
        return super().terms(reconstruction) | {"adversarial": self.term(reconstruction)}


class Interrupted:
    """Batches that fail once a number is reached, as a machine that is switched off."""

    def __init__(self, batches, at):
        self._batches, self.at, self.batch_size = batches, at, batches.batch_size

    def __len__(self):
        return len(self._batches)

    def batch(self, number, rank=0, world=1):
        """As `ImageBatches`."""
        if number == self.at:
            raise KeyboardInterrupt
        return self._batches.batch(number, rank, world)


def tiny_images(count=24, batch_size=4, **settings):
    """Images of structured noise, the same each time."""
    images = torch.randn(count, 8, 8, generator=torch.Generator().manual_seed(3)).cumsum(-1)
    return ImageBatches(images, torch.ones(count), 0.1, batch_size=batch_size, **settings)
