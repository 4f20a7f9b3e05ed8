"""Removes the bytes of deleted rows from the files of a store."""

from __future__ import annotations

import time
from collections.abc import Sequence

from speakers.erasure import requests
from speakers.errors import ErasureIncompleteError, StoreError
from speakers.store import Store
from speakers.store.tables import (
    ALIASES,
    AUDIT,
    BIOS,
    CONVERSATIONS,
    ERASURES,
    MOVES,
    OBSERVATIONS,
    PASSAGES,
    SPEAKERS,
)
from speakers.tenant import Tenant
from speakers.vectors import index_file

_REWRITTEN = (
    SPEAKERS,
    ALIASES,
    AUDIT,
    CONVERSATIONS,
    OBSERVATIONS,
    MOVES,
    BIOS,
    PASSAGES,
    ERASURES,
)


def finish(store: Store, tenant: Tenant, erasures: Sequence[int], *, patience: float) -> None:
    """Clean the files, then remove the requests. Waits up to `patience` seconds for readers.

    Raises:
        ErasureIncompleteError: the files could not be cleaned yet.
    """
    try:
        clean(store, tenant, patience=patience)
        with store.write() as connection:
            requests.remove(connection, tenant, erasures)
        checkpoint(store, patience=patience)
    except StoreError as error:
        raise ErasureIncompleteError(
            f"the rows are deleted, but cleaning the files failed and continues at the next open: {error}"
        ) from None


def clean(store: Store, tenant: Tenant, *, patience: float) -> None:
    """Remove the cached index and rewrite the database, so that no file keeps deleted bytes.

    `secure_delete` overwrites deleted cells. A page that was split or balanced earlier may still have an old
    copy of a row, which only a rewrite removes.

    Raises:
        ErasureIncompleteError: a reader blocked the truncation of the log.
    """
    if store.path is not None:
        index_file.remove(store.path, tenant.row)
    with store.bare() as connection:
        if store.path is None:
            connection.exec_driver_sql(f"VACUUM FULL {', '.join(table.name for table in _REWRITTEN)}")
        else:
            # The copy may be larger than memory. It has no deleted rows, so it may go to a temporary file.
            connection.exec_driver_sql("PRAGMA temp_store = FILE")
            try:
                connection.exec_driver_sql("VACUUM")
            finally:
                connection.exec_driver_sql("PRAGMA temp_store = MEMORY")
    checkpoint(store, patience=patience)


def checkpoint(store: Store, *, patience: float) -> None:
    """Move SQLite's write-ahead log into the database and truncate it.

    Raises:
        ErasureIncompleteError: a reader blocked the truncation for `patience` seconds.
    """
    if store.path is None:
        return
    deadline = time.monotonic() + patience
    with store.bare() as connection:
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > deadline:
                raise ErasureIncompleteError(
                    f"{store.address}: another process is reading, so the log still has old pages; the next "
                    "open removes them"
                )
            time.sleep(0.05)
