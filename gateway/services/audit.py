"""The audit log: who did what, for as long as it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.background import repeated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.ports.audit import AuditFilter, AuditIndex, AuditRecord

_BATCH = 1_000
_SECONDS_BETWEEN_ROUNDS = 3600.0


class Audit:
    """Reads the audit log, and drops lines when they are old."""

    def __init__(self, index: AuditIndex, *, days: int) -> None:
        self._index = index
        self._days = days

    async def list(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[AuditRecord]:
        """Return lines with ids below ``before`` (the last one of the page before), the newest first."""
        return await self._index.list(wanted, before, limit)

    async def forget_old_lines(self) -> None:
        """Drop all lines that are older than they are to be kept, in short transactions."""
        while await self._index.forget(self._days, _BATCH) == _BATCH:
            pass

    def retaining(self) -> AbstractAsyncContextManager[None]:
        """Drop old lines once an hour for as long as the context lasts."""
        return repeated(
            self.forget_old_lines,
            _SECONDS_BETWEEN_ROUNDS,
            "old lines of the audit log could not be dropped",
            at_once=True,
        )
