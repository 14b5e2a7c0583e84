# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""One image linearised about a `~lensing_sr.forward.scene.Scene`: every unknown of the model as a row of pixels.

The rows are divided by the noise and hold the unmasked pixels alone.  One image's rows fill a processor: images are
taken one by one.
"""

import math

import torch

from lensing_sr.forward.model import lens_light, lens_light_jacobian, ray_jacobian, source_light
from lensing_sr.forward.patches import Patches
from lensing_sr.forward.scene import by_mass

__all__ = ["Problem"]

#: Numbers of the largest arrays of what is done at once: small enough for memory to be reused.
CHUNK = 2_000_000


class Problem:
    """Data and optics of one image.

    Parameters
    ----------
    data, weight : torch.Tensor
        Image and 1 / sigma, 0 where masked, ``(rows, columns)``.
    formation : lensing_sr.forward.formation.ImageFormation
        From light to these pixels.
    widths : torch.Tensor or None
        Widths of the lens light's Gaussians in arcsec; None: no lens light.
    """

    def __init__(self, data, weight, formation, widths):
        self.weight, self.formation, self.widths = weight, formation, widths
        self.shape = data.shape
        self.used = (weight > 0).flatten().nonzero()[:, 0]
        self.target = (data * weight).flatten()[self.used].double()
        self._weight = weight.flatten()[self.used]

    def rows(self, images):
        """Images ``(k, rows, columns)`` as weighted rows ``(k, pixels)``."""
        return images.flatten(1)[:, self.used] * self._weight

    def spread(self, row):
        """A row ``(pixels,)`` as it is on the pixels ``(rows, columns)``, zero where masked."""
        out = torch.zeros(self.weight.numel(), dtype=row.dtype, device=row.device)
        out[self.used] = row
        return out.view(self.shape)

    def image(self, row):
        """A weighted row ``(pixels,)`` as flux ``(rows, columns)``, zero where masked."""
        return self.spread(row / self._weight.to(row))

    @property
    def centres(self):
        """Positions of the detector pixels in arcsec, x and y of shape ``(rows, columns)``."""
        samples = self.formation.oversampling * self.formation.supersampling
        margin = [(n - samples * m) // 2 for n, m in zip(self.formation.x.shape, self.shape, strict=True)]
        inner = tuple(slice(k, k + samples * m) for k, m in zip(margin, self.shape, strict=True))
        return tuple(
            torch.nn.functional.avg_pool2d(c[inner][None], samples)[0].double() for c in self.formation.positions
        )

    def land(self, scene, x, y):
        """Where rays from positions ``(rows, columns)`` land in the source plane."""
        alpha_x, alpha_y = scene.deflection(x, y)
        return x - alpha_x, y - alpha_y

    def _by_potential(self, potential, slope_x, slope_y):
        """Rows of the derivatives by the coefficients of a potential, ``(size**2, pixels)``."""
        x, y = self.formation.positions
        patches = Patches(self.formation, *potential.nodes(), potential.extent)
        count, step = potential.size**2, max(1, CHUNK // math.prod(patches.shape))
        # the last one collects what lies beyond the field
        images = x.new_zeros(count, self.weight.numel() + 1)
        for k in range(0, count, step):
            part = slice(k, k + step)
            row, column = (index[part] for index in patches.samples)
            slopes = (slope[row, column] for slope in (slope_x, slope_y))
            light = potential.light_changes(*slopes, x[row, column], y[row, column], part)
            images[part].scatter_(1, patches.pixels[part], patches.observe(light, part))
        return self.rows(images[:, :-1])

    def _rays(self, scene):
        x, y = self.formation.positions
        beta_x, beta_y, by_lens = ray_jacobian(scene.p[None].to(x), x, y)
        more_x, more_y = scene.correction(x, y)
        return beta_x[0] - more_x, beta_y[0] - more_y, by_lens

    def linear(self, scene):
        """Rows of the unit Sersic source, of the unit Gaussians and of the sky, ``(L, pixels)`` float64."""
        x, y = self.formation.positions
        p = scene.p[None].to(x)
        beta_x, beta_y, _ = self._rays(scene)
        columns = [source_light(p, beta_x, beta_y)]
        if self.widths is not None:
            columns.append(lens_light(p, x, y, self.widths)[0])
        columns = self.formation.observe(torch.cat(columns))
        return self.rows(torch.cat([columns, torch.ones_like(columns[:1])])).double()

    def derivatives(self, scene):
        """Rows of the derivatives by the scene's `vector`, ``(len(vector), pixels)`` float64."""
        x, y = self.formation.positions
        p = scene.p[None].to(x)
        beta_x, beta_y, by_lens = self._rays(scene)
        _, slope_x, slope_y, by_source = scene.slopes(beta_x, beta_y)
        rows = [slope_x * u[0] + slope_y * v[0] for u, v in by_lens] + by_source
        if self.widths is not None:
            light = lens_light(p, x, y, self.widths)
            fluxes = scene.amplitudes[None, 1:-1].to(x)
            rows += list(lens_light_jacobian(p, x, y, self.widths, light, fluxes)[0])
        parts = [self.rows(self.formation.observe(torch.stack(rows)))]
        if scene.q is not None:
            parts.append(self._by_potential(scene.potential, slope_x, slope_y))
        if len(scene.perturbers):
            rows = [row for mass in scene.perturbers.tolist() for row in by_mass(mass, x, y, slope_x, slope_y)]
            parts.append(self.rows(self.formation.observe(torch.stack(rows))))
        return torch.cat(parts).double()

    def slopes(self, scene):
        """Slope of the whole source where the rays of the samples land, (by x, by y), flux per arcsec^3."""
        beta_x, beta_y, _ = self._rays(scene)
        return scene.slopes(beta_x, beta_y)[1:3]

    def response(self, scene, grid):
        """Rows of each spline of a source grid as lensed and seen.

        Returns
        -------
        rows : torch.Tensor
            ``(size**2, k)``, for the pixels that see the grid.
        lit : torch.Tensor
            Which of the unmasked pixels these are, ``(k,)``.
        """
        beta_x, beta_y, _ = self._rays(scene)
        reach = grid.extent
        hit = ((beta_x - grid.centre[0]).abs() < reach) & ((beta_y - grid.centre[1]).abs() < reach)
        window = self._window(hit)
        part = self.formation.window(*window)
        samples = self.formation.oversampling * self.formation.supersampling
        first = [k.start * samples for k in window]
        inside = tuple(slice(k, k + n) for k, n in zip(first, part.x.shape, strict=True))
        shape, index, share = part.cells
        taps = grid.taps(beta_x[inside], beta_y[inside])
        at = [self.used // self.shape[1] - window[0].start, self.used % self.shape[1] - window[1].start]
        lit = torch.stack([(0 <= k) & (k < n) for k, n in zip(at, part.shape, strict=True)]).all(dim=0).nonzero()[:, 0]
        place = (at[0] * part.shape[1] + at[1])[lit]
        weight = self._weight[lit]
        seen = torch.empty(grid.size, grid.size, len(lit), dtype=weight.dtype, device=weight.device)
        for k, columns in enumerate(taps.column_rows([(share, 0, 0)], index, shape[0] * shape[1])):
            torch.mul(part.blur(columns.view(-1, *shape)).flatten(1)[:, place], weight, out=seen[k])
        return seen.flatten(0, 1), lit

    def _window(self, hit):
        """Smallest block of detector pixels that sees all samples marked in `hit`, as slices."""
        samples = self.formation.oversampling * self.formation.supersampling
        block = []
        for axis, count in enumerate(self.shape):
            margin = (hit.shape[axis] - samples * count) // 2
            marked = hit.any(dim=1 - axis).nonzero()[:, 0]
            if not len(marked):
                block.append(slice(0, count))
                continue
            first, last = int(marked[0]) - 2 * margin, int(marked[-1])
            block.append(slice(max(first // samples, 0), min(last // samples + 1, count)))
        return tuple(block)
