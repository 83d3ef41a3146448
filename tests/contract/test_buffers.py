"""The pool of buffers: bounded, fair, and without leaks."""

from __future__ import annotations

import asyncio

import pytest

from gateway.storage import buffers
from gateway.storage.buffers import FIRST_BUFFER, SMALL_BUFFER, BufferPool, FirstBuffer, is_slow


async def test_a_buffer_that_is_granted_while_its_taker_is_cancelled_comes_back() -> None:
    pool = BufferPool(100)
    holder, taker = pool.share(), pool.share()
    await holder.take(100)
    taking = asyncio.create_task(taker.take(100))
    await asyncio.sleep(0)
    holder.close(reuse=True)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert pool.lent == 0


async def test_who_leaves_the_queue_makes_way() -> None:
    pool = BufferPool(100)
    holder, large, small = pool.share(), pool.share(), pool.share()
    await holder.take(60)
    first = asyncio.create_task(large.take(100))
    await asyncio.sleep(0)
    second = asyncio.create_task(small.take(40))
    await asyncio.sleep(0)
    assert not second.done()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(await asyncio.wait_for(second, 5)) == 40


async def test_large_requests_are_not_overtaken() -> None:
    pool = BufferPool(100)
    holder, large, small = pool.share(), pool.share(), pool.share()
    await holder.take(60)
    order: list[int] = []

    async def take(share: object, size: int) -> None:
        await share.take(size)  # type: ignore[attr-defined]
        order.append(size)
        share.close(reuse=True)  # type: ignore[attr-defined]

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take(large, 100))
        await asyncio.sleep(0)
        tasks.create_task(take(small, 40))
        await asyncio.sleep(0)
        holder.close(reuse=True)
    assert order == [100, 40]


async def test_buffers_are_used_again_unless_they_may_still_be_read() -> None:
    pool = BufferPool(100)
    share = pool.share()
    kept = await share.take(50)
    share.give(kept, reuse=True)
    assert await share.take(50) is kept
    share.give(kept, reuse=False)
    assert await share.take(50) is not kept
    assert pool.lent == 50


async def test_idle_buffers_of_another_size_count() -> None:
    pool = BufferPool(100)
    share = pool.share()
    first, second = await share.take(50), await share.take(50)
    share.close(reuse=True)
    del first, second
    await share.take(100)
    assert pool._idle_bytes == 0


async def test_a_buffer_that_never_fits() -> None:
    with pytest.raises(ValueError, match="never fits"):
        await BufferPool(100).share().take(101)


async def test_slow_uploads_leave_room_for_fast_ones() -> None:
    """Slow uploads get two thirds of the pool; the rest waits, and fast uploads pass it by."""
    pool = BufferPool(90)
    slow, fast = [pool.share() for _ in range(3)], pool.share()
    await slow[0].take(30, slow=True)
    await slow[1].take(30, slow=True)
    third = asyncio.create_task(slow[2].take(30, slow=True))
    await asyncio.sleep(0)

    assert len(await asyncio.wait_for(fast.take(30), 5)) == 30
    fast.close(reuse=True)
    await asyncio.sleep(0)
    assert not third.done()
    slow[0].close(reuse=True)
    assert len(await asyncio.wait_for(third, 5)) == 30
    for share in slow:
        share.close(reuse=True)
    assert pool.lent == 0


async def test_fast_uploads_hold_nothing_that_slow_ones_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """While slow ones have all that they may have, the next one gets nothing of what a fast one gives back."""
    monkeypatch.setattr(buffers, "_SECONDS_WITHOUT_NEED", 0.0)
    pool = BufferPool(90)
    slow, fast, waiting = [pool.share() for _ in range(2)], pool.share(), pool.share()
    for share in slow:
        await share.take(30, slow=True)
    await fast.take(30)
    taking = asyncio.create_task(waiting.take(30, slow=True))
    await asyncio.sleep(0)

    assert [share.is_wanted() for share in (*slow, fast)] == [True, True, False]
    slow[0].close(reuse=True)
    await taking
    for share in (slow[1], fast, waiting):
        share.close(reuse=True)


async def test_a_slow_upload_is_told_by_its_first_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs longer for the first buffer than the slow rate allows is slow."""
    clock = asyncio.get_running_loop()
    begun = clock.time()

    monkeypatch.setattr(clock, "time", lambda: begun + 0.24)
    assert not is_slow(FIRST_BUFFER, begun)
    monkeypatch.setattr(clock, "time", lambda: begun + 0.26)
    assert is_slow(FIRST_BUFFER, begun)


async def test_a_first_buffer_grows_once() -> None:
    """What lies in the small memory moves, and there is no more than a first buffer."""
    pool = BufferPool(FIRST_BUFFER)
    first = FirstBuffer(pool.share())
    small = await first.space(0)
    assert (len(small), pool.lent) == (SMALL_BUFFER, 0)
    small[:] = b"s" * SMALL_BUFFER
    larger = await first.space(SMALL_BUFFER)
    assert (len(larger), pool.lent) == (FIRST_BUFFER - SMALL_BUFFER, FIRST_BUFFER)
    larger[:] = b"l" * len(larger)
    assert not await first.space(FIRST_BUFFER)
    assert bytes(first.content(FIRST_BUFFER)) == b"s" * SMALL_BUFFER + b"l" * (FIRST_BUFFER - SMALL_BUFFER)
    assert len(await first.space(0)) == FIRST_BUFFER
    first.close(reuse=True)
    assert pool.lent == 0


async def test_slow_clients_leave_first_buffers_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs long for the small memory is slow."""
    clock = asyncio.get_running_loop()
    now = clock.time()
    monkeypatch.setattr(clock, "time", lambda: now)
    pool = BufferPool(3 * FIRST_BUFFER)
    slow = [FirstBuffer(pool.share()) for _ in range(3)]
    for each in slow:
        await each.space(0)
    now += 0.02
    for each in slow[:2]:
        await each.space(SMALL_BUFFER)
    third = asyncio.create_task(slow[2].space(SMALL_BUFFER))
    fast = FirstBuffer(pool.share())
    await fast.space(0)
    async with asyncio.timeout(30):
        await fast.space(SMALL_BUFFER)
    assert not third.done()
    slow[0].close(reuse=True)
    await third
    for each in (*slow, fast):
        each.close(reuse=True)
    assert pool.lent == 0
