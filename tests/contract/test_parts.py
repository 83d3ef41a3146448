"""Chunks become parts: properties with small parts in memory, memory that is short, cancellation anywhere."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.fakes import MemoryStore
from contract.uploads import BUCKET, Ledger, Session, feed
from gateway.errors import LeaseLost, StorageUnavailable, UploadTooLarge
from gateway.ports.storage import Location, Stored
from gateway.storage import buffers
from gateway.storage import parts as parts_module
from gateway.storage.buffers import FIRST_BUFFER, SMALL_BUFFER, BufferPool
from gateway.storage.multipart import MOST_PARTS, PartNumbers, Sent, choose_part_size
from gateway.storage.parts import MultipartAppender, UploadMemory
from gateway.storage.tasks import cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PART = 24 << 10
MIB = 1 << 20


@dataclass(slots=True)
class Bench:
    """A store in memory, an upload and scarce buffers."""

    store: MemoryStore
    session: Session
    memory: UploadMemory

    @asynccontextmanager
    async def appender(self, stored: Stored | None = None) -> AsyncIterator[MultipartAppender]:
        begun = self.session.begin() if stored is None else stored
        appender = MultipartAppender(self.store, BUCKET, begun, self.session, self.memory, length=None)
        try:
            yield appender
        finally:
            await appender.close()

    def check_idle(self) -> None:
        assert self.memory.first.lent == 0
        assert self.memory.parts.lent == 0
        assert self.store.in_flight == 0
        assert len(asyncio.all_tasks()) == 1


def bench(seed: int = 1, *, part_buffers: int = 3, first_buffers: int = 4, in_flight: int = 2) -> Bench:
    ledger, chance = Ledger(), random.Random(seed)
    memory = UploadMemory(
        first=BufferPool(first_buffers * FIRST_BUFFER),
        parts=BufferPool(part_buffers * PART),
        part_size=PART,
        parts_in_flight=in_flight,
    )
    return Bench(MemoryStore(ledger, chance), Session(ledger, chance), memory)


# --- any way of sending gives the content --------------------------------------------------------

SIZES = st.one_of(
    st.integers(0, 3 * PART),
    st.sampled_from([0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1]),
)
ENDS = st.sampled_from(["commit", "commit last", "cut", "salvage", "fail", "cancel"])
REQUESTS = st.lists(st.tuples(SIZES, ENDS, st.booleans(), st.sampled_from([1500, PART, 5 * PART])), max_size=8)


@settings(max_examples=300)
@given(requests=REQUESTS, final=SIZES, seed=st.integers(0, 2**32))
def test_any_way_of_sending_gives_the_content(
    requests: list[tuple[int, str, bool, int]], final: int, seed: int
) -> None:
    asyncio.run(_send(requests, final, seed))


async def _send(requests: list[tuple[int, str, bool, int]], final: int, seed: int) -> None:
    run = bench(seed)
    for size, end, at_progress, step in requests:
        await _request(run, size, end, step, at_progress=at_progress)
        run.check_idle()
    async with run.appender() as appender:
        await feed(appender, run.session, run.session.random.randbytes(final))
        completed = await appender.complete()
    assert completed.size == len(run.session.received)
    assert run.store.objects[completed.key] == run.session.received
    run.check_idle()


async def _request(run: Bench, size: int, end: str, step: int, *, at_progress: bool) -> None:
    session = run.session
    data = session.random.randbytes(size)
    async with run.appender(session.begin(at_progress=at_progress)) as appender:
        if end == "fail":
            run.store.fail_next_parts = 1
        work = asyncio.ensure_future(_body(appender, session, data, end, step))
        if end == "cancel":
            for _ in range(session.random.randrange(40)):
                await asyncio.sleep(0)
            work.cancel()
        await asyncio.wait([work])
        run.store.fail_next_parts = 0
        error = None if work.cancelled() else work.exception()
        assert error is None or (end == "fail" and isinstance(error, StorageUnavailable)), error


async def _body(appender: MultipartAppender, session: Session, data: bytes, end: str, step: int) -> None:
    await feed(appender, session, data, step=step)
    if end == "salvage":
        await appender.salvage()
    elif end != "cut":
        session.commit(await appender.checkpoint(last=end == "commit last"))


# --- several at once -----------------------------------------------------------------------------


async def test_parts_are_sent_side_by_side() -> None:
    run = bench(part_buffers=8, in_flight=3)
    real, meeting = run.store.upload_part, asyncio.Barrier(3)

    async def upload_part(*arguments: Any) -> Sent:
        await meeting.wait()
        return await real(*arguments)

    run.store.upload_part = upload_part  # type: ignore[method-assign, assignment]
    async with asyncio.timeout(10), run.appender() as appender:
        await feed(appender, run.session, bytes(6 * PART + 1))
        assert len(appender._flight._tasks) <= 3
        run.session.commit(await appender.checkpoint(last=False))
    assert len(run.session.committed.parts) == 6


@pytest.mark.parametrize(("part_buffers", "first_buffers"), [(1, 1), (1, 5), (2, 50), (5, 3)])
async def test_many_uploads_with_little_memory(part_buffers: int, first_buffers: int) -> None:
    shared = bench(part_buffers=part_buffers, first_buffers=first_buffers)
    contents = [random.Random(seed).randbytes(seed * 3001 % (9 * PART)) for seed in range(50)]

    async def upload(content: bytes) -> bytes:
        session = Session(shared.store.ledger, random.Random())
        run = Bench(shared.store, session, shared.memory)
        third = len(content) // 3
        async with run.appender() as appender:
            await feed(appender, session, content[:third], step=5000)
            session.commit(await appender.checkpoint(last=False))
        async with run.appender() as appender:
            await feed(appender, session, content[third:], step=5000)
            completed = await appender.complete()
        return shared.store.objects[completed.key]

    async with asyncio.timeout(30):
        assert await asyncio.gather(*map(upload, contents)) == contents
    shared.check_idle()


@pytest.mark.parametrize(("sent", "first"), [(11, 0), (SMALL_BUFFER, FIRST_BUFFER)])
async def test_an_upload_that_stalls_holds_little(sent: int, first: int) -> None:
    """Nothing of the pools before it has sent something, and then a first buffer."""
    run = bench()
    async with run.appender() as appender:
        await feed(appender, run.session, bytes(sent))
        await appender.buffer()
        assert run.memory.parts.lent == 0
        assert run.memory.first.lent == first


async def test_an_upload_knows_whether_others_need_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have waited count, and only where the upload holds what they wait for."""
    monkeypatch.setattr(buffers, "_SECONDS_WITHOUT_NEED", 0.0)
    run = bench(part_buffers=1, first_buffers=1)
    async with run.appender() as appender, waiting(run.memory.parts, PART):
        await feed(appender, run.session, bytes(SMALL_BUFFER))
        assert not appender.is_wanted()
        await appender.buffer()
        assert not appender.is_wanted()
        async with waiting(run.memory.first, FIRST_BUFFER, others=0) as taking:
            assert appender.is_wanted()
            await appender.close()
            await taking
            assert not appender.is_wanted()


