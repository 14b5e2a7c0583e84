# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Whole or not at all."""

import os

import pytest

from lensing_sr.errors import OutputError
from lensing_sr.export.atomic import atomic_path, check_output, write_text


def test_file_appears_at_the_end_and_alone(tmp_path):
    path = tmp_path / "a.fits.gz"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("a.fits.gz")  # writers choose the format by it
    assert os.listdir(tmp_path) == ["a.fits.gz"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OutputError if error is OSError else error), atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_somebody_faster_is_not_overwritten(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError, match="exists already"), atomic_path(path) as temporary:
        temporary.write_text("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").write_text("text")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_what_cannot_be_a_file_is_said(tmp_path):
    with pytest.raises(OutputError, match="is a folder; give the name of a file in it"):
        check_output(tmp_path)
    with pytest.raises(OutputError, match="does not exist; make it first"):
        check_output(tmp_path / "absent" / "a.txt", overwrite=True)
    assert check_output(tmp_path / "a.txt") == tmp_path / "a.txt"
