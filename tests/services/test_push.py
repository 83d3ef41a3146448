"""Upload sessions: what survives, what is published, and who wins."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.db.blobs import Blobs
from gateway.db.owners import Owner
from gateway.errors import (
    BlobUnknown,
    BodyCut,
    DatabaseUnavailable,
    DigestMismatch,
    LeaseLost,
    ObjectDamaged,
    SizeInvalid,
    StorageUnavailable,
    UploadOutOfOrder,
    UploadTooLarge,
    UploadUnknown,
)
from gateway.model.digest import Digest
from gateway.model.names import RepositoryName
from gateway.model.ranges import ByteRange
from gateway.ports.metadata import BlobRecord
from gateway.services import hashing
from gateway.services.push import Push
from gateway.services.upload import Body

from .conftest import ACTOR, PART_SIZE, REPOSITORY, Held, Process, Source, StartProcess, body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from gateway.ports.metadata import UploadLease
    from gateway.ports.storage import Appender, Completed, Location

# The first is a part and some more, the second does not fill the next one.
FIRST, SECOND = random.Random(1).randbytes(PART_SIZE + 1000), random.Random(2).randbytes(500_000)
WHOLE = FIRST + SECOND
DIGEST = Digest.of(WHOLE)


async def test_a_blob_goes_in_and_comes_out(process: Process) -> None:
    """What was pushed in two requests is pulled as one blob."""
    session = await process.push.start(process.registry, REPOSITORY)

    assert await process.push.append(process.registry, REPOSITORY, session, body(FIRST)) == len(FIRST)
    await process.push.close(process.registry, REPOSITORY, session, body(SECOND), DIGEST)

    assert await process.content(DIGEST) == WHOLE


@pytest.mark.parametrize("exportable", [True, False])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_every_digest_is_verified_over_several_requests(
    process: Process, monkeypatch: pytest.MonkeyPatch, algorithm: str, exportable: bool
) -> None:
    """A digest is verified whether or not the state of its hash can be carried from request to request."""
    monkeypatch.setattr(hashing, "EXPORTABLE", exportable)
    right, wrong = Digest.of(WHOLE, algorithm), Digest.of(b"something else", algorithm)
    for digest in (wrong, right):
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
        await process.push.append(process.registry, REPOSITORY, session, body(SECOND))
        closing = process.push.close(process.registry, REPOSITORY, session, body(), digest)
        if digest == right:
            await closing
        else:
            with pytest.raises(DigestMismatch):
                await closing

    assert await process.content(right) == WHOLE
    with pytest.raises(BlobUnknown):
        await process.content(wrong)


async def test_a_wrong_digest_leaves_nothing_behind(process: Process) -> None:
    """After a mismatch the session is gone, and so is what it has stored."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
    assert process.everything()

    with pytest.raises(DigestMismatch):
        await process.push.close(process.registry, REPOSITORY, session, body(SECOND), Digest.of(b"other"))
    await process.remover.remove_all()

    with pytest.raises(UploadUnknown):
        await process.push.status(process.registry, REPOSITORY, session, adopt=False)
    assert process.everything() == []


async def test_a_finished_session_answers_again(process: Process) -> None:
    """A client that lost the answer may close again: with the same digest it is told so, with another not."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)

    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)

    with pytest.raises(UploadUnknown):
        await process.push.close(process.registry, REPOSITORY, session, body(), Digest.of(b"other"))
    with pytest.raises(UploadUnknown):
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST))


async def test_a_finished_session_whose_blob_was_deleted_is_gone(process: Process) -> None:
    """Nobody is told of a blob that is not there: the client that closes again sends it in a new session."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)
    await process.pull.delete(process.registry, REPOSITORY, DIGEST, ACTOR)

    with pytest.raises(UploadUnknown):
        await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)


