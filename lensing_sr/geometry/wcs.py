# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""World coordinate systems: read their scale, sample them finer, crop them.

Every function takes a parsed `~astropy.wcs.WCS` and answers with a *fresh* one that carries PC + CDELT only.  Real
headers hold CD and PC + CDELT at once; whoever scales the cards of such a header scales one and leaves the other, and
readers then disagree about the size of a pixel.

A fine grid shares the edges of the coarse one: coarse pixel ``i`` covers the fine pixels ``[s i, s (i + 1))``, so

    p_fine = (p + 1/2) s - 1/2          (pixel centres at integers, counted from 0)
    CRPIX' = (CRPIX - 1/2) s + 1/2      (the same, counted from 1 as FITS does)
    CD'    = CD / s
    A'_pq  = A_pq s^(1 - p - q)         (SIP coefficients; B, AP and BP alike)
"""

import math
import warnings

import numpy as np
from astropy.wcs import WCS, NoConvergence, Sip
from astropy.wcs.utils import wcs_to_celestial_frame

from lensing_sr.errors import InputError, PixelScaleError

__all__ = [
    "bin_wcs",
    "celestial_wcs",
    "check_table_distortions",
    "crop_wcs",
    "local_jacobian",
    "pixel_scale_matrix",
    "pixel_to_sky",
    "sky_to_pixel",
    "upsample_wcs",
    "upsampled_shape",
]

MAX_FINE_PIXELS = 2**26  # half a gigabyte a plane in float64; a result holds about ten planes
_DEG_TO_ARCSEC = 3600.0


def check_scale(scale):
    """Return ``scale`` as a float, or raise `~lensing_sr.errors.InputError` unless it is a finite number >= 1."""
    try:
        value = float(scale)
    except (TypeError, ValueError):
        raise InputError("scale", "must be one number", repr(scale), "use scale=2 for twice the sampling") from None
    if not (math.isfinite(value) and value >= 1.0):
        raise InputError("scale", "must be a finite number of at least 1", scale, "use scale=2 for twice the sampling")
    return value


def upsampled_shape(shape, scale):
    """Shape of the grid that is ``scale`` times finer: ``ceil(n s)`` along each axis.

    Parameters
    ----------
    shape : tuple of int
        Coarse shape (ny, nx) in pixels.
    scale : float
        Fine pixels per coarse pixel along one axis, at least 1; need not be an integer.

    Returns
    -------
    tuple of int
        Fine shape (ny', nx').

    Raises
    ------
    lensing_sr.errors.InputError
        If ``scale`` is below 1 or not finite, or the fine grid would not fit into memory.

    Examples
    --------
    >>> from lensing_sr.geometry.wcs import upsampled_shape
    >>> upsampled_shape((101, 100), 2.5)
    (253, 250)
    """
    scale = check_scale(scale)
    # 100 * 2.2 is 220.00000000000003 in floating point: without the margin it would become 221
    fine = tuple(math.ceil(n * scale - 1e-6) for n in shape)
    if fine[0] * fine[1] > MAX_FINE_PIXELS:
        raise InputError(
            "scale",
            f"must give at most {MAX_FINE_PIXELS} output pixels",
            f"{scale:g} ({fine[0]} x {fine[1]} pixels)",
            "use a smaller scale, or a smaller cut-out (--cutout)",
        )
    return fine


def check_table_distortions(wcs, argument="wcs"):
    """Raise `~lensing_sr.errors.PixelScaleError` if ``wcs`` (a WCS or a FITS header) carries distortion tables.

    Look-up tables (CPDIS, D2IMDIS) are sampled on the detector's own pixels and cannot be rescaled exactly; SIP can.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or `~astropy.io.fits.Header`
        What to look at.
    argument : str
        Name used in the message.
    """
    if isinstance(wcs, WCS):
        found = [name for name in ("cpdis1", "cpdis2", "det2im1", "det2im2") if getattr(wcs, name) is not None]
    else:
        cards = ("CPDIS1", "CPDIS2", "CQDIS1", "CQDIS2", "D2IMDIS1", "D2IMDIS2", "D2IMEXT")
        found = [card for card in cards if card in wcs]
    if found:
        raise PixelScaleError(
            argument,
            "must have no table distortions (SIP polynomials are supported)",
            ", ".join(found),
            "use a drizzled or resampled image (_drz, _drc, _i2d)",
        )


def celestial_wcs(wcs):
    """The two-axis celestial part of ``wcs``, its axes in the order of the pixels; None if there is none.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or None
        Any WCS.  Axes beyond the second (a degenerate spectral axis, say) are dropped.

    Returns
    -------
    `~astropy.wcs.WCS` or None
        Two celestial axes; not ``wcs.celestial``, which would put longitude first and so swap the pixel axes of a
        header that starts with declination.

    Raises
    ------
    lensing_sr.errors.PixelScaleError
        If it carries table distortions or a singular matrix.
    """
    if wcs is None:
        return None
    if not isinstance(wcs, WCS):  # the WCS of an NDData may come wrapped in the high-level interface
        wcs = getattr(wcs, "low_level_wcs", wcs)
    if not isinstance(wcs, WCS):
        raise InputError("wcs", "must be an astropy.wcs.WCS", type(wcs).__name__, "use WCS(header)")
    check_table_distortions(wcs)
    if not wcs.has_celestial:
        return None
    if wcs.naxis > 2:
        wcs = wcs.sub([1, 2])
        if not wcs.has_celestial:
            return None
    if not abs(np.linalg.det(pixel_scale_matrix(wcs))) > 0.0:
        raise PixelScaleError("wcs", "must have a matrix that can be inverted", "a singular one", "repair the header")
    return wcs


def pixel_scale_matrix(wcs):
    """Linear part of the WCS in arcsec per pixel: what CD, or PC and CDELT, or CROTA mean once parsed.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-axis celestial WCS.

    Returns
    -------
    numpy.ndarray
        (2, 2) float64, arcsec per pixel; rows are world axes, columns pixel axes.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from lensing_sr.geometry.wcs import pixel_scale_matrix
    >>> w = WCS(naxis=2)
    >>> w.wcs.ctype = "RA---TAN", "DEC--TAN"
    >>> w.wcs.cdelt = -1e-5, 1e-5
    >>> pixel_scale_matrix(w)
    array([[-0.036,  0.   ],
           [ 0.   ,  0.036]])
    """
    # get_cdelt and get_pc are the values wcslib works with, whichever cards they came from, in degrees
    return _DEG_TO_ARCSEC * np.diag(wcs.wcs.get_cdelt()) @ wcs.wcs.get_pc() + 0.0


def upsample_wcs(wcs, scale):
    """The same sky on pixels ``scale`` times finer that share the first pixel's outer edge.

    ``CRPIX' = (CRPIX - 0.5) s + 0.5``, ``CD' = CD / s``, ``A'_pq = A_pq s^(1-p-q)``: exact, SIP included.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial WCS of the coarse pixels.
    scale : float
        Fine pixels per coarse pixel along one axis, at least 1.

    Returns
    -------
    `~astropy.wcs.WCS`
        Fresh WCS of the fine pixels, with PC + CDELT.

    Raises
    ------
    lensing_sr.errors.PixelScaleError
        If the WCS carries table distortions.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from lensing_sr.geometry.wcs import upsample_wcs
    >>> w = WCS(naxis=2)
    >>> w.wcs.ctype = "RA---TAN", "DEC--TAN"
    >>> w.wcs.crpix, w.wcs.cdelt = (50.5, 50.5), (-1e-5, 1e-5)
    >>> upsample_wcs(w, 2).wcs.crpix
    array([100.5, 100.5])
    """
    scale = check_scale(scale)
    shape = None if wcs.array_shape is None else upsampled_shape(wcs.array_shape, scale)
    return _rebuild(wcs, (np.asarray(wcs.wcs.crpix) - 0.5) * scale + 0.5, scale, shape)


def crop_wcs(wcs, col0, row0, shape=None):
    """The WCS of ``data[row0:, col0:]``: ``CRPIX' = CRPIX - (col0, row0)``, SIP included.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial WCS of the whole image.
    col0, row0 : int
        First column and row kept, in pixels.
    shape : tuple of int, optional
        Shape (ny, nx) of what is kept, to be noted in the WCS.

    Returns
    -------
    `~astropy.wcs.WCS`
        Fresh WCS, with PC + CDELT.
    """
    return _rebuild(wcs, np.asarray(wcs.wcs.crpix) - (col0, row0), 1.0, shape)


def bin_wcs(wcs, factor, shape=None):
    """The same sky on pixels that are ``factor x factor`` of the old ones: the inverse of `upsample_wcs`.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or None
        Celestial WCS of the fine pixels.
    factor : int
        Fine pixels per coarse pixel along one axis.
    shape : tuple of int, optional
        Coarse shape (ny, nx), to be noted in the WCS.

    Returns
    -------
    `~astropy.wcs.WCS` or None
        Fresh WCS of the coarse pixels, with PC + CDELT; None for None.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from lensing_sr.geometry.wcs import bin_wcs
    >>> w = WCS(naxis=2)
    >>> w.wcs.ctype = "RA---TAN", "DEC--TAN"
    >>> w.wcs.crpix, w.wcs.cdelt = (100.5, 100.5), (-5e-6, 5e-6)
    >>> bin_wcs(w, 2).wcs.crpix
    array([50.5, 50.5])
    """
    if wcs is None:
        return None
    return _rebuild(wcs, (np.asarray(wcs.wcs.crpix) - 0.5) / factor + 0.5, 1.0 / factor, shape)


def _rebuild(wcs, crpix, scale, shape):
    """Fresh WCS with the projection of ``wcs``, another reference pixel and pixels ``scale`` times finer."""
    check_table_distortions(wcs)
    old, new = wcs.wcs, WCS(naxis=2)
    old.set()  # so that ctype, cunit, lonpole and the matrix are the ones in force
    suffix = "-SIP"
    bare = [ctype.removesuffix(suffix) for ctype in old.ctype]
    new.wcs.ctype = [ctype + suffix for ctype in bare] if wcs.sip is not None else bare
    new.wcs.cunit = ["deg", "deg"]
    new.wcs.crval = old.crval
    new.wcs.crpix = crpix
    matrix = np.diag(old.get_cdelt()) @ old.get_pc() / scale
    # PC + CDELT rather than CD: astropy would write CD as PC with CDELT = 1, which misleads who reads CDELT alone
    cdelt = np.where(np.diag(matrix) < 0, -1.0, 1.0) * np.hypot(*matrix.T)
    new.wcs.cdelt, new.wcs.pc = cdelt, matrix / cdelt[:, None]
    new.wcs.lonpole, new.wcs.latpole = old.lonpole, old.latpole
    new.wcs.radesys, new.wcs.equinox = old.radesys, old.equinox
    new.wcs.dateobs, new.wcs.mjdobs = old.dateobs, old.mjdobs
    new.wcs.set_pv(old.get_pv())
    new.wcs.set_ps(old.get_ps())
    if wcs.sip is not None:
        new.sip = Sip(*(_scaled_sip(getattr(wcs.sip, name), scale) for name in ("a", "b", "ap", "bp")), crpix)
    if shape is not None:
        new.array_shape = shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "'datfix' made the change ...": about the old header's dates
        new.wcs.set()
    return new


def _scaled_sip(coefficients, scale):
    """SIP coefficients, indexed [p, q], on pixels ``scale`` times finer."""
    if coefficients is None:
        return None
    p, q = np.indices(coefficients.shape)
    return coefficients * float(scale) ** (1.0 - p - q)


def pixel_to_sky(wcs, col, row):
    """Sky position of pixel positions (counted from 0), distortions included, as a SkyCoord."""
    return wcs.pixel_to_world(col, row)


def sky_to_pixel(wcs, sky):
    """Pixel position (col, row), counted from 0, of a SkyCoord; SIP inverted to rounding.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-axis celestial WCS.
    sky : `~astropy.coordinates.SkyCoord`
        Positions, in any frame that transforms to that of the WCS.

    Returns
    -------
    tuple of numpy.ndarray
        (col, row), float64 pixels; NaN where the projection does not reach.
    """
    position = sky.transform_to(wcs_to_celestial_frame(wcs)).spherical
    world = [None, None]
    world[wcs.wcs.lng], world[wcs.wcs.lat] = position.lon.to_value("deg"), position.lat.to_value("deg")
    if wcs.sip is None:
        return tuple(wcs.wcs_world2pix(*world, 0))
    # astropy's own world_to_pixel stops at 1e-4 pixel; a grid needs more.  The floor is the rounding of degrees.
    try:
        return tuple(wcs.all_world2pix(*world, 0, tolerance=1e-9, maxiter=50, detect_divergence=False))
    except NoConvergence as error:
        return tuple(error.best_solution.T.reshape(2, *np.shape(world[0])))


def local_jacobian(wcs, col, row):
    """Local pixel on the sky: d(East, North) / d(col, row) in arcsec per pixel, at one pixel position.

    East and North are the tangent-plane axes at that position, so the matrix also holds for a WCS whose reference pixel
    lies far outside the image, where North there is not North here.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-axis celestial WCS, SIP included.
    col, row : float
        Pixel position, counted from 0.

    Returns
    -------
    numpy.ndarray
        (2, 2) float64, arcsec per pixel.
    """
    # Five-point differences are exact for polynomials of degree 4 (SIP) and over 10 arcsec good to 1e-11 on the sphere
    step = 10.0 / math.sqrt(abs(np.linalg.det(pixel_scale_matrix(wcs))))
    offsets = step * np.array([-2.0, -1.0, 1.0, 2.0])
    weights = np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * step)
    cols = np.concatenate([[col], col + offsets, np.full(4, col)])
    rows = np.concatenate([[row], np.full(4, row), row + offsets])
    world = wcs.all_pix2world(cols, rows, 0)
    lon, lat = np.deg2rad(world[wcs.wcs.lng]), np.deg2rad(world[wcs.wcs.lat])
    east = np.array([-np.sin(lon[0]), np.cos(lon[0]), 0.0])
    north = np.array([-np.sin(lat[0]) * np.cos(lon[0]), -np.sin(lat[0]) * np.sin(lon[0]), np.cos(lat[0])])
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])  # (3, 9)
    derivatives = np.stack([vectors[:, 1:5] @ weights, vectors[:, 5:9] @ weights], axis=1)  # (3, 2)
    jacobian = np.rad2deg(np.stack([east, north]) @ derivatives) * _DEG_TO_ARCSEC
    if not np.all(np.isfinite(jacobian)):
        raise PixelScaleError(
            "wcs", "must reach the image", f"no sky position near pixel ({col:g}, {row:g})", "repair CRPIX and CRVAL"
        )
    return jacobian
