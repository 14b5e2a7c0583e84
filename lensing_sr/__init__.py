# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Super-resolution of galaxy-galaxy strong lenses, with the physics of lensing as the only teacher.

One low-resolution image of a lens goes in; the image at a finer scale, the deflection field, the source and an honest
verdict come out.  `LensingSuperResolver` does it, `LensImage` reads what goes in, `SuperResolution` is what comes out.
"""

from lensing_sr.utils._lazy import attach

__version__ = "0.1.dev0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "errors": (),
        "solvers": (),
        "geometry": ("PixelGrid",),
        "image": ("LensImage", "PSF"),
        "lensing": ("DeflectionField",),
        "light": ("PixelSource", "SersicSource"),
        "forward": (),
        "metrics": (),
        "fit": (),
        "restore": (),
        "quality": (),
        "validation": (),
        "export": (),
        "plotting": (),
        "result": ("SuperResolution",),
        "resolver": ("LensingSuperResolver",),
        "datasets": (),
    },
)
__all__.append("__version__")
