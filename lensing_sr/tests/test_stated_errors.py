# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Laws of what is stated as an error: of parameters, and of delivered pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lensing_sr._estimated import Estimated
from lensing_sr._estimated import WIDER as NETWORKS
from lensing_sr._fitted import LEFT, WIDER, Fitted
from lensing_sr._predicted import Predicted
from lensing_sr._refined import Refined
from lensing_sr._stack import stack
from lensing_sr.fit.refinement import Settings
from lensing_sr.image.lens_image import LensImage
from lensing_sr.image.prepare import prepare
from lensing_sr.networks.weights import load_network
from lensing_sr.simulation import LensPopulation

VARIANCES = st.floats(0.0, 1e6)


def _given(method, model, restored):
    parts = (torch.tensor([value], dtype=torch.float64) for value in (model, restored))
    return float(method.delivered_variance(object.__new__(method), *parts))


@given(model=VARIANCES, restored=VARIANCES)
def test_what_was_restored_is_no_surer_than_its_noise(model, restored):
    fitted, looked, predicted = (_given(method, model, restored) for method in (Fitted, Estimated, Predicted))
    assert restored <= fitted <= predicted == model + restored
    # a model that may be anything leaves the restoration's error, and no more than twice its variance
    assert restored <= looked <= 2.0 * restored + 1e-12


@given(model=VARIANCES)
def test_where_nothing_is_restored_the_model_errs(model):
    assert _given(Fitted, model, 0.0) == pytest.approx(LEFT * model)
    assert _given(Estimated, model, 0.0) == 0.0


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
    values, errors = found.values(0)
    spread = found._covariance[0].diagonal().sqrt()
    assert errors["theta_E"] == pytest.approx(
        values["theta_E"] * float(spread[0]) * wider.get("theta_E", 1.0), rel=1e-6
    )
    assert errors["gamma2"] == pytest.approx(float(spread[6]) * wider["gamma2"], rel=1e-6)
    assert errors["n"] == pytest.approx(values["n"] * float(spread[10]), rel=1e-6)


def test_what_is_refined_is_isothermal():
    batch, network = _batch(), load_network("lens-estimator").eval()
    found = Refined(batch, lens_light=False, supersampling=1, network=network, settings=Settings("pixel", False))
    assert found._fit.parameters.shape[1] == 14
    values, errors = found.values(0)
    assert found.refinements[0].kept == ("pixel source",) and len(found.refinements[0].scene.p) == 13
    assert (values["gamma"], errors["gamma"]) == (2.0, 0.0)
    assert not set(found.verdict(0, values).flags) & {"edge", "not a lens"}
