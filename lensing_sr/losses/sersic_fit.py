# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
r"""The source behind a given deflection: an elliptical Sersic profile, fitted to the image, differentiable in alpha.

.. math:: \chi^2(p, A; \alpha) = \left\| \frac{d - A\,B P\,S(\theta - \alpha; p)}{\sigma} \right\|^2
                                + \sum_j \left(\frac{p_j - m_j}{s_j}\right)^2

The amplitude A is solved for exactly inside, the six parameters p by Levenberg-Marquardt on the observed image.  What
the optimum does when alpha changes follows from its stationarity (implicit function theorem), not from the iterations:

.. math:: \frac{dp^*}{d\alpha} = -H^{-1}\,\frac{\partial g}{\partial\alpha}, \qquad
          g = \tfrac12\,\frac{\partial\chi^2}{\partial p}, \quad H = \frac{\partial g}{\partial p}
"""

import math
from typing import NamedTuple

import torch

from lensing_sr.light.sersic import sersic_b, sersic_b_slope
from lensing_sr.solvers.levenberg import levenberg_marquardt
from lensing_sr.solvers.linear import solve_spd

__all__ = ["SersicFit", "SersicProblem", "sersic_light", "sersic_light_jacobian"]

#: Radii are softened by this fraction of r_eff: the cusp at the centre keeps a gradient that float32 can carry.
SOFTENING = 1e-4
#: Numbers of a chunk's largest tensor.
CHUNK = 300_000
#: Largest logarithm of (r / r_eff)^(1/n): beyond, there is no light, and nothing overflows.
FARTHEST = 60.0
#: Bounds of the index and of each component of the ellipticity.
INDEX_RANGE, ELLIPTICITY = (0.3, 6.0), 0.6
#: Widths of the weak priors on log r_eff, log n and ellipticity: all that is left where an image has no signal.
PRIOR_WIDTHS = (2.0, 1.5, 0.5)
#: Pixels below this signal-to-noise say nothing about where to start.
START_SNR = 2.0
#: Steps of the second differences, in r_eff for the position, else absolute.
STEP = 2e-3
#: Squared signal-to-noise ratio of a source of unit brightness below which float32 sees no light of it.
FAINT = 1e-19
#: Gain in chi-square that a last step may promise; more means that the fit is not there yet.
CLOSE = 0.1
#: The curvature's share of Gauss and Newton's below which the latter is trusted more.
LEAST_CURVATURE = 0.1


class SersicFit(NamedTuple):
    """Sersic profiles, one an image.

    Attributes
    ----------
    parameters : torch.Tensor
        ``(batch, 6)``: centre x, y in arcsec, logarithms of r_eff (arcsec) and n, ellipticities e1, e2.
    amplitude : torch.Tensor
        Surface brightness at r_eff in flux per arcsec^2, ``(batch,)``.
    """

    parameters: torch.Tensor
    amplitude: torch.Tensor

    @property
    def x(self):
        """Centre in arcsec."""
        return self.parameters[:, 0]

    @property
    def y(self):
        """Centre in arcsec."""
        return self.parameters[:, 1]

    @property
    def r_eff(self):
        """Half-light radius on the intermediate axis, arcsec."""
        return self.parameters[:, 2].exp()

    @property
    def n(self):
        """Sersic index."""
        return self.parameters[:, 3].exp()

    @property
    def e1(self):
        """Ellipticity along the axes."""
        return self.parameters[:, 4]

    @property
    def e2(self):
        """Ellipticity along the diagonals."""
        return self.parameters[:, 5]


def _profile(x, y, p, b):
    """Light of unit amplitude and what its derivatives need."""
    x0, y0, log_r, log_n, e1, e2 = (c[:, None, None] for c in p.unbind(1))
    d_x, d_y = x - x0, y - y0
    w_x, w_y = d_x - e1 * d_x - e2 * d_y, d_y + e1 * d_y - e2 * d_x
    stretch = 1.0 - e1 * e1 - e2 * e2
    ratio2 = (w_x * w_x + w_y * w_y) / (stretch * torch.exp(2.0 * log_r))
    log_ratio = 0.5 * (ratio2 + SOFTENING**2).log()
    power = torch.exp((log_ratio * torch.exp(-log_n)).clamp_max(FARTHEST))
    light = torch.exp(-b[:, None, None] * (power - 1.0))
    return light, power, log_ratio, ratio2, (d_x, d_y, w_x, w_y, stretch)


