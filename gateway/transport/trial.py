"""Finds out when a process starts whether sendfile and splice work here, with real sockets and compared content."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.transport.outlet import outlet_of
from gateway.transport.sendfile import sendfile_range
from gateway.transport.sending import ways
from gateway.transport.splice import splice_range
from gateway.transport.tally import Way, count
from gateway.transport.waiting import until_ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.outlet import Outlet

_log = logging.getLogger(__name__)

_SECONDS = 5.0
_CONTENT = os.urandom(1 << 10) * 300
_BEFORE, _AFTER = b"before", b"after"


async def try_ways() -> None:
    """Use only those ways of sending that bring the right bytes to a client, and log which do not."""
    ways.sendfile = await _works("sendfile", _by_sendfile)
    if not ways.sendfile:
        count(Way.SENDFILE_FAILED)
    ways.splice = await _works("splice", _by_splice)
    if not ways.splice:
        count(Way.SPLICE_FAILED)


async def _works(name: str, send: Callable[[Outlet], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            await _try(send)
    except Exception as error:  # noqa: BLE001  (whatever it is, there is another way)
        _log.warning("%s does not work here, so bytes are copied instead: %r", name, error)
        return False
    return True


async def _try(send: Callable[[Outlet], Awaitable[None]]) -> None:
    """Answer two requests of one connection, and raise unless both answers are right."""

    async def answer(request: BaseRequest) -> StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(_BEFORE) + len(_CONTENT) + len(_AFTER)
        await response.prepare(request)
        await response.write(_BEFORE)
        async with outlet_of(request, response) as outlet:
            if outlet is None:
                raise OSError("the transport has no socket")
            await send(outlet)
        await response.write(_AFTER)
        return response

    # A way that fails may hang, and must not hold up the start.
    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.SockSite(runner, socket.create_server(("127.0.0.1", 0)))
        await site.start()
        await _check(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def _check(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            expected = _BEFORE + _CONTENT + _AFTER
            if await reader.readexactly(len(expected)) != expected:
                raise OSError("other bytes have arrived than were sent")
    finally:
        writer.close()
        await writer.wait_closed()


async def _by_sendfile(outlet: Outlet) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"skipped" + _CONTENT)
        await sendfile_range(outlet, file.fileno(), len(b"skipped"), len(_CONTENT))


async def _by_splice(outlet: Outlet) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        feeding = asyncio.create_task(asyncio.get_running_loop().sock_sendall(far, _CONTENT))
        try:
            await splice_range(outlet, _Feed(near))
        finally:
            feeding.cancel()


class _Feed:
    """The near end of a pair of sockets, as a source."""

    def __init__(self, near: socket.socket) -> None:
        self.descriptor = near.fileno()
        self.left = len(_CONTENT)

    def took(self, count: int) -> None:
        if not count:
            raise OSError("splice has found the end of a socket that is open")
        self.left -= count

    async def readable(self) -> None:
        await until_ready(self.descriptor, writing=False, seconds=_SECONDS)
