# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""``fits2sr``: FITS images of strong lenses in, super-resolved FITS images out."""

import argparse
import logging
import math
import re
import sys
import traceback
import warnings
from pathlib import Path

from lensing_sr import __version__
from lensing_sr.scripts._arguments import instrument, scale
from lensing_sr.utils._console import UsageError, positive, whole

__all__ = ["main"]

log = logging.getLogger("lensing_sr")

DESCRIPTION = """\
Super-resolve FITS images of galaxy-galaxy strong lenses with the physics of lensing.

Each IMAGE gives one FITS file with the super-resolved image, its uncertainty, mask and
point-spread function, the arcs, the source, the deflection field, the convergence, the
model, the residuals and the lens parameters."""

EPILOG = """\
examples:
  fits2sr --example
  fits2sr lens.fits --psf psf.fits --noise noise.fits --pixel-scale 0.05 --plot lens.png
  fits2sr mosaic.fits --ext SCI --cutout 150.1163 2.2058 8 -o lens_sr.fits
  fits2sr lens1.fits lens2.fits --psf-fwhm 0.16 --output-dir results
  fits2sr lens.fits --instrument euclid-vis

Exit status: 0 if every image was written (flagged ones too), 1 if one failed, 2 for wrong
usage."""

EXAMPLE_OUTPUT = ("lensing_sr_example.fits", "lensing_sr_example.png")
# Options that the example has no use for.
OF_AN_IMAGE = ("output", "output_dir", "plot", "ext", "psf", "psf_fwhm", "psf_oversampling", "noise", "noise_rms")
OF_AN_IMAGE += ("mask", "pixel_scale", "instrument", "cutout")


def build_parser():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="fits2sr", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="FITS file with an image of a lens")
    parser.add_argument(
        "--example",
        action="store_true",
        help=f"run on the simulated lens that comes with the package; writes {' and '.join(EXAMPLE_OUTPUT)}",
    )

    group = parser.add_argument_group("output")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "-o",
        "--output",
        metavar="OUT.fits",
        help="output file, for one IMAGE (default: IMAGE_sr.fits in the working directory)",
    )
    where.add_argument("--output-dir", metavar="DIR", help="folder of the output files")
    group.add_argument("--plot", metavar="PNG", help="also save a figure, for one IMAGE (.png, .pdf or .svg)")
    group.add_argument("--overwrite", action="store_true", help="replace existing files")
    group.add_argument(
        "--scale",
        type=scale,
        default=2,
        metavar="S",
        help="how many times finer, 1 to 16; need not be whole (default: 2)",
    )

    group = parser.add_argument_group("input")
    group.add_argument("--ext", metavar="NAME", help="extension that holds the image: its name or number")
    kernel = group.add_mutually_exclusive_group()
    kernel.add_argument("--psf", metavar="FILE[,EXT]", help="point-spread function")
    kernel.add_argument(
        "--psf-fwhm", type=positive, metavar="ARCSEC", help="full width at half maximum of a Gaussian PSF"
    )
    group.add_argument(
        "--psf-oversampling", type=whole(), metavar="N", help="PSF pixels in an image pixel, per axis (default: 1)"
    )
    noise = group.add_mutually_exclusive_group()
    noise.add_argument("--noise", metavar="FILE[,EXT]", help="standard deviation of each pixel")
    noise.add_argument(
        "--noise-rms", type=positive, metavar="X", help="one standard deviation for all pixels, in image units"
    )
    group.add_argument("--mask", metavar="FILE[,EXT]", help="pixels to ignore: non-zero = ignore")
    group.add_argument(
        "--pixel-scale", type=positive, metavar="ARCSEC", help="pixel size, where the header does not say it"
    )
    group.add_argument(
        "--instrument",
        type=instrument,
        metavar="NAME",
        help="telescope and band whose PSF, exposure time, gain and pixel size stand in for what neither the options "
        "nor the file say: a name, or a .toml file; list shows the names",
    )
    group.add_argument(
        "--cutout",
        nargs=3,
        metavar=("RA", "DEC", "SIZE"),
        help="work on a square around this position (degrees, or 10h00m28.0s +02d12m21s) of this size in arcsec",
    )

    group = parser.add_argument_group("method")
    group.add_argument(
        "--method",
        choices=("auto", "network", "fit"),
        default="auto",
        help="how to find the deflection: by a fit that a network starts (auto, the default), by a network alone, or "
        "by a fit from a coarse search",
    )
    group.add_argument(
        "--network",
        metavar="NAME",
        help="which network: a name, or a .safetensors file (default: lens-estimator); list shows the names",
    )
    group.add_argument("--no-lens-light", action="store_true", help="the lens galaxy's light was already subtracted")
    group.add_argument(
        "--source",
        choices=("auto", "sersic", "pixel"),
        default="auto",
        help="source of a fit: a Sersic profile, with structure if the evidence asks for it (auto) or always (pixel)",
    )
    group.add_argument("--no-potential", action="store_true", help="the fit shall not correct the smooth lens")
    group.add_argument(
        "--validate",
        action="store_true",
        help="also withhold pixels of the image, super-resolve it without them and say how much better than "
        "interpolation they are met; with --plot NAME.png also saves NAME_validation.png",
    )
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )
    group.add_argument("--seed", type=whole(), default=0, metavar="N", help="seed of the random numbers (default: 0)")

    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-v", "--verbose", action="store_true", help="show the log")
    talk.add_argument("-q", "--quiet", action="store_true", help="show errors only")
    parser.add_argument("--version", action="version", version=f"fits2sr {__version__}")
    return parser


