# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Members of a population painted: noise-free images, as bright as their signal-to-noise ratio asks."""

import dataclasses
import math

import numpy as np
import torch

from lensing_sr.forward.binning import bin_sum
from lensing_sr.instruments import Instrument
from lensing_sr.simulation._rays import Lens, some_of
from lensing_sr.simulation.detector import noise_sigma
from lensing_sr.simulation.laws import Pareto
from lensing_sr.simulation.presets import Preset
from lensing_sr.simulation.scene import Canvas, psf_kernels
from lensing_sr.simulation.selection import flux_for_signal_to_noise, total_signal_to_noise

__all__ = ["MEASURED_UNITS", "PARTS", "Painter"]

#: What light there is; the sum of the four is the model.
PARTS = ("arcs", "lens_light", "neighbours", "other")
#: Numbers that come from the images, with their units.
MEASURED_UNITS = {
    "source_flux": "electron / s",
    "lensed_flux": "electron / s",
    "lens_flux": "electron / s",
    "source_magnitude": "mag",
    "lensed_magnitude": "mag",
    "lens_magnitude": "mag",
    "magnification": "",
    "arc_sn": "",
}


@dataclasses.dataclass(frozen=True)
class Painter:
    """Paints `lensing_sr.simulation._members.Members`.

    Attributes
    ----------
    instrument : Instrument
        The telescope.
    preset : Preset
        How bright arcs and lens galaxies are.
    canvas : Canvas
        The fine grid.
    scale : int
        Fine pixels a detector pixel and axis.
    lens_light, psf_error : bool
        Whether there is light of the lens galaxy; whether the true PSF is another than the one given.
    device, dtype
        Of the images.
    """

    instrument: Instrument
    preset: Preset
    canvas: Canvas
    scale: int
    lens_light: bool
    psf_error: bool
    device: torch.device
    dtype: torch.dtype

    def kernels(self, numbers):
        """The PSF as given and as it is, ``(n, k, k)`` on fine pixels."""
        half, pixel = self.canvas.margin, self.canvas.pixel
        fwhm = torch.from_numpy(numbers["psf_fwhm"])
        if half == 0:
            return (torch.ones(len(fwhm), 1, 1, dtype=self.dtype, device=self.device),) * 2
        error, e1, e2 = (torch.from_numpy(numbers[f"psf_{name}"]) for name in ("error", "e1", "e2"))
        profile, beta = self.instrument.psf_profile, self.instrument.psf_beta
        given = psf_kernels(profile, fwhm, 0 * e1, 0 * e2, pixel, half, beta)
        true = psf_kernels(profile, fwhm * (1.0 + error), e1, e2, pixel, half, beta) if self.psf_error else given
        return tuple(kernel.to(device=self.device, dtype=self.dtype) for kernel in (given, true))

    def deflection(self, members):
        """True deflection at the fine pixel centres of the field."""
        m, (rows, columns) = self.canvas.margin, self.canvas.shape
        x, y = self.canvas.x[..., m : m + columns], self.canvas.y[:, m : m + rows]
        index = np.flatnonzero(members.numbers["is_lens"])
        alpha = torch.zeros((2, len(members.numbers["is_lens"]), rows, columns), dtype=self.dtype, device=self.device)
        if len(index):
            alpha[:, torch.from_numpy(index).to(self.device)] = torch.stack(self._lens(members, index).deflection(x, y))
        return alpha

    def rendered(self, members, kernels, wanted):
        """Noise-free images, the noise, and the numbers measured on them.

        Parameters
        ----------
        members : Members
            What to paint.
        kernels : torch.Tensor
            True PSF of each, ``(n, k, k)``.
        wanted : set of str
            Keys without which a part may be left out.

        Returns
        -------
        dict
            ``HR_model``, ``LR_model``, ``noise``, the `PARTS` and `MEASURED_UNITS`.
        """
        canvas, scale, instrument = self.canvas, self.scale, self.instrument
        feature = self._feature(members)
        magnification = feature.sum((1, 2), dtype=torch.float64)
        layers = [feature]
        if self.lens_light:
            layers.append(self._galaxy(members))
        crowd = None
        if members.neighbours is not None and bool(members.neighbours.number.any()):
            crowd = members.neighbours.to(self.device, self.dtype)
            layers.append(canvas.compact(crowd, crowd.lights.x, crowd.lights.y, crowd.lights.flux > 0))
        layers = canvas.blur(torch.stack(layers, 1), kernels)
        fine = {"feature": layers[:, 0]}
        dark = torch.zeros_like(fine["feature"])
        fine["lens_light"] = layers[:, 1] if self.lens_light else dark
        fine["neighbours"] = dark if crowd is None else layers[:, -1]
        unit = bin_sum(fine["feature"], scale)
        flux, lens_flux = self._fluxes(members, unit, magnification, fine)
        column = lambda value: value.to(self.dtype)[:, None, None]
        fine["feature"], fine["lens_light"] = fine["feature"] * column(flux), fine["lens_light"] * column(lens_flux)
        is_lens = column(self._tensor(members.numbers["is_lens"]))
        parts = {
            "arcs": fine["feature"] * is_lens,
            "lens_light": fine["lens_light"],
            "neighbours": fine["neighbours"],
            "other": fine["feature"] * (1.0 - is_lens),
        }
        values = {"HR_model": fine["feature"] + fine["lens_light"] + fine["neighbours"]}
        values["LR_model"] = bin_sum(values["HR_model"], scale)
        values["noise"] = noise_sigma(values["LR_model"], instrument.background_rms(), instrument.total_exposure)
        for part in PARTS:
            values[f"{part}_HR"] = parts[part]
            if f"{part}_LR" in wanted:
                values[f"{part}_LR"] = bin_sum(parts[part], scale)
        if "arc_sn" in wanted:
            values["arc_sn"] = total_signal_to_noise(unit * column(flux), values["noise"]).cpu()
        flux, lens_flux, magnification = flux.cpu(), lens_flux.cpu(), magnification.cpu()
        values |= {"source_flux": flux, "lensed_flux": flux * magnification, "lens_flux": lens_flux}
        values["magnification"] = magnification
        for name in ("source", "lensed", "lens"):
            known = instrument.zero_point is not None
            given = values[f"{name}_flux"]
            values[f"{name}_magnitude"] = instrument.magnitude(given) if known else torch.full_like(given, math.nan)
        return values

    def _feature(self, members):
        """Arcs of a source of unit flux, and of galaxies that are no lenses what could be taken for them."""
        canvas, numbers = self.canvas, members.numbers
        image = torch.empty(
            (len(numbers["is_lens"]), canvas.y.numel(), canvas.x.numel()), dtype=self.dtype, device=self.device
        )
        lenses, others = np.flatnonzero(numbers["is_lens"]), np.flatnonzero(numbers["is_lens"] == 0)
        if len(lenses):
            source = members.source[lenses].to(self.device, self.dtype)
            # cusps: the centre with its bulge, and the companion where there is one
            there = source.parts.flux[:, 1] > 0
            peaks = (
                torch.stack((centre, torch.where(there, places[:, 1], centre)), 1)
                for centre, places in ((source.x, source.parts.x), (source.y, source.parts.y))
            )
            reach = self._tensor(members.reach[lenses])
            image[lenses] = canvas.lensed(self._lens(members, lenses), source, reach, tuple(peaks))
        if len(others):
            image[others] = canvas.smooth(members.negatives.other[others].to(self.device, self.dtype))
        return image

    def _galaxy(self, members):
        """Galaxies in the middle, of unit flux, with what lies around them."""
        image = self._middle(members)
        if members.envelope is None:
            return image
        share = self._tensor(members.envelope_share)[:, None, None]
        return image + share * (self.canvas.smooth(members.envelope.to(self.device, self.dtype)) - image)

    def _middle(self, members):
        """Lens galaxies of unit flux, and what is in the middle of the others."""
        light, canvas = members.light.to(self.device, self.dtype), self.canvas
        others = np.flatnonzero(members.numbers["is_lens"] == 0)
        x, y = light.x[:, :1], light.y[:, :1]
        if not len(others):
            return canvas.compact(light, x, y)
        lenses = np.flatnonzero(members.numbers["is_lens"])
        image = torch.empty((len(light), canvas.y.numel(), canvas.x.numel()), dtype=self.dtype, device=self.device)
        if len(lenses):
            image[lenses] = canvas.compact(light[lenses], x[lenses], y[lenses])
        central = members.negatives.central[others].to(self.device, self.dtype)
        image[others] = canvas.compact(central, x[others], y[others])
        return image

    def _fluxes(self, members, unit, magnification, fine):
        """Flux of the sources (or their stand-ins) and of the lens galaxies, which may hang together."""
        instrument, law = self.instrument, self.preset.arc_sn
        exposure, background = instrument.total_exposure, instrument.background_rms()
        galaxy = bin_sum(fine["lens_light"], self.scale)
        there = bin_sum(fine["neighbours"], self.scale)
        brightness = torch.from_numpy(members.lens_brightness).to(self.device)
        column = lambda value: value.to(self.dtype)[:, None, None]
        growing = unit
        if self.preset.lens_flux == "ratio":
            ratio = brightness * magnification
            growing = growing + column(ratio) * galaxy
        else:
            lens_flux = instrument.flux(brightness) * float(self.lens_light)
            there = there + column(lens_flux) * galaxy
        fixed = background**2 + there / exposure
        target = torch.from_numpy(law(members.sn_deviate)).to(self.device)
        solve = lambda target: flux_for_signal_to_noise(target, unit, fixed, growing / exposure)
        if isinstance(law, Pareto):
            # counts in flux, above the flux of the least S/N
            flux = solve(torch.full_like(target, law.least)) * (target / law.least)
        else:
            flux = solve(target)
        if self.preset.lens_flux == "ratio":
            lens_flux = flux * ratio * float(self.lens_light)
        return flux, lens_flux

    def _lens(self, members, index):
        """The lenses of some images."""
        names = {"x": "x_lens", "y": "y_lens"}
        fields = ("theta_E", "gamma", "e1", "e2", "x", "y", "gamma1", "gamma2")
        values = {name: self._tensor(members.numbers[names.get(name, name)][index])[:, None, None] for name in fields}
        perturbers = members.perturbers
        if perturbers is not None:
            perturbers = some_of(perturbers, index)
            # they are drawn about the lens
            centre = (torch.from_numpy(members.numbers[f"{axis}_lens"][index])[:, None] for axis in "xy")
            x, y = (place + shift for place, shift in zip((perturbers.x, perturbers.y), centre, strict=True))
            perturbers = dataclasses.replace(perturbers, x=x, y=y).to(self.device, self.dtype)
        return Lens(**values, perturbers=perturbers)

    def _tensor(self, array):
        return torch.from_numpy(array).to(device=self.device, dtype=self.dtype)
