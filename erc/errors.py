"""Errors for the person who ran the command.

Messages say what is wrong, where (file, line, key) and how to fix it.
"""

from __future__ import annotations

from pathlib import Path


class ConvemoError(Exception):
    """Base class of Convemo's errors.

    The command line prints the message without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class InputError(ConvemoError):
    """A file, line or value of the user cannot be used."""

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
    """Monte-Carlo dropout was requested for a model that was trained without dropout."""

    exit_code = 3


class MissingExtraError(ConvemoError):
    """A feature needs a package of an optional extra."""

    exit_code = 4

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': pip install 'convemo[{extra}]'")
