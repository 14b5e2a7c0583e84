# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Sets as files: what went in comes out, in any portions; the file keeps the FITS standard; all or nothing."""

import errno
import os
import warnings

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensing_sr import LensImage
from lensing_sr.errors import InputError, OutputError
from lensing_sr.simulation import LensPopulation, ReferenceSimulator, _cubes
from lensing_sr.simulation.files import read_set, stream_set, write_set
from lensing_sr.simulation.tests.tiny_simulator import TinySimulator


def assert_same(one, other):
    """Two batches with the same keys, types and values, NaN included."""
    assert set(one) == set(other)
    for key in one:
        if torch.is_tensor(one[key]):
            assert torch.is_tensor(other[key])
            assert one[key].dtype == other[key].dtype
            assert torch.equal(one[key].nan_to_num(-1.0), other[key].nan_to_num(-1.0)), key
        else:
            assert isinstance(other[key], np.ndarray)
            assert other[key].dtype.kind == "U"
            assert one[key].tolist() == other[key].tolist()


@pytest.fixture(scope="module")
def drawn():
    return TinySimulator().draw(23, seed=5, first=2)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_set(TinySimulator(), 23, tmp_path_factory.mktemp("set") / "set.fits", seed=5, first=2, batch_size=10)


def test_what_went_in_comes_out(path, drawn):
    read = read_set(path)
    assert_same(read, drawn)
    assert read["LR"].dtype == torch.float32
    assert read["theta_E"].dtype == torch.float64
    assert read["mass"].isnan().any()


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 12), batch_size=st.integers(1, 15), first=st.integers(0, 3))
def test_the_batch_size_changes_nothing(tmp_path_factory, n, batch_size, first):
    path = tmp_path_factory.mktemp("any") / "set.fits"
    simulator = TinySimulator()
    write_set(simulator, n, path, first=first, batch_size=batch_size)
    assert_same(read_set(path), TinySimulator().draw(n, first=first))
    assert max(simulator.batches) <= batch_size
    assert sum(simulator.batches) == n


@settings(max_examples=20, deadline=None)
@given(
    keys=st.none() | st.lists(st.sampled_from(TinySimulator.keys), min_size=1, max_size=4, unique=True),
    rows=st.none() | st.integers(0, 22) | st.slices(23) | st.lists(st.integers(0, 22), min_size=1, max_size=5),
)
def test_a_part_is_that_part_of_the_whole(path, drawn, keys, rows):
    where = np.arange(23) if rows is None else np.atleast_1d(np.arange(23)[rows]).copy()
    wanted = {key: drawn[key][where] for key in (drawn if keys is None else keys)}
    read = read_set(path, keys=keys, rows=rows)
    assert_same(read, wanted)
    if keys is not None:
        assert list(read) == keys


def test_a_set_may_have_images_alone_or_numbers_alone(tmp_path):
    for keys, names in ((["HR_model", "LR"], ["PRIMARY", "HR_MODEL", "LR"]), (["kind"], ["PRIMARY", "PARAMETERS"])):
        path = write_set(TinySimulator(), 3, tmp_path / f"{keys[0]}.fits", keys=keys)
        assert_same(read_set(path), TinySimulator().draw(3, keys=keys))
        with fits.open(path) as hdus:
            assert [hdu.name for hdu in hdus] == names


@pytest.mark.parametrize("keys", [None, ["LR"], ["kind", "mass"]])
def test_batches_of_a_set_are_the_set(path, drawn, keys):
    batches = list(stream_set(path, 10, keys=keys))
    assert [len(next(iter(batch.values()))) for batch in batches] == [10, 10, 3]
    for i, batch in enumerate(batches):
        assert_same(batch, {key: drawn[key][10 * i : 10 * i + 10] for key in keys or drawn})


