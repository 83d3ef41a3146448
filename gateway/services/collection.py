"""Collection: dropping what nothing needs, on any number of processes, while everything goes on.

A round goes through its stages in batches, each a short transaction that waits for nobody. Only rows go; the remover
deletes the objects behind them. One process at a time begins a round, by a turn in the database; a round that a killed
process has left is made up for by the next one.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.background import repeated
from gateway.model.collection import Collected, Event, Stage
from gateway.services.guards import divided
from gateway.services.measuring import measured
from gateway.services.tallies import uncounted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.model.collection import Keeping, Queue
    from gateway.ports.collection import CollectionIndex, Guard, Tally
    from gateway.ports.metadata import Registry
    from gateway.services.removal import Remover

_log = logging.getLogger(__name__)

_BATCH = 200
_SECONDS_BETWEEN_ROUNDS = 600.0
_SECONDS_BETWEEN_TURNS = 60.0
_SECONDS_BETWEEN_MEASURES = 10.0
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_EVENTS = {
    Event.UNTAGGED: "untagged",
    Event.MANIFESTS: "manifests",
    Event.TAGS: "tags",
    Event.IMAGES: "images",
    Event.REPOSITORY_BLOBS: "repository_blobs",
    Event.BLOBS: "blobs",
}


class Collector:
    """Collects what nothing needs, every ten minutes."""

    def __init__(
        self,
        index: CollectionIndex,
        remover: Remover,
        keeping: Keeping,
        guards: Sequence[Guard],
        tally: Tally = uncounted,
    ) -> None:
        self._index = index
        self._remover = remover
        self._guards = guards
        self._keeping = keeping
        self._tally = tally
        self._queue: Queue | None = None
        self._measured_at = -math.inf

    def running(self) -> AbstractAsyncContextManager[None]:
        """Collect in the background as long as the context lasts."""
        return repeated(self._take_turn, _SECONDS_BETWEEN_TURNS, "what nothing needs could not be collected")

    async def find(self, name: str | None = None) -> Sequence[Registry]:
        """Return the registries, all or the one of a name."""
        return await self._index.list_registries(name)

    async def look(self, found: Sequence[Registry]) -> tuple[list[Registry], list[str]]:
        """Return those of the registries that nobody objects to, and why the others are left."""
        registries, reasons = await divided(self._guards, found, self._tally, Event.FAILED_COLLECTIONS)
        return registries, [
            f"nothing in the bucket {registry.bucket} is collected: {reason}" for registry, reason in reasons.items()
        ]

    async def collect(self) -> Collected:
        """Make a round through all registries but those that somebody objects to."""
        registries, objections = await self.look(await self.find())
        for each in objections:
            _log.warning(each)
        return await self.collect_in(registries)

    async def collect_in(
        self, registries: Sequence[Registry], progress: Callable[[Collected], None] = lambda _: None
    ) -> Collected:
        """Make a round through registries that ``look`` has found; ``progress`` is told what each batch has taken."""
        total = Collected(untagged=await self._index.delete_untagged(registries) if registries else 0)
        self._count(total)
        progress(total)
        for stage in Stage if registries else ():
            after: datetime | None = _EARLIEST
            while after is not None:
                begin = after
                batch = await self._index.collect(stage, registries, self._keeping, begin, _BATCH)
                total += batch.collected
                self._count(batch.collected)
                progress(batch.collected)
                # A whole batch may be somebody else's at the moment, and the next one would be the same.
                is_stuck = batch.after == begin and batch.collected == Collected()
                after = None if is_stuck else batch.after
        if total.blobs:
            self._remover.wake()
        return total

    async def queue(self) -> Queue | None:
        """Return what is due, as of a moment ago; None while the database does not say."""
        now = time.monotonic()
        if now - self._measured_at >= _SECONDS_BETWEEN_MEASURES:
            self._queue = await measured(self._index.measure_queue(self._keeping))
            self._measured_at = now
        return self._queue

    async def estimate(self, registries: Sequence[Registry]) -> Collected:
        """Return what a round through registries would collect now."""
        return await self._index.estimate(registries, self._keeping)

    async def _take_turn(self) -> None:
        try:
            if await self._index.take_turn("collect", _SECONDS_BETWEEN_ROUNDS):
                await self.collect()
        except Exception:
            self._tally(Event.FAILED_COLLECTIONS)
            raise

    def _count(self, collected: Collected) -> None:
        for event, name in _EVENTS.items():
            self._tally(event, getattr(collected, name))
