# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""How console tools end: messages on standard error, and exit codes that mean the same everywhere."""

import sys
import traceback

from lensing_sr.errors import LensingSRError

__all__ = ["UsageError", "check_device", "run_tool", "say"]


class UsageError(Exception):
    """The command line makes no sense: exit code 2."""


def say(program, text):
    """Write a line to standard error, with the program's name."""
    print(f"{program}: {text}", file=sys.stderr)


def check_device(device):
    """Raise where CUDA is asked for by name and is not there."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device: cuda is not there (torch sees no CUDA device); use cpu")


def run_tool(program, run, options, *, memory, interrupted):
    """
    Run a console tool, and turn however it ends into a message and an exit code.

    Parameters
    ----------
    program : str
        Its name, in front of messages.
    run : callable
        Takes the options and returns the exit code.
    options : argparse.Namespace
        The parsed command line, with ``verbose``.
    memory, interrupted : str
        What to say where the memory is not enough, and on Ctrl-C.

    Returns
    -------
    int
        What `run` returned; 1 if it failed, 2 for wrong usage, 130 if it was interrupted.

    Examples
    --------
    >>> from lensing_sr.utils._console import run_tool
    >>> run_tool("tool", lambda options: 0, None, memory="", interrupted="")
    0
    """
    try:
        return run(options)
    except UsageError as error:
        say(program, error)
        return 2
    except (LensingSRError, OSError) as error:
        say(program, error)
    except MemoryError:
        say(program, memory)
    except KeyboardInterrupt:
        say(program, interrupted)
        return 130
    except Exception as error:  # a message in any case
        if options.verbose:
            traceback.print_exc()
        say(program, f"internal error ({type(error).__name__}: {error}); please report it, run with -v")
    return 1