def _shield_negative(arguments):
    """Keep argparse from taking a declination such as -08:45:51 for an option: it leaves alone what holds a space."""
    shielded = list(arguments)
    for place, text in enumerate(arguments):
        if "--cutout" in arguments[max(place - 3, 0) : place] and re.match(r"-\d", text):
            shielded[place] = f" {text}"
    return shielded


def _plan(options):
    """List (input, output) and the output of the figure; raise where one cannot be written."""
    from lensing_sr.datasets.example import example_path
    from lensing_sr.errors import OutputError
    from lensing_sr.export.atomic import check_output

    figure = options.plot
    if options.example:
        jobs, figure = [(str(example_path()), EXAMPLE_OUTPUT[0])], EXAMPLE_OUTPUT[1]
    elif options.output:
        jobs = [(options.images[0], options.output)]
    else:
        folder = Path(options.output_dir or ".")
        jobs = [(image, str(folder / f"{_stem(image)}_sr.fits")) for image in options.images]
    outputs = [output for _, output in jobs] + ([figure] if figure else [])
    outputs += [_beside(figure)] if figure and options.validate else []
    twice = {output for output in outputs if outputs.count(output) > 1}
    if twice:
        raise UsageError(
            f"several images would be written to {min(twice)}; run them apart, each with its own --output-dir"
        )
    for output in outputs:
        try:
            check_output(output, options.overwrite)
        except OutputError as error:
            hint = " (--overwrite replaces it)" if Path(output).is_file() else ""
            raise UsageError(f"{error}{hint}") from None
        if any(Path(output).exists() and Path(output).samefile(image) for image, _ in jobs if Path(image).exists()):
            raise UsageError(f"{output}: is the input itself; choose another name with -o")
    if figure and Path(figure).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--plot: must end in .png, .pdf or .svg, got {figure}")
    return jobs, figure


def _beside(figure):
    """Name of the figure of a validation, from that of the result."""
    return str(Path(figure).with_stem(f"{Path(figure).stem}_validation"))


def _stem(image):
    """Name of a FITS file without what says that it is one."""
    return re.sub(r"\.(fits?|fts)?(\.(gz|bz2|fz))?$", "", Path(image).name, flags=re.IGNORECASE)


