"""Leaving listening sockets: who is still answered, how long running requests may take, and how they are cut off."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.errors import ServiceEnding
from gateway.transport import connection as connections
from gateway.transport import serving as module
from gateway.transport.body import RequestBody
from gateway.transport.serving import Door, Farewell, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = 2_000_000


def refusal(status: HTTPStatus, message: str) -> StreamResponse:
    return web.Response(status=status, text=message)


class Slow:
    """Answers ``/slow`` when it is told to, ``/stream`` in two pieces, and everything else at once."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        self.in_flight += 1
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        if request.path == "/slow":
            self.entered.set()
            await self.go_on.wait()
        response: StreamResponse = web.Response(text=request.path)
        if request.path == "/stream":
            response = web.StreamResponse()
            response.content_length = 4
            await response.prepare(request)
            self.entered.set()
            await response.write(b"ab")
            await self.go_on.wait()
            await response.write(b"cd")
        return response


class Receiving(Slow):
    """Receives a body, and tells how much of it there was when it was interrupted."""

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        body, buffer, received = RequestBody(request, None), memoryview(bytearray(100_000)), 0
        try:
            while count := await body.receive_into(buffer):
                received += count
                if received == LARGE // 2:
                    self.entered.set()
        except ServiceEnding:
            return web.Response(status=503, text=str(received))
        return web.Response(text=str(received))


class House:
    """Servers that can be told to end, and how to get at them."""

    def __init__(self, handlers: tuple[Slow, ...], farewell: Farewell) -> None:
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in handlers]
        self.addresses = [each.getsockname()[:2] for each in self._listeners]
        self._doors = [Door(*each) for each in zip(self._listeners, handlers, strict=True)]
        self._farewell = farewell
        self.hurried = asyncio.Event()
        self._end = asyncio.Event()
        self._open = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self.task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        async with serving(self._doors, refusal, self.hurried, self._farewell):
            self._open.set()
            await self._end.wait()

    async def opened(self) -> None:
        await self._open.wait()

    def end(self, *, hurried: bool = True) -> None:
        if hurried:
            self.hurried.set()
        self._end.set()

    async def closed(self) -> None:
        """Wait until no door accepts connections."""
        while any(each.fileno() >= 0 for each in self._listeners):  # noqa: ASYNC110  (there is no event)
            await asyncio.sleep(0.01)

    async def connect(self, place: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.addresses[place])
        self._writers.append(writer)
        return reader, writer

    async def ask(self, path: bytes, place: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connect(place)
        writer.write(GET % path)
        return reader, writer

    async def leave(self) -> None:
        """Close the clients' connections, and wait for the end."""
        self.end()
        for writer in self._writers:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.wait_for(self.task, 20)


@asynccontextmanager
async def house(*handlers: Slow, unready: float = 0.0, drain: float = 30.0) -> AsyncIterator[House]:
    built = House(handlers, Farewell(unready, drain))
    await built.opened()
    try:
        yield built
    finally:
        for handler in handlers:
            handler.go_on.set()
        await built.leave()


async def test_a_retiring_server_is_patient() -> None:
    """As long as nobody is in a hurry, the short limit does not count."""
    slow = Slow()
    async with house(slow, drain=0.0) as built:
        reader, _ = await built.ask(b"slow")
        await slow.entered.wait()
        built.end(hurried=False)
        done, _ = await asyncio.wait([built.task], timeout=0.3)
        assert not done
        slow.go_on.set()
        assert b"200 OK" in await reader.read()


async def test_a_server_in_a_hurry_cuts_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the service ends meanwhile, the short limit counts from that moment."""
    monkeypatch.setattr(module, "_SECONDS_TO_PUT_AWAY", 0.1)
    monkeypatch.setattr(module, "_SECONDS_TO_NOTICE", 0.1)
    slow = Slow()
    async with house(slow, drain=0.1) as built:
        reader, _ = await built.ask(b"slow")
        await slow.entered.wait()
        built.end(hurried=False)
        built.hurried.set()
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_load_balancers_have_time_to_notice() -> None:
    """Connections are accepted for a while, old ones go on, and each answer is the last of its connection."""
    slow = Slow()
    async with house(slow, unready=1.0) as built:
        kept_reader, kept = await built.ask(b"before")
        assert b"Connection: close" not in await kept_reader.readuntil(b"/before")
        built.end()
        await asyncio.sleep(0)

        kept.write(GET % b"again")
        reader, _ = await built.ask(b"new")
        for each in (kept_reader, reader):
            answer = await each.read()
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"Connection: close" in answer


async def test_streamed_answers_are_the_last_as_well() -> None:
    """Those that begin after the end was decided, whoever asked before or after it."""
    slow = Slow()
    async with house(slow, unready=1.0) as built:
        built.end()
        await asyncio.sleep(0)
        reader, _ = await built.ask(b"stream")
        slow.go_on.set()
        assert b"Connection: close" in await asyncio.wait_for(reader.read(), 10)


async def test_a_client_that_was_not_told_is_answered_once_more() -> None:
    """Its answer had begun before the end was decided: its next request may be on its way."""
    slow = Slow()
    async with house(slow) as built:
        reader, writer = await built.ask(b"stream")
        await slow.entered.wait()
        built.end()
        await built.closed()
        slow.go_on.set()
        assert b"Connection: close" not in await reader.readuntil(b"abcd")

        writer.write(GET % b"again")

        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" in answer


async def test_all_doors_close_together() -> None:
    """A request at one of them does not keep another one open."""
    first, second = Slow(), Slow()
    async with house(first, second) as built:
        reader, _ = await built.ask(b"slow", 1)
        await second.entered.wait()
        built.end()
        await built.closed()
        assert not built.task.done()
        second.go_on.set()
        assert b"200 OK" in await reader.read()


@pytest.mark.parametrize("direct", [True, False], ids=["received directly", "by the parser"])
async def test_bodies_are_cut_off_with_an_answer(monkeypatch: pytest.MonkeyPatch, *, direct: bool) -> None:
    """At the deadline, what was received is put away, and the client is told; it may go on sending meanwhile."""
    if not direct:
        monkeypatch.setattr(connections, "LARGE_BODY", 2 * LARGE)
    handler = Receiving()
    async with house(handler, drain=0.0) as built:
        reader, writer = await built.connect()
        writer.write(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % LARGE)
        writer.write(bytes(LARGE // 2))
        await handler.entered.wait()
        built.end()

        answer = await asyncio.wait_for(reader.readuntil(b"%d" % (LARGE // 2)), 10)
        writer.write(bytes(LARGE // 2))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Connection: close" in answer
        assert await reader.read() == b""
