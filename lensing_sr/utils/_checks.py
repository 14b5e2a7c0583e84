# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The door: arguments become plain numbers of known units here, or errors that name them."""

import math
import numbers

import numpy as np

from lensing_sr.errors import InputError

__all__ = ["as_float_in", "check_choice", "check_same_shape", "check_whole"]


def as_float_in(value, unit, argument, *, positive=False, non_negative=False):
    """
    Turn one number or quantity into a finite float in the wanted unit.

    Parameters
    ----------
    value : float or `~astropy.units.Quantity`
        One number.  A plain number is taken to be in ``unit``; so is a dimensionless quantity only if ``unit`` is
        dimensionless.
    unit : str or `~astropy.units.Unit`
        The unit of the answer.
    argument : str
        Name of the argument, for the message.
    positive, non_negative : bool, optional
        Whether the number must be above zero, or not below.

    Returns
    -------
    number : float
        The number in ``unit``.

    Raises
    ------
    InputError
        If the value isn't one finite number, cannot be converted, or has the wrong sign.

    Examples
    --------
    >>> import astropy.units as u
    >>> from lensing_sr.utils._checks import as_float_in
    >>> as_float_in(0.5 * u.arcmin, "arcsec", "size")
    30.0
    >>> as_float_in(-1, "arcsec", "psf_fwhm", positive=True)
    Traceback (most recent call last):
    ...
    lensing_sr.errors.InputError: psf_fwhm: must be positive, got -1 arcsec
    """
    import astropy.units as u  # late: the tensor core checks its settings without astropy

    unit = u.Unit(unit)
    name = "" if unit == u.dimensionless_unscaled else f" in {unit}"
    rule = f"must be one finite number{name}"
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise InputError(argument, rule, repr(value), "give a number or a Quantity")
    if isinstance(value, u.Quantity):
        try:
            value = value.to(unit).value
        except u.UnitConversionError as error:
            raise InputError(argument, rule, value, f"give a Quantity that converts to {unit}") from error
    # torch and numpy scalars, and arrays of one element without a dimension
    if not isinstance(value, numbers.Real):
        if getattr(value, "shape", None) != () or not hasattr(value, "__float__"):
            raise InputError(argument, rule, _short(value), "give a number or a Quantity")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(argument, rule, _short(value), "give a number or a Quantity") from error
    shown = f"{number:g} {unit}".rstrip()
    if not math.isfinite(number):
        raise InputError(argument, rule, shown)
    if positive and number <= 0:
        raise InputError(argument, "must be positive", shown)
    if non_negative and number < 0:
        raise InputError(argument, "must not be negative", shown)
    return number


def check_choice(value, choices, argument):
    """
    Check that a value is one of the allowed ones.

    Parameters
    ----------
    value : object
        The value.
    choices : sequence
        The allowed values.
    argument : str
        Name of the argument, for the message.

    Returns
    -------
    value : object
        The value, as it came.

    Raises
    ------
    InputError
        If it isn't allowed.

    Examples
    --------
    >>> from lensing_sr.utils._checks import check_choice
    >>> check_choice("magic", ("auto", "fit"), "method")
    Traceback (most recent call last):
    ...
    lensing_sr.errors.InputError: method: must be 'auto' or 'fit', got 'magic'
    """
    # True == 1, but the one doesn't stand for the other here
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise InputError(argument, f"must be {' or '.join(map(repr, choices))}", repr(value))
    return value


def check_whole(value, argument, *, least=0):
    """
    Check that a value is a whole number, and large enough.

    Parameters
    ----------
    value : object
        The value.
    argument : str
        Name of the argument, for the message.
    least : int, optional
        The smallest that is allowed.

    Returns
    -------
    number : int
        The value.

    Raises
    ------
    InputError
        If it is no integer (True is none either), or too small.

    Examples
    --------
    >>> from lensing_sr.utils._checks import check_whole
    >>> check_whole(0, "epochs", least=1)
    Traceback (most recent call last):
    ...
    lensing_sr.errors.InputError: epochs: must be a whole number of at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(argument, f"must be a whole number of at least {least}", repr(value))
    return int(value)


def check_same_shape(value, shape, argument, *, of="the image"):
    """
    Check that an array has the shape of another.

    Parameters
    ----------
    value : array
        The array.
    shape : tuple of int
        The shape that it must have.
    argument : str
        Name of the argument, for the message.
    of : str, optional
        Whose shape that is.

    Returns
    -------
    value : array
        The array, as it came.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from lensing_sr.utils._checks import check_same_shape
    >>> check_same_shape(np.ones((3, 4)), (4, 4), "mask")
    Traceback (most recent call last):
    ...
    lensing_sr.errors.InputError: mask: must have the shape (4, 4) of the image, got (3, 4); crop both alike
    """
    if np.shape(value) != tuple(shape):
        raise InputError(argument, f"must have the shape {tuple(shape)} of {of}", np.shape(value), "crop both alike")
    return value


def _short(value):
    """Name an argument's value in a message without printing a whole array."""
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {tuple(shape)}" if shape else f"{type(value).__name__} {str(value)[:40]!r}"
