"""Lookups that travel together: everybody gets his own answer, whatever happens to the others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from gateway.db.coalesce import Lanes
from gateway.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.db.coalesce import Lookup
    from gateway.db.pool import Connection, Database

SQUARES = """
SELECT wanted.place, wanted.number * wanted.number AS square
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (number, place)
WHERE wanted.number % 10 <> 0
ORDER BY random()
"""
SLOW = f"SELECT slow.* FROM pg_sleep(0.2), ({SQUARES}) AS slow"
BROKEN = "SELECT place FROM no_such_table JOIN unnest($1::bigint[]) WITH ORDINALITY AS wanted (number, place) ON true"
BACKENDS = """
SELECT wanted.place, pg_backend_pid() AS backend, cardinality($1::bigint[]) AS size
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (number, place)
"""


class Counting:
    """Lanes on a database that count the connections that were taken; ``broken`` says why there are no more."""

    def __init__(self, database: Database, lanes: int = 1) -> None:
        self._database = database
        self.taken = 0
        self.broken: Exception | None = None
        self.lanes = Lanes(self._connect, lanes)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Connection]:
        self.taken += 1
        if self.broken is not None:
            raise self.broken
        async with self._database.connection() as connection:
            yield connection


@pytest.fixture
async def counting(database: Database) -> AsyncIterator[Counting]:
    """Return one lane."""
    found = Counting(database)
    yield found
    await found.lanes.aclose()


async def square(lookup: Lookup, number: int) -> int | None:
    row = await lookup.find(number)
    return None if row is None else row["square"]


async def backends(lookup: Lookup, numbers: Iterator[int] | range) -> list[tuple[int, int]]:
    """Look up at once; return for each the backend that has answered and the size of its batch."""
    rows = await asyncio.gather(*(lookup.find(number) for number in numbers))
    return [(row["backend"], row["size"]) for row in rows if row is not None]


async def kill(database: Database, backend: int) -> None:
    await database.execute("SELECT pg_terminate_backend($1, 5000)", backend)


async def until_it_sleeps(database: Database) -> None:
    """Wait until a slow statement is under way."""
    asleep = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    while not await database.fetch(asleep):
        pass


async def test_everybody_gets_his_own_answer(database: Database) -> None:
    """Hits and misses are told apart, whatever the order of the rows that come back."""
    lookup = database.lanes.lookup(SQUARES)

    found = await asyncio.gather(*(square(lookup, number) for number in range(1, 1001)))

    assert found == [number * number if number % 10 else None for number in range(1, 1001)]


async def test_one_turn_of_the_loop_is_one_statement(counting: Counting) -> None:
    """What is wanted in one turn travels together, and no more than fits."""
    lookup = counting.lanes.lookup(BACKENDS)
    bounded = counting.lanes.lookup(BACKENDS, largest_batch=8)

    assert {size for _, size in await backends(lookup, range(32))} == {32}
    assert sorted(size for _, size in await backends(bounded, range(20))) == [4] * 4 + [8] * 16
    assert counting.taken == 1


async def test_a_key_that_many_want_is_asked_for_once(counting: Counting) -> None:
    """A batch names a key once: 200 clients that want one large manifest do not fetch it 200 times."""
    lookup = counting.lanes.lookup(BACKENDS)

    rows = await asyncio.gather(*(lookup.find(7) for _ in range(200)))

    assert [row["size"] for row in rows if row is not None] == [1] * 200


async def test_several_statements_share_the_lanes(database: Database) -> None:
    """Lookups of several kinds at once are answered from the rows of their own statement."""
    squares, others = database.lanes.lookup(SQUARES), database.lanes.lookup(BACKENDS)

    found = await asyncio.gather(*(square(squares, n) for n in range(1, 10)), *(others.find(n) for n in range(1, 10)))

    assert found[:9] == [n * n for n in range(1, 10)]
    assert all(row is not None and not isinstance(row, int) and row["size"] == 9 for row in found[9:])


async def test_a_slow_statement_holds_up_one_lane_only(database: Database) -> None:
    """While one batch is under way another one is answered."""
    slow, quick = database.lanes.lookup(SLOW), database.lanes.lookup(SQUARES)
    await square(quick, 1)
    waiting = asyncio.create_task(square(slow, 3))
    await until_it_sleeps(database)

    assert await square(quick, 4) == 16
    assert not waiting.done()
    assert await waiting == 9


async def test_an_answer_is_read_after_its_question(database: Database) -> None:
    """What was committed before a lookup began is in its answer, even while a lookup of the same key is under way."""
    await database.execute("CREATE TABLE present (number bigint PRIMARY KEY)")
    await database.execute("INSERT INTO present SELECT generate_series(1, 500)")
    lookup = database.lanes.lookup(
        "SELECT place FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (number, place) JOIN present USING (number)"
    )

    async def delete(number: int) -> None:
        before = asyncio.create_task(lookup.find(number))
        await database.execute("DELETE FROM present WHERE number = $1", number)
        assert await lookup.find(number) is None
        await before

    await asyncio.gather(*(delete(number) for number in range(1, 501)))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_cancelled_waiter_harms_no_other(counting: Counting, turns: int) -> None:
    """Who leaves, before or after the statement was sent, leaves alone; others that want the same key get it."""
    lookup = counting.lanes.lookup(SQUARES)
    waiting = [asyncio.create_task(square(lookup, number)) for number in (3, 3, 4, 5)]
    for _ in range(turns):
        await asyncio.sleep(0)

    waiting[0].cancel()
    waiting[2].cancel()

    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [found[1], found[3]] == [9, 25]
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[2], asyncio.CancelledError)
    assert await square(lookup, 6) == 36
    assert counting.taken == 1


async def test_a_lost_connection_is_replaced_without_notice(database: Database, counting: Counting) -> None:
    """Lookups that meet a connection which was cut are asked once more on a new one."""
    lookup = counting.lanes.lookup(BACKENDS)
    ((first, _),) = await backends(lookup, range(1))
    await kill(database, first)

    found = await backends(lookup, range(16))

    assert len(found) == 16
    assert first not in {backend for backend, _ in found}
    assert counting.taken == 2


async def test_a_connection_lost_under_way_is_replaced(database: Database, counting: Counting) -> None:
    """The same while the statement runs."""
    slow, quick = counting.lanes.lookup(SLOW), counting.lanes.lookup(BACKENDS)
    ((first, _),) = await backends(quick, range(1))
    waiting = [asyncio.create_task(square(slow, number)) for number in range(1, 6)]
    await until_it_sleeps(database)

    await kill(database, first)

    assert await asyncio.gather(*waiting) == [1, 4, 9, 16, 25]
    assert counting.taken == 2


async def test_a_database_that_stays_away_fails_everybody(database: Database, counting: Counting) -> None:
    """After the second attempt all who wait are told, those in the queue too; and it works again when it is back."""
    lookup, other = counting.lanes.lookup(BACKENDS), counting.lanes.lookup(SQUARES)
    ((first, _),) = await backends(lookup, range(1))
    counting.broken = DatabaseUnavailable("away")
    await kill(database, first)

    wanted = [lookup.find(number) for number in range(300)] + [other.find(number) for number in range(300)]
    found = await asyncio.wait_for(asyncio.gather(*wanted, return_exceptions=True), 10)

    assert {str(error) for error in found} == {"away"}
    counting.broken = None
    assert await square(other, 5) == 25


async def test_a_statement_that_hangs_fails_in_bounded_time(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that never opens, or a dead network: after two time limits the answer is DatabaseUnavailable."""
    monkeypatch.setattr("gateway.db.coalesce._SECONDS_FOR_AN_ANSWER", 0.2)
    hanging = counting.lanes.lookup(SLOW.replace("0.2", "600"))
    behind = counting.lanes.lookup(SQUARES)

    waiting = [asyncio.create_task(square(hanging, 3)), asyncio.create_task(square(behind, 3))]
    found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)

    assert [type(error) for error in found] == [DatabaseUnavailable, DatabaseUnavailable]
    assert await square(behind, 3) == 9


