# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What each constraint of the loss is worth: small residual CNNs, each trained with one thing changed.

All rows see the same stream of low-resolution images of one reference telescope, all three classes of dark matter in
turns, and begin with the same random numbers.  Of each the epoch of the best chi-square on validation images counts.
Scored is the re-lensed image alone, as the row's own source model has it, on fresh draws:

no_sub, axion, cdm  fair PSNR in dB (flux units, truth without noise, its peak is 1), medians of the images.
mean      of the three.
full      that mean where every row has the full Sersic fit and the PSF: what the deflection by itself is worth.
alpha     rms error of the deflection between 0.5 and 1.6 theta_E, median of the images, arcsec.
chi2      chi-square a pixel of the low-resolution images under the row's re-lensed image, median of the images.
worth     mean of the row less that of the row from which it differs, in dB.

*other-start* differs by nothing but the random start: a smaller difference than its own says nothing.  The truth is
read by the scoring only.  Lines beside: interpolations of the same images, and the true deflection with the full fit.

A row takes minutes; those that are in the output file, with the same settings, are not trained again.
"""

import argparse
import dataclasses
import math
import os
import sys
import time
from pathlib import Path

from benchmarks.ablation_rows import ROWS, make_loss
from benchmarks.fresh import draw_fresh
from lensing_sr.utils._console import whole

CLASSES = ("no_sub", "axion", "cdm")
#: the network of every row; wider and deeper ones gain in all rows alike
NETWORK = {
    "network": "residual-cnn", "channels": 24, "blocks": 2, "norm": "group", "scaling": "snr", "inputs": ["r"],
    "head": "convergence",
}  # fmt: skip
BATCH, EPOCHS, RATE = 8, 10, 1e-3
#: images that choose the best epoch
VALIDATION = 48
#: theta_E between which the deflection is compared
ANNULUS = (0.5, 1.6)

NUMBERS = ("no_sub", "axion", "cdm", "mean", "full", "alpha", "chi2")
UNITS = dict.fromkeys(("no_sub", "axion", "cdm", "mean", "full"), "dB") | {"alpha": "arcsec", "chi2": ""}
FORMATS = dict.fromkeys(NUMBERS, "8.2f") | {"alpha": "8.4f", "chi2": "8.3f"}


def without_psf(observed):
    """The same images where nobody knows of the PSF."""
    return dataclasses.replace(observed, psf_fwhm=0.0, kernels=None)


class _Unaware:
    """Batches whose PSF is not told."""

    def __init__(self, batches):
        self._batches, self.batch_size = batches, batches.batch_size

    def batch(self, *numbers):
        return without_psf(self._batches.batch(*numbers))


def train(row, simulators, *, model, passes, seed, progress=None):
    """Train the network of a row: the network, and the seconds that it took."""
    import torch

    from lensing_sr.losses import Likelihood
    from lensing_sr.networks import build_network
    from lensing_sr.training import SimulatedBatches, Trainer, WarmupCosine

    torch.manual_seed(1000 * seed + row.start)
    network = build_network(NETWORK | row.network)
    batches = SimulatedBatches(simulators, BATCH, seed)
    validation = SimulatedBatches(simulators, BATCH, seed, purpose="validation").images(VALIDATION, shuffle=False)
    if not row.optics:
        batches, validation = _Unaware(batches), validation.select(range(VALIDATION), psf_fwhm=0.0, kernels=None)
    epochs = min(EPOCHS, max(passes // BATCH, 1))
    trainer = Trainer(
        network, make_loss(row, model, epochs), batches, validation, epochs=epochs,
        steps=max(round(passes / BATCH / epochs), 1), rate=WarmupCosine(RATE, warmup=0.05), clip=1.0,
        monitors={"chi2": Likelihood(fit=row.fit, log=True)}, criterion="chi2", seed=seed, device="cpu",
        progress=progress,
    )  # fmt: skip
    begun = time.perf_counter()
    trainer.run()
    return network, time.perf_counter() - begun


def draw_images(simulators, count, seed):
    """Images to be scored, by class: observation and truth."""
    keys = ("HR_model", "alpha_x", "alpha_y", "theta_E_effective")
    return {kind: draw_fresh(one, count, keys, seed=seed) for kind, one in zip(CLASSES, simulators, strict=True)}


def deflect(network, observed):
    """The field that a network gives of the images."""
    network.eval()
    return network(observed.image, pixel_scale=observed.pixel_scale, psf_fwhm=observed.psf_fwhm, noise=observed.noise)


def score(images, field_of, *, fit="full", psf=True, optics=True):
    """Numbers of a row, by the names of `NUMBERS`; `field_of` gives the deflection of an observation and its truth."""
    import torch

    from lensing_sr.losses import Reconstruction
    from lensing_sr.metrics import psnr

    found, full, alpha, chi2 = {}, [], [], []
    for kind, (observed, truth) in images.items():
        told = observed if optics else without_psf(observed)
        with torch.no_grad():
            field = field_of(told, truth)
            own, best = Reconstruction(told, field), Reconstruction(observed, field)
            clean = truth["HR_model"]
            found[kind] = float(psnr(own.relensed(2, fit, psf), clean).median())
            full.append(float(psnr(best.relensed(2), clean).median()))
            left = (own.flux - own.relensed(1, fit, psf)) * own.weight
            chi2.append(left.square().mean((1, 2)))
            alpha.append(_alpha_error(field, truth, observed.pixel_scale / 2))
    found |= {"mean": sum(found.values()) / len(found), "full": sum(full) / len(full)}
    return found | {"alpha": float(torch.cat(alpha).median()), "chi2": float(torch.cat(chi2).median())}


def _alpha_error(field, truth, pixel):
    """Rms length of the error of the deflection in the annulus, arcsec, ``(batch,)``."""
    import torch

    square = (field.alpha_x - truth["alpha_x"]).square() + (field.alpha_y - truth["alpha_y"]).square()
    rows, columns = ((torch.arange(n) - 0.5 * (n - 1)) * pixel for n in square.shape[-2:])
    r = torch.hypot(columns, rows[:, None]) / truth["theta_E_effective"][:, None, None]
    inside = (r >= ANNULUS[0]) & (r <= ANNULUS[1])
    return ((square * inside).sum((1, 2)) / inside.sum((1, 2))).sqrt()


def score_beside(images):
    """What needs no training: interpolations, and the true deflection."""
    from lensing_sr.losses import Deflection
    from lensing_sr.metrics import psnr
    from lensing_sr.metrics.interpolation import upsample

    found = {}
    for method in ("bilinear", "bicubic"):
        each = {kind: float(psnr(upsample(observed.image, 2, method), truth["HR_model"]).median())
                for kind, (observed, truth) in images.items()}  # fmt: skip
        nothing = dict.fromkeys(("full", "alpha", "chi2"), math.nan)
        found[method] = each | {"mean": sum(each.values()) / len(each)} | nothing
    found["true alpha"] = score(images, lambda observed, truth: Deflection(truth["alpha_x"], truth["alpha_y"]))
    return found


def run_row(name, simulators, images, options):
    """Train and score a row: its numbers, seconds and how it ended."""
    from lensing_sr.training import TrainingError

    row = ROWS[name]
    try:
        network, seconds = train(row, simulators, model=options.model, passes=options.passes, seed=options.seed)
    except TrainingError as error:
        # a training that cannot go on is a finding, too
        return dict.fromkeys(NUMBERS, math.nan) | {"seconds": math.nan, "end": f"diverged: {error}"}
    found = score(images, lambda observed, truth: deflect(network, observed), fit=row.fit, psf=row.psf,
                  optics=row.optics)  # fmt: skip
    return found | {"seconds": seconds, "end": "trained"}


def read_rows(path, settings):
    """Rows of an output file by name; an error if it is one of other settings."""
    from astropy.table import Table

    if path is None or not path.is_file():
        return {}
    table = Table.read(path, format="ascii.ecsv")
    held = {key: table.meta.get(key) for key in settings}
    if held != settings:
        raise ValueError(f"{path} has rows of {held}, not of {settings}: name another file")
    columns = [name for name in table.colnames if name not in ("row", "changes", "against", "worth")]
    return {str(row["row"]): {name: row[name] for name in columns} for row in table}


def write_rows(path, rows, settings):
    """Write the rows, in the order of `ROWS`, with what each is worth; the file is replaced as a whole."""
    from astropy.table import Table

    names = [name for name in (*ROWS, *rows) if name in rows]
    columns = {"row": list(dict.fromkeys(names))}
    columns["changes"] = [ROWS[name].changes if name in ROWS else "no training" for name in columns["row"]]
    columns["against"] = [ROWS[name].against if name in ROWS else "" for name in columns["row"]]
    for key in NUMBERS:
        columns[key] = [float(rows[name][key]) for name in columns["row"]]
    columns["worth"] = [worth(name, rows) for name in columns["row"]]
    columns["seconds"] = [float(rows[name]["seconds"]) for name in columns["row"]]
    columns["end"] = [str(rows[name]["end"]) for name in columns["row"]]
    table = Table(columns, meta=settings, units=UNITS | {"worth": "dB", "seconds": "s"})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    table.write(temporary, format="ascii.ecsv", overwrite=True)
    os.replace(temporary, path)


def worth(name, rows):
    """Mean PSNR of a row less that of the row from which it differs; nan where there is none."""
    against = ROWS[name].against if name in ROWS else ""
    return float(rows[name]["mean"] - rows[against]["mean"]) if against in rows else math.nan


def show(name, rows):
    """Print a row."""
    row, changes = rows[name], ROWS[name].changes if name in ROWS else ""
    gain = worth(name, rows)
    numbers = "".join(f"{row[key]:{FORMATS[key]}}" if math.isfinite(row[key]) else f"{'-':>8}" for key in NUMBERS)
    against = f" (against {ROWS[name].against})" if math.isfinite(gain) else ""
    end = f"; {row['end']}" if row["end"].startswith("diverged") else ""
    gain = f"{gain:+8.2f}" if math.isfinite(gain) else f"{'-':>8}"
    print(f"{name:<21}{numbers}{gain}  {changes}{against}{end}", flush=True)


def main(arguments=None):
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--passes", type=whole(BATCH), default=4800, help="images a training sees (default: 4800)")
    parser.add_argument("--model", type=int, choices=(1, 2, 3), default=3)
    parser.add_argument("--seed", type=whole(0), default=1, help="of weights and images (default: 1)")
    parser.add_argument("--count", type=whole(1), default=64, help="images a class to be scored (default: 64)")
    parser.add_argument("--rows", nargs="+", metavar="NAME", choices=tuple(ROWS), help=", ".join(ROWS))
    parser.add_argument("--output", type=Path, metavar="FILE.ecsv", help="table to which rows are added")
    parser.add_argument("--threads", type=whole(1), default=2)
    options = parser.parse_args(arguments)

    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch and the linear algebra of numpy wake up
    import torch

    from lensing_sr.simulation import ReferenceSimulator

    torch.set_num_threads(options.threads)
    settings = {key: getattr(options, key) for key in ("passes", "model", "seed", "count")}
    try:
        rows = read_rows(options.output, settings)
    except ValueError as error:
        parser.error(f"--output: {error}")
    simulators = [ReferenceSimulator(options.model, kind) for kind in CLASSES]
    images = draw_images(simulators, options.count, options.seed)
    print(f"Model {options.model}, {options.passes} passes a row, {options.count} images a class, seed {options.seed}")
    print(f"{'':<21}" + "".join(f"{name:>8}" for name in (*NUMBERS, "worth")))
    beside = score_beside(images)
    for name, found in beside.items():
        rows[name] = found | {"seconds": math.nan, "end": "no training"}
        show(name, rows)
    for name in options.rows or ROWS:
        if name not in rows:
            rows[name] = run_row(name, simulators, images, options)
            if options.output is not None:
                write_rows(options.output, rows, settings)
        show(name, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
