import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc.transcripts.cue_times import srt_times, vtt_seconds, vtt_time


@given(st.integers(0, 10**12))
def test_written_time_is_read_back(milliseconds):
    assert vtt_seconds(vtt_time(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00.000"), (1.9995, "00:00:02.000"), (3661.5, "01:01:01.500"), (360_000.0, "100:00:00.000")],
)
def test_times_are_rounded_to_milliseconds(seconds, text):
    assert vtt_time(seconds) == text


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf"), 3.6e13])
def test_impossible_times_are_rejected(seconds):
    with pytest.raises(ValueError, match="seconds"):
        vtt_time(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("01:02.5", 62.5), ("0:1:5.2", 65.2), ("00:60:00.000", None), ("00:00:61.0", None), ("00:01,500", None)],
)
def test_webvtt_times(text, seconds):
    assert vtt_seconds(text) == seconds


def test_srt_times_of_a_line():
    assert srt_times("00:00:01,5 --> 1:00:02.25 X1:10") == [1.5, 3602.25]
