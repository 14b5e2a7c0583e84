# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How the documentation is built.  Offline: sphinx-build -W -D disable_intersphinx=1 docs docs/_build/html"""

import os
import sys
import textwrap
import warnings
from pathlib import Path

# The documentation describes the checkout that it lies in, whatever else is installed.
DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]
# Figures go to files; a few cores are shared with other work.
os.environ["MPLBACKEND"] = "agg"
os.environ.setdefault("OMP_NUM_THREADS", "2")

from sphinx_astropy.conf.v3 import *  # noqa: E402, F401, F403
from sphinx_astropy.conf.v3 import exclude_patterns, extensions, intersphinx_mapping, rst_epilog  # noqa: E402

import ablation_table  # noqa: E402
import instrument_table  # noqa: E402
import network_table  # noqa: E402
import reference_table  # noqa: E402

import lensing_sr  # noqa: E402
from lensing_sr.scripts.fits2sr import build_parser  # noqa: E402

# A name that this package deprecates must not be used here; others' deprecations are theirs to mend.
warnings.filterwarnings("error", module=r"lensing_sr.*")

project = "lensing_sr"
author = "The lensing_sr developers"
copyright = f"2026, {author}"
version = release = lensing_sr.__version__

extensions += ["sphinx_gallery.gen_gallery"]
exclude_patterns += ["_build", "generated/**/*.ipynb", "tutorials/GALLERY_HEADER.rst"]

# Only what is linked to; each is fetched in an online build, and none with disable_intersphinx=1.
for name in ("h5py", "pythonloc", "astropy.org"):
    intersphinx_mapping.pop(name, None)
intersphinx_mapping["photutils"] = ("https://photutils.readthedocs.io/en/stable/", None)

# A modulus in a docstring reads as such in the source too; to docutils it looks like a substitution.
rst_epilog += "\n.. |gamma| replace:: \\|gamma\\|\n"

html_title = f"{project} {release}"
html_theme_options = {}
html_copy_source = False

# The pages are made of packages whose modules load late; what a package offers is its __all__.
automodsumm_inherited_members = False
automodapi_inheritance_diagram = False

# The console tool's own help becomes a page.
GENERATED = DOCS / "generated"
GENERATED.mkdir(exist_ok=True)
os.environ["COLUMNS"] = "100"
HELP = textwrap.indent(build_parser().format_help(), "    ")
(GENERATED / "fits2sr_help.inc").write_text(f".. code-block:: text\n\n{HELP}")
# So do the files of the instruments and the networks: no number is typed twice.
(GENERATED / "networks.inc").write_text(network_table.table())
(GENERATED / "instruments.inc").write_text(instrument_table.table())
(GENERATED / "instrument_sources.inc").write_text(instrument_table.sources())
# And the file that a benchmark wrote.
(GENERATED / "reference_provenance.inc").write_text(reference_table.provenance())
(GENERATED / "reference_fair.inc").write_text(reference_table.overview("fair_psnr"))
(GENERATED / "reference_stretched.inc").write_text(reference_table.overview("clean_psnr"))
(GENERATED / "ablation.inc").write_text(ablation_table.table())
(GENERATED / "reference_cells.inc").write_text(reference_table.cells())

plot_formats = [("png", 150)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {"figure.autolayout": False, "font.size": 9}
plot_apply_rcparams = True

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "generated/tutorials",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"[\\/]plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib", "figure_scraper"),
    "write_computation_times": False,
}
