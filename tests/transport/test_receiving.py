"""Bodies that are received behind aiohttp's back: content, what follows them, and clients that break off."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import uvloop
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import BodyCut
from gateway.transport import pace, receiving, self_test, server
from gateway.transport.body import RequestBody
from gateway.transport.connection import Connection
from gateway.transport.server import Server, server_runner
from gateway.transport.tally import Way, counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

from .test_framing import MALFORMED

CONTENT = bytes(range(256)) * 1200
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
_LOOPS = pytest.mark.parametrize("loop", LOOPS)
_FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
HEAD = b"PUT / HTTP/1.1\r\nHost: localhost\r\n"


def run(loop: str, work: Coroutine[None, None, None]) -> None:
    """Run a test on a kind of event loop, within a time limit."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await work

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(limited())


def request(content: bytes, *, chunked: bool, chunk: int = 7777, head: bytes = HEAD) -> bytes:
    """Write a request with a body."""
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(content) + content
    pieces = [content[start : start + chunk] for start in range(0, len(content), chunk)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@dataclass
class Peer:
    """A server of one connection, and the client's side of it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    socket: socket.socket
    bodies: list[tuple[bool, bytes]] = field(default_factory=list)
    """Of each body, whether it was received directly, and its content."""
    cuts: list[str] = field(default_factory=list)
    buffer: int = 50_000
    received_now: int = 0
    """How many bytes were there when nobody had waited for them."""
    most: int | None = None
    """How many bytes of a body are wanted."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    handle: server.Handler | None = None
    serving: Server | None = None

    async def handler(self, request: BaseRequest) -> StreamResponse:
        if self.handle is not None:
            return await self.handle(request)
        body = RequestBody(request, None)
        content, buffer = bytearray(), memoryview(bytearray(self.buffer))
        await self.go_on.wait()
        try:
            while (self.most is None or len(content) < self.most) and (count := await body.receive_into(buffer)):
                content += buffer[:count]
                while self.most is None and (count := await asyncio.to_thread(body.receive_now, buffer)):
                    content += buffer[:count]
                    self.received_now += count
        except BodyCut as error:
            self.cuts.append(str(error))
            return web.Response(status=400)
        finally:
            self.bodies.append((body.direct, bytes(content)))
        return web.Response(text=f"{len(content)}")

    async def send(self, data: bytes, piece: int = 1 << 20) -> None:
        for start in range(0, len(data), piece):
            self.writer.write(data[start : start + piece])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        return int(head.split()[1]), await self.reader.readexactly(int(length.partition(":")[2]))


@pytest.fixture(autouse=True)
def rejected_bodies_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is refused goes on sending here, as long as the server reads it."""
    monkeypatch.setitem(server._LIMITS, "lingering_time", 0.1)


@asynccontextmanager
async def peer(*, direct: bool = True) -> AsyncIterator[Peer]:
    """Serve one connection over loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    listener.close()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=theirs)
    this = Peer(reader, writer, theirs)
    this.go_on.set()
    this.serving = serving = Server(this.handler, _refusal, direct=direct)
    await asyncio.get_running_loop().connect_accepted_socket(serving, ours)
    try:
        yield this
    finally:
        writer.close()
        await serving.shutdown(5)
        with suppress(ConnectionError):
            await writer.wait_closed()


def _refusal(status: HTTPStatus, message: str) -> StreamResponse:
    return web.Response(status=status, text=message)


@_LOOPS
@_FRAMINGS
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.integers(65_537, 400_000),
    chunk=st.sampled_from([9, 1000, 32_768, 65_536, 300_000]),
    piece=st.sampled_from([700, 4096, 65_536, 1 << 20]),
    buffer=st.sampled_from([1000, 50_000, 262_144, 1 << 20]),
    behind=st.booleans(),
)
def test_content(loop: str, size: int, chunk: int, piece: int, buffer: int, *, chunked: bool, behind: bool) -> None:
    """The content arrives whatever the chunks, the pieces and the buffers are, and so does the request behind it."""

    async def work() -> None:
        content = (CONTENT * 2)[:size]
        async with peer() as this:
            this.buffer = buffer
            follower = request(b"small", chunked=False) if behind else b""
            await this.send(request(content, chunked=chunked, chunk=chunk) + follower, piece)
            assert await this.answer() == (200, b"%d" % size)
            if behind:
                assert await this.answer() == (200, b"5")
            assert this.bodies[0] == (True, content)

    run(loop, work())


