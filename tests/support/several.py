"""Runs a function in several connected processes, as a launcher does.

They are forked from a process that has already imported the trainer, so they start quickly. Other tests
cover the launcher itself.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["erc.training.emonet.experiment", "erc.training.utterance.experiment", "erc.training.llm.experiment"]
)


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def together(
    work: Callable[..., Any], *arguments: Any, processes: int = 2, seconds: float = 60.0
) -> list[Any]:
    """Results of `work(rank, *arguments)` in each of `processes` processes.

    The result of a process that ended without one is its exit code. Processes still running after `seconds`
    are killed and give -9.
    """
    port, ends, children = free_port(), [], []
    for rank in range(processes):
        mine, theirs = _CONTEXT.Pipe(duplex=False)
        child = _CONTEXT.Process(target=_run, args=(theirs, rank, processes, port, work, arguments))
        child.start()
        theirs.close()
        ends.append(mine)
        children.append(child)
    limit, results = time.monotonic() + seconds, []
    for end, child in zip(ends, children, strict=True):
        found = end.poll(max(0.0, limit - time.monotonic()))
        try:
            results.append(end.recv() if found else None)
        except EOFError:
            results.append(None)
        child.join(max(0.0, limit - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
    return [
        child.exitcode if child.exitcode else result for child, result in zip(children, results, strict=True)
    ]


def _run(
    end: Connection,
    rank: int,
    processes: int,
    port: int,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes)
    )
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    from erc.training.loop import distributed as joined

    end.send(work(rank, *arguments))
    joined.leave()
