# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Files that appear whole or not at all."""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path

from lensing_sr.errors import OutputError

__all__ = ["atomic_path", "check_output", "write_text"]


def check_output(path, overwrite=False):
    """
    Whether a file may be written here, asked before any long work.

    Parameters
    ----------
    path : str or path-like
        Where the file shall be.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Returns
    -------
    path : `~pathlib.Path`

    Raises
    ------
    lensing_sr.errors.OutputError
        If the folder is missing, the path is a folder, or the file exists and must stay.

    Examples
    --------
    >>> from lensing_sr.export.atomic import check_output
    >>> check_output("no/such/folder/sr.fits")
    Traceback (most recent call last):
    ...
    lensing_sr.errors.OutputError: no/such/folder/sr.fits: the folder no/such/folder does not exist; make it first
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file in it")
    if not overwrite and path.exists():
        raise OutputError(f"{path}: exists already; choose another name, or allow it to be overwritten")
    return path


@contextmanager
def atomic_path(path, overwrite=False):
    """
    A temporary name in the same folder, renamed to the wanted one when the block ends well.

    On an error nothing is left behind: neither half a file nor a change to the file that was there before.

    Parameters
    ----------
    path : str or path-like
        Where the file shall be.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Yields
    ------
    temporary : `~pathlib.Path`
        Write here.  The name ends as the wanted one does, since writers choose the format by the suffix.

    Raises
    ------
    lensing_sr.errors.OutputError
        If the file may not be written here, or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lensing_sr.export.atomic import atomic_path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "note.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     [file.name for file in Path(folder).iterdir()]
    ['note.txt']
    """
    path = check_output(path, overwrite)
    # The same folder, since a rename is atomic only within one file system.
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        _flush(temporary)
        # Asked again: another process may have been faster.
        check_output(path, overwrite)
        os.replace(temporary, path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path):
    """Bring the file to the disk before its name, so that a crash leaves the old file or the new one."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text(path, text, overwrite=False):
    """
    Write a text file whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Where the file shall be.
    text : str
        What it shall hold, written as UTF-8.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    lensing_sr.errors.OutputError
        As `atomic_path`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lensing_sr.export.atomic import write_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "lens.reg", "image")
    ...     (Path(folder) / "lens.reg").read_text()
    'image'
    """
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
