"""Errors of the speaker memory: what was wrong, where, and what mends it."""

from __future__ import annotations


class SpeakersError(Exception):
    """Base of every error the speaker memory raises on purpose; a command leaves with `exit_code`.

    It is 2 where what was named or asked for has to change, 4 where a package is missing, and 1 where the
    same call may do another time.
    """

    exit_code = 1


class InvalidRecordError(SpeakersError):
    """A name, an observation or a line of an import cannot be kept as it stands."""

    exit_code = 2


class UnknownSpeakerError(SpeakersError):
    """No speaker of this tenant has that id or name. Another tenant's speaker looks exactly the same."""

    exit_code = 2


class UnknownTenantError(SpeakersError):
    """The store has no tenant of that name, and none was to be made."""

    exit_code = 2


class NameTakenError(SpeakersError):
    """The name already belongs to another speaker; only an explicit merge joins the two."""

    exit_code = 2


class NotReversibleError(SpeakersError):
    """The logged change cannot be undone now: it is unknown, undone already, or covered by a later one."""

    exit_code = 2


class EmbedderMismatchError(SpeakersError):
    """Vectors of one embedder were offered to a tenant that keeps vectors of another."""

    exit_code = 2


class InvalidPolicyError(SpeakersError):
    """A policy asks for what no memory can keep to."""

    exit_code = 2


class PolicyMismatchError(SpeakersError):
    """The store was made with another policy (words, pseudonyms, retention) than the one asked for."""

    exit_code = 2


class StoreError(SpeakersError):
    """The database cannot be used."""


class StoreMissingError(StoreError):
    """There is no store at the address, or its folder or server cannot be reached."""

    exit_code = 2


class CorruptStoreError(StoreError):
    """The database file is damaged, cut short, or not a speaker store at all."""

    exit_code = 2


class NewerStoreError(StoreError):
    """The database was written by a newer version of this package."""

    exit_code = 2


class MissingDriverError(StoreError):
    """The package that speaks to the database is not installed."""

    exit_code = 4


class StoreFullError(StoreError):
    """The disk is full, or a size limit was met: nothing of the transaction was kept, and reads go on."""


class StoreBusyError(StoreError):
    """Another process held the database for longer than the time allowed."""


class ErasureIncompleteError(SpeakersError):
    """The rows are gone, but bytes may remain until another process lets go; the next open finishes the work."""
