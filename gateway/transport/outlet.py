"""The client's socket itself, past the transport that owns it: what sendfile and splice write to."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.transport.waiting import until_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web import BaseRequest, StreamResponse

SECONDS_WITHOUT_A_BYTE = 60.0
"""How long a client may take nothing before it is dropped."""
_ACKNOWLEDGED = slice(120, 128)
"""Where TCP_INFO has the number of bytes that the other side has acknowledged (tcpi_bytes_acked, linux/tcp.h)."""


class Outlet:
    """A second descriptor of a client's socket; whoever has it is the only one who writes to the socket."""

    def __init__(self, transport: asyncio.WriteTransport, writer: AbstractStreamWriter, own: socket.socket) -> None:
        self._transport = transport
        self._writer = writer
        self._own = own
        self.descriptor = own.fileno()

    def sent(self, count: int) -> None:
        """Tell aiohttp of bytes of the response that have gone past it."""
        self._writer.output_size += count
        if self._writer.length is not None:
            self._writer.length -= count

    def check(self) -> None:
        """Raise ConnectionResetError when the client is known to have left."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")

    async def writable(self) -> None:
        """Wait until the socket takes bytes again; raise TimeoutError when the client has stopped reading.

        It does so once a third of its buffer is free, megabytes, for which a client that is only slow takes minutes.
        """
        taken = _taken(self._own)
        while not await until_ready(self.descriptor, writing=True, seconds=SECONDS_WITHOUT_A_BYTE):
            self.check()
            before, taken = taken, _taken(self._own)
            if taken == before:
                raise TimeoutError(f"the client took nothing for {SECONDS_WITHOUT_A_BYTE:.0f} seconds")
        self.check()


class Watch:
    """Looks whether a client takes anything of what waits for it, and calls ``give_up`` when it takes nothing."""

    def __init__(self, transport: asyncio.WriteTransport, give_up: Callable[[], None]) -> None:
        self._give_up = give_up
        self._own = transport.get_extra_info("socket")
        self._taken = _taken(self._own)
        self._look_later()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SECONDS_WITHOUT_A_BYTE, self._look)

    def _look(self) -> None:
        before, self._taken = self._taken, _taken(self._own)
        if self._taken == before:
            self._give_up()
        else:
            self._look_later()


@asynccontextmanager
async def patience(transport: asyncio.WriteTransport) -> AsyncIterator[None]:
    """Wait for a client that is slow to take what is written; raise TimeoutError when it has stopped reading."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        watch = Watch(transport, lambda: limit.reschedule(loop.time()))
        try:
            yield
        finally:
            watch.end()


def _taken(connection: socket.socket) -> int:
    """Return how many bytes the other side has taken so far, 0 where nobody knows."""
    try:
        information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.stop)
    except OSError:
        return 0
    return int.from_bytes(information[_ACKNOWLEDGED], sys.byteorder)


@asynccontextmanager
async def outlet_of(request: BaseRequest, response: StreamResponse) -> AsyncIterator[Outlet | None]:
    """Open the socket that a prepared response goes to; None where bytes cannot be written to it, as with TLS."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has left")
    if not is_plain(transport):
        yield None
        return
    # Already prepared, so that this only returns the writer.
    writer = await response.prepare(request)
    assert writer is not None
    await _flush(transport, writer)
    # The event loop refuses to watch a descriptor that a transport owns.
    own = transport.get_extra_info("socket").dup()
    try:
        yield Outlet(transport, writer, own)
    finally:
        own.close()


def is_plain(transport: asyncio.WriteTransport) -> bool:
    """Tell whether what the client is to see is what goes into the socket."""
    return transport.get_extra_info("socket") is not None and transport.get_extra_info("sslcontext") is None


async def _flush(transport: asyncio.WriteTransport, writer: AbstractStreamWriter) -> None:
    """Wait until everything written so far is in the kernel: what goes past the transport would overtake it."""
    if not transport.get_write_buffer_size():
        return
    low, high = transport.get_write_buffer_limits()
    # Above zero the transport pauses its protocol, and then draining waits for the last byte.
    transport.set_write_buffer_limits(high=0)
    try:
        async with patience(transport):
            await writer.drain()
    finally:
        transport.set_write_buffer_limits(high=high, low=low)
    if transport.get_write_buffer_size() or transport.is_closing():
        raise ConnectionResetError("the client has left")
