# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""One way to write what an object is, in the terms of its science."""

__all__ = ["make_repr"]


def make_repr(instance, fields, *, long=False):
    """
    Write a representation of an object: its class, and the few facts that say what it is.

    Numbers are shortened to four significant digits and quantities keep their unit, so that the text reads like a line
    of a log rather than like a memory dump.

    Parameters
    ----------
    instance : object
        The object; only its class is looked at.
    fields : dict
        The facts in the order in which they are shown, as ``{"name": value}``.  Facts that are `None` are left out.
    long : bool, optional
        One fact a line, for ``__str__``.

    Returns
    -------
    text : str
        ``<Name(a=1, b=2)>``, or ``<module.Name>`` and one line a fact.  The brackets say that it doesn't evaluate.

    Examples
    --------
    >>> import astropy.units as u
    >>> from lensing_sr.utils._repr import make_repr
    >>> class Ring:
    ...     def __repr__(self):
    ...         return make_repr(self, {"theta_E": 1.23456 * u.arcsec, "shape": (64, 64), "wcs": None})
    >>> Ring()
    <Ring(theta_E=1.235 arcsec, shape=(64, 64))>
    """
    facts = {name: shorten(value) for name, value in fields.items() if value is not None}
    name = type(instance).__name__
    if long:
        lines = [f"<{type(instance).__module__}.{name}>", *(f"{key}: {value}" for key, value in facts.items())]
        return "\n".join(lines)
    return f"<{name}({', '.join(f'{key}={value}' for key, value in facts.items())})>"


def shorten(value):
    """
    Write one value shortly: a float or a scalar quantity to four digits, an array as its shape, the rest as `repr`.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    text : str
        The text.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.utils._repr import shorten
    >>> shorten(0.049999), shorten("HST"), shorten((0.1, 2)), shorten(np.zeros((3, 4)))
    ('0.05', "'HST'", '(0.1, 2)', 'array(3, 4)')
    """
    unit = getattr(value, "unit", None)
    number = getattr(value, "value", value) if unit is not None else value
    shape = getattr(number, "shape", ())
    if shape:
        text = f"array{tuple(shape)}"
    elif isinstance(number, tuple | list):
        text = f"({', '.join(shorten(item) for item in number)})"
    elif isinstance(number, bool | int | str | bytes) or not hasattr(number, "__float__"):
        text = repr(number)
    else:
        text = f"{float(number):.4g}"
    return f"{text} {unit}".rstrip() if unit is not None else text
