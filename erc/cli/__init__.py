"""The command `erc`: one file per verb, each a shell over a function of the library."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Entry point of the command: prepare the process, run the verb, turn errors meant for people into one message and a code."""
    # These are read when torch and the hub client are first imported, which no verb does before this point.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Every shape of a batch leaves a compiled kernel behind; a thousand of them are 200 MB, and the last few
    # dozen are the ones that recur.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")
    from erc.cli.app import app

    try:
        app(prog_name="erc")
    except KeyboardInterrupt:  # pressed outside the verb; within it, typer leaves with the same code
        sys.exit(INTERRUPTED)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"erc: {error}", file=sys.stderr)
        sys.exit(code)
    finally:
        _flush_stdout()


def _exit_code(error: Exception) -> int | None:
    """The code to leave with for an error meant for the user, None for a defect of ours (which keeps its traceback)."""
    from erc.errors import ConvemoError

    if isinstance(error, ConvemoError):
        return error.exit_code
    # The memory package has its own base and is slow to import: an error of its kind exists only where it is
    # loaded already.
    errors = sys.modules.get("speakers.errors")
    if errors is not None and isinstance(error, errors.SpeakersError):
        return int(getattr(error, "exit_code", 1))
    return None


def _flush_stdout() -> None:
    """Write out what is left; where the reader has gone (`erc label ... | head`), drop it instead of complaining at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
