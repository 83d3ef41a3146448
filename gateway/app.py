"""The composition root: the only module that sees every room."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from gateway.config import Address
from gateway.db.blobs import Blobs
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.installation import ensure_installation
from gateway.db.limits import fetch_connection_limit
from gateway.db.manifests import Manifests as ManifestRows
from gateway.db.migrations import migrate
from gateway.db.objects import Objects
from gateway.db.owners import Owner
from gateway.db.pool import Database
from gateway.db.pulls import PullTotals
from gateway.db.registries import ensure_default_registry
from gateway.db.uploads import CHANNEL, Uploads
from gateway.errors import ConfigurationError
from gateway.http.api import RegistryApi, refusal
from gateway.http.calls import Services
from gateway.model.pulls import Exclusions
from gateway.services.counters import Counters
from gateway.services.leases import Leases
from gateway.services.manifests import Manifests
from gateway.services.pull import Pull
from gateway.services.push import Push
from gateway.services.removal import Remover
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Settings, S3Storage
from gateway.storage.shelf import FileShelf
from gateway.telemetry.access import AccessLog
from gateway.transport.children import in_new_loop
from gateway.transport.serving import BACKLOG, SECONDS_TO_FINISH, SECONDS_TO_RETIRE, serving
from gateway.transport.trial import try_ways
from gateway.transport.workers import Crew, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config import Settings
    from gateway.ports.storage import BlobStorage
    from gateway.transport.children import Leash

_MOST_CONNECTIONS = 8
# One listens, two look things up, and one is there for everything else.
_FEWEST_CONNECTIONS = 4
_SECONDS_TO_CLEAN_UP = 15.0
_DEFAULT_BUCKET = "default"


@dataclass(frozen=True, slots=True)
class Running:
    """A registry that answers requests."""

    host: str
    port: int


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run a whole registry in this loop as long as the context lasts; raise ConfigurationError when it cannot start."""
    hurried = asyncio.Event()
    hurried.set()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listening(settings))
        url = settings.database_url or await _embedded_database(stack, settings)
        connections = await prepare(settings, url, workers=1)
        place = Place(listener, url, connections, slot=0, hurried=hurried)
        await stack.enter_async_context(working(settings, place))
        yield Running(*listener.getsockname()[:2])


def serve(read_settings: Callable[[], Settings], greet: Callable[[Address], None]) -> None:
    """Run worker processes until SIGINT or SIGTERM; raise ConfigurationError when they cannot start.

    The settings are read again on SIGHUP; ``greet`` is called once, when all workers are ready.
    """
    settings = read_settings()
    with listening(settings) as listener, ExitStack() as stack:
        service = _Service(settings, read_settings, listener, stack)
        address = Address(*listener.getsockname()[:2])
        # What was imported stays shared with the workers: a collection would write into every page of it.
        gc.collect()
        gc.freeze()
        Supervisor(
            listener,
            read_crew=service.read_crew,
            greet=partial(greet, address),
            seconds_to_end=SECONDS_TO_FINISH + _SECONDS_TO_CLEAN_UP,
            seconds_to_retire=SECONDS_TO_RETIRE + _SECONDS_TO_CLEAN_UP,
        ).run()


class _Service:
    """What the supervisor holds for all its workers, whatever configuration they have."""

    def __init__(
        self, settings: Settings, read_settings: Callable[[], Settings], listener: socket.socket, stack: ExitStack
    ) -> None:
        self._settings = settings
        self._read_settings = read_settings
        self._listener = listener
        self._stack = stack
        self._postgres: EmbeddedPostgres | None = None

    def read_crew(self) -> Crew:
        """Read the settings, and make a crew of workers that have them; raises ConfigurationError."""
        settings = self._read_settings()
        self._check_change(settings)
        if settings.database_url is None and self._postgres is None:
            # Here, not in a child: workers keep the server by the descriptor that they inherit.
            self._postgres = EmbeddedPostgres.acquire(settings.data_dir)
            self._stack.callback(self._postgres.release)
        return Crew(settings.workers, partial(self._prepare, settings), partial(self._work, settings))

    def _check_change(self, settings: Settings) -> None:
        old, new = self._settings, settings
        embedded = old.database_url is None, new.database_url is None
        for name, changed in (
            ("listen", old.listen != new.listen),
            ("data_dir", old.data_dir != new.data_dir),
            ("database_url", embedded[0] != embedded[1]),
        ):
            if changed:
                raise ConfigurationError(f"{name} can be changed by a new start only")

    def _url(self, settings: Settings) -> str:
        if settings.database_url is not None:
            return settings.database_url
        assert self._postgres is not None
        return self._postgres.dsn

    def _prepare(self, settings: Settings) -> str:
        return str(in_new_loop(prepare(settings, self._url(settings), workers=settings.workers)))

    def _work(self, settings: Settings, slot: int, prepared: str, leash: Leash) -> None:
        try:
            in_new_loop(self._work_until_released(settings, slot, int(prepared), leash))
        finally:
            # The last to leave stops the server, which is a worker when the supervisor was killed.
            if self._postgres is not None:
                self._postgres.release()

    async def _work_until_released(self, settings: Settings, slot: int, connections: int, leash: Leash) -> None:
        leash.watch()
        place = Place(self._listener, self._url(settings), connections, slot, leash.hurried)
        async with working(settings, place):
            leash.ready()
            await leash.released()


