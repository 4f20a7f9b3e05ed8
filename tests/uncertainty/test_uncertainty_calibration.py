import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from erc.errors import ArtefactError
from erc.uncertainty.calibration import Identity, PerLabelPlatt, Temperature, load_calibrator


def platt_data(slopes, intercepts, n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.0, 2.0, size=(n, len(slopes)))
    return logits, rng.random(logits.shape) < expit(logits * np.array(slopes) + np.array(intercepts))


def test_platt_recovers_the_slope_and_intercept_of_the_data():
    fitted = PerLabelPlatt.fit(*platt_data([0.5, 1.0, 2.0], [-1.0, 0.0, 0.7]))
    np.testing.assert_allclose(fitted.slope, [0.5, 1.0, 2.0], atol=0.08)
    np.testing.assert_allclose(fitted.intercept, [-1.0, 0.0, 0.7], atol=0.08)


def test_platt_undoes_the_shift_of_a_weighted_loss():
    # A positive weight of w shifts the logit by ln w.
    weight = np.array([2.0, 8.0])
    rng = np.random.default_rng(1)
    honest = rng.normal(-2.0, 1.5, size=(20_000, 2))
    fitted = PerLabelPlatt.fit(honest + np.log(weight), rng.random(honest.shape) < expit(honest))
    np.testing.assert_allclose(
        fitted(honest + np.log(weight)).mean(axis=0), expit(honest).mean(axis=0), atol=0.01
    )


def test_platt_shrinks_a_rare_label_to_slope_one_and_the_pooled_intercept():
    rng = np.random.default_rng(2)
    logits = rng.normal(-2.0, 1.5, size=(4_000, 2))
    targets = rng.random(logits.shape) < expit(logits - 1.0)
    targets[:, 1] = False
    targets[np.argsort(logits[:, 1])[:3], 1] = (
        True  # three positives with the lowest scores: without shrinkage the slope is negative
    )
    free = PerLabelPlatt.fit(logits, targets, slope_strength=0.0, intercept_strength=1e-6)
    held = PerLabelPlatt.fit(logits, targets, slope_strength=100.0, intercept_strength=100.0)
    assert free.slope[1] == pytest.approx(0.05)
    assert held.slope[1] > 0.7
    assert abs(held.intercept[0] + 1.0) < 0.3  # the frequent label is fitted by its own data


def test_platt_of_a_label_without_positives_is_finite_and_monotone():
    logits, targets = platt_data([1.0, 1.0], [0.0, 0.0], n=500)
    targets[:, 1] = False
    fitted = PerLabelPlatt.fit(logits, targets)
    order = np.argsort(logits[:, 1])
    assert np.isfinite(fitted.intercept).all()
    assert (np.diff(fitted(logits)[order, 1]) >= 0).all()


def test_platt_refuses_another_number_of_labels():
    with pytest.raises(ValueError, match="3 labels where 2"):
        PerLabelPlatt((1.0, 1.0), (0.0, 0.0))(np.zeros((1, 3)))


def test_temperature_recovers_the_scale_of_the_data():
    rng = np.random.default_rng(3)
    honest = rng.normal(0, 2, size=(20_000, 4))
    targets = (softmax(honest, axis=1).cumsum(axis=1) < rng.random((len(honest), 1))).sum(axis=1).clip(max=3)
    assert Temperature.fit(honest * 2.5, targets).temperature == pytest.approx(2.5, rel=0.05)


def test_temperature_bias_recovers_a_class_shift():
    rng = np.random.default_rng(4)
    honest = rng.normal(0, 1.5, size=(30_000, 3))
    targets = (softmax(honest, axis=1).cumsum(axis=1) < rng.random((len(honest), 1))).sum(axis=1).clip(max=2)
    fitted = Temperature.fit(honest + np.array([1.0, 0.0, 0.0]), targets, bias=True)
    assert fitted.bias[0] - fitted.bias[1] == pytest.approx(-1.0, abs=0.1)


def test_temperature_is_finite_without_errors():
    logits = np.eye(3)[[0, 1, 2, 0]] * 5
    assert 0 < Temperature.fit(logits, np.array([0, 1, 2, 0])).temperature < 1


def test_temperature_does_not_change_the_argmax():
    logits = np.random.default_rng(5).normal(size=(200, 7))
    fitted = Temperature.fit(logits, np.arange(200) % 7)
    np.testing.assert_array_equal(fitted(logits).argmax(axis=1), logits.argmax(axis=1))


def test_identity_calibrator_applies_only_the_link_function():
    np.testing.assert_allclose(Identity("sigmoid")(np.array([[0.0, np.log(3)]])), [[0.5, 0.75]])


@pytest.mark.parametrize(
    "calibrator",
    [
        Identity("softmax"),
        PerLabelPlatt((0.5, 1.25), (0.1, -2.0)),
        Temperature(1.7),
        Temperature(0.9, (0.25, -0.25)),
    ],
    ids=["identity", "platt", "temperature", "temperature-bias"],
)
def test_calibrator_round_trips_through_json(calibrator):
    assert load_calibrator(json.loads(json.dumps(calibrator.to_dict()))) == calibrator


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "isotonic"},
        {"version": 2},
        {"slope": [1.0]},
        {"slope": [0.0, 1.0]},
        {"slope": None},
        {"extra": 1},
    ],
    ids=str,
)
def test_load_calibrator_refuses_an_unknown_record(change):
    with pytest.raises(ArtefactError):
        load_calibrator({**PerLabelPlatt((1.0, 1.0), (0.0, 0.0)).to_dict(), **change})
