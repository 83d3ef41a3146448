"""The pool: what happens when the database is away, and when transactions collide."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import asyncpg
import pytest

from faults.slow import slow_line
from gateway.db.pool import Database, without_password
from gateway.errors import ConfigurationError, DatabaseUnavailable
from support.databases import Server, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.slow import SlowLine
    from gateway.db.pool import Connection


async def test_a_database_that_cannot_be_reached_stops_the_start() -> None:
    """The first connection is made at once, and its failure names the address without the password."""
    with pytest.raises(ConfigurationError, match=r"user:\*\*\*@127\.0\.0\.1:1/none cannot be reached"):
        async with Database.connected("postgresql://user:secret@127.0.0.1:1/none", connections=1):
            pass


async def test_a_lost_connection_is_replaced(database: Database) -> None:
    """A statement on a connection that was cut fails as unavailable; the next one has a new connection."""
    with pytest.raises(DatabaseUnavailable):
        await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    row = await database.fetchrow("SELECT 1 AS one")

    assert row is not None
    assert row["one"] == 1


async def test_a_database_that_lets_nobody_in_is_a_passing_failure(server: Server) -> None:
    """Whatever the server says to who connects, it is away until it says something else."""
    async with fresh_database(server) as database:
        row = await database.fetchrow("SELECT current_database() AS name")
        assert row is not None
        await _allow_connections(server, row["name"], allowed=False)
        with pytest.raises(DatabaseUnavailable):
            await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(DatabaseUnavailable, match="refuses connections"):
            await database.execute("SELECT")

        await _allow_connections(server, row["name"], allowed=True)
        await database.execute("SELECT")


async def _allow_connections(server: Server, name: str, *, allowed: bool) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')
    finally:
        await connection.close()


async def test_an_exhausted_pool_is_a_passing_failure(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets no connection in time is told that the database is unavailable."""
    monkeypatch.setattr("gateway.db.pool._SECONDS_FOR_A_TURN", 0.05)

    async def hold(depth: int) -> None:
        async with database.connection():
            await hold(depth - 1)

    with pytest.raises(DatabaseUnavailable):
        await hold(100)


