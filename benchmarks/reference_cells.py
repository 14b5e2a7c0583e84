# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The nine cells of the reference protocol, stored samples or fresh draws, in flux units as an observer has them."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Cell", "draw_cell", "read_cell"]

KEYS = ("LR", "LR_model", "HR", "HR_model", "exp_time_LR", "bkg_rms_LR", "psf_fwhm", "pixscale_LR")
#: Seed of fresh draws: that of no recipe, nor of anything made from one.
FRESH_SEED = 20_260_101


@dataclass(frozen=True)
class Cell:
    """Images of one telescope and one class of dark matter; all are float64, ``(n, rows, columns)``.

    ``flux`` and ``noise`` are what every method gets; ``raw`` is the flux as it was stored (Model 1: its clipped sky
    has a level), ``clean`` that without noise, ``truth`` the fine image without noise, ``noisy_truth`` the one that was
    published as the truth (Model 1: counts).
    """

    model: int
    dark_matter: str
    flux: np.ndarray
    noise: np.ndarray
    raw: np.ndarray
    clean: np.ndarray
    truth: np.ndarray
    noisy_truth: np.ndarray
    psf_fwhm: np.ndarray
    pixel_scale: np.ndarray

    @property
    def name(self):
        """As it is printed."""
        return f"Model {self.model} {self.dark_matter}"

    def images(self):
        """The images as the resolver takes them."""
        import astropy.units as u

        from lensing_sr import LensImage

        given = zip(self.flux, self.noise, self.psf_fwhm, self.pixel_scale, strict=True)
        return [
            LensImage(
                flux, noise=noise, psf=fwhm * u.arcsec if fwhm > 0 else None, pixel_scale=pixel * u.arcsec / u.pix,
                name=f"{self.name}, image {i}",
            )
            for i, (flux, noise, fwhm, pixel) in enumerate(given)
        ]  # fmt: skip


def _cell(model, dark_matter, values):
    """Calibrate what a simulator stored, with the function that calibrates the images of a training."""
    import torch

    from lensing_sr.training.calibration import calibrated

    image, exposure, background = (torch.from_numpy(values[key]) for key in ("LR", "exp_time_LR", "bkg_rms_LR"))
    if model == 1:  # counts, whose photon noise was drawn twice, of a sky that was clipped at zero
        image, background = image / exposure[:, None, None], background / exposure
        flux, noise = calibrated(image, exposure, background, clipped_sky=True, photon_draws=2)
    else:
        flux, noise = calibrated(image, exposure, background)
    return Cell(
        model, dark_matter, flux.double().numpy(), noise.double().numpy(), image.numpy(), values["LR_model"],
        values["HR_model"], values["HR"], values["psf_fwhm"], values["pixscale_LR"],
    )  # fmt: skip


def read_cell(folder, model, dark_matter, count=None):
    """Stored samples of a cell, all or the first ones."""
    with np.load(folder / f"model{model}_{dark_matter}.npz", allow_pickle=False) as archive:
        values = {key: archive[key][:count].astype(float) for key in KEYS}
    return _cell(model, dark_matter, values)


def draw_cell(model, dark_matter, count):
    """Fresh draws of a cell from our own simulator, as many as asked for; the same each time."""
    from lensing_sr.simulation import ReferenceSimulator

    drawn = ReferenceSimulator(model, dark_matter).draw(count, seed=FRESH_SEED, keys=KEYS)
    return _cell(model, dark_matter, {key: drawn[key].double().numpy() for key in KEYS})