async def test_an_error_reaches_every_waiter(counting: Counting) -> None:
    """A statement that is wrong fails all of its lookups with its own error, and no other ones."""
    broken, sound = counting.lanes.lookup(BROKEN), counting.lanes.lookup(SQUARES)

    wanted = [broken.find(number) for number in range(50)]
    found, right = await asyncio.gather(asyncio.gather(*wanted, return_exceptions=True), square(sound, 3))

    assert {type(error) for error in found} == {asyncpg.UndefinedTableError}
    assert right == 9
    assert await square(sound, 4) == 16


async def test_closing_ends_lookups_and_gives_connections_back(database: Database) -> None:
    """Nobody waits for ever: lookups under way, queued and later ones are told that the database is closed."""
    counting = Counting(database)
    slow, queued = counting.lanes.lookup(SLOW), counting.lanes.lookup(SQUARES)
    waiting = [asyncio.create_task(square(lookup, 3)) for lookup in (slow, queued)]
    await until_it_sleeps(database)

    await counting.lanes.aclose()

    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in found] == [DatabaseUnavailable, DatabaseUnavailable]
    with pytest.raises(DatabaseUnavailable):
        await queued.find(4)


async def test_nobody_gets_a_connection_of_a_lane(database: Database, counting: Counting) -> None:
    """The planner's settings of a lane go with its connection, which the pool has no use for."""
    lookup = counting.lanes.lookup(BACKENDS)
    ((backend, _),) = await backends(lookup, range(1))
    await counting.lanes.aclose()

    here = "SELECT pg_backend_pid() AS backend, current_setting('enable_seqscan') AS scans"
    for _ in range(5):
        row = await database.fetchrow(here)
        assert row is not None
        assert row["scans"] == "on"
        assert row["backend"] != backend


async def test_lanes_end_although_their_connections_are_lost(database: Database) -> None:
    """Giving back a connection that the pool has taken back by itself does not hide that the lanes are to end."""
    square = database.lanes.lookup(SQUARES)
    assert await square.find(3) is not None

    await database.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    async with asyncio.timeout(10):
        while database.used:  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)
        await database.lanes.aclose()
