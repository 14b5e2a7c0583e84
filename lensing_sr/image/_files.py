# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""FITS files in, plain two-dimensional arrays out, with errors that name the argument, the file and the remedy."""

import os
import warnings

import numpy as np
from astropy.io import fits

from lensing_sr.errors import ImageReadError

__all__ = []


def split_spec(spec):
    """Split "FILE,EXT" into path and extension (None where there is none); a comma in a file's name is left alone."""
    path = os.path.expanduser(os.fspath(spec))
    if os.path.exists(path) or "," not in path:
        return path, None
    stem, ext = path.split(",", 1)
    # JWST and HST write two-part names, "ERR,2"; file names with commas were caught above
    return stem, ext.strip()


def open_fits(path, argument):
    """Open a FITS file with every header read, or raise `~lensing_sr.errors.ImageReadError` that says what is wrong."""
    path = os.path.expanduser(os.fspath(path))
    if not os.path.exists(path):
        raise ImageReadError(argument, "must be an existing file", path, "check the name and the folder")
    if os.path.isdir(path):
        raise ImageReadError(argument, "must be a file", f"the folder {path}", "name the FITS file in it")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            hdus = fits.open(path, memmap=False)
            try:
                len(hdus)  # reads all headers: a truncated file shows here
                cut = next((str(w.message) for w in said if "truncated" in str(w.message)), None)
                if cut:
                    raise OSError(cut)
            except BaseException:
                hdus.close()
                raise
            return hdus
    except PermissionError:
        raise ImageReadError(argument, "must be a file that you may read", path, "change its permissions") from None
    except Exception as error:  # astropy answers damaged files with a dozen kinds of exception
        found = f"{path} ({_first_line(error)})"
        raise ImageReadError(argument, "must be a readable FITS file", found, _AGAIN) from error


_AGAIN = "it may be truncated or of another format: copy or download it again"


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:160]


def image_shape(hdu):
    """Shape of the image in an HDU from its header alone, axes of length one in front dropped; () for no image."""
    if not hdu.is_image:
        return ()
    shape = tuple(int(n) for n in hdu.shape or ())
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def label(hdu, index):
    """How to call an HDU in a message and in ``ext``: its EXTNAME, with EXTVER beyond 1, or its number."""
    if not hdu.name:
        return str(index)
    return hdu.name if hdu.ver == 1 else f"{hdu.name},{hdu.ver}"


def contents(hdus):
    """One line that lists what is in a file, for messages."""
    parts = []
    for index, hdu in enumerate(hdus):
        shape = " x ".join(map(str, image_shape(hdu))) or ("empty" if hdu.is_image else "table")
        parts.append(f"{label(hdu, index)} ({shape})")
    return ", ".join(parts)


def find_hdu(hdus, ext):
    """Index of the extension called ``ext``: a number, "NAME", "NAME,VER" or a (name, version) pair; None if absent."""
    if isinstance(ext, tuple | list) and len(ext) == 2:
        ext = f"{ext[0]},{ext[1]}"
    if isinstance(ext, str) and ext.strip().lstrip("-").isdigit():
        ext = int(ext)
    if isinstance(ext, int | np.integer):
        return int(ext) if 0 <= ext < len(hdus) else None
    name, _, version = str(ext).strip().upper().partition(",")
    for index, hdu in enumerate(hdus):
        if hdu.name.upper() == name and (not version or str(hdu.ver) == version.strip()):
            return index
    return None


def plane(hdu, argument, where=""):
    """The image of an HDU as a native two-dimensional array (integers stay integers); BZERO, BSCALE, BLANK applied."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = hdu.data
    except Exception as error:  # see open_fits
        found = f"{where} ({_first_line(error)})"
        raise ImageReadError(argument, "must be a readable FITS image", found, _AGAIN) from error
    if data is None or not hdu.is_image:
        raise ImageReadError(argument, "must be an image", f"{where} without one", "name another extension")
    data = np.asarray(data)
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 2:
        shape = " x ".join(map(str, data.shape))
        raise ImageReadError(
            argument, "must be a two-dimensional image", f"{where} of shape {shape}", "cut one plane out of the cube"
        )
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def read_plane(spec, argument, names=()):
    """Read the one image that ``spec`` ("FILE" or "FILE,EXT") means.

    Parameters
    ----------
    spec : str or os.PathLike
        File, with an extension after a comma where needed.
    argument : str
        Name for messages.
    names : tuple of str
        EXTNAMEs to prefer, in this order, where no extension is named and the file has several images.

    Returns
    -------
    data : numpy.ndarray
        Two-dimensional.
    header : `~astropy.io.fits.Header`
        Of its extension.
    """
    path, ext = split_spec(spec)
    with open_fits(path, argument) as hdus:
        if ext is not None:
            index = find_hdu(hdus, ext)
            if index is None:
                have = f"it has: {contents(hdus)}"
                raise ImageReadError(argument, f"must name an extension of {path}", repr(ext), have)
        else:
            images = [i for i, hdu in enumerate(hdus) if image_shape(hdu)]
            flat = [i for i in images if len(image_shape(hdus[i])) == 2] or images
            preferred = [i for name in names for i in flat if hdus[i].name.upper() == name]
            if not images:
                raise ImageReadError(argument, "must hold an image", path, f"it has: {contents(hdus)}")
            if len(flat) > 1 and not preferred:
                remedy = f"name one: {path},{label(hdus[flat[0]], flat[0])}"
                raise ImageReadError(argument, f"must be one image of {path}", contents(hdus), remedy)
            index = (preferred or flat)[0]
        where = f"{path}[{label(hdus[index], index)}]"
        return plane(hdus[index], argument, where), hdus[index].header.copy()
