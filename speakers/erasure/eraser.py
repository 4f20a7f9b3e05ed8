"""Completes erasures and applies the retention policy."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence

from speakers import identity
from speakers.erasure import deletion, files, requests, retention
from speakers.errors import ErasureIncompleteError
from speakers.records import Erasure
from speakers.session import Session

BACKGROUND_PATIENCE = 1.0
"""Seconds that a call waits for readers when it finishes an erasure that the caller did not ask for."""

_IN_USE_SECONDS = 86_400.0
"""Seconds to record turns of a returned id. Until then, the policy spares a speaker without turns."""


class Eraser:
    """Forgets people, deletes conversations, and applies the retention policy of one session.

    Attributes:
        unfinished: whether the files of an erasure by the policy could not be cleaned yet.
    """

    def __init__(self, session: Session, *, busy_seconds: float) -> None:
        self._session = session
        self._busy_seconds = busy_seconds
        self._last_check = self._next_check = -math.inf
        self._in_use: dict[str, float] = {}  # by speaker id, UTC seconds of the last use
        self._warnings: tuple[str, ...] = ()
        self.unfinished = False

    def forget(self, speaker: str, scope: str) -> Erasure:
        """Erase a person and everybody merged into them; see `Registry.forget`."""
        session = self._session
        with session.write() as connection:
            row = identity.find(connection, session.tenant, speaker, scope=scope)
            group = identity.merged_group(connection, row.speaker)
            number, counted = requests.request(connection, session.tenant, group, now=session.clock())
        done = self.resume().get(number)
        # If another process carried out the request, use the counts from before.
        return done if done is not None and done.speakers else counted

    def delete(
        self,
        conversations: Sequence[str],
        *,
        idle: Sequence[int] = (),
        keep: Collection[str] = (),
        patience: float | None = None,
    ) -> Erasure:
        """Delete conversations, and `idle` speakers without data except those to `keep`."""
        session = self._session
        with session.write() as connection:
            removal = deletion.delete_conversations(
                connection, session.tenant, conversations, now=session.clock(), idle=idle, keep=keep
            )
        self._drop_vectors(removal)
        self.resume(patience=patience)
        return removal.erasure

    def expire(self) -> Erasure:
        """Erase what the retention policy no longer allows."""
        session = self._session
        with session.store.read() as connection:
            old, idle = retention.expired(connection, session.tenant, now=session.clock())
        return self.delete(old, idle=idle) if old or idle else Erasure(0, 0, 0, 0)

    def expire_if_due(self) -> None:
        """As `expire`, if anything can have expired since the last check. Spares speakers in use.

        If another process is reading, the files are cleaned later and `take_warnings` says so.
        """
        session, now = self._session, self._session.clock()
        if session.tenant.retention_days is None or self._last_check <= now < self._next_check:
            return
        with session.store.read() as connection:
            old, idle = retention.expired(connection, session.tenant, now=now)
        self._in_use = {
            speaker: since for speaker, since in self._in_use.items() if abs(now - since) < _IN_USE_SECONDS
        }
        try:
            if old or idle:
                self.delete(old, idle=idle, keep=self._in_use, patience=BACKGROUND_PATIENCE)
        except ErasureIncompleteError as error:
            self.unfinished, self._warnings = True, (str(error),)
        with session.store.read() as connection:
            self._last_check = now
            self._next_check = retention.next_expiry(connection, session.tenant, now=now)

    def spare(self, speakers: Iterable[str]) -> None:
        """Note that the caller has these ids and may record turns of them soon."""
        if self._session.tenant.retention_days is not None:
            self._in_use.update(dict.fromkeys(speakers, self._session.clock()))

    def check_again(self) -> None:
        """Check for expired data at the next read: the data or the policy has changed."""
        self._next_check = -math.inf

    def take_warnings(self) -> tuple[str, ...]:
        """Warnings since the last call."""
        warnings, self._warnings = self._warnings, ()
        return warnings

    def resume(self, *, patience: float | None = None) -> dict[int, Erasure]:
        """Finish all pending requests; returns what each removed, by its number.

        Raises:
            ErasureIncompleteError: a reader blocked the cleaning of files.
        """
        session = self._session
        with session.store.read() as connection:
            begun = requests.pending(connection, session.tenant)
        done = {}
        for row in begun:
            with session.write() as connection:
                removal = deletion.delete_speakers(
                    connection, session.tenant, json.loads(row.speakers), now=session.clock()
                )
            self._drop_vectors(removal)
            done[row.erasure] = removal.erasure
        if begun:
            seconds = self._busy_seconds if patience is None else min(patience, self._busy_seconds)
            numbers = [row.erasure for row in begun]
            files.finish(session.store, session.tenant, numbers, patience=seconds)
        self.unfinished, self._warnings = False, ()
        return done

    def _drop_vectors(self, removal: deletion.Removal) -> None:
        self._session.search.drop(
            removal.observations, epoch_before=removal.epoch_before, epoch_after=removal.epoch_after
        )
