"""The audit port: reading the log, and adding what no other change brings along.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.access import Actor
    from gateway.ports.access import AuditEntry


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A line of the audit log as it is kept; before and after are JSON."""

    id: int
    happened_at: datetime
    account: str
    access_key_id: str | None
    address: str | None
    action: str
    registry: str | None
    object: str
    before: str | None
    after: str | None
    result: str
    count: int


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines of the audit log are wanted; None is all."""

    registry_ids: tuple[int, ...] | None = None
    """None includes lines that belong to no registry."""
    account: str | None = None
    action: str | None = None
    result: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Lines from before this time."""


class AuditIndex(Protocol):
    """The audit log."""

    async def add(self, lines: Sequence[tuple[Actor, AuditEntry]]) -> None:
        """Add lines about what changed nothing, refused logins for instance."""
        ...

    async def list(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[AuditRecord]:
        """Return lines with ids below ``before``, the newest first."""
        ...

    async def forget(self, days: int, limit: int) -> int:
        """Drop up to ``limit`` lines that are older than ``days``, and return how many there were."""
        ...
