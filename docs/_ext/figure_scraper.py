# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Lets sphinx-gallery show figures that no window knows, as the package draws them: ``figure = result.plot()``."""

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

__all__ = ["scrape_figures"]


def scrape_figures(block, block_vars, gallery_conf):
    """Save each figure that a block of a tutorial binds to a name of its own, and show it below the block."""
    names = []
    for value in list(block_vars["example_globals"].values()):
        # pyplot's own figures are numbered, and taken by sphinx-gallery itself.
        if isinstance(value, Figure) and not hasattr(value, "number") and not hasattr(value, "_scraped"):
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=110)
            value._scraped = True
            names.append(path)
    return figure_rst(names, gallery_conf["src_dir"])


def _get_sg_image_scraper():
    """Found by sphinx-gallery, to which this module is given by name."""
    return scrape_figures
