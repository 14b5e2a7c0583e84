# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Packages whose modules are imported when a name is first asked for (:pep:`562`).

Importing ``lensing_sr`` must stay light: the tensor core must not wait for astropy, nor a reader of headers for torch.
"""

import importlib
import sys

__all__ = ["attach"]


def attach(package, exports):
    """
    Make the ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose modules load late.

    Parameters
    ----------
    package : str
        Full name of the package, its ``__name__``.
    exports : dict of {str: tuple of str}
        For each module of the package the public names that the package offers from it.  A module with no names is
        only reachable itself.  A name must not equal that of a module of the package: importing the module would then
        hide the name.

    Returns
    -------
    getattr_, dir_ : callable
        To be bound to ``__getattr__`` and ``__dir__``.
    all_ : list of str
        To be bound to ``__all__``: the public names, sorted.

    Raises
    ------
    ValueError
        If a name is offered twice, or equals that of a module.

    Examples
    --------
    >>> from lensing_sr.utils._lazy import attach
    >>> getattr_, dir_, all_ = attach("xml", {"dom": ("Node",)})
    >>> all_
    ['Node']
    >>> getattr_("Node").__module__
    'xml.dom'
    """
    home = {}
    for module, names in exports.items():
        for name in names:
            if name in home or name in exports:
                raise ValueError(f"{package}: the name {name!r} is offered twice, or is also that of a module")
            home[name] = module

    def getattr_(name):
        if name in home:
            value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
            # Found at once from now on; only a package that is really loaded has a place to keep it.
            if package in sys.modules:
                setattr(sys.modules[package], name, value)
            return value
        if name in exports:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def dir_():
        return sorted({*home, *exports, *vars(sys.modules[package])})

    return getattr_, dir_, sorted(home)
