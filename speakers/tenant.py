"""A tenant: whose memory this is, under which policy, and the keyed digests only that tenant can make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, select

from speakers.errors import InvalidPolicyError, PolicyMismatchError
from speakers.names import normalise, skeleton
from speakers.records import SpeakerId, check_text
from speakers.store.tables import META, TENANTS

_ALPHABET = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a tenant's memory keeps. Chosen when the tenant is made and then kept; None means "as the store has it".

    `text=False` keeps no words. `pseudonymous=True` keeps no names either: ids and matching use keyed digests
    of them. `retention_days` counts from the day on which a conversation was taken in, and is at least 1.
    Raises InvalidPolicyError.
    """

    text: bool | None = None
    pseudonymous: bool | None = None
    retention_days: float | None = None

    def __post_init__(self) -> None:
        if self.retention_days is not None and not 1 <= self.retention_days < math.inf:
            raise InvalidPolicyError(
                f"retention_days={self.retention_days}: a number of days, at least 1; None keeps everything"
            )


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's row, policy and secret."""

    row: int
    name: str
    keeps_text: bool
    pseudonymous: bool
    retention_days: float | None
    secret: bytes

    def digest(self, purpose: str, *parts: str) -> str:
        """HMAC-SHA-256 over the parts, in hexadecimal. Without the tenant's secret it cannot be guessed from a name."""
        message = "\x00".join((purpose, *parts)).encode("utf-8")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    def match_name(self, name: str) -> str:
        """The form under which the store keeps a name for matching."""
        plain = normalise(name)
        return self.digest("match", plain) if self.pseudonymous else plain

    def match_skeleton(self, name: str) -> str:
        """The form under which the store keeps what a name looks like."""
        plain = skeleton(name)
        return self.digest("skeleton", plain) if self.pseudonymous else plain

    def new_id(self, name: str, scope: str, *, bearer: int = 0) -> SpeakerId:
        """A fresh id: random, or in a pseudonymous store the keyed digest of the name and, after the first, of how many bore it before."""
        parts = (scope, normalise(name), *([str(bearer)] if bearer else []))
        raw = bytes.fromhex(self.digest("id", *parts))[:16] if self.pseudonymous else secrets.token_bytes(16)
        return SpeakerId("spk_" + base64.b32encode(raw).decode("ascii").rstrip("=").translate(_ALPHABET))

    def tombstone_of_id(self, speaker_id: str) -> str:
        """What is left of a forgotten id."""
        return self.digest("erased id", speaker_id)

    def tombstone_of_name(self, scope: str, match_name: str) -> str:
        """What is left of a forgotten name, given as `match_name` keeps it."""
        return self.digest("erased name", scope, match_name)


AHEAD = 86_400.0
"""How far, in seconds, a stored moment may lie ahead of the present one and still be believed: further, some clock was wrong once."""

_LOCK = select(TENANTS).where(TENANTS.c.tenant == bindparam("of")).with_for_update()


def tenant_row(connection: Connection, tenant: Tenant) -> Row:
    """The tenant's counters; inside a write transaction the row stays locked, so writers of one tenant take turns."""
    return connection.execute(_LOCK, {"of": tenant.row}).one()


def epoch_of(connection: Connection, tenant: Tenant) -> int:
    """How often rows of the tenant were removed: what was read at another epoch may be gone."""
    return connection.execute(select(TENANTS.c.epoch).where(TENANTS.c.tenant == tenant.row)).scalar_one()


def find_tenant(connection: Connection, name: str, policy: Policy) -> Tenant | None:
    """The tenant of that name, or None. Raises PolicyMismatchError where an explicit policy differs from the tenant's."""
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
                f"tenant {name!r} was made with {column}={kept}, not {value}; leave the option out, or make another store"
            )
    store_key = connection.execute(select(META.c.value).where(META.c.name == "store_key")).scalar_one()
    secret = hmac.new(bytes.fromhex(store_key), name.encode("utf-8"), hashlib.sha256).digest()
    return Tenant(row.tenant, name, bool(row.keeps_text), bool(row.pseudonymous), row.retention_days, secret)


def make_tenant(connection: Connection, name: str, policy: Policy) -> Tenant:
    """Find or make the tenant, inside a write transaction."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE")
    found = find_tenant(connection, name, policy)
    if found is not None:
        return found
    if not check_text(name, "tenant name"):
        raise PolicyMismatchError("a tenant needs a name")
    values = {
        "name": name, "next_sequence": 1, "clock": -1e300, "generation": 0, "epoch": 0, "keeps_text": int(policy.text is not False),
        "pseudonymous": int(bool(policy.pseudonymous)), "retention_days": policy.retention_days,
    }  # fmt: skip
    connection.execute(TENANTS.insert(), values)
    made = find_tenant(connection, name, policy)
    assert made is not None
    return made


def bump(connection: Connection, tenant: Tenant, *, removed: bool = False) -> None:
    """Tell readers of derived state that rows were added, or (`removed`) that rows they may hold are gone."""
    values = {"generation": TENANTS.c.generation + 1}
    if removed:
        values["epoch"] = TENANTS.c.epoch + 1
    connection.execute(TENANTS.update().where(TENANTS.c.tenant == tenant.row).values(**values))
