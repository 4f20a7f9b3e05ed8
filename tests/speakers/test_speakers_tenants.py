"""Tenants of a store, and a change of their retention."""

from __future__ import annotations

from pathlib import Path

import pytest
from speakers_support import Clock, make, meet

from speakers import END, Options, Registry
from speakers.errors import InvalidPolicyError, StoreMissingError

DAY = 86_400


def test_tenants_are_listed_in_order_of_creation(address: str) -> None:
    for name in ("b", "a"):
        Registry.open(address, tenant=name).close()
    assert Registry.tenants(address) == ("b", "a")


def test_tenants_of_a_missing_store_create_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        Registry.tenants(tmp_path / "s.db")
    assert list(tmp_path.iterdir()) == []


def test_set_retention_applies_to_the_next_read_and_is_stored(address: str, clock: Clock) -> None:
    with Registry.open(address, clock=clock) as registry:
        ana = meet(registry, "Ana")
        registry.record("old", [make(ana, "old", 0)])
        clock.now += 20 * DAY
        registry.record("new", [make(ana, "new", 0)])
        registry.set_retention(10)
        assert [one.conversation_id for one in registry.context(ana, before=END).observations] == ["new"]
    with Registry.open(address, clock=clock) as again:
        assert again.tenant.retention_days == 10
        again.set_retention(None)
        clock.now += 100 * DAY
        assert again.context(ana, before=END).utterances == 1


def test_set_retention_rejects_less_than_a_day(registry: Registry) -> None:
    with pytest.raises(InvalidPolicyError):
        registry.set_retention(0.5)
    assert registry.tenant.retention_days is None


def test_opening_without_expire_leaves_expired_data_to_expire(address: str, clock: Clock) -> None:
    with Registry.open(address, clock=clock) as registry:
        registry.record("old", [make(meet(registry, "Ana"), "old", 0)])
        registry.set_retention(10)
    clock.now += 20 * DAY
    with Registry.open(address, clock=clock, options=Options(expire=False)) as registry:
        assert registry.expire().observations == 1
