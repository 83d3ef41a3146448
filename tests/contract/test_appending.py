"""What both storages promise about writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.uploads import BUCKET, Session, feed, finish, patch, take
from contract.watched import PART, WatchedFiles, WatchedS3
from gateway.errors import LeaseLost, MultipartLost, SizeInvalid
from gateway.ports.storage import Location

if TYPE_CHECKING:
    from collections.abc import Callable

Storage = WatchedFiles | WatchedS3

SIZES = [0, 1, 256 << 10, (256 << 10) + 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 7]


@pytest.fixture
def session(storage: Storage, new_session: Callable[[Storage], Session]) -> Session:
    return new_session(storage)


@pytest.mark.parametrize("size", SIZES)
async def test_one_closing_request(storage: Storage, session: Session, content: bytes, size: int) -> None:
    await finish(storage, session, content[:size])


@pytest.mark.parametrize("size", SIZES)
async def test_one_request_and_an_empty_closing_one(
    storage: Storage, session: Session, content: bytes, size: int
) -> None:
    await patch(storage, session, content[:size], last=True)
    await finish(storage, session)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("cut", [1, PART - 1, PART, PART + 1, 2 * PART])
async def test_two_requests_and_a_closing_one(
    storage: Storage, session: Session, content: bytes, cut: int, *, last: bool
) -> None:
    await patch(storage, session, content[:cut], last=last)
    await patch(storage, session, content[cut : 2 * PART + 5], last=last)
    await finish(storage, session, content[2 * PART + 5 :])


@pytest.mark.parametrize("chunk", [PART // 5, PART // 2, PART])
async def test_many_small_requests(storage: Storage, session: Session, content: bytes, chunk: int) -> None:
    for start in range(0, 2 * PART, chunk):
        await patch(storage, session, content[start : min(start + chunk, 2 * PART)], last=False)
    await finish(storage, session)


async def test_tiny_pieces(storage: Storage, session: Session, content: bytes) -> None:
    await patch(storage, session, content[: PART + 5000], step=10_007)
    await finish(storage, session)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [100_003, 1 << 20])
async def test_bytes_that_are_there_already(
    storage: Storage, session: Session, content: bytes, size: int, step: int
) -> None:
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await take(appender, session, content[:size], step=step)
        session.commit(await appender.checkpoint(last=False))
    await finish(storage, session, content[size : size + 300_000])


@pytest.mark.parametrize("size", [PART + 5, 2 * PART + 9])
async def test_taken_bytes_are_salvaged(storage: Storage, session: Session, content: bytes, size: int) -> None:
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await take(appender, session, content[:size])
        await appender.salvage()
    solid = session.progress.solid
    assert size - PART <= solid <= size
    async with storage.appender(BUCKET, session.begin(at_progress=True), session, length=None) as appender:
        await feed(appender, session, content[solid:])
        completed = await appender.complete()
    assert completed.size == len(content)


async def test_what_cannot_be_taken_ends_the_request(storage: Storage, session: Session, content: bytes) -> None:
    def receive_now(_: memoryview) -> int:
        raise SizeInvalid("the body is longer than was announced")

    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, content[: PART // 2])
        await appender.buffer()
        with pytest.raises(SizeInvalid):
            await appender.take(receive_now)
        await appender.salvage()
    assert session.progress.solid <= PART // 2


async def test_requests_without_bytes_change_nothing(storage: Storage, session: Session, content: bytes) -> None:
    await patch(storage, session, b"")
    await patch(storage, session, content[: PART + 3])
    await patch(storage, session, b"")
    await finish(storage, session)


@pytest.mark.parametrize("size", [0, 1, PART, 2 * PART, 2 * PART + 9])
@pytest.mark.parametrize("last", [True, False])
async def test_complete_twice(storage: Storage, session: Session, content: bytes, size: int, *, last: bool) -> None:
    await patch(storage, session, content[:size], last=last)
    await finish(storage, session)
    await finish(storage, session)


@pytest.mark.parametrize("cut", [1, PART // 2, PART, 2 * PART + 11])
async def test_start_over_at_the_committed_offset(storage: Storage, session: Session, content: bytes, cut: int) -> None:
    await patch(storage, session, content[:cut])
    other = bytes(reversed(content))
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, other[: 2 * PART + 100])
        await appender.salvage()
    await finish(storage, session, content[cut:])
    assert session.received == content


async def test_start_over_from_the_beginning(storage: Storage, session: Session, content: bytes) -> None:
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, content[: 2 * PART + 1])
        await appender.salvage()
    await finish(storage, session, content[5 : 2 * PART])


async def cut_and_go_on(storage: Storage, session: Session, content: bytes, *, received: int, cut: int) -> None:
    """Send what comes until a request is cut off, and all that comes behind what was kept of it."""
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, content[received:cut])
        await appender.salvage()
    kept = session.progress.offset
    assert kept >= 2 * PART
    async with storage.appender(BUCKET, session.begin(at_progress=True), session, length=None) as appender:
        await feed(appender, session, content[kept:])
        session.commit(await appender.checkpoint(last=True))
    await finish(storage, session)
    assert session.received == content


async def test_go_on_behind_a_cut(storage: Storage, session: Session, content: bytes) -> None:
    await cut_and_go_on(storage, session, content, received=0, cut=2 * PART + 17)


async def test_cut_after_a_checkpoint_with_a_tail(storage: Storage, session: Session, content: bytes) -> None:
    await patch(storage, session, content[:1000], last=False)
    await patch(storage, session, content[1000 : PART + 50], last=False)
    await cut_and_go_on(storage, session, content, received=PART + 50, cut=2 * PART + 1)


@pytest.mark.parametrize("method", ["new_target", "multipart_started", "reserve_part_numbers", "progressed"])
async def test_a_lost_lease_stops_the_upload(storage: Storage, session: Session, content: bytes, method: str) -> None:
    if isinstance(storage, WatchedFiles):
        # A file has no parts, and confirms its lease instead.
        method = "new_target" if method == "new_target" else "confirm"
    if method == "confirm":
        await patch(storage, session, content[:10])
    session.lose_lease_at = method
    with pytest.raises(LeaseLost):
        await patch(storage, session, content)
    session.lose_lease_at = None
    await finish(storage, session, content[session.committed.offset :])


async def test_a_lost_lease_at_salvage(storage: Storage, session: Session, content: bytes) -> None:
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, content[: PART + 1])
        session.lose_lease_at = "progressed"
        with pytest.raises(LeaseLost):
            await appender.salvage()


async def test_remove_twice(storage: Storage, session: Session, content: bytes) -> None:
    location = await finish(storage, session, content)
    for _ in range(2):
        await storage.remove(location, session.multipart_id)
        assert await storage.stat(location) is None


async def test_remove_what_never_was(storage: Storage) -> None:
    await storage.remove(Location(BUCKET, "slipway/test/objects/never"), None)


async def test_remove_an_unfinished_upload(storage: Storage, session: Session, content: bytes) -> None:
    await patch(storage, session, content)
    assert session.key is not None
    location = Location(BUCKET, session.key)
    for _ in range(2):
        await storage.remove(location, session.multipart_id)
    assert await storage.stat(location) is None


async def test_an_upload_that_the_storage_forgot(storage: Storage, session: Session, content: bytes) -> None:
    await patch(storage, session, content)
    assert session.key is not None
    await storage.remove(Location(BUCKET, session.key), session.multipart_id)
    with pytest.raises(MultipartLost):
        await finish(storage, session)
    with pytest.raises(MultipartLost):
        await finish(storage, session, content)
