# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The simulated lens that comes with the package."""

from pathlib import Path

__all__ = ["example_path", "load_example"]


def example_path():
    """
    Where the example lies.

    A simulated lens as HST's ACS would see it: ``SCI``, ``ERR``, ``DQ`` (non-zero = ignore), ``PSF``, and ``TRUTH``, a
    table of what went in.  `lensing_sr.datasets.make_example` made it.

    Returns
    -------
    path : `~pathlib.Path`

    Examples
    --------
    >>> from lensing_sr.datasets.example import example_path
    >>> example_path().name
    'example_lens.fits'
    """
    return Path(__file__).parent / "data" / "example_lens.fits"


def load_example():
    """
    The example as an image, with its noise, mask and point-spread function.

    Returns
    -------
    image : `~lensing_sr.image.lens_image.LensImage`

    Examples
    --------
    >>> from lensing_sr.datasets.example import load_example
    >>> load_example().shape
    (120, 128)
    """
    from lensing_sr.image.lens_image import LensImage

    return LensImage.read(example_path())
