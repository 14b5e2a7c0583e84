# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""``python -m lensing_sr.training``: train a network as a recipe says."""

import argparse
import logging
import sys
import tomllib
import warnings
from importlib.util import find_spec
from pathlib import Path

from lensing_sr import __version__
from lensing_sr.utils._console import UsageError, check_device, run_tool, say, whole

__all__ = ["main"]

PROGRAM = "python -m lensing_sr.training"
DESCRIPTION = """\
Train a network by the physics of lensing, from low-resolution images alone.

CONFIG is a TOML file that says what is trained, on which images, by which loss and how
long, or the name of one that comes with the package; --list shows these.

The folder of a run holds checkpoint.pt (to go on with --resume), best.safetensors (the
weights that did best on the validation images), curves.csv (every term of the loss and
its weight, epoch by epoch), curves.png (the same, drawn at the end), training.log and a
copy of the recipe."""

EPILOG = """\
examples:
  python -m lensing_sr.training residual-cnn-model3
  python -m lensing_sr.training my.toml --output runs/my --epochs 5
  python -m lensing_sr.training my.toml --output runs/my --resume
  torchrun --nproc-per-node 2 -m lensing_sr.training residual-cnn-model3

Exit status: 0 if the training reached its end, 1 if it failed, 2 for wrong usage."""

#: Names in the folder of a run: copy of the recipe, figure of the learning curves.
COPY, FIGURE = "recipe.toml", "curves.png"

log = logging.getLogger("lensing_sr")


def build_parser():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="recipe: a TOML file, or the name of one of ours")
    parser.add_argument("--list", action="store_true", help="show the recipes that come with the package, and stop")
    parser.add_argument("--output", metavar="DIR", help="folder of the run (default: the recipe's name)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )
    parser.add_argument("--epochs", type=whole(1), metavar="N", help="epochs before the fine-tuning, not the recipe's")
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-v", "--verbose", action="store_true", help="show where an internal error comes from")
    talk.add_argument("-q", "--quiet", action="store_true", help="show errors only")
    parser.add_argument("--version", action="version", version=f"lensing_sr {__version__}")
    return parser


def _say(text):
    say("lensing_sr.training", text)


def _talk(options):
    """Send log and warnings to standard error, unless it shall be quiet; gives what undoes that."""
    handler, level, show = logging.StreamHandler(sys.stderr), log.level, warnings.showwarning
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.setLevel(logging.ERROR if options.quiet else logging.INFO)
    log.addHandler(handler)

    def shown(message, category, *_, **__):
        from lensing_sr.errors import LensingSRWarning

        if options.verbose or (issubclass(category, LensingSRWarning) and not options.quiet):
            _say(f"warning: {message}")

    warnings.showwarning = shown

    def undo():
        log.removeHandler(handler)
        log.setLevel(level)
        warnings.showwarning = show

    return undo


def _command(options, name):
    """The command as others would repeat it, without folders of this machine."""
    words = [PROGRAM, name]
    words += [f"--epochs {options.epochs}"] if options.epochs is not None else []
    words += [f"--device {options.device}"] if options.device != "auto" else []
    return " ".join(words)


def _list():
    from lensing_sr.training.recipe import list_recipes, read_recipe

    names = list_recipes()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {read_recipe(name).title}")


def _run(options):
    from lensing_sr.errors import InputError
    from lensing_sr.export.atomic import write_text
    from lensing_sr.training import parallel
    from lensing_sr.training.recipe import read_recipe

    if options.list:
        _list()
        return 0
    if options.config is None:
        raise UsageError("CONFIG is needed; --list shows the recipes that come with the package")
    try:
        recipe = read_recipe(options.config)
        check_device(options.device)
    except InputError as error:
        raise UsageError(str(error)) from None
    folder = Path(options.output or recipe.name)
    if options.resume:
        _check_resume(recipe, folder)
    with parallel.process_group(options.device) as device:
        try:
            trainer = recipe.trainer(
                folder, device=device, epochs=options.epochs, resume=options.resume,
                progress=False if options.quiet else None,
            )  # fmt: skip
        except InputError as error:
            raise UsageError(str(error)) from None
        name = recipe.name if str(options.config) == recipe.name else f"{recipe.name}.toml"
        trainer.facts = {"command": _command(options, name)} | trainer.facts
        if parallel.rank() == 0 and not options.resume:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / COPY, recipe.text, overwrite=True)
        history = trainer.run(resume=options.resume)
        # A bare machine with GPUs may have no matplotlib; the table is there in any case.
        if parallel.rank() == 0 and find_spec("matplotlib") is not None:
            history.plot(folder / FIGURE, title=recipe.title, overwrite=True)
        if parallel.rank() == 0 and not options.quiet:
            best = f"{trainer.criterion} {history.best:.4g} in epoch {history.best_epoch}"
            _say(f"{recipe.name}: {history.passes} passes, best {best} -> {folder / 'best.safetensors'}")
    return 0


def _check_resume(recipe, folder):
    """Raise where there is nothing to go on with, or another recipe than the run's is given."""
    if not (folder / "checkpoint.pt").is_file():
        raise UsageError(f"--resume: there is no checkpoint in {folder}; say which folder with --output")
    copy = folder / COPY
    if copy.is_file():
        held, given = tomllib.loads(copy.read_text(encoding="utf-8")), tomllib.loads(recipe.text)
        for tables in (held, given):  # more epochs are welcome
            tables["training"].pop("epochs", None)
        changed = sorted(key for key in held.keys() | given.keys() if held.get(key) != given.get(key))
        if changed:
            raise UsageError(f"--resume: {changed[0]} differs from the recipe of the run, {copy}; start another run")


def main(args=None):
    """
    Run ``python -m lensing_sr.training``.

    Parameters
    ----------
    args : list of str, optional
        The command line without the name of the program; that of the process by default.

    Returns
    -------
    status : int
        0 if the training reached its end, 1 if it failed, 2 for wrong usage, 130 if it was interrupted.
    """
    try:
        options = build_parser().parse_args(args)
    except SystemExit as stop:  # --help and --version end with 0, wrong options with 2
        return stop.code
    undo = _talk(options)
    memory = "not enough memory; use a smaller batch_size"
    interrupted = "interrupted; --resume goes on after the last epoch that was finished"
    try:
        return run_tool("lensing_sr.training", _run, options, memory=memory, interrupted=interrupted)
    finally:
        undo()


if __name__ == "__main__":
    sys.exit(main())
