"""The server as a whole: ports taken, everything prepared, workers started."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.app.assembly import begin_registries, bootstrap_of, chosen_root, embedded_database, opened_storage
from gateway.app.entrances import entrances_of
from gateway.app.worker import Listeners, Place, working
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.limits import fetch_connection_limit
from gateway.db.migrations import migrate
from gateway.db.pool import Database
from gateway.errors import ConfigurationError
from gateway.services.markers import Markers
from gateway.telemetry.logs import configure_logs
from gateway.telemetry.metrics import new_board
from gateway.telemetry.tracing import are_traces_wanted
from gateway.transport.arrivals import BACKLOG
from gateway.transport.children import in_new_loop
from gateway.transport.serving import SECONDS_TO_CUT_OFF, SECONDS_TO_RETIRE
from gateway.transport.workers import Crew, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.config import Address, Settings
    from gateway.services.bootstrap import RootKey
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
    async with AsyncExitStack() as stack:
        listeners = stack.enter_context(all_listening(settings))
        url = settings.database_url or await embedded_database(stack, settings)
        connections, root = await prepare(settings, url, workers=1)
        place = Place(listeners, new_board(), url, connections, slot=0, hurried=hurried)
        await stack.enter_async_context(working(settings, place))
        try:
            yield Running(listeners.address.host, listeners.address.port, root)
        finally:
            hurried.set()


@dataclass(frozen=True, slots=True)
class Start:
    """How a service was started, and the address that it listens on, with a port even where any was asked for."""

    settings: Settings
    listen: Address
    scheme: str


def serve(
    read_settings: Callable[[], Settings],
    show_root: Callable[[Start, str, str | None], None],
    greet: Callable[[Start], None],
) -> None:
    """Run worker processes until SIGINT or SIGTERM; raise ConfigurationError when they cannot start.

    The settings are read again on SIGHUP. ``show_root`` is called, in a child process, if this start created the root
    account, with its access key id, and the secret unless that was chosen by the configuration; ``greet`` once, when
    all workers are ready.
    """
    settings = read_settings()
    configure_logs(settings.log_format)
    # Raises before anything is touched; workers would only find out one by one.
    are_traces_wanted(os.environ)
    allow_many_files()
    with all_listening(settings) as listeners, ExitStack() as stack:
        start = Start(settings, listeners.address, entrances_of(settings)[0].scheme)
        service = _Service(start, read_settings, show_root, listeners, stack)
        # What was imported stays shared with the workers: a collection would write into every page of it.
        gc.collect()
        gc.freeze()
        Supervisor(
            listeners.all,
            read_crew=service.read_crew,
            greet=partial(greet, start),
            seconds_to_retire=SECONDS_TO_RETIRE + SECONDS_TO_CUT_OFF + _SECONDS_TO_CLEAN_UP,
        ).run()


def allow_many_files() -> None:
    """Allow this process and its children as many open files as may be: every connection is one.

    What a shell allows to begin with is made for programs that cannot take large numbers.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems state more than they grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Service:
    """What the supervisor holds for all its workers, whatever configuration they have."""

    def __init__(
        self,
        start: Start,
        read_settings: Callable[[], Settings],
        show_root: Callable[[Start, str, str | None], None],
        listeners: Listeners,
        stack: ExitStack,
    ) -> None:
        self._start = start
        self._read_settings = read_settings
        self._show_root = show_root
        self._listeners = listeners
        self._board = new_board()
        self._stack = stack
        self._postgres: EmbeddedPostgres | None = None

    def read_crew(self) -> Crew:
        """Read the settings, and make a crew of workers that have them; raises ConfigurationError."""
        settings = self._read_settings()
        self._check_change(settings)
        configure_logs(settings.log_format)
        if settings.database_url is None and self._postgres is None:
            # Here, not in a child: workers keep the server by the descriptor that they inherit.
            self._postgres = EmbeddedPostgres.acquire(settings.data_dir)
            self._stack.callback(self._postgres.release)
        return Crew(
            settings.workers,
            partial(self._prepare, settings),
            partial(self._work, settings),
            settings.unready_seconds + settings.drain_seconds + SECONDS_TO_CUT_OFF + _SECONDS_TO_CLEAN_UP,
        )

    def _check_change(self, settings: Settings) -> None:
        old, new = self._start.settings, settings
        embedded = old.database_url is None, new.database_url is None
        for name, changed in (
            ("listen", old.listen != new.listen),
            ("private_listen", old.private_listen != new.private_listen),
            ("metrics_listen", old.metrics_listen != new.metrics_listen),
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
            secret = root.secret_key if root != chosen_root(settings) else None
            self._show_root(self._start, root.access_key_id, secret)
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
        url = self._url(settings)
        place = Place(self._listeners, self._board, url, connections, slot, leash.hurried, self._postgres)
        async with working(settings, place):
            leash.ready()
            await leash.released()


async def prepare(settings: Settings, url: str, *, workers: int) -> tuple[int, RootKey | None]:
    """Make everything ready for workers; raise ConfigurationError for whatever would keep them from working.

    Returns how many connections to the database each may have, and the root account's key if it was created.
    """
    for each in entrances_of(settings):
        each.certificate()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.connected(url, connections=1))
        connections = await _connections_per_worker(database, workers)
        await migrate(database)
        bootstrap = bootstrap_of(settings, database)
        installation = await bootstrap.begin()
        storage = await stack.enter_async_context(opened_storage(settings))
        await begin_registries(settings, database, storage, Markers(storage.buckets, installation))
        return connections, None if settings.open else await bootstrap.create_root(chosen_root(settings))


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


@contextmanager
def all_listening(settings: Settings) -> Iterator[Listeners]:
    """Take all ports: a second start finds out before it touches anything; raises ConfigurationError."""
    with ExitStack() as stack:
        yield Listeners(
            [stack.enter_context(listening(each.listen)) for each in entrances_of(settings)],
            stack.enter_context(listening(settings.metrics_listen)) if settings.metrics_listen else None,
        )


def listening(address: Address) -> socket.socket:
    """Take a port; raises ConfigurationError."""
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