def sersic_light(x, y, parameters):
    r"""Surface brightness of Sersic profiles of unit amplitude, smooth at the centre.

    .. math:: S = \exp\{-b_n[(r/r_\mathrm{eff})^{1/n} - 1]\}, \qquad r^2 \to r^2 + (10^{-4} r_\mathrm{eff})^2

    Parameters
    ----------
    x, y : torch.Tensor
        Positions in the source plane in arcsec, ``(batch, rows, columns)`` or ``(rows, columns)``.
    parameters : torch.Tensor
        ``(batch, 6)``, as in `SersicFit`.

    Returns
    -------
    torch.Tensor
        ``(batch, rows, columns)``; differentiable in everything, finite everywhere.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.losses.sersic_fit import sersic_light
    >>> round(float(sersic_light(torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1, 6))), 4)
    1.0
    """
    return _profile(x, y, parameters, sersic_b(parameters[:, 3].exp()))[0]


def sersic_light_jacobian(x, y, parameters):
    """The same light with its derivatives by the parameters, in closed form.

    Parameters
    ----------
    x, y, parameters
        As in `sersic_light`; the parameters are taken as numbers, the result can be differentiated by the positions.

    Returns
    -------
    torch.Tensor
        ``(batch, 7, rows, columns)``: the light, then its six derivatives.
    """
    p = parameters.detach()
    n = p[:, 3].exp()
    b, b_slope = sersic_b_slope(n)
    light, power, log_ratio, ratio2, (d_x, d_y, w_x, w_y, stretch) = _profile(x, y, p, b)
    _, _, log_r, _, e1, e2 = (c[:, None, None] for c in p.unbind(1))
    n, b, b_slope = (t[:, None, None] for t in (n, b, b_slope))
    slope = power * light * (-b / n)  # by the logarithm of the radius
    by_ratio2 = slope / (ratio2 + SOFTENING**2)
    h = by_ratio2 / (stretch * torch.exp(2.0 * log_r))
    by_size = by_ratio2 * ratio2
    h_x, h_y = h * w_x, h * w_y
    return torch.stack(
        [
            light,
            e2 * h_y - (1.0 - e1) * h_x,
            e2 * h_x - (1.0 + e1) * h_y,
            -by_size,
            light * (power - 1.0) * (-n * b_slope) - slope * log_ratio,
            h_y * d_y - h_x * d_x + by_size * (e1 / stretch),
            by_size * (e2 / stretch) - h_x * d_y - h_y * d_x,
        ],
        dim=1,
    )


