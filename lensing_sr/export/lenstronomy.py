# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A model in lenstronomy's terms.  Writes its dictionaries without importing it.

lenstronomy's x is +RA and its y +Dec, whatever the image's orientation; ours run along the columns and rows.  Positions
turn by the orientation of the grid, ellipticity and shear (spin 2) by twice that, and a mirrored image (East left)
mirrors them.
"""

import numpy as np

__all__ = ["data_kwargs", "model_kwargs", "sersic_kwargs", "turn_spin2", "turn_vector"]


def turn_vector(x, y, orientation=None):
    """
    Components of a vector in (East, North).

    Parameters
    ----------
    x, y : float or array
        Components along the columns and rows.
    orientation : array of shape (2, 2), optional
        Orthogonal, (East, North) = orientation @ (x, y).  Without it the frame stays.

    Returns
    -------
    east, north : float or array

    Examples
    --------
    >>> from lensing_sr.export.lenstronomy import turn_vector
    >>> turn_vector(1.0, 2.0, [[-1, 0], [0, 1]])
    (-1.0, 2.0)
    """
    if orientation is None:
        return x, y
    (a, b), (c, d) = orientation
    return a * x + b * y, c * x + d * y


def turn_spin2(e1, e2, orientation=None):
    r"""
    Ellipticity or shear in (East, North).

    .. math:: \begin{pmatrix} e_1' & e_2' \\ e_2' & -e_1' \end{pmatrix} =
              O \begin{pmatrix} e_1 & e_2 \\ e_2 & -e_1 \end{pmatrix} O^T

    Parameters
    ----------
    e1, e2 : float or array
        Components in the frame of columns and rows.
    orientation : array of shape (2, 2), optional
        As in `turn_vector`.

    Returns
    -------
    e1, e2 : float or array

    Examples
    --------
    East to the left, as on most images: the second component changes its sign.

    >>> from lensing_sr.export.lenstronomy import turn_spin2
    >>> turn_spin2(0.1, 0.2, [[-1, 0], [0, 1]])
    (0.1, -0.2)
    """
    if orientation is None:
        return e1, e2
    (a, b), (c, d) = orientation
    # First row of O E O^T.
    return (a * a - b * b) * e1 + 2 * a * b * e2, (a * c - b * d) * e1 + (a * d + b * c) * e2


def sersic_kwargs(amplitude, r_eff, n):
    r"""
    The same Sersic profile with lenstronomy's approximate :math:`b_n = 1.9992 n - 0.3271`.

    With the exact :math:`b` and the approximate :math:`b'`, the brightness agrees at every radius when

    .. math:: R' = R\,(b'/b)^n, \qquad I' = I\, e^{b - b'}.

    Parameters
    ----------
    amplitude : float
        Surface brightness at ``r_eff``.
    r_eff : float
        Half-light radius on the intermediate axis in arcsec.
    n : float
        Sersic index.

    Returns
    -------
    amplitude, radius : float
        For lenstronomy's ``SERSIC_ELLIPSE`` (and for COOLEST, which uses the same approximation).

    Examples
    --------
    >>> from lensing_sr.export.lenstronomy import sersic_kwargs
    >>> amplitude, radius = sersic_kwargs(1.0, 0.5, 1.0)
    >>> round(amplitude, 4), round(radius, 4)
    (1.0063, 0.4981)
    """
    import torch

    from lensing_sr.light.sersic import sersic_b

    index = torch.tensor(float(n), dtype=torch.float64)
    exact, approximate = float(sersic_b(index)), float(sersic_b(index, bn="lenstronomy"))
    return float(amplitude * np.exp(exact - approximate)), float(r_eff * (approximate / exact) ** n)


def model_kwargs(parameters, *, orientation=None):
    """
    Lens and source model as lenstronomy takes it.

    Parameters
    ----------
    parameters : dict of {str: float}
        Values by the names of a result's parameter table, in arcsec: ``theta_E``, ``e1``, ``e2``, ``x_lens``,
        ``y_lens``; ``gamma`` (the slope), if it is not 2, makes it an EPL instead of an SIE; ``gamma1`` and ``gamma2``
        add a shear about the lens; ``amplitude``, ``r_eff``, ``n``, ``e1_source``, ``e2_source``, ``x_source``,
        ``y_source`` add a Sersic source.
    orientation : array of shape (2, 2), optional
        (East, North) = orientation @ (x, y); without it lenstronomy's frame is taken to be that of the image.

    Returns
    -------
    model : dict
        ``kwargs_model`` for lenstronomy's ``LensModel`` and ``LightModel``, and ``kwargs_lens``, ``kwargs_source``,
        ``kwargs_lens_light``, as in its ``kwargs_result``.

    Examples
    --------
    >>> from lensing_sr.export.lenstronomy import model_kwargs
    >>> model = model_kwargs({"theta_E": 1.2, "e1": 0.1, "e2": 0.2, "x_lens": 0.1, "y_lens": 0.0},
    ...                      orientation=[[-1, 0], [0, 1]])
    >>> model["kwargs_model"]["lens_model_list"], model["kwargs_lens"]
    (['SIE'], [{'theta_E': 1.2, 'e1': 0.1, 'e2': -0.2, 'center_x': -0.1, 'center_y': 0.0}])
    """
    names, lens = [], []
    shape = _elliptical(parameters, ("e1", "e2"), ("x_lens", "y_lens"), orientation)
    # At exactly 2 the power law is the isothermal ellipsoid, which lenstronomy computes faster.
    if parameters.get("gamma", 2.0) != 2.0:
        names.append("EPL")
        lens.append({"theta_E": parameters["theta_E"], "gamma": parameters["gamma"], **shape})
    else:
        names.append("SIE")
        lens.append({"theta_E": parameters["theta_E"], **shape})
    if "gamma1" in parameters:
        gamma1, gamma2 = turn_spin2(parameters["gamma1"], parameters["gamma2"], orientation)
        names.append("SHEAR")
        centre = {"ra_0": shape["center_x"], "dec_0": shape["center_y"]}
        lens.append({"gamma1": float(gamma1), "gamma2": float(gamma2), **centre})
    source_names, source = [], []
    if "r_eff" in parameters and "amplitude" in parameters:
        amplitude, radius = sersic_kwargs(parameters["amplitude"], parameters["r_eff"], parameters["n"])
        shape = _elliptical(parameters, ("e1_source", "e2_source"), ("x_source", "y_source"), orientation)
        source_names.append("SERSIC_ELLIPSE")
        source.append({"amp": amplitude, "R_sersic": radius, "n_sersic": parameters["n"], **shape})
    return {
        "kwargs_model": {
            "lens_model_list": names,
            "source_light_model_list": source_names,
            "lens_light_model_list": [],
            "point_source_model_list": [],
        },
        "kwargs_lens": lens,
        "kwargs_source": source,
        "kwargs_lens_light": [],
        "kwargs_ps": [],
    }


def _elliptical(parameters, ellipticity, centre, orientation):
    e1, e2 = turn_spin2(*(parameters[name] for name in ellipticity), orientation)
    x, y = turn_vector(*(parameters[name] for name in centre), orientation)
    return {"e1": float(e1), "e2": float(e2), "center_x": float(x), "center_y": float(y)}


def data_kwargs(data, noise, matrix, origin, *, mask=None, orientation=None):
    """
    An image as lenstronomy's ``ImageData`` takes it.

    Parameters
    ----------
    data : array of shape (ny, nx)
        The image, sky removed.
    noise : array of shape (ny, nx) or None
        Sigma of each pixel.
    matrix : array of shape (2, 2)
        arcsec per pixel, (x, y) = matrix @ (column - origin[0], row - origin[1]).
    origin : tuple of float
        Column and row where x = y = 0.
    mask : array of bool of shape (ny, nx), optional
        True where a pixel is ignored.
    orientation : array of shape (2, 2), optional
        As in `model_kwargs`.

    Returns
    -------
    data : dict
        ``kwargs_data`` and, with a mask, ``kwargs_likelihood`` (where 1 keeps a pixel).

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.export.lenstronomy import data_kwargs
    >>> data = data_kwargs(np.ones((3, 3)), None, [[0.1, 0], [0, 0.1]], (1, 1), orientation=[[-1, 0], [0, 1]])
    >>> data["kwargs_data"]["ra_at_xy_0"], data["kwargs_data"]["dec_at_xy_0"]
    (0.1, -0.1)
    """
    turn = np.eye(2) if orientation is None else np.asarray(orientation, dtype=float)
    transform = turn @ np.asarray(matrix, dtype=float)
    corner = -transform @ np.asarray(origin, dtype=float)
    kwargs = {
        "image_data": np.asarray(data, dtype=float),
        "ra_at_xy_0": float(corner[0]),
        "dec_at_xy_0": float(corner[1]),
        "transform_pix2angle": transform,
    }
    if noise is not None:
        kwargs["noise_map"] = np.asarray(noise, dtype=float)
    answer = {"kwargs_data": kwargs}
    if mask is not None:
        answer["kwargs_likelihood"] = {"image_likelihood_mask_list": [~np.asarray(mask, dtype=bool)]}
    return answer
