"""What takes away what nobody needs, put together for the server and for commands."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.db.collection import Collection
from gateway.db.objects import Objects
from gateway.db.sweeping import Sweeping
from gateway.errors import NothingKnown
from gateway.model.collection import Cleaned, Event, Keeping
from gateway.services.collection import Collector
from gateway.services.removal import Remover
from gateway.services.sweeping import Sweeper
from gateway.services.tallies import uncounted

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.app.assembly import Storage
    from gateway.config import Settings
    from gateway.db.explaining import Explaining
    from gateway.db.pool import Database
    from gateway.model.collection import Collected, Reason
    from gateway.model.digest import Digest
    from gateway.ports.collection import Guard, Tally
    from gateway.ports.metadata import Registry
    from gateway.services.markers import Markers
    from gateway.telemetry.metrics import Metrics

# How metrics call what is counted.
_COUNTED = {
    Event.UPLOADS: ("slipway_collected", "upload"),
    Event.UNTAGGED: ("slipway_collected", "untagged"),
    Event.MANIFESTS: ("slipway_collected", "manifest"),
    Event.TAGS: ("slipway_collected", "tag"),
    Event.IMAGES: ("slipway_collected", "image"),
    Event.REPOSITORY_BLOBS: ("slipway_collected", "repository_blob"),
    Event.BLOBS: ("slipway_collected", "blob"),
    Event.REMOVED_OBJECTS: ("slipway_removed_objects",),
    Event.FREED_BYTES: ("slipway_freed_bytes",),
    Event.FAILED_SWEEPS: ("slipway_cleaning_errors", "sweep"),
    Event.FAILED_COLLECTIONS: ("slipway_cleaning_errors", "collect"),
    Event.FAILED_REMOVALS: ("slipway_cleaning_errors", "remove"),
}


@dataclass(frozen=True, slots=True)
class Cleaning:
    """It takes from the database, and then from the storage."""

    remover: Remover
    sweeper: Sweeper
    collector: Collector

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Clean up in the background as long as the context lasts."""
        async with self.remover.running(), self.sweeper.running(), self.collector.running():
            yield


class Cleaner:
    """Cleans up at a command's wish; raises NothingKnown for a registry that there is not."""

    def __init__(self, cleaning: Cleaning, explaining: Explaining, counted: Counter[Event]) -> None:
        """Take what cleans, and where it counts what it does."""
        self._cleaning = cleaning
        self._explaining = explaining
        self._counted = counted

    async def estimate(self, registry: str | None) -> Cleaned:
        """Return what a round would collect."""
        registries, objections = await self._cleaning.collector.look(await self._find(registry))
        collected = await self._cleaning.collector.estimate(registries)
        return Cleaned(await self._cleaning.sweeper.count(registries), collected, objections=tuple(objections))

    async def clean(self, registry: str | None, progress: Callable[[int], None]) -> Cleaned:
        """Sweep, make a round and remove objects; ``progress`` is told how many rows have gone."""
        registries, objections = await self._cleaning.collector.look(await self._find(registry))
        await self._cleaning.sweeper.sweep(None if registry is None else registries)

        def advance(batch: Collected) -> None:
            progress(batch.untagged + batch.manifests + batch.tags + batch.repository_blobs + batch.images)

        collected = await self._cleaning.collector.collect_in(registries, advance)
        await self._cleaning.remover.remove_all()
        count = self._counted
        failed = (Event.FAILED_SWEEPS, Event.FAILED_COLLECTIONS, Event.FAILED_REMOVALS)
        return Cleaned(
            uploads=count[Event.UPLOADS],
            collected=collected,
            removed_objects=count[Event.REMOVED_OBJECTS],
            freed_bytes=count[Event.FREED_BYTES],
            failures=sum(count[each] for each in failed),
            objections=tuple(objections),
        )

    async def explain(self, registry: str | None, digest: Digest) -> list[Reason]:
        """Return what keeps a digest, also where something keeps the registry from being collected."""
        return await self._explaining.explain(await self._find(registry), digest)

    async def _find(self, registry: str | None) -> Sequence[Registry]:
        found = await self._cleaning.collector.find(registry)
        if registry is not None and not found:
            raise NothingKnown(f"there is no registry {registry}")
        return found


def cleaning_of(
    database: Database,
    storage: Storage,
    markers: Markers,
    guard: Guard,
    keeping: Keeping,
    tally: Tally = uncounted,
) -> Cleaning:
    """Make it; ``guard`` may object to removals, and so may the markers."""
    name = storage.buckets.name
    remover = Remover(Objects(database, name), storage.blobs, markers, (guard,), tally)
    return Cleaning(
        remover,
        Sweeper(Sweeping(database, name), remover, (guard,), tally),
        # Objects of a registry that was taken over are forgotten by the remover; here its rows are left alone as well.
        Collector(Collection(database, name), remover, keeping, (markers, guard), tally),
    )


def keeping_of(settings: Settings) -> Keeping:
    """Say for how long what nothing needs is kept."""
    return Keeping(grace=timedelta(hours=settings.grace_hours), restore=timedelta(days=settings.restore_days))


def tally_of(metrics: Metrics) -> Tally:
    """Make what counts what is cleaned up."""

    def tally(event: Event, number: int = 1, /) -> None:
        metrics.count(*_COUNTED[event], amount=number)

    return tally
