# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Simulated lenses of a population as an observer has them, what was true of them, and how near a result comes.

What a result is scored against is the true image without noise and without neighbours, on the fine pixels, and the
numbers that the lens was drawn with.
"""

import csv
import dataclasses

import numpy as np

from lensing_sr.errors import LensingSRError

__all__ = ["PARAMETERS", "PopulationLens", "RowFile", "draw_lenses", "observed", "resolved", "row_of"]

#: Parameters whose errors are tested; the last has no meaning where the source is no Sersic profile.
PARAMETERS = ("theta_E", "e1", "e2", "gamma1", "gamma2", "x_source", "y_source", "r_eff")
#: Other numbers of a simulated lens that rows hold.
NUMBERS = ("gamma", "arc_sn", "correlation", "psf_fwhm", "offset", "is_lens")
#: Share of the peak of the true arcs above which a pixel is scored.
BRIGHT = 0.05
#: Light of neighbours, in sigma, that leaves a pixel to lens and source.
ALONE = 0.1
#: Images drawn at once, which bounds the memory.
CHUNK = 32

_IMAGES = ("LR", "noise", "psf", "kind")
_TRUTH = ("HR_model", "neighbours_HR", "arcs_HR", "neighbours_LR")


@dataclasses.dataclass(frozen=True, eq=False)
class PopulationLens:
    """One lens, or galaxy that is none.

    Attributes
    ----------
    number : int
        Of the image in its set.
    image : LensImage
        What the observer has, its PSF as it was given to him.
    truth, arcs : numpy.ndarray or None
        Fine image without noise and neighbours, and the arcs in it.
    lone : numpy.ndarray or None
        Pixels of the image that neighbours brighten by less than `ALONE` sigma.
    values : dict of str to float
        Numbers of the simulation.
    kind : str
        "lens", or what else it is.
    """

    number: int
    image: object
    truth: np.ndarray | None
    arcs: np.ndarray | None
    lone: np.ndarray | None
    values: dict
    kind: str


def observed(population, drawn, i, number):
    """What the observer of image `number` of a population has: row i of what was drawn ("LR", "noise", "psf")."""
    import astropy.units as u

    from lensing_sr import LensImage

    return LensImage(
        drawn["LR"][i].double().numpy(), noise=drawn["noise"][i].double().numpy(), psf=drawn["psf"][i].numpy(),
        psf_oversampling=population.scale, pixel_scale=population.instrument.pixel_scale * u.arcsec / u.pix,
        unit=population.units["LR"], name=f"{population.instrument.name} {number}",
    )  # fmt: skip


def draw_lenses(population, count, seed, first=0, *, with_truth=True):
    """Draw images ``first`` to ``first + count - 1`` of a population, one after the other.

    Parameters
    ----------
    population : `~lensing_sr.simulation.LensPopulation`
        Which.
    count, seed, first : int
        As for its ``draw``.
    with_truth : bool
        Whether the fine images are wanted.

    Yields
    ------
    PopulationLens
    """
    numbers = (*PARAMETERS, *NUMBERS)
    keys = (*_IMAGES, *numbers) + (_TRUTH if with_truth else ())
    for start in range(first, first + count, CHUNK):
        n = min(CHUNK, first + count - start)
        drawn = population.draw(n, seed=seed, first=start, keys=keys)
        for i in range(n):
            image = observed(population, drawn, i, start + i)
            truth = arcs = lone = None
            if with_truth:
                whole, others, arcs, near = (drawn[key][i].double().numpy() for key in _TRUTH)
                truth, lone = whole - others, near < ALONE * image.noise
            values = {key: float(drawn[key][i]) for key in numbers}
            yield PopulationLens(start + i, image, truth, arcs, lone, values, str(drawn["kind"][i]))


def resolved(resolver, lenses):
    """Results of lenses, those alike in batches; where one cannot be used, its error.

    Parameters
    ----------
    resolver : `~lensing_sr.LensingSuperResolver`
        The method.
    lenses : list of PopulationLens
        The images.

    Returns
    -------
    list of SuperResolution or LensingSRError
    """
    images = [lens.image for lens in lenses]
    try:
        return resolver.super_resolve_many(images)
    except LensingSRError as error:  # one must not take the others with it
        if len(images) == 1:
            return [error]
    return [resolved(resolver, [lens])[0] for lens in lenses]


def row_of(lens, result, sersic):
    """Scores of one result, by column.

    Parameters
    ----------
    lens : PopulationLens
        With its truth.
    result : SuperResolution or LensingSRError
        What a method made of it.
    sersic : bool
        Whether the true source is a Sersic profile, so that its half-light radius has a meaning.

    Returns
    -------
    dict
        True values (``true_`` + name), found ones, the half-widths of the intervals that are said to hold 68 and 95 %
        (``_err``, ``_err95``), share of the arcs' pixels within one and two sigma of the truth, PSNR there of the
        result and of the cubic spline; the rest explains itself.
    """
    from lensing_sr.metrics import arc_mask, psnr
    from lensing_sr.metrics.interpolation import upsample

    row = {"number": lens.number} | {key: lens.values[key] for key in NUMBERS if key != "is_lens"}
    row |= {f"true_{name}": lens.values[name] for name in PARAMETERS}
    if not sersic:
        row["true_r_eff"] = np.nan
    found = [name + end for name in PARAMETERS for end in ("", "_err", "_err95")]
    arcs = arc_mask(lens.arcs, BRIGHT)
    spline = upsample(lens.image.data, 2, "cubic_spline")
    row |= {"spline_psnr": float(psnr(spline, lens.truth, mask=arcs)), "pixels": int(arcs.sum())}
    if isinstance(result, LensingSRError):
        scores = ("chi2", "chi2_lone", "arc_chi2", "consistency", "evidence", "doubt")
        scores += ("within_1", "within_2", "psnr", "seconds")
        return row | dict.fromkeys((*found, *scores), np.nan) | {"flags": f"failed: {result}"}
    parameters = result.parameters
    for name in PARAMETERS:
        entry = parameters.loc[name]
        for end, column in (("", "value"), ("_err", "error"), ("_err95", "error_95")):
            row[name + end] = float(entry[column])
    difference = np.abs(result.image.data - lens.truth)[arcs]
    sigma = result.image.uncertainty.array[arcs]
    quality = result.quality
    return row | {
        "chi2": float(quality.chi2),
        "chi2_lone": float(np.mean(np.square(result.residual.data / lens.image.noise)[lens.lone])),
        "arc_chi2": float(result.meta["grounds"].get("arc_chi2", np.nan)),
        "consistency": float(quality.consistency),
        "evidence": float(quality.lens_evidence),
        "doubt": float(quality.doubt),
        "within_1": float(np.mean(difference <= sigma)),
        "within_2": float(np.mean(difference <= 2.0 * sigma)),
        "psnr": float(psnr(np.asarray(result.image.data, dtype=float), lens.truth, mask=arcs)),
        "seconds": float(result.meta["time_s"]),
        "flags": ", ".join(quality.flags),
    }


class RowFile:
    """A table (.ecsv) to which rows are written as they come, so that nothing is lost when it ends early.

    Parameters
    ----------
    path : path or None
        The file; None writes nothing.
    settings : dict
        How the rows came about, kept in the file.
    resume : bool
        Whether to go on with the rows that an existing file holds, made with the same settings.

    Attributes
    ----------
    rows : list of dict
        Those that were there already.
    """

    def __init__(self, path, settings, resume=False):
        self.path, self._settings, self._names, self.rows = path, settings, None, []
        if path is not None and resume and path.exists():
            self.rows = self._read()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def _read(self):
        from astropy.table import Table

        table = Table.read(self.path)
        if dict(table.meta) != self._settings:
            raise SystemExit(f"{self.path}: was made with {dict(table.meta)}, not with {self._settings}")
        self._names = table.colnames
        if table.has_masked_values:  # that is how an empty text comes back
            table = table.filled("")
        return [{name: row[name].item() for name in self._names} for row in table]

    def write(self, row):
        """Add a row; the first one tells the columns."""
        if self.path is None:
            return
        if self._names is None:
            from astropy.table import Table

            self._names = list(row)
            kinds = [str if isinstance(value, str) else type(value) for value in row.values()]
            Table(names=self._names, dtype=kinds, meta=self._settings).write(self.path, overwrite=True)
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=" ", quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            writer.writerow([row[name] for name in self._names])
