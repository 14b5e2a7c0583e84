# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Where to compute."""

from lensing_sr.errors import InputError

__all__ = ["torch_device"]


def torch_device(name):
    """The torch device that a user names.

    Parameters
    ----------
    name : str or torch.device
        "auto" is CUDA where there is one, the processor elsewhere.

    Returns
    -------
    torch.device

    Raises
    ------
    lensing_sr.errors.InputError
        If torch knows no such device, or it is not there.

    Examples
    --------
    >>> from lensing_sr.utils._devices import torch_device
    >>> torch_device("cpu")
    device(type='cpu')
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError("device", "must be 'auto', 'cpu', 'cuda' or a torch device", repr(name)) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "must be there", "'cuda', but torch sees no CUDA device", "use 'cpu' or 'auto'")
    return device
