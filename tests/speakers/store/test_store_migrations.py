"""The schema: new stores, stores of every released version, and stores of other versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from speakers_support import make, meet
from sqlalchemy import Connection, create_engine, inspect

from speakers import END, Registry
from speakers.errors import CorruptStoreError, NewerStoreError, OlderStoreError
from speakers.store import Store, migrations
from speakers.store.address import locate
from speakers.store.engine import APPLICATION_ID

FOLDER = Path(__file__).parent
VERSIONS = sorted({int(path.name.split(".")[0].removeprefix("schema_")) for path in FOLDER.glob("*.sql")})


def described(connection: Connection) -> dict[str, Any]:
    """The behaviour of the tables, in a form that does not depend on the formatting of their SQL."""
    seen = inspect(connection)
    tables = {}
    for name in seen.get_table_names():
        key = seen.get_pk_constraint(name)["constrained_columns"]
        columns = [
            (
                column["name"],
                str(column["type"]),
                column["name"] in key or not column["nullable"],
                bool(column.get("identity")),
            )
            for column in seen.get_columns(name)
        ]
        links = {
            (tuple(one["constrained_columns"]), one["referred_table"], tuple(one["referred_columns"]))
            for one in seen.get_foreign_keys(name)
        }
        unique = {tuple(one["column_names"]) for one in seen.get_unique_constraints(name)}
        indexes = {(one["name"], tuple(one["column_names"])) for one in seen.get_indexes(name)}
        if connection.dialect.name == "postgresql":
            indexes = {one for one in indexes if one[1] not in unique}
        tables[name] = (columns, key, links, unique, indexes)
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
        tables["autoincrement"] = connection.exec_driver_sql(query).scalars().all()
        tables.pop("sqlite_sequence", None)
    return tables


def tables_of(address: str) -> dict[str, Any]:
    store = Store.open(address)
    with store.read() as connection:
        found = described(connection)
    store.close()
    return found


def build(address: str, version: int) -> None:
    """Makes a store of a frozen schema, without tenants."""
    url, path = locate(address)
    engine = create_engine(url)
    script = (FOLDER / f"schema_{version}.{engine.dialect.name}.sql").read_text(encoding="utf-8")
    with engine.begin() as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        connection.exec_driver_sql(
            f"INSERT INTO meta VALUES ('schema_version', '{version}'), ('store_key', '{'ab' * 32}')"
        )
        if path is not None:
            connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    engine.dispose()


def set_version(address: str, version: str) -> None:
    store = Store.open(address)
    with store.write() as connection:
        connection.exec_driver_sql(f"UPDATE meta SET value = '{version}' WHERE name = 'schema_version'")
    store.close()


def test_the_latest_version_has_a_frozen_schema() -> None:
    assert list(range(migrations.INITIAL, migrations.latest() + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_store_of_a_released_version_gets_the_tables_of_a_new_store(fresh: Any, version: int) -> None:
    old, new = fresh(), fresh()
    build(old, version)
    with Registry.open(old) as registry:
        ana = meet(registry, "Ana")
        registry.record("c", [make(ana, "c", 0)])
        assert registry.context(ana, before=END).utterances == 1
    assert tables_of(old) == tables_of(new)


def test_upgrade_runs_each_step_once_on_existing_stores_and_never_on_new_ones(
    fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = fresh(), fresh()
    with Registry.open(old) as registry:
        ana = meet(registry, "Ana")
    step = ("ALTER TABLE audit ADD COLUMN note TEXT", "UPDATE speakers SET name = 'Anna'")
    monkeypatch.setattr(migrations, "UPGRADES", (step,))
    for _ in range(2):
        with Registry.open(old) as registry:
            assert registry.find(ana).name == "Anna"
    Registry.open(new).close()
    has_note = ["note" in [column[0] for column in tables_of(one)["audit"][0]] for one in (old, new)]
    assert has_note == [True, False]  # a real release adds the column to tables.py too


def test_upgrade_that_fails_changes_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tables_of(address)
    with monkeypatch.context() as patch:
        steps = (("ALTER TABLE audit ADD COLUMN note TEXT", "UPDATE cakes SET size = 1"),)
        patch.setattr(migrations, "UPGRADES", steps)
        with pytest.raises(Exception, match="cakes"):
            Store.open(address)
    assert tables_of(address) == before


@pytest.mark.parametrize(
    ("version", "error", "words"),
    [
        ("99", NewerStoreError, "99.*upgrade"),
        ("3", OlderStoreError, "version 3.*export.*import"),
        ("four", CorruptStoreError, "no readable schema version"),
    ],
)
def test_store_of_another_version_is_rejected(
    address: str, version: str, error: type[Exception], words: str
) -> None:
    set_version(address, version)
    with pytest.raises(error, match=words):
        Registry.open(address)