async def test_who_closes_again_may_rely_on_the_blob(process: Process) -> None:
    """The time for which a blob is kept without a manifest begins anew, as with the first answer."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)
    await process.database.execute(
        "UPDATE repository_blobs SET unreferenced_since = now() - interval '23 hours' WHERE digest = $1", str(DIGEST)
    )

    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)

    blob = await process.pull.find(process.registry, REPOSITORY, DIGEST)
    assert blob.unreferenced_for is not None
    assert blob.unreferenced_for < 23 * 3600


async def test_a_session_belongs_to_its_repository(process: Process) -> None:
    """Another repository does not know the session."""
    session = await process.push.start(process.registry, REPOSITORY)

    with pytest.raises(UploadUnknown):
        await process.push.append(process.registry, RepositoryName("other"), session, body(FIRST))


async def test_a_cut_body_can_be_continued_where_get_says(process: Process) -> None:
    """What was durable of a cut body counts once a client has asked for it, and goes on from there."""
    session = await process.push.start(process.registry, REPOSITORY)
    with pytest.raises(BodyCut):
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST, None))

    assert await process.push.status(process.registry, REPOSITORY, session, adopt=False) == 0
    offset = await process.push.status(process.registry, REPOSITORY, session, adopt=True)
    assert 0 < offset <= len(FIRST)
    assert await process.push.status(process.registry, REPOSITORY, session, adopt=False) == offset
    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE[offset:], start=offset), DIGEST)

    assert await process.content(DIGEST) == WHOLE


async def test_a_cut_body_can_be_sent_again_whole(process: Process) -> None:
    """A body without Content-Range begins where the last answer left the session, whatever was cut since."""
    session = await process.push.start(process.registry, REPOSITORY)
    with pytest.raises(BodyCut):
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST, None))

    await process.push.append(process.registry, REPOSITORY, session, body(WHOLE))
    await process.push.close(process.registry, REPOSITORY, session, body(), DIGEST)

    assert await process.content(DIGEST) == WHOLE


async def test_a_ranged_body_may_go_on_at_the_progress(process: Process) -> None:
    """A chunk that starts at the durable end of a cut body fits, without a GET before."""
    session = await process.push.start(process.registry, REPOSITORY)
    with pytest.raises(BodyCut):
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST, None))
    progress = (await process.uploads.fetch_upload(process.registry, REPOSITORY, session, None)).progress
    assert progress > 0

    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE[progress:], start=progress), DIGEST)

    assert await process.content(DIGEST) == WHOLE


@pytest.mark.parametrize("start", [1, len(FIRST) - 1, len(FIRST) + 1, 0])
async def test_a_chunk_in_the_wrong_place_changes_nothing(process: Process, start: int) -> None:
    """Gaps, overlaps and replays are refused with the true offset, and the session goes on."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))

    with pytest.raises(UploadOutOfOrder) as refused:
        await process.push.append(process.registry, REPOSITORY, session, body(SECOND, start=start))

    assert refused.value.offset == len(FIRST)
    await process.push.close(process.registry, REPOSITORY, session, body(SECOND, start=len(FIRST)), DIGEST)
    assert await process.content(DIGEST) == WHOLE


async def test_a_body_of_the_wrong_length_leaves_the_offset(process: Process) -> None:
    """Bytes of a body that broke its promise are dropped, even those that were recorded as durable on the way."""
    session = await process.push.start(process.registry, REPOSITORY)

    async def break_the_promise() -> None:
        # Files record their progress every 32 MiB, S3 with every part of 5 MiB.
        while (
            await process.uploads.fetch_upload(process.registry, REPOSITORY, session, None)
        ).progress < 6 * PART_SIZE:
            pass
        raise SizeInvalid("shorter than announced")

    long = Source(bytes(33 * 1024 * 1024), before_end=break_the_promise)
    with pytest.raises(SizeInvalid):
        await process.push.append(process.registry, REPOSITORY, session, Body(long, None))

    assert await process.push.status(process.registry, REPOSITORY, session, adopt=True) == 0


@pytest.mark.parametrize("too_many", [1, 2_000_000])
async def test_a_blob_that_is_there_all_at_once_grows_up_to_the_limit_only(process: Process, too_many: int) -> None:
    """Bytes count against the limit on blobs also when they are received without waiting, and end there."""
    limited = Push(
        process.uploads,
        Blobs(process.database),
        process.storage.port,
        process.leases,
        process.remover,
        largest_blob=len(FIRST),
    )
    session = await limited.start(process.registry, REPOSITORY)

    with pytest.raises(UploadTooLarge):
        await limited.append(process.registry, REPOSITORY, session, Body(Source(FIRST + bytes(too_many)), None))

    assert await limited.status(process.registry, REPOSITORY, session, adopt=True) == 0
    await limited.close(process.registry, REPOSITORY, session, Body(Source(FIRST), None), Digest.of(FIRST))
    assert await process.content(Digest.of(FIRST)) == FIRST


