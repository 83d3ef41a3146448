"""The audit log: who did what, for as long as it is kept."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.services.background import in_background

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.ports.audit import AuditFilter, AuditIndex, AuditRecord

_log = logging.getLogger(__name__)

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
        return in_background(self._run_for_ever())

    async def _run_for_ever(self) -> None:
        while True:
            try:
                await self.forget_old_lines()
            except Exception:  # noqa: BLE001  (the loop must go on)
                _log.exception("old lines of the audit log could not be dropped")
            await asyncio.sleep(_SECONDS_BETWEEN_ROUNDS)
