# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Independent computations side by side on a processor's cores."""

from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["side_by_side"]


def side_by_side(tasks, device="cpu"):
    """Do tasks that do not depend on each other, each on one of torch's threads.

    Images of a few thousand pixels are too small to be shared between cores, so that two computations on a core each
    end sooner than one after the other on both.

    Parameters
    ----------
    tasks : sequence of callable
        Without arguments.
    device : torch.device or str
        Where they compute.  On an accelerator, or with one thread, they are done one after the other.

    Returns
    -------
    list
        What they return, in their order.

    Examples
    --------
    >>> from lensing_sr.utils._threads import side_by_side
    >>> side_by_side([lambda: 1, lambda: 2])
    [1, 2]
    """
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    if threads == 1 or len(tasks) < 2:
        return [task() for task in tasks]
    graded = torch.is_grad_enabled()  # each thread has a mode of its own

    def done(task):
        with torch.set_grad_enabled(graded):
            return task()

    try:
        with ThreadPoolExecutor(min(threads, len(tasks)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(done, tasks))
    finally:
        # that of this thread never changed, but that of threads to come did
        torch.set_num_threads(threads)
