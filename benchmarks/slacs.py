# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Real lenses, no human choice: Einstein radii of ``fits2sr`` against published ones.

Each lens is one ``fits2sr`` command.  SLACS cut-outs (HST/ACS; ``J*/image.fits`` with noise and PSF beside it, no WCS)
get only ``--psf --noise --pixel-scale``; the DESI ones (HST/WFC3; SCI, ERR and PSF by EXTNAME, with WCS) get nothing.
The published radii of SLACS come from SIE models without shear, which differ from fits with shear by 1-3 % from
convention alone.
SRTIME is what a lens takes without starting Python; name the network with ``--network`` to leave its loading out too
(it is then loaded with the resolver, and otherwise when it is first needed).
For comparison: TinyLensGPU on 63 SLACS agrees to about 5 % with 10 % catastrophes at some three minutes of GPU a lens.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

SLACS_PIXEL = "0.05"

#: beyond this a fit is a catastrophe, and within the other it is right (relative difference in theta_E)
OFF, RIGHT = 0.2, 0.1


def read_csv(path):
    """Rows of a table as dictionaries, by the name of the lens."""
    with open(path, newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def commands(folder):
    """Yield survey, name, published theta_E or None, whether it is good, and arguments of fits2sr of every lens."""
    for name, row in sorted(read_csv(folder / "slacs" / "published.csv").items()):
        files = folder / "slacs" / name
        given = ["--psf", files / "psf.fits", "--noise", files / "noise.fits", "--pixel-scale", SLACS_PIXEL]
        yield "SLACS", name, _number(row["theta_E_SIE_arcsec"]), row["good"] == "Yes", [files / "image.fits", *given]
    published = read_csv(folder / "desi_f140w" / "published.csv")
    for path in sorted((folder / "desi_f140w").glob("*.fits")):
        radius = _number(published.get(path.stem, {}).get("theta_E_arcsec"))
        yield "DESI", path.stem, radius, radius is not None, [path]


def _number(text):
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def run(program, arguments, output):
    """Run one command; returns a dictionary with the seconds it took and what the file says, or the error."""
    start = time.perf_counter()
    command = [*program, *map(str, arguments), "-o", str(output), "--overwrite", "-q"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = {"wall": time.perf_counter() - start}
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines() or ["no message"]
        return answer | {"error": f"exit {process.returncode}: {lines[-1]}"}
    header = fits.getheader(output)
    parameters = Table.read(output, hdu="LENSPARS")
    parameters = {str(row["NAME"]).strip(): (float(row["VALUE"]), float(row["ERR"])) for row in parameters}
    return answer | {
        "theta_E": parameters["theta_E"][0],
        "theta_E_err": parameters["theta_E"][1],
        "chi2": header["CHI2RED"],
        "seconds": header["SRTIME"],
        "flags": header["SRFLAGS"].strip(),
    }


def summarise(survey, rows):
    """Print what the measure asks for one survey; rows are (published, good, answer)."""
    crashed = sum("error" in answer for *_, answer in rows)
    done = [(radius, answer) for radius, good, answer in rows if good and radius and "error" not in answer]
    print(f"\n{survey}: {len(rows)} lenses, {crashed} failed; against the published theta_E of {len(done)} good ones:")
    if not done:
        return
    difference = np.array([abs(answer["theta_E"] / radius - 1) for radius, answer in done])
    flagged = np.array([bool(answer["flags"]) for _, answer in done])
    off, right = difference > OFF, difference < RIGHT
    print(f"  median |difference| {100 * np.median(difference):.2f} %")
    print(f"  off by more than {OFF:.0%}: {off.sum()}, of which without a flag: {(off & ~flagged).sum()}")
    print(f"  flagged among those within {RIGHT:.0%}: {(right & flagged).sum()} of {right.sum()}"
          f" ({100 * (right & flagged).sum() / max(right.sum(), 1):.0f} %)")
    every = [answer for *_, answer in rows if "error" not in answer]
    if every:
        print(f"  {'seconds':<28}{'median':>8}{'mean':>8}{'slowest':>9}")
    for name, key in (("SRTIME, without loading", "seconds"), ("whole command", "wall")) if every else ():
        values = [answer[key] for answer in every]
        print(f"  {name:<28}{np.median(values):8.2f}{np.mean(values):8.2f}{max(values):9.2f}")


def main(arguments=None):
    """Run the benchmark; returns 0 where no command failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slacs", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the folders slacs and desi_f140w are")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="lenses to run (default: all)")
    parser.add_argument("--output-dir", type=Path, help="keep the results here (default: they are thrown away)")
    group = parser.add_argument_group("passed on to fits2sr")
    group.add_argument("--method", choices=("auto", "network", "fit"), help="how to find the deflection")
    group.add_argument("--network", metavar="NAME", help="which network: a name or a file")
    group.add_argument("--source", choices=("auto", "sersic", "pixel"), help="source of a fit")
    group.add_argument("--no-potential", action="store_true", help="do not correct the smooth lens")
    parser.add_argument("--program", nargs="+", default=["fits2sr"], help="the command (default: fits2sr)")
    options = parser.parse_args(arguments)

    rows, chosen = {}, passed_on(options)
    print("fits2sr", *(chosen or ["as it is"]))
    print(f"{'lens':<16}{'published':>10}{'found':>9}{'error':>8}{'diff %':>8}{'good':>6}{'chi2':>8}"
          f"{'SRTIME':>8}{'wall':>7}  flags")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.output_dir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for survey, name, radius, good, given in commands(options.folder):
            if options.only and name not in options.only:
                continue
            answer = run(options.program, [*given, *chosen], folder / f"{name}_sr.fits")
            rows.setdefault(survey, []).append((radius, good, answer))
            print(line(name, radius, good, answer), flush=True)
    for survey, answers in rows.items():
        summarise(survey, answers)
    return 1 if any("error" in answer for answers in rows.values() for *_, answer in answers) else 0


def passed_on(options):
    """Arguments of fits2sr that say how to find the lens."""
    given = [("--method", options.method), ("--network", options.network), ("--source", options.source)]
    chosen = [text for name, value in given if value is not None for text in (name, value)]
    return chosen + (["--no-potential"] if options.no_potential else [])


def line(name, radius, good, answer):
    """One line of the table."""
    start = f"{name:<16}{radius if radius is not None else float('nan'):>10.3f}"
    if "error" in answer:
        return f"{start}  {answer['error']}"
    difference = 100 * (answer["theta_E"] / radius - 1) if radius else float("nan")
    return (f"{start}{answer['theta_E']:9.3f}{answer['theta_E_err']:8.4f}{difference:8.1f}{'yes' if good else 'no':>6}"
            f"{answer['chi2']:8.2f}{answer['seconds']:8.2f}{answer['wall']:7.2f}  {answer['flags']}")


if __name__ == "__main__":
    sys.exit(main())
