# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images explained by a network: it predicts the deflection, and the source follows from that and the image."""

import math

import torch

from lensing_sr._explanation import Explanation, Verdict, misfit
from lensing_sr.errors import InputError
from lensing_sr.forward.model import LENS
from lensing_sr.lensing.nearest import nearest_sie
from lensing_sr.lensing.relens import sample_image
from lensing_sr.losses.grids import FINE
from lensing_sr.losses.observed import Deflection
from lensing_sr.losses.sersic_fit import SersicFit, SersicProblem, sersic_light
from lensing_sr.networks.symmetry import average_symmetries
from lensing_sr.quality import judge
from lensing_sr.solvers.linear import weighted_amplitudes

__all__ = ["Predicted"]

#: Samples a pixel and axis where the choice is free, of images and of the fit of the source.  A predicted field is no
#: smoother than its own pixels, two of which make one of the image's.
SUPERSAMPLING, FIT_SUPERSAMPLING = 4, 2
#: Samples of light evaluated at once.
SAMPLES = 2_000_000
#: Part of the Einstein radius by which the nearest ellipsoid is fitted inside and outside it.
ANNULUS = (0.5, 1.5)
#: Pixels by which the lens may miss the middle of the region that the network sees.
OFF_CENTRE = 2.0


class Predicted(Explanation):
    """Deflection by a network, the Sersic source behind it, and both again for each turned and mirrored copy.

    Parameters
    ----------
    batch : lensing_sr._stack.Batch
        The images.
    network : lensing_sr.networks.DeflectionNetwork
        In `eval` mode, on the device of the batch.
    lens_light : bool
        Whether the lens galaxy's light is in the images.
    supersampling : "auto" or int
        As in `LensingSuperResolver`; "auto" is 4.

    Raises
    ------
    lensing_sr.errors.InputError
        If pixels are not square.
    """

    def __init__(self, batch, network, *, lens_light, supersampling):
        image = batch.images[0]
        if not image.grid.is_square:
            rule, found = "must have square pixels for a network", "{:.4g} x {:.4g} arcsec".format(*_sides(image.grid))
            raise InputError("image", rule, found, "use method='fit'")
        self.supersampling = SUPERSAMPLING if supersampling == "auto" else supersampling
        self._batch, self._lens_light, observation = batch, lens_light, batch.observation
        self._pixel, like = observation.pixel, {"device": observation.data.device, "dtype": observation.data.dtype}
        self._shift = batch.shift.to(**like)
        self._all = torch.arange(len(observation), device=observation.data.device)
        blank = torch.tensor([prepared.sky for prepared in batch.prepared], **like)[:, None, None]
        good = observation.weight > 0
        flux = torch.where(good, observation.data - blank, 0.0)
        # what is masked says nothing: its noise is as large as it needs to be
        noise = torch.where(good, observation.weight, 1.0).reciprocal()
        noise = torch.where(good, noise, noise.amax(dim=(1, 2), keepdim=True))
        mean, copies = average_symmetries(
            network, flux, pixel_scale=self._pixel, psf_fwhm=batch.psf_fwhm, noise=noise
        )
        self._mean = Deflection(*(alpha[:, None].to(**like) for alpha in mean))
        self._copies = Deflection(*(alpha.to(**like) for alpha in copies))
        formation = observation.formation(FIT_SUPERSAMPLING if supersampling == "auto" else supersampling)
        self._sersic = self._fitted_source(self._mean, flux, formation)
        self._copied = self._fitted_source(self._copies, flux, formation)
        self._level(observation)
        self._lens = self._nearest(self._mean)[:, 0]
        self._lenses = self._nearest(self._copies)

    @property
    def sky(self):
        """Level of the sky, flux a pixel, ``(images,)``."""
        return self._sky

    def render(self, formation, tolerance):
        """Arcs behind `formation`, and no lens light."""
        arcs = self._rendered(self._mean, self._sersic, formation, self._all, self._shift)[:, 0]
        return arcs, torch.zeros_like(arcs)

    def deflection(self, x, y):
        """Deflection in arcsec."""
        parts = [self._alpha(self._mean, part, x, y, self._shift) for part in self._parts(self._all, x)]
        return tuple(torch.cat(alphas)[:, 0] for alphas in zip(*parts, strict=True))

    def variance(self, i, formation):
        """Variance of the re-lensed images of the eight copies of one image."""
        index = self._all[i : i + 1]
        return self._rendered(self._copies, self._copied, formation, index, self._shift)[0].var(dim=0)

    def values(self, i):
        """Parameters of one image; their errors are the scatter of the eight copies."""
        values, errors = {}, {}
        columns = zip(LENS, self._lens[i].tolist(), self._lenses[i].unbind(1), strict=True)
        for name, value, copies in columns:
            if name.startswith("log_"):
                name, value, copies = name.removeprefix("log_"), math.exp(value), copies.exp()
            values[name], errors[name] = value, float(copies.std())
            if name == "theta_E":
                values["gamma"], errors["gamma"] = 2.0, 0.0
        for name in ("x_lens", "y_lens"):
            values[name] += float(self._shift[i, "xy".index(name[0])])
        named = {"x_source": "x", "y_source": "y", "r_eff": "r_eff", "n": "n", "e1_source": "e1", "e2_source": "e2"}
        for name, attribute in (named | {"amplitude": "amplitude"}).items():
            value, copies = (getattr(fit, attribute) for fit in (self._sersic, self._copied))
            values[name], errors[name] = float(value[i]), float(copies.view(len(self._sky), -1)[i].std())
        for name in ("x_source", "y_source"):
            values[name] += float(self._shift[i, "xy".index(name[0])])
        return values, errors

    def verdict(self, i, values):
        """How well the re-lensed image agrees with the image."""
        observation = self._batch.observation
        data, weight, model, arcs = observation.data[i], observation.weight[i], self._model[i], self._arcs[i]
        found = misfit(data, model, arcs, weight)
        flags = judge(
            values, arc_chi2=found.arc_chi2, missed=found.missed, evidence=math.nan, probability=math.nan,
            doubt=math.nan, at_bound=[], rivals=[], magnification=self.magnification(values, arcs),
        )  # fmt: skip
        if self._lens_light:
            flags.append("lens light not modelled")
        if float(self._batch.centre[i].abs().max()) > OFF_CENTRE * self._pixel:
            flags.append("off centre")
        dof = max(int((weight > 0).sum()) - self._sersic.parameters.shape[1] - 2, 1)
        return Verdict(float(((data - model) * weight).square().sum()) / dof, math.nan, tuple(flags))

    def history(self, i):
        """What was done to one image."""
        scatter = 0.5 * (self._copies.alpha_x[i].var(dim=0) + self._copies.alpha_y[i].var(dim=0))
        return [
            "deflection: predicted by a network, mean over eight turned and mirrored copies, which scatter by "
            f"{float(scatter.mean().sqrt()):.3g} arcsec; beyond the fit region continued along rays from its centre",
            f"source: Sersic fitted to the image behind that deflection, supersampling {self.supersampling}",
            "parameters of the lens: isothermal ellipsoid and shear nearest to the deflection; errors: scatter of the "
            "copies",
        ]

    # -- the deflection between its pixels ---------------------------------------------------------------------------

    @staticmethod
    def _parts(index, x, copies=1):
        """Indices of images in parts that leave memory to be reused."""
        return index.split(max(1, SAMPLES // (copies * x.numel())))

    @staticmethod
    def _relative(index, x, y, shift):
        """Positions in the frame that `shift` leads to, as such of each fit region, ``(images, 1, rows, columns)``."""
        x0, y0 = (c[:, None, None, None] for c in shift[index].unbind(1))
        return x.to(x0) - x0, y.to(y0) - y0

    def _alpha(self, field, index, x, y, shift):
        """Deflections of some images, ``(images, copies, rows, columns)`` each."""
        x, y = self._relative(index, x, y, shift)
        rows, columns = field.alpha_x.shape[-2:]
        fine = self._pixel / FINE
        # beyond the outermost pixels a field goes on as that of an isothermal lens does: constant along each ray
        half_x, half_y = 0.5 * fine * (columns - 1), 0.5 * fine * (rows - 1)
        inwards = torch.minimum(half_x / x.abs().clamp_min(half_x), half_y / y.abs().clamp_min(half_y))
        place = x * inwards / fine + 0.5 * (columns - 1), y * inwards / fine + 0.5 * (rows - 1)
        return tuple(sample_image(alpha[index], *place, "bicubic", "extrapolate") for alpha in field)

    def _beta(self, field, index, x, y, shift):
        """Where light at positions of some images comes from, in the frames of their fit regions, copies in a row."""
        alpha = self._alpha(field, index, x, y, shift)
        return tuple((c - a).flatten(0, 1) for c, a in zip(self._relative(index, x, y, shift), alpha, strict=True))

    # -- the source and what it looks like ---------------------------------------------------------------------------

    def _fitted_source(self, field, flux, formation):
        """Sersic sources behind all copies of a field, one copy after the other."""
        index = self._all.repeat_interleave(field.alpha_x.shape[1])
        beta = self._beta(field, self._all, *formation.positions, torch.zeros_like(self._shift))
        weight = self._batch.observation.weight
        problem = SersicProblem(beta, formation.select(index), flux[index], weight[index], self._pixel)
        parameters = problem.fit().parameters.to(flux)
        unit = problem.formation.observe(sersic_light(*beta, parameters))
        return SersicFit(parameters, problem.amplitude(unit))

    def _level(self, observation):
        """Amplitude of the arcs and level of the sky together, and the model of the fit region."""
        formation, weight = observation.formation(self.supersampling), observation.weight
        arcs = self._rendered(self._mean, self._sersic, formation, self._all, torch.zeros_like(self._shift))[:, 0]
        columns = torch.stack([arcs, torch.ones_like(arcs)], dim=1)
        factors = weighted_amplitudes(columns, observation.data, weight, free=(False, True))
        factor, self._sky = factors.to(arcs).unbind(1)
        self._sersic = SersicFit(self._sersic.parameters, self._sersic.amplitude * factor)
        self._arcs = arcs * factor[:, None, None]
        self._model = self._arcs + self._sky[:, None, None]

    def _rendered(self, field, sersic, formation, index, shift):
        """Arcs of all copies of some images' fields behind `formation`, ``(images, copies, rows, columns)``."""
        copies = field.alpha_x.shape[1]
        seen = []
        for part in self._parts(index, formation.x, copies):
            own = (part[:, None] * copies + torch.arange(copies, device=part.device)).flatten()
            beta = self._beta(field, part, *formation.positions, shift)
            light = sersic_light(*beta, sersic.parameters[own]) * sersic.amplitude[own, None, None]
            # one formation may serve a single image, whichever that is
            optics = formation.select(part.repeat_interleave(copies)) if len(index) > 1 else formation
            seen.append(optics.observe(light).unflatten(0, (len(part), copies)))
        return torch.cat(seen)

    # -- the lens in a few numbers -----------------------------------------------------------------------------------

    def _nearest(self, field):
        """Isothermal ellipsoids and shears nearest to the fields around theta_E, ``(images, copies, 7)``."""
        alpha_x, alpha_y = (alpha.flatten(0, 1).flatten(1) for alpha in field)
        rows, columns = field.alpha_x.shape[-2:]
        fine = self._pixel / FINE
        y, x = (fine * (torch.arange(n, device=alpha_x.device) - 0.5 * (n - 1)) for n in (rows, columns))
        y, x = (c.flatten() for c in torch.meshgrid(y.double(), x.double(), indexing="ij"))
        r = torch.hypot(x, y)
        theta_E = torch.hypot(alpha_x, alpha_y).median(dim=1).values.double().clamp_min(fine)
        inner, outer = (share * theta_E[:, None] for share in ANNULUS)
        weight = ((r > inner) & (r < outer)).double()
        every = slice(None, None, max(1, len(r) // 4096))  # seven numbers do not need every pixel
        found = nearest_sie(
            alpha_x[:, every], alpha_y[:, every], x[every], y[every], weight[:, every] + 1e-9, theta_E
        )
        return found.unflatten(0, field.alpha_x.shape[:2])


def _sides(grid):
    return (sum(grid.matrix[:, k] ** 2) ** 0.5 for k in (0, 1))