def _check_usage(options):
    """Raise where options contradict each other."""
    several = len(options.images) > 1
    if options.example:
        given = [name for name in OF_AN_IMAGE if getattr(options, name) is not None]
        if options.images or given:
            wrong = options.images[0] if options.images else f"--{given[0].replace('_', '-')}"
            raise UsageError(f"--example brings its own image and names; leave out {wrong}")
    elif not options.images:
        raise UsageError("no IMAGE given; fits2sr --example shows what it does")
    for name in ("output", "plot", "cutout") if several else ():
        if getattr(options, name) is not None:
            remedy = "use --output-dir" if name == "output" else "run the images one by one"
            raise UsageError(f"--{name}: is for one IMAGE, got {len(options.images)}; {remedy}")
    if options.network is not None and options.method == "fit":
        raise UsageError("--network: has no use with --method fit; leave one of them out")
    if options.psf_oversampling == 0:
        raise UsageError("--psf-oversampling: must be at least 1, got 0")
    if options.psf_oversampling is not None and options.psf is None:
        raise UsageError("--psf-oversampling: says how finely a kernel is sampled; give the kernel with --psf")
    if options.output_dir is not None and not Path(options.output_dir).is_dir():
        raise UsageError(f"--output-dir: there is no folder {options.output_dir}; make it first")
    for name in ("psf", "noise", "mask"):
        text = getattr(options, name)
        if text is not None and not (Path(text).is_file() or Path(text.rpartition(",")[0]).is_file()):
            raise UsageError(f"--{name}: there is no file {text}; give FILE or FILE,EXT")


def _how_to_read(options):
    """Keywords of ``super_resolve`` from the options."""
    import astropy.units as u

    ext = options.ext
    if ext is not None and ext.isdigit():
        ext = int(ext)
    return {
        "ext": ext,
        "psf": options.psf if options.psf_fwhm is None else options.psf_fwhm * u.arcsec,
        "psf_oversampling": options.psf_oversampling or 1,
        "noise": options.noise if options.noise_rms is None else options.noise_rms,
        "mask": options.mask,
        "pixel_scale": None if options.pixel_scale is None else options.pixel_scale * u.arcsec / u.pix,
        "cutout": _cutout(options.cutout),
        "instrument": options.instrument,
    }


def _cutout(texts):
    """(SkyCoord, size) of --cutout RA DEC SIZE."""
    if texts is None:
        return None
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    ra, dec, size = (text.strip() for text in texts)
    try:
        # Colons and letters are sexagesimal (hours and degrees), plain numbers are degrees.
        hours = bool(re.search(r"[h:\s]", ra))
        position = SkyCoord(ra, dec, unit=(u.hourangle if hours else u.deg, u.deg))
        length = float(size)
    except ValueError as error:
        raise UsageError(f"--cutout: must be RA DEC SIZE, got {' '.join(texts)} ({error})") from None
    if not 0 < length < float("inf"):
        raise UsageError(f"--cutout: the size must be a positive number of arcsec, got {size}")
    return position, length * u.arcsec


def _make_resolver(options):
    from lensing_sr.resolver import LensingSuperResolver

    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device: cuda is not there (torch sees no CUDA device); use cpu or auto")
    return LensingSuperResolver(
        scale=options.scale,
        method=options.method,
        network=options.network,
        lens_light=False if options.no_lens_light else "auto",
        source=options.source,
        potential=False if options.no_potential else "auto",
        device=options.device,
        seed=options.seed,
    )


def _instruments():
    """Names and titles of the instruments, a line each."""
    from lensing_sr.instruments import instruments

    known = instruments()
    width = max(map(len, known))
    return "\n".join(f"{name:{width}}  {known[name].title}" for name in known)


def _networks():
    """Names of the networks of the package and what they were trained on, a line each."""
    from lensing_sr.networks.registry import CHOICES, FOLDER, REGISTRY
    from lensing_sr.networks.weights import read_metadata

    titles = {name: read_metadata(FOLDER / REGISTRY[name].file)["metadata"]["title"] for name in CHOICES}
    width = max(map(len, titles))
    return "\n".join(f"{name:{width}}  {title}" for name, title in titles.items())


def _say(text):
    print(text, file=sys.stderr)


