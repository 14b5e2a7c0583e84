# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Sets of simulated lenses as FITS files: one cube for each kind of image, one table of the true parameters.

======================  ==========================================  ==================================================
extension               holds                                       cards
======================  ==========================================  ==================================================
PRIMARY                 nothing                                     the simulator's own, SEED, FIRST, NIMAGES,
                                                                    CREATOR, DATE
the key in capitals     the images, float32 ``(n, rows, columns)``  SIMKEY (the key), BUNIT, PIXSCALE, and linear axes
                                                                    in arcsec, (0, 0) at the centre of the array
PARAMETERS              a row an image: numbers, units, texts       the key is the name of the column; electrons are
                                                                    counts (ct), since FITS has no such unit
======================  ==========================================  ==================================================

Files are written batch by batch and read row by row: a set may be larger than the memory.
"""

import errno
import io
import os
import warnings
from contextlib import contextmanager
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.io import fits

from lensing_sr import __version__
from lensing_sr.errors import InputError, OutputError
from lensing_sr.export.atomic import atomic_path, check_output
from lensing_sr.export.fits_layout import now
from lensing_sr.simulation._cubes import CubeExtension
from lensing_sr.utils._checks import check_whole
from lensing_sr.utils._progress import progress as progress_bar

__all__ = ["read_set", "stream_set", "write_set"]

TABLE = "PARAMETERS"
_SUFFIXES = (".fits", ".fit", ".fts")
_FORMATS = {np.dtype(np.float64): "D", np.dtype(np.float32): "E", np.dtype(np.int64): "K", np.dtype(np.bool_): "L"}


def write_set(
    simulator, n, path, *, seed=None, first=0, batch_size=64, keys=None, overwrite=False, progress=False
):
    """
    Write a set of simulated lenses as one FITS file, batch by batch.

    Parameters
    ----------
    simulator : `~lensing_sr.simulation.ReferenceSimulator` or `~lensing_sr.simulation.LensPopulation`
        What draws.
    n : int
        Images.
    path : str or path-like
        Where the file shall be, ending in .fits.
    seed : int, optional
        Seed of the set; by default that of a simulator that has one, else 0.
    first : int, optional
        Number of the first image in the set: ``n=100, first=100`` are the second hundred images of this seed.
    batch_size : int, optional
        Images in memory at a time.  It does not change what is written.
    keys : sequence of str, optional
        What to write, of ``simulator.keys``; all by default.
    overwrite : bool, optional
        Whether an existing file may be replaced.
    progress : bool, optional
        Whether to show a progress bar where standard error is a terminal.

    Returns
    -------
    path : `~pathlib.Path`

    Raises
    ------
    lensing_sr.errors.InputError
        If an argument breaks a rule.
    lensing_sr.errors.OutputError
        If the file exists, its folder is missing or the disk refuses.  Nothing is left behind then, nor where the work
        is interrupted.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lensing_sr.simulation import ReferenceSimulator, read_set, write_set
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_set(ReferenceSimulator(2, "axion"), 3, Path(folder) / "set.fits", keys=("LR", "src_x"))
    ...     {key: tuple(value.shape) for key, value in read_set(path).items()}
    {'LR': (3, 64, 64), 'src_x': (3,)}
    """
    seed = getattr(simulator, "seed", 0) if seed is None else seed
    for argument, value, least in (("n", n, 1), ("batch_size", batch_size, 1), ("seed", seed, 0), ("first", first, 0)):
        check_whole(value, argument, least=least)
    if not str(path).lower().endswith(_SUFFIXES):
        raise InputError("path", "must end in .fits", path, "a set is written uncompressed; compress it afterwards")
    keys = tuple(simulator.keys) if keys is None else _check_keys(keys, simulator.keys)
    check_output(path, overwrite)
    with atomic_path(path, overwrite) as temporary, open(temporary, "xb") as file:
        starts = progress_bar(
            range(0, n, batch_size), description=f"batches of {batch_size}", show=None if progress else False
        )
        columns = {}
        for start in starts:
            batch = simulator.draw(min(batch_size, n - start), seed=seed, first=first + start, keys=keys)
            images = {key: batch[key] for key in keys if batch[key].ndim == 3}
            if start == 0:
                primary = _primary(simulator, n, seed, first)
                cubes = _reserve(file, primary, simulator, images, n, first)
            for key, image in images.items():
                cubes[key].write(file, start, image.detach().cpu().numpy())
            for key in keys:
                if key not in images:
                    columns.setdefault(key, []).append(_plain(batch[key], key))
        for cube in cubes.values():
            cube.close(file)
        _write_ends(file, primary, columns, simulator)
    return Path(path)


def read_set(path, keys=None, rows=None):
    """
    Read a set of simulated lenses, or part of it, as the simulator drew it.

    Parameters
    ----------
    path : str or path-like
        A file that `write_set` wrote.
    keys : sequence of str, optional
        What to read; all by default.
    rows : int, slice or sequence of int, optional
        Which images, from 0; all by default.  One number is a batch of one.

    Returns
    -------
    batch : dict
        Images as float32 tensors ``(n, rows, columns)``, numbers as float64 tensors ``(n,)``, texts as arrays of str
        ``(n,)``: equal to what ``simulator.draw`` gave, on the CPU.

    Raises
    ------
    lensing_sr.errors.InputError
        If it is no such file, has no such key, or not as many images.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lensing_sr.simulation import ReferenceSimulator, read_set, write_set
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_set(ReferenceSimulator(2, "cdm"), 4, Path(folder) / "set.fits", keys=("LR", "HR_model"))
    ...     read_set(path, keys=["HR_model"], rows=slice(1, 3))["HR_model"].shape
    torch.Size([2, 128, 128])
    """
    with _opened(path) as (places, count):
        wanted = tuple(places) if keys is None else _check_keys(keys, places)
        return _read(places, wanted, _check_rows(rows, count))


def stream_set(path, batch_size, keys=None, seed=None):
    """
    Go once through a set in batches, as training wants it; only the batch at hand is in memory.

    Parameters
    ----------
    path : str or path-like
        A file that `write_set` wrote.
    batch_size : int
        Images a batch; the last batch may have fewer.
    keys : sequence of str, optional
        What to read; all by default.
    seed : int, optional
        Shuffles the images: the same seed gives the same order, another epoch should have another seed.  By default
        they come as they lie in the file.

    Returns
    -------
    batches : iterator of dict
        As `read_set` gives them.

    Raises
    ------
    lensing_sr.errors.InputError
        As `read_set`, at once.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lensing_sr.simulation import ReferenceSimulator, stream_set, write_set
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_set(ReferenceSimulator(3, "no_sub"), 5, Path(folder) / "set.fits", keys=("LR", "src_x"))
    ...     for epoch in range(2):
    ...         print([len(batch["LR"]) for batch in stream_set(path, 2, seed=epoch)])
    [2, 2, 1]
    [2, 2, 1]
    """
    check_whole(batch_size, "batch_size", least=1)
    if seed is not None:
        check_whole(seed, "seed")
    with _opened(path) as (places, _):
        wanted = tuple(places) if keys is None else _check_keys(keys, places)
    return _batches(path, batch_size, wanted, seed)


def _batches(path, batch_size, wanted, seed):
    """The generator behind `stream_set`, whose arguments have been checked."""
    with _opened(path) as (places, count):
        order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
        for start in range(0, count, batch_size):
            yield _read(places, wanted, order[start : start + batch_size])


def _check_keys(keys, known):
    """The wanted keys, or an error that names those there are."""
    if isinstance(keys, str):
        raise InputError("keys", "must be a sequence of keys", repr(keys), f"write [{keys!r}]")
    keys = tuple(dict.fromkeys(keys))
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        raise InputError("keys", "must be among those of the set", ", ".join(map(repr, unknown)) or "none",
                         f"there are {', '.join(known)}")  # fmt: skip
    return keys


def _check_rows(rows, count):
    """Numbers of the wanted images."""
    if rows is None:
        return np.arange(count)
    if isinstance(rows, slice):
        return np.arange(count)[rows]
    wanted = np.atleast_1d(np.asarray(rows))
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or np.any((wanted < 0) | (wanted >= count)):
        raise InputError("rows", f"must be numbers of images from 0 to {count - 1}, or a slice", rows)
    return wanted


# Writing


def _primary(simulator, n, seed, first):
    """The header of the set, which tells how to make it again."""
    header = fits.Header()
    for keyword, (value, comment) in simulator.cards.items():
        room = 67 - max(20, len(str(value)) + 2 * isinstance(value, str))  # what a card of 80 leaves to the comment
        header[keyword] = (value, comment[: max(room, 0)])
    header["SEED"] = (int(seed), "seed of the random numbers")
    header["FIRST"] = (int(first), "number of the first image in the set")
    header["NIMAGES"] = (int(n), "images in this file")
    header["CREATOR"] = (f"lensing_sr {__version__}", "software that made this file")
    header["DATE"] = (now(), "UTC when this file was made")
    return header


def _cube_header(key, shape, unit, pixel_scale, first):
    """Header of an image extension without its checksums."""
    header = fits.Header()
    header["XTENSION"] = ("IMAGE", "Image extension")
    header["BITPIX"] = (-32, "array data type")
    header["NAXIS"] = (3, "number of array dimensions")
    for axis, size in enumerate(reversed(shape), 1):
        header[f"NAXIS{axis}"] = size
    header["PCOUNT"], header["GCOUNT"] = (0, "number of parameters"), (1, "number of groups")
    header["EXTNAME"] = (key.upper(), "extension name")
    header["SIMKEY"] = (key, "key of these images in a simulated set")
    header["BUNIT"] = (_unit_text(unit), "unit of the images")
    header["PIXSCALE"] = (pixel_scale, "[arcsec] size of a pixel")
    header["WCSAXES"] = 3
    for axis in (1, 2):
        header[f"CUNIT{axis}"] = "arcsec"
        header[f"CRPIX{axis}"] = (shape[-axis] + 1) / 2
        header[f"CRVAL{axis}"] = 0.0
        header[f"CDELT{axis}"] = pixel_scale
    header["CTYPE3"] = ("IMAGE", "number of the image in the set")
    header["CRPIX3"], header["CRVAL3"], header["CDELT3"] = 1.0, float(first), 1.0
    return header


def _unit_text(unit):
    return u.Unit(unit).to_string()


def _reserve(file, primary, simulator, images, n, first):
    """Lay out the file up to the table: where each cube lies.  The space is taken at once."""
    end, cubes = len(_ends_of(primary, None)), {}
    for key, image in images.items():
        shape = (int(n), *image.shape[1:])
        header = _cube_header(key, shape, simulator.units[key], float(simulator.pixel_scales[key]), first)
        cubes[key] = CubeExtension(header, shape, end)
        end = cubes[key].end
    file.truncate(end)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, end)
        except OSError as error:
            # A full disk is told now, not after hours of work; that a file system can't promise space is no reason.
            if error.errno == errno.ENOSPC:
                raise
    return cubes


def _plain(values, key):
    """Numbers as an array; texts as bytes, a quarter of the memory of str."""
    if torch.is_tensor(values):
        return values.detach().cpu().numpy()
    try:
        return np.char.encode(values, "ascii")
    except UnicodeEncodeError as error:
        raise OutputError(f"{key}: the texts must be ASCII to go into a FITS table ({error})") from error


def _table_unit(unit):
    """A unit as tables have it: the FITS standard has counts but no electrons, and readers warn of others."""
    unit = u.Unit(unit)
    if u.electron in unit.bases:
        unit = unit * (u.ct / u.electron) ** unit.powers[unit.bases.index(u.electron)]
    return unit.to_string("fits") or None


def _table(columns, simulator):
    """The table of the parameters."""
    parts = []
    for key, arrays in columns.items():
        values = np.concatenate(arrays)
        code = f"{max(values.dtype.itemsize, 1)}A" if values.dtype.kind == "S" else _FORMATS[values.dtype]
        parts.append(fits.Column(key, code, _table_unit(simulator.units[key]), array=values))
    return fits.BinTableHDU.from_columns(parts, name=TABLE)


def _ends_of(primary, table):
    """Bytes of the primary header and of the table behind it, with their checksums."""
    buffer = io.BytesIO()
    hdus = fits.HDUList([fits.PrimaryHDU(header=primary.copy())])
    # Told now, so that the header has its full length before there is a table.
    hdus[0].header["EXTEND"] = True
    if table is not None:
        hdus.append(table)
    hdus.writeto(buffer, checksum=True)
    return buffer.getvalue()


def _write_ends(file, primary, columns, simulator):
    """Write what stands before and after the cubes."""
    length = len(_ends_of(primary, None))
    ends = _ends_of(primary, _table(columns, simulator) if columns else None)
    file.seek(0)
    file.write(ends[:length])
    file.seek(0, os.SEEK_END)
    file.write(ends[length:])


# Reading


@contextmanager
def _opened(path):
    """The extensions and columns of a set by their keys, {key: HDU}, and how many images it has."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError("path", "must be an existing file", path, "check the name and the folder")
    rule, again = "must be a FITS file that write_set wrote", "it may be damaged or of another kind: write it again"
    with open(path, "rb") as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of a truncated file there is but a warning
                hdus = fits.open(file, memmap=True, lazy_load_hdus=False)
        except (OSError, ValueError, TypeError, KeyError, fits.VerifyError, Warning) as error:
            raise InputError("path", rule, f"{path} ({str(error).splitlines()[0]})", again) from error
        count = hdus[0].header.get("NIMAGES")
        places = {hdu.header["SIMKEY"]: hdu for hdu in hdus if "SIMKEY" in hdu.header}
        if TABLE in hdus:
            places.update({name: hdus[TABLE] for name in hdus[TABLE].columns.names})
        if count is None or not places:
            raise InputError("path", rule, f"{path}, which is none", again)
        yield places, int(count)


def _read(places, wanted, rows):
    """Copies of the rows, in the types of a draw."""
    batch = {}
    for key in wanted:
        hdu = places[key]
        # Chosen first: only these rows are read from the disk.
        values = np.asarray(hdu.data[rows] if hdu.is_image else hdu.data[rows].field(key))
        if values.dtype.kind in "SU":
            batch[key] = np.array(values, dtype=str)
        else:
            batch[key] = torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
    return batch
