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

from gateway.assembly import begin_registries, opened_storage
from gateway.config import Address
from gateway.db.audit import AuditLog
from gateway.db.blobs import Blobs
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.installation import Installation, fetch_installation
from gateway.db.keys import Keys
from gateway.db.limits import fetch_connection_limit
from gateway.db.manifests import Manifests as ManifestRows
from gateway.db.migrations import migrate
from gateway.db.objects import Objects
from gateway.db.owners import Owner
from gateway.db.pool import Database
from gateway.db.registries import RegistryRows
from gateway.db.sealed import SealedValues
from gateway.db.uploads import CHANNEL, Uploads
from gateway.errors import ConfigurationError
from gateway.examination import examine_all, examine_settings
from gateway.http.api import RegistryApi, refusal
from gateway.http.calls import Services
from gateway.http.sites import Hosts, HostSites
from gateway.model.endpoints import Delivery
from gateway.ports.access import CHANGES
from gateway.services.access import Access
from gateway.services.bootstrap import Bootstrap, RootKey
from gateway.services.defence import Defence
from gateway.services.directory import Directory
from gateway.services.fresh import Fresh
from gateway.services.keyring import Keyring
from gateway.services.leases import Leases
from gateway.services.manifests import Manifests
from gateway.services.markers import Markers
from gateway.services.pull import Pull
from gateway.services.push import Push
from gateway.services.removal import Remover
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets
from gateway.services.tokens import Tokens
from gateway.services.uses import Uses
from gateway.telemetry.access import AccessLog
from gateway.transport.children import in_new_loop
from gateway.transport.serving import BACKLOG, SECONDS_TO_FINISH, SECONDS_TO_RETIRE, serving
from gateway.transport.trial import try_ways
from gateway.transport.workers import Crew, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config import Settings
    from gateway.examination import Examined
    from gateway.model.access import AccessKey
    from gateway.transport.children import Leash

_MOST_CONNECTIONS = 8
# One listens, two look things up, and one is there for everything else.
_FEWEST_CONNECTIONS = 4
_SECONDS_TO_CLEAN_UP = 15.0


@dataclass(frozen=True, slots=True)
class Running:
    """A registry that answers requests."""

    host: str
    port: int
    root: RootKey | None
    """The root account's key, if this start created it."""


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run a whole registry in this loop as long as the context lasts; raise ConfigurationError when it cannot start."""
    hurried = asyncio.Event()
    hurried.set()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listening(settings))
        url = settings.database_url or await _embedded_database(stack, settings)
        connections, root = await prepare(settings, url, workers=1)
        place = Place(listener, url, connections, slot=0, hurried=hurried)
        await stack.enter_async_context(working(settings, place))
        host, port = listener.getsockname()[:2]
        yield Running(host, port, root)


def serve(
    read_settings: Callable[[], Settings],
    show_root: Callable[[Address, str, str | None], None],
    greet: Callable[[Address], None],
) -> None:
    """Run worker processes until SIGINT or SIGTERM; raise ConfigurationError when they cannot start.

    The settings are read again on SIGHUP. ``show_root`` is called, in a child process, if this start created the root
    account, with its access key id, and the secret unless that was chosen by the configuration; ``greet`` once, when
    all workers are ready.
    """
    settings = read_settings()
    with listening(settings) as listener, ExitStack() as stack:
        service = _Service(settings, read_settings, show_root, listener, stack)
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
        self,
        settings: Settings,
        read_settings: Callable[[], Settings],
        show_root: Callable[[Address, str, str | None], None],
        listener: socket.socket,
        stack: ExitStack,
    ) -> None:
        self._settings = settings
        self._read_settings = read_settings
        self._show_root = show_root
        self._listener = listener
        self._address = Address(*listener.getsockname()[:2])
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
        connections, root = in_new_loop(prepare(settings, self._url(settings), workers=settings.workers))
        if root is not None:
            # At once, since nobody can show it again. Who has chosen it knows it: it must not lie in a log.
            secret = root.secret_key if root != _chosen_root(settings) else None
            self._show_root(self._address, root.access_key_id, secret)
        return str(connections)

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


async def prepare(settings: Settings, url: str, *, workers: int) -> tuple[int, RootKey | None]:
    """Make everything ready for workers; raise ConfigurationError for whatever would keep them from working.

    Returns how many connections to the database each may have, and the root account's key if it was created.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.connected(url, connections=1))
        connections = await _connections_per_worker(database, workers)
        await migrate(database)
        bootstrap = _bootstrap(settings, database)
        installation = await bootstrap.begin()
        storage = await stack.enter_async_context(opened_storage(settings))
        await begin_registries(settings, database, storage, Markers(storage.buckets, installation))
        return connections, None if settings.open else await bootstrap.create_root(_chosen_root(settings))


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
        installation = await _bootstrap(settings, database).begin()
        storage = await stack.enter_async_context(opened_storage(settings))
        directory = Directory(RegistryRows(database))
        keys = Fresh(Keys(database).fetch_key)
        address = Address(*place.listener.getsockname()[:2])
        uploads = Uploads(database, Owner.here(f"{address}/{place.slot}"))
        await uploads.release_leases_of_predecessor()
        leases = Leases(uploads)
        await stack.enter_async_context(leases.renewing())
        markers = Markers(storage.buckets, installation)
        remover = Remover(Objects(database, storage.buckets.name), storage.blobs, markers)

        def changed(_: str) -> None:
            directory.forget()
            keys.forget()
            # A registry that was deleted has left uploads behind.
            remover.wake()

        notifications = await database.listen({CHANNEL: leases.heard, CHANGES: changed})
        stack.push_async_callback(notifications.aclose)
        await stack.enter_async_context(remover.running())
        blobs = Blobs(database)
        services = Services(
            push=Push(uploads, blobs, storage.blobs, leases, remover),
            pull=Pull(blobs, storage.blobs, Delivery(settings.blob_delivery)),
            manifests=Manifests(ManifestRows(database)),
            access=None if settings.open else await _access(stack, settings, database, keys),
        )
        access_log = AccessLog()
        stack.callback(access_log.flush)
        api = RegistryApi(HostSites(_hosts(settings), directory), services, access_log.note)
        await stack.enter_async_context(serving(api, refusal, place.listener, place.hurried))
        yield


