"""S3 when it fails: what is retried, what is found out afterwards, and what is never taken for a success."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from contract.uploads import BUCKET, Session, feed, finish, patch, read
from contract.watched import PART, WatchedS3, settings
from gateway.errors import (
    BucketMissing,
    ConfigurationError,
    MultipartLost,
    ObjectDamaged,
    ObjectMissing,
    StorageUnavailable,
    UploadTooLarge,
)
from gateway.model.endpoints import Endpoint
from gateway.model.ranges import ByteRange
from gateway.ports.storage import ByteStream, Location, Part
from gateway.storage import answers
from gateway.storage.buffers import FIRST_BUFFER
from gateway.storage.s3 import S3Storage
from support.faults import Fault, FaultyS3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.ports.storage import Appender
    from support.seaweed import SeaweedFS


@pytest.fixture
def session(shaky: WatchedS3, new_session: Callable[[WatchedS3], Session]) -> Session:
    return new_session(shaky)


# --- how many calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PART])
async def test_a_small_blob_takes_one_call(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes, size: int
) -> None:
    async with shaky.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, content[:size])
        await appender.complete()
    assert proxy.seen == ["PutObject"]


@pytest.mark.parametrize("size", [1, PART])
async def test_a_small_blob_in_two_requests_takes_one_call_and_a_look(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes, size: int
) -> None:
    await patch(shaky, session, content[:size])
    async with shaky.appender(BUCKET, session.begin(), session, length=0) as appender:
        await appender.complete()
    assert proxy.seen == ["PutObject", "HeadObject"]


async def test_the_tail_sent_ahead_makes_completing_quick(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    await patch(shaky, session, content, last=True)
    tail_part = session.committed.tail_part
    assert tail_part is not None
    assert (tail_part.start, tail_part.size) == (3 * PART, 1000)
    proxy.seen.clear()
    await finish(shaky, session)
    assert proxy.seen == ["CompleteMultipartUpload", "HeadObject", "GetObject"]


async def test_the_tail_sent_ahead_is_dropped_when_more_comes(
    shaky: WatchedS3, session: Session, content: bytes
) -> None:
    await patch(shaky, session, content[: PART + 1000], last=True)
    ahead = session.committed.tail_part
    await patch(shaky, session, content[PART + 1000 : PART + 2000], last=True)
    assert ahead is not None
    assert session.committed.tail_part is None
    await finish(shaky, session, content[PART + 2000 :])
    assert session.received == content


# --- passing failures ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.INTERNAL_ERROR, Fault.LOSE_ANSWER])
@pytest.mark.parametrize("operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
async def test_passing_failures_do_not_show(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes, operation: str, fault: Fault
) -> None:
    proxy.fail(operation, fault)
    await patch(shaky, session, content)
    await finish(shaky, session)
    assert proxy.reached.is_set()


async def test_a_multipart_upload_whose_id_was_lost_on_the_way_is_aborted(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    proxy.fail("CreateMultipartUpload", Fault.LOSE_ANSWER)
    await patch(shaky, session, content)
    key = session.committed.key
    assert key is not None
    left = [each.multipart_id async for page in shaky.list_uploads(BUCKET, key) for each in page]
    assert left == [session.committed.multipart_id]


@pytest.mark.parametrize("fault", [Fault.ERROR_WITH_200, Fault.NOTHING_WITH_200_DONE])
async def test_completing_with_a_strange_answer(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes, fault: Fault
) -> None:
    proxy.fail("CompleteMultipartUpload", fault)
    await finish(shaky, session, content)
    assert proxy.reached.is_set()


async def test_what_lies_in_a_bucket_that_is_away_is_not_gone(s3: WatchedS3) -> None:
    """An upload would be given up, a blob taken for lost: an answer to HEAD says of neither what is missing."""
    with pytest.raises(BucketMissing):
        await s3.stat(Location("no-such-bucket", "key"))
    assert await s3.stat(Location(BUCKET, "no-such-key")) is None


async def test_completing_that_only_seems_to_succeed(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    await patch(shaky, session, content)
    proxy.fail("CompleteMultipartUpload", Fault.NOTHING_WITH_200)
    with pytest.raises(StorageUnavailable):
        await finish(shaky, session)
    await finish(shaky, session)


async def test_completing_after_a_lost_answer_in_another_process(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    await patch(shaky, session, content, last=False)
    proxy.fail("CompleteMultipartUpload", Fault.LOSE_ANSWER)
    proxy.fail("CompleteMultipartUpload", Fault.HANG)
    async with shaky.appender(BUCKET, session.begin(), session, length=0) as appender:
        completing = asyncio.create_task(appender.complete())
        await proxy.reached.wait()
        completing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await completing
    await finish(shaky, session)


async def test_an_object_made_of_other_bytes_is_not_certain(shaky: WatchedS3, session: Session, content: bytes) -> None:
    """Completed, but its row was not written; then somebody sends another end of the same length."""
    await patch(shaky, session, content[: 2 * PART], last=False)
    before = session.committed
    await finish(shaky, session, content[2 * PART : 2 * PART + 99])
    assert session.committed == before
    for end in (bytes(99), b""):
        async with shaky.appender(BUCKET, session.begin(), session, length=len(end)) as appender:
            await feed(appender, session, end)
            if end:
                assert not (await appender.complete()).certain
            else:
                with pytest.raises((MultipartLost, ObjectDamaged)):
                    await appender.complete()


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
async def test_without_an_etag_nothing_is_stored(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes, operation: str
) -> None:
    proxy.fail(operation, Fault.NOTHING_WITH_200)
    with pytest.raises(StorageUnavailable):
        await patch(shaky, session, content)
    await patch(shaky, session, content)
    await finish(shaky, session)


async def test_memory_of_a_repeated_call_is_not_used_again(
    shaky: WatchedS3, proxy: FaultyS3, new_session: Callable[[WatchedS3], Session], content: bytes
) -> None:
    """The connection of the attempt that failed may still send from it: another upload's bytes, then."""
    await patch(shaky, new_session(shaky), content[:FIRST_BUFFER])
    assert shaky._memory.first._idle_bytes
    proxy.fail("PutObject", Fault.LOSE_ANSWER)
    await patch(shaky, new_session(shaky), content[:FIRST_BUFFER])
    assert not shaky._memory.first._idle_bytes
    proxy.fail("UploadPart", Fault.LOSE_ANSWER)
    await patch(shaky, new_session(shaky), content[: PART + 1])
    assert not shaky._memory.parts._idle_bytes


