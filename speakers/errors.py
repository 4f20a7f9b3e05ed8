"""Errors of the speaker memory. A message names what is wrong, where, and how to fix it."""

from __future__ import annotations


class SpeakersError(Exception):
    """Base class of all errors of this package. The command `erc` exits with `exit_code`.

    The code is 2 where the input has to change, 4 where a package is missing, and 1 where the same call may
    succeed later.
    """

    exit_code = 1


class InvalidRecordError(SpeakersError):
    """A name, an observation or a line of an import cannot be stored."""

    exit_code = 2


class UnknownSpeakerError(SpeakersError):
    """This tenant has no speaker of that id or name. Speakers of other tenants are reported the same way."""

    exit_code = 2


class UnknownTenantError(SpeakersError):
    """The store has no tenant of that name, and the caller asked not to create one."""

    exit_code = 2


class NameTakenError(SpeakersError):
    """The name belongs to another speaker, present or forgotten."""

    exit_code = 2


class NotReversibleError(SpeakersError):
    """The logged change is unknown, already undone, or followed by a change that has to be undone first."""

    exit_code = 2


class EmbedderMismatchError(SpeakersError):
    """Vectors do not fit the embedder whose vectors the tenant stores."""

    exit_code = 2


class InvalidPolicyError(SpeakersError):
    """A policy has an invalid value."""

    exit_code = 2


class PolicyMismatchError(SpeakersError):
    """The tenant was created with another policy than the one asked for."""

    exit_code = 2


class StoreError(SpeakersError):
    """The database cannot be used."""


class StoreMissingError(StoreError):
    """No store exists at the address, or its folder or server cannot be reached."""

    exit_code = 2


class CorruptStoreError(StoreError):
    """The database file is damaged, truncated, or not a speaker store."""

    exit_code = 2


class NewerStoreError(StoreError):
    """A newer version of this package wrote the database."""

    exit_code = 2


class OlderStoreError(StoreError):
    """A development version wrote the database, before the first release."""

    exit_code = 2


class MissingDriverError(StoreError):
    """The driver package of the database is not installed."""

    exit_code = 4


class StoreFullError(StoreError):
    """The disk is full. Nothing of the transaction was stored; reading still works."""


class StoreBusyError(StoreError):
    """Another process held the database for longer than the time allowed."""


class ErasureIncompleteError(SpeakersError):
    """The rows are deleted, but files may still hold their bytes. The next open finishes the erasure."""