@_LOOPS
def test_keep_alive(loop: str) -> None:
    """One connection carries body after body, in turns of framing and size."""

    async def work() -> None:
        async with peer() as this:
            for turn in range(60):
                size = (200_000, 70_000, 10, 0)[turn % 4]
                chunked = turn % 3 == 0
                await this.send(request(CONTENT[:size], chunked=chunked), 50_000)
                assert await this.answer() == (200, b"%d" % size)
                assert this.bodies[-1] == (chunked or size > 65_536, CONTENT[:size])

    run(loop, work())


@_LOOPS
@_FRAMINGS
def test_received_now(loop: str, *, chunked: bool) -> None:
    """What has arrived is received without waiting, and the connection goes on behind it."""

    async def work() -> None:
        async with peer() as this:
            this.go_on.clear()
            await this.send(request(CONTENT, chunked=chunked) + request(b"small", chunked=False))
            await asyncio.sleep(0.05)
            this.go_on.set()
            assert await this.answer() == (200, b"%d" % len(CONTENT))
            assert await this.answer() == (200, b"5")
            assert this.bodies[0] == (True, CONTENT)
            assert this.received_now > 100_000

    run(loop, work())


@_LOOPS
def test_nothing_is_received_from_a_closed_connection(loop: str) -> None:
    """A thread that comes after the end of a connection gets nothing, whoever has its descriptor by then."""

    async def work() -> None:
        async with peer() as this:
            seen: list[int] = []

            async def handle(request: BaseRequest) -> StreamResponse:
                body, buffer = RequestBody(request, None), memoryview(bytearray(10_000))
                await body.receive_into(buffer)
                assert request.transport is not None
                request.transport.abort()
                await asyncio.sleep(0.05)
                seen.append(await asyncio.to_thread(body.receive_now, buffer))
                return web.Response()

            this.handle = handle
            await this.send(request(CONTENT, chunked=False))
            while not seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert seen == [0]

    run(loop, work())


@_LOOPS
def test_everything_pipelined(loop: str) -> None:
    """Requests that are sent without waiting for answers are answered in order, however they are received."""

    async def work() -> None:
        async with peer() as this:
            sizes = [200_000, 5, 0, 100_000, 100_000, 7, 300_000] * 3
            stream = b"".join(request(CONTENT[:size], chunked=turn % 2 == 0) for turn, size in enumerate(sizes))
            sending = asyncio.create_task(this.send(stream, 60_000))
            for size in sizes:
                assert await this.answer() == (200, b"%d" % size)
            await sending
            assert [content for _, content in this.bodies] == [CONTENT[:size] for size in sizes]

    run(loop, work())


@_LOOPS
@_FRAMINGS
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_head_in_pieces(loop: str, at: int, *, chunked: bool) -> None:
    """The end of a head is found wherever it is cut."""

    async def work() -> None:
        async with peer() as this:
            whole = request(CONTENT, chunked=chunked)
            cut = whole.index(b"\r\n\r\n") + at
            await this.send(whole[:cut])
            await asyncio.sleep(0.02)
            await this.send(whole[cut:])
            assert await this.answer() == (200, b"%d" % len(CONTENT))
            assert this.bodies == [(True, CONTENT)]

    run(loop, work())


