"""Sweeping: ending upload sessions that have expired, in every process, with all that they stored.

Only the rows go here, in batches; the remover deletes objects, files and multipart uploads behind them. Nothing is
looked for in the storage: every key was committed before it was used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.background import repeated
from gateway.model.collection import Event
from gateway.services.guards import divided
from gateway.services.tallies import uncounted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.ports.collection import Guard, SweepIndex, Tally
    from gateway.ports.metadata import Registry
    from gateway.services.removal import Remover

_log = logging.getLogger(__name__)

_BATCH = 100
_TOMBSTONES = 1000
_SECONDS_BETWEEN_ROUNDS = 60.0


class Sweeper:
    """Ends expired upload sessions, once a minute."""

    def __init__(
        self, index: SweepIndex, remover: Remover, guards: Sequence[Guard] = (), tally: Tally = uncounted
    ) -> None:
        self._index = index
        self._remover = remover
        self._guards = guards
        self._tally = tally

    def running(self) -> AbstractAsyncContextManager[None]:
        """Sweep in the background as long as the context lasts."""
        return repeated(self._attempt, _SECONDS_BETWEEN_ROUNDS, "expired uploads could not be swept")

    async def count(self, registries: Sequence[Registry]) -> int:
        """Return how many sessions of registries have expired."""
        return await self._index.count_expired(registries)

    async def sweep(self, only: Collection[Registry] | None = None) -> int:
        """End all sessions that have expired, and return how many; a registry that somebody objects to is left.

        Deleting a registry ends its sessions without asking anybody, and so are those ended that began meanwhile: its
        bucket may be gone for good. With ``only``, those of some registries.
        """
        expired = await self._index.list_expired(left_behind=False)
        chosen = [each for each in expired if only is None or each in only]
        registries, reasons = await divided(self._guards, chosen, self._tally, Event.FAILED_SWEEPS)
        for registry, reason in reasons.items():
            _log.warning("uploads in the bucket %s are not swept: %s", registry.bucket, reason)
        if only is None:
            registries += await self._index.list_expired(left_behind=True)
        ended = 0
        for registry in registries:
            while count := await self._index.end_expired(registry, _BATCH):
                ended += count
                self._tally(Event.UPLOADS, count)
        while await self._index.forget_tombstones(_TOMBSTONES) == _TOMBSTONES:
            pass
        if ended:
            self._remover.wake()
        return ended

    async def _attempt(self) -> None:
        try:
            await self.sweep()
        except Exception:
            self._tally(Event.FAILED_SWEEPS)
            raise
