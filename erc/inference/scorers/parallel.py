"""Runs the batches of a pass in parallel, one thread per batch.

On CPUs this is faster than all threads on one batch, because batches of short texts have small matrices.
Weights are only read, so batches may share a network. Concurrent requests share the threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
_NARROW = 512
"""Hidden width up to which two threads on one batch are slower than one."""
_MOST = 8
"""Maximum number of workers; more would wait for the interpreter lock."""
_FEWEST = 256
"""Minimum tokens of a batch."""


def worker_count(device: str) -> int:
    """Batches run in parallel on a device: torch's threads, at most eight, on a CPU; else one."""
    return min(_MOST, torch.get_num_threads()) if torch.device(device).type == "cpu" else 1


def share(tokens: int, *, most: int, device: str) -> int:
    """Tokens per batch, at most `most`, that keep all workers busy with `tokens` tokens."""
    workers = worker_count(device)
    return min(most, max(_FEWEST, -(-tokens // workers))) if workers > 1 else most


def run_parallel(work: Callable[[T], None], items: Sequence[T], *, device: str, width: int) -> None:
    """Calls `work` for every item in parallel, without gradients.

    A single item runs in the calling thread, with all torch threads if the network is wide enough.

    Args:
        work: Processes one item.
        items: The items.
        device: Device of the network.
        width: Hidden width of the network.

    Raises:
        Exception: The first error of an item, once no item is running.
    """
    workers = worker_count(device)
    if workers < 2 or (len(items) < 2 and width > _NARROW):
        for item in items:
            _without_gradients(work, item)
        return
    pool = _pool(workers, torch.get_num_threads() // workers)
    futures = [pool.submit(_without_gradients, work, item) for item in items]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


def alone(work: Callable[[], R], *, device: str, width: int) -> R:
    """The result of `work` for one small item, such as a live turn; one thread if the network is narrow."""
    found: list[R] = []
    run_parallel(lambda one: found.append(one()), [work], device=device, width=width)
    return found[0]


def _without_gradients(work: Callable[[T], None], item: T) -> None:
    with torch.inference_mode():
        work(item)


def _compute_with(threads: int) -> None:
    torch.get_num_threads()  # sets this thread's own setting, which otherwise changes later
    torch.set_num_threads(threads)


@cache
def _pool(workers: int, each: int) -> ThreadPoolExecutor:
    """A pool of threads in which torch uses `each` threads."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers, thread_name_prefix="erc-batch", initializer=_compute_with, initargs=(each,)
    )
    together = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(together.wait)  # starts every thread now
    together.wait()
    torch.set_num_threads(threads)  # also sets the default of threads that start later
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