def test_shuffled_batches_hold_every_image_once(path, drawn):
    def order(seed):
        batches = list(stream_set(path, 7, keys=["theta_E", "LR"], seed=seed))
        theta_E, image = (torch.cat([batch[key] for batch in batches]) for key in ("theta_E", "LR"))
        place = [drawn["theta_E"].tolist().index(value) for value in theta_E.tolist()]
        assert torch.equal(image, drawn["LR"][place])
        return place

    assert sorted(order(1)) == list(range(23))
    assert order(1) == order(1) != order(2)
    assert order(1) != list(range(23))


def test_a_stream_that_is_left_closes_its_file(path):
    stream = stream_set(path, 2)
    next(stream)
    stream.close()  # an open file would warn, and warnings are errors


def test_the_file_keeps_the_standard(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True, lazy_load_hdus=False) as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "LR", "HR_MODEL", "PSF", "PARAMETERS"]
            assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)
    data = path.read_bytes()
    assert len(data) % 2880 == 0
    # to the standard every extension, checksum and all, sums to -0: 32 ones
    with fits.open(path) as hdus:
        for hdu in hdus:
            place = hdu.fileinfo()
            assert _cubes.ones_complement_sum(data[place["hdrLoc"] : place["datLoc"] + place["datSpan"]]) == 2**32 - 1


def test_damage_shows_in_the_checksum(path, tmp_path):
    data = bytearray(path.read_bytes())
    with fits.open(path) as hdus:
        data[hdus["LR"].fileinfo()["datLoc"] + 100] ^= 1
    (tmp_path / "damaged.fits").write_bytes(data)
    with pytest.warns(AstropyUserWarning, match="(?i)(checksum|datasum) verification failed") as told:
        with fits.open(tmp_path / "damaged.fits", checksum=True, lazy_load_hdus=False):
            pass
    assert all("'LR'" in str(warning.message) for warning in told)


@settings(max_examples=25, deadline=None)
@given(
    total=st.integers(0, 2**32 - 1),
    data=st.lists(st.binary(min_size=4, max_size=4), max_size=20),
    cut=st.integers(0, 20),
)
def test_checksums_are_those_of_the_standard(total, data, cut):
    text = _cubes.checksum_text(total)
    assert text.isalnum()
    # In the place of sixteen zeros the text adds the complement; it begins at the fourth byte of a word.
    zeros = _cubes.ones_complement_sum(b"\x00\x00\x00" + b"0" * 16 + b"\x00")
    with_text = _cubes.ones_complement_sum(b"\x00\x00\x00" + text.encode() + b"\x00")
    change = with_text - zeros if with_text >= zeros else with_text - zeros + 2**32 - 1
    assert (total + change) % (2**32 - 1) == 0
    # A sum of parts is the sum of the whole.
    whole = b"".join(data)
    parts = _cubes.ones_complement_sum(b"".join(data[cut:]), _cubes.ones_complement_sum(b"".join(data[:cut])))
    assert parts == _cubes.ones_complement_sum(whole)


def test_a_piece_that_does_not_fit_is_refused(tmp_path):
    cube = _cubes.CubeExtension(fits.Header(), (3, 2, 2), 0)
    for place, shape in ((2, (2, 2, 2)), (0, (1, 2, 3)), (-1, (1, 2, 2))):
        with pytest.raises(ValueError, match="do not fit"):
            cube.write(None, place, np.zeros(shape))


def test_headers_tell_what_it_is(path):
    with fits.open(path) as hdus:
        header = hdus[0].header
        assert (header["SIMMODEL"], header["SIMPIXEL"]) == ("tiny", 0.1)
        assert (header["SEED"], header["FIRST"], header["NIMAGES"]) == (5, 2, 23)
        assert header["CREATOR"].startswith("lensing_sr ")
        assert hdus["HR_MODEL"].header["SIMKEY"] == "HR_model"
        assert hdus["HR_MODEL"].header["BUNIT"] == "ct / s"
        assert hdus["PSF"].header["BUNIT"] == ""
    table = Table.read(path, hdu="PARAMETERS")
    assert table.colnames == ["theta_E", "mass", "rate", "kind", "note"]
    # FITS has no electrons; a reader would warn, and warnings are errors
    units = {"theta_E": "arcsec", "mass": "solMass", "rate": "ct2 / s2", "kind": None}
    assert {name: table[name].unit for name in units} == units


