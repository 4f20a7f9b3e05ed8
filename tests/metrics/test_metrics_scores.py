import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    matthews_corrcoef,
    precision_recall_fscore_support,
)

from erc.metrics.scores import multilabel_scores, singlelabel_scores

LABELS = ("joy", "anger", "fear", "grief")
matrices = arrays(np.bool_, (12, 4))


@given(matrices, matrices)
@settings(deadline=None)
def test_multilabel_averages_equal_those_of_scikit_learn(decisions, targets):
    report = multilabel_scores(decisions, targets, labels=LABELS)
    for average in ("macro", "micro", "weighted", "samples"):
        own = getattr(report, average)
        expected = precision_recall_fscore_support(targets, decisions, average=average, zero_division=0)[:3]
        assert (own.precision, own.recall, own.f1) == pytest.approx(expected)
    assert report.subset_accuracy == accuracy_score(targets, decisions)


@given(matrices, matrices)
@settings(deadline=None, max_examples=30)
def test_per_label_scores_equal_those_of_scikit_learn(decisions, targets):
    report = multilabel_scores(decisions, targets, labels=LABELS)
    for c, scores in enumerate(report.per_label):
        both = (
            targets[:, c].any()
            and decisions[:, c].any()
            and not (targets[:, c].all() or decisions[:, c].all())
        )
        expected = matthews_corrcoef(targets[:, c], decisions[:, c]) if both else 0.0
        assert scores.mcc == pytest.approx(expected)
        assert scores.accuracy == pytest.approx((decisions[:, c] == targets[:, c]).mean())
        assert scores.support == targets[:, c].sum()


@given(arrays(np.int64, 15, elements=st.integers(0, 3)), arrays(np.int64, 15, elements=st.integers(0, 3)))
@settings(deadline=None)
def test_singlelabel_averages_equal_those_of_scikit_learn(decisions, targets):
    report = singlelabel_scores(decisions, targets, labels=LABELS)
    for average in ("macro", "micro", "weighted"):
        own = getattr(report, average)
        expected = precision_recall_fscore_support(
            targets, decisions, average=average, labels=range(4), zero_division=0
        )[:3]
        assert (own.precision, own.recall, own.f1) == pytest.approx(expected)
    np.testing.assert_array_equal(report.confusion, confusion_matrix(targets, decisions, labels=range(4)))
    assert report.micro.f1 == pytest.approx(report.accuracy)


def test_label_without_support_is_named_and_scores_zero():
    report = multilabel_scores(np.array([[1, 0]]), np.array([[1, 0]]), labels=("joy", "grief"))
    assert report.without_support == ("grief",)
    assert report.macro.f1 == 0.5
    assert report.weighted.f1 == 1.0


def test_mcc_equals_hand_computed_value():
    # tp 3, fp 1, fn 2, tn 4: (3*4 - 1*2) / sqrt(4 * 5 * 5 * 6).
    targets = np.array([1] * 5 + [0] * 5)[:, None]
    decisions = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0])[:, None]
    assert multilabel_scores(decisions, targets, labels=("joy",)).per_label[0].mcc == pytest.approx(
        10 / np.sqrt(600)
    )


def test_report_has_a_json_form_with_thresholds():
    report = multilabel_scores(np.eye(4) > 0, np.eye(4), labels=LABELS, thresholds=[0.1, 0.2, 0.3, 0.4])
    assert [row["threshold"] for row in json.loads(json.dumps(report.to_dict()))["per_label"]] == [
        0.1,
        0.2,
        0.3,
        0.4,
    ]


@pytest.mark.parametrize(
    ("decisions", "targets", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), "decisions has shape"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "no utterances"),
        (np.full((1, 4), 0.4), np.zeros((1, 4)), "0 and 1"),
    ],
    ids=["shape", "empty", "soft"],
)
def test_invalid_decisions_are_refused(decisions, targets, message):
    with pytest.raises(ValueError, match=message):
        multilabel_scores(decisions, targets, labels=LABELS)


def test_class_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.3"):
        singlelabel_scores(np.array([0, 4]), np.array([0, 1]), labels=LABELS)