async def prepare(settings: Settings, url: str, *, workers: int) -> int:
    """Make everything ready for workers and return how many connections to the database each may have.

    Raises ConfigurationError for whatever would keep them from working.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.connected(url, connections=1))
        connections = await _connections_per_worker(database, workers)
        await migrate(database)
        storage = await _storage(stack, settings)
        await storage.check_bucket(_bucket(settings))
        await ensure_default_registry(database, _storage_name(settings), _bucket(settings))
        return connections


async def _connections_per_worker(database: Database, workers: int) -> int:
    """Divide what the database allows among the workers; while they are replaced, there is one more."""
    allowed = await fetch_connection_limit(database)
    share = min(_MOST_CONNECTIONS, allowed // (workers + 1))
    if share < _FEWEST_CONNECTIONS:
        raise ConfigurationError(
            f"the database allows {allowed} connections, and {workers} workers need at least "
            f"{(workers + 1) * _FEWEST_CONNECTIONS}: lower SLIPWAY_WORKERS or raise max_connections of Postgres"
        )
    return share


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works."""

    listener: socket.socket
    database_url: str
    connections: int
    """How many connections to the database it may open."""
    slot: int
    """Tells it from the other workers at this address."""
    hurried: asyncio.Event
    """Tells that the whole service ends, not only this worker."""


@asynccontextmanager
async def working(settings: Settings, place: Place) -> AsyncIterator[None]:
    """Answer requests in this loop as long as the context lasts, and finish those that are running then."""
    async with AsyncExitStack() as stack:
        await try_ways()
        database = await stack.enter_async_context(
            Database.connected(place.database_url, connections=place.connections)
        )
        storage = await _storage(stack, settings)
        registry = await ensure_default_registry(database, _storage_name(settings), _bucket(settings))
        address = Address(*place.listener.getsockname()[:2])
        uploads = Uploads(database, Owner.here(f"{address}/{place.slot}"))
        await uploads.release_leases_of_predecessor()
        leases = Leases(uploads)
        await stack.enter_async_context(leases.renewing())
        notifications = await database.listen(CHANNEL, leases.heard)
        stack.push_async_callback(notifications.aclose)
        remover = Remover(Objects(database), storage)
        await stack.enter_async_context(remover.running())
        installation = UUID(await ensure_installation(database))
        counters = Counters(
            FileShelf(settings.runtime_dir or settings.data_dir / "run", installation),
            PullTotals(database),
            Exclusions.of(settings.uncounted_keys, settings.uncounted_agents),
            hourly_days=settings.hourly_days,
        )
        await stack.enter_async_context(counters.running())
        blobs = Blobs(database)
        services = Services(
            push=Push(uploads, blobs, storage, leases, remover),
            pull=Pull(blobs, storage, redirects=settings.blob_delivery == "redirect"),
            manifests=Manifests(ManifestRows(database)),
            counters=counters,
        )
        access_log = AccessLog()
        stack.callback(access_log.flush)
        api = RegistryApi(registry, services, access_log.note)
        await stack.enter_async_context(serving(api, refusal, place.listener, place.hurried))
        yield


def listening(settings: Settings) -> socket.socket:
    """Take the port first: a second start finds out before it touches anything."""
    address = settings.listen
    try:
        family, kind, _, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(target, family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: {_reason(error)}") from error
    assert kind == socket.SOCK_STREAM
    listener.setblocking(False)
    return listener


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses this port; stop it or choose another port with --listen"
    return error.strerror or str(error)


async def _embedded_database(stack: AsyncExitStack, settings: Settings) -> str:
    """Start or join the Postgres in the data directory, and leave it in the end."""
    postgres = await asyncio.to_thread(EmbeddedPostgres.acquire, settings.data_dir)
    stack.push_async_callback(asyncio.to_thread, postgres.release)
    return postgres.dsn


async def _storage(stack: AsyncExitStack, settings: Settings) -> BlobStorage:
    if settings.storage == "filesystem":
        return FilesystemStorage(settings.data_dir / "buckets")
    s3 = S3Settings(
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    return await stack.enter_async_context(S3Storage(s3))


def _storage_name(settings: Settings) -> str:
    """Return what tells one storage from another in the database."""
    if settings.storage == "filesystem":
        return f"filesystem:{(settings.data_dir / 'buckets').resolve()}"
    return f"s3:{settings.s3_endpoint_url or settings.s3_region}"


def _bucket(settings: Settings) -> str:
    return settings.s3_bucket or _DEFAULT_BUCKET
