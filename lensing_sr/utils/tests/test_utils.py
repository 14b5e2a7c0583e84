# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
import io
import sys

import astropy.units as u
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr.errors import InputError
from lensing_sr.utils._checks import as_float_in, check_choice, check_same_shape
from lensing_sr.utils._lazy import attach
from lensing_sr.utils._optional_deps import import_optional
from lensing_sr.utils._progress import progress
from lensing_sr.utils._repr import make_repr, shorten


class TestChecks:
    @given(st.floats(-1e30, 1e30), st.sampled_from([u.arcsec, u.mas, u.deg, u.rad]))
    @settings(max_examples=25, deadline=None)
    def test_quantity_and_number_agree(self, number, unit):
        plain = as_float_in(number, "arcsec", "x")
        assert plain == number
        assert np.isclose(as_float_in((number * u.arcsec).to(unit), "arcsec", "x"), plain, rtol=1e-14)

    @pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.array(2.0), torch.tensor(2.0), 2.0 * u.arcsec])
    def test_every_kind_of_scalar(self, number):
        answer = as_float_in(number, u.arcsec, "x")
        assert type(answer) is float and answer == 2.0

    @pytest.mark.parametrize(
        "bad",
        [None, "2", True, np.nan, np.inf, 1j, [1, 2], np.ones(3), [2.0] * u.arcsec, 2 * u.m, np.bool_(1), object()],
        ids=str,
    )
    def test_anything_else_is_named(self, bad):
        with pytest.raises(InputError, match="^psf_fwhm: must be one finite number in arcsec"):
            as_float_in(bad, "arcsec", "psf_fwhm")

    def test_sign(self):
        assert as_float_in(0, "", "x", non_negative=True) == 0
        with pytest.raises(InputError, match="x: must be positive, got 0"):
            as_float_in(0, "", "x", positive=True)
        with pytest.raises(InputError, match="x: must not be negative, got -1 arcsec"):
            as_float_in(-1 * u.arcsec, "arcsec", "x", non_negative=True)

    def test_choice_does_not_mix_true_and_one(self):
        assert check_choice(True, ("auto", True, False), "lens_light") is True
        with pytest.raises(InputError, match="lens_light: must be 'auto' or True or False, got 1"):
            check_choice(1, ("auto", True, False), "lens_light")

    def test_shape(self):
        mask = np.ones((2, 3))
        assert check_same_shape(mask, (2, 3), "mask") is mask
        with pytest.raises(InputError, match=r"mask: must have the shape \(2, 2\)"):
            check_same_shape(mask, (2, 2), "mask")


class TestRepr:
    def test_long_and_short_hold_the_same_facts(self):
        fields = {"scale": 2, "pixel": 0.0499999 * u.arcsec, "missing": None, "data": np.ones((2, 3)) * u.Jy}
        assert make_repr(self, fields) == "<TestRepr(scale=2, pixel=0.05 arcsec, data=array(2, 3) Jy)>"
        lines = make_repr(self, fields, long=True).splitlines()
        assert lines[1:] == ["scale: 2", "pixel: 0.05 arcsec", "data: array(2, 3) Jy"]

    @pytest.mark.parametrize(
        ("value", "text"),
        [(np.float32(1.5), "1.5"), (torch.tensor(0.25), "0.25"), (True, "True"), (3 * u.one, "3"), (None, "None")],
        ids=str,
    )
    def test_shorten(self, value, text):
        assert shorten(value) == text


class TestProgress:
    def test_silent_where_nobody_watches(self, monkeypatch):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress(range(3), description="fitting")) == [0, 1, 2]
        assert list(progress(iter(range(3)), show=False)) == [0, 1, 2]
        assert stream.getvalue() == ""

    def test_shows_on_a_terminal_or_when_asked(self, monkeypatch):
        stream = io.StringIO()
        stream.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress([7], description="fitting")) == [7]
        assert stream.getvalue() == "", "one item needs no bar"
        assert list(progress(iter("abc"), total=3, description="fitting")) == list("abc")
        assert "fitting" in stream.getvalue() and "3/3" in stream.getvalue()

    def test_no_stderr_at_all(self, monkeypatch):
        monkeypatch.setattr(sys, "stderr", None)
        assert list(progress(range(2))) == [0, 1]


class TestOptional:
    def test_there(self):
        assert import_optional("json.decoder", extra="all", purpose="reading") is sys.modules["json.decoder"]

    def test_a_broken_package_is_not_called_missing(self, monkeypatch, tmp_path):
        (tmp_path / "half_installed.py").write_text("import no_such_dependency\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
            import_optional("half_installed", extra="all", purpose="reading")
        assert "pip install" not in str(caught.value)


class TestLazy:
    def test_loads_once_and_only_when_asked(self, monkeypatch, tmp_path):
        (tmp_path / "lazy_room").mkdir()
        (tmp_path / "lazy_room" / "__init__.py").write_text(
            "from lensing_sr.utils._lazy import attach\n"
            "__getattr__, __dir__, __all__ = attach(__name__, {'one': ('a',), 'two': ()})\n"
        )
        (tmp_path / "lazy_room" / "one.py").write_text("a = 1\nb = 2\n")
        (tmp_path / "lazy_room" / "two.py").write_text("c = 3\n")
        monkeypatch.syspath_prepend(tmp_path)
        import lazy_room

        try:
            assert lazy_room.__all__ == ["a"] and {"a", "one", "two"} <= set(dir(lazy_room))
            assert "lazy_room.one" not in sys.modules
            assert lazy_room.a == 1 and vars(lazy_room)["a"] == 1
            assert lazy_room.two.c == 3
            with pytest.raises(AttributeError, match="module 'lazy_room' has no attribute 'b'"):
                lazy_room.b
            assert not hasattr(lazy_room, "__wrapped__")
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "lazy_room"]:
                del sys.modules[name]

    @pytest.mark.parametrize("exports", [{"one": ("a",), "two": ("a",)}, {"a": ("a",)}, {"one": ("two",), "two": ()}])
    def test_a_name_has_one_meaning(self, exports):
        with pytest.raises(ValueError, match="offered twice"):
            attach("room", exports)

    def test_a_missing_module_stays_an_import_error(self):
        getattr_, _, _ = attach("lensing_sr", {"no_such_module": ("a",)})
        with pytest.raises(ModuleNotFoundError):
            getattr_("a")
