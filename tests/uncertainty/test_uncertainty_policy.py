import json

import numpy as np
import pytest
from scipy.stats import beta

from erc.errors import ArtefactError, InputError
from erc.uncertainty.policy import DecisionPolicy
from erc.uncertainty.risk_bounds import betting_p_value, binomial_p_value


def turns(dialogues, length, seed):
    """Confidences, 0/1 losses at rate 0.6 (1 - confidence) + a shift per dialogue, and dialogue ids."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(dialogues), length)
    confidence = rng.random(len(groups))
    rate = np.clip(0.6 * (1 - confidence) + rng.uniform(-0.1, 0.1, dialogues)[groups], 0, 1)
    return confidence, (rng.random(len(groups)) < rate).astype(float), groups


def test_coverage_policy_accepts_the_most_confident_share():
    policy = DecisionPolicy.fit_coverage(
        np.array([0.9, 0.2, 0.8, 0.4, 0.6]), signal="confidence", coverage=0.6
    )
    assert policy.min_confidence == 0.6
    assert policy.decide(np.array([0.6, 0.59])).tolist() == ["accept", "review"]


def test_coverage_policy_on_uncertainty_accepts_the_least_uncertain():
    policy = DecisionPolicy.fit_coverage(np.array([0.0, 0.2, 0.8, 0.4]), signal="uncertainty", coverage=0.5)
    assert policy.max_uncertainty == 0.2
    assert policy.decide(uncertainty=np.array([0.2, 0.3])).tolist() == ["accept", "review"]


def test_policy_with_two_conditions_requires_both():
    policy = DecisionPolicy(min_confidence=0.5, max_uncertainty=1.0)
    decisions = policy.decide(np.array([0.6, 0.6, 0.4]), np.array([0.9, 1.1, 0.9]))
    assert decisions.tolist() == ["accept", "review", "review"]


def test_policy_marks_nan_for_review():
    assert DecisionPolicy(min_confidence=0.0).decide(np.array([np.nan])).tolist() == ["review"]


def test_policy_with_a_missing_signal_raises_an_error():
    with pytest.raises(ValueError, match="decides by uncertainty"):
        DecisionPolicy(max_uncertainty=1.0).decide(np.array([0.9]))


def test_fit_risk_with_an_unreachable_risk_raises_an_error():
    confidence, losses, groups = turns(20, 5, seed=0)
    with pytest.raises(InputError, match=r"no threshold on the confidence keeps the risk at or below 0\.01"):
        DecisionPolicy.fit_risk(confidence, losses, signal="confidence", risk=0.01, groups=groups)


@pytest.mark.parametrize("grouped", [False, True])
def test_risk_guarantee_holds_across_repeated_dev_sets(grouped):
    # True risk of accepting confidence >= t is 0.6 (1 - (1 + t) / 2) = 0.3 (1 - t).
    # It exceeds the limit 0.2 for t below 1/3.
    runs, delta, broken, coverages = 120, 0.2, 0, []
    for seed in range(runs):
        confidence, losses, groups = turns(150, 6, seed=seed)
        policy = DecisionPolicy.fit_risk(
            confidence, losses, signal="confidence", risk=0.2, delta=delta, groups=groups if grouped else None
        )
        broken += policy.min_confidence < 1 / 3 - 1e-3
        coverages.append(policy.fitted.coverage)
    assert broken <= delta * runs  # clipping at 0 and the sequential tests make it conservative
    assert np.mean(coverages) > 0.3  # it still accepts most of the admissible 0.67


def test_fit_risk_with_zero_losses_accepts_every_turn():
    confidence, _, groups = turns(100, 4, seed=1)
    policy = DecisionPolicy.fit_risk(confidence, np.zeros(400), signal="confidence", risk=0.2, groups=groups)
    assert policy.fitted.coverage == 1.0


def test_policy_round_trips_through_json():
    confidence, losses, groups = turns(150, 6, seed=3)
    policy = DecisionPolicy.fit_risk(-confidence, losses, signal="uncertainty", risk=0.25, groups=groups)
    assert DecisionPolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@pytest.mark.parametrize(
    "change", [{"kind": "x"}, {"min_confidence": "0.5"}, {"fitted": {"target": "risk"}}], ids=str
)
def test_unknown_policy_record_is_refused(change):
    with pytest.raises(ArtefactError):
        DecisionPolicy.from_dict({**DecisionPolicy(0.5).to_dict(), **change})


def test_binomial_p_value_agrees_with_the_clopper_pearson_bound():
    assert binomial_p_value(0, 100, limit=1 - 0.05 ** (1 / 100)) == pytest.approx(0.05)
    bound = beta.ppf(0.9, 7 + 1, 60 - 7)
    assert binomial_p_value(7, 60, limit=bound) == pytest.approx(0.1)


def test_betting_p_value_of_two_values_equals_hand_computed_value():
    # Limit 1/2, values 0 and 1/4. The first stake uses the prior variance 1/4.
    # The second uses mean (1/2 + 0)/2 and variance (1/4 + 1/16)/2.
    first, second = (np.sqrt(2 * np.log(1 / 0.9) / (2 * variance)) for variance in (0.25, 0.15625))
    assert betting_p_value(np.array([0.0, 0.25]), limit=0.5, delta=0.9) == pytest.approx(
        1 / ((1 + first / 2) * (1 + second / 4))
    )


def test_betting_p_value_is_rarely_small_under_the_null():
    rng = np.random.default_rng(0)
    p_values = np.array(
        [betting_p_value(rng.beta(2, 6, 200), limit=0.25, delta=0.1) for _ in range(500)]
    )  # expectation exactly 0.25
    assert (p_values <= 0.1).mean() <= 0.1 + 2 * np.sqrt(0.09 / 500)


def test_betting_p_value_is_small_for_a_clear_difference():
    assert betting_p_value(np.random.default_rng(0).beta(2, 18, 200), limit=0.2, delta=0.1) < 0.01