@pytest.mark.parametrize(("key", "scale"), [("LR", 0.1), ("HR_model", 0.05)])
def test_axes_have_their_zero_in_the_centre(path, key, scale):
    header = fits.getheader(path, key.upper())
    assert header["PIXSCALE"] == scale
    rows, columns = TinySimulator.shapes[key]
    wcs = WCS(header)
    x, y, number = wcs.pixel_to_world_values([0, columns - 1], [0, rows - 1], [0, 22])
    np.testing.assert_allclose(x, [-(columns - 1) / 2 * scale, (columns - 1) / 2 * scale])
    np.testing.assert_allclose(y, [-(rows - 1) / 2 * scale, (rows - 1) / 2 * scale])
    np.testing.assert_allclose(number, [2, 24])  # the first image of the file is number 2 of the set
    assert [str(unit) for unit in wcs.celestial.world_axis_units if unit] == []


def test_overlong_cards_do_not_warn(tmp_path):
    simulator = TinySimulator()
    simulator.cards = {"LONG": (1.25, 70 * "x"), "TEXT": ("it's " + 60 * "y", 40 * "z"), "LONGER": (200 * "a", "b")}
    header = fits.getheader(write_set(simulator, 1, tmp_path / "set.fits"))
    for keyword, (value, comment) in simulator.cards.items():
        assert header[keyword] == value
        assert comment.startswith(header.comments[keyword])


def test_an_existing_file_stays(path, tmp_path):
    simulator = TinySimulator()
    other = tmp_path / "set.fits"
    other.write_bytes(path.read_bytes())
    with pytest.raises(OutputError, match="exists already"):
        write_set(simulator, 2, other)
    assert simulator.batches == []
    assert other.read_bytes() == path.read_bytes()
    write_set(simulator, 2, other, overwrite=True)
    assert len(read_set(other)["LR"]) == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_nothing(tmp_path, error):
    class Stopped(TinySimulator):
        def draw(self, n, *, first=0, **more):
            if first >= 4:
                raise error
            return super().draw(n, first=first, **more)

    (tmp_path / "set.fits").write_text("old")
    with pytest.raises(error):
        write_set(Stopped(), 10, tmp_path / "set.fits", batch_size=2, overwrite=True)
    assert os.listdir(tmp_path) == ["set.fits"]
    assert (tmp_path / "set.fits").read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve space")
