# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A result as a perfect fit of the packaged example would give it: made of formulas, without a fit."""

from functools import cache

import numpy as np
import torch
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS

from lensing_sr.datasets.example import example_path
from lensing_sr.datasets.make_example import SKY_LEFT, TRUTH, noise_free_image
from lensing_sr.geometry.grid import PixelGrid
from lensing_sr.lensing.deflection import DeflectionField
from lensing_sr.lensing.mass import shear_deflection, sie_deflection
from lensing_sr.light.sersic import sersic_brightness, sersic_flux
from lensing_sr.light.sersic_source import SersicSource
from lensing_sr.quality import Quality
from lensing_sr.result import SuperResolution
from lensing_sr.validation import Validation

UNIT = u.electron / u.s
MODEL = (
    "theta_E",
    "e1",
    "e2",
    "x_lens",
    "y_lens",
    "gamma1",
    "gamma2",
    "x_source",
    "y_source",
    "r_eff",
    "n",
    "e1_source",
)
SOURCE = ("r_eff", "n", "e1_source", "e2_source", "x_source", "y_source")


_noise_free_image = cache(noise_free_image)


def _amplitude(magnitude, r_eff, n):
    one = torch.tensor(1.0, dtype=torch.float64)
    return 10 ** (-0.4 * (magnitude - 25.94)) / sersic_flux(one, r_eff, n)


def make_result(*, wcs=True, scale=2, flags=(), meta=None):
    """A `SuperResolution` of the example's truth; without ``wcs`` its grid only knows the pixel scale."""
    with fits.open(example_path()) as hdus:
        data, noise = hdus["SCI"].data.astype(float), hdus["ERR"].data.astype(float)
        mask, header = hdus["DQ"].data > 0, hdus["SCI"].header
    coarse = PixelGrid(data.shape, wcs=WCS(header)) if wcs else PixelGrid(data.shape, pixel_scale=0.05)
    grid = coarse.upsampled(scale)
    truth = {name: torch.tensor(value, dtype=torch.float64) for name, (value, _) in TRUTH.items()}
    amplitude = _amplitude(truth["source_magnitude"], truth["r_eff"], truth["n"])

    def sersic(x, y, *names, amplitude):
        return sersic_brightness(x, y, amplitude, *(truth[name] for name in names)).numpy()

    x, y = map(torch.from_numpy, grid.coordinates())
    sie = sie_deflection(x, y, *(truth[name] for name in ("theta_E", "e1", "e2", "x_lens", "y_lens")))
    shear = shear_deflection(x, y, *(truth[name] for name in ("gamma1", "gamma2", "x_lens", "y_lens")))
    alpha = [a + b for a, b in zip(sie, shear)]
    area = grid.pixel_area.value
    arcs = area * sersic(x - alpha[0], y - alpha[1], *SOURCE, amplitude=amplitude)
    galaxy = _amplitude(truth["lens_magnitude"], truth["lens_r_eff"], truth["lens_n"])
    lens = area * sersic(x, y, "lens_r_eff", "lens_n", "lens_e1", "lens_e2", "x_lens", "y_lens", amplitude=galaxy)

    plane = grid.upsampled(4)
    column, row = (int(pixel) for pixel in plane.to_pixel(0.15, 0.0))
    plane = plane.cropped(slice(row - 50, row + 50), slice(column - 60, column + 60))
    x, y = map(torch.from_numpy, plane.coordinates())
    light = plane.pixel_area.value * sersic(x, y, *SOURCE, amplitude=amplitude)
    if wcs:
        plane_wcs = plane.wcs
    else:
        plane_wcs = WCS(naxis=2)
        plane_wcs.wcs.crpix = np.array(plane.origin) + 1
        plane_wcs.wcs.cdelt = np.diag(plane.matrix)
        plane_wcs.wcs.cunit = ["arcsec", "arcsec"]

    def ccd(array, where=grid, **options):
        return CCDData(array, unit=UNIT, wcs=where.wcs, **options)

    model = _noise_free_image() + SKY_LEFT
    names = [*MODEL, "e2_source"]
    parameters = Table(
        {
            "name": [*names, "amplitude"],
            "value": [*(TRUTH[name][0] for name in names), float(amplitude)],
            "error": [0.002] * len(names) + [0.1],
            "unit": [*(TRUTH[name][1] for name in names), "electron / (s arcsec2)"],
            "error_95": [0.005] * len(names) + [0.2],
        }
    )
    kernel = np.outer(*[np.exp(-0.5 * (np.arange(-7, 8) / 1.5) ** 2)] * 2)
    return SuperResolution(
        image=ccd(
            arcs + lens,
            uncertainty=StdDevUncertainty(np.full(grid.shape, 0.002)),
            mask=np.kron(mask, np.ones((2, 2), dtype=bool)) if scale == 2 else None,
            meta={"OBJECT": "simulated lens", "FILTER": "F814W", "CRPIX1": 1e9, "BUNIT": "wrong"},
        ),
        arcs=ccd(arcs),
        lens_light=ccd(lens),
        model=ccd(model, coarse),
        residual=ccd(data - model, coarse),
        source_image=CCDData(light, unit=UNIT, wcs=plane_wcs),
        deflection=DeflectionField(*(component.numpy() for component in alpha), grid),
        source=SersicSource.from_parameters(parameters),
        parameters=parameters,
        quality=Quality(
            chi2=1.01, noise_scale=0.98, flags=tuple(flags), notes=("one, note",), lens_evidence=812.0,
            lens_probability=0.97, doubt=0.02,
            evidence={"pixel source": 41.0, "potential": 3.0, "perturbers": -2.0}, kept=("pixel source",),
            consistency=0.95,
        ),  # fmt: skip
        sky=SKY_LEFT,
        scale=scale,
        psf=kernel / kernel.sum(),
        input_image=ccd(data, coarse, uncertainty=StdDevUncertainty(noise), mask=mask),
        meta={
            "method": "fit",
            "seed": 0,
            "time_s": 1.5,
            "history": ["cut-out: whole field", "fit: chi2 1.01"],
            "name": "example",
            **(meta or {}),
        },
        validation=Validation(
            2, 640, 0.99, {"bilinear": 1.32, "bicubic": 1.41}, floor=0.97, chi2_unshared=1.06,
            interpolation_unshared=1.59,
        ),
    )
