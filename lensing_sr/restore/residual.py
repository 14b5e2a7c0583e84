# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What the model missed, brought to the fine grid.

No model is complete: substructure bends the arcs, sources are lumpier than any profile.  What is left in the residual
is taken apart by size, and at each size and place as much of it is kept as stands out from the noise:

    r = sum_j w_j,      kept = sum_j a_j w_j,      a_j = S_j / (S_j + 1)

``w_j`` are the scales of the isotropic undecimated wavelet transform (starlet: differences of smoothings with the cubic
B-spline, twice as wide at each step; the last one is the smooth rest).  ``P_j`` is the local mean of ``w_j^2`` over its
expected value for pure noise, and ``t_j = 1 + threshold * sigma(P_j)`` is what noise alone reaches; ``S_j``, the power
above that, ``max(P_j - t_j, 0)``, is in units of that of noise.  So ``a_j`` is Wiener's weight S / (S + N): zero where
the residual is noise, one where it is highly significant.

Where a model shines, something is known beforehand: a model errs in proportion to its light m.  The proportion is
measured on each scale for arcs and lens light apart, as the f_j that makes ``<w_j^2> = N_j + f_j^2 m^2`` most nearly
true there, and ``S_j`` is at least ``f_j^2 m^2 / N_j``; a model that is right has f = 0.  Galaxies are never quite what
their models are: of the lens's light f is at least the error that the fit assumes too, shared by the scales, and where
it outshines the noise the threshold is low.

Nothing is sharpened: the kept residual is interpolated, and no more.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as functional

from lensing_sr.errors import InputError
from lensing_sr.metrics.interpolation import apply_axes, axis_matrix, conserving_matrix
from lensing_sr.restore.starlet import smoothed

__all__ = ["RestoredResidual", "restore_residual", "shrink_residual"]

# The first smoothing is 5 pixels wide, the third 17: an arc of any of the telescopes is finer than that, and what is
# wider still (the last, smooth scale) is judged as one.
_LEVELS = 3

# Standard deviations by which the local power must exceed that of noise.  3 would do where the noise is known; sigma
# maps are off by 10 % as a rule, which shifts the power by 20 %, one of these standard deviations.  At 4, blank sky
# lets in 0.05 % of the power of its noise (a test holds it).
_THRESHOLD = 4.0

# The same where the lens galaxy's light is at least as bright as the noise; least relative error of its model, as in
# the fit (`lensing_sr.fit.coarse.LIGHT_ERROR`).
_THRESHOLD_ON_LIGHT = 1.0
_LIGHT_ERROR = 0.03

# Pixels further off than this (power over that of noise) are defects, not the model's error; steps to find its size.
_OUTLIER, _ITERATIONS = 30.0, 6
# Standard deviations by which the measured proportion is lowered, for noise alone must not look like a model's error;
# by how many it is raised where the question is how wrong the model may be.
_SURE, _PERHAPS = 2.0, 1.0

# A pixel belongs to arcs that are established, however faint, if they shine there with this share of their peak.
_FAIR_SHARE = 0.1

# Least share of the noise that a model is taken to leave.
_LEAST_LEFT = 0.2

# Correlations reach a few pixels and the widest kernel 61: impulse responses fit on this periodic square.
_RESPONSE_SIZE = 128


@dataclass(frozen=True)
class RestoredResidual:
    """What `restore_residual` returns.

    Attributes
    ----------
    correction : torch.Tensor
        To be added to the fine model, shape ``(batch, fine ny, fine nx)``, flux per fine pixel.
    uncertainty : torch.Tensor
        Its standard deviation, same shape and unit.
    kept : torch.Tensor
        The part of the residual that was kept, on the input grid, shape ``(batch, ny, nx)``, flux per input pixel.
    """

    correction: torch.Tensor
    uncertainty: torch.Tensor
    kept: torch.Tensor


