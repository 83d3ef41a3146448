"""From an origin to clients by splice: right bytes or a broken transfer, and connections that are used again."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StorageUnavailable
from gateway.transport import outlet, splice
from gateway.transport.sending import send_socket, ways
from gateway.transport.upstream import Limits, Upstream, UpstreamBroken
from transport.exchanges import (
    SECONDS,
    Origin,
    Reader,
    Sender,
    open_descriptors,
    origin_that,
    sending,
    settled,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aiohttp.web import BaseRequest, StreamResponse

CONTENT = random.Random(4).randbytes(6 << 20)
REQUEST = b"GET /object HTTP/1.1\r\nHost: origin\r\n\r\n"
LIMITS = Limits(connect_seconds=1.0, silent_seconds=0.3, idle_seconds=5.0, connections=4)


@pytest.fixture(autouse=True)
def usual_ways() -> Iterator[None]:
    yield
    ways.sendfile = ways.splice = True
    splice.close_idle_pipes()


def saying(
    *pieces: bytes, then: str = "wait"
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Answer by the given bytes, then go on with the connection, close it, or hang."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then == "close":
            writer.close()
        if then == "hang":
            await _reader.read()

    return answer


@asynccontextmanager
async def proxying(origin: Origin, length: int, limits: Limits = LIMITS) -> AsyncIterator[tuple[Sender, Upstream]]:
    """Send what an origin answers to whoever asks."""
    upstream = Upstream("127.0.0.1", origin.port, limits)

    async def send(request: BaseRequest, response: StreamResponse) -> None:
        answer = await upstream.ask(REQUEST, length)
        chunks = answer.chunks()
        try:
            await send_socket(request, response, answer, chunks)
        finally:
            answer.release()
            await chunks.aclose()

    async with sending(send, length) as sender:
        try:
            yield sender, upstream
        finally:
            upstream.close()


@pytest.mark.parametrize("by_splice", [True, False])
@pytest.mark.parametrize("length", [0, 1, 8192, 64 << 10, (64 << 10) + 1, 1_234_567, len(CONTENT)])
async def test_content_and_connections_that_are_used_again(length: int, by_splice: bool) -> None:
    ways.splice = by_splice
    async with origin_that(saying(whole(CONTENT[:length]))) as origin, proxying(origin, length) as (sender, _):
        reader = Reader(sender.port)
        for _ in range(3):
            await reader.ask()
            assert await reader.body(length) == CONTENT[:length]
            assert await sender.outcome() is None
        reader.vanish()
        assert origin.connections == 1


async def test_an_answer_in_drops() -> None:
    head, body = whole(CONTENT[:100_000])[:40], whole(CONTENT[:100_000])[40:]
    drops = [bytes([byte]) for byte in head] + [body[start : start + 9_999] for start in range(0, len(body), 9_999)]

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for drop in drops:
            writer.write(drop)
            await asyncio.sleep(0.001)

    async with origin_that(answer) as origin, proxying(origin, 100_000) as (sender, _):
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(100_000) == CONTENT[:100_000]
        reader.vanish()


async def test_a_slow_reader() -> None:
    async with origin_that(saying(whole(CONTENT))) as origin, proxying(origin, len(CONTENT)) as (sender, _):
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT), slowly=True) == CONTENT
        reader.vanish()


async def test_many_at_once() -> None:
    """More readers than connections: they wait for each other."""

    async def read(port: int) -> bytes:
        reader = Reader(port)
        await reader.ask()
        found = await reader.body(len(CONTENT))
        reader.vanish()
        return found

    async with origin_that(saying(whole(CONTENT))) as origin, proxying(origin, len(CONTENT)) as (sender, _):
        found = await asyncio.gather(*(read(sender.port) for _ in range(12)))
        assert all(each == CONTENT for each in found)
        assert origin.connections <= LIMITS.connections


async def test_a_connection_that_the_origin_has_given_up() -> None:
    async with (
        origin_that(saying(whole(CONTENT[:100_000]), then="close")) as origin,
        proxying(origin, 100_000) as (sender, _),
    ):
        for expected in (1, 2, 3):
            reader = Reader(sender.port)
            await reader.ask()
            assert await reader.body(100_000) == CONTENT[:100_000]
            reader.vanish()
            assert origin.connections == expected


async def test_a_connection_that_ends_when_it_is_used_again() -> None:
    served = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 2:
            writer.transport.abort()
        else:
            writer.write(whole(CONTENT[:100_000]))
            await writer.drain()

    async with origin_that(answer) as origin, proxying(origin, 100_000) as (sender, _):
        reader = Reader(sender.port)
        for _ in range(2):
            await reader.ask()
            assert await reader.body(100_000) == CONTENT[:100_000]
        reader.vanish()
        assert origin.connections == 2
        assert served == 3


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("by_splice", [True, False])
@pytest.mark.parametrize("then", ["close", "hang"])
@pytest.mark.parametrize("sent", [0, 1, 70_000, 1_999_999])
async def test_an_answer_that_is_cut_off_breaks_the_transfer(sent: int, then: str, by_splice: bool) -> None:
    ways.splice = by_splice
    cut = whole(CONTENT[:2_000_000])[: -(2_000_000 - sent)]
    async with origin_that(saying(cut, then=then)) as origin, proxying(origin, 2_000_000) as (sender, _):
        before = open_descriptors()
        reader = Reader(sender.port)
        await reader.ask()
        assert len(await _rest(reader)) <= sent
        assert isinstance(await sender.outcome(), UpstreamBroken)
        reader.vanish()
        splice.close_idle_pipes()
        async with asyncio.timeout(SECONDS):
            await origin.closed.wait()
        assert await settled(open_descriptors, before) <= before


async def _rest(reader: Reader) -> bytes:
    found = bytearray()
    try:
        while piece := await reader.read(1 << 20):
            found += piece
    except ConnectionError:
        pass
    return bytes(found)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3,3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n folded\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
async def test_what_is_not_proper_http_is_refused(answer: bytes) -> None:
    async with origin_that(saying(answer, then="close")) as origin:
        upstream = Upstream("127.0.0.1", origin.port, LIMITS)
        before = open_descriptors()
        for _ in range(LIMITS.connections + 1):
            with pytest.raises(UpstreamBroken):
                await upstream.ask(REQUEST, 3)
        assert await settled(open_descriptors, before) <= before


async def test_an_answer_whose_end_nobody_knows_is_not_kept() -> None:
    async with origin_that(saying(b"HTTP/1.1 404 Not Found\r\n\r\n<Code>X</Code></Error>", then="hang")) as origin:
        upstream = Upstream("127.0.0.1", origin.port, LIMITS)
        answer = await upstream.ask(REQUEST, 3)
        assert answer.length is None
        assert b"<Code>X</Code>" in await answer.read_refusal()
        answer.release()
        async with asyncio.timeout(SECONDS):
            await origin.closed.wait()


async def test_a_refusal_that_is_longer_than_announced_is_not_followed_by_another_answer() -> None:
    may_go_on = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if may_go_on.is_set():
            writer.write(whole(b"abc"))
            return
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n<Code>")
        await may_go_on.wait()
        writer.write(b"NoSuchKey...and more than that")

    async with origin_that(answer) as origin:
        upstream = Upstream("127.0.0.1", origin.port, LIMITS)
        refusal = await upstream.ask(REQUEST, 3)
        # What has not come together with the head.
        may_go_on.set()
        assert await refusal.read_refusal() == b"<Code>NoSuchKey..."
        refusal.release()

        answered = await upstream.ask(REQUEST, 3)
        assert answered.take_first() == b"abc"
        answered.release()
        assert origin.connections == 2
        upstream.close()


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200"])
async def test_an_origin_that_does_not_answer(beginning: bytes) -> None:
    async with origin_that(saying(beginning, then="hang")) as origin:
        upstream = Upstream("127.0.0.1", origin.port, LIMITS)
        with pytest.raises(UpstreamBroken, match="did not answer"):
            await upstream.ask(REQUEST, 3)
        async with asyncio.timeout(SECONDS):
            await origin.closed.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_an_origin_that_is_not_there(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await Upstream(host, port, LIMITS).ask(REQUEST, 3)


@pytest.mark.parametrize("by_splice", [True, False])
async def test_a_reader_that_vanishes_stops_the_origin(by_splice: bool) -> None:
    ways.splice = by_splice
    async with origin_that(saying(whole(CONTENT))) as origin, proxying(origin, len(CONTENT)) as (sender, _):
        before = open_descriptors()
        for _ in range(LIMITS.connections + 2):
            origin.closed.clear()
            reader = Reader(sender.port)
            await reader.ask()
            await reader.read(1000)
            reader.vanish()
            assert isinstance(await sender.outcome(), ConnectionError)
            async with asyncio.timeout(SECONDS):
                await origin.closed.wait()
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT)) == CONTENT, "bytes of a transfer that failed"
        reader.vanish()
        splice.close_idle_pipes()
        # Both ends of the one connection that is kept.
        assert await settled(open_descriptors, before + 2) <= before + 2


async def test_a_reader_that_vanishes_while_the_origin_is_silent() -> None:
    patient = Limits(silent_seconds=60.0)
    cut = whole(CONTENT)[:1_000_000]
    async with origin_that(saying(cut, then="hang")) as origin, proxying(origin, len(CONTENT), patient) as (sender, _):
        reader = Reader(sender.port)
        await reader.ask()
        await reader.body(900_000)
        await asyncio.sleep(0.1)
        reader.vanish()
        async with asyncio.timeout(SECONDS):
            await origin.closed.wait()
        assert isinstance(await sender.outcome(), ConnectionError)


async def test_a_reader_that_stalls_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "SECONDS_WITHOUT_A_BYTE", 0.2)
    async with origin_that(saying(whole(CONTENT))) as origin, proxying(origin, len(CONTENT)) as (sender, _):
        reader = Reader(sender.port)
        await reader.ask()
        assert isinstance(await sender.outcome(), TimeoutError)
        async with asyncio.timeout(SECONDS):
            await origin.closed.wait()
        assert len(await _rest(reader)) < len(CONTENT)
        reader.vanish()


async def test_pipes_are_used_again() -> None:
    async with origin_that(saying(whole(CONTENT))) as origin, proxying(origin, len(CONTENT)) as (sender, _):
        reader = Reader(sender.port)
        for _ in range(3):
            await reader.ask()
            await reader.body(len(CONTENT))
            assert await sender.outcome() is None
            assert len(splice._idle) == 1
        reader.vanish()


async def test_idle_connections_are_closed() -> None:
    short = Limits(idle_seconds=0.1)
    async with origin_that(saying(whole(CONTENT))) as origin, proxying(origin, len(CONTENT), short) as (sender, _):
        reader = Reader(sender.port)
        await reader.ask()
        await reader.body(len(CONTENT))
        async with asyncio.timeout(SECONDS):
            await origin.closed.wait()
        reader.vanish()
