# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""FITS image extensions that are written piece by piece, with the checksums of the FITS standard.

The sum of a piece does not depend on the pieces before it, so that a cube larger than the memory gets its checksum
while it is written.
"""

import numpy as np

__all__ = ["CubeExtension", "checksum_text", "ones_complement_sum"]

BLOCK = 2880  # bytes; every header and every array of a FITS file fills whole blocks
# ASCII codes between the digits and the letters, which the standard keeps out of the text of a checksum.
_EXCLUDED = {*range(0x3A, 0x41), *range(0x5B, 0x61)}


def ones_complement_sum(data, total=0):
    """
    Sum of 32-bit big-endian words in ones' complement, as FITS' DATASUM has it.

    Parameters
    ----------
    data : bytes-like
        A multiple of 4 bytes.
    total : int, optional
        Sum of what came before.

    Returns
    -------
    total : int
        From 0 to 2^32 - 1.

    Examples
    --------
    >>> from lensing_sr.simulation._cubes import ones_complement_sum
    >>> ones_complement_sum(b"\\xff\\xff\\xff\\xff\\x00\\x00\\x00\\x02")
    2
    """
    total += int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)  # what is carried out at the top comes in below
    return total


def checksum_text(total):
    """
    The 16 characters under which CHECKSUM holds the complement of a sum.

    Parameters
    ----------
    total : int
        Ones' complement sum of the whole extension while CHECKSUM is sixteen zeros (the character "0").

    Returns
    -------
    text : str
        With it in the place of the zeros the extension sums to -0.  The FITS standard 4.0, appendix J.

    Examples
    --------
    >>> from lensing_sr.simulation._cubes import checksum_text
    >>> checksum_text(868229149)
    'hcHjjc9ghcEghc9g'
    """
    codes = np.zeros((4, 4), dtype=int)
    for place, byte in enumerate((0xFFFFFFFF - total).to_bytes(4, "big")):
        # Four characters that sum to the byte above four times "0"; pairs move apart until both are digits or letters.
        column = [byte // 4 + byte % 4 + 0x30, *3 * [byte // 4 + 0x30]]
        while _EXCLUDED & set(column):
            for i in (0, 2):
                if _EXCLUDED & {column[i], column[i + 1]}:
                    column[i], column[i + 1] = column[i] + 1, column[i + 1] - 1
        codes[:, place] = column
    # The value of a card begins in the twelfth column: turned by one, its characters fall on whole words.
    return bytes(np.roll(codes.ravel(), 1).tolist()).decode("ascii")


class CubeExtension:
    """
    One float32 image extension ``(n, rows, columns)`` in a file, to be filled in any order.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Its header, structure and all; DATASUM and CHECKSUM are added.
    shape : tuple of int
        ``(n, rows, columns)``.
    start : int
        Where in the file the extension begins, a multiple of 2880 bytes.
    """

    def __init__(self, header, shape, start):
        self.header, self.shape, self.start = header, tuple(shape), start
        self.header["CHECKSUM"] = ("0" * 16, "HDU checksum")
        self.header["DATASUM"] = ("0", "data unit checksum")
        self._data_start = start + len(self.header.tostring())
        self._total = 0

    @property
    def end(self):
        """Where in the file the next extension begins."""
        size = 4 * int(np.prod(self.shape, dtype=np.int64))
        return self._data_start + -(-size // BLOCK) * BLOCK

    def write(self, file, place, images):
        """
        Write images at their place in the cube.

        Parameters
        ----------
        file : binary file
            Open for writing.
        place : int
            Number of the first of them in the cube.
        images : array of shape (k, rows, columns)
            No image may be written twice.
        """
        data = np.ascontiguousarray(images, dtype=">f4")
        if data.shape[1:] != self.shape[1:] or not 0 <= place <= place + len(data) <= self.shape[0]:
            raise ValueError(f"images {data.shape} at {place} do not fit into a cube {self.shape}")
        file.seek(self._data_start + 4 * place * int(np.prod(self.shape[1:])))
        file.write(data.data)
        self._total = ones_complement_sum(data.data, self._total)

    def close(self, file):
        """
        Write the header, when all images are there.  The padding is what a file holds that was never written: zeros.

        Parameters
        ----------
        file : binary file
            Open for writing.
        """
        self.header["DATASUM"] = str(self._total)
        total = ones_complement_sum(self.header.tostring().encode("ascii"), self._total)
        self.header["CHECKSUM"] = checksum_text(total)
        file.seek(self.start)
        file.write(self.header.tostring().encode("ascii"))
