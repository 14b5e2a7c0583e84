# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What an image takes from its instrument, in words: nothing is assumed in silence."""

from lensing_sr.image.noise import photon_defaults

__all__ = []

#: Pixels that are larger or smaller than the instrument's by this factor are worth a note.
_ANOTHER_SCALE = 1.3


def default_notes(image, taken):
    """Notes on what an image takes from its instrument, and on what speaks against that instrument.

    Parameters
    ----------
    image : `~lensing_sr.image.lens_image.LensImage`
        With an instrument.
    taken : set of str
        Of "psf" and "pixel_scale", those that are the instrument's.

    Returns
    -------
    list of str
    """
    instrument, notes = image.instrument, []

    def note(text, figure):
        notes.append(text + (" (approximate)" if figure in instrument.approximate else ""))

    pixel = float(image.grid.pixel_scale.value)
    if "pixel_scale" in taken:
        note(f"pixel scale of {instrument.title} taken: {instrument.pixel_scale:g} arcsec", "pixel_scale")
    elif max(pixel / instrument.pixel_scale, instrument.pixel_scale / pixel) > _ANOTHER_SCALE:
        expected = f"where {instrument.title} has {instrument.pixel_scale:g}"
        notes.append(f"pixels of {pixel:.4g} arcsec {expected}: check the instrument")
    if "psf" in taken and image.psf is not None:
        note(f"PSF of {instrument.title} taken: {image.psf.profile}", "psf_fwhm")
    if image.noise is None:
        for text in photon_defaults(image.header, image.unit, instrument):
            notes.append(f"{text} of {instrument.title} taken for the photon noise")
    return notes
