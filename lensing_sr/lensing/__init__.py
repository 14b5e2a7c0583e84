# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Mass models, deflection fields and ray tracing."""

from lensing_sr.utils._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "mass": (
            "epl_convergence",
            "epl_deflection",
            "epl_potential",
            "point_mass_deflection",
            "point_mass_potential",
            "shear_deflection",
            "shear_potential",
            "sie_convergence",
            "sie_deflection",
            "sie_deflection_jacobian",
            "sie_potential",
        ),
        "relens": (
            "back_project",
            "deflection_from_convergence",
            "distortion",
            "integrate_deflection",
            "potential_from_convergence",
            "sample_image",
        ),
        "deflection": ("DeflectionField",),
    },
)
