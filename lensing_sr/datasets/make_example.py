# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Simulates the example that comes with the package.

Run as ``python -m lensing_sr.datasets.make_example [FILE]``.  The lens is invented; pixel size, zero point, exposure
and sky are those of a one-orbit image by HST's ACS in F814W.  The truth lies beside the image, in a table under the
names of a result's parameters.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from lensing_sr.datasets.example import example_path
from lensing_sr.forward.binning import bin_mean
from lensing_sr.forward.convolve import Convolver
from lensing_sr.lensing.mass import shear_deflection, sie_deflection
from lensing_sr.light.sersic import sersic_brightness, sersic_flux

__all__ = ["TRUTH", "make_example", "noise_free_image", "psf_kernel", "write_example"]

SHAPE = (120, 128)  # rows and columns differ, so that nobody can swap them unnoticed
PIXEL = 0.05  # arcsec
ZERO_POINT = 25.94  # AB magnitude of 1 electron / s
EXPOSURE = 2100.0  # s
READ_NOISE = 4.5  # electron, once for each of four exposures
SKY_MAGNITUDE = 22.0  # per arcsec^2
SKY_LEFT = 0.002  # electron / s a pixel that the reduction failed to subtract
SEED = 20101
# A star on the edge of the field (arcsec from the centre, magnitude, radius that the mask covers) and cosmic rays.
STAR = (2.35, -2.1, 21.5, 0.45)
COSMIC_RAYS = ((17, 93), (18, 93), (18, 94), (88, 12), (101, 70), (60, 40))

#: What went in: value and unit, in the frame of the image (x along the columns, y along the rows, centre of the array).
#: The shear acts about the lens.
TRUTH = {
    "theta_E": (1.2, "arcsec"),
    "e1": (0.13, ""),
    "e2": (-0.09, ""),
    "x_lens": (0.03, "arcsec"),
    "y_lens": (-0.02, "arcsec"),
    "gamma1": (0.03, ""),
    "gamma2": (0.02, ""),
    "x_source": (0.17, "arcsec"),
    "y_source": (-0.06, "arcsec"),
    "r_eff": (0.11, "arcsec"),
    "n": (1.2, ""),
    "e1_source": (-0.18, ""),
    "e2_source": (0.22, ""),
    "source_magnitude": (24.0, "mag"),
    "lens_r_eff": (0.85, "arcsec"),
    "lens_n": (3.5, ""),
    "lens_e1": (0.1, ""),
    "lens_e2": (-0.06, ""),
    "lens_magnitude": (19.2, "mag"),
    "sky": (SKY_LEFT, "electron / s"),
}


