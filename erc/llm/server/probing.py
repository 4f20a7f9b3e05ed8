"""Finding out what a server can do, by asking it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from erc.llm.prompts import RenderedPrompt
from erc.llm.server.transport import RefusedError, ServerError, UnusableError

Probe = tuple[RenderedPrompt, Sequence[str]]
"""A prompt and the labels to score after it."""
PROBE: Probe = (
    RenderedPrompt(
        "Answer the question.", (("question", "Is the sky blue on a clear day?"),), "Answer:", "probe/v1", ""
    ),
    ("yes", "no"),
)


def lacking(ask: Callable[[], object]) -> ServerError | None:
    """None where `ask` goes well; else why the server cannot be asked so, though perhaps in another way.

    Every other failure is raised: a server that is down or busy, a wrong key or a wrong model's name say
    nothing of what it can do.
    """
    try:
        ask()
    except UnusableError as error:
        return error
    except RefusedError as error:
        if not error.unsupported:
            raise
        return error
    return None
