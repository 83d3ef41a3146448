"""Memory for uploads: a bounded pool per process, and the share of it that one upload holds."""

from __future__ import annotations

import asyncio
from collections import deque


class BufferPool:
    """Hands out buffers up to a total of ``capacity`` bytes; who comes first is served first.

    Buffers are kept and handed out again, because fresh memory costs a page fault for each 4 KiB.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lent = 0
        self._idle: dict[int, list[bytearray]] = {}
        self._idle_bytes = 0
        self._waiters: deque[tuple[int, asyncio.Future[bytearray]]] = deque()

    def share(self) -> Share:
        """Return the share of one upload, still empty."""
        return Share(self)

    def request(self, size: int) -> asyncio.Future[bytearray]:
        """Return a future that gets a buffer when it is its turn."""
        if size > self.capacity:
            raise ValueError(f"a buffer of {size} bytes never fits into a pool of {self.capacity}")
        waiter: asyncio.Future[bytearray] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, waiter))
        self.serve()
        return waiter

    def give_back(self, buffer: bytearray, *, reuse: bool) -> None:
        """Take a buffer back; without ``reuse`` its memory is left to whoever may still look at it."""
        self.lent -= len(buffer)
        if reuse:
            self._idle.setdefault(len(buffer), []).append(buffer)
            self._idle_bytes += len(buffer)
        self.serve()

    def serve(self) -> None:
        """Serve those at the head of the queue, as far as the memory goes."""
        while self._waiters:
            size, waiter = self._waiters[0]
            if not waiter.done():
                if self.lent + size > self.capacity:
                    return
                waiter.set_result(self._lend(size))
            self._waiters.popleft()

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

    async def take(self, size: int) -> bytearray:
        """Return a buffer of exactly ``size`` bytes with undefined content; wait until there is memory."""
        if self._failure is not None:
            raise self._failure
        self._waiter = waiter = self._pool.request(size)
        try:
            buffer = await waiter
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