async def test_a_chunk_that_was_overtaken_is_refused(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that fitted when it was looked at, and does not when it gets its turn, changes nothing."""
    session = await process.push.start(process.registry, REPOSITORY)
    acquire = process.uploads.acquire_upload

    async def acquire_too_late(session_id: UUID, *, adopt_progress: bool) -> UploadLease | None:
        monkeypatch.undo()
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
        return await acquire(session_id, adopt_progress=adopt_progress)

    monkeypatch.setattr(process.uploads, "acquire_upload", acquire_too_late)
    with pytest.raises(UploadOutOfOrder) as refused:
        await process.push.append(process.registry, REPOSITORY, session, body(SECOND, start=0))

    assert refused.value.offset == len(FIRST)
    await process.push.close(process.registry, REPOSITORY, session, body(SECOND, start=len(FIRST)), DIGEST)
    assert await process.content(DIGEST) == WHOLE


async def test_an_object_of_another_size_is_not_published(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size that the storage states is compared with what was received, whatever the storage believes itself."""
    appender = process.storage.port.appender

    @asynccontextmanager
    async def forgetful(*arguments: Any, **options: Any) -> AsyncIterator[Appender]:
        async with appender(*arguments, **options) as real:
            complete = real.complete

            async def one_byte_less() -> Completed:
                completed = await complete()
                return replace(completed, size=completed.size - 1)

            monkeypatch.setattr(real, "complete", one_byte_less)
            yield real

    monkeypatch.setattr(process.storage.port, "appender", forgetful)
    session = await process.push.start(process.registry, REPOSITORY)
    with pytest.raises(ObjectDamaged):
        await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)

    with pytest.raises(BlobUnknown):
        await process.content(DIGEST)


async def test_the_whole_blob_behind_its_own_beginning_starts_over(process: Process) -> None:
    """A closing body that is the whole blob by itself is taken as such, though the session holds bytes already."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))

    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)
    await process.remover.remove_all()

    assert await process.content(DIGEST) == WHOLE
    assert [state for state, _ in await process.objects()].count("live") == 1
    assert len(process.everything()) == 1


async def test_two_sessions_with_one_digest_store_one_object(process: Process) -> None:
    """The second upload of a digest keeps the first one's object and gives up its own."""
    for _ in range(2):
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)
    await process.remover.remove_all()

    assert await process.content(DIGEST) == WHOLE
    assert len(process.everything()) == 1


async def test_many_sessions_with_one_digest_at_once(process: Process) -> None:
    """Concurrent uploads of one digest all succeed, and one object remains."""

    async def upload() -> None:
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
        await process.push.close(process.registry, REPOSITORY, session, body(SECOND), DIGEST)

    await asyncio.gather(*(upload() for _ in range(20)))
    await process.remover.remove_all()

    assert await process.content(DIGEST) == WHOLE
    assert len(process.everything()) == 1


async def test_another_process_goes_on(start_process: StartProcess) -> None:
    """A session is bound to no process."""
    first, second = await start_process("first"), await start_process("second")
    session = await first.push.start(first.registry, REPOSITORY)
    await first.push.append(first.registry, REPOSITORY, session, body(FIRST))

    await second.push.append(second.registry, REPOSITORY, session, body(SECOND))
    await first.push.close(first.registry, REPOSITORY, session, body(), DIGEST)

    assert await second.content(DIGEST) == WHOLE


