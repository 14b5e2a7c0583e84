# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""From a batch of images to their results: fit, see finely, restore, and put units and coordinates back on."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

from lensing_sr.errors import InputError
from lensing_sr.fit.lens_fit import fit_lenses
from lensing_sr.fit.objective import Solution
from lensing_sr.fit.rendering import render, tolerance
from lensing_sr.fit.uncertainty import image_variance, joint_covariance
from lensing_sr.forward.formation import ImageFormation, sample_positions
from lensing_sr.forward.model import LENS, LIGHT, SOURCE, deflection
from lensing_sr.lensing.deflection import DeflectionField
from lensing_sr.light.sersic import sersic_flux
from lensing_sr.light.sersic_source import SersicSource
from lensing_sr.quality import Quality, judge
from lensing_sr.restore.residual import restore_residual
from lensing_sr.restore.target_psf import blur, matching_kernel, target_kernel
from lensing_sr.result import SuperResolution
from lensing_sr.solvers.linear import nonnegative_least_squares

__all__ = ["assemble"]

#: More fine pixels than this are refused rather than left to exhaust the memory.
LARGEST_OUTPUT = 40_000_000
#: Supersampling of the fit where it is free; the images are evaluated more finely where they need it.
FIT_SUPERSAMPLING = 2
#: Fine pixels of the source plane an output pixel.
SOURCE_SCALE = 2


@dataclass
class _Fitted:
    """A fit with its images' frame and sampling: what rendering needs."""

    fit: object
    parameters: torch.Tensor  # in the images' frame
    amplitudes: torch.Tensor
    covariance: torch.Tensor
    supersampling: object  # "auto" or int


def assemble(batch, *, scale, lens_light, supersampling, target_psf):
    """Fit a batch and build a `SuperResolution` for each of its images.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    scale : float
        Input pixels over output pixels.
    lens_light : bool
        Whether to model the lens galaxy's light.
    supersampling : "auto" or int
        As in `LensingSuperResolver`.
    target_psf : "same", Quantity or array
        As in `LensingSuperResolver`.

    Returns
    -------
    list of SuperResolution
    """
    fine_grids = [image.grid.upsampled(scale) for image in batch.images]
    pixels = math.prod(fine_grids[0].shape)
    if pixels > LARGEST_OUTPUT:
        raise InputError(
            "scale",
            f"must leave at most {LARGEST_OUTPUT:g} output pixels",
            f"{scale:g} for an image of {batch.images[0].shape[0]} x {batch.images[0].shape[1]} pixels",
            "cut the lens out (--cutout RA DEC SIZE), or use a smaller scale",
        )
    fitted = _fit(batch, lens_light, supersampling)
    field, widths = batch.field, fitted.fit.objective.widths
    seen = (fitted.parameters, fitted.amplitudes, widths)
    limit = tolerance(field.weight, field.pixel**2) if supersampling == "auto" else None
    native = field.formation(supersampling)
    model = sum(render(*seen, native, limit))
    sky = fitted.amplitudes[:, -1]
    model = model + sky[:, None, None].to(model)

    pixel = float(batch.images[0].grid.pixel_scale.value)
    kernels = [target_kernel(target_psf, image.psf, pixel, scale) for image in batch.images]
    fine = fine_grids[0]
    samples = native.oversampling * native.supersampling
    finer = 1 if limit is not None else math.ceil(samples / scale)
    formation = _fine_formation(field, fine, scale, [kernel for kernel, _ in kernels], finer)
    arcs, light = render(*seen, formation, limit)

    residual = field.data - model
    binned = limit is not None or samples > 1
    corrections, spreads = _restore(batch, residual, scale, binned=binned, kernels=kernels, target=target_psf)
    variance = _model_variance(batch, fitted, fine, scale, kernels) + spreads**2
    alpha = deflection(
        fitted.parameters, *sample_positions(fine.shape, fine.matrix, fine.origin, device=fitted.parameters.device)
    )

    def host(tensor):
        return tensor.detach().cpu().double().numpy()

    arrays = {
        "arcs": host(arcs),
        "lens_light": host(light),
        "image": host(arcs + light + corrections),
        "sigma": host(variance.clamp_min(0.0).sqrt()),
        "model": host(model),
        "alpha_x": host(alpha[0]),
        "alpha_y": host(alpha[1]),
    }
    return [
        _result(batch, fitted, i, {name: array[i] for name, array in arrays.items()}, fine_grids[i], scale, kernels[i])
        for i in range(len(batch.images))
    ]


