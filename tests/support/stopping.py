"""Transactions that stop where a test wants it: behind one of their statements, with all that they have locked."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from gateway.db.statements import all_statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import pytest

    from gateway.db.pool import Database

T = TypeVar("T")

_BLOCKED = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


class Stop:
    """Where a task stops until it is let go: behind its statement of this number, before anything is committed."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._reached = asyncio.Event()
        self._go_on = asyncio.Event()
        self.statement = ""
        """The one that the task has stopped behind."""

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that is to stop."""
        context = copy_context()
        context.run(_STOPS.set, self)
        return asyncio.create_task(work, context=context)

    async def reached_by(self, task: asyncio.Task[Any]) -> bool:
        """Return True once the task has stopped, or False if it has come to its end before."""
        reaching = asyncio.ensure_future(self._reached.wait())
        await asyncio.wait((task, reaching), return_when=asyncio.FIRST_COMPLETED)
        reaching.cancel()
        return self._reached.is_set()

    def let_go(self) -> None:
        """Let the task go on."""
        self._go_on.set()

    async def pass_by(self, statement: str) -> None:
        """Be behind a statement."""
        self._left -= 1
        if self._left == 0:
            self.statement = statement
            self._reached.set()
            await self._go_on.wait()


_STOPS: ContextVar[Stop | None] = ContextVar("_STOPS", default=None)


def make_stoppable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have named statements heed the stops of the tasks that run them."""
    names = {text: name for name, text in all_statements().items()}
    execute: Callable[..., Awaitable[Any]] = asyncpg.Connection._execute  # type: ignore[attr-defined]

    async def stopping(connection: asyncpg.Connection[Any], query: str, *arguments: Any, **named: Any) -> Any:
        stop, name = _STOPS.get(), names.get(query)
        if stop is None or name is None:
            return await execute(connection, query, *arguments, **named)
        if connection.is_in_transaction():
            result = await execute(connection, query, *arguments, **named)
            await stop.pass_by(name)
            return result
        # A statement of its own is a transaction as well, whose commit may come late.
        async with connection.transaction():
            result = await execute(connection, query, *arguments, **named)
            await stop.pass_by(name)
        return result

    monkeypatch.setattr(asyncpg.Connection, "_execute", stopping)


async def ends_or_waits(database: Database, task: asyncio.Task[Any]) -> None:
    """Return once a task has ended, or waits for what another transaction has locked."""
    ended: set[asyncio.Task[Any]] = set()
    while not ended and not await database.fetch(_BLOCKED):
        # Most end within this time, and asking takes from the server what the task needs itself.
        ended, _ = await asyncio.wait((task,), timeout=0.005)
