# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The architecture as laws: who may import whom, what loads late, what loads without astropy."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lensing_sr

ROOT = Path(lensing_sr.__file__).parent

# A module imports only from rooms above its own, and from its own room.
ROOMS = (
    "errors",
    "utils",
    "solvers",
    "geometry",
    "instruments",
    "image",
    "lensing",
    "light",
    "forward",
    "metrics",
    "losses",
    "networks",
    "fit",
    "restore",
    "quality",
    "validation",
    "export",
    "simulation",
    "training",
    "plotting",
    "result",
    "_stack",
    "_readings",
    "_finding",
    "_explanation",
    "_intervals",
    "_fitted",
    "_estimated",
    "_refined",
    "_predicted",
    "_packing",
    "_assembly",
    "_batches",
    "_network",
    "_learning",
    "resolver",
    "datasets",
    "scripts",
)

# The few methods that reach down, inside their bodies, for a user's comfort: (module, function, room).
LATE = {
    ("lensing.deflection", "plot", "plotting"),
    ("lensing.deflection", "to_hdu", "export"),
    ("lensing.deflection", "write", "export"),
    ("light._source_files", "build_hdus", "export"),
    ("light._source_files", "to_image", "export"),
    ("light.pixel_source", "plot", "plotting"),
    ("light.pixel_source", "to_lenstronomy", "export"),
    ("light.pixel_source", "write", "export"),
    ("validation", "plot", "plotting"),
    ("light.sersic_source", "to_lenstronomy", "export"),
    ("training.curves", "plot", "plotting"),
}

# Never loaded by an import of ours: only inside the functions that need them.
HEAVY_OR_OPTIONAL = {"lenstronomy", "matplotlib", "skimage", "tqdm"}

# These train and run on a bare machine: torch and numpy, no astropy.
TENSOR_CORE = (
    "errors",
    "instruments.load",
    "image.kernels",
    "solvers.levenberg",
    "solvers.linear",
    "lensing.mass",
    "lensing.power_law_jacobian",
    "lensing.perturbers",
    "lensing.relens",
    "light.sersic",
    "light.gaussians",
    "light.spline",
    "forward.convolve",
    "forward.binning",
    "forward.model",
    "metrics.scores",
    "metrics.interpolation",
    "losses.published",
    "losses.reconstruction",
    "losses.total",
    "networks.deflection_network",
    "networks.features",
    "networks.lens_estimator",
    "networks.lens_finder",
    "networks.registry",
    "networks.srgan",
    "networks.weights",
    "simulation.detector",
    "simulation.population",
    "simulation.reference_models",
    "plotting.curves",
    "plotting.saving",
    "training.estimation",
    "training.finding",
    "training.fine_tuning",
    "training.recipe",
    "training.trainer",
)

SOURCES = sorted(path for path in ROOT.rglob("*.py") if "tests" not in path.relative_to(ROOT).parts)