@asynccontextmanager
async def waiting(pool: BufferPool, size: int, others: int = 1) -> AsyncIterator[asyncio.Task[bytearray]]:
    """Wait for a buffer, behind others which have theirs and keep it."""
    shares = [pool.share() for _ in range(others + 1)]
    for share in shares[:-1]:
        await share.take(size)
    taking = asyncio.create_task(shares[-1].take(size))
    await asyncio.sleep(0)  # until the task waits
    try:
        yield taking
    finally:
        await cancelled((taking,))
        for share in shares:
            share.close(reuse=True)


# --- stopping ------------------------------------------------------------------------------------


async def test_a_part_that_fails_wakes_an_upload_that_waits_for_memory() -> None:
    run = bench(part_buffers=2)
    other, greedy = run.memory.parts.share(), run.memory.parts.share()
    await other.take(PART)
    hold = asyncio.Event()

    async def upload_part(*arguments: object) -> None:
        del arguments
        await hold.wait()
        raise StorageUnavailable("made to fail")

    run.store.upload_part = upload_part  # type: ignore[method-assign, assignment]
    async with run.appender() as appender:
        await feed(appender, run.session, bytes(PART + 1))
        # Stands before the upload in the queue, and gets nothing even when the failed part gives its memory back.
        queueing = asyncio.create_task(greedy.take(2 * PART))
        sending = asyncio.create_task(feed(appender, run.session, bytes(2 * PART)))
        await asyncio.sleep(0)
        assert len(run.memory.parts._waiters) == 2
        hold.set()
        with pytest.raises(StorageUnavailable):
            await sending
        with pytest.raises(StorageUnavailable):
            await appender.buffer()
    other.close(reuse=True)
    await queueing
    greedy.close(reuse=True)
    run.check_idle()


