# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Several processes that train one network, as ``torchrun`` starts them; alone, everything here does nothing."""

import os
from contextlib import contextmanager

import torch
from torch import distributed

__all__ = [
    "average_gradients", "gathered", "mean_over_processes", "process_group", "rank", "same_everywhere", "wait", "world",
]  # fmt: skip


def rank():
    """Number of this process, 0 for the one that writes."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def world():
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


@contextmanager
def process_group(device="auto"):
    """Join the processes that ``torchrun`` started, and leave them at the end; without it, nothing happens.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        What they compute on: NCCL joins GPUs, one a process; gloo joins processors.

    Yields
    ------
    device : torch.device
        That of this process.
    """
    cuda = device != "cpu" and torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield torch.device("cuda" if cuda else "cpu")
        return
    here = torch.device("cpu")
    if cuda:
        here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if cuda else "gloo", device_id=here if cuda else None)
    try:
        yield here
        # gloo's threads hold tensors until they get to drop them: one that is still to do so when Python ends, or when
        # the other process has left, aborts the process. Who waits here lets them; who failed must not wait for others
        wait()
    finally:
        distributed.destroy_process_group()


def mean_over_processes(values):
    """Mean of a tensor over the processes; alone, the tensor itself."""
    if world() > 1:
        distributed.all_reduce(values)
        values = values / world()
    return values


def average_gradients(parameters):
    """Put the mean of the processes' gradients in place of each, in one message."""
    if world() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = mean_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def same_everywhere(module):
    """Give all processes the weights and buffers that the first one has."""
    if world() > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, 0)


def gathered(value):
    """Values of all processes, a list by their number."""
    if world() == 1:
        return [value]
    values = [None] * world()
    distributed.all_gather_object(values, value)
    return values


def wait():
    """Wait for all processes."""
    if world() > 1:
        distributed.barrier()
