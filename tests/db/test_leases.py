"""Leases of upload sessions, as rows: what a process does that has lost one, and when a session is to be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.db.owners import Owner
from gateway.db.registries import ensure_default_registry
from gateway.db.sweeping import Sweeping
from gateway.db.uploads import Uploads
from gateway.errors import LeaseLost, UploadUnknown
from gateway.model.digest import Digest
from gateway.model.names import RepositoryName
from gateway.ports.metadata import BlobRecord
from gateway.ports.storage import Part, Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from gateway.db.pool import Database
    from gateway.ports.metadata import Registry, UploadLease

    Write = Callable[[Uploads, Registry, UploadLease], Awaitable[object]]

REPOSITORY = RepositoryName("team/app")
STORAGE = "filesystem:/x"
DIGEST = Digest.of(b"content")
PART = Part(number=1, start=0, size=7, etag="a")

WRITES: dict[str, Write] = {
    "a target": lambda uploads, _, lease: uploads.new_target(lease.session_id, lease.epoch, "late"),
    "a segment": lambda uploads, _, lease: uploads.new_segment(lease.session_id, lease.epoch, "late"),
    "a multipart upload": lambda uploads, _, lease: uploads.record_multipart(lease.session_id, lease.epoch, "m", 7),
    "part numbers": lambda uploads, _, lease: uploads.reserve_part_numbers(lease.session_id, lease.epoch, 9),
    "completing": lambda uploads, _, lease: uploads.record_completing(lease.session_id, lease.epoch),
    "a question": lambda uploads, _, lease: uploads.confirm_lease(lease.session_id, lease.epoch),
    "progress": lambda uploads, _, lease: uploads.record_progress(lease.session_id, lease.epoch, 7, [PART], b"hash"),
    "a checkpoint": lambda uploads, _, lease: uploads.commit_checkpoint(
        lease.session_id, lease.epoch, Stored("key", parts=(PART,), solid=7), b"hash"
    ),
    "a blob": lambda uploads, registry, lease: uploads.publish_upload(
        registry, REPOSITORY, lease.session_id, lease.epoch, BlobRecord(DIGEST, 7, "key")
    ),
    "a blob that was there": lambda uploads, registry, lease: uploads.finish_upload(
        registry, REPOSITORY, lease.session_id, lease.epoch, DIGEST
    ),
    "giving it up": lambda uploads, _, lease: uploads.discard_upload(lease.session_id, lease.epoch),
}


@pytest.fixture
async def registry(database: Database) -> Registry:
    return await ensure_default_registry(database, STORAGE, "bucket")


def of_process(database: Database, name: str) -> Uploads:
    return Uploads(database, Owner("here", name))


async def begin(uploads: Uploads, registry: Registry) -> UploadLease:
    """Begin a session, an object in it, and a multipart upload."""
    session = await uploads.start_upload(registry, REPOSITORY, "sha256", None)
    lease = await acquire(uploads, session)
    assert lease is not None
    await uploads.new_target(session, lease.epoch, "key")
    await uploads.record_multipart(session, lease.epoch, "multipart", 5)
    return lease


async def acquire(uploads: Uploads, session: UUID) -> UploadLease | None:
    return await uploads.acquire_upload(session, adopt_progress=True)


async def let_pass(database: Database, minutes: int) -> None:
    """Let time pass for all sessions."""
    await database.execute(
        "UPDATE upload_sessions SET lease_expires_at = lease_expires_at - make_interval(mins => $1),"
        " expires_at = expires_at - make_interval(mins => $1)",
        minutes,
    )


async def rows(database: Database) -> dict[str, list[object]]:
    """Return all that is known of uploads."""
    tables = "upload_sessions", "objects", "upload_parts", "upload_segments", "upload_tombstones", "blobs"
    return {table: list(await database.fetch(f"SELECT * FROM {table} ORDER BY 1")) for table in tables}


async def lose(database: Database, lease: UploadLease) -> None:
    """Let a lease run out, and have another process take it."""
    await let_pass(database, 1)
    assert await acquire(of_process(database, "2.1"), lease.session_id) is not None


@pytest.mark.parametrize("write", WRITES)
async def test_who_has_lost_a_lease_writes_nothing(database: Database, registry: Registry, write: str) -> None:
    """Whatever it does not know yet, it hears of its next write, which changes nothing at all."""
    uploads = of_process(database, "1.1")
    lease = await begin(uploads, registry)
    await lose(database, lease)
    before = await rows(database)

    with pytest.raises(LeaseLost):
        await WRITES[write](uploads, registry, lease)

    assert await rows(database) == before


async def test_who_has_lost_a_lease_neither_keeps_it_nor_gives_it_back(database: Database, registry: Registry) -> None:
    """It is another one's."""
    uploads = of_process(database, "1.1")
    lost, kept = await begin(uploads, registry), await acquire_new(uploads, registry)
    await lose(database, lost)
    before = await rows(database)

    await uploads.release_upload(lost.session_id, lost.epoch, keep_progress=False)
    assert await rows(database) == before
    assert await uploads.renew_leases([(each.session_id, each.epoch) for each in (lost, kept)]) == {kept.session_id}