def _levels(shape, wanted):
    """As many levels as the image is wide enough for (a reflection must not reach the opposite edge)."""
    levels = 0
    while levels < wanted and 2 * 2**levels < min(shape):
        levels += 1
    return levels


@lru_cache(maxsize=16)
def _responses(levels):
    """Impulse responses of the wavelet scales, ``(levels + 1, size, size)``, and of the windows of the local power."""
    size = _RESPONSE_SIZE
    impulse = torch.zeros(1, size, size, dtype=torch.float64)
    impulse[0, size // 2, size // 2] = 1
    smooth, kernels = impulse, []
    for level in range(levels):
        smoother = smoothed(smooth, level)
        kernels.append((smooth - smoother)[0])
        smooth = smoother
    kernels.append(smooth[0])
    windows = [_window(impulse, scale, levels)[0] for scale in range(levels + 1)]
    return torch.stack(kernels), torch.stack(windows)


def _window(power, scale, levels):
    """Average the power of a scale over a window twice the size of its wavelet.

    Smaller windows follow noise (their power scatters by 40 %, that of these by 20 %), larger ones lose what is local:
    both are worse, on simulations with substructure as on withheld pixels of real lenses.
    """
    if levels:
        for level in (scale, scale + 1):
            power = smoothed(power, min(level, levels - 1))
    return power


@lru_cache(maxsize=64)
def _noise_statistics(levels, correlation, scale, binned):
    """What noise of unit variance does to the scales.

    Returns the variance of each scale, the standard deviation of its local power, and the covariances between scales on
    the fine grid (fine pixel fluxes), so that the noise let in with weights a is ``sum_jk a_j a_k gram_jk``, and how
    many coefficients of a scale are as good as one.
    """
    size = _RESPONSE_SIZE
    kernels, windows = _responses(levels)
    spectra, window_spectra = torch.fft.rfft2(kernels), torch.fft.rfft2(windows)
    # neighbours correlate by `correlation`, diagonal ones by its square and so on: short-ranged, as drizzling leaves it
    lag = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    noise = torch.fft.rfft2(correlation ** (lag[:, None] ** 2 + lag[None, :] ** 2)).real.clamp_min(0)
    covariance = torch.fft.irfft2(spectra.abs() ** 2 * noise, s=(size, size))
    variance = covariance[:, 0, 0]
    # the power at two places of Gaussian noise covaries by twice their correlation squared
    alike = ((covariance / variance[:, None, None]) ** 2).sum(dim=(-2, -1))
    overlap = torch.fft.irfft2(window_spectra.abs() ** 2, s=(size, size))
    spread = (2 * (covariance / variance[:, None, None]) ** 2 * overlap).sum(dim=(-2, -1)).sqrt()
    matrix = _matrix(size, scale, binned)
    filtered = torch.fft.irfft2(spectra * noise, s=(size, size))
    fine, fine_filtered = apply_axes(kernels, matrix, matrix), apply_axes(filtered, matrix, matrix)
    # one impulse, summed over the fine pixels, is the mean over the scale^2 places of a fine pixel in a coarse one
    gram = torch.einsum("jyx,kyx->jk", fine, fine_filtered) / scale**2
    return variance, spread, gram, alike


def _matrix(n, scale, binned):
    return conserving_matrix(n, scale) if binned else axis_matrix(n, scale, "cubic_spline") / scale


def _fill(residual, variance, ignore):
    """Bridge ignored pixels: the mean of their good neighbours where there are any, no residual elsewhere."""
    good = (~ignore).to(residual.dtype)
    residual = torch.where(ignore, 0.0, residual)
    variance = torch.where(ignore, 0.0, variance)
    weight = smoothed(good, 0)
    typical = variance.sum(dim=(-2, -1), keepdim=True) / good.sum(dim=(-2, -1), keepdim=True).clamp_min(1)
    near = weight > 0
    weight = weight.clamp_min(1e-6)
    residual = torch.where(ignore, torch.where(near, smoothed(residual, 0) / weight, 0.0), residual)
    return residual, torch.where(ignore, torch.where(near, smoothed(variance, 0) / weight, typical), variance)


def _proportion(power, light2, alike):
    """Square of the proportion f of a model's error, ``(batch, 1, 1)``: what is sure of it, and what may well be.

    Both are so many standard deviations from the likelihood's best f^2.  ``power`` is that of the residual over that of
    noise, ``light2`` the square of the light over the latter, 0 where there is none, ``alike`` the number of
    coefficients that noise makes as good as one.
    """
    known = light2 > 0
    excess = torch.where(known, power.clamp_max(_OUTLIER) - 1.0, torch.zeros_like(power))
    share = torch.zeros_like(power[:, :1, :1])
    for _ in range(_ITERATIONS):
        weight = light2 / (1.0 + share * light2) ** 2
        share = ((excess * weight).sum(dim=(1, 2), keepdim=True)
                 / (light2 * weight).sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)).clamp_min(0.0)
    grown = 1.0 + share * light2
    weight = light2 / grown**2
    scatter = (2.0 * alike * (weight * grown).square().sum(dim=(1, 2), keepdim=True)).sqrt()
    scatter = scatter / (light2 * weight).sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)
    return (share - _SURE * scatter).clamp_min(0.0), share + _PERHAPS * scatter


