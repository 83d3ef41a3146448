"""Content on its way to the client, by the cheapest way that works here."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.errors import ObjectDamaged
from gateway.transport.outlet import outlet_of, patience
from gateway.transport.residency import is_resident
from gateway.transport.sendfile import sendfile_range
from gateway.transport.splice import Source, splice_range
from gateway.transport.tally import Way, count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.web import BaseRequest, StreamResponse

_SLICE = 256 * 1024
_SMALL = 64 * 1024
"""Up to here, copying once costs less than a second descriptor of the socket."""


@dataclass(slots=True)
class Ways:
    """Which of the kernel's ways may be used; ``trial.py`` finds out when a process starts."""

    sendfile: bool = True
    splice: bool = True


ways = Ways()


class SocketSource(Source, Protocol):
    """A source of which something may have been read already."""

    def take_first(self) -> bytes:
        """Return, once, the bytes that came before those which are left in the socket."""
        ...


async def send_file(request: BaseRequest, response: StreamResponse, descriptor: int, start: int, length: int) -> None:
    """Send ``length`` bytes of an open file from ``start`` on; a file that ends early raises ObjectDamaged."""
    if length > _SMALL and ways.sendfile:
        async with outlet_of(request, response) as outlet:
            if outlet is not None:
                count(Way.SENT_BY_SENDFILE)
                await sendfile_range(outlet, descriptor, start, length)
                return
    count(Way.SENT_BY_COPY)
    await _pump_file(request, response, descriptor, start, length)


async def send_socket(
    request: BaseRequest, response: StreamResponse, source: SocketSource, chunks: AsyncIterator[bytes]
) -> None:
    """Send what comes out of a socket; ``chunks`` are the same bytes, for where they cannot be spliced."""
    if not (source.left and ways.splice):
        await send_stream(request, response, chunks)
        return
    if first := source.take_first():
        await _write(request, response, first)
    async with outlet_of(request, response) as outlet:
        if outlet is not None:
            count(Way.SENT_BY_SPLICE)
            await splice_range(outlet, source)
            return
    await send_stream(request, response, chunks)


async def send_stream(request: BaseRequest, response: StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    """Send bytes as they arrive."""
    count(Way.SENT_BY_COPY)
    async for chunk in chunks:
        for start in range(0, len(chunk), _SLICE):
            await _write(request, response, chunk[start : start + _SLICE])


async def _pump_file(request: BaseRequest, response: StreamResponse, descriptor: int, start: int, length: int) -> None:
    """Read and write, piece by piece."""
    loop = asyncio.get_running_loop()
    done = 0
    while done < length:
        offset, wanted = start + done, min(_SLICE, length - done)
        if is_resident(descriptor, offset, wanted):
            data = os.pread(descriptor, wanted, offset)
        else:
            # A thread, since a file that is not in memory would block everybody else.
            data = await loop.run_in_executor(None, os.pread, descriptor, wanted, offset)
        if not data:
            raise ObjectDamaged("a stored file is shorter than it was when it was opened")
        await _write(request, response, data)
        done += len(data)


async def _write(request: BaseRequest, response: StreamResponse, data: bytes) -> None:
    """Write, and give up on a client that has stopped reading."""
    if request.transport is None:
        raise ConnectionResetError("the client has left")
    async with patience(request.transport):
        await response.write(data)
