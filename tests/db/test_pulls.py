"""Pull counters in the database: batches go in once, and reports are index reads."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import pytest_asyncio

from gateway.db.pull_reports import PullReports
from gateway.db.pulls import PullTotals
from gateway.db.registries import ensure_default_registry
from gateway.db.repositories import ensure_repository
from gateway.errors import RepositoryUnknown
from gateway.model.names import RepositoryName, Tag
from gateway.ports.counters import Batch, Count, CountKey, Kind
from gateway.ports.pulls import Day, RepositoryPulls, TagPulls, Traffic

from .plans import BY_INDEX, explain, filled_database, scans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.db.pool import Database
    from support.databases import Server

HOUR = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()) // 3600
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def pull(manifest: int = 3, *, repository: int = 2, key: int = 0, hour: int = HOUR, amount: int = 1) -> Count:
    return Count(CountKey(Kind.PULL, 1, repository, manifest, key, hour), amount, hour * 3600 + 60)


def resolution(tag: int, amount: int = 1, hour: int = HOUR) -> Count:
    return Count(CountKey(Kind.RESOLUTION, 1, 2, tag, 0, hour), amount, hour * 3600 + 60)


def batch(*counts: Count, number: int = 1) -> Batch:
    return Batch(uuid4(), number, counts)


async def dump(database: Database, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await database.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]


async def test_a_batch_is_added_to_all_totals(database: Database) -> None:
    """By repository, manifest and key, and to the history of its hour."""
    totals = PullTotals(database)
    at = datetime.fromtimestamp(HOUR * 3600, UTC)

    await totals.apply(batch(pull(3, amount=2), pull(4, key=9, amount=5), resolution(8, 7)))
    await totals.apply(batch(pull(3, hour=HOUR + 1), resolution(8, hour=HOUR - 1)))

    later = at + timedelta(hours=1, seconds=60)
    seconds = timedelta(seconds=60)
    assert await dump(database, "repository_pulls") == [
        {"repository_id": 2, "registry_id": 1, "pulls": 8, "last_pulled_at": later}
    ]
    assert [(row["manifest_id"], row["pulls"]) for row in await dump(database, "manifest_pulls")] == [(3, 3), (4, 5)]
    assert [(row["key_id"], row["pulls"]) for row in await dump(database, "key_pulls")] == [(0, 3), (9, 5)]
    assert await dump(database, "tag_resolutions") == [{"tag_id": 8, "resolutions": 8, "last_pulled_at": at + seconds}]
    assert [
        (row["starts_at"], row["manifest_id"], row["key_id"], row["pulls"])
        for row in await database.fetch("SELECT * FROM pull_history ORDER BY starts_at, manifest_id")
    ] == [(at, 3, 0, 2), (at, 4, 9, 5), (at + timedelta(hours=1), 3, 0, 1)]
    assert [row["resolutions"] for row in await dump(database, "resolution_history")] == [1, 7]


async def test_bytes_are_two_figures(database: Database) -> None:
    """What was proxied, and what redirects offered."""
    registry = await ensure_default_registry(database, "filesystem:/x", "default")
    keys = [CountKey(kind, registry.id, hour=HOUR) for kind in (Kind.PROXIED_BYTES, Kind.REDIRECTED_BYTES)]

    for _ in range(2):
        await PullTotals(database).apply(batch(Count(keys[0], 10, 1), Count(keys[1], 3, 1)))

    hour = datetime.fromtimestamp(HOUR * 3600, UTC)
    assert await PullReports(database).traffic(registry, LONG_AGO) == [Traffic(hour, proxied=20, redirected=6)]


async def test_a_number_is_added_once(database: Database) -> None:
    """Whoever lost the answer to a commit repeats the batch, and an older one that comes late is not added either."""
    totals = PullTotals(database)
    first, second = batch(pull()), batch(pull(amount=10), number=2)
    second = Batch(first.journal, 2, second.counts)

    for each in (first, first, second, first, second):
        await totals.apply(each)

    assert [row["pulls"] for row in await dump(database, "repository_pulls")] == [11]


async def test_the_same_batch_twice_at_once_is_added_once(database: Database) -> None:
    """A process that hangs and the one that took over its journal."""
    totals, same = PullTotals(database), batch(pull())

    await asyncio.gather(*(totals.apply(same) for _ in range(5)))

    assert [row["pulls"] for row in await dump(database, "repository_pulls")] == [1]


async def test_many_batches_at_once_add_up(database: Database) -> None:
    """Processes that count the same things wait for each other, in one order."""
    totals = PullTotals(database)
    counts = [pull(manifest, repository=repository) for repository in range(10) for manifest in range(10)]

    await asyncio.gather(*(totals.apply(batch(*counts[turn:], *counts[:turn])) for turn in range(0, 100, 5)))

    assert [row["pulls"] for row in await dump(database, "repository_pulls")] == [200] * 10


async def test_hours_become_days(database: Database) -> None:
    """What is older than the retention is added up by the day, in UTC, and nothing is lost or counted twice."""
    totals = PullTotals(database)
    await totals.apply(batch(*(pull(hour=HOUR + each) for each in range(-12, 30)), resolution(8, 3), resolution(8, 4)))
    before = await database.fetchrow("SELECT sum(pulls) AS pulls FROM pull_history")
    midnight = datetime(2026, 3, 2, tzinfo=UTC)

    moved = [await totals.roll_up(midnight, 10) for _ in range(5)]
    await totals.apply(batch(pull(hour=HOUR)))
    moved.append(await totals.roll_up(midnight, 10))

    rows = await database.fetch("SELECT starts_at, pulls FROM pull_history WHERE span = 24 ORDER BY starts_at")
    assert [tuple(row) for row in rows] == [
        (datetime(2026, 2, 28, tzinfo=UTC), 2),
        (datetime(2026, 3, 1, tzinfo=UTC), 25),
    ]
    assert before is not None
    after = await database.fetchrow("SELECT sum(pulls) AS pulls FROM pull_history")
    assert after is not None
    assert after["pulls"] == before["pulls"] + 1
    assert sum(moved) == 26 + 1 + 1
    assert [row["resolutions"] for row in await dump(database, "resolution_history")] == [7]


@pytest.fixture
async def images(database: Database) -> Database:
    """Three repositories, of which one has no manifest; a tag each for an image and an index of it."""
    registry = await ensure_default_registry(database, "filesystem:/x", "default")
    await database.execute(
        f"""
        INSERT INTO repositories (registry_id, name) SELECT {registry.id}, unnest('{{a,b,c}}'::text[]);
        INSERT INTO repository_pulls (repository_id, registry_id) SELECT id, registry_id FROM repositories;
        INSERT INTO manifests (repository_id, digest, media_type, kind, raw)
        SELECT id, 'sha256:image', 'm', 'image', '' FROM repositories WHERE name <> 'c';
        INSERT INTO manifests (repository_id, digest, media_type, kind, raw)
        SELECT id, 'sha256:index', 'm', 'index', '' FROM repositories WHERE name = 'b';
        INSERT INTO manifest_references (manifest_id, repository_id, child_digest, kind)
        SELECT id, repository_id, 'sha256:image', 'child' FROM manifests WHERE kind = 'index';
        INSERT INTO tags (repository_id, name, manifest_id) SELECT repository_id, kind, id FROM manifests
        """
    )
    return database


async def test_reports(images: Database) -> None:
    """The most pulled first; an index has the pulls of its children; days of a history, the latest first."""
    registry = await ensure_default_registry(images, "filesystem:/x", "default")
    image = await images.fetchrow(
        "SELECT tags.id, tags.manifest_id, tags.repository_id FROM tags JOIN repositories "
        "ON repositories.id = repository_id WHERE repositories.name = 'b' AND tags.name = 'image'"
    )
    assert image is not None
    tag_id, manifest_id, repository_id = image
    counts = [pull(manifest_id, repository=repository_id, hour=HOUR + hours) for hours in (0, 1, 24)]
    await PullTotals(images).apply(batch(*counts, resolution(tag_id, 4), resolution(tag_id, 1, HOUR + 24)))
    reports = PullReports(images)

    top = await reports.top_repositories(registry, 10)
    b = await reports.repository(registry, RepositoryName("b"))

    at = datetime.fromtimestamp((HOUR + 24) * 3600 + 60, UTC)
    assert [(each.repository, each.pulls, each.last_pulled_at) for each in top] == [("b", 3, at), ("a", 0, None)]
    assert await reports.top_repositories(registry, 10, after=top[0]) == top[1:]
    assert b == top[0]
    assert await reports.tags(b, "", 10) == [TagPulls("image", 3, 5, at), TagPulls("index", 3, 0, None)]
    assert await reports.tags(b, "image", 10) == [TagPulls("index", 3, 0, None)]
    days = [datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)]
    assert await reports.history(b, LONG_AGO) == [Day(days[0], 1), Day(days[1], 2)]
    assert await reports.history(b, days[0]) == [Day(days[0], 1)]
    assert await reports.tag_history(b, Tag("image"), LONG_AGO) == [Day(days[0], 1), Day(days[1], 4)]
    with pytest.raises(RepositoryUnknown):
        await reports.repository(registry, RepositoryName("nowhere"))


LONG_HISTORY = """
INSERT INTO registries (public_id, name, storage, bucket) VALUES (repeat('0', 32), 'a', 'b', 'c');
INSERT INTO repositories (registry_id, name) SELECT 1, 'r' || i FROM generate_series(1, 5000) i;
INSERT INTO repository_pulls SELECT i, 1, i % 1000, now() FROM generate_series(1, 5000) i;
INSERT INTO manifests (repository_id, digest, media_type, kind, raw)
SELECT i, 'd', 'm', CASE WHEN i % 3 = 0 THEN 'index' ELSE 'image' END, '' FROM generate_series(1, 5000) i;
INSERT INTO manifest_references SELECT i, i, 'd', 'child' FROM generate_series(1, 5000) i;
INSERT INTO manifest_pulls SELECT i, i, now() FROM generate_series(1, 5000) i;
INSERT INTO tags (repository_id, name, manifest_id) SELECT i, 't', i FROM generate_series(1, 5000) i;
INSERT INTO tag_resolutions SELECT i, i, now() FROM generate_series(1, 5000) i;
INSERT INTO pull_history SELECT i % 500, '2026-01-01'::timestamptz + i * interval '1 hour', 1, i, 0, 1
FROM generate_series(1, 20000) i;
INSERT INTO resolution_history SELECT i % 500, '2026-01-01'::timestamptz + i * interval '1 hour', 1, 1
FROM generate_series(1, 20000) i;
INSERT INTO traffic_history SELECT i % 50, '2026-01-01'::timestamptz + i * interval '1 hour', 1, 1
FROM generate_series(1, 20000) i
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def much(server: Server) -> AsyncIterator[str]:
    """Address of a database with many repositories and a long history."""
    async with filled_database(server, LONG_HISTORY) as url:
        yield url


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("list_repository_pulls", "1, 100, 5, 50"),
        ("fetch_repository_pulls", "1, 'r77'"),
        ("list_tag_pulls", "77, '', 50"),
        ("list_pull_history", "77, '2026-01-01'"),
        ("list_resolution_history", "77, 't', '2026-01-01'"),
        ("list_traffic_history", "1, '2026-01-01'"),
    ],
)
async def test_a_report_is_an_index_read(much: str, name: str, arguments: str) -> None:
    """However many repositories there are, and however long their history is."""
    found = scans(await explain(much, name, arguments))

    assert found
    assert found <= BY_INDEX


async def test_repositories_are_counted_from_their_first_day(database: Database) -> None:
    """A list that is read from the index of pulls must know images that nobody has pulled yet."""
    registry = await ensure_default_registry(database, "filesystem:/x", "default")
    async with database.connection() as connection, connection.transaction():
        repository_id = await ensure_repository(connection, registry, RepositoryName("new"))

    assert await PullReports(database).repository(registry, RepositoryName("new")) == RepositoryPulls(
        repository_id, "new", 0, None
    )
    assert [row["repository_id"] for row in await dump(database, "repository_pulls")] == [repository_id]