def _classes(model, variance):
    """Light of arcs and of the lens galaxy where each stands out; error assumed; where the galaxy outshines noise."""
    if model is None:
        return (), (), None
    sigma = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
    arcs, light = (part.to(variance) for part in model)
    on_arcs = _stands_out(arcs, variance)
    on_light = (light / sigma > 1.0) & ~on_arcs
    zero = torch.zeros_like(arcs)
    measured = torch.where(on_arcs, arcs, zero), torch.where(on_light, light, zero)
    return measured, (_LIGHT_ERROR * light,), (light / sigma).clamp(0.0, 1.0)


def _doubt(doubt, spread, model, variance, established):
    """Variance in doubt, in units of that of noise on each scale: off the arcs at least what may hide.

    Of faint arcs no pixel stands out, and yet a model that is established tells where they are and how bright.
    """
    hidden = (spread / (1.0 + spread)).to(doubt)[:, None, None, None]
    raised = torch.maximum(doubt, hidden.expand_as(doubt))
    if model is None:
        return raised
    arcs = model[0].to(variance)
    known = _stands_out(arcs, variance)
    return torch.where(known | _within(arcs) if established else known, doubt, raised)


def _within(arcs):
    """Where the arcs' light, averaged over 3 x 3 pixels, is a fair share of their brightest."""
    smooth = _averaged(arcs)
    return smooth > _FAIR_SHARE * smooth.amax(dim=(-2, -1), keepdim=True)


def _stands_out(light, variance):
    """Where light, averaged over 3 x 3 pixels, exceeds the noise."""
    sigma = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
    return _averaged(light / sigma) > 1.0


def _averaged(light):
    return functional.avg_pool2d(light[:, None], 3, 1, 1)[:, 0]