def _talk(options):
    """Send the log and the warnings to stderr, as loud as was asked."""
    log.setLevel(logging.INFO if options.verbose else logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("fits2sr: %(message)s"))
    handler.setLevel(logging.ERROR if options.quiet else logging.NOTSET)
    log.addHandler(handler)
    log.propagate = False

    def show(message, category, *_, **__):
        from lensing_sr.errors import LensingSRWarning

        # What others warn of (dates in headers, mostly) is for who asked for the log.
        if options.verbose or issubclass(category, LensingSRWarning):
            _say(f"fits2sr: warning: {message}")

    if options.quiet:
        warnings.simplefilter("ignore")
    else:
        warnings.simplefilter("always" if options.verbose else "default")
        warnings.showwarning = show
    return handler


def _run(options):
    from lensing_sr.errors import LensingSRError
    from lensing_sr.utils._progress import progress

    _check_usage(options)
    reading = _how_to_read(options)
    jobs, figure = _plan(options)
    try:
        resolver = _make_resolver(options)
    except LensingSRError as error:
        raise UsageError(str(error)) from None
    failed = 0
    bar = progress(jobs, description="lenses", show=False if options.quiet or len(jobs) == 1 else None)

    def say(text):
        # A line that is printed across the bar would leave half of it behind.
        bar.write(text, file=sys.stderr) if hasattr(bar, "write") else _say(text)

    for path, output in bar:
        image = "example" if options.example else path
        try:
            result = resolver.super_resolve(path, **reading)
            verdict = _validate(resolver, path, reading, result) if options.validate else ""
            result.write(output, overwrite=options.overwrite)
            figures = [figure] if figure else []
            if figure:
                result.plot(figure, overwrite=options.overwrite)
            if figure and options.validate and result.validation is not None:
                figures.append(_beside(figure))
                result.validation.plot(figures[-1], overwrite=options.overwrite)
        except (LensingSRError, OSError) as error:
            failed += 1
            say(f"fits2sr: {image}: {error}")
        except MemoryError:
            failed += 1
            say(f"fits2sr: {image}: not enough memory; use --cutout or a smaller --scale")
        except Exception as error:  # one image must not take the others with it
            failed += 1
            say(f"fits2sr: {image}: internal error ({type(error).__name__}: {error}); please report it, run with -v")
            if options.verbose:
                traceback.print_exc()
        else:
            if not options.quiet:
                say(_summary(image, [output, *figures], result))
                if verdict:
                    say(f"{image}: {verdict}")
    return 1 if failed else 0


def _validate(resolver, path, reading, result):
    """Validate the result, into itself, and say how it went; one that cannot be validated is a result all the same."""
    from lensing_sr.errors import LensingSRError

    try:
        result.validation = resolver.validate(path, result=result, **reading)
    except LensingSRError as error:
        return f"not validated: {error}"
    return result.validation.verdict


def _summary(image, outputs, result):
    """One line on a result."""
    row = result.parameters.loc["theta_E"]
    text = f"{image}: theta_E = {row['value']:.3f} +- {row['error']:.3f} arcsec, chi2 = {result.quality.chi2:.2f}"
    if not math.isnan(result.quality.lens_probability):
        text += f", a lens by {result.quality.lens_probability:.0%}"
    flags = ", ".join(result.quality.flags)
    return f"{text}, {'flags: ' + flags if flags else 'no flags'} -> {', '.join(outputs)}"


def main(args=None):
    """
    Run ``fits2sr``.

    Parameters
    ----------
    args : list of str, optional
        The command line without the name of the program; that of the process by default.

    Returns
    -------
    status : int
        0 if every image was written, 1 if one failed, 2 for wrong usage.
    """
    parser = build_parser()
    try:
        options = parser.parse_args(_shield_negative(sys.argv[1:] if args is None else args))
    except SystemExit as stop:  # --help and --version end with 0, wrong options with 2
        return stop.code
    for name, listing in (("instrument", _instruments), ("network", _networks)):
        if getattr(options, name) == "list":
            print(listing())
            return 0
    with warnings.catch_warnings():
        level, propagate = log.level, log.propagate
        handler = _talk(options)
        try:
            return _run(options)
        except UsageError as error:
            _say(f"fits2sr: {error}")
            return 2
        except KeyboardInterrupt:
            _say("fits2sr: interrupted")
            return 130
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            log.propagate = propagate


if __name__ == "__main__":
    sys.exit(main())
