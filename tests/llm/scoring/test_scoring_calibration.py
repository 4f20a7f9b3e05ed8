"""Scores, the content-free prior, and calibrated probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from erc.errors import ArtefactError
from erc.llm.scoring.calibration import ContextualCalibrator, content_free_prior
from erc.llm.scoring.scores import LabelScores
from erc.uncertainty.calibration import Identity

LABELS = ("joy", "sadness", "neutral")


def test_probabilities_are_the_softmax_over_the_set():
    scores = LabelScores.of(LABELS, np.log([[0.01, 0.02, 0.01]]))
    np.testing.assert_allclose(scores.probabilities, [[0.25, 0.5, 0.25]])
    assert scores.entropy[0] == pytest.approx(1.5 * np.log(2))
    assert scores.best == ("sadness",)


@pytest.mark.parametrize("values", [[[np.nan, 0, 0]], [[-np.inf] * 3], [[0.0, 0.0]]])
def test_scores_refuse_what_is_no_distribution(values):
    with pytest.raises(ValueError):  # noqa: PT011
        LabelScores.of(LABELS, np.array(values))


def test_stacked_scores_keep_rows_and_the_least_exact_kind():
    exact, coded = LabelScores.of(LABELS, np.eye(3)[:2]), LabelScores.of(LABELS, np.eye(3)[2:], kind="codes")
    both = LabelScores.stack([exact, coded])
    np.testing.assert_array_equal(both.log_likelihood, np.eye(3))
    assert both.score_kind == "codes"
    assert both.row(1).best == ("sadness",)


def test_content_free_prior_is_what_the_model_says_of_nothing():
    class Biased:
        model_id = "biased"

        def score(self, prompts, labels):
            return LabelScores.of(labels, np.log(np.tile([0.6, 0.3, 0.1], (len(prompts), 1))))

    np.testing.assert_allclose(np.exp(content_free_prior(Biased(), [None, None], LABELS)), [0.6, 0.3, 0.1])


def test_taking_the_prior_off_undoes_a_constant_preference():
    prior = np.log([0.98, 0.01, 0.01])
    true = np.log([[0.2, 0.7, 0.1]])
    calibrated = ContextualCalibrator(LABELS, tuple(prior), Identity("softmax"))(true + prior)
    np.testing.assert_allclose(calibrated, [[0.2, 0.7, 0.1]], atol=1e-12)


def test_fitted_temperature_softens_overconfident_scores():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(3, p=row) for row in probabilities])
    fitted = ContextualCalibrator.fit(LABELS, 5.0 * logits - 40.0, targets, bias=False)
    assert fitted.after.temperature == pytest.approx(5.0, rel=0.2)
    scores = fitted.calibrated(LabelScores.of(LABELS, 5.0 * logits - 40.0))
    assert scores.entropy.mean() == pytest.approx(
        -(probabilities * np.log(probabilities)).sum(axis=1).mean(), rel=0.1
    )


def test_calibrator_survives_its_record():
    fitted = ContextualCalibrator.fit(LABELS, np.eye(3) * 2, np.arange(3), prior=np.log([0.5, 0.3, 0.2]))
    loaded = ContextualCalibrator.from_dict(fitted.to_dict())
    np.testing.assert_array_equal(loaded(np.eye(3)), fitted(np.eye(3)))


def test_calibrator_refuses_another_order_of_labels():
    fitted = ContextualCalibrator.fit(LABELS, np.eye(3), np.arange(3))
    with pytest.raises(ArtefactError, match="fitted for the labels"):
        fitted.calibrated(LabelScores.of(tuple(reversed(LABELS)), np.eye(3)))


def test_bare_choice_stays_uncalibrated():
    fitted = ContextualCalibrator.fit(LABELS, np.eye(3), np.arange(3))
    chosen = LabelScores.of(LABELS, np.array([[0.0, -np.inf, -np.inf]]), kind="none")
    assert fitted.calibrated(chosen) is chosen


def test_unknown_record_is_an_artefact_error():
    with pytest.raises(ArtefactError, match="kind"):
        ContextualCalibrator.from_dict({"kind": "other", "version": 1})