def _bootstrap(settings: Settings, database: Database) -> Bootstrap:
    return Bootstrap(Installation(database), SealedValues(database), Sealer(settings.encryption_key))


def _chosen_root(settings: Settings) -> RootKey | None:
    if settings.root_access_key_id is None or settings.root_secret_key is None:
        return None
    return RootKey(settings.root_access_key_id, settings.root_secret_key)


def _hosts(settings: Settings) -> Hosts:
    return Hosts(
        public_domain=settings.public_domain,
        private_domain=settings.private_domain,
        console=settings.console_host,
        names=frozenset(settings.host_names),
        trusted_proxies=settings.trusted_proxies,
        public_scheme=settings.public_scheme,
        private_scheme=settings.private_scheme,
    )


async def _access(
    stack: AsyncExitStack, settings: Settings, database: Database, keys: Fresh[str, AccessKey | None]
) -> Access:
    """Make what judges credentials, with its work in the background."""
    installation = await _bootstrap(settings, database).begin()
    sealed, sealer = SealedValues(database), Sealer(settings.encryption_key)
    keyring = Keyring(sealed, sealer, settings.token_seconds)
    await keyring.load()
    await stack.enter_async_context(keyring.running())
    secrets = Secrets(sealed, sealer)
    await secrets.load()
    defence = Defence(AuditLog(database))
    await stack.enter_async_context(defence.reporting())
    uses = Uses(Keys(database))
    await stack.enter_async_context(uses.writing())
    return Access(keys, secrets, Tokens(keyring, installation, settings.token_seconds), defence, uses)


async def examine(settings: Settings) -> list[Examined]:
    """Look at everything that could keep the installation from working; raises ConfigurationError if that fails."""
    async with AsyncExitStack() as stack:
        if settings.database_url is None and not EmbeddedPostgres.exists(settings.data_dir):
            raise ConfigurationError(
                f"there is no installation in {settings.data_dir}: start it once with `slipway serve`, or say where it "
                "is with --data-dir or --config"
            )
        url = settings.database_url or await _embedded_database(stack, settings)
        database = await stack.enter_async_context(Database.connected(url, connections=2))
        storage = await stack.enter_async_context(opened_storage(settings))
        installation = await fetch_installation(database)
        markers = Markers(storage.buckets, installation) if installation else None
        return [examine_settings(settings), *await examine_all(settings, database, storage, markers)]


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