async def test_an_unranged_body_takes_the_session_over(
    start_process: StartProcess,
) -> None:
    """A client that comes back before its old connection is noticed to be dead wins; bytes never mix."""
    first, second = await start_process("first"), await start_process("second")
    session = await first.push.start(first.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    stuck = asyncio.create_task(
        first.push.append(first.registry, REPOSITORY, session, Body(Held(reached, go_on, os.urandom(5000)), None))
    )
    await reached.wait()

    await second.push.append(second.registry, REPOSITORY, session, body(WHOLE))
    with pytest.raises(UploadOutOfOrder):
        await stuck
    await second.push.close(second.registry, REPOSITORY, session, body(), DIGEST)

    assert await first.content(DIGEST) == WHOLE


async def test_a_ranged_body_that_does_not_fit_is_refused_at_once(process: Process) -> None:
    """While somebody writes, a chunk in the wrong place is refused without disturbing the writer."""
    session = await process.push.start(process.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    writing = asyncio.create_task(
        process.push.append(process.registry, REPOSITORY, session, Body(Held(reached, go_on, FIRST), None))
    )
    await reached.wait()

    with pytest.raises(UploadOutOfOrder):
        await process.push.append(process.registry, REPOSITORY, session, body(SECOND, start=len(FIRST)))
    go_on.set()

    assert await writing == len(FIRST)


async def test_a_holder_whose_lease_was_lost_publishes_nothing(
    start_process: StartProcess,
) -> None:
    """A process that slept through the end of its lease cannot write over what its successor has done."""
    first, second = await start_process("first"), await start_process("second")
    session = await first.push.start(first.registry, REPOSITORY)
    lease = await first.uploads.acquire_upload(session, adopt_progress=False)
    assert lease is not None
    await first.database.execute("UPDATE upload_sessions SET lease_expires_at = now() - interval '1 second'")

    await second.push.append(second.registry, REPOSITORY, session, body(WHOLE))

    with pytest.raises(LeaseLost):
        await first.uploads.commit_checkpoint(session, lease.epoch, lease.stored, None)
    with pytest.raises(LeaseLost):
        await first.uploads.record_progress(session, lease.epoch, 5, (), None)
    blob = BlobRecord(DIGEST, len(WHOLE), "slipway/stale")
    with pytest.raises(LeaseLost):
        await first.uploads.publish_upload(first.registry, REPOSITORY, session, lease.epoch, blob)
    with pytest.raises(LeaseLost):
        await first.uploads.discard_upload(session, lease.epoch)
    await second.push.close(second.registry, REPOSITORY, session, body(), DIGEST)
    assert await second.content(DIGEST) == WHOLE


async def test_a_start_releases_the_leases_of_its_dead_predecessor(
    start_process: StartProcess,
) -> None:
    """Whoever comes up in a dead one's place need not wait for its leases to run out; the living keep theirs."""
    place = Owner.here("place")
    dead = await start_process(replace(place, process="1.0"))
    ending, elsewhere = (
        await start_process(place),
        await start_process(replace(place, place="elsewhere", process="1.0")),
    )
    sessions = [await dead.push.start(dead.registry, REPOSITORY) for _ in range(3)]
    for process, session in zip((dead, ending, elsewhere), sessions, strict=True):
        assert await process.uploads.acquire_upload(session, adopt_progress=False)

    successor = await start_process(place)
    await successor.uploads.release_leases_of_predecessor()

    leased = [
        (await successor.uploads.fetch_upload(dead.registry, REPOSITORY, session, None)).leased for session in sessions
    ]
    assert leased == [False, True, True]


async def test_cancelling_stops_the_writer(process: Process) -> None:
    """A cancelled session is gone for the request that is writing to it as well, with all that it stored."""
    session = await process.push.start(process.registry, REPOSITORY)
    reached = asyncio.Event()
    writing = asyncio.create_task(
        process.push.append(process.registry, REPOSITORY, session, Body(Held(reached, asyncio.Event(), FIRST), None))
    )
    await reached.wait()

    await process.push.cancel(process.registry, REPOSITORY, session)

    with pytest.raises(UploadUnknown):
        await writing
    await process.remover.remove_all()
    assert process.everything() == []


async def test_two_closing_requests_publish_once(process: Process) -> None:
    """Of two requests that close one session, none harms the other: the blob is whole."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))

    outcomes = await asyncio.gather(
        *(process.push.close(process.registry, REPOSITORY, session, body(SECOND), DIGEST) for _ in range(2)),
        return_exceptions=True,
    )

    assert None in outcomes
    assert all(outcome is None or isinstance(outcome, UploadOutOfOrder | UploadUnknown) for outcome in outcomes)
    assert await process.content(DIGEST) == WHOLE


async def test_an_object_is_forgotten_after_its_second_deletion(process: Process) -> None:
    """The row of a deleted object stays until no call that hung can bring it back."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
    await process.push.cancel(process.registry, REPOSITORY, session)

    await process.remover.remove_all()
    assert {state for state, _ in await process.objects()} == {"removing"}
    await process.database.execute("UPDATE objects SET removed_at = now() - interval '16 minutes'")
    await process.remover.remove_all()

    assert await process.objects() == []


async def test_a_mount_takes_no_bytes(process: Process) -> None:
    """A blob of one repository becomes a blob of another; unknown sources and digests do not."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)
    other = RepositoryName("other/app")

    assert not await process.push.mount(process.registry, other, DIGEST, RepositoryName("unknown"))
    assert not await process.push.mount(process.registry, other, Digest.of(b"unknown"), REPOSITORY)
    assert await process.push.mount(process.registry, other, DIGEST, REPOSITORY)

    assert (await process.pull.find(process.registry, other, DIGEST)).size == len(WHOLE)
    assert len(process.everything()) == 1


@pytest.mark.parametrize("source", [REPOSITORY, RepositoryName("other/app"), None])
async def test_mounts_do_not_wait_for_each_other(
    process: Process, monkeypatch: pytest.MonkeyPatch, source: RepositoryName | None
) -> None:
    """Mounts of one blob, in all directions at once, all succeed without a deadlock to be broken."""
    other = RepositoryName("other/app")
    await process.push.upload(process.registry, REPOSITORY, body(SECOND), Digest.of(SECOND))
    assert await process.push.mount(process.registry, other, Digest.of(SECOND), REPOSITORY)

    monkeypatch.setattr("gateway.db.pool._ATTEMPTS", 1)  # the loser of a deadlock would try again unseen
    directions = [(REPOSITORY, source), (other, source), (other, REPOSITORY), (REPOSITORY, other)]
    mounted = await asyncio.gather(
        *(
            process.push.mount(process.registry, target, Digest.of(SECOND), origin)
            for target, origin in directions
            for _ in range(5)
        )
    )

    assert all(mounted)


async def test_one_object_that_cannot_be_removed_stops_no_other(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage refuses to delete the first object: those behind it are removed all the same."""
    for _ in range(3):
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.append(process.registry, REPOSITORY, session, body(b"bytes"))
        await process.push.cancel(process.registry, REPOSITORY, session)
    remove, refused = process.storage.port.remove, (await process.objects())[0][1]

    async def refuse_one(location: Location, multipart_id: str | None) -> None:
        if location.key == refused:
            raise StorageUnavailable("on purpose")
        await remove(location, multipart_id)

    monkeypatch.setattr(process.storage.port, "remove", refuse_one)
    await process.remover.remove_all()

    assert process.everything() == [refused]


async def test_a_range_of_a_blob(process: Process) -> None:
    """Opening a span yields exactly its bytes."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.close(process.registry, REPOSITORY, session, body(WHOLE), DIGEST)
    blob = await process.pull.find(process.registry, REPOSITORY, DIGEST)

    async with process.pull.open(process.registry, blob, ByteRange(3, 7)) as content:
        assert content.length == 4


async def test_a_session_given_back_is_not_renewed(process: Process) -> None:
    """A renewal that comes just after a request has ended leaves the session free, and harms nobody."""
    session = await process.push.start(process.registry, REPOSITORY)
    lease = await process.uploads.acquire_upload(session, adopt_progress=False)
    assert lease is not None
    assert await process.uploads.renew_leases([(session, lease.epoch)]) == {session}
    await process.uploads.release_upload(session, lease.epoch, keep_progress=False)

    assert await process.uploads.renew_leases([(session, lease.epoch)]) == set()
    assert not (await process.uploads.fetch_upload(process.registry, REPOSITORY, session, None)).leased


async def test_a_late_request_to_stop_misses_the_next_holder(process: Process) -> None:
    """Who is asked to stop is the holder of that moment: a notification that names an older lease changes nothing."""
    session = await process.push.start(process.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    writing = asyncio.create_task(
        process.push.append(process.registry, REPOSITORY, session, Body(Held(reached, go_on, FIRST), None))
    )
    await reached.wait()

    process.leases.heard(f"{session} 0")
    process.leases.heard("nonsense")
    await process.leases.renew()
    go_on.set()

    assert await writing == len(FIRST)


async def test_a_client_that_has_left_takes_nothing_over(process: Process) -> None:
    """A broken request that was overtaken by its own repetition does not stop it."""
    session = await process.push.start(process.registry, REPOSITORY)
    reached, go_on = asyncio.Event(), asyncio.Event()
    writing = asyncio.create_task(
        process.push.append(process.registry, REPOSITORY, session, Body(Held(reached, go_on, FIRST), None))
    )
    await reached.wait()

    with pytest.raises(BodyCut):
        await process.push.append(
            process.registry, REPOSITORY, session, Body(Source(SECOND), None, is_gone=lambda: True)
        )
    go_on.set()

    assert await writing == len(FIRST)


async def test_part_numbers_are_not_wasted(process: Process) -> None:
    """A checkpoint keeps what was used, not what was reserved: many chunks do not use the numbers up."""
    session = await process.push.start(process.registry, REPOSITORY)
    for start in (0, PART_SIZE, 2 * PART_SIZE):
        chunk = body(bytes(PART_SIZE), start=start)
        await process.push.append(process.registry, REPOSITORY, session, chunk)

    row = await process.database.fetchrow("SELECT part_numbers_reserved FROM upload_sessions")

    assert row is not None
    assert row["part_numbers_reserved"] <= 3


async def test_what_an_unpublished_completion_made_is_not_believed(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object of the right size that an earlier request made of other bytes never becomes this request's blob."""
    evil, good = b"evil content", b"good content"
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST, start=0))
    with _database_away_at(process, monkeypatch, "publish_upload"), pytest.raises(DatabaseUnavailable):
        await process.push.close(process.registry, REPOSITORY, session, body(evil), Digest.of(FIRST + evil))

    wanted = Digest.of(FIRST + good)
    with suppress(UploadUnknown):
        await process.push.append(process.registry, REPOSITORY, session, body(good, start=len(FIRST)))
    with suppress(UploadUnknown):
        await process.push.close(process.registry, REPOSITORY, session, body(), wanted)

    with suppress(BlobUnknown):
        assert await process.content(wanted) == FIRST + good
    again = await process.push.start(process.registry, REPOSITORY)
    await process.push.close(process.registry, REPOSITORY, again, body(FIRST + good), wanted)
    assert await process.content(wanted) == FIRST + good


