# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Where no lens explains an image as it was read: is there one if what was taken for neighbours are its arcs?"""

import dataclasses
import math

from lensing_sr._stack import group_alike, stack
from lensing_sr.image.prepare import RIVAL, cut_out, read_again
from lensing_sr.quality import DOUBTFUL, WEAK_EVIDENCE

__all__ = ["DOUBTED", "better_readings", "takes_over", "worth_another"]

#: ln of the evidence ratio of lens over no lens below which an image is read again, and by how much another reading
#: must be better.
DOUBTED, BETTER = 100.0, 10.0
#: Difference in ln theta_E from what the lens estimator sees, beyond which an image is read again.
APART = 0.15
#: Share of the doubt that another reading may leave at most, if it is better for that.
CLEARER = 0.5
#: Readings are weighed with about so many pixels a side.
SIDE = 64


def worth_another(prepared, quality, grounds):
    """Whether an image should be read again: hardly a lens, a doubtful one, or one whose galaxy may be an image.

    Nor is one trusted that the networks, to which nothing is masked, see `APART` from where it was found.
    """
    doubtful = quality.doubt > DOUBTFUL or grounds.get("apart", 0.0) > APART
    return doubtful or quality.lens_evidence < DOUBTED or _flawed(prepared, quality)


def _less_doubtful(quality, first):
    """Whether a verdict leaves clearly less doubt about the Einstein radius than a first one; no look, no doubt."""
    return quality.doubt < CLEARER * first.doubt


def takes_over(quality, first):
    """Whether the result of another reading takes the place of that of the first, by their verdicts.

    It does if it has no flags, or fewer and none of its own, and is no less a lens; or if the first is flagged and it
    leaves half of the doubt, or the first explains hardly anything, and less than it does.
    """
    fewer = quality.trustworthy or set(quality.flags) < set(first.flags)
    sounder = fewer and not quality.lens_evidence < min(WEAK_EVIDENCE, first.lens_evidence)
    # what is masked differs: only a low evidence may be outbid
    more = first.lens_evidence < min(DOUBTED, quality.lens_evidence)
    return sounder or (not first.trustworthy and (more or _less_doubtful(quality, first)))


def _flawed(prepared, quality):
    """Whether an image may have been taken for the lens galaxy: none in the middle, and flags that speak against it.

    They are those that the image had not before it was explained, and a second galaxy that remains unexplained.
    """
    return prepared.reading.aside and not set(quality.flags) <= set(prepared.flags) - {RIVAL}


def _unsound(prepared, quality):
    # a galaxy that was taken for an image of the source is explained well, but by an odd lens
    return not prepared.lens_visible and _flawed(prepared, quality)


def better_readings(images, prepared, quality, explain, *, batch, device, dtype=None):
    """Other readings of images, where a lens explains them that explained nothing before.

    A reading is better if it leaves half of the doubt, or if there is more evidence for a lens in it and no reason
    against that lens.  They are weighed at coarse pixels, where a sound one may not look it: of a flawed lens the
    likeliest other reading is taken in any case, to be weighed against the first by its results.

    Parameters
    ----------
    images : list of LensImage
        The images.
    prepared : list of PreparedImage
        As they were read first.
    quality : list of Quality
        What was said of these.
    explain : callable
        Takes a batch and whether the lens shines; gives a `lensing_sr._fitted.Fitted`.
    batch : int
        Images a batch, at most.
    device, dtype
        As for `lensing_sr._stack.stack`.

    Returns
    -------
    list of PreparedImage or None
        One an image, with a note of what it took for what; None where the first reading stays.
    """
    owners, readings = [], []
    for i, (image, first, told) in enumerate(zip(images, prepared, quality, strict=True)):
        # the galaxy of a lens, however faint, is not doubted; what was masked beside it is
        others = read_again(image, first, elsewhere=told.lens_evidence < WEAK_EVIDENCE or _unsound(first, told))
        # beside a galaxy in the middle, bright light may well be its images, and must be explained as such
        others = [one for one in others if RIVAL not in one.flags or RIVAL in first.flags or not one.reading.aside]
        owners += [i] * len(others)
        readings += others
    seen, better = [images[i] for i in owners], [[] for _ in images]
    enough = [
        BETTER + max(WEAK_EVIDENCE, -math.inf if _unsound(first, told) else told.lens_evidence)
        for first, told in zip(prepared, quality, strict=True)
    ]
    for members in group_alike(seen, readings, batch):
        pixels = stack([seen[k] for k in members], [readings[k] for k in members], device=device, dtype=dtype)
        factor = max(1, round(min(pixels.observation.data.shape[1:]) / SIDE))
        pixels = dataclasses.replace(pixels, observation=pixels.observation.binned(factor))
        found = explain(pixels, readings[members[0]].lens_visible)
        for row, k in enumerate(members):
            verdict = found.verdict(row, found.values(row)[0])
            owner, explains = owners[k], not verdict.flags and verdict.evidence > enough[owners[k]]
            clearly = explains or _less_doubtful(verdict, quality[owner])
            if clearly or _flawed(prepared[owner], quality[owner]):
                better[owner].append((verdict, readings[k], clearly))
    chosen = [None] * len(images)
    for i, some in enumerate(better):
        if some:
            _, one, _ = min(some, key=_merit)
            chosen[i] = cut_out(images[i], one)
            chosen[i].notes.append(_told(prepared[i].reading, one.reading))
    return chosen


def _merit(candidate):
    """Clearly better ones first, then by the least doubt; where no network tells of any, by the most evidence."""
    verdict, _, clearly = candidate
    return not clearly, 0.0 if math.isnan(verdict.doubt) else verdict.doubt, -verdict.evidence


def _told(first, other):
    """What another reading took for what, as a note."""
    changes = []
    if other.found is not first.found:
        changes.append("another galaxy is taken for the lens" if first.visible else "a galaxy is taken for the lens")
    if other.kept:
        some = f"{len(other.kept)} neighbours are" if len(other.kept) > 1 else "a neighbour is"
        changes.append(f"{some} taken for arcs")
    return "read again: " + ", ".join(changes)
