# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Figures as files."""

from lensing_sr.export.atomic import atomic_path

__all__ = ["save_figure"]


def save_figure(figure, path, overwrite=False):
    """
    Save a figure whole or not at all; the format follows the suffix.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        As `lens_figure` draws it.
    path, overwrite
        As in `lensing_sr.export.atomic.atomic_path`, which says what is raised; without a path nothing is saved.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The same.
    """
    if path is not None:
        with atomic_path(path, overwrite) as temporary:
            figure.savefig(temporary, dpi=150)
    return figure
