"""Uploads that nobody goes on with: they end, nothing of them is left, and those that live are not touched."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gateway.db.objects import Objects
from gateway.db.sweeping import Sweeping
from gateway.errors import BucketMissing, StorageUnavailable, UploadUnknown
from gateway.model.collection import Event
from gateway.model.digest import Digest
from gateway.services.markers import Markers
from gateway.services.removal import Remover
from gateway.services.sweeping import Sweeper
from gateway.services.upload import Body

from .conftest import PART_SIZE, REPOSITORY, Held, Process, body

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.ports.metadata import Registry
    from gateway.ports.storage import Location

# A part, and a tail behind it.
CONTENT = random.Random(1).randbytes(PART_SIZE + 1000)


class Objector:
    """A guard that says what it was told to say, or fails."""

    def __init__(self, answer: str | Exception | None) -> None:
        self.answer = answer

    async def objection(self, registry: Registry) -> str | None:
        del registry
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def sweeper(process: Process, *guards: Objector) -> Sweeper:
    return Sweeper(Sweeping(process.database, "test"), process.remover, guards)


async def abandon(process: Process, content: bytes = CONTENT) -> UUID:
    """Begin an upload and let its time run out."""
    session = await process.push.start(process.registry, REPOSITORY)
    if content:
        await process.push.append(process.registry, REPOSITORY, session, body(content))
    await expire(process, session)
    return session


async def expire(process: Process, session: UUID) -> None:
    await process.database.execute(
        "UPDATE upload_sessions SET expires_at = now(), lease_expires_at = lease_expires_at - interval '1 hour' "
        "WHERE id = $1",
        session,
    )


async def sessions(process: Process) -> int:
    return len(await process.database.fetch("SELECT FROM upload_sessions"))


async def test_nothing_is_left_of_an_abandoned_upload(process: Process) -> None:
    """Parts, multipart uploads, tails and files go, and in the end their rows as well."""
    await abandon(process)
    await abandon(process, CONTENT[:100])
    await abandon(process, b"")
    assert process.everything()

    assert await sweeper(process).sweep() == 3
    await process.remover.remove_all()

    assert process.everything() == []
    await process.database.execute("UPDATE objects SET removed_at = now() - interval '1 hour'")
    await process.remover.remove_all()
    for table in ("objects", "upload_sessions", "upload_parts", "upload_segments"):
        assert await process.database.fetch(f"SELECT FROM {table}") == []


async def test_an_upload_that_may_go_on_is_left(process: Process) -> None:
    """Neither one whose time has not come, nor one that a process still works on after it."""
    resting = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, resting, body(CONTENT[:100]))
    working = await process.push.start(process.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    source = Held(reached, go_on, CONTENT)
    request = asyncio.create_task(
        process.push.append(process.registry, REPOSITORY, working, Body(source, len(CONTENT)))
    )
    await reached.wait()
    await process.database.execute("UPDATE upload_sessions SET expires_at = now() WHERE id = $1", working)

    assert await sweeper(process).sweep() == 0
    await process.remover.remove_all()
    go_on.set()

    assert await request == len(CONTENT)
    for session, offset in ((resting, 100), (working, len(CONTENT))):
        row = await process.database.fetchrow("SELECT committed_offset FROM upload_sessions WHERE id = $1", session)
        assert row is not None
        assert row[0] == offset


async def test_a_request_may_take_longer_than_a_session_lives(process: Process) -> None:
    """What it was answered for is there afterwards, for as long as anything."""
    session = await process.push.start(process.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    content = Body(Held(reached, go_on, CONTENT), len(CONTENT))
    request = asyncio.create_task(process.push.append(process.registry, REPOSITORY, session, content))
    await reached.wait()
    await process.database.execute("UPDATE upload_sessions SET expires_at = now() - interval '1 hour'")

    await process.leases.renew()
    go_on.set()

    assert await request == len(CONTENT)
    assert await sweeper(process).sweep() == 0
    await process.push.close(process.registry, REPOSITORY, session, body(), Digest.of(CONTENT))
    assert await process.content(Digest.of(CONTENT)) == CONTENT


async def test_a_client_that_comes_back_first_keeps_its_session(process: Process) -> None:
    """While its row is being taken, the session is passed over, and nobody waits."""
    session = await abandon(process, CONTENT[:100])
    async with process.database.connection() as connection, connection.transaction():
        await connection.fetch("SELECT FROM upload_sessions WHERE id = $1 FOR UPDATE", session)

        assert await sweeper(process).sweep() == 0
        await connection.execute("UPDATE upload_sessions SET expires_at = now() + interval '1 day'")

    await process.push.close(process.registry, REPOSITORY, session, body(), Digest.of(CONTENT[:100]))
    assert await process.content(Digest.of(CONTENT[:100])) == CONTENT[:100]


async def test_a_request_that_has_lost_its_lease_finds_the_session_gone(process: Process) -> None:
    """A process that hung past its lease writes nothing more that would stay: the client begins anew."""
    session = await process.push.start(process.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    source = Held(reached, go_on, CONTENT)
    request = asyncio.create_task(
        process.push.close(process.registry, REPOSITORY, session, Body(source, len(CONTENT)), Digest.of(CONTENT))
    )
    await reached.wait()
    await expire(process, session)

    assert await sweeper(process).sweep() == 1
    go_on.set()

    with pytest.raises(UploadUnknown):
        await request
    await process.remover.remove_all()
    await process.database.execute("UPDATE objects SET removed_at = now() - interval '1 hour'")
    await process.remover.remove_all()
    assert process.everything() == []
    assert await process.objects() == []


async def test_two_processes_sweep_each_upload_once(process: Process) -> None:
    """They share the work, and more than a batch of it ends in one round."""
    for _ in range(250):
        await process.push.start(process.registry, REPOSITORY)
    await process.database.execute("UPDATE upload_sessions SET expires_at = now()")

    ended = await asyncio.gather(sweeper(process).sweep(), sweeper(process).sweep())

    assert sum(ended) == 250
    assert await sessions(process) == 0


async def test_uploads_to_a_deleted_registry_are_swept(process: Process) -> None:
    """Those that began while it was being deleted, and whoever cannot look into its bucket any more is not asked."""
    await abandon(process)
    await process.database.execute("UPDATE registries SET deleted_at = now()")

    assert await sweeper(process, Objector(BucketMissing("gone"))).sweep() == 1
    await process.remover.remove_all()

    assert process.everything() == []


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_bucket_that_is_gone(process: Process, caplog: pytest.LogCaptureFixture, *, is_deleted: bool) -> None:
    """What a deleted registry had there is forgotten, at the second look; of a living one nothing is."""
    await abandon(process)
    assert await sweeper(process).sweep() == 1
    await process.database.execute(
        "UPDATE registries SET bucket = 'gone', deleted_at = CASE WHEN $1 THEN now() END", is_deleted
    )
    before = len(await process.objects())
    for left in (before, 0 if is_deleted else before):
        remover = process.remover_with(process.catalogue_of("installation").guard)
        await remover.remove_all()
        assert len(await process.objects()) == left
        await process.database.execute("UPDATE objects SET removed_at = removed_at - interval '1 hour'")

    assert before
    assert bool(caplog.records) is not is_deleted


@pytest.mark.parametrize("answer", ["the catalogue is ahead of the database", StorageUnavailable("away")])
async def test_nothing_is_swept_or_removed_while_somebody_objects(
    process: Process, answer: str | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor where nobody can say whether there is something to object to; once in a round is said of a registry."""
    for _ in range(2):
        await abandon(process)
    before = process.everything()
    guard, counted = Objector(answer), Counter[Event]()

    assert await sweeper(process, guard).sweep() == 0
    assert await sessions(process) == 2
    assert await sweeper(process).sweep() == 2
    remover = process.remover_with(guard, tally=lambda event, number=1, /: counted.update({event: number}))
    caplog.clear()
    await remover.remove_all()
    assert process.everything() == before
    assert [record.getMessage() for record in caplog.records] == [
        f"objects in the bucket {process.registry.bucket} are not removed: {answer}"
    ]
    assert counted[Event.FAILED_REMOVALS] == int(isinstance(answer, Exception))

    guard.answer = None
    await remover.remove_all()
    assert process.everything() == []


