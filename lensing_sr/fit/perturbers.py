# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""Compact masses near the arcs, found by a matched filter and then fitted with everything else.

A point mass at :math:`\theta_k` changes the lensed light by

.. math:: -\theta_{E,k}^2\; \nabla S \cdot \frac{\theta - \theta_k}{|\theta - \theta_k|^2},

linear in its strength :math:`\theta_{E,k}^2`.  At every place near the arcs that response, less what all other unknowns
of the model can imitate, is compared with what they leave of the data.  The strongest places become point masses, the
whole model is adjusted, and the search goes on with what is left.
"""

import math
from typing import NamedTuple

import torch

from lensing_sr.forward.convolve import fast_length
from lensing_sr.forward.scene import by_mass
from lensing_sr.solvers.linear import scaled_cholesky

__all__ = ["OCCAM", "Scores", "find_perturbers", "restrained", "score_places", "strength_precision"]

#: Signal-to-noise of the arcs in a pixel from which masses are looked for, and how far around in arcsec.
BRIGHT, GROWN = 1.0, 0.2
#: Where the places are within a pixel, in pixels from its centre, where light may be sampled: the middles of its edges.
PHASES = ((0.5, 0.0), (0.0, 0.5))
#: Significance from which a place becomes a mass, and the share of the round's best that others of it must reach.
LEAST, SHARE = 5.0, 0.4
#: Masses a round, masses in all, and rounds.
PER_ROUND, MOST, ROUNDS = 3, 16, 10
#: ln of how many strengths and places, told apart by the data, a mass could have had.
OCCAM = 10.0
#: Expected theta_E^2 in arcsec^2: masses far above are part of the smooth lens.
WIDE = 0.03
#: In one step a mass changes at most by this factor, and moves at most so far in arcsec.
FACTOR, REACH = 3.0, 0.05
#: Weakest theta_E^2 in arcsec^2.
WEAKEST = 1e-6
#: A mass is tried elsewhere where the squared residual, so many pixels about it, averages more than this.
NEAR, POOR = 1.6, 2.5
#: Width by which a point mass's deflection is softened in the search, in widths of a blurred pixel.
SOFT = 1.2
#: Least share of a row's power that others must not imitate for it to be counted.
NEW = 1e-3
#: Images transformed at once.
CHUNK = 64


class Scores(NamedTuple):
    """A point mass fitted, alone, to each of some places.

    Attributes
    ----------
    x, y : torch.Tensor
        Places in arcsec, ``(n,)``.
    strength, error : torch.Tensor
        theta_E^2 and its standard deviation in arcsec^2.
    """

    x: torch.Tensor
    y: torch.Tensor
    strength: torch.Tensor
    error: torch.Tensor

    @property
    def significance(self):
        """Strength over error."""
        return self.strength / self.error


def strength_precision(count, like):
    """Prior precision of some masses (theta_E^2, x, y): wide in strength, none in place, ``(3 count, 3 count)``."""
    one = torch.tensor([WIDE**-2, 0.0, 0.0], dtype=like.dtype, device=like.device)
    return torch.diag(one.repeat(count))


def restrained(before, after):
    """A scene whose masses stay positive and go only a little way from where they were."""
    if not len(after.perturbers):
        return after
    old, new = before.perturbers, after.perturbers.clone()
    highest = FACTOR * old[:, 0] + 1e-3
    new[:, 0] = torch.minimum(torch.maximum(new[:, 0], old[:, 0] / FACTOR), highest).clamp_min(WEAKEST)
    new[:, 1:] = torch.minimum(torch.maximum(new[:, 1:], old[:, 1:] - REACH), old[:, 1:] + REACH)
    return after.with_changes(perturbers=new)


def find_perturbers(model):
    """Add point masses to a model as long as the evidence asks for them.

    Parameters
    ----------
    model : object
        Has ``problem``, ``inversion``, ``precision`` (of the scene's vector), ``offset(scene)``, ``cost(inversion)``
        and ``descend(scene)``, which adjusts everything and sets ``inversion``; the masses found are in that.

    Returns
    -------
    float
        ln of the evidence gained: half of the cost, less `OCCAM` for each mass.
    """
    start, known = model.cost(model.inversion), len(model.inversion.scene.perturbers)
    for _ in range(ROUNDS):
        chosen = _strongest(model, min(PER_ROUND, MOST - len(model.inversion.scene.perturbers)))
        # too many at once may not settle
        if not any(_kept(model, chosen[:count]) for count in dict.fromkeys((len(chosen), 1)) if chosen):
            break
    _resettle(model)
    _drop_weak(model)
    added = len(model.inversion.scene.perturbers) - known
    return 0.5 * (start - model.cost(model.inversion)) - OCCAM * added


def _kept(model, masses):
    """Adjust a model with some masses more; whether they pay.  Otherwise it stays as it was."""
    before, cost = model.inversion, model.cost(model.inversion)
    scene = before.scene
    more = torch.tensor(masses, dtype=scene.p.dtype, device=scene.p.device)
    model.descend(scene.with_changes(perturbers=torch.cat([scene.perturbers, more])))
    if 0.5 * (cost - model.cost(model.inversion)) > OCCAM * len(masses):
        return True
    model.inversion = before
    return False


def _resettle(model):
    """Try places half a pixel away for masses about which the model fails: a ray passing close by can hold one fast."""
    problem, across = model.problem, _steps(model.problem)
    x, y = problem.centres
    near = NEAR * math.hypot(*across[0])
    for k in range(len(model.inversion.scene.perturbers)):
        scene = model.inversion.scene
        missed = problem.spread(model.inversion.residual.square())
        about = (x - scene.perturbers[k, 1]).square() + (y - scene.perturbers[k, 2]).square() < near**2
        if not bool(about.any()) or float(missed[about].mean()) < POOR:
            continue
        best = model.inversion
        for column, row in ((0.5, 0.5), (0.5, -0.5), (-0.5, 0.5), (-0.5, -0.5)):
            masses = scene.perturbers.clone()
            masses[k, 1] += across[0][0] * column + across[1][0] * row
            masses[k, 2] += across[0][1] * column + across[1][1] * row
            model.descend(scene.with_changes(perturbers=masses))
            if model.cost(model.inversion) < model.cost(best):
                best = model.inversion
        model.inversion = best


def _steps(problem):
    """Arcsec (x, y) to the next column, and to the next row."""
    x, y = problem.centres
    return tuple((float(x[at] - x[0, 0]), float(y[at] - y[0, 0])) for at in ((0, 1), (1, 0)))


def _drop_weak(model):
    """Take out, one by one, masses without which the model is as likely."""
    while len(model.inversion.scene.perturbers):
        before = model.inversion
        masses = before.scene.perturbers
        derivatives = model.problem.derivatives(before.scene)[-3 * len(masses) :: 3]
        # what the image loses with a mass if nothing else changes is the most it can be worth
        worth = 0.5 * (masses[:, :1] * derivatives).square().sum(dim=1)
        weakest = int(worth.argmin())
        if float(worth[weakest]) > OCCAM:
            return
        cost = model.cost(before)
        kept = torch.arange(len(masses), device=masses.device) != weakest
        model.descend(before.scene.with_changes(perturbers=masses[kept]))
        if 0.5 * (model.cost(model.inversion) - cost) > OCCAM:
            model.inversion = before
            return


def _strongest(model, most):
    """Up to `most` masses (theta_E^2, x, y): the strongest place, the strongest given that one, and so on."""
    problem, scene = model.problem, model.inversion.scene
    others, places = _Others(model), _Places(problem, model.inversion)
    chosen, best = [], 0.0
    while len(chosen) < most and places.count:
        scores = places.scores(others)
        top = int(scores.significance.argmax())
        significance = float(scores.significance[top])
        best = max(best, significance)
        if significance < max(LEAST, SHARE * best):
            break
        chosen.append([float(column[top]) for column in (scores.strength, scores.x, scores.y)])
        # else the same place would be the strongest again
        if not any([others.include(row) for row in _rows(problem, scene, chosen[-1])]):
            break
    return chosen


def score_places(model):
    """`Scores` of a point mass more in a model, at places near the arcs.

    Parameters
    ----------
    model : object
        As for `find_perturbers`.
    """
    return _Places(model.problem, model.inversion).scores(_Others(model))


def _rows(problem, scene, mass):
    """Rows of theta_E^2, x and y of a mass, ``(3, pixels)``."""
    x, y = problem.formation.positions
    images = torch.stack(list(by_mass(mass, x, y, *problem.slopes(scene))))
    return problem.rows(problem.formation.observe(images)).double()


class _Others:
    """All that a model has already: orthonormal rows that span it, and what the data hold beyond.

    Orthonormal in the sense of the data and the priors together, so that a loosely held unknown takes all it can.
    """

    def __init__(self, model):
        inversion = model.inversion
        scene, derivatives = inversion.scene, model.problem.derivatives(inversion.scene)
        linear = inversion.rows
        rows = torch.cat([derivatives, linear])
        # the source's prior is part of its normal matrix
        held = torch.block_diag(model.precision, inversion.gram - linear @ linear.T)
        pull = rows @ inversion.residual
        pull[: len(derivatives)] -= model.precision @ model.offset(scene)
        factor, scale = scaled_cholesky(rows @ rows.T + held)
        self.rows = torch.linalg.solve_triangular(factor, rows * scale[:, None], upper=False)
        left = torch.linalg.solve_triangular(factor, (scale * pull)[:, None], upper=False)[:, 0]
        self.residual = inversion.residual - left @ self.rows

    def include(self, row):
        """Count one more row among what the model has; whether it says anything new."""
        across = self.rows @ row
        rest = row - across @ self.rows
        size = float(row @ row - across @ across)
        if size <= NEW * float(row @ row):
            return False
        new = rest / math.sqrt(size)
        self.residual = self.residual - (row @ self.residual) / math.sqrt(size) * new
        self.rows = torch.cat([self.rows, new[None]])
        return True


class _Places:
    """Places near the arcs, and what a point mass would do at each, by correlation over the detector's pixels.

    The slope of the source is taken as constant within the PSF, which then softens the deflection alone: that is within
    a few per cent in significance of the exact response.
    """

    def __init__(self, problem, inversion):
        self._problem, scene = problem, inversion.scene
        light = scene.amplitudes[1:] @ problem.linear(scene)[1:]
        arcs = problem.spread(problem.target - inversion.residual - light)
        self._across, self._up = _steps(problem)
        pixel = math.sqrt(abs(self._across[0] * self._up[1] - self._across[1] * self._up[0]))
        reach = max(round(GROWN / pixel), 1)
        bright = (arcs > BRIGHT).to(arcs)[None]
        near = torch.nn.functional.max_pool2d(bright, 2 * reach + 1, 1, reach)[0] > 0
        self.count = len(PHASES) * int(near.sum())
        # what the masses do far from the arcs does not matter
        marked = [near.any(dim=1 - axis).nonzero()[:, 0].tolist() for axis in (0, 1)]
        self._box = tuple(slice(k[0], k[-1] + 1) if k else slice(0, 1) for k in marked)
        self._near = near[self._box]
        self._fft = tuple(fast_length(2 * n) for n in self._near.shape)
        soft = SOFT * self._blurred_width(pixel)
        slopes = torch.stack(problem.slopes(scene)).double()
        samples = problem.formation.oversampling * problem.formation.supersampling
        margin = [(a - samples * b) // 2 for a, b in zip(slopes.shape[1:], problem.shape, strict=True)]
        inner = tuple(slice(m, m + samples * n) for m, n in zip(margin, problem.shape, strict=True))
        slopes = torch.nn.functional.avg_pool2d(slopes[(slice(None), *inner)], samples)
        slopes = slopes * problem.weight.double() * problem.formation.pixel_area
        self._slopes = slopes[(slice(None), *self._box)]
        kernels = [self._kernel(phase, soft, slopes.device) for phase in PHASES]
        self._single = [self._transform(torch.stack(kernel)).conj().to(torch.complex64) for kernel in kernels]
        self._information = [self._whole(u, v) + WIDE**-2 for u, v in kernels]
        self._counted = 0

    def _blurred_width(self, pixel):
        """Width in arcsec of the Gaussian that is as concentrated as the image of a point."""
        formation = self._problem.formation
        shape = formation.cells[0]
        point = torch.zeros(1, *shape, dtype=formation.x.dtype, device=formation.x.device)
        point[0, shape[0] // 2, shape[1] // 2] = 1.0
        seen = formation.blur(point)[0].double()
        return pixel * float(seen.sum()) / math.sqrt(4.0 * math.pi * float(seen.square().sum()))

    def _kernel(self, phase, soft, device):
        """Deflection by a mass of theta_E = 1 at pixels about it, wrapped for the transform: its x, and its y."""
        column, row = (
            torch.fft.fftfreq(n, 1.0 / n, dtype=torch.float64, device=device) - part
            for n, part in zip(self._fft[::-1], phase, strict=True)
        )
        u = self._across[0] * column + self._up[0] * row[:, None]
        v = self._across[1] * column + self._up[1] * row[:, None]
        r2 = u * u + v * v + soft**2
        return u / r2, v / r2

    def _transform(self, images):
        return torch.fft.rfft2(images, s=self._fft)

    def _back(self, spectrum):
        rows, columns = self._near.shape
        return torch.fft.irfft2(spectrum, s=self._fft)[..., :rows, :columns]

    def _whole(self, u, v):
        """Sum over pixels of the squared response at each place."""
        x, y = self._slopes
        images, kernels = torch.stack([x * x, 2.0 * x * y, y * y]), torch.stack([u * u, u * v, v * v])
        return self._back((self._transform(images) * self._transform(kernels).conj()).sum(dim=0))

    def _across_rows(self, rows):
        """Sum over pixels of the response at each place times rows: a list over phases of ``(k, rows, columns)``."""
        images = torch.stack([self._problem.spread(row)[self._box] for row in rows])
        x, y = (self._transform((images * slope).float()) for slope in self._slopes)
        return [-self._back(x * u + y * v).double() for u, v in self._single]

    def scores(self, others):
        """`Scores` of a mass at each place, fitted with all that `others` hold; they may have grown since last time."""
        grown = others.rows[self._counted :]
        for part in grown.split(CHUNK) if len(grown) else ():
            for information, across in zip(self._information, self._across_rows(part), strict=True):
                information -= across.square().sum(dim=0)
        self._counted = len(others.rows)
        pulls = self._across_rows(others.residual[None])
        x, y = (c[self._box] for c in self._problem.centres)
        found = []
        for (column, row), pull, information in zip(PHASES, pulls, self._information, strict=True):
            known = information.clamp_min(WIDE**-2)
            at_x = x + self._across[0] * column + self._up[0] * row
            at_y = y + self._across[1] * column + self._up[1] * row
            found.append([c[self._near] for c in (at_x, at_y, pull[0] / known, known.rsqrt())])
        return Scores(*(torch.cat(column) for column in zip(*found, strict=True)))
