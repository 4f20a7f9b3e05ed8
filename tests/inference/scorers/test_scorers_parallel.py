"""Parallel batches: all are processed, errors are raised, other threads keep their settings."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import pytest
import torch

from erc.inference.scorers.parallel import alone, run_parallel, share, worker_count


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_run_parallel_processes_every_item_once_in_single_threaded_workers(two_threads: None) -> None:
    done: list[int] = []
    seen: set[tuple[str, int, bool]] = set()
    meeting = threading.Barrier(2, timeout=30)

    def work(item: int) -> None:
        if item < 2:
            meeting.wait()  # fails unless the first two items run concurrently
        seen.add(
            (
                threading.current_thread().name.rpartition("_")[0],
                torch.get_num_threads(),
                torch.is_inference_mode_enabled(),
            )
        )
        done.append(item)

    run_parallel(work, range(7), device="cpu", width=32)
    assert sorted(done) == list(range(7))
    assert seen == {("erc-batch", 1, True)}
    assert torch.get_num_threads() == 2


def test_run_parallel_divides_many_threads_among_eight_workers() -> None:
    before, seen = torch.get_num_threads(), set[int]()
    torch.set_num_threads(24)
    try:
        assert worker_count("cpu") == 8
        run_parallel(lambda item: seen.add(torch.get_num_threads()), range(16), device="cpu", width=32)
    finally:
        torch.set_num_threads(before)
    assert seen == {3}


def test_thread_started_after_run_parallel_has_the_previous_thread_count(two_threads: None) -> None:
    run_parallel(lambda item: None, range(2), device="cpu", width=32)
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]


@pytest.mark.parametrize(("width", "threads"), [(384, 1), (768, 2)])
def test_run_parallel_of_one_item_uses_all_threads_for_a_wide_network(
    two_threads: None, width: int, threads: int
) -> None:
    seen: list[tuple[bool, int, bool]] = []

    def work(item: int) -> None:
        seen.append(
            (
                threading.current_thread() is threading.main_thread(),
                torch.get_num_threads(),
                torch.is_inference_mode_enabled(),
            )
        )

    run_parallel(work, [0], device="cpu", width=width)
    assert seen == [(threads == 2, threads, True)]
    assert alone(torch.get_num_threads, device="cpu", width=width) == threads


def test_run_parallel_raises_an_error_after_all_items_have_stopped(two_threads: None) -> None:
    release, under_way = threading.Event(), threading.Semaphore(0)
    finished: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            under_way.acquire(timeout=30)
            release.set()
            raise ValueError("of item 0")
        under_way.release()
        release.wait(timeout=30)
        finished.append(item)

    with pytest.raises(ValueError, match="of item 0"):
        run_parallel(work, [0, 1], device="cpu", width=32)
    assert finished == [1]


def test_nested_run_parallel_runs_in_the_thread_of_its_item(two_threads: None) -> None:
    names: list[tuple[str, str]] = []

    def work(item: int) -> None:
        outer = threading.current_thread().name
        run_parallel(
            lambda inner: names.append((outer, threading.current_thread().name)),
            range(2),
            device="cpu",
            width=32,
        )

    run_parallel(work, range(4), device="cpu", width=32)
    assert len(names) == 8
    assert all(outer == inner for outer, inner in names)


def _in_child(done: multiprocessing.queues.Queue[int]) -> None:
    total: list[int] = []
    run_parallel(total.append, range(3), device="cpu", width=32)
    done.put(len(total))
    done.close()
    done.join_thread()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_process_creates_its_own_threads(two_threads: None) -> None:
    run_parallel(lambda item: None, range(2), device="cpu", width=32)
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    child = context.Process(target=_in_child, args=(done,))
    child.start()
    assert done.get(timeout=60) == 3
    child.join(timeout=60)


def test_run_parallel_on_other_devices_is_sequential() -> None:
    assert worker_count("cuda") == 1
    assert share(10_000, most=4096, device="cuda") == 4096


@pytest.mark.parametrize(
    ("tokens", "shared"), [(100, 256), (300, 256), (1001, 501), (4096, 2048), (100_000, 4096)]
)
def test_batches_use_every_worker_and_are_not_tiny(two_threads: None, tokens: int, shared: int) -> None:
    assert share(tokens, most=4096, device="cpu") == shared