def _fit(batch, lens_light, supersampling):
    """Fit the batch and settle how finely its images must be sampled."""
    observation = batch.observation
    free = supersampling == "auto"
    fit = fit_lenses(
        observation,
        batch.centre,
        lens_light=lens_light,
        correlation=batch.correlation,
        psf_fwhm=batch.psf_fwhm,
        arc_radius=batch.arc_radius,
        supersampling=FIT_SUPERSAMPLING if free else supersampling,
    )
    images = torch.arange(len(observation), device=observation.data.device)
    if free:
        fit.solution = _rescaled(fit, observation)
    covariance = joint_covariance(fit.objective, fit.parameters, images)
    parameters = fit.parameters.clone()
    order = LENS + SOURCE + LIGHT
    for j, name in enumerate(order[: parameters.shape[1]]):
        if name.startswith(("x_", "y_")):
            parameters[:, j] += batch.shift[:, "xy".index(name[0])]
    return _Fitted(fit, parameters, fit.solution.amplitudes, covariance, supersampling)


def _rescaled(fit, observation):
    """The solution with arcs and light sampled to convergence: each gets one factor, and the sky its best level."""
    weight, amplitudes = fit.objective.weight, fit.solution.amplitudes
    parts = render(
        fit.parameters,
        amplitudes,
        fit.objective.widths,
        observation.formation("auto"),
        tolerance(observation.weight, observation.pixel**2),
    )
    columns = torch.stack([*parts, torch.ones_like(weight)], dim=1)
    weighted = (columns * weight[:, None]).flatten(2).double()
    target = (observation.data * weight).flatten(1).double()
    gram, rhs = weighted @ weighted.transpose(1, 2), (weighted @ target[:, :, None])[:, :, 0]
    factors, _ = nonnegative_least_squares(gram, rhs, torch.tensor([False, False, True], device=gram.device))
    source, gaussians = amplitudes[:, :1] * factors[:, :1], amplitudes[:, 1:-1] * factors[:, 1:2]
    amplitudes = torch.cat([source, gaussians, factors[:, 2:]], dim=1)
    arcs, light, sky = (columns * factors[:, :, None, None].to(columns)).unbind(1)
    left = target - (factors[:, None] @ weighted)[:, 0]
    return Solution(amplitudes, left.square().sum(dim=1), arcs + light + sky, arcs, light)


def _fine_formation(field, grid, scale, kernels, supersampling):
    """The operator that sees the sky through the output's PSF on (a part of) the output's pixels."""
    if kernels[0] is None:
        kernel = None
    elif all(np.array_equal(kernel, kernels[0]) for kernel in kernels[1:]):
        kernel = torch.as_tensor(kernels[0])
    else:
        kernel = torch.as_tensor(np.stack(kernels))
    return ImageFormation(
        grid.shape,
        field.matrix / scale,
        grid.origin,
        kernel,
        1,
        supersampling,
        dtype=field.data.dtype,
        device=field.data.device,
    )


def _restore(batch, residual, scale, *, binned, kernels, target):
    """What the model missed, on the output's pixels, with its uncertainty."""
    field = batch.field
    sigma = torch.where(field.weight > 0, field.weight, torch.ones_like(field.weight)).reciprocal()
    corrections, spreads = [], []
    for i, image in enumerate(batch.images):
        restored = restore_residual(
            residual[i : i + 1],
            sigma[i : i + 1],
            scale,
            mask=field.weight[i : i + 1] <= 0,
            binned=binned,
            correlation=round(min(max(float(batch.correlation[i]), 0.0), 0.95), 2),
        )
        correction, spread = restored.correction, restored.uncertainty
        if not isinstance(target, str) and image.psf is not None:
            pixel = float(image.grid.pixel_scale.value)
            match = matching_kernel(image.psf.kernel_at(pixel, scale), kernels[i][0])
            correction = blur(correction, torch.as_tensor(match).to(correction))
        corrections.append(correction)
        spreads.append(spread)
    return torch.cat(corrections), torch.cat(spreads)


def _model_variance(batch, fitted, fine, scale, kernels):
    """Variance of the model on the output's pixels; computed where the fit looked, zero elsewhere."""
    device = batch.field.data.device
    variance = torch.zeros((len(batch.images), *fine.shape), dtype=batch.field.data.dtype, device=device)
    for i, prepared in enumerate(batch.prepared):
        rows, columns = (
            slice(math.floor(part.start * scale), min(math.ceil(part.stop * scale), n))
            for part, n in zip(prepared.slices, fine.shape, strict=True)
        )
        window = fine.cropped(rows, columns)
        formation = _fine_formation(batch.field, window, scale, [kernels[i][0]], 1)
        part = slice(i, i + 1)
        variance[i, rows, columns] = image_variance(
            fitted.fit.objective, fitted.parameters[part], fitted.amplitudes[part], fitted.covariance[part], formation
        )[0]
    return variance