@pytest.mark.parametrize("last", [b"the last chunk", b""])
async def test_a_closing_request_may_be_repeated_after_a_failure(
    process: Process, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    """The database was away when the blob was to be published: the same request once more publishes it."""
    digest = Digest.of(FIRST + last)
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
    with _database_away_at(process, monkeypatch, "publish_upload"), pytest.raises(DatabaseUnavailable):
        await process.push.close(process.registry, REPOSITORY, session, body(last), digest)

    await process.push.close(process.registry, REPOSITORY, session, body(last), digest)

    assert await process.content(digest) == FIRST + last


async def test_a_whole_upload_that_fails_leaves_nothing(process: Process) -> None:
    """A single request whose body is cut, or has another digest, leaves no session that nobody knows of."""
    for wrong, error in ((body(FIRST, None), BodyCut), (body(SECOND), DigestMismatch)):
        with pytest.raises(error):
            await process.push.upload(process.registry, REPOSITORY, wrong, DIGEST)
    await process.push.upload(process.registry, REPOSITORY, body(WHOLE), DIGEST)
    await process.remover.remove_all()

    assert await process.database.fetch("SELECT id FROM upload_sessions") == []
    assert len(process.everything()) == 1


async def test_the_beginning_of_an_ambiguous_body_is_no_progress(process: Process) -> None:
    """A body behind stored bytes may be the whole blob once more: when it is cut, nothing of it counts."""
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(FIRST))
    with pytest.raises(BodyCut):
        await process.push.close(process.registry, REPOSITORY, session, body(WHOLE, None), DIGEST)

    assert await process.push.status(process.registry, REPOSITORY, session, adopt=True) == len(FIRST)
    await process.push.close(process.registry, REPOSITORY, session, body(SECOND), DIGEST)
    assert await process.content(DIGEST) == WHOLE


@contextmanager
def _database_away_at(process: Process, monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[None]:
    """Make one method of the database fail for a while."""

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("on purpose")

    with monkeypatch.context() as patches:
        patches.setattr(process.uploads, method, away)
        yield
