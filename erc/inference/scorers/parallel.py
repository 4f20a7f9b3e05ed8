"""Batches of a pass side by side: on a processor a thread for each batch does more than all threads for one batch.

Batches of short texts hold matrices too small for several threads to share well. The weights are read, never
written, so any number of batches can go through a network at once. The threads are the process's own:
requests that come at once share them, too.
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
"""Hidden width up to which two threads on one batch were slower than one, at any length; at 768 they are not."""
_MOST = 8
"""Of more, some would wait for Python's lock; where torch has more threads, each worker computes with its part of them."""
_FEWEST = 256
"""Tokens."""


def worker_count(device: str) -> int:
    """How many batches go side by side on a device: on a processor as many as torch has threads, up to eight, elsewhere one."""
    return min(_MOST, torch.get_num_threads()) if torch.device(device).type == "cpu" else 1


def share(tokens: int, *, most: int, device: str) -> int:
    """Tokens of a batch, at most `most`, so that `tokens` in all keep every worker busy; batches of few tokens are not made smaller."""
    workers = worker_count(device)
    return min(most, max(_FEWEST, -(-tokens // workers))) if workers > 1 else most


def run_parallel(work: Callable[[T], None], items: Sequence[T], *, device: str, width: int) -> None:
    """Does `work` for every item, without gradients; the first error is raised once nothing is under way any more.

    Every item is one worker's, which computes with its share of the threads. A single item is done here, with
    all of them, where the matrices are wide enough for that: `width` is the hidden width of the network.
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
    """What `work` gives for one small piece, a live turn say: by one worker where the network is narrow, for sharing it costs more than it takes."""
    found: list[R] = []
    run_parallel(lambda one: found.append(one()), [work], device=device, width=width)
    return found[0]


def _without_gradients(work: Callable[[T], None], item: T) -> None:
    with torch.inference_mode():
        work(item)


def _compute_with(threads: int) -> None:
    torch.get_num_threads()  # gives this thread the process's setting, which would else come over it later
    torch.set_num_threads(threads)


@cache
def _pool(workers: int, each: int) -> ThreadPoolExecutor:
    """So many threads in which torch computes with `each`."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers, thread_name_prefix="erc-batch", initializer=_compute_with, initargs=(each,)
    )
    together = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(together.wait)  # each in a thread of its own, for none ends before all have begun
    together.wait()
    torch.set_num_threads(threads)  # a thread's setting is also that of threads which begin later
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
