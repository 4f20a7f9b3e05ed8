"""Training by several processes, as `torchrun` and `accelerate launch` start them.

Every process runs the same program. The main one alone writes files and decides what all must agree on (dev
figures, where to resume), through `on_main`; the others wait for its result or error. All must see the run
folder. Without a launcher the process is the main and only one, and this module does nothing.
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
"""How long a step of training may wait for the other processes."""
_WORK_TIMEOUT = timedelta(days=2)
"""How long others wait for the main process to evaluate or save; a dead process ends the wait at once."""


def count() -> int:
    """How many processes train together; the first call of each joins them."""
    return int(_state().num_processes)


def is_main() -> bool:
    """Whether this is the process that writes."""
    return bool(_state().is_main_process)


def on_main(work: Callable[[], Result]) -> Result:
    """What `work` gives in the main process, in every process; the others do not run it.

    Its errors are raised in all: those meant for the user as they are, a defect with its traceback in the
    main process alone. The result is sent between processes of this run, so it should be small and plain.
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
    """What `work` gives, run by the main process and then by the others, who find on disk what it left there.

    For results too large to be sent. An error of the main process is raised in all.
    """
    made: list[Result] = []
    on_main(lambda: made.append(work()))
    return made[0] if made else work()


def require_same(value: Any, *, what: str) -> None:
    """Raises ConfigError in every process if `value`, small and plain, differs between processes."""
    if count() == 1:
        return
    import torch

    found: list[Any] = [None] * count()
    torch.distributed.all_gather_object(found, value, group=_patient_group())
    if any(other != found[0] for other in found):
        raise ConfigError(
            f"the processes have other {what} ({', '.join(map(str, found))}): let all of them read the same "
            "files, on a common disk"
        )


def wait() -> None:
    """Returns when every process has come here."""
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
    """Ends the work together, at the end of a program."""
    if count() > 1:
        wait()
        _patient_group.cache_clear()
        _state().destroy_process_group()


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    # The Trainer makes it anew from the same environment; the processes stay joined.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=_STEP_TIMEOUT)


@functools.cache
def _patient_group() -> Any:
    """A group of all processes over the CPU, with a long timeout, so that waiting does not occupy GPUs."""
    import torch

    return torch.distributed.new_group(backend="gloo", timeout=_WORK_TIMEOUT)


def _described(error: Exception) -> tuple[type[Exception], tuple[Any, ...], dict[str, Any]]:
    """Class, arguments and attributes of an error, as they are sent."""
    if isinstance(error, ConvemoError):
        return (
            type(error),
            error.args,
            {key: value for key, value in vars(error).items() if not key.startswith("_")},
        )
    return RuntimeError, (f"the main process failed, {type(error).__name__}: {error}",), {}


def _again(kind: type[Exception], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    """The error, without its constructor, which would make a message of the message."""
    error = kind.__new__(kind, *arguments)
    vars(error).update(attributes)
    return error
