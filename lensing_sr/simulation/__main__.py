# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""``python -m lensing_sr.simulation``: a set of simulated lenses with known truth as one FITS file."""

import argparse
import re
import sys
import textwrap
from pathlib import Path

from lensing_sr import __version__
from lensing_sr.utils._console import UsageError, check_device, positive, run_tool, say, whole

__all__ = ["main"]

PROGRAM = "python -m lensing_sr.simulation"
DESCRIPTION = """\
Simulate strong lenses with known truth and write them as one FITS file.

MODEL is a reference telescope (1, 2, 3 or model-1, model-2, model-3) with a class of dark
matter (no_sub, axion, cdm, subhalos), or an instrument with a population of galaxies (lens,
negative, mixed). --list shows them all."""

EPILOG = """\
examples:
  python -m lensing_sr.simulation 2 cdm -n 100 -o cdm.fits
  python -m lensing_sr.simulation 1 no_sub -n 5000 --keys LR,HR_model,src_x,src_y -o model1.fits
  python -m lensing_sr.simulation euclid-vis mixed --preset euclid --seed 7 -o euclid.fits

Exit status: 0 if the file was written, 1 if that failed, 2 for wrong usage."""

#: Which share of the images of a population are no lenses, and what to call that.
POPULATION = {"lens": 0.0, "negative": 1.0, "mixed": 0.5}
# Options that only one of the two kinds of simulator has.
OF_A_MODEL = {"corrected": False, "engine": None}
OF_AN_INSTRUMENT = {"preset": None, "arc_sn": None}


def build_parser():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="reference telescope or instrument")
    parser.add_argument("kind", metavar="CLASS", nargs="?", help="class of dark matter, or of galaxies")
    parser.add_argument("--list", action="store_true", help="show models, instruments, classes and keys, and stop")

    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", metavar="SET.fits", help="output file")
    group.add_argument("-n", type=whole(1), default=100, metavar="N", help="how many images (default: 100)")
    group.add_argument(
        "--keys", metavar="KEY,KEY", help="what to write, of the keys that --list shows (default: everything)"
    )
    group.add_argument("--overwrite", action="store_true", help="replace an existing file")

    group = parser.add_argument_group("random numbers")
    group.add_argument("--seed", type=whole(0), default=0, metavar="N", help="seed of the set (default: 0)")
    group.add_argument(
        "--first", type=whole(0), default=0, metavar="N",
        help="number of the first image: sets of one seed are continued with it (default: 0)",
    )  # fmt: skip

    group = parser.add_argument_group("reference telescopes")
    group.add_argument(
        "--corrected", action="store_true", help="without the mistakes of the reference, in pixels and in noise"
    )
    group.add_argument("--engine", choices=("torch", "lenstronomy"), help="who renders (default: torch)")

    group = parser.add_argument_group("instruments")
    names = "population: broad, bright, group, euclid or hst (default: broad)"
    group.add_argument("--preset", metavar="NAME", help=names)
    group.add_argument(
        "--arc-sn", type=positive, nargs=2, metavar=("LOW", "HIGH"), help="range of the arcs' signal-to-noise ratio"
    )

    group = parser.add_argument_group("computing")
    group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    group.add_argument(
        "--batch", type=whole(1), default=64, metavar="N", help="images in memory at a time (default: 64)"
    )

    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-v", "--verbose", action="store_true", help="show where an internal error comes from")
    talk.add_argument("-q", "--quiet", action="store_true", help="show errors only")
    parser.add_argument("--version", action="version", version=f"lensing_sr {__version__}")
    return parser


def _number_of_model(name):
    """1, 2 or 3 for a reference telescope in any spelling, None for anything else."""
    found = re.fullmatch(r"(model)?[ _-]?([123])", name.strip().lower())
    return int(found[2]) if found else None


def _say(text):
    say("lensing_sr.simulation", text)


def _flag(name):
    return f"--{name.replace('_', '-')}"


def _refuse(options, defaults, whose):
    """Raise where an option was given that this kind of simulator doesn't have."""
    for name, default in defaults.items():
        if getattr(options, name) != default:
            raise UsageError(f"{_flag(name)}: is for {whose} only, not for {options.model}")


def _check_usage(options):
    """Raise where something is missing or options contradict each other."""
    if options.model is None or options.kind is None:
        raise UsageError("MODEL and CLASS are needed; --list shows them")
    if options.output is None:
        raise UsageError("no output file given; add -o SET.fits")
    if options.arc_sn is not None and options.arc_sn[0] > options.arc_sn[1]:
        raise UsageError(f"--arc-sn: LOW must not be above HIGH, got {options.arc_sn[0]:g} {options.arc_sn[1]:g}")


