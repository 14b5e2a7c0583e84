# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The instruments as tables of a page, made of the same files that the package reads."""

from lensing_sr.instruments import instruments

__all__ = ["sources", "table"]

COLUMNS = {
    "pixel_scale": "Pixel",
    "psf_fwhm": "PSF",
    "zero_point": "Zero point",
    "exposure_time": "Exposure",
    "sky_brightness": "Sky",
    "read_noise": "Read noise",
    "gain": "Gain",
}


def _cell(instrument, key):
    value = getattr(instrument, key)
    if key == "psf_fwhm" and instrument.psf_profile == "none":
        return "none"
    if value is None:
        return "–"
    text, marks = f"{value:g}", {key}
    if key == "psf_fwhm":
        text += f" {instrument.psf_profile.title()}"
        marks.add("psf_profile")
        if instrument.psf_beta is not None:
            text += f" {instrument.psf_beta:g}"
            marks.add("psf_beta")
    if key == "exposure_time":
        text += f" x {instrument.exposures}"
        marks.add("exposures")
    return ("~ " if marks & instrument.approximate else "") + text


def table():
    """One row an instrument, as reStructuredText."""
    lines = [".. list-table::", "    :header-rows: 1", ""]
    lines += ["    * - Name", *(f"      - {title}" for title in COLUMNS.values())]
    for name, instrument in instruments().items():
        lines += [f"    * - ``{name}``", *(f"      - {_cell(instrument, key)}" for key in COLUMNS)]
    return "\n".join(lines) + "\n"


def sources():
    """Where each figure is from, as reStructuredText."""
    lines = []
    for name, instrument in instruments().items():
        lines += [f"**{instrument.title}** (``{name}``)", ""]
        for key, source in instrument.sources.items():
            value = getattr(instrument, key)
            text = f"{value:g}" if isinstance(value, float) else str(value)
            mark = " (approximate)" if key in instrument.approximate else ""
            lines.append(f"- ``{key}`` {text}{mark}: {source}")
        lines.append("")
    return "\n".join(lines)
