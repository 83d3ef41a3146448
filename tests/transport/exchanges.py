"""Both ends of a transfer: an HTTP server that sends, a client that reads as the test says, and an origin behind."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import BackendError
from gateway.transport import outlet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest
    from aiohttp.web import BaseRequest, StreamResponse

SECONDS = 10.0


@dataclass(slots=True)
class Sender:
    """A server that answers every request by ``send``, and remembers what that raised."""

    send: Callable[[BaseRequest, StreamResponse], Awaitable[None]]
    length: int
    port: int = 0
    errors: asyncio.Queue[Exception | None] = field(default_factory=asyncio.Queue)

    async def handle(self, request: BaseRequest) -> StreamResponse:
        response = web.StreamResponse()
        response.content_length = self.length
        await response.prepare(request)
        try:
            await self.send(request, response)
        except (OSError, TimeoutError, BackendError) as error:
            if request.transport is not None:
                request.transport.abort()
            self.errors.put_nowait(error)
            return response
        await response.write_eof()
        self.errors.put_nowait(None)
        return response

    async def outcome(self) -> Exception | None:
        """Return what the next transfer ended with."""
        async with asyncio.timeout(SECONDS):
            return await self.errors.get()


@asynccontextmanager
async def sending(send: Callable[[BaseRequest, StreamResponse], Awaitable[None]], length: int) -> AsyncIterator[Sender]:
    """Run a sender on the loopback."""
    sender = Sender(send, length)
    runner = web.ServerRunner(web.Server(sender.handle, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, socket.create_server(("127.0.0.1", 0))).start()
        sender.port = runner.addresses[0][1]
        yield sender
    finally:
        await runner.cleanup()


class Reader:
    """A client with a small buffer of its own, so that the sender has to wait for it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    async def ask(self) -> None:
        """Send a request and read the head of its answer."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.socket, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self.read(1)
        assert head.startswith(b"HTTP/1.1 200")

    async def read(self, count: int) -> bytes:
        """Return the next bytes, nothing at the end."""
        async with asyncio.timeout(SECONDS):
            return await asyncio.get_running_loop().sock_recv(self.socket, count)

    async def body(self, length: int, *, slowly: bool = False) -> bytes:
        """Return a body, or what there is of it."""
        found = bytearray()
        while len(found) < length and (piece := await self.read(min(length - len(found), 256 << 10))):
            found += piece
            if slowly and not len(found) % 7:
                await asyncio.sleep(0.001)
        return bytes(found)

    async def slow_body(self, length: int, monkeypatch: pytest.MonkeyPatch) -> bytes:
        """Return a body of which a little is taken at each look at what was taken, and all once a MiB is there."""
        really, found, enough = outlet._taken, bytearray(), asyncio.Event()

        def when_it_has_taken_a_little(connection: socket.socket) -> int:
            with suppress(BlockingIOError):
                found.extend(self.socket.recv(128 << 10))
            if len(found) > 1 << 20:
                enough.set()
            return really(connection)

        monkeypatch.setattr(outlet, "_taken", when_it_has_taken_a_little)
        async with asyncio.timeout(SECONDS):
            await enough.wait()
        monkeypatch.setattr(outlet, "SECONDS_WITHOUT_A_BYTE", SECONDS)
        monkeypatch.setattr(outlet, "_taken", really)
        return bytes(found) + await self.body(length - len(found))

    def vanish(self) -> None:
        """Leave by a reset, as a client that is killed in the middle does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@dataclass(slots=True)
class Origin:
    """A server whose answers are written by the test, byte for byte."""

    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed a connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def origin_that(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Origin]:
    """Run an origin on the loopback."""
    origin = Origin(answer)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        await asyncio.sleep(0)


def whole(content: bytes, head: str = "HTTP/1.1 200 OK") -> bytes:
    """Return a proper answer."""
    return f"{head}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def open_descriptors() -> int:
    """Count the descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def settled(count: Callable[[], int], expected: int) -> int:
    """Wait until a count is as expected: what is closed by the event loop is so a little later."""
    for _ in range(200):
        if count() == expected:
            break
        await asyncio.sleep(0.01)
    return count()


def is_on_disk(path: Path) -> bool:
    """Tell whether a file can be cold at all, and whether that can be seen."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except OSError:
            return False
    return True
