"""The base class of the method groups of a `Registry`."""

from __future__ import annotations

from sqlalchemy import Connection, Row

from speakers import identity
from speakers.erasure.eraser import Eraser
from speakers.history import SummaryRule
from speakers.session import Session
from speakers.tenant import Tenant


class RegistryPart:
    """Base class of the method groups. `Registry` sets the attributes."""

    _session: Session
    _eraser: Eraser
    _summary: SummaryRule

    @property
    def tenant(self) -> Tenant:
        """The tenant and its policy."""
        return self._session.tenant

    def _row(self, connection: Connection, name_or_id: str, conversation_id: str | None = None) -> Row:
        scope = conversation_id or identity.EVERYWHERE
        return identity.find(connection, self.tenant, name_or_id, scope=scope)
