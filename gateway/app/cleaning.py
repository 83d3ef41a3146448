"""What takes away what nobody needs, put together for the server and for commands."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.db.collection import Collection
from gateway.db.objects import Objects
from gateway.db.sweeping import Sweeping
from gateway.model.collection import Event, Keeping
from gateway.services.collection import Collector
from gateway.services.removal import Remover
from gateway.services.sweeping import Sweeper
from gateway.services.tallies import uncounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.app.assembly import Storage
    from gateway.config import Settings
    from gateway.db.pool import Database
    from gateway.ports.collection import Guard, Tally
    from gateway.services.markers import Markers
    from gateway.telemetry.metrics import Metrics

# How metrics call what is counted.
_COUNTED = {
    Event.UPLOADS: ("slipway_collected", "upload"),
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

    async def page(self, metrics: Metrics) -> bytes:
        """Return the page of metrics, with what is due."""
        queue = await self.collector.queue()
        if queue is None:
            return metrics.page()
        lengths = {"manifest": queue.manifests, "repository_blob": queue.repository_blobs, "object": queue.objects}
        return metrics.page(
            {
                "slipway_collection_queue": {(kind,): float(length) for kind, length in lengths.items()},
                "slipway_collection_oldest_seconds": {(): queue.oldest_seconds},
            }
        )


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
