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
        "nearest": ("nearest_sie",),
        "perturbers": (
            "point_masses_deflection",
            "pseudo_jaffe_convergence",
            "pseudo_jaffe_deflection",
            "pseudo_jaffe_mass",
            "pseudo_jaffes_convergence",
            "pseudo_jaffes_deflection",
            "truncated_nfw_convergence",
            "truncated_nfw_deflection",
            "truncated_nfw_mass",
            "truncated_nfws_convergence",
            "truncated_nfws_deflection",
        ),
        "power_law_jacobian": ("epl_deflection_jacobian",),
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
