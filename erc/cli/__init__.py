"""The command `erc`. Each subcommand is a thin layer over functions of the library."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line. Errors for users are printed as one message, and set the exit code."""
    # torch and the hub client read these when they are first imported, which happens later.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Each batch shape adds a compiled kernel, and a thousand of them take 200 MB. A few dozen shapes recur.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")
    from erc.cli.app import app

    try:
        app(prog_name="erc")
    except KeyboardInterrupt:  # within a subcommand, typer exits with the same code
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
    """The exit code for an error meant for the user; None for a bug, which keeps its traceback."""
    from erc.errors import ConvemoError

    if isinstance(error, ConvemoError):
        return error.exit_code
    # `speakers` has its own base class and is slow to import. Its errors exist only if it is loaded already.
    errors = sys.modules.get("speakers.errors")
    if errors is not None and isinstance(error, errors.SpeakersError):
        return int(getattr(error, "exit_code", 1))
    return None


def _flush_stdout() -> None:
    """Flush standard output; ignore a closed pipe, as in `erc label ... | head`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