async def acquire_new(uploads: Uploads, registry: Registry) -> UploadLease:
    lease = await acquire(uploads, await uploads.start_upload(registry, REPOSITORY, "sha256", None))
    assert lease is not None
    return lease


async def test_a_session_is_one_process_s_until_its_lease_runs_out(database: Database, registry: Registry) -> None:
    """Neither its owner has it twice."""
    first, second = of_process(database, "1.1"), of_process(database, "2.1")
    lease = await acquire_new(first, registry)

    assert [await acquire(each, lease.session_id) for each in (first, second)] == [None, None]
    await let_pass(database, 1)
    taken = await acquire(second, lease.session_id)
    assert taken is not None
    assert taken.epoch > lease.epoch
    assert await acquire(first, lease.session_id) is None


async def test_the_time_of_a_session_begins_anew_with_each_lease(database: Database, registry: Registry) -> None:
    """Who takes it shortly before its end has a whole day again."""
    uploads = of_process(database, "1.1")
    lease = await acquire_new(uploads, registry)
    await let_pass(database, 24 * 60 - 1)
    assert await acquire(uploads, lease.session_id) is not None

    await let_pass(database, 24 * 60 - 1)
    assert await Sweeping(database, STORAGE).end_expired(registry, 100) == 0
    assert await acquire(uploads, lease.session_id) is not None


async def test_nobody_loses_a_session_to_the_sweeper_while_its_lease_holds(
    database: Database, registry: Registry
) -> None:
    """A request may last for longer than the time of its session."""
    uploads = of_process(database, "1.1")
    lasting, over = await acquire_new(uploads, registry), await acquire_new(uploads, registry)
    await let_pass(database, 24 * 60)
    await uploads.renew_leases([(lasting.session_id, lasting.epoch)])

    assert await Sweeping(database, STORAGE).end_expired(registry, 100) == 1
    await uploads.confirm_lease(lasting.session_id, lasting.epoch)
    with pytest.raises(LeaseLost):
        await uploads.confirm_lease(over.session_id, over.epoch)


async def test_a_session_whose_time_is_over_is_gone_for_everybody(database: Database, registry: Registry) -> None:
    """Before it is swept as well."""
    uploads = of_process(database, "1.1")
    session = (await acquire_new(uploads, registry)).session_id
    await let_pass(database, 24 * 60)

    with pytest.raises(UploadUnknown):
        await uploads.fetch_upload(registry, REPOSITORY, session, None)
    with pytest.raises(UploadUnknown):
        await uploads.cancel_upload(registry, REPOSITORY, session, None)
    assert await acquire(uploads, session) is None
    assert await Sweeping(database, STORAGE).end_expired(registry, 100) == 1
