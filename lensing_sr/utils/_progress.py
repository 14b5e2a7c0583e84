# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""A progress bar on standard error, silent where nobody watches."""

import sys

__all__ = ["progress"]


def progress(iterable, *, total=None, description=None, show=None):
    """
    Go through an iterable with a progress bar.

    Parameters
    ----------
    iterable : iterable
        What to go through.
    total : int, optional
        How many items there are, where ``len(iterable)`` can't tell.
    description : str, optional
        What is being done, shown before the bar.
    show : bool, optional
        Whether to show the bar.  By default it is shown where standard error is a terminal and there is more than one
        item.

    Returns
    -------
    items : iterable
        The same items.

    Examples
    --------
    >>> from lensing_sr.utils._progress import progress
    >>> [2 * number for number in progress([1, 2, 3], description="doubling", show=False)]
    [2, 4, 6]
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if show is None:
        show = (total is None or total > 1) and sys.stderr is not None and sys.stderr.isatty()
    if not show:
        return iterable
    from tqdm import tqdm

    return tqdm(iterable, total=total, desc=description, file=sys.stderr, dynamic_ncols=True)
