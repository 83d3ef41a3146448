"""Reading the audit log, and letting go of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.db.audit import AuditLog
from gateway.db.registries import ensure_default_registry
from gateway.model.access import Actor
from gateway.ports.access import AuditEntry
from gateway.ports.audit import AuditFilter
from gateway.services.audit import Audit

if TYPE_CHECKING:
    from gateway.db.pool import Database

ALICE, BOB = Actor(7, "alice", "SWALICE", "10.0.0.1"), Actor(8, "bob")
NOW = datetime.now(UTC)


@pytest.fixture
async def registry_id(database: Database) -> int:
    """Write seven lines, ten minutes apart, the last one now; return the id of the registry that some are about."""
    registry = (await ensure_default_registry(database, "test", "bucket")).id
    await AuditLog(database).add(
        [
            (ALICE, AuditEntry("registry.create", "default", registry)),
            (ALICE, AuditEntry("manifest.push", "app@sha256:1", registry)),
            (BOB, AuditEntry("manifest.push", "app@sha256:2", registry, after='{"tags": {}}')),
            (BOB, AuditEntry("account.create", "carol")),
            (Actor(None, "bob", "SWBOB", "10.0.0.9"), AuditEntry("login", "SWBOB", result="refused", count=17)),
            (ALICE, AuditEntry("registry.update", "gone", None, "gone")),
            (BOB, AuditEntry("tag.delete", "app:v1", registry)),
        ]
    )
    await database.execute("UPDATE audit_log SET happened_at = $1::timestamptz - (7 - id) * interval '10 minutes'", NOW)
    return registry


def minutes_ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


FILTERS: dict[str, tuple[AuditFilter, list[int]]] = {
    "everything": (AuditFilter(), [7, 6, 5, 4, 3, 2, 1]),
    "account": (AuditFilter(account="alice"), [6, 2, 1]),
    "action": (AuditFilter(action="manifest.push"), [3, 2]),
    "result": (AuditFilter(result="refused"), [5]),
    "since, which counts": (AuditFilter(since=minutes_ago(20)), [7, 6, 5]),
    "until, which does not": (AuditFilter(until=minutes_ago(40)), [2, 1]),
    "all at once": (AuditFilter(account="bob", action="manifest.push", result="done", since=minutes_ago(60)), [3]),
    "nothing": (AuditFilter(account="nobody"), []),
}


@pytest.mark.usefixtures("registry_id")
@pytest.mark.parametrize(("wanted", "ids"), FILTERS.values(), ids=FILTERS)
async def test_lines_are_found(database: Database, wanted: AuditFilter, ids: list[int]) -> None:
    """The newest come first, and each filter leaves out what does not fit."""
    assert [line.id for line in await Audit(AuditLog(database), days=1).list(wanted, None, 100)] == ids


async def test_lines_of_registries(database: Database, registry_id: int) -> None:
    """Who may see some registries only gets no line of others, and none that belongs to no registry."""
    audit = Audit(AuditLog(database), days=1)

    assert [line.id for line in await audit.list(AuditFilter((registry_id,)), None, 100)] == [7, 3, 2, 1]
    assert await audit.list(AuditFilter((registry_id + 1,)), None, 100) == []
    assert await audit.list(AuditFilter(()), None, 100) == []


@pytest.mark.usefixtures("registry_id")
async def test_pages_follow_each_other(database: Database) -> None:
    """The last id of a page leads to the next, whatever is written meanwhile."""
    audit, found, before = Audit(AuditLog(database), days=1), [], None
    while page := await audit.list(AuditFilter(), before, 3):
        found += [line.id for line in page]
        before = page[-1].id
        await AuditLog(database).add([(ALICE, AuditEntry("account.create", "late"))])

    assert found == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.usefixtures("registry_id")
async def test_a_line_keeps_what_it_was_given(database: Database) -> None:
    """Names are those of the moment: of the registry as it is now, or as the line says."""
    lines = {line.id: line for line in await AuditLog(database).list(AuditFilter(), None, 100)}

    assert (lines[5].account, lines[5].access_key_id, lines[5].address) == ("bob", "SWBOB", "10.0.0.9")
    assert (lines[5].result, lines[5].count, lines[5].object) == ("refused", 17, "SWBOB")
    assert (lines[3].before, lines[3].after, lines[3].registry) == (None, '{"tags": {}}', "default")
    assert lines[6].registry == "gone"


async def test_old_lines_are_dropped(database: Database) -> None:
    """All of them, batch by batch, by however many processes; younger ones stay."""
    log = AuditLog(database)
    await database.execute(
        "INSERT INTO audit_log (account, action, object, result, happened_at) "
        "SELECT 'a', 'b', i::text, 'done', now() - interval '30 days' + (i - 3500) * interval '1 minute' "
        "FROM generate_series(1, 3600) i"
    )

    await asyncio.gather(*(Audit(log, days=30).forget_old_lines() for _ in range(2)))

    left = await database.fetch("SELECT object FROM audit_log ORDER BY id")
    assert [row["object"] for row in left] == [str(n) for n in range(3501, 3601)]


async def test_old_lines_are_dropped_in_the_background(database: Database) -> None:
    """From the start on, for as long as the process runs."""
    await database.execute(
        "INSERT INTO audit_log (account, action, object, result, happened_at) "
        "VALUES ('a', 'b', 'old', 'done', now() - interval '2 days'), ('a', 'b', 'new', 'done', now())"
    )
    async with Audit(AuditLog(database), days=1).retaining():
        while len(rows := await database.fetch("SELECT object FROM audit_log")) > 1:
            pass

    assert [row["object"] for row in rows] == ["new"]
