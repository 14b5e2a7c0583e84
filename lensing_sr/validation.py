# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How far to trust a super-resolution of *this* image: pixels are withheld from it, and it has to find them.

The image is binned and given more noise (`~lensing_sr.image.degradation.degrade`), super-resolved back to its own
pixels, and compared with them where arcs are; so are interpolations of the same coarse image.  Some of the coarse
image's noise is that of the very pixels that were withheld, which flatters whoever copies it: the verdict is of the
pixels freed of it (`~lensing_sr.image.degradation.unshared`).
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from lensing_sr.errors import InputError
from lensing_sr.image.degradation import degrade, unshared
from lensing_sr.image.prepare import prepare
from lensing_sr.metrics.interpolation import METHODS, upsample
from lensing_sr.utils._repr import make_repr

__all__ = ["Validation", "WithheldImages", "validate", "withheld_mask"]

#: Annulus of the arcs in Einstein radii; smoothing of the image in pixels; excess over the azimuthal median in sigma.
INNER, OUTER, SMOOTHING, EXCESS = 0.5, 1.6, 1.0, 1.0
#: Pixels below which a score says nothing.
FEWEST = 30
#: Einstein radius over the radius about which the light of arcs gathers: the median of 39 published lenses.
TYPICAL = 0.86


@dataclass(frozen=True, eq=False)
class WithheldImages:
    """The images behind a `Validation`, for its figure; sky included.

    Attributes
    ----------
    data, sigma, super_resolved, interpolated : numpy.ndarray
        (ny, nx) withheld native pixels, their sigma, and both accounts of them.
    where : numpy.ndarray
        (ny, nx) bool, the scored pixels.
    coarse : numpy.ndarray
        (ny / scale, nx / scale), what the super-resolution was given.
    grid, coarse_grid : `~lensing_sr.geometry.grid.PixelGrid`
        Of both.
    centre : tuple of float
        (x, y) of the lens in arcsec.
    radius : float
        Einstein radius of the arc mask in arcsec.
    sky : float
        Level of the sky in a native pixel.
    unit : `~astropy.units.UnitBase` or None
        Of the images.
    """

    data: np.ndarray
    sigma: np.ndarray
    super_resolved: np.ndarray
    interpolated: np.ndarray
    where: np.ndarray
    coarse: np.ndarray
    grid: object
    coarse_grid: object
    centre: tuple
    radius: float
    sky: float
    unit: object