def _shrink(residual, variance, levels, statistics, threshold, model=None, leverage=None):
    """The kept residual; of each scale the variance in doubt over that of noise, ``(levels + 1, batch, ny, nx)``."""
    unit_variance, spread, _, alike = statistics
    tiny = torch.finfo(residual.dtype).tiny
    classes, assumed, galaxy = _classes(model, variance)
    if galaxy is not None:
        threshold = threshold + (_THRESHOLD_ON_LIGHT - threshold) * galaxy
    left = variance if leverage is None else variance * (1.0 - leverage.to(variance)).clamp(_LEAST_LEFT, 1.0)
    smooth, smooth_variance, kept, doubts = residual, left, torch.zeros_like(residual), []
    for scale in range(levels + 1):
        if scale < levels:
            smoother = smoothed(smooth, scale)
            wavelet, smooth = smooth - smoother, smoother
            smooth_variance = smoothed(smooth_variance, scale)
        else:
            wavelet = smooth
        # noise varies slowly compared with the wavelet, so that its variance is that of unit noise times the local mean
        noise = (smooth_variance * float(unit_variance[scale])).clamp_min(tiny)
        power = wavelet**2 / noise
        excess = (_window(power, scale, levels) - (1 + threshold * float(spread[scale]))).clamp_min(0)
        likely = excess
        for light in classes:
            light2 = light.square() / noise
            sure, perhaps = _proportion(power, light2, float(alike[scale]))
            excess, likely = torch.maximum(excess, sure * light2), torch.maximum(likely, perhaps * light2)
        for error in assumed:
            error2 = error.square() / (noise * (levels + 1))
            excess, likely = torch.maximum(excess, error2), torch.maximum(likely, error2)
        weight = excess / (excess + 1)
        kept = kept + weight * wavelet
        # what is left out of a signal as strong as it is likely to be, and the noise that came in
        doubts.append((1 - weight) ** 2 * likely + weight**2)
    return kept, torch.stack(doubts)


def _checked(residual, sigma, mask, correlation):
    if residual.ndim != 3:
        raise InputError("residual", "must have the shape (batch, ny, nx)", tuple(residual.shape), "add an axis")
    if not 0 <= correlation < 1:
        raise InputError("correlation", "must be at least 0 and below 1", correlation)
    sigma = torch.as_tensor(sigma, dtype=residual.dtype, device=residual.device)
    sigma = _expanded("sigma", sigma, residual.shape)
    ignore = ~(torch.isfinite(residual) & torch.isfinite(sigma) & (sigma > 0))
    if mask is not None:
        mask = torch.as_tensor(mask, dtype=torch.bool, device=residual.device)
        ignore = ignore | _expanded("mask", mask, residual.shape)
    return sigma, ignore


def _expanded(name, tensor, shape):
    try:
        return tensor.expand(shape)
    except RuntimeError:
        raise InputError(name, f"must fit a residual of shape {tuple(shape)}", tuple(tensor.shape)) from None


def shrink_residual(residual, sigma, *, model=None, mask=None, correlation=0.0, threshold=_THRESHOLD, levels=_LEVELS):
    """Keep of a residual what stands out from the noise, on its own grid.

    Parameters
    ----------
    residual : torch.Tensor
        Data minus model, shape ``(batch, ny, nx)``, flux per pixel.
    sigma : torch.Tensor or float
        Standard deviation of the noise, a shape that broadcasts to it, same unit.
    model : tuple of torch.Tensor, optional
        Arcs and lens light of the model, shaped as the residual.
    mask : torch.Tensor, optional
        True = ignore, a shape that broadcasts to it.  Ignored pixels take the mean of their neighbours.
    correlation : float
        Correlation of the noise of adjacent pixels, 0 <= correlation < 1.
    threshold : float
        How many standard deviations the local power must exceed that of noise.
    levels : int
        Number of wavelet scales besides the smooth rest.

    Returns
    -------
    torch.Tensor
        Of shape ``(batch, ny, nx)``.

    Raises
    ------
    InputError
        If a shape does not fit or the correlation is not in [0, 1).

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.restore.residual import shrink_residual
    >>> spot = torch.zeros(1, 32, 32)
    >>> spot[0, 15:18, 15:18] = 100.0
    >>> kept = shrink_residual(spot, 1.0)
    >>> bool(kept[0, 16, 16] > 99), bool(kept[0, 3, 3].abs() < 0.1)
    (True, True)
    """
    return restore_residual(
        residual, sigma, 1, model=model, mask=mask, correlation=correlation, threshold=threshold, levels=levels
    ).kept


