"""The largest share of one conversation in a summary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakers.history import SummaryRule, capped_shares, summarise

LABELS = ("joy", "anger")
WEIGHTS = st.lists(st.floats(-1e5, 1e5), min_size=0, max_size=12)


def test_capped_shares_match_a_calculation_by_hand() -> None:
    # 10 of 16 is capped at 0.4; the other 0.6 is shared as 3 : 2 : 1.
    assert capped_shares(np.log2([3.0, 10.0, 1.0, 2.0]), 0.4) == pytest.approx([0.3, 0.4, 0.1, 0.2])


def test_capped_shares_of_too_few_weights_sum_to_less_than_one() -> None:
    assert capped_shares(np.log2([100.0, 1.0]), 0.25).tolist() == [0.25, 0.25]


@given(WEIGHTS, st.floats(0.01, 1.0))
@settings(deadline=None)
def test_capped_shares_never_exceed_the_cap_nor_one(weights: list[float], cap: float) -> None:
    shares = capped_shares(np.array(weights, dtype=float), cap)
    assert (shares <= cap * (1 + 1e-12)).all()
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(min(1.0, len(weights) * cap), abs=1e-9)


@given(WEIGHTS.filter(lambda weights: len(weights) > 1), st.floats(0.05, 1.0))
@settings(deadline=None)
def test_capped_shares_keep_the_order_of_weights(weights: list[float], cap: float) -> None:
    ordered = capped_shares(np.array(sorted(weights)), cap)
    assert (np.diff(ordered) >= -1e-12).all()


TURN = st.tuples(st.floats(0, 1e11), st.integers(1, 5), st.floats(0, 1, width=32), st.floats(0, 1, width=32))


@given(st.lists(TURN, max_size=25), st.sampled_from([0.1, 0.25, 0.5]))
@settings(deadline=None)
def test_summary_changes_by_at_most_the_cap_without_one_conversation(
    turns: list[tuple[float, int, float, float]], cap: float
) -> None:
    turns = sorted(turns, key=lambda turn: -turn[0])
    rows = [
        (time, sequence, LABELS, np.array([joy, anger], "<f4").tobytes())
        for time, sequence, joy, anger in turns
    ]
    rule = SummaryRule(cap=cap)
    full = summarise(rows, rule).weights
    for sequence in {row[1] for row in rows}:
        rest = [row for row in rows if row[1] != sequence]
        without = summarise(rest, rule).weights
        for label in LABELS:
            assert abs(full.get(label, 0.0) - without.get(label, 0.0)) <= cap + 1e-9


def test_summary_changes_by_at_most_the_cap_for_a_long_conversation() -> None:
    calm = np.array([1, 0], "<f4").tobytes()
    angry = np.array([0, 1], "<f4").tobytes()
    before = [(0.0, sequence, LABELS, calm) for sequence in range(8)]
    attacked = [(1.0, 99, LABELS, angry)] * 1000 + before
    summary = summarise(attacked, SummaryRule(cap=0.25, window=2000))
    assert summary.weights["anger"] == pytest.approx(0.25)
    assert summary.weights["joy"] == pytest.approx(0.75)


def test_summary_decays_by_half_per_half_life() -> None:
    day = 86_400.0
    rows = [
        (30 * day, 1, LABELS, np.array([1, 0], "<f4").tobytes()),
        (0.0, 2, LABELS, np.array([0, 1], "<f4").tobytes()),
    ]
    summary = summarise(rows, SummaryRule(half_life_days=30, cap=1.0))
    assert summary.weights == pytest.approx({"joy": 2 / 3, "anger": 1 / 3})
