"""An adapter's policies are fitted on dialogues that the calibrator was not fitted on."""

from __future__ import annotations

import numpy as np

from erc.emotions import load_emotion_set
from erc.training.llm.calibration import fit_policies
from erc.uncertainty.policy import DecisionPolicy

LABELS = load_emotion_set("meld").labels


def made(dialogues: int, *, right: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores whose top label is correct in a share `right` of the turns, with ten turns per dialogue."""
    generator = np.random.default_rng(4)
    targets = np.arange(10 * dialogues) % len(LABELS)
    scores = generator.normal(size=(len(targets), len(LABELS)))
    told = np.where(
        generator.random(len(targets)) < right, targets, generator.integers(0, len(LABELS), len(targets))
    )
    scores[np.arange(len(targets)), told] += 6.0
    return scores, targets, np.repeat(np.arange(dialogues), 10)


def test_fit_policies_bound_a_lower_risk_for_a_better_model() -> None:
    prior = np.zeros(len(LABELS))
    risks = []
    for right in (1.0, 0.75):
        scores, targets, groups = made(60, right=right)
        policy = DecisionPolicy.from_dict(
            fit_policies(scores, targets, groups, label_set="meld", prior=prior)["meld"]
        )
        assert policy.fitted is not None
        assert policy.fitted.target == "risk"
        assert policy.fitted.groups == 60
        risks.append(policy.fitted.level)
    assert risks[0] == 0.15 < risks[1]


def test_fit_policies_of_one_dialogue_return_no_policy() -> None:
    scores, targets, groups = made(1, right=1.0)
    assert fit_policies(scores, targets, groups, label_set="meld", prior=np.zeros(len(LABELS))) == {}