async def test_who_has_got_a_turn_may_connect(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it has waited for its turn: otherwise many who wait begin connections, and break them off."""
    monkeypatch.setattr("gateway.db.pool._SECONDS_FOR_A_TURN", 0.0)
    async with AsyncExitStack() as stack:
        while database.used < database.limit:
            connection = await stack.enter_async_context(database.connection())
            await connection.execute("SELECT")

        with pytest.raises(DatabaseUnavailable):
            await database.execute("SELECT")

    await database.execute("SELECT")


async def test_transactions_that_wait_for_each_other_both_succeed(database: Database) -> None:
    """Postgres breaks a deadlock by failing one transaction, which then runs again."""
    await database.execute("CREATE TABLE pair (id integer PRIMARY KEY, n integer)")
    await database.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    first_has_one, second_has_two = asyncio.Event(), asyncio.Event()

    async def add(connection: Connection, order: tuple[int, int], mine: asyncio.Event, other: asyncio.Event) -> None:
        await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", order[0])
        mine.set()
        await other.wait()
        await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", order[1])

    await asyncio.gather(
        database.transact(lambda connection: add(connection, (1, 2), first_has_one, second_has_two)),
        database.transact(lambda connection: add(connection, (2, 1), second_has_two, first_has_one)),
    )

    assert [row["n"] for row in await database.fetch("SELECT n FROM pair ORDER BY id")] == [2, 2]


async def test_a_statement_that_collides_is_run_again(database: Database) -> None:
    """One that Postgres gave up for the sake of a transaction did nothing, and has another try."""
    await database.execute("CREATE TABLE pair (id integer PRIMARY KEY, n integer)")
    await database.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    async with database.connection() as connection:
        # Who has begun to wait first looks first whether they wait for each other: not this one.
        await connection.execute("SET deadlock_timeout = '1min'")
        async with connection.transaction():
            await connection.execute("UPDATE pair SET n = n + 10 WHERE id = 2")
            both = asyncio.create_task(database.execute("UPDATE pair SET n = n + 1 WHERE id IN (1, 2)"))
            while not await database.fetch("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            await connection.execute("UPDATE pair SET n = n + 10 WHERE id = 1")
        await both

    assert [row["n"] for row in await database.fetch("SELECT n FROM pair ORDER BY id")] == [11, 11]


_FAIL = """
CREATE SEQUENCE tries;
CREATE FUNCTION fail(state text, times bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('tries') <= times THEN RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'failed'; END IF;
    RETURN currval('tries');
END $$
"""


@pytest.mark.parametrize(
    "state",
    [
        *("08000", "08003", "08006", "08P01"),  # the connection is broken, or a pool in between says so
        *("25006", "25P03", "25P04"),  # it can only be read; a transaction was idle, or too long
        *("53000", "53100", "53200", "53300", "53400"),  # no disk, memory, connections
        *("55P03", "57014"),  # a lock or a statement has taken too long
        *("57P01", "57P02", "57P03", "57P04", "57P05"),  # it ends, has crashed, starts
    ],
)
async def test_what_may_pass_is_a_passing_failure(database: Database, state: str) -> None:
    """Whatever a server says about itself, and not about the statement; it is asked once, and again for the next."""
    await database.execute(_FAIL)
    lookup = database.lanes.lookup("SELECT fail(($1::text[])[1], 2) AS tries, 1 AS place")

    with pytest.raises(DatabaseUnavailable, match="failed"):
        await database.fetch("SELECT fail($1, 1)", state)
    found = await lookup.find(state)

    assert found is not None
    assert found["tries"] == 3


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_collisions_are_tried_again(database: Database, state: str) -> None:
    """Statements and lookups that a server gave up for others, a few times; then it counts as unavailable."""
    await database.execute(_FAIL)
    lookup = database.lanes.lookup("SELECT fail(($1::text[])[1], 5) AS tries, 1 AS place")

    row = await database.fetchrow("SELECT fail($1, 3) AS tries", state)
    found = await lookup.find(state)
    with pytest.raises(DatabaseUnavailable, match="failed"):
        await database.fetch("SELECT fail($1, 1000)", state)
    with pytest.raises(DatabaseUnavailable, match="failed"):
        await database.lanes.lookup("SELECT fail(($1::text[])[1], 1000) AS tries, 1 AS place").find(state)

    assert row is not None
    assert found is not None
    assert (row["tries"], found["tries"]) == (4, 6)


async def test_who_is_cancelled_while_the_server_is_silent_is_cancelled(
    dead_line: SlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a connection cannot be given back in order does not hide how the work on it has ended."""
    monkeypatch.setattr("gateway.db.pool._SECONDS_TO_GIVE_BACK", 0.05)
    async with Database.connected(dead_line.url, connections=1) as database:
        dead_line.flowing.clear()
        asking = asyncio.create_task(database.execute("SELECT"))
        while not database.used:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        dead_line.flowing.set()
        await database.execute("SELECT")


@pytest.fixture
def dead_line(server: Server) -> Iterator[SlowLine]:
    """A line to the server, through which nothing comes when a test says so."""
    with slow_line(server.dsn) as line:
        yield line
        line.flowing.set()


async def test_connections_that_can_only_read_are_not_used_again(database: Database) -> None:
    """The first one to be refused a change is the last: all others may lead to the same server."""
    async with AsyncExitStack() as stack:
        for _ in range(3):
            connection = await stack.enter_async_context(database.connection())
            await connection.execute("SET default_transaction_read_only = on")

    with pytest.raises(DatabaseUnavailable, match="can only be read"):
        await database.execute("CREATE TABLE things ()")

    for number in range(3):
        async with database.connection() as connection:
            await connection.execute(f"CREATE TABLE things_{number} ()")


async def test_a_transaction_that_was_idle_for_too_long(database: Database) -> None:
    """A server that was told to end such connections says so when nobody listens."""

    async def idle(connection: Connection) -> None:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
        while await database.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", backend):
            pass
        await connection.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await database.transact(idle)


async def test_a_bug_is_not_taken_for_an_absent_database(database: Database) -> None:
    """A wrong statement is an error of the program and keeps its own type."""
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("SELECT * FROM no_such_table")


async def test_a_listener_survives_its_connection(database: Database) -> None:
    """Notifications arrive, and arrive again after the listening connection was cut."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await database.listen({"channel": heard.put_nowait})
    try:
        await database.execute("SELECT pg_notify('channel', 'first')")
        assert await asyncio.wait_for(heard.get(), 10) == "first"

        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query ILIKE 'listen %'"
        )
        again = asyncio.create_task(heard.get())
        while not again.done():
            await database.execute("SELECT pg_notify('channel', 'second')")
            await asyncio.wait((again,), timeout=0.1)  # it may not listen again yet
        assert again.result() == "second"
    finally:
        await listener.aclose()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:secret@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://user@one:1,two:2/db", "postgresql://user@one:1,two:2/db"),
        ("postgresql://user:secret@[::1]:1,two:2/db", "postgresql://user:***@[::1]:1,two:2/db"),
        ("postgresql://user:secret@/db?host=/run/x", "postgresql://user:***@/db?host=/run/x"),
    ],
)
def test_addresses_are_shown_without_passwords(url: str, shown: str) -> None:
    """What is printed or logged does not hold the password."""
    assert without_password(url) == shown


async def test_the_pool_tells_how_it_is_used(database: Database) -> None:
    """Which connections are lent, which wait to be, and who waits for one."""
    async with AsyncExitStack() as stack:
        before = database.used
        for _ in range(database.limit - before):
            await stack.enter_async_context(database.connection())
        assert (database.used, database.idle, database.waiting) == (database.limit, 0, 0)

        another = asyncio.create_task(database.execute("SELECT 1"))
        await asyncio.sleep(0)
        assert database.waiting == 1
    await another

    assert (database.used, database.waiting) == (before, 0)
    assert database.idle == database.limit - before
