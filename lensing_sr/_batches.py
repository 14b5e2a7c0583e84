# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Images in, results out: those alike as one batch, and once more those that no lens explains as they were read."""

import time

from lensing_sr._assembly import assemble
from lensing_sr._readings import better_readings, takes_over, worth_another
from lensing_sr._stack import group_alike, stack
from lensing_sr.utils._progress import progress as progress_bar

__all__ = ["resolve", "resolve_again"]

#: Images fitted at once, at most: more would not be faster, only larger.
BATCH = 64


def resolve(images, prepared, explain, *, scale, target_psf, device, dtype=None, progress=False):
    """Results of images as they were prepared; the time that each took, in s, is in its ``meta["time_s"]``.

    Parameters
    ----------
    images : list of LensImage
        The images.
    prepared : list of PreparedImage
        As they were prepared.
    explain : callable
        Takes whether lenses shine; returns the method, as `lensing_sr._assembly.assemble` takes it.
    scale, target_psf
        As for `assemble`.
    device, dtype
        As for `lensing_sr._stack.stack`.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of SuperResolution
    """
    results = [None] * len(images)
    groups = group_alike(images, prepared, BATCH)
    for members in progress_bar(groups, description="super-resolving", show=progress and len(groups) > 1):
        began = time.perf_counter()
        batch = stack([images[i] for i in members], [prepared[i] for i in members], device=device, dtype=dtype)
        assembled = assemble(batch, explain(prepared[members[0]].lens_visible), scale=scale, target_psf=target_psf)
        elapsed = (time.perf_counter() - began) / len(members)
        for i, result in zip(members, assembled, strict=True):
            result.meta["time_s"] = elapsed
            results[i] = result
    return results


def resolve_again(images, prepared, results, explain, weigh, *, device, dtype=None, **settings):
    """Replace results that no lens explains where one does if other light is taken for the arcs.

    Parameters
    ----------
    images, prepared, explain, device, dtype
        As for `resolve`.
    results : list of SuperResolution
        What `resolve` returned; some are replaced.
    weigh : callable
        Explains a batch quickly, as `lensing_sr._readings.better_readings` takes it.
    **settings
        ``scale`` and ``target_psf``.
    """
    began = time.perf_counter()
    doubted = [i for i, it in enumerate(results) if worth_another(prepared[i], it.quality, it.meta["grounds"])]
    others = better_readings(
        [images[i] for i in doubted], [prepared[i] for i in doubted], [results[i].quality for i in doubted], weigh,
        batch=BATCH, device=device, dtype=dtype,
    )  # fmt: skip
    elapsed = (time.perf_counter() - began) / max(len(doubted), 1)
    for i in doubted:
        results[i].meta["time_s"] += elapsed
    better = {i: other for i, other in zip(doubted, others, strict=True) if other is not None}
    again = [images[i] for i in better], list(better.values())
    for i, result in zip(better, resolve(*again, explain, device=device, dtype=dtype, **settings), strict=True):
        total = results[i].meta["time_s"] + result.meta["time_s"]
        # weighed at coarse pixels, it may still turn out no better
        if takes_over(result.quality, results[i].quality):
            results[i] = result
        results[i].meta["time_s"] = total