def _table(values, errors, unit):
    """Parameters as the astropy table of the contract."""
    units = {"amplitude": unit / u.arcsec**2}
    angles = ("theta_E", "r_eff", "x_", "y_")
    table = Table(
        {
            "name": list(values),
            "value": list(values.values()),
            "error": [errors.get(name, 0.0) for name in values],
            "unit": [str(units.get(name, "arcsec" if name.startswith(angles) else "")) for name in values],
        }
    )
    table.add_index("name")
    return table


def _values(fitted, i, per_area, pixel_area):
    """Parameters and errors by their public names, angles in arcsec."""
    p, spread = fitted.parameters[i].tolist(), fitted.covariance[i].diagonal().clamp_min(0.0).sqrt().tolist()
    values, errors = {}, {}
    for name, value, error in zip(LENS + SOURCE + LIGHT, p, spread, strict=False):
        if name.startswith("log_"):
            name, value = name.removeprefix("log_"), math.exp(value)
            error *= value
        values[name], errors[name] = value, error
        if name == "theta_E":
            values["gamma"], errors["gamma"] = 2.0, 0.0
    amplitudes = fitted.amplitudes[i]
    # images per area hold brightness itself; the fit took them as flux a pixel
    per_pixel = pixel_area if per_area else 1.0
    values["amplitude"] = float(amplitudes[0]) * per_pixel
    errors["amplitude"] = spread[len(p)] * per_pixel
    return values, errors


def _judge(fitted, values, i, prepared):
    """Flags of one image's fit."""
    fit = fitted.fit
    weight = fit.objective.weight[i] * fit.temperature[i].sqrt()
    normalised = (fit.objective.data[i] - fit.solution.model[i]) * weight
    bright = (fit.solution.arcs[i] * weight > 1.0) & (weight > 0)
    power, arc_power = normalised[bright].square(), (fit.solution.arcs[i] * weight)[bright].square()
    seen = bool(bright.any())
    p = fit.parameters[i]
    near = 1e-3
    at_bound = [
        name.removeprefix("log_")
        for j, name in enumerate((LENS + SOURCE)[: len(p)])
        if float(p[j] - fit.priors.lower[i, j]) < near or float(fit.priors.upper[i, j] - p[j]) < near
    ]
    rivals = [
        (float(mode[0].exp()), float(cost - fit.mode_costs[i, 0]))
        for mode, cost in zip(fit.modes[i][1:], fit.mode_costs[i][1:], strict=True)
    ]
    amplitude, r_eff, n = (
        torch.tensor(value, dtype=torch.float64)
        for value in (float(fitted.amplitudes[i, 0]), values["r_eff"], values["n"])
    )
    source_flux = float(sersic_flux(amplitude, r_eff, n))
    arc_flux = float(fit.solution.arcs[i].sum())
    flags = judge(
        values,
        arc_chi2=float(power.mean()) if seen else 1.0,
        missed=float((power - 1.0).sum() / arc_power.sum()) if seen else 0.0,
        evidence=float(fit.evidence[i]),
        at_bound=at_bound,
        rivals=rivals,
        magnification=arc_flux / source_flux if source_flux > 0 else 0.0,
    )
    return list(prepared.flags) + [flag for flag in flags if flag not in prepared.flags]


def _fine_mask(mask, scale, shape):
    """Bad input pixels on the output's pixels; pixels past the input's edge are bad too."""
    rows, columns = (np.floor((np.arange(n) + 0.5) / scale).astype(int) for n in shape)
    inside = (np.arange(shape[0]) + 1 <= mask.shape[0] * scale + 1e-6)[:, None] & (
        np.arange(shape[1]) + 1 <= mask.shape[1] * scale + 1e-6
    )
    clipped = mask[np.minimum(rows, mask.shape[0] - 1)[:, None], np.minimum(columns, mask.shape[1] - 1)]
    return clipped | ~inside


def _source_image(source, fine, values, unit, area):
    """The source plane about the source, on pixels finer than the output's and in the same frame."""
    plane = fine.upsampled(SOURCE_SCALE)
    reach = max(3.0 * values["r_eff"], 0.5 * values["theta_E"])
    column, row = (float(v) for v in plane.to_pixel(values["x_source"], values["y_source"]))
    half = max(8, round(reach / float(plane.pixel_scale.value)))
    rows, columns = (
        slice(int(min(max(round(c) - half, 0), n - 2)), int(min(max(round(c) + half + 1, 2), n)))
        for c, n in ((row, plane.shape[0]), (column, plane.shape[1]))
    )
    plane = plane.cropped(rows, columns)
    x, y = (torch.as_tensor(c) for c in plane.coordinates())
    brightness = np.asarray(u.Quantity(source.evaluate(x.numpy() * u.arcsec, y.numpy() * u.arcsec)).value)
    return CCDData(brightness * (1.0 if area else plane.pixel_area.value), unit=unit, wcs=_wcs(plane)), plane