# --- lasting failures ----------------------------------------------------------------------------


async def test_a_failed_part_stops_the_upload_and_the_rest_goes_on_later(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    proxy.fail("UploadPart", Fault.INTERNAL_ERROR, times=15)
    with pytest.raises(StorageUnavailable):
        await patch(shaky, session, content)
    proxy._faults.clear()
    await patch(shaky, session, content)
    await finish(shaky, session)


async def test_a_part_that_failed_leaves_a_gap_that_is_not_recorded(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    async with shaky.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, content[: PART + 1])
        await appender._flight.rest()  # type: ignore[attr-defined]
        proxy.fail("UploadPart", Fault.NOTHING_WITH_200)
        with pytest.raises(StorageUnavailable):
            await _feed_and_end(appender, session, content[PART + 1 :])
        await appender.salvage()
    assert session.progress.solid == PART


async def _feed_and_end(appender: Appender, session: Session, data: bytes) -> None:
    await feed(appender, session, data)
    await appender.checkpoint(last=True)


async def test_a_service_that_hangs(seaweed: SeaweedFS, proxy: FaultyS3, content: bytes) -> None:
    proxy.fail("PutObject", Fault.HANG)
    async with WatchedS3(settings(seaweed, proxy.url, call_timeout=1.0)) as storage:
        session = Session(storage.ledger, random.Random())
        with pytest.raises(StorageUnavailable):
            await patch(storage, session, content[:100])
        await finish(storage, session, content[:100])
        storage.check_idle()


async def test_a_service_that_is_not_there(seaweed: SeaweedFS) -> None:
    async with WatchedS3(settings(seaweed, "http://127.0.0.1:9", call_timeout=0.2)) as storage:
        with pytest.raises(StorageUnavailable):
            await storage.stat(Location(BUCKET, "key"))
        with pytest.raises(StorageUnavailable):
            await storage.check_bucket(BUCKET)


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.REPLACE_TOTAL])
async def test_a_broken_answer_never_ends_cleanly(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes, fault: Fault
) -> None:
    location = await finish(shaky, session, content[:PART])
    proxy.fail("GetObject", fault)
    with pytest.raises(StorageUnavailable):
        await read(shaky, location, 0, PART)
    assert await read(shaky, location, 0, PART) == content[:PART]


