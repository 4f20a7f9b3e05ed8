import numpy as np
import pytest
from sklearn.metrics import f1_score

from erc.metrics.bootstrap import (
    PairedDifference,
    bootstrap_interval,
    f1_intervals,
    paired_bootstrap,
)
from erc.uncertainty.resampling import group_draws


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def accuracy(decisions: np.ndarray, targets: np.ndarray) -> float:
    return float((decisions == targets).mean())


@pytest.fixture
def labelled():
    rng = np.random.default_rng(0)
    targets = rng.random((120, 4)) < [0.5, 0.3, 0.1, 0.02]
    return targets ^ (rng.random(targets.shape) < 0.1), targets, np.repeat(np.arange(20), 6)


def test_interval_of_a_mean_equals_the_analytic_interval():
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_interval(mean, values, resamples=2_000)
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_interval_is_wider_for_correlated_turns_of_a_dialogue():
    # 20 dialogues of 20 equal turns: the standard error is that of 20 values, not 400.
    dialogue = np.repeat(np.random.default_rng(1).normal(size=20), 20)
    groups = np.repeat(np.arange(20), 20)
    wide, narrow = (
        bootstrap_interval(mean, dialogue, groups=given, resamples=800) for given in (groups, None)
    )
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(20), rel=0.25)


def test_fast_f1_replicates_equal_f1_of_the_resampled_rows(labelled):
    decisions, targets, groups = labelled
    fast = f1_intervals(decisions, targets, groups=groups, resamples=200, seed=3)
    for average in ("macro", "micro", "weighted"):

        def metric(a, b, average=average):
            return f1_score(b, a, average=average, zero_division=0)

        slow = bootstrap_interval(metric, decisions, targets, groups=groups, resamples=200, seed=3)
        assert fast[average].estimate == pytest.approx(slow.estimate)
        assert (fast[average].low, fast[average].high) == pytest.approx((slow.low, slow.high))


def test_f1_intervals_depend_on_the_seed_only(labelled):
    first, again, other = (
        f1_intervals(*labelled[:2], resamples=50, seed=seed)["macro"] for seed in (0, 0, 1)
    )
    assert first == again
    assert first.low != other.low


def test_intervals_do_not_depend_on_group_names(labelled):
    decisions, targets, groups = labelled
    named = np.array([f"dialogue-{number:03d}" for number in groups])
    assert f1_intervals(decisions, targets, groups=named, resamples=50) == f1_intervals(
        decisions, targets, groups=groups, resamples=50
    )


def test_paired_interval_excludes_zero_where_unpaired_intervals_overlap():
    # Both systems err on the same hard turns; a errs on three turns fewer. Unpaired intervals overlap.
    targets = np.zeros(300, dtype=int)
    second = (np.arange(300) % 3 == 0).astype(int)
    first = second.copy()
    first[np.arange(0, 300, 30)] = 0
    paired = paired_bootstrap(accuracy, first, second, targets, resamples=500)
    assert paired.low > 0
    assert bootstrap_interval(accuracy, second, targets, resamples=200).high > accuracy(first, targets)


def test_p_value_is_roughly_uniform_without_a_difference():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(150):
        values = rng.normal(size=80)
        replicates = np.concatenate(
            [draws @ values / 80 for draws in group_draws(80, 200, seed=int(rng.integers(1 << 30)))]
        )
        p_values.append(PairedDifference.of(values.mean(), replicates).p_value)
    assert 0.03 < np.mean(np.array(p_values) < 0.1) < 0.19


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="one length"):
        bootstrap_interval(accuracy, np.zeros(3), np.zeros(4))


def test_label_absent_from_a_resample_scores_zero_without_a_warning():
    decisions = targets = np.array([[True], [False], [False]])
    assert f1_intervals(decisions, targets, resamples=200)["macro"].low == 0.0
