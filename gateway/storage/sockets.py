"""The sockets of an HTTP client, so that none of them outlives it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from typing import Any

_SECONDS_TO_CLOSE = 2.0


class Sockets:
    """Makes the sockets of a client, and closes those that the client has left behind.

    A call that is given up closes its connection only once everything that was to be sent is sent, which a service
    that has stopped reading never lets happen.
    """

    def __init__(self) -> None:
        self._made: WeakSet[socket.socket] = WeakSet()

    def make(self, address: tuple[Any, ...]) -> socket.socket:
        """Make a socket for an address as getaddrinfo gives it."""
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        return made

    async def aclose(self) -> None:
        """Break what is still open, and wait until the event loop has let go of it."""
        for left in self._open():
            with suppress(OSError):
                left.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_CLOSE):
                while self._open():  # noqa: ASYNC110  (transports that were given up tell nobody of their end)
                    await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [made for made in self._made if made.fileno() >= 0]
