"""Batches of a pass side by side: on a processor a thread for each batch does more than all threads for one batch.

Batches of short texts hold matrices too small for several threads to share well. The weights are read, never written, so any number of
batches can go through a network at once. The threads are the process's own: requests that come at once share them, too.
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


def worker_count(device: str) -> int:
    """How many batches go side by side on a device: on a processor as many as torch has threads, elsewhere one."""
    return torch.get_num_threads() if torch.device(device).type == "cpu" else 1


def side_by_side(work: Callable[[T], None], items: Sequence[T], *, device: str) -> None:
    """Does `work` for every item, without gradients; the first error is raised once nothing is under way any more.

    With one item or one thread it is done here, and torch's threads share it. Else every item is one worker's, which computes with one thread.
    """
    workers = worker_count(device)

    def alone(item: T) -> None:
        with torch.inference_mode():
            work(item)

    if min(workers, len(items)) < 2:
        for item in items:
            alone(item)
        return
    futures = [_pool(workers).submit(alone, item) for item in items]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


def _compute_alone() -> None:
    torch.get_num_threads()  # gives this thread the process's setting, which would else come over it later
    torch.set_num_threads(1)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """So many threads in which torch computes with one each."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="erc-batch", initializer=_compute_alone)
    together = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(together.wait)  # each in a thread of its own, for none ends before all have begun
    together.wait()
    torch.set_num_threads(threads)  # a thread's setting is also that of threads which begin later
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
