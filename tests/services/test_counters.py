"""Counting: whatever happens between a count and its row, the totals are exact."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from contextlib import suppress
from itertools import count as numbers
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gateway.db.pulls import PullTotals
from gateway.errors import DatabaseUnavailable
from gateway.model.digest import Digest
from gateway.model.pulls import Exclusions
from gateway.ports.counters import Kind
from gateway.ports.metadata import ManifestRecord, Registry
from gateway.services.counters import Counters
from gateway.storage import journal as journals
from gateway.storage.shelf import FileShelf
from support.databases import Server, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from datetime import datetime

    from gateway.db.pool import Database
    from gateway.ports.counters import Batch

INSTALLATION = UUID(int=1)
REGISTRY = Registry(1, "0" * 32, "bucket")
NOBODY = Exclusions()


def image(number: int, tag: int | None = None, kind: str = "image") -> ManifestRecord:
    return ManifestRecord(number, Digest.of(b"", "sha256"), "m", 0, kind, repository_id=number % 3, tag_id=tag)


class FailingTotals:
    """Totals of which the next calls fail: before their transaction, or after its commit."""

    def __init__(self, real: PullTotals) -> None:
        self._real = real
        self.failures: list[str] = []

    async def apply(self, batch: Batch) -> None:
        how = self.failures.pop() if self.failures else ""
        if how == "away":
            raise DatabaseUnavailable("away")
        await self._real.apply(batch)
        if how == "lost":
            raise DatabaseUnavailable("the answer to the commit was lost")

    async def forget_journal(self, journal: UUID) -> None:
        await self._real.forget_journal(journal)

    async def roll_up(self, before: datetime, limit: int) -> int:
        return await self._real.roll_up(before, limit)


@pytest.fixture
async def database(embedded_server: Server) -> AsyncIterator[Database]:
    async with fresh_database(embedded_server) as database:
        yield database


def counters(folder: Path, index: PullTotals | FailingTotals, exclusions: Exclusions = NOBODY) -> Counters:
    return Counters(FileShelf(folder, INSTALLATION), index, exclusions, hourly_days=30)


def count(counting: Counters, manifest: ManifestRecord, *, has_body: bool = True) -> None:
    counting.count_manifest(REGISTRY, manifest, (0, None), "docker", has_body=has_body)


async def totals(database: Database) -> tuple[dict[int, int], dict[int, int]]:
    """Pulls by manifest, and resolutions by tag."""
    pulls = await database.fetch("SELECT manifest_id, pulls FROM manifest_pulls")
    resolutions = await database.fetch("SELECT tag_id, resolutions FROM tag_resolutions")
    return {row[0]: row[1] for row in pulls}, {row[0]: row[1] for row in resolutions}


class CountingMachine(RuleBasedStateMachine):
    """Two processes that count, write, fail and die in any order, and a model that only adds."""

    loop: asyncio.AbstractEventLoop
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-counting-", dir="/dev/shm"))
        self.index = FailingTotals(PullTotals(self.database))
        self.run(self.database.execute("TRUNCATE manifest_pulls, tag_resolutions, pull_journals"))
        self.processes = [counters(self.folder, self.index) for _ in range(2)]
        self.pulls: dict[int, int] = {}
        self.resolutions: dict[int, int] = {}

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    @rule(process=st.integers(0, 1), manifest=st.integers(1, 4), tag=st.none() | st.integers(1, 2), body=st.booleans())
    def count(self, process: int, manifest: int, tag: int | None, body: bool) -> None:
        count(self.processes[process], image(manifest, tag), has_body=body)
        if body:
            self.pulls[manifest] = self.pulls.get(manifest, 0) + 1
        if tag is not None:
            self.resolutions[tag] = self.resolutions.get(tag, 0) + 1

    @rule(process=st.integers(0, 1), failures=st.lists(st.sampled_from(["away", "lost", ""]), max_size=2))
    def write(self, process: int, failures: list[str]) -> None:
        self.index.failures = failures
        self._try(self.processes[process].write())

    @rule(process=st.integers(0, 1))
    def freeze(self, process: int) -> None:
        self.processes[process]._journal.freeze()

    @rule(process=st.integers(0, 1))
    def crash(self, process: int) -> None:
        self.processes[process]._journal.close()
        self.processes[process] = counters(self.folder, self.index)

    @rule(process=st.integers(0, 1), failures=st.lists(st.sampled_from(["away", "lost", ""]), max_size=2))
    def look_around(self, process: int, failures: list[str]) -> None:
        self.index.failures = failures
        self._try(self.processes[process].look_around())

    @rule(process=st.integers(0, 1))
    def end(self, process: int) -> None:
        self.index.failures = []
        self.run(serve_nothing(self.processes[process]))
        self.processes[process] = counters(self.folder, self.index)

    def _try(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(DatabaseUnavailable):
            self.run(work)

    def teardown(self) -> None:
        self.index.failures = []
        for process in self.processes:
            self.run(serve_nothing(process))
        last = counters(self.folder, self.index)
        self.run(last.look_around())
        self.run(serve_nothing(last))
        assert self.loop.run_until_complete(totals(self.database)) == (self.pulls, self.resolutions)
        assert list(self.folder.iterdir()) == []
        assert self.loop.run_until_complete(self.database.fetch("SELECT FROM pull_journals")) == []
        shutil.rmtree(self.folder)


async def serve_nothing(counting: Counters) -> None:
    async with counting.running():
        pass


@pytest.fixture
def loop_and_database(embedded_server: Server) -> Iterator[tuple[asyncio.AbstractEventLoop, Database]]:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        context = fresh_database(embedded_server)
        yield loop, loop.run_until_complete(context.__aenter__())
        loop.run_until_complete(context.__aexit__(None, None, None))


def test_any_order_of_events_keeps_the_totals(
    loop_and_database: tuple[asyncio.AbstractEventLoop, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, batches, lost commits, repetitions, crashes and take-overs: nothing is lost, nothing counts twice."""
    CountingMachine.loop, CountingMachine.database = loop_and_database
    # A region of few counters fills up, which otherwise takes thousands.
    monkeypatch.setattr(journals, "_COUNTERS", 6)
    monkeypatch.setattr(
        journals, "_REGION_SIZE", journals._REGION_HEADER + 6 * (journals._KEY_SIZE + 2 * journals._WORD)
    )
    monkeypatch.setattr(journals, "_FILE_SIZE", journals._HEADER_SIZE + journals._REGIONS * journals._REGION_SIZE)

    run_state_machine_as_test(
        CountingMachine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


async def test_a_flood_of_counters_is_written_early_and_bounded(database: Database, tmp_path: Path) -> None:
    """Memory never grows: while the database is away, counting ends with an error instead, and nothing is lost."""
    index = FailingTotals(PullTotals(database))
    counting = counters(tmp_path, index)
    index.failures = ["away"] * 100
    counted = 0
    with suppress(DatabaseUnavailable):
        for counted in numbers():
            count(counting, image(counted))
    with pytest.raises(DatabaseUnavailable, match="away"):
        await counting.write()

    index.failures = []
    await counting.write()
    count(counting, image(1))
    await serve_nothing(counting)

    pulls, _ = await totals(database)
    assert sum(pulls.values()) == counted + 1
    assert counted == journals._COUNTERS * journals._REGIONS


async def test_excluded_callers_count_for_nothing(database: Database, tmp_path: Path) -> None:
    """Neither as a pull nor as a resolution."""
    counting = counters(tmp_path, PullTotals(database), Exclusions.of(["SWROBOT"], ["Scanner/"]))
    for caller, agent in (((5, "SWROBOT"), "docker"), ((0, None), "scanner/2"), ((6, "SWME"), "docker")):
        counting.count_manifest(REGISTRY, image(1, tag=4), caller, agent, has_body=True)

    await serve_nothing(counting)

    assert await totals(database) == ({1: 1}, {4: 1})
    assert [row["key_id"] for row in await database.fetch("SELECT key_id FROM key_pulls")] == [6]


async def test_bytes_are_counted_with_the_pulls(database: Database, tmp_path: Path) -> None:
    """They travel in the same batches."""
    counting = counters(tmp_path, PullTotals(database))
    counting.count_bytes(REGISTRY, Kind.PROXIED_BYTES, 100)
    counting.count_bytes(REGISTRY, Kind.REDIRECTED_BYTES, 7)

    await serve_nothing(counting)

    row = await database.fetchrow("SELECT proxied_bytes, redirected_bytes FROM traffic_history")
    assert row is not None
    assert tuple(row) == (100, 7)


async def test_what_waits_is_told(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many counters wait to be written, and since when at most; nothing waits once all is written."""
    now = [1000.0]
    monkeypatch.setattr("gateway.services.counters.time", SimpleNamespace(time=time.time, monotonic=lambda: now[0]))
    index = FailingTotals(PullTotals(database))
    counting = counters(tmp_path, index)

    def waits() -> tuple[int, float]:
        return counting.unwritten, counting.unwritten_seconds()

    now[0] += 50
    await counting.write()
    assert waits() == (0, 0)
    now[0] += 1
    count(counting, image(1, tag=1))
    assert waits() == (2, 1)
    index.failures = ["away"]
    with pytest.raises(DatabaseUnavailable):
        await counting.write()
    now[0] += 9
    count(counting, image(2))
    assert waits() == (3, 10)
    # The older batch is written; what was counted since then is not.
    await counting.write()
    assert waits() == (1, 9)
    await counting.write()
    assert waits() == (0, 0)
