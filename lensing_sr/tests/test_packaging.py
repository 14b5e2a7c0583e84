# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What the files around the package say, they say alike.  These tests need a checkout."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lensing_sr

ROOT = Path(lensing_sr.__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "constraints.txt").is_file(), reason="needs a checkout: the installed package comes without its files"
)


@pytest.fixture(scope="module")
def project():
    """The project table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins():
    """The versions of constraints.txt by canonical name."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    assert all(re.fullmatch(r"==[0-9a-z.]+", str(requirement.specifier)) for requirement in requirements)
    names = [canonicalize_name(requirement.name) for requirement in requirements]
    assert len(set(names)) == len(names)
    return {name: str(requirement.specifier)[2:] for name, requirement in zip(names, requirements)}


def test_every_dependency_is_pinned_within_its_range(project, pins):
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.name == project["name"]:
            assert requirement.extras <= set(project["optional-dependencies"])
            continue
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is pinned to {version}"


def test_unwanted_packages_are_not_pinned(pins):
    # torchvision replaces the CPU build of torch by gigabytes; jampy's licence forbids commercial use.
    assert not {"torchvision", "jampy"} & set(pins)


def test_one_version(project):
    assert project["dynamic"] == ["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == lensing_sr.__version__
    assert (ROOT / "CHANGES.rst").read_text().startswith(lensing_sr.__version__.partition(".dev")[0])


def test_core_imports_only_what_it_declares(project, pins):
    # What is not a dependency may still be there by chance, as a dependency of one.
    declared = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    declared |= {canonicalize_name(Requirement(text).name) for text in project["optional-dependencies"]["lenstronomy"]}
    found = set()
    for path in (ROOT / "lensing_sr").rglob("*.py"):
        if "tests" not in path.parts:
            found |= set(re.findall(r"^ *(?:import|from) ([A-Za-z_]\w*)", path.read_text(), re.MULTILINE))
    distributions = packages_distributions()
    used = {canonicalize_name(name) for module in found for name in distributions.get(module, [])}
    assert used - {"lensing-sr"} <= declared


@pytest.mark.parametrize("ran", ["fits2sr --example", "python -m pytest"])
def test_readme_has_one_command_for_each_first_step(ran):
    lines = [line.strip() for line in (ROOT / "README.rst").read_text().splitlines()]
    commands = [line for line in lines if line.startswith("python -m pip install -c constraints.txt") and ran in line]
    assert len(commands) == 1
