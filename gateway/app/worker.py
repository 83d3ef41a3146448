"""A worker: everything that answers requests in one process."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.admin.dispatch import Management
from gateway.admin.web import ManagementApi
from gateway.app.assembly import (
    Contents,
    access_of,
    bootstrap_of,
    catalogue_of,
    counters_of,
    management_of,
    opened_storage,
    readiness_of,
    registries_of,
    secrets_of,
)
from gateway.app.cleaning import cleaning_of, keeping_of, tally_of
from gateway.app.entrances import entrances_of, hosts_of, terms_of
from gateway.app.observing import follow_caches, observer_of, read_page, watch_stores, watch_work
from gateway.background import repeated
from gateway.config import Address
from gateway.console.web import Console
from gateway.db.keys import Keys
from gateway.db.owners import Owner
from gateway.db.pool import Database
from gateway.db.registries import RegistryRows
from gateway.db.uploads import CHANNEL, Uploads
from gateway.http.api import RegistryApi, refusal
from gateway.http.calls import Services
from gateway.http.health import Health
from gateway.http.metrics import MetricsPage
from gateway.http.sites import HostSites
from gateway.model.endpoints import Delivery
from gateway.ports.access import CHANGES
from gateway.services.directory import Directory
from gateway.services.fresh import Fresh
from gateway.services.leases import Leases
from gateway.services.markers import Markers
from gateway.services.pull import Pull
from gateway.services.push import Push
from gateway.telemetry.calls import StorageCalls
from gateway.telemetry.metrics import CONTENT_TYPE, Metrics
from gateway.telemetry.tracing import opened_spans
from gateway.transport.serving import Door, Farewell, serving
from gateway.transport.tally import count_in
from gateway.transport.trial import try_ways

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence

    from gateway.config import Settings
    from gateway.db.embedded import EmbeddedPostgres
    from gateway.ports.observing import Spans
    from gateway.telemetry.board import Board

_SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True, slots=True)
class Listeners:
    """Sockets that all workers share."""

    entrances: Sequence[socket.socket]
    """One for each of ``entrances_of``."""
    metrics: socket.socket | None

    @property
    def all(self) -> Sequence[socket.socket]:
        """Every one of them."""
        return [*self.entrances, *([self.metrics] if self.metrics else [])]

    @property
    def address(self) -> Address:
        """Where the service is found."""
        return Address(*self.entrances[0].getsockname()[:2])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works."""

    listeners: Listeners
    board: Board
    database_url: str
    connections: int
    """How many connections to the database it may open."""
    slot: int
    """Tells it from the other workers at this address."""
    hurried: asyncio.Event
    """Tells that the whole service ends, not only this worker."""
    postgres: EmbeddedPostgres | None = None
    """The embedded server, if that is the database; this process is one of its users."""


@asynccontextmanager
async def working(settings: Settings, place: Place) -> AsyncIterator[None]:
    """Answer requests in this loop as long as the context lasts, and finish those that are running then."""
    async with AsyncExitStack() as stack:
        metrics = Metrics(place.board, place.slot)
        count_in(metrics.transport)
        await try_ways()
        spans = await stack.enter_async_context(opened_spans(os.environ))
        database = await _connected(stack, place, spans)
        installation = await bootstrap_of(settings, database).begin()
        storage = await stack.enter_async_context(opened_storage(settings, StorageCalls(metrics, spans)))
        directory = Directory(RegistryRows(database))
        keys = Fresh(Keys(database).fetch_key)
        uploads = Uploads(database, Owner.here(f"{place.listeners.address}/{place.slot}"))
        await uploads.release_leases_of_predecessor()
        leases = Leases(uploads)
        await stack.enter_async_context(leases.renewing())
        markers = Markers(storage.buckets, installation)
        catalogue = catalogue_of(database, storage, markers)
        keeping = keeping_of(settings)
        cleaning = cleaning_of(database, storage, markers, catalogue.guard, keeping, tally_of(metrics))
        remover = cleaning.remover

        def changed(_: str) -> None:
            directory.forget()
            keys.forget()
            # A registry that was deleted has left uploads behind.
            remover.wake()

        notifications = await database.listen({CHANNEL: leases.heard, CHANGES: changed})
        stack.push_async_callback(notifications.aclose)
        await stack.enter_async_context(cleaning.running())
        await stack.enter_async_context(catalogue.running())
        secrets = await secrets_of(settings, database)
        contents = Contents.of(database)
        registries = registries_of(settings, database, storage, markers, catalogue)
        management = management_of(settings, database, storage, registries, secrets, contents)
        await stack.enter_async_context(management.audit.retaining())
        counters = counters_of(settings, database, installation)
        await stack.enter_async_context(counters.running())
        services = Services(
            push=Push(uploads, contents.blobs, storage.blobs, leases, remover, largest_blob=settings.largest_blob),
            pull=Pull(contents.blobs, storage.blobs, Delivery(settings.blob_delivery), grace=keeping.grace),
            manifests=contents.manifests,
            counters=counters,
            access=None if settings.open else await access_of(stack, settings, database, keys, installation, secrets),
        )
        health = Health(readiness_of(database, storage, place.hurried))
        offices = ManagementApi(Management(management), services.access), Console(management, secrets, services.access)
        observe = observer_of(stack, settings, metrics)
        apis = [
            RegistryApi(health, HostSites(hosts_of(settings, each), directory), services, *offices, observe, spans)
            for each in entrances_of(settings)
        ]
        page = MetricsPage(health, partial(read_page, metrics, cleaning.collector, catalogue), CONTENT_TYPE)
        watch_work(metrics, apis, leases, counters, catalogue.guard)
        watch_stores(metrics, database, storage)
        caches = {"manifests": contents.manifests.lookups, "registries": directory.lookups, "keys": keys.lookups}
        follow_caches(metrics, caches | ({"tokens": services.access.token_lookups} if services.access else {}))
        await stack.enter_async_context(_serving(settings, place, metrics, apis, page))
        yield


async def _connected(stack: AsyncExitStack, place: Place, spans: Spans | None) -> Database:
    """Connect with the database, and start it again whenever it is ours and has ended."""
    database = await stack.enter_async_context(
        Database.connected(place.database_url, connections=place.connections, spans=spans)
    )
    if place.postgres is not None:
        revive = partial(asyncio.to_thread, place.postgres.revive)
        await stack.enter_async_context(repeated(revive, _SECONDS_BETWEEN_LOOKS, "the database is away"))
    return database


@asynccontextmanager
async def _serving(
    settings: Settings, place: Place, metrics: Metrics, apis: Sequence[RegistryApi], page: MetricsPage
) -> AsyncIterator[None]:
    """Serve requests, and metrics where they are wanted; what metrics look at outlives this."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(metrics.sampling())
        doors = [
            Door(listener, api, terms_of(settings, each), each.certificate())
            for listener, api, each in zip(place.listeners.entrances, apis, entrances_of(settings), strict=True)
        ]
        if place.listeners.metrics is not None:
            doors.append(Door(place.listeners.metrics, page))
        farewell = Farewell(settings.unready_seconds, settings.drain_seconds)
        await stack.enter_async_context(serving(doors, refusal, place.hurried, farewell))
        yield
