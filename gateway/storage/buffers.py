"""Memory for uploads: a bounded pool per process, and the share of it that one upload holds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import MemoryShort

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SMALL_BUFFER = 16 << 10
"""Bytes that every upload may hold besides the pools; it has to fill them before it gets a first buffer."""
FIRST_BUFFER = 256 << 10
"""Bytes of the first buffer of an upload, which has to be full before the upload gets more."""
SLOW_RATE = 1 << 20
"""Bytes per second below which an upload counts as slow."""
LEAST_ROOM = 32 << 10
"""Bytes below which a buffer is not filled up: receiving so little costs as much as receiving a buffer."""
_SECONDS_TO_WAIT = 60.0
_SECONDS_WITHOUT_NEED = 1.0
"""Waiting as long as this is usual while many push; whoever waits longer needs what others hold in vain."""


def is_slow(count: int, since: float) -> bool:
    """Tell whether ``count`` bytes since a time by the loop's clock are fewer than the slow rate allows."""
    return count < SLOW_RATE * (asyncio.get_running_loop().time() - since)


def fill(memory: memoryview, receive_now: Callable[[memoryview], int]) -> int:
    """Fill the beginning of a buffer with what has arrived, up to the little that is not worth a call."""
    count = 0
    while len(memory) - count >= LEAST_ROOM and (more := receive_now(memory[count:])):
        count += more
    return count


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody in the queue for a buffer."""

    size: int
    slow: bool
    future: asyncio.Future[bytearray]
    since: float
    """By the loop's clock."""