def _wcs(grid):
    """Celestial WCS of a grid, or one that is linear in arcsec, so that the pixel scale is never lost."""
    if grid.wcs is not None:
        return grid.wcs
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.crpix = [p + 1 for p in grid.origin]
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.cd = np.array(grid.matrix)
    wcs.wcs.cunit = ["arcsec", "arcsec"]
    return wcs


def _result(batch, fitted, i, arrays, fine, scale, kernel):
    """Units and coordinates back on: the `SuperResolution` of one image of the batch."""
    image, prepared = batch.images[i], batch.prepared[i]
    unit = image.unit if image.unit is not None else u.dimensionless_unscaled
    area = image.per_area
    per_fine = scale**2 if area else 1.0
    pixel_area = float(image.grid.pixel_area.value)
    values, errors = _values(fitted, i, area, pixel_area)
    table = _table(values, errors, unit if not area else unit * u.arcsec**2)
    source = SersicSource.from_components(
        values["amplitude"] * unit / (1 if area else u.arcsec**2),
        values["r_eff"] * u.arcsec,
        values["n"],
        values["x_source"] * u.arcsec,
        values["y_source"] * u.arcsec,
        values["e1_source"],
        values["e2_source"],
    )
    wcs = fine.wcs
    mask = _fine_mask(image.mask, scale, fine.shape)
    common = {"unit": unit, "wcs": wcs}
    super_resolved = CCDData(
        arrays["image"] * per_fine,
        uncertainty=StdDevUncertainty(arrays["sigma"] * per_fine),
        mask=mask,
        meta=image.header,
        psf=kernel[0],
        **common,
    )
    native = {"unit": unit, "wcs": image.grid.wcs}
    data = np.where(np.isfinite(image.data), image.data, np.nan)
    residual = data - arrays["model"]
    input_image = CCDData(
        data,
        uncertainty=StdDevUncertainty(prepared.full_noise),
        mask=image.mask,
        meta=image.header,
        **native,
    )
    fit = fitted.fit
    used = batch.observation.weight[i] > 0
    normalised = (batch.observation.data[i] - fit.solution.model[i]) * batch.observation.weight[i]
    dof = max(int(used.sum()) - fit.parameters.shape[1] - fitted.amplitudes.shape[1], 1)
    notes = list(dict.fromkeys([*image.notes, *prepared.notes, *_notes(image)]))
    quality = Quality(
        chi2=float((normalised**2).sum()) / dof,
        noise_scale=float(prepared.noise_scale),
        flags=tuple(_judge(fitted, values, i, prepared)),
        notes=tuple(notes),
        lens_evidence=float(fit.evidence[i]),
    )
    source_image, _ = _source_image(source, fine, values, unit, area)
    return SuperResolution(
        image=super_resolved,
        arcs=CCDData(arrays["arcs"] * per_fine, **common),
        lens_light=CCDData(arrays["lens_light"] * per_fine, **common),
        model=CCDData(arrays["model"], **native),
        residual=CCDData(residual, mask=image.mask, **native),
        source_image=source_image,
        deflection=DeflectionField(arrays["alpha_x"] * u.arcsec, arrays["alpha_y"] * u.arcsec, fine),
        source=source,
        parameters=table,
        quality=quality,
        sky=float(fitted.amplitudes[i, -1]),
        scale=scale,
        psf=kernel[0],
        input_image=input_image,
        meta={"name": image.name, "history": _history(image, prepared, fitted, i, kernel[1], scale)},
    )


def _notes(image):
    notes = []
    if image.psf is None:
        notes.append("no PSF: the image is taken as unblurred")
    return notes


def _history(image, prepared, fitted, i, psf_statement, scale):
    """What was done, step by step, for the header."""
    rows, columns = prepared.slices
    return [
        f"input: {image.shape[1]} x {image.shape[0]} pixels of {image.grid.pixel_scale.value:.5g} arcsec"
        + (f", unit {image.bunit_original}" if image.bunit_original else ", no unit, taken as flux a pixel"),
        f"fit region: columns {columns.start}-{columns.stop - 1}, rows {rows.start}-{rows.stop - 1} (from 0); "
        f"noise scaled by {prepared.noise_scale:.3f}",
        "model: singular isothermal ellipsoid, external shear, elliptical Sersic source"
        + (", lens light of Gaussians" if fitted.fit.objective.n_light else ", no lens light"),
        f"fit: batched Levenberg-Marquardt, supersampling {fitted.supersampling}, "
        f"chi-square divided by {float(fitted.fit.temperature[i]):.3g} for correlation and misfit",
        "residual restored where significant, scale by scale",
        psf_statement,
        f"upsampled by {scale:g}: edges shared with the input",
    ]
