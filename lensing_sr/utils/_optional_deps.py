# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Optional packages: imported when they are needed, missed with a message that says how to get them."""

import importlib

__all__ = ["import_optional"]


def import_optional(module, *, extra, purpose):
    """
    Import a module of an optional package.

    Parameters
    ----------
    module : str
        Full name of the module.
    extra : str
        The extra of ``lensing_sr`` that installs the package.
    purpose : str
        What needs the package, to begin the message with.

    Returns
    -------
    module : module
        The module.

    Raises
    ------
    ImportError
        If the package isn't installed; the message names the extra.

    Examples
    --------
    >>> from lensing_sr.utils._optional_deps import import_optional
    >>> import_optional("no_such_package.core", extra="all", purpose="to_lens()")
    Traceback (most recent call last):
    ...
    ImportError: to_lens() needs the package no_such_package; install it with: pip install "lensing_sr[all]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        # A package that is there but lacks something of its own must not be reported as missing.
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ImportError(
            f'{purpose} needs the package {package}; install it with: pip install "lensing_sr[{extra}]"', name=package
        ) from None