def test_a_full_disk_is_told_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def unable(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    simulator = TinySimulator()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_set(simulator, 10, tmp_path / "set.fits", batch_size=2)
    assert simulator.batches == [2]
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(os, "posix_fallocate", unable)
    write_set(simulator, 10, tmp_path / "set.fits", batch_size=2)
    assert_same(read_set(tmp_path / "set.fits"), TinySimulator().draw(10))


def test_texts_that_fits_cannot_hold_are_named(tmp_path):
    class Greek(TinySimulator):
        def draw(self, n, **more):
            return {**super().draw(n, **more), "kind": np.full(n, "\N{GREEK SMALL LETTER THETA}")}

    with pytest.raises(OutputError, match="kind: the texts must be ASCII"):
        write_set(Greek(), 2, tmp_path / "set.fits")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n: must be a whole number of at least 1, got 0"),
        ({"n": 2.5}, "n: must be a whole number of at least 1, got 2.5"),
        ({"batch_size": 0}, "batch_size: must be"),
        ({"seed": -1}, "seed: must be"),
        ({"first": True}, "first: must be"),
        ({"keys": ["LR", "SR"]}, "keys: must be among those of the set, got 'SR'; there are LR, HR_model"),
        ({"keys": []}, "keys: must be among those of the set, got none"),
        ({"keys": "LR"}, "keys: must be a sequence of keys, got 'LR'; write"),
        ({"path": "set.fits.gz"}, "path: must end in .fits, got set.fits.gz; a set is written uncompressed"),
    ],
)
def test_wrong_arguments_are_named_before_the_work(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    simulator = TinySimulator()
    with pytest.raises(InputError, match=message):
        write_set(**{"simulator": simulator, "n": 3, "path": "set.fits", **change})
    assert simulator.batches == []
    assert os.listdir(tmp_path) == []


def test_what_is_no_set_is_told(path, tmp_path):
    truncated, other, text = tmp_path / "truncated.fits", tmp_path / "other.fits", tmp_path / "text.fits"
    truncated.write_bytes(path.read_bytes()[: 3 * 2880])
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(other)
    text.write_text("no FITS")
    for bad in (truncated, other, text):
        for read in (read_set, lambda path: stream_set(path, 2)):
            with pytest.raises(InputError, match="must be a FITS file that write_set wrote"):
                read(bad)
    with pytest.raises(InputError, match="path: must be an existing file"):
        read_set(tmp_path / "absent.fits")


@pytest.mark.parametrize("rows", [23, -1, [0, 23], 1.5, "first", [[1]], []])
def test_rows_that_are_not_there(path, rows):
    with pytest.raises(InputError, match="rows: must be numbers of images from 0 to 22, or a slice"):
        read_set(path, rows=rows)


def test_keys_that_are_not_there_are_told_at_once(path):
    with pytest.raises(InputError, match="keys: must be among those of the set, got 'SR'"):
        stream_set(path, 2, keys=["SR"])
    with pytest.raises(InputError, match="batch_size"):
        stream_set(path, 0)
    with pytest.raises(InputError, match="seed"):
        stream_set(path, 1, seed="x")


@pytest.mark.parametrize("simulator", [ReferenceSimulator(1), ReferenceSimulator(2), LensPopulation("euclid-vis")])
def test_units_of_real_sets_are_read_without_a_warning(tmp_path, simulator):
    keys = [key for key in simulator.keys if key not in simulator.pixel_scales]
    table = Table.read(write_set(simulator, 1, tmp_path / "set.fits", keys=keys), hdu="PARAMETERS")
    for key in keys:
        unit = u.Unit(simulator.units[key])
        if u.electron in unit.bases:
            unit = u.ct / u.s
        assert (table[key].unit or u.dimensionless_unscaled) == unit


def test_a_plane_goes_straight_into_the_package(tmp_path):
    population = LensPopulation("euclid-vis", shape=(48, 64), correlated_noise=0.0)
    path = write_set(population, 2, tmp_path / "set.fits", keys=["LR", "LR_model", "noise", "psf"])
    with fits.open(path) as hdus:
        scale = hdus["PRIMARY"].header["SCALE"]
        plane, truth, noise, psf = (hdus[name].data[1] for name in ("LR", "LR_MODEL", "NOISE", "PSF"))
        image = LensImage.read((plane, hdus["LR"].header), noise=noise, psf=psf, psf_oversampling=scale)
    assert image.shape == (48, 64)
    assert str(image.unit) == "electron / s"
    np.testing.assert_allclose(image.grid.matrix, [[0.1, 0], [0, 0.1]])
    np.testing.assert_allclose(image.grid.origin, [31.5, 23.5])
    assert image.psf.oversampling == scale
    np.testing.assert_array_equal(image.data, population.draw(2, keys=["LR"])["LR"][1].numpy())
    assert np.mean(((image.data - truth) / image.noise) ** 2) == pytest.approx(1, abs=0.13)  # 5 sigma of 3072 pixels