@pytest.mark.parametrize("sizes", [[], [9], [4, 5], [11], [4, 7]])
async def test_a_stream_of_another_length_never_ends_cleanly(sizes: list[int]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    with pytest.raises(StorageUnavailable):
        async for _ in answers.exactly(chunks(), 10, Location(BUCKET, "key")):
            pass


async def test_leaving_closes_the_connection_at_once(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    location = await finish(shaky, session, content[:PART])
    proxy.fail("GetObject", Fault.STALL)
    async with shaky.open(location, ByteRange(0, PART)) as found:
        assert isinstance(found, ByteStream)
        assert await anext(found.chunks)
        assert not proxy.closed.is_set()
    await asyncio.wait_for(proxy.closed.wait(), 5)


async def test_a_segment_that_is_cut_while_it_is_read_back(
    shaky: WatchedS3, proxy: FaultyS3, session: Session, content: bytes
) -> None:
    await patch(shaky, session, content[:100_000], last=False)
    proxy.fail("GetObject", Fault.CUT)
    with pytest.raises(StorageUnavailable):
        await finish(shaky, session, content[100_000:])
    await finish(shaky, session, content[100_000:])
    assert session.received == content


async def test_presigned(s3: WatchedS3, new_session: Callable[[WatchedS3], Session], content: bytes) -> None:
    location = await finish(s3, new_session(s3), content[:1000])
    url = await s3.presign(location, Endpoint.PUBLIC)
    assert url is not None
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        assert answer.status == 200
        assert await answer.read() == content[:1000]


# --- configuration -------------------------------------------------------------------------------


async def test_a_bucket_that_is_not_there(s3: WatchedS3) -> None:
    with pytest.raises(ConfigurationError, match="no bucket missing-bucket"):
        await s3.check_bucket("missing-bucket")


async def test_a_wrong_key(seaweed: SeaweedFS) -> None:
    wrong = replace(settings(seaweed, seaweed.endpoint_url), secret_access_key="wrong")
    async with WatchedS3(wrong) as storage:
        with pytest.raises(ConfigurationError, match="denies access"):
            await storage.check_bucket(BUCKET)


async def test_a_blob_that_needs_larger_parts(s3: WatchedS3, session: Session) -> None:
    with pytest.raises(UploadTooLarge):
        async with s3.appender(BUCKET, session.begin(), session, length=1 << 50):
            pass


# --- what SeaweedFS itself keeps to --------------------------------------------------------------


async def _multipart(s3: WatchedS3, content: bytes, numbers: list[int]) -> tuple[Location, str, list[Part]]:
    """Store parts under numbers of the test's choice, which are no upload's and need no row."""
    location = Location(BUCKET, f"slipway/test/objects/{hashlib.sha256(repr(numbers).encode()).hexdigest()}")
    multipart_id = await S3Storage.create_multipart(s3, location)
    parts = []
    for place, number in enumerate(numbers):
        view = memoryview(content)[place * PART : (place + 1) * PART]
        sent = await S3Storage.upload_part(s3, location, multipart_id, number, [view])
        parts.append(Part(number, place * PART, len(view), sent.etag))
    return location, multipart_id, parts


async def test_seaweedfs_takes_gaps_and_drops_unlisted_parts(s3: WatchedS3, content: bytes) -> None:
    location, multipart_id, parts = await _multipart(s3, content, [3, 7, 40])
    await s3.complete_multipart(location, multipart_id, [parts[0], parts[2]])
    assert await read(s3, location, 0, 2 * PART) == content[:PART] + content[2 * PART : 3 * PART]
    assert await s3.stat(location) == 2 * PART


async def test_seaweedfs_refuses_a_wrong_etag(s3: WatchedS3, content: bytes) -> None:
    location, multipart_id, parts = await _multipart(s3, content, [1, 2])
    with pytest.raises(ObjectDamaged):
        await s3.complete_multipart(location, multipart_id, [parts[0], replace(parts[1], etag=parts[0].etag)])
    await s3.abort(location, multipart_id)


async def test_seaweedfs_forgets_an_aborted_upload(s3: WatchedS3, content: bytes) -> None:
    location, multipart_id, parts = await _multipart(s3, content, [1, 3])
    await s3.abort(location, multipart_id)
    await s3.abort(location, multipart_id)
    with pytest.raises(MultipartLost):
        await s3.complete_multipart(location, multipart_id, parts)


async def test_a_call_that_was_given_up_leaves_no_socket(seaweed: SeaweedFS) -> None:
    """A service that has stopped reading keeps no connection open beyond the storage that called it."""
    connected = asyncio.Event()
    accepted: list[asyncio.StreamWriter] = []

    async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        connected.set()

    server = await asyncio.start_server(never_read, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    async with S3Storage(settings(seaweed, f"http://127.0.0.1:{port}")) as storage:
        before = _descriptors()
        body = [memoryview(bytearray(32 << 20))]
        storing = asyncio.create_task(storage.put(Location(BUCKET, "slipway/test/never"), body))
        await connected.wait()
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
    assert _descriptors() - before <= len(accepted)
    for writer in accepted:
        writer.transport.abort()
    server.close()
    await server.wait_closed()


def _descriptors() -> int:
    """Count what this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# --- what is told of calls -----------------------------------------------------------------------


async def test_every_call_is_measured(seaweed: SeaweedFS, new_session: Callable[[WatchedS3], Session]) -> None:
    """By its name, until it is over, reads past the library as well; a failure goes through the measure."""
    told: list[str] = []

    @contextmanager
    def measure(operation: str) -> Iterator[None]:
        try:
            yield
        except ObjectMissing:
            told.append(f"{operation}: missing")
            raise
        told.append(operation)

    async with WatchedS3(settings(seaweed, seaweed.endpoint_url), measure) as storage:
        location = await finish(storage, new_session(storage), b"some bytes")
        assert await storage.stat(Location(BUCKET, "slipway/none")) is None
        await storage.remove(location, None)

    assert told == ["put_object", "get_object", "head_object: missing", "head_bucket", "delete_object"]
