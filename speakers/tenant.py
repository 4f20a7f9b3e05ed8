"""Tenants: owners of separate memories in one store, with a policy and a secret key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, bindparam, select

from speakers.errors import InvalidPolicyError, PolicyMismatchError
from speakers.names import normalise, skeleton
from speakers.records import SpeakerId, check_text
from speakers.store.tables import META, TENANTS

_ALPHABET = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a tenant's memory stores.

    None means the default for a new tenant and any value for an existing one.

    `text` and `pseudonymous` are fixed when the tenant is created; `Registry.set_retention` changes the rest.

    Attributes:
        text: False stores no words.
        pseudonymous: True stores no names. Ids and name matching then use keyed digests.
        retention_days: conversations are erased this many days after they were recorded; at least 1.

    Raises:
        InvalidPolicyError: `retention_days` is below 1 or not finite.
    """

    text: bool | None = None
    pseudonymous: bool | None = None
    retention_days: float | None = None

    def __post_init__(self) -> None:
        if self.retention_days is not None and not 1 <= self.retention_days < math.inf:
            raise InvalidPolicyError(
                f"retention_days={self.retention_days}: must be at least 1; None keeps everything"
            )


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as the store holds it.

    Attributes:
        row: the row number.
        name: the name, `default` unless another is chosen.
        keeps_text: whether words are stored.
        pseudonymous: whether names are stored only as keyed digests.
        retention_days: see `Policy`; None keeps everything.
        secret: the key of the digests, derived from the key of the store.
    """

    row: int
    name: str
    keeps_text: bool
    pseudonymous: bool
    retention_days: float | None
    secret: bytes

    def digest(self, purpose: str, *parts: str) -> str:
        """HMAC-SHA-256 of the parts in hexadecimal. Without the secret nobody can compute it from a name."""
        message = "\x00".join((purpose, *parts)).encode("utf-8")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    def match_name(self, name: str) -> str:
        """The form in which the store keeps a name for matching.

        Raises:
            InvalidRecordError: the name cannot be stored.
        """
        plain = normalise(name)
        return self.digest("match", plain) if self.pseudonymous else plain

    def match_skeleton(self, name: str) -> str:
        """The form in which the store keeps the skeleton of a name."""
        plain = skeleton(name)
        return self.digest("skeleton", plain) if self.pseudonymous else plain

    def new_id(self, name: str, scope: str, *, bearer: int = 0) -> SpeakerId:
        """A new id: random, or in a pseudonymous memory a keyed digest of the name.

        `bearer` counts forgotten people of the same name, so that the next one gets another digest.
        """
        parts = (scope, normalise(name), *([str(bearer)] if bearer else []))
        raw = bytes.fromhex(self.digest("id", *parts))[:16] if self.pseudonymous else secrets.token_bytes(16)
        return SpeakerId("spk_" + base64.b32encode(raw).decode("ascii").rstrip("=").translate(_ALPHABET))

    def tombstone_of_id(self, speaker_id: str) -> str:
        """The digest that is kept of a forgotten id."""
        return self.digest("erased id", speaker_id)

    def tombstone_of_name(self, scope: str, match_name: str) -> str:
        """The digest that is kept of a forgotten name, given in its matching form."""
        return self.digest("erased name", scope, match_name)


AHEAD = 86_400.0
"""Seconds by which a stored time may be ahead of now. A later time came from a wrong clock."""

_LOCK = select(TENANTS).where(TENANTS.c.tenant == bindparam("of")).with_for_update()


def tenant_row(connection: Connection, tenant: Tenant) -> Row:
    """The tenant's row. In a write transaction it stays locked, so a tenant's writers run one by one."""
    return connection.execute(_LOCK, {"of": tenant.row}).one()


def epoch_of(connection: Connection, tenant: Tenant) -> int:
    """The number of transactions that removed rows. Rows read at another epoch may not exist any more."""
    return connection.execute(select(TENANTS.c.epoch).where(TENANTS.c.tenant == tenant.row)).scalar_one()


def find_tenant(connection: Connection, name: str, policy: Policy) -> Tenant | None:
    """The tenant of that name, or None.

    Raises:
        PolicyMismatchError: the tenant has another policy than the one asked for.
    """
    row = connection.execute(select(TENANTS).where(TENANTS.c.name == name)).one_or_none()
    if row is None:
        return None
    asked = {
        "keeps_text": policy.text,
        "pseudonymous": policy.pseudonymous,
        "retention_days": policy.retention_days,
    }
    for column, value in asked.items():
        kept = getattr(row, column)
        if value is not None and value != kept:
            raise PolicyMismatchError(
                f"tenant {name!r} has {column}={kept}, not {value}; leave the option out, or use another "
                "tenant or store"
            )
    store_key = connection.execute(select(META.c.value).where(META.c.name == "store_key")).scalar_one()
    secret = hmac.new(bytes.fromhex(store_key), name.encode("utf-8"), hashlib.sha256).digest()
    return Tenant(row.tenant, name, bool(row.keeps_text), bool(row.pseudonymous), row.retention_days, secret)


def create_tenant(connection: Connection, name: str, policy: Policy) -> Tenant:
    """Find or create the tenant, inside a write transaction.

    Raises:
        PolicyMismatchError: the name is empty, or the tenant exists with another policy.
        InvalidRecordError: the name cannot be stored.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE")
    found = find_tenant(connection, name, policy)
    if found is not None:
        return found
    if not check_text(name, "tenant name"):
        raise PolicyMismatchError("a tenant needs a name")
    values = {
        "name": name,
        "next_sequence": 1,
        "clock": -1e300,
        "generation": 0,
        "epoch": 0,
        "keeps_text": int(policy.text is not False),
        "pseudonymous": int(bool(policy.pseudonymous)),
        "retention_days": policy.retention_days,
    }
    connection.execute(TENANTS.insert(), values)
    created = find_tenant(connection, name, policy)
    assert created is not None
    return created


def tenant_names(connection: Connection) -> tuple[str, ...]:
    """The names of all tenants of the store, in order of creation."""
    return tuple(connection.execute(select(TENANTS.c.name).order_by(TENANTS.c.tenant)).scalars())


def set_retention(connection: Connection, tenant: Tenant, days: float | None) -> Tenant:
    """Change how long the tenant keeps conversations; None keeps them indefinitely.

    Raises:
        InvalidPolicyError: `days` is below 1 or not finite.
    """
    days = Policy(retention_days=days).retention_days
    where = TENANTS.c.tenant == tenant.row
    connection.execute(TENANTS.update().where(where).values(retention_days=days))
    return replace(tenant, retention_days=days)


def bump(connection: Connection, tenant: Tenant, *, removed: bool = False) -> None:
    """Count a transaction that added rows or, with `removed`, removed some. Cached indexes compare it."""
    values = {"generation": TENANTS.c.generation + 1}
    if removed:
        values["epoch"] = TENANTS.c.epoch + 1
    connection.execute(TENANTS.update().where(TENANTS.c.tenant == tenant.row).values(**values))