@dataclass(frozen=True, repr=False)
class Validation:
    """How a super-resolution fared with pixels that were withheld from it.

    Attributes
    ----------
    scale : int
        By which the image was binned.
    pixels : int
        Withheld native pixels that were scored, all on the arcs.
    chi2 : float
        Their mean ((data - super-resolved) / sigma)^2; NaN where they are fewer than 30.
    interpolation : dict of str to float
        The same for interpolations of the coarse image by name; of a validation read from a file, the best alone.
    floor : float
        The same for what the method makes of the native image, pixels not withheld: its model and what of the residual
        it keeps.  An estimate of the score that the noise of these pixels allows; high where the model is poor, low
        where it follows the noise.
    theta_E, theta_E_native : float
        Einstein radius in arcsec from the coarse and from the native image.
    chi2_unshared, interpolation_unshared : float
        `chi2`, and the least of `interpolation`, against the same pixels without the noise that the coarse image shares
        with them.
    images : WithheldImages or None
        What `plot` shows; None for a validation that was read from a file.

    Examples
    --------
    >>> from lensing_sr.validation import Validation
    >>> scores = {"bilinear": 1.1, "bicubic": 1.3}
    >>> validation = Validation(2, 640, 1.1, scores, chi2_unshared=1.2, interpolation_unshared=1.5)
    >>> validation.best, validation.ratio, validation.ratio_unshared, validation.passed
    ('bilinear', 1.0, 0.8, True)
    >>> print(validation.verdict)
    closer to 640 withheld pixels than any interpolation: chi-square 1.20 against 1.50, ratio 0.80 (shared noise: 1.00)
    """

    scale: int
    pixels: int
    chi2: float
    interpolation: dict
    floor: float = math.nan
    theta_E: float = math.nan
    theta_E_native: float = math.nan
    chi2_unshared: float = math.nan
    interpolation_unshared: float = math.nan
    images: WithheldImages | None = field(default=None, compare=False)

    @property
    def best(self):
        """Name of the best interpolation."""
        return min(self.interpolation, key=self.interpolation.get)

    @property
    def ratio(self):
        """`chi2` over that of the best interpolation, shared noise included."""
        return self.chi2 / self.interpolation[self.best]

    @property
    def ratio_unshared(self):
        """The same without shared noise; below 1 where the super-resolution knows more."""
        return self.chi2_unshared / self.interpolation_unshared

    @property
    def passed(self):
        """Whether the super-resolution is closer to the withheld pixels than every interpolation, no noise shared."""
        return bool(self.ratio_unshared < 1.0)

    @property
    def verdict(self):
        """One sentence."""
        if math.isfinite(self.ratio) and not math.isfinite(self.ratio_unshared):  # of a file from before there was one
            return f"ratio {self.ratio:.2f} with shared noise; validate again to have it taken out"
        if not math.isfinite(self.ratio_unshared):
            return f"nothing to validate: {self.pixels} pixels with arcs, {FEWEST} are needed"
        start = "closer to" if self.passed else "not closer to"
        return (
            f"{start} {self.pixels} withheld pixels than {'any' if self.passed else 'the best'} interpolation: "
            f"chi-square {self.chi2_unshared:.2f} against {self.interpolation_unshared:.2f}, "
            f"ratio {self.ratio_unshared:.2f} (shared noise: {self.ratio:.2f})"
        )

    def __repr__(self):
        names = ("ratio_unshared", "ratio", "chi2", "interpolation", "floor", "pixels", "scale")
        facts = {name: getattr(self, name) for name in names}
        return make_repr(self, facts | {"interpolation": (self.best, self.interpolation[self.best])})

    def to_values(self):
        """What the header of a result says, by the names of `~lensing_sr.export.fits_layout.KEYWORDS`."""
        return {
            "validation_ratio": self.ratio,
            "validation_chi2": self.chi2,
            "validation_interpolation": self.interpolation[self.best],
            "validation_best": self.best,
            "validation_floor": self.floor,
            "validation_chi2_unshared": self.chi2_unshared,
            "validation_interpolation_unshared": self.interpolation_unshared,
            "validation_scale": self.scale,
            "validation_pixels": self.pixels,
        }

    @classmethod
    def from_values(cls, values):
        """A validation from what `to_values` gave; None where there is none."""
        if "validation_scale" not in values:
            return None
        return cls(
            scale=int(values["validation_scale"]),
            pixels=int(values["validation_pixels"]),
            chi2=values["validation_chi2"],
            interpolation={values["validation_best"]: values["validation_interpolation"]},
            floor=values["validation_floor"],
            chi2_unshared=values.get("validation_chi2_unshared", math.nan),
            interpolation_unshared=values.get("validation_interpolation_unshared", math.nan),
        )

    def plot(self, path=None, *, overwrite=False):
        """Draw what was withheld and given, both accounts of it, and their residuals in sigma.

        Parameters
        ----------
        path : str or path-like, optional
            Where to save the figure; the suffix (``.png``, ``.pdf``, ...) chooses the format.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`

        Raises
        ------
        lensing_sr.errors.InputError
            If this validation was read from a file, which holds no images of it.
        lensing_sr.errors.OutputError
            If the file exists, its folder is missing or the disk refuses.
        """
        from lensing_sr.plotting import save_figure, validation_figure

        if self.images is None:
            raise InputError("validation", "must have its images to be drawn", None, "validate the image again")
        return save_figure(validation_figure(self.images, self.best, self.verdict), path, overwrite)


def withheld_mask(data, sigma, mask, grid, centre, theta_E):
    """Where the arcs are, by the image alone.

    Pixels between 0.5 and 1.6 Einstein radii from the lens where the image, smoothed with a Gaussian of one pixel,
    exceeds its azimuthal median by more than the sigma of a pixel.

    Parameters
    ----------
    data, sigma : numpy.ndarray
        (ny, nx) image and sigma map.
    mask : numpy.ndarray
        (ny, nx) bool, True = ignore.
    grid : `~lensing_sr.geometry.grid.PixelGrid`
        Of the image.
    centre : tuple of float
        (x, y) of the lens in arcsec.
    theta_E : float
        Einstein radius in arcsec.

    Returns
    -------
    numpy.ndarray
        (ny, nx) bool, True = arc.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.geometry.grid import PixelGrid
    >>> from lensing_sr.validation import withheld_mask
    >>> grid = PixelGrid((60, 60), pixel_scale=0.1)
    >>> x, y = grid.coordinates()
    >>> arc = (abs(np.hypot(x, y) - 1.0) < 0.2) & (x > 0.5)
    >>> found = withheld_mask(5.0 * arc + np.exp(-np.hypot(x, y)), np.ones(x.shape), x > 9, grid, (0.0, 0.0), 1.0)
    >>> bool(found[arc].mean() > 0.9), bool(found[x < 0].any())
    (True, False)
    """
    good = ~mask & np.isfinite(data) & np.isfinite(sigma)
    weight = ndimage.gaussian_filter(good.astype(float), SMOOTHING)
    smooth = ndimage.gaussian_filter(np.where(good, data, 0.0), SMOOTHING) / np.maximum(weight, 1e-3)
    x, y = grid.coordinates()
    radius = np.hypot(x - centre[0], y - centre[1])
    annulus = good & (radius >= INNER * theta_E) & (radius <= OUTER * theta_E)
    if not annulus.any():
        return annulus
    # rings one pixel wide; between their middles the median is interpolated
    radius = radius / float(grid.pixel_scale.value)
    ring = np.rint(radius).astype(int)
    rings = np.unique(ring[annulus])
    median = ndimage.median(smooth, np.where(good, ring, -1), rings)
    return annulus & (smooth - np.interp(radius, rings, median) > EXCESS * sigma)


