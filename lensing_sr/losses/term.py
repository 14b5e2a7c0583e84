# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What all terms of a loss have in common, and the units in which they compare images."""

import torch

__all__ = ["Term", "in_noise", "min_max", "mean_square"]


class Term:
    """One physical constraint: called with a `Reconstruction`, it gives one number, the mean over the batch.

    Terms hold settings, not state; those that need a network besides (a discriminator, a feature extractor) are given
    it and move it along with `to`.
    """

    def __call__(self, reconstruction):
        """Value of this constraint, a scalar tensor differentiable in the deflection."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures")

    def to(self, device):
        """Move what this term holds to a device, in place, and return the term."""
        return self


def min_max(image):
    """Bring every image to the range 0 to 1, as the reference method does; a flat image becomes zero.

    Parameters
    ----------
    image : torch.Tensor
        ``(batch, rows, columns)``.

    Returns
    -------
    torch.Tensor
        Of the same shape, dimensionless.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses.term import min_max
    >>> min_max(torch.tensor([[[1.0, 3.0], [5.0, 1.0]]])).tolist()
    [[[0.0, 0.5], [1.0, 0.0]]]
    """
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    span = high - low
    some = span > 1e-6 * torch.maximum(low.abs(), high.abs())
    return (image - low) / torch.where(some, span, 1.0)


def in_noise(image, weight):
    """Images in units of each one's typical sigma, 1 over the mean of 1 / sigma where that is known.

    Parameters
    ----------
    image : torch.Tensor
        ``(batch, rows, columns)``, flux per detector pixel.
    weight : torch.Tensor
        1 / sigma of the detector's pixels, 0 where unknown, ``(batch, ny, nx)``.

    Returns
    -------
    torch.Tensor
        Shaped as the image, dimensionless.
    """
    return image * (weight.sum((1, 2)) / (weight > 0.0).sum((1, 2)).clamp_min(1))[:, None, None]


def mean_square(difference, weight=None):
    """Mean of squares over all pixels of a batch, or weighted mean."""
    if weight is None:
        return difference.square().mean()
    return (weight * difference.square()).sum() / weight.sum().clamp_min(1e-6)
