"""Lookups that are wanted at the same time travel in one statement.

A connection answers 32 keys in little more time than one, and most of what a statement costs a process is the same
for both. So the lookups of one turn of the event loop go together, and what is wanted while they are under way goes
next. Nothing is remembered: every answer was read after its question was asked.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.db.statements import name_of
from gateway.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.db.pool import Connection
    from gateway.ports.observing import Spans

    Future = asyncio.Future[asyncpg.Record | None]
    Key = tuple[Any, ...]

COLLISIONS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Postgres gave up one of two transactions that waited for each other: the loser just tries again."""
SYSTEM = "postgresql"
"""What spans call the database."""
_LANES = 2
_LARGEST_BATCH = 128
_SECONDS_FOR_AN_ANSWER = 5.0
_ATTEMPTS = 2

# Every key is found through indexes, whatever Postgres knows about the tables' sizes, and it plans once: planning
# a lookup takes longer than answering it, and a plan made while a table was small must not stay when it has grown.
_SETTINGS = """
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET enable_memoize = off;
SET jit = off
"""


def discard(connection: Connection) -> None:
    """Close a connection at once; the pool makes another one."""
    # One that is lost was taken back by the pool, and refuses every call: that must not hide why we are here.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


class Lookup:
    """A statement that finds rows by keys, and the keys that are wanted now.

    The statement takes one array for each column of the keys, and returns at most one row for each key, with the
    key's ``place`` in the arrays, from 1.
    """

    def __init__(self, lanes: Lanes, statement: str, largest_batch: int) -> None:
        self.statement = statement
        self._lanes = lanes
        self._largest_batch = largest_batch
        self._wanted: dict[Key, list[Future]] = {}

    async def find(self, *key: Any) -> asyncpg.Record | None:
        """Return the row of a key, None without one; raise DatabaseUnavailable within a bounded time."""
        future: Future = asyncio.get_running_loop().create_future()
        # Each who asks has a future of his own: one of them may be cancelled.
        waiting = self._wanted.get(key)
        if waiting is not None:
            waiting.append(future)
            return await future
        if not self._wanted:
            self._lanes.enqueue(self)
        self._wanted[key] = [future]
        return await future

    def take(self) -> Batch:
        """Take keys for one statement, leaving what is too much for it to another lane."""
        if len(self._wanted) <= self._largest_batch:
            taken, self._wanted = self._wanted, {}
        else:
            taken = {key: self._wanted.pop(key) for key in list(self._wanted)[: self._largest_batch]}
            self._lanes.enqueue(self)
        return Batch(self.statement, taken)


class _TracedLookup(Lookup):
    """A lookup of which each question is a span: the statement itself belongs to many requests, and to none."""

    def __init__(self, spans: Spans, lanes: Lanes, statement: str, largest_batch: int) -> None:
        super().__init__(lanes, statement, largest_batch)
        self._spans = spans
        self._name = name_of(statement)

    async def find(self, *key: Any) -> asyncpg.Record | None:
        """See the base."""
        with self._spans.call(self._name, SYSTEM):
            return await super().find(*key)


class Batch:
    """Keys on their way through the database."""

    def __init__(self, statement: str, wanted: dict[Key, list[Future]]) -> None:
        self._statement = statement
        self._wanted = wanted
        self.failures = 0

    async def ask(self, connection: Connection) -> None:
        """Ask for all keys and answer everybody who waits for one."""
        columns = [list(column) for column in zip(*self._wanted, strict=True)]
        try:
            rows = await connection.fetch(self._statement, *columns, timeout=_SECONDS_FOR_AN_ANSWER)
        except COLLISIONS as error:
            # A migration locks tables in an order of its own.
            raise DatabaseUnavailable(f"a lookup collided with a transaction: {error}") from error
        found = {row["place"]: row for row in rows}
        for place, waiting in enumerate(self._wanted.values(), 1):
            row = found.get(place)
            for future in waiting:
                if not future.done():
                    future.set_result(row)

    def fail(self, error: Exception) -> None:
        """Tell everybody who still waits."""
        for waiting in self._wanted.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(error)


class Lanes:
    """Connections that are held for lookups; each answers one batch after another."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        count: int = _LANES,
        spans: Spans | None = None,
    ) -> None:
        self._connect = connect
        self._spans = spans
        self._count = count
        self._queue: asyncio.Queue[Lookup] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False

    def lookup(self, statement: str, *, largest_batch: int = _LARGEST_BATCH) -> Lookup:
        """Make a lookup that travels on these connections."""
        if self._spans is not None:
            return _TracedLookup(self._spans, self, statement, largest_batch)
        return Lookup(self, statement, largest_batch)

    def enqueue(self, lookup: Lookup) -> None:
        """Have the next free connection answer what a lookup has gathered until then."""
        if self._is_closed:
            raise _closed()
        if not self._tasks:
            # In contexts of their own: what they do belongs to no request, least of all to the first one for ever.
            self._tasks = [asyncio.create_task(self._run(), context=Context()) for _ in range(self._count)]
        self._queue.put_nowait(lookup)

    async def aclose(self) -> None:
        """Give the connections back; lookups that still wait fail."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_queued(_closed())

    @staticmethod
    async def prepare(connection: Connection) -> None:
        """Set a connection up for lookups, and for nothing else from then on."""
        await connection.execute(_SETTINGS, timeout=_SECONDS_FOR_AN_ANSWER)

    async def _run(self) -> None:
        """Ask batch after batch on one connection; when that is lost, ask once more on a new one."""
        batch = await self._next()
        while True:
            try:
                async with self._connect() as connection:
                    try:
                        await self.prepare(connection)
                        while True:
                            await batch.ask(connection)
                            batch = await self._next()
                    finally:
                        # Whoever got it next from the pool would have its settings.
                        discard(connection)
            except DatabaseUnavailable as error:
                batch.failures += 1
                if batch.failures < _ATTEMPTS:
                    continue
                batch.fail(error)
                # Whoever stands behind would wait as long for the same answer.
                self._fail_queued(error)
            except asyncio.CancelledError:
                batch.fail(_closed())
                raise
            except Exception as error:  # noqa: BLE001  (a bug belongs to those who asked; the lane serves others)
                batch.fail(error)
            batch = await self._next()

    async def _next(self) -> Batch:
        return (await self._queue.get()).take()

    def _fail_queued(self, error: Exception) -> None:
        for _ in range(self._queue.qsize()):
            self._queue.get_nowait().take().fail(error)


def _closed() -> DatabaseUnavailable:
    return DatabaseUnavailable("the connections to the database are closed")
