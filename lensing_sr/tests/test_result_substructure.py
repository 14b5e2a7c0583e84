# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Mass that a smooth lens lacks, in a result and in its file."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from lensing_sr.errors import InputError
from lensing_sr.lensing.substructure import COLUMNS, perturber_table
from lensing_sr.plotting import substructure_figure
from lensing_sr.result import SuperResolution
from lensing_sr.tests.fake_result import make_result

MASS = dict(zip(COLUMNS, (0.08, 0.002, 1.1, 0.01, -0.4, 0.012, 21.0), strict=True))


def substructured(masses=(MASS,)):
    result = make_result()
    rng = np.random.default_rng(0)
    maps = (CCDData(rng.normal(size=result.image.shape), unit=u.one, wcs=result.grid.wcs) for _ in range(2))
    result._set_substructure((*maps, perturber_table(masses)))
    return result


def test_a_smooth_lens_has_none(tmp_path):
    result = make_result()
    assert result.convergence_correction is None and result.significance is None and len(result.perturbers) == 0
    result.write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        assert not {"KAPCORR", "KAPSIG", "PERTURB"} & {hdu.name for hdu in hdus}
    assert SuperResolution.read(tmp_path / "a.fits").significance is None


def test_it_comes_back_from_the_file(tmp_path):
    result = substructured()
    result.write(tmp_path / "a.fits")
    back = SuperResolution.read(tmp_path / "a.fits")
    for name in ("convergence_correction", "significance"):
        np.testing.assert_allclose(getattr(back, name).data, getattr(result, name).data, rtol=1e-6)
        assert getattr(back, name).wcs.has_celestial
    assert back.perturbers.colnames == list(COLUMNS)
    assert back.perturbers["theta_E"].unit == u.arcsec and back.perturbers["significance"][0] == 21.0


def test_maps_without_point_masses(tmp_path):
    result = substructured(())
    result.write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        assert "KAPSIG" in hdus and "PERTURB" not in hdus
    back = SuperResolution.read(tmp_path / "a.fits")
    assert len(back.perturbers) == 0 and back.significance is not None


def test_the_figure(tmp_path):
    figure = substructure_figure(substructured(), tmp_path / "a.png")
    titles = [axes.get_title() for axes in figure.axes]
    assert "Significance" in titles and (tmp_path / "a.png").stat().st_size > 0


def test_a_smooth_lens_has_no_figure():
    with pytest.raises(InputError, match="must have a correction"):
        substructure_figure(make_result())
