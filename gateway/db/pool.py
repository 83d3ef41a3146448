"""The connection pool, and the line at which the driver's errors become ours."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from gateway.db.coalesce import COLLISIONS, SYSTEM, Lanes, discard
from gateway.db.statements import name_of
from gateway.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncpg.connection import LoggedQuery
    from asyncpg.pool import PoolConnectionProxy

    from gateway.ports.observing import Spans

    Connection = PoolConnectionProxy[asyncpg.Record]

T = TypeVar("T")

_SECONDS_PER_STATEMENT = 30.0
_SECONDS_TO_CONNECT = 10.0
_SECONDS_FOR_A_TURN = 10.0
_SECONDS_TO_GIVE_BACK = 2.0
"""A server that has not given up by then what was cancelled does not answer at all."""
_ATTEMPTS = 5

_PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    # Limits that an operator may set for a role or a database.
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    OSError,
    TimeoutError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable for whatever may pass when the database is back."""
    try:
        yield
    except _PASSING as error:
        raise DatabaseUnavailable(f"the database does not answer: {_reason(error)}") from error


class Database:
    """A bounded pool of connections to one Postgres database."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], spans: Spans | None = None) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(pool.get_max_size())
        self.waiting = 0
        """How many tasks wait for a connection."""
        self.lanes = Lanes(self.connection, spans=spans)
        """Connections that are held for lookups."""

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, *, connections: int, spans: Spans | None = None) -> AsyncIterator[Self]:
        """Connect, and close the pool in the end; raise ConfigurationError when that is impossible.

        With ``spans``, statements become spans of the requests that they are made for.
        """
        pool = asyncpg.create_pool(
            url,
            # None is kept for its own sake, nor made again before somebody wants it: lanes and listeners hold theirs.
            init_size=1,
            min_size=0,
            max_size=connections,
            timeout=_SECONDS_TO_CONNECT,
            command_timeout=_SECONDS_PER_STATEMENT,
            init=partial(_trace, spans) if spans else None,
            reset=_leave,
            server_settings={"application_name": "slipway"},
            # What a standby says is a moment old: a tag or a key that was deleted would be seen again.
            target_session_attrs=SessionAttribute.primary,
        )
        try:
            await pool
        except (*_PASSING, asyncpg.PostgresError, asyncpg.InternalClientError, ValueError) as error:
            message = f"the database at {without_password(url)} cannot be reached: {_reason(error)}"
            raise ConfigurationError(message) from error
        database = cls(pool, spans)
        try:
            yield database
        finally:
            await database.lanes.aclose()
            await _close(pool)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for a moment; never hold it while a client or the storage is waited for."""
        with translated():
            connection = await self._acquire()
            try:
                yield connection
            except asyncpg.ReadOnlySQLTransactionError as error:
                # A failover, or an operator, has left connections that can only read: none of them is used again.
                await self._pool.expire_connections()
                raise DatabaseUnavailable(f"the database can only be read: {error}") from error
            except asyncpg.InternalClientError as error:
                # The server has ended the connection, and its words have come before its end has.
                discard(connection)
                raise DatabaseUnavailable(f"the connection to the database is broken: {error}") from error
            finally:
                await self._give_back(connection)

    async def _acquire(self) -> Connection:
        """Wait for a turn, and then for a connection, which may have to be made.

        Making it has a time of its own. Whoever has got a turn at the last moment would break it off, and so would all
        those who stand behind, for as long as so many wait.
        """
        self.waiting += 1
        try:
            async with asyncio.timeout(_SECONDS_FOR_A_TURN):
                await self._turns.acquire()
            try:
                return await self._pool.acquire()
            except BaseException:
                self._turns.release()
                raise
        except (asyncpg.PostgresError, asyncpg.InternalClientError) as error:
            # Not one of the program's statements: the server lets nobody in, or not us, and did so at the start;
            # or it is a standby by now.
            raise DatabaseUnavailable(f"the database refuses connections: {_reason(error)}") from error
        finally:
            self.waiting -= 1

    async def _give_back(self, connection: Connection) -> None:
        """Give a connection back; it is closed when that is impossible, and what was done on it stays done."""
        try:
            # A failure here would replace the answer of a statement, or the cancellation of whoever waited for it.
            with suppress(*_PASSING, asyncpg.PostgresError, asyncpg.InternalClientError):
                await self._pool.release(connection, timeout=_SECONDS_TO_GIVE_BACK)
        finally:
            self._turns.release()

    @property
    def used(self) -> int:
        """How many connections are lent."""
        return self._pool.get_size() - self._pool.get_idle_size()

    @property
    def idle(self) -> int:
        """How many connections are open and not lent."""
        return self._pool.get_idle_size()

    @property
    def limit(self) -> int:
        """How many connections may be opened."""
        return self._pool.get_max_size()

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement and return its rows."""
        return await self._persist(lambda connection: connection.fetch(statement, *arguments))

    async def fetchrow(self, statement: str, *arguments: object) -> asyncpg.Record | None:
        """Run one statement and return its first row."""
        return await self._persist(lambda connection: connection.fetchrow(statement, *arguments))

    async def execute(self, statement: str, *arguments: object) -> None:
        """Run one statement for its effect."""
        await self._persist(lambda connection: connection.execute(statement, *arguments))

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, sees_one_moment: bool = False) -> T:
        """Run ``work`` in a transaction; again from its beginning when it collided with another one.

        With ``sees_one_moment`` no statement of it sees what others commit after its first one has begun, and it
        collides with whoever has changed since what it changes or locks.
        """

        async def whole(connection: Connection) -> T:
            async with connection.transaction(isolation="repeatable_read" if sees_one_moment else None):
                return await work(connection)

        return await self._persist(whole)

    async def _persist(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something that has no effect when it collides with somebody else, as often as that happens."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self.connection() as connection:
                    return await work(connection)
            except COLLISIONS as error:
                if attempt == _ATTEMPTS:
                    raise DatabaseUnavailable(f"the transaction kept colliding with others: {error}") from error
        raise AssertionError("unreachable")

    async def listen(self, heard: Mapping[str, Callable[[str], None]]) -> Listener:
        """Call what ``heard`` has for a channel with the payload of its notifications, on a connection of its own."""
        listener = Listener(self.connection, heard)
        await listener.start()
        return listener


class Listener:
    """Keeps one connection listening to channels, and connects again when it is lost."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        heard: Mapping[str, Callable[[str], None]],
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the channels are listened to."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep_listening(ready))
        await ready

    async def aclose(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_listening(self, ready: asyncio.Future[None]) -> None:
        while True:
            try:
                async with self._connect() as connection:
                    await self._listen_on(connection, ready)
            except DatabaseUnavailable:
                # Notifications only speed things up: leases end and rows are asked again without them.
                await asyncio.sleep(1)

    async def _listen_on(self, connection: Connection, ready: asyncio.Future[None]) -> None:
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        for channel in self._heard:
            await connection.add_listener(channel, self._on_notification)
        if not ready.done():
            ready.set_result(None)
        try:
            await self._lost.wait()
        finally:
            # Whoever got it next from the pool would hear what we have asked for.
            discard(connection)

    def _on_notification(self, _connection: object, _process: int, channel: str, payload: object) -> None:
        self._heard[channel](str(payload))


async def _trace(spans: Spans, connection: Connection) -> None:
    """Have the library tell of each statement on a connection; it calls back in the context of who waits for it."""

    def told(query: LoggedQuery) -> None:
        spans.ended(name_of(query.query), SYSTEM, query.elapsed, query.exception)

    connection.add_query_logger(told)


async def _leave(_connection: object) -> None:
    """Leave a connection that is given back as it is: nobody changes a session beyond its transaction.

    The library would spend a statement each time, a third of the cost of a small one.
    """


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Close in an orderly way if the database plays along, else at once."""
    try:
        await asyncio.wait_for(pool.close(), timeout=5)
    except (*_PASSING, asyncpg.PostgresError):
        pool.terminate()


def without_password(url: str) -> str:
    """Return a database address that can be shown."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    return parts._replace(netloc=f"{name}{':***' if colon else ''}{at}{hosts}").geturl()


def _reason(error: Exception) -> str:
    """Say why there is no connection."""
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "it is a standby, and no other server is named that is not"
    return str(error) or type(error).__name__


def rows_of(values: Sequence[tuple[Any, ...]], columns: int) -> list[list[Any]]:
    """Turn rows into the columns that ``unnest`` takes."""
    return [[value[column] for value in values] for column in range(columns)]