@_LOOPS
@_FRAMINGS
def test_expect(loop: str, *, chunked: bool) -> None:
    """A client that waits to be invited is invited once."""

    async def work() -> None:
        async with peer() as this:
            whole = request(CONTENT, chunked=chunked, head=HEAD + b"Expect: 100-continue\r\n")
            head, _, body = whole.partition(b"\r\n\r\n")
            await this.send(head + b"\r\n\r\n")
            assert await this.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await this.send(body)
            assert await this.answer() == (200, b"%d" % len(CONTENT))
            assert this.bodies == [(True, CONTENT)]

    run(loop, work())


@_LOOPS
@_FRAMINGS
@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
def test_cut(loop: str, how: str, *, chunked: bool) -> None:
    """A body that breaks off raises BodyCut; the bytes before it were delivered."""

    async def work() -> None:
        async with peer() as this:
            await this.send(request(CONTENT, chunked=chunked)[:200_000])
            await asyncio.sleep(0.05)
            if how == "reset":
                this.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how == "half-close":
                this.writer.write_eof()
            else:
                this.writer.transport.abort()
            while not this.cuts:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            direct, content = this.bodies[0]
            assert direct
            assert len(content) > 150_000
            assert CONTENT.startswith(content)

    run(loop, work())


@_LOOPS
@_FRAMINGS
def test_half_closed_behind_the_body(loop: str, *, chunked: bool) -> None:
    """A client that closes its side behind the body gets its answer."""

    async def work() -> None:
        async with peer() as this:
            await this.send(request(CONTENT, chunked=chunked))
            this.writer.write_eof()
            assert await this.answer() == (200, b"%d" % len(CONTENT))

    run(loop, work())


@_LOOPS
@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:24]))
def test_broken_chunks(loop: str, body: bytes) -> None:
    """Chunks that cannot be read are 400, and the connection is closed."""

    async def work() -> None:
        async with peer() as this:
            await this.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n" + body)
            assert (await this.answer())[0] == 400
            assert await this.reader.read() == b""
            assert this.bodies[0][0]

    run(loop, work())


@_LOOPS
@_FRAMINGS
@pytest.mark.parametrize("wanted", [0, 100_000])
def test_refused_in_the_middle(loop: str, wanted: int, *, chunked: bool) -> None:
    """Who is answered before the end of the body may send the rest, and goes on with the next request."""

    async def work() -> None:
        async with peer() as this:
            this.most = wanted
            whole = request(CONTENT * 10, chunked=chunked)
            sending = asyncio.create_task(this.send(whole + request(b"small", chunked=False), 100_000))
            assert (await this.answer())[0] == 200
            this.most = None
            assert await this.answer() == (200, b"5")
            await sending

    run(loop, work())


@_LOOPS
@_FRAMINGS
def test_back_pressure(loop: str, *, chunked: bool) -> None:
    """As long as nobody wants bytes, the socket is not read."""

    async def work() -> None:
        async with peer() as this:
            this.go_on.clear()
            sending = asyncio.create_task(this.send(request(CONTENT * 100, chunked=chunked), 100_000))
            await asyncio.wait((sending,), timeout=0.5)
            assert not sending.done()
            this.go_on.set()
            assert await this.answer() == (200, b"%d" % (len(CONTENT) * 100))
            await sending

    run(loop, work())


@_LOOPS
@_FRAMINGS
def test_too_slow(loop: str, monkeypatch: pytest.MonkeyPatch, *, chunked: bool) -> None:
    """A client that sends nothing for too long is given up, and told so."""
    monkeypatch.setattr(pace, "SECONDS_WITHOUT_A_BYTE", 0.2)
    monkeypatch.setattr(receiving, "_SECONDS_BETWEEN_LOOKS", 0.05)

    async def work() -> None:
        async with peer() as this:
            await this.send(request(CONTENT, chunked=chunked)[:200_000])
            assert (await this.answer())[0] == 400
            assert "no byte" in this.cuts[0]

    run(loop, work())


