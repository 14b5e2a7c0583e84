# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import argparse

import pytest

from lensing_sr.errors import InputError
from lensing_sr.utils._console import UsageError, check_device, run_tool


def end(error, capsys, verbose=False):
    """Exit code and message of a tool that raises an error."""

    def run(options):
        raise error

    code = run_tool("tool", run, argparse.Namespace(verbose=verbose), memory="too large", interrupted="stopped")
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageError("no such option"), 2, "tool: no such option\n"),
        (InputError("n", "must be a number", "'x'"), 1, "tool: n: must be a number"),
        (OSError("disk full"), 1, "tool: disk full\n"),
        (MemoryError(), 1, "tool: too large\n"),
        (KeyboardInterrupt(), 130, "tool: stopped\n"),
        (ZeroDivisionError("oh"), 1, "tool: internal error (ZeroDivisionError: oh)"),
    ],
)
def test_every_end_has_its_code_and_message(error, code, text, capsys):
    found, message = end(error, capsys)
    assert found == code
    assert message.startswith(text)
    assert "Traceback" not in message


def test_traceback_on_request(capsys):
    assert "Traceback" in end(ZeroDivisionError(), capsys, verbose=True)[1]


def test_code_of_the_run_is_kept():
    assert run_tool("tool", lambda options: 7, None, memory="", interrupted="") == 7


def test_devices_other_than_cuda_are_not_looked_for():
    check_device("cpu")
    check_device("auto")