def dotted(path):
    """Name a file as a module of the package, without the leading ``lensing_sr.``."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports_of(tree, module, is_package):
    """List what a module imports, as (full name, function that imports it or None for the module's own body)."""
    found = []

    def visit(node, function):
        if isinstance(node, ast.Import):
            found.extend((alias.name, function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["lensing_sr", *module.split(".")] if module else ["lensing_sr"]
                here = here[: len(here) - node.level + is_package]
                base = ".".join([*here, base]).rstrip(".")
            found.extend((f"{base}.{alias.name}", function) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
            visit(child, name)

    visit(tree, None)
    return found


@pytest.fixture(scope="module")
def imports():
    """Every import of every module: {module: [(full name, function), ...]}."""
    return {
        dotted(path): imports_of(ast.parse(path.read_text(), str(path)), dotted(path), path.name == "__init__.py")
        for path in SOURCES
    }


def test_scan_sees_every_way_to_import():
    tree = ast.parse(
        "import torch\nfrom .mass import sie\nfrom ..errors import InputError\n"
        "from lensing_sr import light\ndef f():\n    if True:\n        import lensing_sr.fit.start\n"
    )
    assert imports_of(tree, "lensing.deflection", False) == [
        ("torch", None),
        ("lensing_sr.lensing.mass.sie", None),
        ("lensing_sr.errors.InputError", None),
        ("lensing_sr.light", None),
        ("lensing_sr.fit.start", "f"),
    ]
    assert imports_of(ast.parse("from .mass import sie"), "lensing", True) == [("lensing_sr.lensing.mass.sie", None)]


def test_every_room_is_listed(imports):
    assert {module.partition(".")[0] for module in imports if module} <= set(ROOMS)


def test_import_order(imports):
    wrong, late = [], set()
    for module, names in imports.items():
        room = module.partition(".")[0]
        for name, function in names:
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package != "lensing_sr" or target == room:
                continue
            if target == "__version__" or (not module and target == "utils"):
                continue
            if target not in ROOMS:
                wrong.append(f"{module}: import from the room where it lives, not {name}")
            elif not room or ROOMS.index(target) >= ROOMS.index(room):
                late.add((module, function, target))
    assert not wrong
    assert late == LATE, "unlisted or outdated imports from below: (module, function, room)"
    assert all(function is not None for _, function, _ in late), "an import from below must be inside a function"


def test_heavy_packages_are_imported_late(imports):
    early = {
        (module, name)
        for module, names in imports.items()
        for name, function in names
        if function is None and name.partition(".")[0] in HEAVY_OR_OPTIONAL
    }
    assert not early


def test_only_plotting_draws(imports):
    drawing = {module for module, names in imports.items() for name, _ in names if name.startswith("matplotlib")}
    assert {module.partition(".")[0] for module in drawing} == {"plotting"}


def run_python(code):
    """Run code in a fresh interpreter, warnings as errors, and return what it prints."""
    # Inserted by path: the package under test need not be the installed one.
    code = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r})\n{code}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    loaded = run_python("import lensing_sr; lensing_sr.__version__; print(*sys.modules)").split()
    assert "lensing_sr" in loaded
    assert sorted({"torch", "matplotlib", "astropy", "numpy", "scipy", "photutils"} & set(loaded)) == []


def test_every_name_loads_without_matplotlib():
    loaded = run_python("from lensing_sr import *; LensingSuperResolver; print(*sys.modules)").split()
    assert "lensing_sr.resolver" in loaded
    # torch itself loads tqdm
    assert sorted((HEAVY_OR_OPTIONAL - {"tqdm"}) & set(loaded)) == []


def test_tensor_core_needs_no_astropy():
    blocked = "for name in ('astropy', 'photutils', 'matplotlib', 'lenstronomy'): sys.modules[name] = None\n"
    blocked += "import importlib\n"
    loads = "\n".join(f"importlib.import_module('lensing_sr.{module}')" for module in TENSOR_CORE)
    run_python(blocked + loads)


def test_the_block_blocks():
    code = "sys.modules['astropy'] = None\nimport importlib\n"
    code += "try: importlib.import_module('lensing_sr.geometry.grid')\nexcept ImportError: print('blocked')"
    assert run_python(code).strip() == "blocked"


@pytest.mark.parametrize("package", sorted(dotted(path) for path in SOURCES if path.name == "__init__.py"))
def test_packages_offer_what_they_say(package):
    room = importlib.import_module(f"lensing_sr.{package}".rstrip("."))
    offered = getattr(room, "__all__", [])
    modules = {path.stem for path in Path(room.__file__).parent.glob("[a-z]*.py")}
    if package not in ("", "scripts", "utils"):
        assert modules <= set(dir(room)), "a module is missing from the list of the package"
    assert len(set(offered)) == len(offered)
    for name in {*offered, *dir(room)}:
        value = getattr(room, name)
        if name in offered and name != "__version__":
            assert name in importlib.import_module(value.__module__).__all__, f"{name} is not public where it lives"
            assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_every_file_says_its_licence_and_purpose(path):
    text = path.read_text()
    assert text.startswith("# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst\n")
    assert ast.get_docstring(ast.parse(text)), "the module has no docstring"