async def test_a_lost_lease_drops_the_multipart_upload_that_nobody_knows_of() -> None:
    run = bench()
    run.session.lose_lease_at = "multipart_started"
    async with run.appender() as appender:
        with pytest.raises(LeaseLost):
            await feed(appender, run.session, bytes(2 * PART))
    assert run.store.uploads == {}
    run.check_idle()


async def test_who_lost_the_lease_drops_no_multipart_upload_of_the_others() -> None:
    """The empty blob needs none, but whoever has the upload now may have told the client of bytes that lie there."""
    run = bench()
    async with run.appender() as appender:
        await feed(appender, run.session, bytes(2 * PART))
    stale = run.session.begin()
    assert (stale.offset, [stale.multipart_id]) == (0, list(run.store.uploads))
    async with run.appender() as appender:
        await feed(appender, run.session, bytes(2 * PART + 1))
        run.session.commit(await appender.checkpoint(last=False))
    run.session.lose_lease_at = "new_target"
    async with run.appender(stale) as appender:
        with pytest.raises(LeaseLost):
            await appender.complete()
    assert list(run.store.uploads) == [run.session.multipart_id]
    run.check_idle()


@pytest.mark.parametrize("method", ["new_target", "new_segment", "reserve_part_numbers", "progressed"])
async def test_a_lost_lease_comes_up(method: str) -> None:
    run = bench()
    run.session.lose_lease_at = method
    async with run.appender() as appender:
        with pytest.raises(LeaseLost):
            await _body(appender, run.session, bytes(2 * PART + 1), "commit last", PART)
    run.check_idle()


async def test_salvage_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "SALVAGE_SECONDS", 0.01)
    run = bench()

    async def upload_part(*arguments: object) -> None:
        del arguments
        await asyncio.Event().wait()

    run.store.upload_part = upload_part  # type: ignore[method-assign, assignment]
    async with run.appender() as appender:
        await feed(appender, run.session, bytes(PART + 1))
        await appender.salvage()
    assert run.session.progress.offset == 0
    run.check_idle()


# --- sizes and numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "size"),
    [(None, 8 * MIB), (0, 8 * MIB), (70 << 30, 8 * MIB), (9000 * 8 * MIB, 8 * MIB), (9000 * 8 * MIB + 1, 9 * MIB)],
)
def test_parts_are_as_large_as_the_announced_length_needs(length: int | None, size: int) -> None:
    assert choose_part_size(Stored(), length, usual=8 * MIB, largest=192 * MIB) == size


def test_the_size_of_parts_never_changes() -> None:
    stored = Stored(multipart_id="id", part_size=5 * MIB, part_numbers_reserved=100)
    assert choose_part_size(stored, 9900 * 5 * MIB, usual=8 * MIB, largest=192 * MIB) == 5 * MIB
    with pytest.raises(UploadTooLarge):
        choose_part_size(stored, 9900 * 5 * MIB + 1, usual=8 * MIB, largest=192 * MIB)


async def test_part_numbers_run_out() -> None:
    session = Session(Ledger(), random.Random())
    numbers = PartNumbers(session, MOST_PARTS - 2)
    assert [await numbers.take(), await numbers.take()] == [MOST_PARTS - 1, MOST_PARTS]
    assert session.reserved == MOST_PARTS
    with pytest.raises(UploadTooLarge):
        await numbers.take()


async def test_an_upload_may_use_all_part_numbers_one_request_each() -> None:
    """Numbers that a request reserved and did not use come back with its checkpoint."""
    run = bench(in_flight=1)
    for _ in range(40):
        async with run.appender() as appender:
            await feed(appender, run.session, bytes(PART))
            run.session.commit(await appender.checkpoint(last=False))
    assert run.session.reserved <= 40
    assert Location(BUCKET, str(run.session.key)) is not None