def psf_kernel(size=31, fwhm=0.09, beta=2.8):
    """
    A Moffat profile at the pixel centres, a little elongated, of sum 1.

    Parameters
    ----------
    size : int, optional
        Odd, in pixels.
    fwhm : float, optional
        Full width at half maximum in arcsec.
    beta : float, optional
        Exponent: the smaller, the stronger the wings.

    Returns
    -------
    kernel : array of shape (size, size), float64

    Examples
    --------
    >>> from lensing_sr.datasets.make_example import psf_kernel
    >>> psf_kernel().shape
    (31, 31)
    """
    row, column = (np.indices((size, size)) - size // 2) * PIXEL
    core = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    kernel = (1 + (1.05 * column**2 + row**2 / 1.05 + 0.06 * row * column) / core**2) ** -beta
    return kernel / kernel.sum()


def noise_free_image(fine=10):
    """
    Lens galaxy, arcs and star in electron / s a pixel, blurred, without sky.

    Each pixel's light is the mean over ``fine`` x ``fine`` positions in it; beyond the field it is followed as far as
    the kernel reaches.

    Parameters
    ----------
    fine : int, optional
        Positions along a pixel's side.

    Returns
    -------
    image : array of shape `SHAPE`, float64
    """
    truth = {name: torch.tensor(value, dtype=torch.float64) for name, (value, _) in TRUTH.items()}
    convolver = Convolver(torch.from_numpy(psf_kernel()), SHAPE)
    rows, columns = (
        (torch.arange((n + 2 * convolver.margin) * fine, dtype=torch.float64) + 0.5) * PIXEL / fine
        - (n / 2 + convolver.margin) * PIXEL
        for n in SHAPE
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    sie = sie_deflection(x, y, *(truth[name] for name in ("theta_E", "e1", "e2", "x_lens", "y_lens")))
    shear = shear_deflection(x, y, *(truth[name] for name in ("gamma1", "gamma2", "x_lens", "y_lens")))
    light = _sersic(
        x - sie[0] - shear[0],
        y - sie[1] - shear[1],
        *(truth[name] for name in ("source_magnitude", "r_eff", "n", "e1_source", "e2_source", "x_source", "y_source")),
    )
    light = light + _sersic(
        x,
        y,
        *(truth[name] for name in ("lens_magnitude", "lens_r_eff", "lens_n", "lens_e1", "lens_e2")),
        truth["x_lens"],
        truth["y_lens"],
    )
    coarse = bin_mean(light, fine) * PIXEL**2
    # A star fills no area: all its light falls into one pixel before the blurring.
    x_star, y_star, magnitude, _ = STAR
    column = round(x_star / PIXEL + (SHAPE[1] - 1) / 2) + convolver.margin
    row = round(y_star / PIXEL + (SHAPE[0] - 1) / 2) + convolver.margin
    coarse[row, column] += _rate(magnitude)
    return convolver.forward(coarse).numpy()


def _rate(magnitude):
    """Electrons a second."""
    return 10 ** (-0.4 * (magnitude - ZERO_POINT))


def _sersic(x, y, magnitude, r_eff, n, e1, e2, x0, y0):
    """Brightness per arcsec^2 of a galaxy of the given total magnitude."""
    amplitude = _rate(magnitude) / sersic_flux(torch.ones_like(r_eff), r_eff, n)
    return sersic_brightness(x, y, amplitude, r_eff, n, e1, e2, x0, y0)


def _wcs():
    """North 28 degrees from up, East to the left of it, the reference pixel off the centre as in a cut-out."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.1163, 2.2058]
    wcs.wcs.crpix = [71.25, 52.5]
    angle = math.radians(28.0)
    rotation = np.array([[-math.cos(angle), math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    wcs.wcs.cd = rotation * PIXEL / 3600
    wcs.wcs.radesys = "ICRS"
    return wcs


def make_example():
    """
    The example as a FITS file in memory.

    Returns
    -------
    hdus : `~astropy.io.fits.HDUList`
        ``SCI`` and ``ERR`` in electron / s, ``DQ`` (non-zero = ignore), ``PSF`` at the sampling of the image, and
        ``TRUTH``.
    """
    image = noise_free_image()
    sky = _rate(SKY_MAGNITUDE) * PIXEL**2
    random = np.random.default_rng(SEED)
    electrons = random.poisson((image + sky) * EXPOSURE) + random.normal(0, READ_NOISE * 2, SHAPE)
    data = electrons / EXPOSURE - sky + SKY_LEFT
    sigma = np.sqrt((image + sky) * EXPOSURE + 4 * READ_NOISE**2) / EXPOSURE
    quality = np.zeros(SHAPE, dtype=np.uint8)
    row, column = np.indices(SHAPE)
    x, y = ((column - (SHAPE[1] - 1) / 2) * PIXEL, (row - (SHAPE[0] - 1) / 2) * PIXEL)
    quality[np.hypot(x - STAR[0], y - STAR[1]) < STAR[3]] = 1
    for pixel in COSMIC_RAYS:
        data[pixel] += 0.6
        quality[pixel] = 2
    header = _wcs().to_header()
    header["BUNIT"] = "electron/s"
    header["EXPTIME"] = (EXPOSURE, "[s]")
    header["CCDGAIN"] = (1.0, "electron per count")
    header["MAGZERO"] = (ZERO_POINT, "AB magnitude of 1 electron/s")
    header["OBJECT"] = "simulated lens"
    header["INSTRUME"] = ("simulation", "like HST ACS/WFC")
    header["FILTER"] = "F814W"
    table = Table(
        [list(TRUTH), [value for value, _ in TRUTH.values()], [unit for _, unit in TRUTH.values()]],
        names=("NAME", "VALUE", "UNIT"),
    )
    primary = fits.PrimaryHDU()
    primary.header.add_comment("A simulated lens: python -m lensing_sr.datasets.make_example")
    return fits.HDUList(
        [
            primary,
            fits.ImageHDU(data.astype(np.float32), header, name="SCI"),
            fits.ImageHDU(sigma.astype(np.float32), header, name="ERR"),
            fits.ImageHDU(quality, name="DQ"),
            fits.ImageHDU(psf_kernel().astype(np.float32), name="PSF"),
            fits.BinTableHDU(table, name="TRUTH"),
        ]
    )


def write_example(path):
    """Write the example to ``path``, over what is there."""
    make_example().writeto(path, overwrite=True, checksum=True)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else example_path()
    write_example(target)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")
