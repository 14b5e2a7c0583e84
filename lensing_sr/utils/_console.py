# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What console tools share: numbers of a command line, messages on standard error, exit codes that mean the same."""

import argparse
import re
import sys
import traceback

from lensing_sr.errors import LensingSRError

__all__ = ["UsageError", "check_device", "number", "positive", "run_tool", "say", "whole"]


class UsageError(Exception):
    """The command line makes no sense: exit code 2."""


def number(text):
    """Any number, as a type for argparse."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def positive(text):
    """Positive, finite number, as a type for argparse."""
    value = number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def whole(least=0):
    """Whole number of at least `least`, as a type for argparse."""

    def checked(text):
        if not re.fullmatch(r"\d{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more, got {text!r}")
        return int(text)

    return checked


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
