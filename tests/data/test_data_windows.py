"""Input of the encoder: speaker tags and token windows, compared with values computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.data.windows import local_numbers, spoken_text, token_window

TEXT = st.lists(st.integers(10, 99), min_size=1, max_size=8).map(lambda body: [1, *body, 2])


def test_local_numbers_count_by_first_appearance() -> None:
    assert local_numbers(["Ross", "Rachel", "Ross", "Joey", "Rachel"]) == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("none", "Hi"), ("name", "Ana: Hi"), ("local_tag", "<s2> Hi"), ("global_tag", "<s17> Hi")],
)
def test_spoken_text_writes_the_requested_speaker_tag(kind: str, expected: str) -> None:
    assert spoken_text("Hi", kind, name="Ana", local=1, row=17) == expected  # type: ignore[arg-type]


def test_token_window_cuts_the_beginning_of_the_past() -> None:
    window = token_window([[1, 11, 12, 2], [1, 13, 2]], [1, 14, 15, 2], limit=6)
    assert window.ids == (1, 2, 13, 2, 14, 15, 2)
    assert window.target_start == 4


def test_token_window_truncates_the_end_of_a_target_that_is_too_long() -> None:
    window = token_window([[1, 11, 2]], [1, 12, 13, 14, 15, 2], limit=3)
    assert window.ids == (1, 12, 13, 14)
    assert window.target_start == 1


def test_token_window_of_a_first_turn_is_only_the_turn() -> None:
    assert token_window([], [1, 14, 15, 2], limit=9).ids == (1, 14, 15, 2)


@settings(deadline=None)
@given(past=st.lists(TEXT, max_size=5), target=TEXT, limit=st.integers(1, 30))
def test_token_window_is_the_tail_of_past_and_target(
    past: list[list[int]], target: list[int], limit: int
) -> None:
    window = token_window(past, target, limit=limit)
    own = target[1 : limit + 1]
    everything = [token for text in past for token in text[1:]] + own
    assert window.ids == (1, *everything[-limit:])
    assert list(window.ids[window.target_start :]) == own


def test_token_window_rejects_a_limit_of_zero() -> None:
    with pytest.raises(ValueError, match="no room"):
        token_window([], [1, 2], limit=0)
