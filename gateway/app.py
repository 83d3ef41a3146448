"""The composition root: the only module that sees every room."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.config import Address
from gateway.db.blobs import Blobs
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.manifests import Manifests as ManifestRows
from gateway.db.migrations import migrate
from gateway.db.objects import Objects
from gateway.db.owners import Owner
from gateway.db.pool import Database
from gateway.db.registries import ensure_default_registry
from gateway.db.uploads import CHANNEL, Uploads
from gateway.errors import ConfigurationError
from gateway.http.api import RegistryApi, refusal
from gateway.http.calls import Services
from gateway.services.leases import Leases
from gateway.services.manifests import Manifests
from gateway.services.pull import Pull
from gateway.services.push import Push
from gateway.services.removal import Remover
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Settings, S3Storage
from gateway.telemetry.access import AccessLog
from gateway.transport.server import server_runner
from gateway.transport.trial import try_ways

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.config import Settings
    from gateway.ports.storage import BlobStorage

_log = logging.getLogger(__name__)

_CONNECTIONS = 8
_BACKLOG = 1024
_SECONDS_TO_FINISH = 30.0
_DEFAULT_BUCKET = "default"


@dataclass(frozen=True, slots=True)
class Running:
    """A registry that answers requests."""

    host: str
    port: int


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run a registry as long as the context lasts; raise ConfigurationError when it cannot start."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_listening(settings))
        await try_ways()
        url = settings.database_url or await _embedded_database(stack, settings)
        database = await stack.enter_async_context(Database.connected(url, connections=_CONNECTIONS))
        await migrate(database)
        storage = await _storage(stack, settings)
        bucket = settings.s3_bucket or _DEFAULT_BUCKET
        await storage.check_bucket(bucket)
        registry = await ensure_default_registry(database, _storage_name(settings), bucket)
        uploads = Uploads(database, Owner.here(str(Address(*listener.getsockname()[:2]))))
        await uploads.release_leases_of_predecessor()
        leases = Leases(uploads)
        await stack.enter_async_context(leases.renewing())
        notifications = await database.listen(CHANNEL, leases.heard)
        stack.push_async_callback(notifications.aclose)
        remover = Remover(Objects(database), storage)
        await stack.enter_async_context(remover.running())
        blobs = Blobs(database)
        services = Services(
            push=Push(uploads, blobs, storage, leases, remover),
            pull=Pull(blobs, storage, redirects=settings.blob_delivery == "redirect"),
            manifests=Manifests(ManifestRows(database)),
        )
        access_log = AccessLog()
        stack.callback(access_log.flush)
        await stack.enter_async_context(_serving(RegistryApi(registry, services, access_log.note), listener))
        yield Running(*listener.getsockname()[:2])


def _listening(settings: Settings) -> socket.socket:
    """Take the port first: a second start finds out before it touches anything."""
    address = settings.listen
    try:
        family, kind, _, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(target, family=family, backlog=_BACKLOG)
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


@asynccontextmanager
async def _serving(api: RegistryApi, listener: socket.socket) -> AsyncIterator[None]:
    """Accept connections; in the end stop accepting and let running requests finish."""
    runner = server_runner(api, refusal)
    await runner.setup()
    site = web.SockSite(runner, listener)
    await site.start()
    try:
        yield
    finally:
        await site.stop()
        await _finished(api)
        await runner.cleanup()


async def _finished(api: RegistryApi) -> None:
    """Wait until no request is running, within a limit; only then may aiohttp close connections."""
    try:
        await asyncio.wait_for(api.idle.wait(), _SECONDS_TO_FINISH)
    except TimeoutError:
        _log.warning("%d requests did not finish in %.0f seconds and are cut off", api.in_flight, _SECONDS_TO_FINISH)
