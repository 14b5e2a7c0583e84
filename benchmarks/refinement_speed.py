# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What lies beyond the Sersic costs: seconds and memory of a pixel source, and of a potential correction on top of it.

Euclid-like 100 x 100 cut-outs of lumpy sources with lens light, one at a time: the whole of `super_resolve` with a
Sersic source alone, with a pixel source that is always kept, and with everything that may be tried.  Where nothing
bends their arcs, no potential is kept, and the last row says little: ``--slacs DATA`` adds real lenses, the middle
100 x 100 pixels of each, and tells those apart that keep a potential.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

#: Seconds and GiB that must hold, by row.
LIMITS = {"pixel source": 2.0, "everything": 6.0, "potential kept": 6.0}
MEMORY = 2.0
#: Side of the cut-outs in pixels.
SIDE = 100


def slacs_images(folder):
    """The middle of each SLACS lens."""
    from benchmarks.slacs import commands
    from benchmarks.withheld import read_lens
    from lensing_sr import LensImage

    for survey, _, _, _, given in commands(folder):
        if survey.lower() != "slacs":
            continue
        image = read_lens(given)
        part = tuple(slice((n - SIDE) // 2, (n + SIDE) // 2) for n in image.shape)
        yield LensImage(
            image.data[part], noise=image.noise[part], psf=image.psf, pixel_scale=image.grid.pixel_scale,
            unit=image.unit,
        )  # fmt: skip


def timed(images, resolver):
    """Seconds of each image, the first done once before; and what was kept of each."""
    seconds, kept = [], []
    for number, image in enumerate(images):
        if not number:
            resolver.super_resolve(image)
        start = time.perf_counter()
        result = resolver.super_resolve(image)
        seconds.append(time.perf_counter() - start)
        kept.append(", ".join(result.quality.kept) or "nothing")
    return np.array(seconds), kept


def told(name, seconds, kept):
    """Print a row; returns whether its limit holds."""
    counts = {text: kept.count(text) for text in dict.fromkeys(kept)}
    print(f"{name:<15} median {np.median(seconds):6.2f} s, slowest {max(seconds):6.2f} s; kept: {counts}", flush=True)
    return bool(np.median(seconds) <= LIMITS.get(name, np.inf))


def main(arguments=None):
    """Run the benchmark; returns 0 where the limits hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refinement_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--slacs", type=Path, metavar="DATA", help="where the folder of the SLACS lenses is")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    from lensing_sr import LensImage, LensingSuperResolver
    from lensing_sr.simulation import LensPopulation

    torch.set_num_threads(options.threads)
    simulator = LensPopulation("euclid-vis", scale=2, lens_light=True, neighbours=False)
    drawn = simulator.draw(options.count, seed=options.seed, keys=("LR", "noise", "psf"))
    images = [
        LensImage(
            data.numpy(), noise=noise.numpy(), psf=kernel.numpy(), psf_oversampling=2, pixel_scale=0.1,
            unit="electron / s",
        )
        for data, noise, kernel in zip(drawn["LR"], drawn["noise"], drawn["psf"], strict=True)
    ]  # fmt: skip
    rows = {
        "Sersic alone": {"source": "sersic", "potential": False},
        "pixel source": {"source": "pixel", "potential": False},
        "everything": {},
    }
    held = True
    for name, settings in rows.items():
        held &= told(name, *timed(images, LensingSuperResolver(scale=2, device=options.device, **settings)))
    if options.slacs:
        seconds, kept = timed(slacs_images(options.slacs), LensingSuperResolver(scale=2, device=options.device))
        with_mass = np.array(["potential" in text for text in kept])
        for name, chosen in (("SLACS", ~with_mass), ("potential kept", with_mass)):
            if chosen.any():
                held &= told(name, seconds[chosen], [text for text, one in zip(kept, chosen) if one])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {memory:.2f} GiB (at most {MEMORY}); limits: {LIMITS} s, median")
    return 0 if held and memory <= MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
