# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""What the estimator sees of any cut-out of any telescope: the same number of pixels, in units of the noise.

Lensing has no scale.  A cut-out of half-width h becomes `SIDE` x `SIDE` pixels about the lens, twice: the whole, and
its inner half.  A pixel is the mean brightness over its area (of what is not masked) in units of what white noise of
the same strength would leave there,

.. math:: s = \frac{\langle d \rangle}{\sqrt{\langle \sigma^2 \rangle}}\,\frac{\delta'}{\delta},

with :math:`\delta` the side of a pixel before and :math:`\delta'` after.
"""

from typing import NamedTuple

import torch

from lensing_sr.networks.isophotes import without_isophotes
from lensing_sr.networks.symmetry import laid_down

__all__ = ["CONDITIONS", "SIDE", "ZOOMS", "Views", "make_views", "overlaps"]

#: Pixels a side.
SIDE = 64
#: Parts of the half-width that are shown.
ZOOMS = (1.0, 0.5)
#: What the estimator is told besides: ln of blur and of pixel size in units of `SIDE` pixels, lag-1 correlation of the
#: noise, whether the lens galaxy shines.
CONDITIONS = 4
#: Pixels at the border that tell the sky.
BORDER = 4
#: A pixel of which less than this is unmasked is masked.
LEAST = 0.2


class Views(NamedTuple):
    """Images as the estimator sees them.

    Attributes
    ----------
    significance : torch.Tensor
        s of the module, 0 where masked, ``(images, 2, SIDE, SIDE)``.
    seen : torch.Tensor
        1 where there are data, 0 where masked or outside; shaped alike.
    bare : torch.Tensor
        What `~lensing_sr.networks.isophotes.without_isophotes` leaves of the significance; shaped alike.
    conditions : torch.Tensor
        ``(images, CONDITIONS)``.
    half_width : torch.Tensor
        h in arcsec, ``(images,)`` float64.
    centre : torch.Tensor
        Middle of the views in arcsec, ``(images, 2)`` float64.
    """

    significance: torch.Tensor
    seen: torch.Tensor
    bare: torch.Tensor
    conditions: torch.Tensor
    half_width: torch.Tensor
    centre: torch.Tensor

    def laid_down(self, *symmetries):
        """The views as the images show them that are laid down by each of some `SYMMETRIES`, one after another."""
        maps = (
            torch.cat([laid_down(part, symmetry) for symmetry in symmetries])
            for part in (self.significance, self.seen, self.bare)
        )
        return Views(*maps, self.conditions.repeat(len(symmetries), 1), self.half_width, self.centre)


def overlaps(count, first, width, side=SIDE):
    """How much of each pixel of a row lies in each of `side` equal intervals.

    Parameters
    ----------
    count : int
        Pixels in the row; pixel i covers [i - 1/2, i + 1/2].
    first : torch.Tensor
        Where the first interval begins, in pixels, ``(images,)``.
    width : torch.Tensor
        Width of an interval in pixels, ``(images,)``.
    side : int
        How many intervals.

    Returns
    -------
    torch.Tensor
        ``(images, side, count)``.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks.views import overlaps
    >>> overlaps(4, torch.tensor([-0.5]), torch.tensor([2.0]), side=2).tolist()
    [[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]]
    """
    edges = first[:, None] + width[:, None] * torch.arange(side + 1, device=first.device)
    pixel = torch.arange(count, device=first.device) - 0.5
    low, high = edges[:, :-1, None], edges[:, 1:, None]
    return (torch.minimum(high, pixel + 1.0) - torch.maximum(low, pixel)).clamp_min(0.0)


def make_views(
    data, weight, matrix, origin, centre, *, psf_fwhm=0.0, correlation=None, lens_light=True, half_width=None
):  # fmt: skip
    """Make the `Views` of a batch of equal cut-outs.

    Parameters
    ----------
    data : torch.Tensor
        Flux a pixel, ``(images, rows, columns)``.
    weight : torch.Tensor
        1 / sigma, 0 where masked; shaped as the data.
    matrix : torch.Tensor
        ``(2, 2)``, arcsec a pixel.
    origin : tuple of float
        Pixel position (column, row) of (0, 0) arcsec.
    centre : torch.Tensor
        Lens positions in arcsec, ``(images, 2)``.
    psf_fwhm : float
        Width of the PSF in arcsec; 0 without one.
    correlation : torch.Tensor, optional
        Lag-1 correlation of the noise, ``(images,)``.
    lens_light : bool
        Whether the lens galaxy shines.
    half_width : float, optional
        h in arcsec; by default half of the shorter side.

    Returns
    -------
    Views

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.networks.views import make_views
    >>> frame = torch.eye(2, dtype=torch.float64) * 0.1, (49.5, 49.5)
    >>> views = make_views(torch.randn(2, 100, 100), torch.ones(2, 100, 100), *frame, torch.zeros(2, 2))
    >>> tuple(views.significance.shape), views.half_width.tolist()
    ((2, 2, 64, 64), [5.0, 5.0])
    """
    images, rows, columns = data.shape
    matrix = matrix.to(device=data.device, dtype=torch.float64)
    centre = centre.to(device=data.device, dtype=torch.float64)
    if float(matrix[0, 1].abs() + matrix[1, 0].abs()) > 1e-6 * float(matrix.abs().max()) or bool(
        (matrix.diagonal() <= 0).any()
    ):
        data, weight, matrix, origin = _straightened(data, weight, matrix, origin)
        images, rows, columns = data.shape
    scale = matrix.diagonal()
    half = half_width or 0.5 * min(rows * float(scale[1]), columns * float(scale[0]))
    middle = centre / scale + torch.tensor(origin, dtype=torch.float64, device=data.device)
    good = (weight > 0).to(data)
    variance = torch.where(weight > 0, weight, torch.ones_like(weight)) ** -2 * good
    maps = torch.stack([data * good, variance, good], dim=1)
    significance, seen = [], []
    for zoom in ZOOMS:
        wide = 2.0 * zoom * half / SIDE / scale  # a new pixel, in old ones
        across, along = (
            overlaps(n, middle[:, axis] - 0.5 * SIDE * wide[axis], wide[axis].expand(images)).to(data)
            for axis, n in enumerate((columns, rows))
        )
        total = along[:, None] @ maps @ across[:, None].mT
        area = float(wide.prod())
        inside = total[:, 2] > LEAST * area
        share = torch.where(inside, total[:, 2], torch.ones_like(total[:, 2]))
        mean, sigma = total[:, 0] / share, (total[:, 1] / share).clamp_min(1e-60).sqrt()
        if zoom == ZOOMS[0]:
            sky = _sky(mean, inside)
        ratio = (mean - sky) / sigma * area**0.5
        significance.append(torch.where(inside, ratio, torch.zeros_like(ratio)))
        seen.append(inside.to(data))
    pixel = float(scale.prod().sqrt())
    told = data.new_zeros(images, CONDITIONS)
    told[:, 0] = float(torch.log(torch.tensor((psf_fwhm**2 + pixel**2) ** 0.5 * 0.5 * SIDE / half)))
    told[:, 1] = float(torch.log(torch.tensor(pixel * 0.5 * SIDE / half)))
    if correlation is not None:
        told[:, 2] = correlation.to(told)
    told[:, 3] = float(lens_light)
    half = torch.full((images,), half, dtype=torch.float64, device=data.device)
    significance, seen = torch.stack(significance, dim=1), torch.stack(seen, dim=1)
    return Views(significance, seen, without_isophotes(significance, seen), told, half, centre)


def _sky(mean, inside):
    """Median of the border, ``(images, 1, 1)``; 0 where all of it is masked."""
    border = torch.ones(SIDE, SIDE, dtype=torch.bool, device=mean.device)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    values = torch.where(inside, mean, torch.full_like(mean, torch.nan))[:, border]
    return values.nanmedian(dim=1).values.nan_to_num()[:, None, None]


def _straightened(data, weight, matrix, origin):
    """The same field on square pixels along x and y, by bilinear interpolation; turned or skewed pixels are rare."""
    images, rows, columns = data.shape
    pixel = float(torch.linalg.det(matrix).abs().sqrt())
    side = min(rows, columns)
    axis = (torch.arange(side, dtype=torch.float64, device=data.device) - 0.5 * (side - 1)) * pixel
    corner = torch.tensor([0.5 * (columns - 1) - origin[0], 0.5 * (rows - 1) - origin[1]], dtype=torch.float64)
    middle = matrix @ corner.to(matrix)  # arcsec of the field's middle
    x, y = axis[None, :] + middle[0], axis[:, None] + middle[1]
    inverse = torch.linalg.inv(matrix)
    column = inverse[0, 0] * x + inverse[0, 1] * y + origin[0]
    row = inverse[1, 0] * x + inverse[1, 1] * y + origin[1]
    grid = torch.stack([(2 * column + 1) / columns - 1, (2 * row + 1) / rows - 1], dim=-1).to(data)
    good = (weight > 0).to(data)
    variance = torch.where(weight > 0, weight, torch.ones_like(weight)) ** -2 * good
    maps = torch.nn.functional.grid_sample(
        torch.stack([data * good, variance, good], dim=1), grid.expand(images, -1, -1, -1), align_corners=False
    )
    share = maps[:, 2].clamp_min(1e-6)
    known = maps[:, 2] > 0.5
    weight = torch.where(known, (maps[:, 1] / share).clamp_min(1e-60).rsqrt(), torch.zeros_like(share))
    data = torch.where(known, maps[:, 0] / share, torch.zeros_like(share))
    square = torch.eye(2, dtype=torch.float64, device=data.device) * pixel
    return data, weight, square, tuple(0.5 * (side - 1) - float(m) / pixel for m in middle)
