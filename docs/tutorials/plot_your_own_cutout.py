# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
Your own HST or Euclid cut-out
==============================

From an archive to a super-resolved FITS file with celestial coordinates. This page is built without a network:
the calls to the archives are shown as text, and the example that comes with the package, a simulated HST image, stands
in for the real one.
"""

# %%
# Getting the data
# ----------------
# *HST and JWST.* With `astroquery <https://astroquery.readthedocs.io>`_, find the drizzled image of a lens at MAST and
# download it:
#
# .. code-block:: python
#
#     from astroquery.mast import Observations
#
#     found = Observations.query_criteria(
#         objectname="SDSS J0946+1006", radius="0.01 deg", obs_collection="HST", filters="F814W"
#     )
#     products = Observations.get_product_list(found)
#     drizzled = Observations.filter_products(products, productSubGroupDescription="DRC")
#     paths = Observations.download_products(drizzled)["Local Path"]
#
# A drizzled file is some 200 MB and holds ``SCI`` (the image, in electron / s) and ``WHT`` (exposure or inverse
# variance). Use drizzled images: the raw frames carry distortions that only drizzling removes.
#
# *Euclid.* Cut-outs of the mosaics of the catalogue pipeline (MER) come from the ESA archive:
#
# .. code-block:: python
#
#     import astropy.units as u
#     from astropy.coordinates import SkyCoord
#     from astroquery.esa.euclid import Euclid
#
#     lens = SkyCoord("17h51m07.4s +65d31m50.8s")
#     tile = Euclid.launch_job(
#         "SELECT file_path, file_name, tile_index FROM sedm.mosaic_product WHERE instrument_name = 'VIS' "
#         f"AND INTERSECTS(CIRCLE('ICRS', {lens.ra.deg}, {lens.dec.deg}, 0.001), fov) = 1"
#     ).get_results()[0]
#     Euclid.get_cutout(
#         file_path=f"{tile['file_path']}/{tile['file_name']}",
#         instrument="VIS",
#         id=tile["tile_index"],
#         coordinate=lens,
#         radius=0.1 * u.arcmin,
#         output_file="vis.fits",
#     )
#
# Beside the image of a tile there are a map of its noise (RMS) and a catalogue of its PSFs. Put into one file, as the
# extensions ``VIS_BGSUB``, ``VIS_RMS`` and ``VIS_PSF``, they are found by name.
#
# *The PSF* decides how much can be won. Take a star of the same image, the observatory's library, or a model such as
# TinyTim or STPSF. Failing all that, a Gaussian of the right width is better than none: ``psf=0.09 * u.arcsec``.

# %%
# Reading it
# ----------
# One function reads them all. For a file of your own:
#
# .. code-block:: python
#
#     image = LensImage.read("hst_drc.fits", ext="SCI", psf="psf.fits", cutout=(lens, 6 * u.arcsec))
#
# Here, the packaged example. It has its noise, its mask and its PSF in the same file.

import astropy.units as u
import numpy as np

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.datasets import example_path

image = LensImage.read(example_path())
image

# %%
# The lens need not be cut out by hand: give a position and a size.

lens = image.grid.to_sky(0 * u.arcsec, 0 * u.arcsec)
cutout = image.cutout(lens, 5 * u.arcsec)
cutout

# %%
# Super-resolution
# ----------------

result = LensingSuperResolver(scale=2).super_resolve(cutout)
figure = result.plot()

# %%
# Look at the verdict before the picture. Flags are reasons not to trust the result, notes are facts that you should
# know.

print("chi2 ", round(result.quality.chi2, 2), "with noise of", round(result.quality.noise_scale, 2), "times the map")
print("flags", result.quality.flags)
print("notes", result.quality.notes)

# %%
result.parameters

# %%
# On the sky
# ----------
# The result lies where the input lay. The same position, in the input and in the four times as many pixels of the
# result:

print("input ", cutout.grid.wcs.world_to_pixel(lens))
print("result", result.image.wcs.world_to_pixel(lens))

# %%
# Directions have position angles, East of North, whatever the roll of the telescope. The elongation of the lens's mass:

e1, e2 = (result.parameters.loc[name]["value"] for name in ("e1", "e2"))
angle = 0.5 * np.arctan2(e2, e1) * u.rad
print(f"{result.grid.position_angle(angle).deg % 180:.0f} deg")

# %%
# Keeping it
# ----------
# One FITS file holds everything; `~astropy.nddata.CCDData` reads the image in it, with uncertainty, mask, PSF and
# coordinates.
#
# .. code-block:: python
#
#     result.write("lens_sr.fits")
#     image = CCDData.read("lens_sr.fits")
#
# On the command line all of this is
#
# .. code-block:: text
#
#     fits2sr hst_drc.fits --ext SCI --psf psf.fits --cutout 146.7 10.115 6 -o lens_sr.fits --plot lens_sr.png
