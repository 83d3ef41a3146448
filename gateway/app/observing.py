"""Who is told of what happens: logs and metrics; and what metrics look at, once a second or when they are read."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.telemetry.access import AccessLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AsyncExitStack

    from gateway.app.assembly import Storage
    from gateway.config import Settings
    from gateway.db.pool import Database
    from gateway.http.api import RegistryApi
    from gateway.ports.observing import Exchange, Lookups
    from gateway.services.catalogue import CatalogueGuard, CatalogueWriter
    from gateway.services.collection import Collector
    from gateway.services.counters import Counters
    from gateway.services.leases import Leases
    from gateway.telemetry.metrics import Metrics


def observer_of(stack: AsyncExitStack, settings: Settings, metrics: Metrics) -> Callable[[Exchange], None]:
    """Make what is told of every request."""
    access_log = AccessLog(settings.log_format)
    stack.callback(access_log.flush)

    def observe(exchange: Exchange) -> None:
        metrics.count_request(exchange)
        access_log.note(exchange)

    return observe


def watch_work(
    metrics: Metrics, apis: Sequence[RegistryApi], leases: Leases, counters: Counters, guard: CatalogueGuard
) -> None:
    """Watch requests, uploads, pulls that wait to be written, and what is known of buckets."""
    metrics.watch("slipway_requests_in_flight", lambda: sum(api.in_flight for api in apis))
    metrics.watch("slipway_uploads_in_flight", lambda: leases.held)
    metrics.watch("slipway_pulls_unwritten", lambda: counters.unwritten)
    metrics.watch("slipway_pulls_unwritten_age_seconds", counters.unwritten_seconds)
    metrics.watch("slipway_registries_ahead", lambda: guard.ahead)


def watch_stores(metrics: Metrics, database: Database, storage: Storage) -> None:
    """Watch the pool of connections, and the memory for uploads."""
    metrics.watch("slipway_database_connections", lambda: database.used, "used")
    metrics.watch("slipway_database_connections", lambda: database.idle, "idle")
    metrics.watch("slipway_database_connections_limit", lambda: database.limit)
    metrics.watch("slipway_database_waiting", lambda: database.waiting)
    pools = storage.buffers
    metrics.watch("slipway_upload_buffers_used_bytes", lambda: sum(pool.lent for pool in pools))
    metrics.watch("slipway_upload_buffers_limit_bytes", lambda: sum(pool.capacity for pool in pools))
    metrics.watch("slipway_upload_buffers_waiting", lambda: sum(pool.waiting for pool in pools))


def follow_caches(metrics: Metrics, caches: Mapping[str, Lookups]) -> None:
    """Follow what is found in memory and what is not."""
    for name, lookups in caches.items():
        for outcome, attribute in (("hit", "hits"), ("miss", "misses")):
            metrics.follow("slipway_cache_lookups", partial(attrgetter(attribute), lookups), name, outcome)


async def read_page(metrics: Metrics, collector: Collector, catalogue: CatalogueWriter) -> bytes:
    """Return the page of metrics, with what the database says is due; what it does not say is left out."""
    readings: dict[str, dict[tuple[str, ...], float]] = {}
    if (queue := await collector.queue()) is not None:
        lengths = {"manifest": queue.manifests, "repository_blob": queue.repository_blobs, "object": queue.objects}
        readings["slipway_collection_queue"] = {(kind,): length for kind, length in lengths.items()}
        readings["slipway_collection_oldest_seconds"] = {(): queue.oldest_seconds}
    if (backlog := await catalogue.measure()) is not None:
        readings["slipway_catalogue_unwritten"] = {(): backlog.changes}
        readings["slipway_catalogue_unwritten_age_seconds"] = {(): backlog.oldest_seconds}
    return metrics.page(readings)