def validate(image, super_resolve, *, scale=2, seed=0, theta_E=None, native=None, lens_light="auto"):
    """Withhold pixels of an image from a super-resolution, and score what it makes of them.

    Parameters
    ----------
    image : `~lensing_sr.image.lens_image.LensImage`
        The image.
    super_resolve : callable
        Takes an image, returns its `~lensing_sr.result.SuperResolution` at this scale.
    scale : int
        By which to bin the image.
    seed : int
        Of the noise added to the coarse image.
    theta_E : float, optional
        Einstein radius in arcsec that says where arcs are.  By default 0.86 times the radius about which their light
        gathers (`~lensing_sr.image.prepare.PreparedImage.arc_radius`), in which no fit has a say.
    native : `~lensing_sr.result.SuperResolution`, optional
        Of the image itself, at any scale; by default made here.
    lens_light : {"auto", True, False}
        As for `~lensing_sr.image.prepare.prepare`.

    Returns
    -------
    Validation

    Raises
    ------
    lensing_sr.errors.InputError
        If the image cannot be binned by the scale.
    """
    prepared = prepare(image, lens_light=lens_light)
    coarse = degrade(image, scale, seed=seed, prepared=prepared)
    result = super_resolve(coarse)
    native = super_resolve(image) if native is None else native
    part = tuple(slice(0, n * scale) for n in coarse.shape)
    data, sigma, grid = image.data[part], prepared.full_noise[part], image.grid.cropped(*part)
    # a coarse pixel with a masked part was masked as a whole
    mask = coarse.mask.repeat(scale, axis=0).repeat(scale, axis=1)
    radius = TYPICAL * prepared.arc_radius if theta_E is None else float(theta_E)
    where = withheld_mask(data, sigma, mask, grid, prepared.lens_position, radius)

    flux = not image.per_area
    sky = result.sky / (scale**2 if flux else 1)
    super_resolved = result.image.data + sky
    bridge = _bridged(coarse.data, coarse.mask)
    guesses = {name: upsample(bridge, scale, name, conserve_flux=flux) for name in METHODS}

    def score(guess, data=data, sigma=sigma):
        return float(np.mean(((data - guess)[where] / sigma[where]) ** 2)) if where.sum() >= FEWEST else math.nan

    apart = unshared(image, scale, seed=seed, prepared=prepared)
    interpolation = {name: score(guess) for name, guess in guesses.items()}
    best = min(interpolation, key=interpolation.get)
    return Validation(
        scale=int(scale),
        pixels=int(where.sum()),
        chi2=score(super_resolved),
        interpolation=interpolation,
        floor=score(_account(native, image)[part]),
        theta_E=_einstein_radius(result),
        theta_E_native=_einstein_radius(native),
        chi2_unshared=score(super_resolved, *apart),
        interpolation_unshared=min(score(guess, *apart) for guess in guesses.values()),
        images=WithheldImages(
            data, sigma, super_resolved, guesses[best], where, coarse.data, grid, coarse.grid,
            prepared.lens_position, radius, sky, image.unit,
        ),
    )  # fmt: skip


def _bridged(data, mask):
    """An image whose masked pixels take the mean of good ones near them, so that it can be interpolated."""
    filled, empty, width = np.where(mask, 0.0, data), mask.copy(), 1.0
    good, values = (~mask).astype(float), filled
    while empty.any():
        weight = ndimage.gaussian_filter(good, width)
        near = empty & (weight > 1e-2)
        filled = np.where(near, ndimage.gaussian_filter(values, width) / np.maximum(weight, 1e-2), filled)
        empty &= ~near
        width *= 2.0
    return filled


def _account(native, image):
    """The native image as its own super-resolution has it, sky included; NaN where its scale is not whole."""
    scale = round(native.scale)
    if scale != native.scale:
        return np.full(image.shape, np.nan)
    rows, columns = image.shape
    blocks = native.image.data.reshape(rows, scale, columns, scale)
    return (blocks.mean(axis=(1, 3)) if image.per_area else blocks.sum(axis=(1, 3))) + native.sky


def _einstein_radius(result):
    return float(result.parameters.loc["theta_E"]["value"])
