"""What does counting cost: the request rate, a batch of 1,000 counters, and one UPDATE per pull instead?"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bench.harness import rows, wrk
from bench.harness.options import options, parser
from bench.harness.report import Report
from bench.harness.stage import staged
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.pool import Database
from gateway.db.pulls import TABLES_OF_A_BATCH, PullTotals
from gateway.ports.counters import Batch, Count, CountKey, Kind

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bench.harness.programs import Subject
    from bench.harness.report import Figures
    from bench.harness.stage import Stage

_COUNTERS = 1000
_AT_ONCE = 32
_UPDATE = """INSERT INTO manifest_pulls AS total VALUES ($1, 1, now()) ON CONFLICT (manifest_id)
             DO UPDATE SET pulls = total.pulls + 1, last_pulled_at = now()"""


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--tags", type=int, default=500, help="tags that are asked for at random")
    arguments.add_argument("--seconds", type=float, help="of each round: 10, in a short round 3")
    arguments.set_defaults(set=[f"uncounted_agents={wrk.NOT_COUNTED}"])
    given = arguments.parse_args()
    chosen = options(given, repeat=5, short_repeat=3)
    if chosen.url is not None or not wrk.wrk_is_installed():
        raise SystemExit("this needs wrk, and a database of its own: --url means nothing here")
    seconds = given.seconds or (3.0 if chosen.short else 10.0)
    report = Report("counters", chosen, {"tags": given.tags, "seconds": seconds})
    with staged(chosen, "filesystem", peer=False) as stage:
        (subject,) = stage.subjects
        filled = rows.fill(stage.data_dir, blobs=given.tags, manifests=given.tags, tags=given.tags, repositories=50)
        agents = {"counted": wrk.COUNTED, "not counted": wrk.NOT_COUNTED}
        measures = {
            name: partial(_load, subject, stage, filled.by_tag, seconds, agent) for name, agent in agents.items()
        }
        report.compare("manifest by tag", measures)
        with EmbeddedPostgres.acquire(stage.data_dir) as postgres:
            run = partial(_in_database, postgres.dsn)
            report.compare(
                "1,000 pulls of 1,000 images",
                {"one batch": partial(run, _batch), "one UPDATE each": partial(run, _updates)},
            )
    report.finish()


def _load(subject: Subject, stage: Stage, targets: list[str], seconds: float, agent: str) -> Figures:
    return wrk.load(subject, stage.folder, targets, connections=_AT_ONCE, seconds=seconds, agent=agent)


def _in_database(dsn: str, measure: Any) -> Figures:
    async def measured() -> Figures:
        async with Database.connected(dsn, connections=8) as database:
            await measure(database)  # rows exist, statements are prepared
            figures: Figures = await measure(database)
            return figures

    return asyncio.run(measured())


async def _batch(database: Database) -> Figures:
    """Add one batch, as every worker does every second at most."""
    now = int(time.time())
    counts = [
        Count(CountKey(Kind.PULL, 1, number % 100, number, 0, now // 3600), 1, now) for number in range(_COUNTERS)
    ]
    batch = Batch(uuid4(), 1, tuple(counts))
    totals = PullTotals(database)
    milliseconds = await _timed(totals.apply(batch))
    await totals.forget_journal(batch.journal)
    return {"milliseconds": milliseconds, "milliseconds_per_table": milliseconds / TABLES_OF_A_BATCH}


async def _updates(database: Database) -> Figures:
    """Count as registries do that write on each pull, with as many pulls at once as above."""
    waiting = iter(range(_COUNTERS))

    async def work() -> None:
        for number in waiting:
            await database.execute(_UPDATE, number)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    milliseconds = await _timed(all_of_them())
    return {"milliseconds": milliseconds, "milliseconds_per_table": milliseconds}


async def _timed(work: Coroutine[Any, Any, None]) -> float:
    begin = time.monotonic()
    await work
    return (time.monotonic() - begin) * 1000


if __name__ == "__main__":
    main()
