"""Creates the schema of new stores and upgrades the schema of existing ones.

A new store is always created from `speakers.store.tables`, at the latest version, and runs no upgrade step.
An existing store runs the steps after its own version. A step is a frozen list of SQL statements that never
refers to `tables`, so a later edit of the tables cannot change what an old step does.

To change the schema in a later release:

1. edit `tables.py`;
2. append to `UPGRADES` the statements that take a store of the previous version to the new tables;
3. add the SQL of the new schema as `tests/speakers/store/schema_N.sql`.

A test opens a store of every such file and compares its tables with those of a new store.
"""

from __future__ import annotations

from sqlalchemy import Connection

from speakers.store.tables import META, METADATA

INITIAL = 4
"""The version of the first released schema. Development versions 1 to 3 are not supported."""

UPGRADES: tuple[tuple[str, ...], ...] = ()
"""SQL statements for each version after `INITIAL`; the first entry upgrades to version `INITIAL + 1`."""


def latest() -> int:
    """The version that this package reads and writes."""
    return INITIAL + len(UPGRADES)


def create(connection: Connection) -> None:
    """Create all tables at the latest version, inside the caller's transaction."""
    METADATA.create_all(connection, checkfirst=False)
    connection.execute(META.insert(), {"name": "schema_version", "value": str(latest())})


def upgrade(connection: Connection, version: int) -> None:
    """Run the steps that a store of `version` lacks, inside the caller's transaction: all or none."""
    for statements in UPGRADES[version - INITIAL :]:
        for statement in statements:
            connection.exec_driver_sql(statement)
    row = META.c.name == "schema_version"
    connection.execute(META.update().where(row).values(value=str(latest())))
