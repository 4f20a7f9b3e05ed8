"""Training with several processes, as started by `torchrun` or `accelerate launch`.

Every process runs the same program. Only the main process writes files and computes what all must agree on
(dev figures, where to resume). It does so through `on_main`, and the others wait for its result or error. All
must be able to read the run folder. Without a launcher there is one process, and these functions only run
their argument.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from erc.errors import ConfigError, ConvemoError

if TYPE_CHECKING:
    from accelerate import PartialState
    from torch import Tensor

Result = TypeVar("Result")

_STEP_TIMEOUT = timedelta(minutes=30)
"""The longest time that a training step waits for the other processes."""
_WORK_TIMEOUT = timedelta(days=2)
"""The longest time that the others wait while the main process evaluates or saves.

If a process dies, the wait ends at once.
"""


def count() -> int:
    """The number of processes that train together; the first call in a process joins the group."""
    return int(_state().num_processes)


def is_main() -> bool:
    """Whether this is the main process, which writes files."""
    return bool(_state().is_main_process)


def on_main(work: Callable[[], Result]) -> Result:
    """Runs `work` in the main process and returns its result in every process.

    The result is sent to the other processes, so it should be small and plain.

    Raises:
        ConvemoError: In every process, if `work` raises it.
        Exception: Any other error of `work`: in the main process as it is, elsewhere as a RuntimeError.
    """
    if count() == 1:
        return work()
    import torch

    mine: list[Result] = []
    failure: Exception | None = None
    if is_main():
        try:
            mine.append(work())
        except Exception as error:
            failure = error
    told: list[Any] = [(mine, None if failure is None else _described(failure))]
    torch.distributed.broadcast_object_list(told, src=0, group=_patient_group())
    if failure is not None:
        raise failure
    theirs, problem = told[0]
    if problem is not None:
        raise _again(*problem)
    return mine[0] if mine else theirs[0]


def main_first(work: Callable[[], Result]) -> Result:
    """Runs `work` in the main process first and then in the others, and returns its result in each.

    This is for results too large to send: the main process writes them to disk, and the others read them.

    Raises:
        ConvemoError: In every process, if `work` raises it in the main process.
        Exception: Any other error of `work`: in the main process as it is, elsewhere as a RuntimeError.
    """
    made: list[Result] = []
    on_main(lambda: made.append(work()))
    return made[0] if made else work()


def require_same(value: Any, *, what: str) -> None:
    """Checks that `value`, which must be small and plain, is equal in all processes.

    Raises:
        ConfigError: In every process, if the values differ.
    """
    if count() == 1:
        return
    import torch

    found: list[Any] = [None] * count()
    torch.distributed.all_gather_object(found, value, group=_patient_group())
    if any(other != found[0] for other in found):
        raise ConfigError(
            f"the processes have different {what} ({', '.join(map(str, found))}): let all read the same "
            "files, on a common disk"
        )


def wait() -> None:
    """Waits until every process has called this function."""
    if count() > 1:
        import torch

        torch.distributed.barrier(group=_patient_group())


def summed(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, in float32."""
    total = values.detach().float().clone()
    if count() > 1:
        import torch

        torch.distributed.all_reduce(total)
    return total


def leave() -> None:
    """Waits for all processes and ends the group; call it at the end of a program."""
    if count() > 1:
        wait()
        _patient_group.cache_clear()
        _state().destroy_process_group()


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    # The Trainer creates the state again from the same environment; the group stays.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=_STEP_TIMEOUT)


@functools.cache
def _patient_group() -> Any:
    """A CPU group of all processes with a long timeout, so that waiting does not occupy the GPUs."""
    import torch

    return torch.distributed.new_group(backend="gloo", timeout=_WORK_TIMEOUT)


def _described(error: Exception) -> tuple[type[Exception], tuple[Any, ...], dict[str, Any]]:
    """The class, arguments and attributes of an error, to send to other processes."""
    if isinstance(error, ConvemoError):
        return (
            type(error),
            error.args,
            {key: value for key, value in vars(error).items() if not key.startswith("_")},
        )
    return RuntimeError, (f"the main process failed, {type(error).__name__}: {error}",), {}


def _again(kind: type[Exception], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    """Builds the error that was sent, without its constructor, which would format the message again."""
    error = kind.__new__(kind, *arguments)
    vars(error).update(attributes)
    return error
