"""Translates errors of the database engine into errors of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from speakers.errors import CorruptStoreError, StoreBusyError, StoreError, StoreFullError, StoreMissingError

_MEANINGS: tuple[tuple[type[StoreError], tuple[str, ...], str], ...] = (
    (
        StoreBusyError,
        ("locked", "is busy", "lock timeout", "deadlock"),
        "another process holds it for too long; try again when it has finished",
    ),
    (
        StoreFullError,
        ("disk is full", "disk i/o error", "no space left", "could not extend", "disk full"),
        "nothing of this transaction was stored; free some space and run it again "
        "(earlier transactions are safe)",
    ),
    (
        CorruptStoreError,
        ("malformed", "not a database", "file is encrypted", "corrupt", "no such table", "no such column"),
        "the file is damaged or is not a speaker store; restore it from a backup or from an export",
    ),
    (
        StoreMissingError,
        (
            "unable to open",
            "connection refused",
            "could not connect",
            "connection failed",
            "could not translate",
            "fatal:",
        ),
        "check the address",
    ),
)


def meaning(error: DBAPIError, address: str) -> StoreError:
    """The package's error for an engine error, with the first line of the engine's message.

    Later lines may quote a row, so they are left out.
    """
    words = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
    lowered = words.casefold()
    for kind, signs, advice in _MEANINGS:
        if any(sign in lowered for sign in signs):
            return kind(f"{address}: {words}: {advice}")
    return StoreError(f"{address}: {words}")


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Raise this package's errors instead of the engine's.

    SQL statements and parameters, which hold a person's words, are kept out of the message.

    Raises:
        StoreError: the engine failed; a subclass says why.
    """
    try:
        yield
    except DBAPIError as error:
        raise meaning(error, address) from None
