# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What holds for every test and doctest of the package and of its documentation."""

import os
from pathlib import Path

# The tests draw into files: no window, whatever the machine has.  Set before anything may import matplotlib.
os.environ["MPLBACKEND"] = "agg"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

try:
    from pytest_astropy_header.display import PYTEST_HEADER_MODULES, TESTED_VERSIONS
except ImportError:
    PYTEST_HEADER_MODULES, TESTED_VERSIONS = {}, {}

# Tests here share few cores with much else: a slow example is no failure.
settings.register_profile("lensing_sr", deadline=None, max_examples=25)
# The same examples every time: a change breaks a test where it is made, not in somebody else's run.
settings.register_profile("lensing_sr_ci", parent=settings.get_profile("lensing_sr"), derandomize=True)
settings.load_profile("lensing_sr_ci" if os.environ.get("CI") else "lensing_sr")


def pytest_configure(config):
    """Name the packages that matter in the header of a run, and share the cores between parallel runs."""
    import lensing_sr

    PYTEST_HEADER_MODULES.clear()
    for name in ("numpy", "scipy", "astropy", "photutils", "torch", "lenstronomy"):
        PYTEST_HEADER_MODULES[name] = name
    TESTED_VERSIONS["lensing_sr"] = lensing_sr.__version__
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_downloads():
    """Tables of the Earth's rotation are never fetched: nothing here depends on them."""
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False):
        yield


@pytest.fixture(autouse=True)
def _documentation_writes_elsewhere(request, tmp_path_factory):
    """Run the examples of the documentation's pages in a folder of their own, so that what they write stays there."""
    if Path(str(request.node.path)).suffix != ".rst":
        yield
        return
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("documentation"))
    try:
        yield
    finally:
        os.chdir(before)