async def test_a_bucket_that_refuses_does_not_keep_the_others_waiting(process: Process) -> None:
    """A few of its objects are tried in each round, the next ones in the next, and then the first ones again.

    Those that were removed once, and are to be removed again, do not keep the others waiting either.
    """
    await process.database.execute(
        "INSERT INTO registries (public_id, name, storage, bucket)"
        "    SELECT repeat(number::text, 32), bucket, 'test', bucket"
        "    FROM (VALUES (1, 'refusing'), (2, 'willing')) AS registry (number, bucket);"
        "INSERT INTO objects (registry_id, key, state, removed_at)"
        "    SELECT id, bucket || number, 'removing', CASE WHEN number < 0 THEN now() - interval '1 hour' END"
        "    FROM registries, unnest('{-5, -4, -3, -2, 1, 2, 3, 4, 5}'::integer[]) AS number"
        "    WHERE bucket = 'refusing' OR bucket = 'willing' AND number > 0 ORDER BY bucket, number"
    )
    asked: list[str] = []

    class Refusing:
        async def remove(self, location: Location, multipart_id: str | None) -> None:
            del multipart_id
            asked.append(location.key)
            if location.bucket == "refusing":
                raise StorageUnavailable("denied")

    class Ours(Markers):
        async def may_remove(self, registry: Registry) -> bool:
            del registry
            return True

    storage: Any = Refusing()
    remover = Remover(Objects(process.database, "test"), storage, Ours(process.storage.buckets, "installation"))

    rounds = []
    for _ in range(3):
        await remover.remove_all()
        rounds.append(asked[:])
        asked.clear()

    willing = [f"willing{number}" for number in range(1, 6)]
    assert rounds == [
        ["refusing-5", "refusing-4", "refusing-3", "refusing1", "refusing2", "refusing3", *willing],
        ["refusing-2", "refusing4", "refusing5"],
        ["refusing-5", "refusing-4", "refusing-3", "refusing1", "refusing2", "refusing3"],
    ]


async def test_old_tombstones_go(process: Process) -> None:
    """What a finished session came to is told again for an hour."""
    for number in range(2):
        session = await process.push.start(process.registry, REPOSITORY)
        content = b"content %d" % number
        await process.push.close(process.registry, REPOSITORY, session, body(content), Digest.of(content))
    await process.database.execute(
        "UPDATE upload_tombstones SET expires_at = now() WHERE digest = $1", str(Digest.of(b"content 0"))
    )

    await sweeper(process).sweep()

    rows = await process.database.fetch("SELECT digest FROM upload_tombstones")
    assert [row["digest"] for row in rows] == [str(Digest.of(b"content 1"))]
