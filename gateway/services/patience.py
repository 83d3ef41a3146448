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
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._look_later(limit, begun)
                count = await receiving
        except TimeoutError as error:
            if limit.expired():
                raise _too_slow() from error
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
        self._count(self._loop.time() - begun, count)
        return count

    def _count(self, waited: float, received: int) -> None:
        """Measure clients that send something; raises MemoryShort."""
        self._waited += waited
        self._received += received
        if self._waited < _SECONDS_OF_A_MEASURE:
            return
        if self._received < self._waited * _LEAST_RATE and self._is_wanted():
            raise _too_slow()
        self._waited, self._received = 0.0, 0

    def _look_later(self, limit: asyncio.Timeout, begun: float) -> None:
        self._timer = self._loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look, limit, begun)

    def _look(self, limit: asyncio.Timeout, begun: float) -> None:
        """End the waiting for a client that sends nothing, or look again later."""
        now = self._loop.time()
        if now - begun >= _SECONDS_OF_A_MEASURE and self._is_wanted():
            limit.reschedule(now)
        else:
            self._look_later(limit, begun)


def _too_slow() -> MemoryShort:
    return MemoryShort("there was not enough memory for all uploads, and this one came too slowly")
