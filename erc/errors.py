"""Errors that speak to the person who ran the command.

Every message says what was wrong, where (file, line, key) and what to do about it.
"""

from __future__ import annotations

from pathlib import Path


class ConvemoError(Exception):
    """Base of every error that Convemo raises on purpose.

    The command line prints the message without a traceback and leaves with `exit_code`.
    """

    exit_code = 1


class InputError(ConvemoError):
    """A file, a line or a value of the user's cannot be used as it stands."""

    exit_code = 2

    def __init__(self, message: str, *, path: str | Path | None = None, line: int | None = None) -> None:
        self.path = None if path is None else str(path)
        self.line = line
        place = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(place + message)


class ConfigError(ConvemoError):
    """A configuration key or value is unknown or out of range."""

    exit_code = 2


class ArtefactError(ConvemoError):
    """A model folder is missing, incomplete, altered or of another version."""

    exit_code = 3


class NoDropoutError(ConvemoError):
    """Monte-Carlo dropout was asked of a model that was trained without dropout."""

    exit_code = 3


class MissingExtraError(ConvemoError):
    """A feature needs a package that comes with one of the extras."""

    exit_code = 4

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': pip install 'convemo[{extra}]'")
