"""Timing and output functions of the benchmarks."""

from __future__ import annotations

import time

import pytest
from bench_common import Stopwatch, interleaved, print_table, verdict


def test_candidates_are_timed_alternately() -> None:
    calls: list[str] = []
    seconds = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "ababab"
    assert set(seconds) == {"a", "b"}


def test_stopwatch_returns_results_and_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, processor = iter([0.0, 5.0, 10.0, 11.0, 20.0, 23.0]), iter([0.0, 0.5, 1.0, 1.1, 2.0, 2.2])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: next(processor))
    watch = Stopwatch()
    assert [watch.time(lambda number=number: number) for number in range(3)] == [0, 1, 2]
    assert watch.medians() == pytest.approx((3.0, 0.2))  # of 5, 1, 3 and of 0.5, 0.1, 0.2


@pytest.mark.parametrize(
    ("value", "target", "line"),
    [
        (2.0, {"least": 2}, "met     speed: 2.00x, target at least 2x"),
        (1.9, {"least": 2}, "MISSED  speed: 1.90x, target at least 2x"),
        (1.1, {"most": 1}, "MISSED  speed: 1.10x, target at most 1x"),
    ],
)
def test_verdict_compares_with_the_target(
    value: float, target: dict[str, float], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict("speed", value, **target)
    assert capsys.readouterr().out == line + "\n"


def test_table_aligns_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Title", ["name", "ms"], [["a", "100"], ["long name", "5"]])
    title, *lines = capsys.readouterr().out.strip().splitlines()
    assert title == "Title"
    assert lines == ["name        ms", "---------  ---", "a          100", "long name    5"]
