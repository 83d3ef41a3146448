"""Giving way: an upload whose client sends next to nothing does not keep memory from others who wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import MemoryShort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_OF_A_MEASURE = 5.0
_LEAST_RATE = 16 << 10
"""Bytes in a second; a first buffer takes a quarter of a minute then."""


class Patience:
    """Waits for the bytes of an upload, for as long as nobody needs the memory that it holds.

    ``is_wanted`` tells whether somebody does. How slowly bodies may come while there is memory for all is the
    transport's affair.
    """

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted = is_wanted
        self._loop = asyncio.get_running_loop()
        self._waited = 0.0
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, receiving: Awaitable[int]) -> int:
        """Wait for bytes and return their number; raises MemoryShort when the upload has to give way."""
        begun = self._loop.time()
        try:
            async with asyncio.timeout(None) as limit:
                self._look_later(limit, begun)
                count = await receiving
            self._count(self._loop.time() - begun, count)
        except TimeoutError as error:
            raise MemoryShort("there was not enough memory for all uploads, and this one came too slowly") from error
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return count

    def _count(self, waited: float, received: int) -> None:
        self._waited += waited
        self._received += received
        if self._waited < _SECONDS_OF_A_MEASURE:
            return
        if self._must_give_way(0.0):
            raise TimeoutError
        self._waited, self._received = 0.0, 0

    def _look_later(self, limit: asyncio.Timeout, begun: float) -> None:
        self._timer = self._loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look, limit, begun)

    def _look(self, limit: asyncio.Timeout, begun: float) -> None:
        """End the waiting, or look again later."""
        now = self._loop.time()
        if self._must_give_way(now - begun):
            limit.reschedule(now)
        else:
            self._look_later(limit, begun)

    def _must_give_way(self, waiting: float) -> bool:
        """Tell whether too little has come, and others need the memory."""
        has_stalled = waiting >= _SECONDS_OF_A_MEASURE
        is_slow = self._waited >= _SECONDS_OF_A_MEASURE and self._received < self._waited * _LEAST_RATE
        return (has_stalled or is_slow) and self._is_wanted()
