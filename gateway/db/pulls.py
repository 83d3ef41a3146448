"""Pull counters: batches go in, totals and history come out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gateway.db.pool import rows_of
from gateway.db.statements import statement
from gateway.ports.counters import CountKey, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from uuid import UUID

    from gateway.db.pool import Connection, Database
    from gateway.ports.counters import Batch, Count

_CLAIM_BATCH = statement("claim_batch")
_FORGET_JOURNAL = statement("forget_journal")
_ADD_REPOSITORY_PULLS = statement("add_repository_pulls")
_ADD_MANIFEST_PULLS = statement("add_manifest_pulls")
_ADD_KEY_PULLS = statement("add_key_pulls")
_ADD_TAG_RESOLUTIONS = statement("add_tag_resolutions")
_ADD_PULL_HISTORY = statement("add_pull_history")
_ADD_RESOLUTION_HISTORY = statement("add_resolution_history")
_ADD_TRAFFIC_HISTORY = statement("add_traffic_history")
_LOCK_ROLL_UP = statement("lock_roll_up")
_ROLL_UP_PULLS = statement("roll_up_pulls")
_ROLL_UP_RESOLUTIONS = statement("roll_up_resolutions")

TABLES_OF_A_BATCH = 4
"""Tables that pulls alone are added to; resolutions take two more."""


class PullTotals:
    """Implements ports.counters.PullIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, batch: Batch) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            if await connection.fetchval(_CLAIM_BATCH, batch.journal, batch.number) is None:
                return
            # Always in this order, as every process does it.
            for add, columns in _additions(batch.counts):
                if columns[0]:
                    await connection.execute(add, *columns)

        await self._database.transact(work)

    async def forget_journal(self, journal: UUID) -> None:
        """See the port."""
        await self._database.execute(_FORGET_JOURNAL, journal)

    async def roll_up(self, before: datetime, limit: int) -> int:
        """See the port."""

        async def work(connection: Connection) -> int:
            if not await connection.fetchval(_LOCK_ROLL_UP):
                return 0
            pulls: int = await connection.fetchval(_ROLL_UP_PULLS, before, limit)
            resolutions: int = await connection.fetchval(_ROLL_UP_RESOLUTIONS, before, limit)
            return pulls + resolutions

        return await self._database.transact(work)


def _additions(counts: Iterable[Count]) -> Iterator[tuple[str, list[list[int]]]]:
    """Sum a batch up for each table, one by one so that the loop is not held up: the statement, and its columns."""
    by_kind: dict[int, list[Count]] = defaultdict(list)
    for count in counts:
        by_kind[count.key.kind].append(count)
    pulls, resolutions = by_kind[Kind.PULL], by_kind[Kind.RESOLUTION]
    yield _ADD_REPOSITORY_PULLS, rows_of(_totals(pulls, lambda key: (key.repository_id, key.registry_id)), 4)
    yield _ADD_MANIFEST_PULLS, rows_of(_totals(pulls, lambda key: (key.subject_id,)), 3)
    yield _ADD_KEY_PULLS, rows_of(_totals(pulls, lambda key: (key.registry_id, key.key_id)), 4)
    yield _ADD_TAG_RESOLUTIONS, rows_of(_totals(resolutions, lambda key: (key.subject_id,)), 3)
    yield _ADD_PULL_HISTORY, rows_of(_totals(pulls, _pull_hour), 6)[:5]
    yield _ADD_RESOLUTION_HISTORY, rows_of(_totals(resolutions, lambda key: (key.subject_id, key.hour)), 4)[:3]
    yield _ADD_TRAFFIC_HISTORY, _traffic(by_kind[Kind.PROXIED_BYTES], by_kind[Kind.REDIRECTED_BYTES])


def _pull_hour(key: CountKey) -> tuple[int, ...]:
    return key.repository_id, key.hour, key.subject_id, key.key_id


def _totals(counts: Iterable[Count], group: Callable[[CountKey], tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return one row for each group: the group, the sum of its counts, and when it was last counted."""
    totals: dict[tuple[int, ...], tuple[int, int]] = {}
    for key, amount, last in counts:
        of = group(key)
        before, latest = totals.get(of, (0, 0))
        totals[of] = before + amount, max(latest, last)
    return [(*of, *sums) for of, sums in totals.items()]


def _traffic(proxied: Iterable[Count], redirected: Iterable[Count]) -> list[list[int]]:
    totals: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for place, counts in enumerate((proxied, redirected)):
        for key, amount, _ in counts:
            totals[key.registry_id, key.hour][place] += amount
    return rows_of([(*of, *sums) for of, sums in totals.items()], 4)