def restore_residual(
    residual, sigma, scale, *, model=None, established=False, leverage=None, mask=None, binned=True, correlation=0.0,
    threshold=_THRESHOLD, levels=_LEVELS,
):  # fmt: skip
    """Bring to the fine grid what the model missed, as far as it is significant.

    Parameters
    ----------
    residual : torch.Tensor
        Data minus model on the input grid, shape ``(batch, ny, nx)``, flux per input pixel.
    sigma : torch.Tensor or float
        Standard deviation of the noise, a shape that broadcasts to it, same unit.
    scale : float
        Fine pixels an input pixel, at least 1; need not be an integer.
    model : tuple of torch.Tensor, optional
        Arcs and lens light of the model, shaped as the residual: what is known of where and how much it errs.
    established : bool
        Whether there is no doubt that the model's arcs are what shines there.
    leverage : torch.Tensor, optional
        How much each pixel decided its own model value, 0 to 1, shaped as the residual: a model that follows its data
        leaves less noise in the residual, by ``1 - leverage``.
    mask : torch.Tensor, optional
        True = ignore, a shape that broadcasts to it.  Ignored pixels take the mean of their neighbours.
    binned : bool
        How input pixels come about.  True: they are sums over the fine pixels inside them (the PSF acts before the
        binning), so the correction summed over ``scale x scale`` gives `kept` back exactly.  False: they are samples at
        their centres (the PSF kernel is given at the detector's sampling), so the correction is a spline through
        ``kept / scale**2`` at those centres.
    correlation : float
        Correlation of the noise of adjacent pixels, 0 <= correlation < 1.
    threshold : float
        How many standard deviations the local power must exceed that of noise.
    levels : int
        Number of wavelet scales besides the smooth rest; fewer are used where the image is too small for them.

    Returns
    -------
    RestoredResidual
        ``correction`` and ``uncertainty`` on the fine grid, ``kept`` on the input grid.

    Raises
    ------
    InputError
        If a shape does not fit, the scale is below 1 or the correlation is not in [0, 1).

    Notes
    -----
    The uncertainty on each scale is :math:`(1 - a)^2 S + a^2 N`: what is left out of a signal of power S, and the noise
    N that came in; S N / (S + N) where a is Wiener's weight of that very S.  Where noise may have hidden the model's
    error, S is larger than the one that a was made of: on the light of arcs and lens the measured proportion and one
    standard deviation of it more, elsewhere the standard deviation of the local power.  Arcs that do not stand out from
    the noise count as arcs if they are established, where they are at least a tenth as bright as at their peak.

    Examples
    --------
    >>> import torch
    >>> from lensing_sr.restore.residual import restore_residual
    >>> spot = torch.zeros(1, 32, 32)
    >>> spot[0, 15:18, 15:18] = 100.0
    >>> restored = restore_residual(spot, 1.0, 2)
    >>> restored.correction.shape
    torch.Size([1, 64, 64])
    >>> again = restored.correction.reshape(1, 32, 2, 32, 2).sum(dim=(2, 4))
    >>> bool((again - restored.kept).abs().max() < 1e-3)
    True
    """
    sigma, ignore = _checked(residual, sigma, mask, correlation)
    levels = _levels(residual.shape[-2:], levels)
    if levels:
        filled, variance = _fill(residual, sigma**2, ignore)
    else:
        filled, variance = torch.where(ignore, 0.0, residual), torch.where(ignore, 0.0, sigma**2)
    statistics = _noise_statistics(levels, float(correlation), float(scale), bool(binned))
    kept, doubts = _shrink(filled, variance, levels, statistics, threshold, model, leverage)
    roots = _doubt(doubts, statistics[1], model, variance, established).sqrt()
    ny, nx = residual.shape[-2:]
    correction = apply_axes(kept, _matrix(ny, scale, binned), _matrix(nx, scale, binned))
    gram = statistics[2].to(kept)
    let_in = variance * torch.einsum("j...,jk,k...->...", roots, gram, roots)
    fine_variance = apply_axes(let_in, axis_matrix(ny, scale, "bilinear"), axis_matrix(nx, scale, "bilinear"))
    return RestoredResidual(correction, fine_variance.clamp_min(0).sqrt(), kept)