@_LOOPS
@_FRAMINGS
@pytest.mark.parametrize("direct", [False, True])
def test_next_to_nothing(loop: str, monkeypatch: pytest.MonkeyPatch, *, direct: bool, chunked: bool) -> None:
    """A client that sends a few bytes now and then is given up as well, whichever way they are received."""
    monkeypatch.setattr(pace, "_WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(pace, "_LEAST_RATE", 1 << 30)
    monkeypatch.setattr(receiving, "_SECONDS_BETWEEN_LOOKS", 0.05)

    async def work() -> None:
        async with peer(direct=direct) as this:
            trickling = asyncio.create_task(trickle(this, request(CONTENT, chunked=chunked)))
            assert (await this.answer())[0] == 400
            assert "slowly" in this.cuts[0]
            trickling.cancel()

    async def trickle(this: Peer, whole: bytes) -> None:
        await this.send(whole[:100])
        for place in range(100, len(whole)):
            await this.send(whole[place : place + 1])
            await asyncio.sleep(0.01)

    run(loop, work())


@_LOOPS
@_FRAMINGS
def test_shutdown_lets_bodies_flow(loop: str, *, chunked: bool) -> None:
    """A body goes on while its server has begun to shut down."""

    async def work() -> None:
        async with peer() as this:
            whole = request(CONTENT, chunked=chunked)
            await this.send(whole[:100_000])
            await asyncio.sleep(0.05)
            assert this.serving is not None
            this.serving.pre_shutdown()
            await this.send(whole[100_000:])
            assert await this.answer() == (200, b"%d" % len(CONTENT))

    run(loop, work())


@_LOOPS
def test_self_test_passes(loop: str) -> None:
    """On both loops bodies are received directly."""

    async def work() -> None:
        def of(handler: server.Handler, refusal: Callable[..., StreamResponse]) -> Server:
            return Server(handler, refusal, direct=True)

        assert await self_test.receives_directly(of)

    run(loop, work())


@_LOOPS
@_FRAMINGS
@pytest.mark.parametrize("broken", ["raises", "indirect", "other bytes"])
def test_fallback(
    loop: str, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, chunked: bool
) -> None:
    """Where the self-test fails, aiohttp's parser gets the bodies, the log says so, and they are counted."""
    with monkeypatch.context() as patch:
        if broken == "raises":
            patch.delattr(Connection, "_body_ended")
        elif broken == "indirect":
            patch.setattr(Connection, "receiver", lambda *_: None)
        else:
            patch.setattr(self_test, "_CONTENT", b"\0" * 100_000)
            patch.setattr(receiving.BodyReceiver, "_take_rest", lambda *_: 10_000)

        async def start() -> None:
            async def nothing(_: BaseRequest) -> StreamResponse:
                return web.Response()

            runner = server_runner(nothing, _refusal)
            with caplog.at_level(logging.WARNING):
                await runner.setup()
            assert runner.server is not None
            assert not getattr(runner.server, "direct", True)
            await runner.cleanup()

        patch.setattr(self_test, "_SECONDS", 1.0)
        run(loop, start())
    assert "aiohttp's parser" in caplog.text

    async def work() -> None:
        before = counted(Way.RECEIVED_BY_PARSER)
        # Too much to be there already when the handler begins: nobody knows then that a body in chunks is large.
        content = CONTENT * 8
        async with peer(direct=False) as this:
            await this.send(request(content, chunked=chunked) + request(b"small", chunked=False))
            assert await this.answer() == (200, b"%d" % len(content))
            assert await this.answer() == (200, b"5")
            assert this.bodies == [(False, content), (False, b"small")]
        assert counted(Way.RECEIVED_BY_PARSER) == before + 1

    run(loop, work())


@_FRAMINGS
def test_read_whole(*, chunked: bool) -> None:
    """Who reads a large body whole gets it from aiohttp's parser, and the connection goes on."""

    async def work() -> None:
        async with peer() as this:

            async def whole(request: BaseRequest) -> StreamResponse:
                return web.Response(body=await RequestBody(request, None).read(1 << 20))

            this.handle = whole
            for _ in range(2):
                await this.send(request(CONTENT, chunked=chunked))
                assert await this.answer() == (200, CONTENT)

    run("asyncio", work())