class SersicProblem:
    """The fit of a Sersic source behind given deflections to a batch of images.

    Parameters
    ----------
    beta : tuple of torch.Tensor
        Source-plane positions (x, y) of the samples of `formation`, in arcsec, each ``(batch, rows, columns)``.
    formation : lensing_sr.forward.formation.ImageFormation
        From samples of light to detector pixels.
    image, weight : torch.Tensor
        Flux and 1 / sigma of the detector's pixels, 0 where there is no information, ``(batch, rows, columns)``.
    pixel : float
        arcsec a detector pixel.
    """

    def __init__(self, beta, formation, image, weight, pixel):
        self.beta, self.formation = beta, formation
        self.image, self.weight = image, weight
        self._half_width = 0.5 * pixel * max(image.shape[1:])
        limits = torch.tensor(
            [
                [-self._half_width, self._half_width],
                [-self._half_width, self._half_width],
                [0.25 * pixel, self._half_width],
                INDEX_RANGE,
                [-ELLIPTICITY, ELLIPTICITY],
                [-ELLIPTICITY, ELLIPTICITY],
            ],
            dtype=torch.float64,
            device=image.device,
        )
        limits[2:4] = limits[2:4].log()
        self.lower, self.upper = limits.unbind(1)

    def amplitude(self, model, index=slice(None)):
        """Best amplitude >= 0 of a model image of unit amplitude, ``(batch,)``, in closed form."""
        weight = self.weight[index]
        scaled = model * weight
        own = (scaled * scaled).sum((1, 2))
        # an image without light in the field has no amplitude
        return ((scaled * self.image[index] * weight).sum((1, 2)) / own.clamp_min(FAINT)).clamp_min(0.0)

    @torch.no_grad()
    def start(self):
        """Where to begin: brightness-weighted moments of the image, brought back to the source plane.

        Returns
        -------
        torch.Tensor
            ``(batch, 6)`` float64.
        """
        x, y = (self._at_pixels(b) for b in self.beta)
        signal = self.image * self.weight
        share = torch.where(signal > START_SNR, self.image * self.image, 0.0)
        total = share.sum((1, 2))
        share = share / total.clamp_min(torch.finfo(total.dtype).tiny)[:, None, None]
        limit = self._half_width
        x, y = x.clamp(-limit, limit), y.clamp(-limit, limit)
        x0, y0 = ((share * v).sum((1, 2)) for v in (x, y))
        d_x, d_y = x - x0[:, None, None], y - y0[:, None, None]
        xx, yy, xy = ((share * v).sum((1, 2)) for v in (d_x * d_x, d_y * d_y, d_x * d_y))
        spread = xx + yy
        empty = spread <= 0.0
        # moments weighted by the square of the light of an exponential disc
        log_r = torch.where(empty, 0.25, 1.37 * spread.sqrt()).log()
        spread = spread.clamp_min(torch.finfo(spread.dtype).tiny)
        c, s = (xx - yy) / spread, 2.0 * xy / spread
        shrink = 1.0 + (1.0 - c * c - s * s).clamp_min(0.0).sqrt()
        e1, e2 = (torch.where(empty, 0.0, e / shrink) for e in (c, s))
        p = torch.stack([x0, y0, log_r, torch.zeros_like(x0), e1, e2], dim=1).double()
        margin = 0.02 * (self.upper - self.lower)
        return torch.minimum(torch.maximum(p, self.lower + margin), self.upper - margin)

    def _at_pixels(self, samples):
        """Values at (or about) the centres of the detector's pixels of samples with a margin, finer or not."""
        formation = self.formation
        f, (rows, columns) = formation.oversampling, self.image.shape[1:]
        margin = (samples.shape[1] - f * rows) // 2
        samples = samples[:, margin : margin + f * rows, margin : margin + f * columns]
        return samples[:, f // 2 :: f, f // 2 :: f]

    @torch.no_grad()
    def fit(self, *, iterations=12, tolerance=1e-2):
        """Best parameters of every image.

        Parameters
        ----------
        iterations : int
            Steps of Levenberg and Marquardt at most.
        tolerance : float
            An image is done once the next step promises to lower its chi-square by less.

        Returns
        -------
        lensing_sr.solvers.levenberg.Minimum
            Parameters as in `SersicFit`, float64.
        """
        start = self.start()
        self.prior = self._prior(start)
        batch, n = start.shape
        nowhere = torch.full_like(start, math.nan)
        known = [nowhere, start.new_empty(batch), nowhere.clone(), start.new_empty(batch, n, n)]

        def evaluate(p, index):
            # an image that is done is asked for once more where it stands
            new = (p != known[0][index]).any(1)
            for part in self._chunks(index[new]):
                rows = torch.isin(index, part)
                for kept, value in zip(known, self._evaluate(p[rows], part), strict=True):
                    kept[part] = value
            cost, gradient, curvature = (kept[index] for kept in known[1:])
            # in float32 the cost is too rough to tell that the end is near; the promised gain is not
            held = ((p <= self.lower) & (gradient > 0)) | ((p >= self.upper) & (gradient < 0))
            slope = torch.where(held, 0.0, gradient)
            promise = (slope * solve_spd(curvature, slope[:, :, None])[:, :, 0]).sum(1)
            return cost, torch.where((promise < tolerance)[:, None], 0.0, gradient), curvature

        return levenberg_marquardt(
            evaluate, start, self.lower, self.upper, iterations=iterations, tolerance=tolerance
        )

    def _prior(self, start):
        """Mean and precision of the weak priors."""
        size, index, shape = PRIOR_WIDTHS
        width = start.new_tensor([self._half_width, self._half_width, size, index, shape, shape])
        mean = start.clone()
        mean[:, 3:] = 0.0
        return mean, width**-2

    def _evaluate(self, p, index):
        """Parameters, cost, half its gradient and Gauss-Newton matrix, amplitude projected out (Kaufman 1975)."""
        columns = sersic_light_jacobian(*(b[index] for b in self.beta), p.to(self.image))
        weight = self.weight[index]
        columns = self.formation.select(index).observe(columns).mul_(weight[:, None]).flatten(2)
        data = (self.image[index] * weight).flatten(1)
        model = columns[:, 0]
        gram = (columns @ columns.mT).double()
        own = gram[:, 0, 0]
        # a source that leaves no light in the field explains nothing; its squares underflow
        seen = own > FAINT
        own = torch.where(seen, own, 1.0)
        amplitude = torch.where(seen, (model * data).sum(1).double() / own, 0.0).clamp_min(0.0)
        left = data - amplitude.to(data)[:, None] * model
        slope = (columns @ left[:, :, None])[:, 1:, 0].double()
        cross = gram[:, 0, 1:]
        curvature = gram[:, 1:, 1:] - cross[:, :, None] * (cross / own[:, None])[:, None, :]
        mean, precision = self.prior
        offset = p - mean[index]
        cost = left.square().sum(1, dtype=torch.float64) + (offset * offset * precision).sum(1)
        curvature = (amplitude**2)[:, None, None] * curvature + torch.diag_embed(precision.expand_as(p))
        return p, cost, offset * precision - amplitude[:, None] * slope, curvature

    def _chunks(self, index):
        """Parts of a batch that are small enough to stay in the processor's cache."""
        return index.split(max(1, CHUNK // (7 * self.beta[0][0].numel()))) if len(index) else ()

    def gradient(self, p, beta, index=slice(None)):
        """Half the gradient of chi-square by the parameters, amplitude at its best; differentiable in `beta`.

        Parameters
        ----------
        p : torch.Tensor
            ``(batch, 6)`` float64.
        beta : tuple of torch.Tensor
            As in the constructor.
        index : slice or torch.Tensor
            Of the images that these are.

        Returns
        -------
        torch.Tensor
            ``(batch, 6)`` float64.
        """
        image, weight, formation = self.image[index], self.weight[index], self.formation.select(index)
        columns = sersic_light_jacobian(*beta, p.to(image))
        model = formation.observe(columns[:, 0])
        amplitude = self.amplitude(model, index)[:, None]
        left = (image - amplitude[:, :, None] * model) * weight**2
        # the adjoint of the optics acts on one residual, not the optics on six derivatives
        pulled = formation.adjoint(left)
        slope = -amplitude * torch.einsum("brc,bkrc->bk", pulled, columns[:, 1:])
        mean, precision = self.prior
        return slope.double() + (p - mean[index]) * precision

    @torch.no_grad()
    def curvature(self, minimum):
        """Half the second derivative of chi-square at a minimum, by differences of `gradient`.

        Gauss and Newton's matrix lacks what the residual adds, and where the deflection is wrong that is not little.
        In directions in which it takes away nearly all curvature, the Gauss-Newton matrix stands instead.

        Parameters
        ----------
        minimum : lensing_sr.solvers.levenberg.Minimum
            From `fit`.

        Returns
        -------
        torch.Tensor
            ``(batch, 6, 6)`` float64, positive definite.
        """
        p, rough = minimum.parameters, minimum.curvature
        steps = torch.full_like(p, STEP)
        steps[:, :2] *= p[:, 2:3].exp()
        full = torch.empty_like(rough)
        for index in self._chunks(torch.arange(len(p), device=p.device)):
            beta = tuple(b[index] for b in self.beta)
            for k in range(p.shape[1]):
                step = torch.zeros_like(p[index])
                step[:, k] = steps[index, k]
                ahead, behind = (self.gradient(p[index] + s, beta, index) for s in (step, -step))
                full[index, :, k] = (ahead - behind) / (2.0 * steps[index, k : k + 1])
        full = 0.5 * (full + full.mT)
        # in coordinates where the Gauss-Newton matrix is the unit matrix
        root = torch.linalg.cholesky(rough)
        inner = torch.linalg.solve_triangular(root, full, upper=False)
        inner = torch.linalg.solve_triangular(root, inner.mT, upper=False)
        values, vectors = torch.linalg.eigh(0.5 * (inner + inner.mT))
        values = torch.where(values > LEAST_CURVATURE, values, 1.0)
        half = root @ vectors
        return half @ (values[:, :, None] * half.mT)

    def differentiable(self, minimum, beta):
        """Return the fitted parameters as a function of the deflection: one more step, and its derivative.

        The step is Newton's; it is a small one, or not taken where the fit had not come close.

        Parameters
        ----------
        minimum : lensing_sr.solvers.levenberg.Minimum
            From `fit`.
        beta : tuple of torch.Tensor
            The positions, attached to the graph of the deflection.

        Returns
        -------
        torch.Tensor
            ``(batch, 6)`` of the image's type.
        """
        p = minimum.parameters
        free = ((p > self.lower) & (p < self.upper)).to(p)
        curvature = self.curvature(minimum)
        curvature = curvature * free[:, :, None] * free[:, None, :] + torch.diag_embed(1.0 - free)
        slope = self.gradient(p, beta) * free
        step = torch.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        left = step.detach()
        far = (left * slope.detach()).sum(1, keepdim=True) > CLOSE
        outside = ((p - left < self.lower) | (p - left > self.upper)).any(1, keepdim=True)
        return (p - step + torch.where(far | outside, left, 0.0)).to(self.image)
