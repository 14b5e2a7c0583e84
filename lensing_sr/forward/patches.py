# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Light that is somewhere only: many small images of equal size, each blurred by itself."""

import math

import torch

__all__ = ["Patches"]


class Patches:
    """Blocks of equal size about places, from the samples of light to the detector pixels that see any of it.

    Parameters
    ----------
    formation : lensing_sr.forward.formation.ImageFormation
        The pixels.
    x, y : torch.Tensor
        Places in arcsec, ``(n,)``.
    reach : float
        Distance along x and along y, in arcsec, beyond which there is no light.

    Attributes
    ----------
    samples : tuple of torch.Tensor
        Row and column of each sample of light among all of the formation, ``(n, q, 1)`` and ``(n, 1, r)``; where there
        is none, the nearest, which does not count.
    pixels : torch.Tensor
        Which detector pixel each of an image is, ``(n, rows * columns)``; their number where it lies beyond the field.

    Examples
    --------
    >>> import math
    >>> import torch
    >>> from lensing_sr.forward.formation import ImageFormation
    >>> from lensing_sr.forward.patches import Patches
    >>> formation = ImageFormation((40, 40), [[0.1, 0], [0, 0.1]], (19.5, 19.5), torch.ones(3, 3) / 9)
    >>> patches = Patches(formation, torch.zeros(1), torch.zeros(1), 0.2)
    >>> images = patches.observe(torch.ones(1, *patches.shape))
    >>> images.shape == patches.pixels.shape, round(float(images.sum()), 4) == round(0.01 * math.prod(patches.shape), 4)
    (True, True)
    """

    def __init__(self, formation, x, y, reach):
        over, fine = formation.oversampling, formation.supersampling
        margin = (formation.x.shape[0] // fine - over * formation.shape[0]) // 2
        inverse = torch.linalg.inv(formation.cell)
        # cells count from the middle of the first one; half of one more, since samples are not at its middle
        first = [float(c[:fine, :fine].double().mean()) for c in formation.positions]
        offset = torch.stack([x.double().cpu() - first[0], y.double().cpu() - first[1]])
        column, row = inverse @ offset
        across, along = (float(k) * reach + 0.5 for k in inverse.abs().sum(dim=1))
        device, weights = formation.x.device, formation.cells[2][:fine, :fine].sum(dim=1)
        self._shape, self.samples, shares, pixels, fields = [], [], [], [], []
        for middle, half, count in ((row, along, formation.shape[0]), (column, across, formation.shape[1])):
            low, high = ((middle + side * half).floor().long() for side in (-1.0, 1.0))
            # the first detector pixel that sees anything, and as many as ever see anything
            begin = torch.div(low - 2 * margin, over, rounding_mode="floor")
            size = int((torch.div(high, over, rounding_mode="floor") - begin).max()) + 1
            sample = (begin * over + 2 * margin)[:, None] * fine + torch.arange((size * over - 2 * margin) * fine)
            last = (over * count + 2 * margin) * fine - 1
            inside = ((sample >= 0) & (sample <= last)).to(device)
            shares.append(inside * weights.repeat(sample.shape[1] // fine))
            self.samples.append(sample.clamp(0, last).to(device))
            pixels.append((begin[:, None] + torch.arange(size)).to(device))
            fields.append((pixels[-1] >= 0) & (pixels[-1] < count))
            self._shape.append(size)
        self.samples = self.samples[0][:, :, None], self.samples[1][:, None]
        self._share = shares[0][:, :, None], shares[1][:, None]
        index = pixels[0][:, :, None] * formation.shape[1] + pixels[1][:, None]
        seen = fields[0][:, :, None] & fields[1][:, None]
        self.pixels = index.masked_fill(~seen, math.prod(formation.shape)).flatten(1)
        self._fine, self._margin = fine, 2 * margin
        self._part = formation.window(*(slice(0, size) for size in self._shape))

    @property
    def shape(self):
        """Rows and columns of the samples of each block."""
        return self.samples[0].shape[1], self.samples[1].shape[2]

    def observe(self, light, part=slice(None)):
        """Flux a detector pixel, ``(k, rows * columns)``, of light at the `samples`, ``(k, q, r)``, of some blocks."""
        n, (rows, columns), fine = len(light), self.shape, self._fine
        light = light * self._share[0][part] * self._share[1][part]
        cells = light.view(n, rows // fine, fine, columns // fine, fine).sum(dim=(2, 4))
        return self._part.blur(torch.nn.functional.pad(cells, (self._margin,) * 4)).flatten(1)