class BufferPool:
    """Hands out buffers up to a total of ``capacity`` bytes; who comes first is served first.

    Slow uploads together get at most two thirds of it, so that fast ones always find room; when the others have to
    wait for that reason alone, they are overtaken. Buffers are kept and handed out again, because fresh
    memory costs a page fault for each 4 KiB.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lent = 0
        self._slow_capacity = capacity * 2 // 3
        self._slow_lent = 0
        self._slow_buffers: dict[int, int] = {}
        self._idle: dict[int, list[bytearray]] = {}
        self._idle_bytes = 0
        self._waiters: list[_Waiter] = []

    @property
    def waiting(self) -> int:
        """How many uploads wait for a buffer."""
        return sum(not waiter.future.done() for waiter in self._waiters)

    def share(self) -> Share:
        """Return the share of one upload, still empty."""
        return Share(self)

    def request(self, size: int, *, slow: bool) -> asyncio.Future[bytearray]:
        """Return a future that gets a buffer when it is its turn."""
        if size > (self._slow_capacity if slow else self.capacity):
            # Too large for its part of the pool, as it may be in a tiny one: then it counts as all others do.
            slow = False
        if size > self.capacity:
            raise ValueError(f"a buffer of {size} bytes never fits into a pool of {self.capacity}")
        loop = asyncio.get_running_loop()
        waiter = _Waiter(size, slow, loop.create_future(), loop.time())
        self._waiters.append(waiter)
        self.serve()
        return waiter.future

    def give_back(self, buffer: bytearray, *, reuse: bool) -> None:
        """Take a buffer back; without ``reuse`` its memory is left to whoever may still look at it."""
        self.lent -= len(buffer)
        self._slow_lent -= self._slow_buffers.pop(id(buffer), 0)
        if reuse:
            self._idle.setdefault(len(buffer), []).append(buffer)
            self._idle_bytes += len(buffer)
        self.serve()

    def is_short(self, held: Collection[bytearray]) -> bool:
        """Whether somebody has waited for long who would be nearer to a buffer if these came back."""
        latest = asyncio.get_running_loop().time() - _SECONDS_WITHOUT_NEED
        of_slow = any(id(buffer) in self._slow_buffers for buffer in held)
        return bool(held) and any(
            waiter.since < latest and not waiter.future.done() and (of_slow or not self._must_wait_for_slow(waiter))
            for waiter in self._waiters
        )

    def _must_wait_for_slow(self, waiter: _Waiter) -> bool:
        """Whether somebody is slow, and slow uploads hold all that they may."""
        return waiter.slow and self._slow_lent + waiter.size > self._slow_capacity

    def serve(self) -> None:
        """Serve those at the head of the queue, as far as the memory goes."""
        left: list[_Waiter] = []
        for place, waiter in enumerate(self._waiters):
            if waiter.future.done():
                continue
            if self.lent + waiter.size > self.capacity:
                left += self._waiters[place:]
                break
            if self._must_wait_for_slow(waiter):
                left.append(waiter)
                continue
            buffer = self._lend(waiter.size)
            if waiter.slow:
                self._slow_lent += waiter.size
                self._slow_buffers[id(buffer)] = waiter.size
            waiter.future.set_result(buffer)
        self._waiters = left

    def _lend(self, size: int) -> bytearray:
        self.lent += size
        if same := self._idle.get(size):
            self._idle_bytes -= size
            return same.pop()
        if self.lent + self._idle_bytes > self.capacity:
            self._idle.clear()
            self._idle_bytes = 0
        return bytearray(size)


class Share:
    """What one upload holds of a pool. Used by one task, which waits for at most one buffer at a time."""

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._held: dict[int, bytearray] = {}
        self._waiter: asyncio.Future[bytearray] | None = None
        self._failure: Exception | None = None

    def is_wanted(self) -> bool:
        """Whether others have waited for long while this upload holds something."""
        return self._pool.is_short(self._held.values())

    async def take(self, size: int, *, slow: bool = False) -> bytearray:
        """Return a buffer of exactly ``size`` bytes with undefined content; wait until there is memory."""
        if self._failure is not None:
            raise self._failure
        self._waiter = waiter = self._pool.request(size, slow=slow)
        try:
            async with asyncio.timeout(_SECONDS_TO_WAIT):
                buffer = await waiter
        except TimeoutError as error:
            self._renounce(waiter)
            raise MemoryShort("too many uploads at once: there was no memory for this one") from error
        except BaseException:
            self._renounce(waiter)
            raise
        finally:
            self._waiter = None
        self._held[id(buffer)] = buffer
        return buffer

    def give(self, buffer: bytearray, *, reuse: bool) -> None:
        """Give a buffer back; ``reuse`` is false while a connection may still hold unsent bytes of it."""
        del self._held[id(buffer)]
        self._pool.give_back(buffer, reuse=reuse)

    def fail(self, error: Exception) -> None:
        """Make the running and every later ``take`` raise an error."""
        self._failure = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def close(self, *, reuse: bool) -> None:
        """Give everything back that is still held."""
        for buffer in tuple(self._held.values()):
            self.give(buffer, reuse=reuse)

    def _renounce(self, waiter: asyncio.Future[bytearray]) -> None:
        """Leave the queue; a buffer that was granted at the very moment of a cancellation goes back."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self._pool.give_back(waiter.result(), reuse=True)
        waiter.cancel()
        self._pool.serve()


class FirstBuffer:
    """Where the bytes of an upload go first: in a little memory of its own, then in a first buffer.

    An upload that announces much and sends next to nothing holds nothing that others could wait for.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._memory = memoryview(b"")
        self.begun: float | None = None
        """When the first byte was waited for, by the loop's clock."""

    def is_wanted(self) -> bool:
        """Whether others have waited for long while this upload holds a first buffer."""
        return self._share.is_wanted()

    def content(self, count: int) -> memoryview:
        """Return the first bytes."""
        return self._memory[:count]

    async def space(self, filled: int) -> memoryview:
        """Return free space behind the bytes that are there; none once the first buffer is full."""
        if self.begun is None:
            self.begun = asyncio.get_running_loop().time()
            self._memory = memoryview(bytearray(SMALL_BUFFER))
        elif filled == SMALL_BUFFER == len(self._memory):
            larger = memoryview(await self._share.take(FIRST_BUFFER, slow=is_slow(filled, self.begun)))
            larger[:filled] = self._memory
            self._memory = larger
        return self._memory[filled:]

    def close(self, *, reuse: bool) -> None:
        """Give the memory back; see ``Share.give``."""
        self._memory = memoryview(b"")
        self._share.close(reuse=reuse)