def _check_lenstronomy():
    from lensing_sr.utils._optional_deps import import_optional

    try:
        import_optional("lenstronomy", extra="lenstronomy", purpose="--engine lenstronomy")
    except ImportError as error:
        raise UsageError(str(error)) from None


def _make_simulator(options):
    """The simulator that the command line asks for."""
    number = _number_of_model(options.model)
    if number is not None:
        from lensing_sr.simulation.reference_models import ReferenceSimulator
        from lensing_sr.simulation.substructure import CLASSES

        _refuse(options, OF_AN_INSTRUMENT, "instruments")
        if options.kind not in CLASSES:
            raise UsageError(f"CLASS: must be one of {', '.join(CLASSES)} for model-{number}, got {options.kind}")
        engine = options.engine or "torch"
        if engine == "lenstronomy":
            _check_lenstronomy()
        return ReferenceSimulator(
            number, options.kind, faithful=not options.corrected, engine=engine, device=options.device
        )
    from lensing_sr.instruments import load_instrument
    from lensing_sr.simulation.population import LensPopulation

    instrument = load_instrument(options.model)
    _refuse(options, OF_A_MODEL, "reference telescopes")
    if options.kind not in POPULATION:
        raise UsageError(
            f"CLASS: must be one of {', '.join(POPULATION)} for {instrument.name}, got {options.kind}"
        )
    more = {} if options.arc_sn is None else {"arc_sn": tuple(options.arc_sn)}
    return LensPopulation(
        instrument, preset=options.preset or "broad", negatives=POPULATION[options.kind], device=options.device, **more
    )


def _list():
    """Print what there is."""
    from lensing_sr.instruments import instruments
    from lensing_sr.simulation.population import LensPopulation
    from lensing_sr.simulation.presets import PRESETS
    from lensing_sr.simulation.reference_models import ReferenceSimulator
    from lensing_sr.simulation.substructure import CLASSES

    known = instruments()
    models = [name for name in known if _number_of_model(name)]
    others = [name for name in known if name not in models]
    for title, names in (("reference telescopes", models), ("instruments", others)):
        print(f"{title:<24}{'':<24}{'pixel':>8}{'PSF FWHM':>12}{'cut-out':>14}")
        for name in names:
            one = known[name]
            psf = f'{one.psf_fwhm:.3g}"' if one.psf_fwhm > 0 else "none"
            shape = " x ".join(map(str, one.shape))
            pixel = f'{one.pixel_scale:g}"'
            print(f"  {name:<22}{one.title:<24}{pixel:>8}{psf:>12}{shape:>14}")
        print()
    print(f"classes of a reference telescope: {', '.join(CLASSES)}")
    print(f"classes of an instrument: {', '.join(POPULATION)}; presets: {', '.join(PRESETS)}")
    for title, simulator in (("a reference telescope", ReferenceSimulator()), ("an instrument", LensPopulation())):
        print("\n" + textwrap.fill(f"keys of {title}: {', '.join(simulator.keys)}", 100, subsequent_indent="  "))


def _run(options):
    from lensing_sr.errors import InputError, OutputError
    from lensing_sr.export.atomic import check_output
    from lensing_sr.simulation.files import write_set

    if options.list:
        _list()
        return 0
    _check_usage(options)
    try:
        check_output(options.output, options.overwrite)
    except OutputError as error:
        hint = " (--overwrite replaces it)" if Path(options.output).is_file() else ""
        raise UsageError(f"{error}{hint}") from None
    keys = None if options.keys is None else [key.strip() for key in options.keys.split(",") if key.strip()]
    try:
        check_device(options.device)
        simulator = _make_simulator(options)
        path = write_set(
            simulator, options.n, options.output, seed=options.seed, first=options.first, batch_size=options.batch,
            keys=keys, overwrite=options.overwrite, progress=not options.quiet,
        )  # fmt: skip
    except InputError as error:
        raise UsageError(str(error)) from None
    if not options.quiet:
        size = path.stat().st_size / 1e6
        images = "1 image" if options.n == 1 else f"{options.n} images"
        _say(f"{options.model} {options.kind}: {images}, {size:.1f} MB -> {path}")
    return 0


def main(args=None):
    """
    Run ``python -m lensing_sr.simulation``.

    Parameters
    ----------
    args : list of str, optional
        The command line without the name of the program; that of the process by default.

    Returns
    -------
    status : int
        0 if the file was written, 1 if that failed, 2 for wrong usage, 130 if it was interrupted.
    """
    try:
        options = build_parser().parse_args(args)
    except SystemExit as stop:  # --help and --version end with 0, wrong options with 2
        return stop.code
    memory = "not enough memory; use a smaller --batch"
    interrupted = "interrupted, nothing was written"
    return run_tool("lensing_sr.simulation", _run, options, memory=memory, interrupted=interrupted)


if __name__ == "__main__":
    sys.exit(main())
