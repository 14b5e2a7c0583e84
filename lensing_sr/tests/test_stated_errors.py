# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what is stated as an error: of parameters, and of delivered pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr import LensingSuperResolver
from lensing_sr._estimated import Estimated
from lensing_sr._estimated import WIDER as NETWORKS
from lensing_sr._explanation import NORMAL, Verdict
from lensing_sr._fitted import LEFT, WIDER, Fitted
from lensing_sr._intervals import FAR, FARTHEST, LEFT_OUT, TAILS, doubted, far_reaching
from lensing_sr._refined import LEFT as STRUCTURED
from lensing_sr._refined import Refined
from lensing_sr._stack import stack
from lensing_sr.fit.refinement import Settings
from lensing_sr.fit.uncertainty import image_variance
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.prepare import prepare
from lensing_sr.networks.weights import load_network
from lensing_sr.simulation import LensPopulation


def _batch():
    """A bright lens of Euclid's, arcs alone."""
    drawn = LensPopulation(
        "euclid-vis", shape=(48, 48), lens_light=False, neighbours=False, arc_sn=(150.0, 200.0), theta_E=(0.8, 1.0)
    ).draw(1, seed=3)
    image = LensImage(
        drawn["LR"][0].numpy(), noise=drawn["noise"][0].numpy(), psf=drawn["psf"][0].numpy(), psf_oversampling=2,
        pixel_scale=0.1,
    )  # fmt: skip
    return stack([image], [prepare(image, lens_light=False)], device=torch.device("cpu"))


@pytest.mark.parametrize(("method", "wider"), [(Fitted, WIDER), (Estimated, NETWORKS)])
def test_errors_are_those_of_the_covariance_as_calibrated(method, wider):
    batch = _batch()
    network = load_network("lens-estimator").eval()
    found = method(batch, lens_light=False, supersampling=1, network=network)
    values, formal = found.values(0)
    spread = found._covariance[0].diagonal().sqrt()
    assert formal["theta_E"] == pytest.approx(values["theta_E"] * float(spread[0]), rel=1e-6)
    assert formal["gamma2"] == pytest.approx(float(spread[6]), rel=1e-6)
    sound = Verdict(1.0, 900.0, (), arc_chi2=1.0)
    stated = found.stated(0, values, formal, sound)
    for name, error in stated.items():
        assert error == pytest.approx(formal[name] * wider.get(name, (1.0, 0.0))[0], rel=1e-12)
    # what the model misses of the arcs widens them by the calibrated powers, a perfect fit by nothing more
    missed = found.stated(0, values, formal, sound._replace(arc_chi2=4.0))
    for name, error in missed.items():
        assert error == pytest.approx(stated[name] * 4.0 ** wider.get(name, (1.0, 0.0))[1], rel=1e-12)
    assert found.stated(0, values, formal, sound._replace(arc_chi2=0.5)) == stated


@given(doubt=st.floats(0.0, 1.0), apart=st.floats(0.0, 3.0))
def test_a_doubted_radius_reaches_as_far_as_the_networks_see_another(doubt, apart):
    values, formal = {"theta_E": 1.2}, dict.fromkeys(("theta_E", "x_source", "y_source", "n"), 0.01)
    stated = doubted(values, formal, Verdict(1.0, 0.0, (), doubt=doubt, grounds={"apart": apart}))
    other = doubt * 1.2 * (math.exp(min(apart, FARTHEST)) - 1.0)
    assert stated["theta_E"] == stated["x_source"] == pytest.approx(math.hypot(0.01, other))
    assert stated["n"] == 0.01
    assert doubted(values, formal, Verdict(1.0, 0.0, (), doubt=doubt)) == formal


@given(
    error=st.floats(0.0, 1.0), theta_E=st.floats(0.1, 3.0), doubts=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
)
def test_intervals_widen_with_error_and_with_doubt(error, theta_E, doubts):
    values = {"theta_E": theta_E}
    errors = dict.fromkeys((*TAILS, "n"), error)
    less, more = (far_reaching(values, errors, doubt) for doubt in sorted(doubts))
    for name, width in more.items():
        assert width >= less[name] >= TAILS.get(name, NORMAL) * error
    assert more["n"] == less["n"] == NORMAL * error  # no doubt of the radius reaches what does not hang on it
    # nobody looked, or hardly anyone doubts: errors alone tell
    for doubt in (math.nan, LEFT_OUT):
        assert far_reaching(values, errors, doubt)["theta_E"] == TAILS["theta_E"] * error
    # beyond that the radii outside of the interval are just as many as it leaves out
    reach = more["theta_E"]
    if max(doubts) > LEFT_OUT and reach > TAILS["theta_E"] * error:
        assert max(doubts) * math.exp(-reach / (FAR["theta_E"] * theta_E)) == pytest.approx(LEFT_OUT)


def test_intervals_are_stated_beside_errors():
    """Of one image: 95 % hold more than 68 %, angles and axis ratio go by the ellipticity's."""
    population = LensPopulation("euclid-vis", shape=(48, 48), neighbours=False, arc_sn=(80.0, 90.0))
    drawn = population.draw(1, seed=7)
    image = LensImage(
        drawn["LR"][0].numpy(), noise=drawn["noise"][0].numpy(), psf=drawn["psf"][0].numpy(), psf_oversampling=2,
        pixel_scale=0.1,
    )  # fmt: skip
    result = LensingSuperResolver(method="network").super_resolve(image)
    table = result.parameters
    assert table.colnames == ["name", "value", "error", "unit", "error_95"]
    fitted = table[table["error"] > 0]
    assert len(fitted) > 10 and np.all(fitted["error_95"] > fitted["error"])
    row = {str(name): (error, wide) for name, error, wide in table.iterrows("name", "error", "error_95")}
    wide = far_reaching(
        {"theta_E": table.loc["theta_E"]["value"]}, {n: row[n][0] for n in TAILS}, result.quality.doubt
    )
    assert {name: row[name][1] for name in TAILS} == pytest.approx(wide)
    assert row["amplitude"][1] == pytest.approx(NORMAL * row["amplitude"][0])
    assert row["q"][1] == pytest.approx(TAILS["e1"] * row["q"][0])


def test_a_models_variance_counts_as_far_as_nothing_else_tells_it():
    """That of the fit is what its covariance makes of it, less what the restored residual measures."""
    batch, network = _batch(), load_network("lens-estimator").eval()
    found = Fitted(batch, lens_light=False, supersampling=1, network=network)
    formation, objective = batch.field.formation(1), found._fit.objective
    amplitudes = found._fit.solution.amplitudes
    whole = image_variance(objective, found._parameters, amplitudes, found._covariance, formation)[0]
    torch.testing.assert_close(found.variance(0, formation), LEFT * whole)
    assert 0.0 < LEFT < STRUCTURED < 1.0
    # a look may be anywhere: what it misses is what its residual shows
    looked = Estimated(batch, lens_light=False, supersampling=1, network=network)
    assert looked.variance(0, formation).shape == whole.shape and not looked.variance(0, formation).any()


def test_what_is_refined_is_isothermal():
    batch, network = _batch(), load_network("lens-estimator").eval()
    found = Refined(batch, lens_light=False, supersampling=1, network=network, settings=Settings("pixel", False))
    assert found._fit.parameters.shape[1] == 14
    values, errors = found.values(0)
    assert found.refinements[0].kept == ("pixel source",) and len(found.refinements[0].scene.p) == 13
    assert (values["gamma"], errors["gamma"]) == (2.0, 0.0)
    assert not set(found.verdict(0, values).flags) & {"edge", "not a lens"}
