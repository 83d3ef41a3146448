"""Connections on real sockets: whom a load balancer speaks for, how many there may be, and how long a request takes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.transport.admission import Admission
from gateway.transport.body import RequestBody
from gateway.transport.connection import Connection
from gateway.transport.server import _LIMITS, Server, Terms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PREAMBLE = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"


def refusal(status: HTTPStatus, message: str) -> StreamResponse:
    return web.Response(status=status, text=message)


async def tell_peer(request: BaseRequest) -> StreamResponse:
    assert isinstance(request.protocol, Connection)
    body = await RequestBody(request, None).read(1_000_000) if request.can_read_body else b""
    return web.Response(text=f"{request.protocol.peer.address} {request.protocol.peer.port} {len(body)}")


@asynccontextmanager
async def serving(terms: Terms) -> AsyncIterator[int]:
    server = Server(tell_peer, refusal, direct=True, terms=terms)
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def answer(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


BALANCED = Terms(Admission(speaks_for_others=lambda address: address == "127.0.0.1"))


@pytest.mark.parametrize(
    "pieces",
    [(PREAMBLE + GET,), (PREAMBLE, GET), tuple((PREAMBLE + GET)[i : i + 1] for i in range(len(PREAMBLE + GET)))],
    ids=["at once", "apart", "byte by byte"],
)
async def test_a_load_balancer_says_who_connects(pieces: tuple[bytes, ...]) -> None:
    """However its header arrives."""
    async with serving(BALANCED) as port:
        assert (await answer(port, *pieces)).endswith(b"203.0.113.7 443 0")


async def test_a_body_behind_the_header_arrives() -> None:
    """A large one as well, which is held back from the parser."""
    body = bytes(300_000)
    put = b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with serving(BALANCED) as port:
        assert (await answer(port, PREAMBLE + put)).endswith(b"203.0.113.7 443 300000")


async def test_without_its_header_a_load_balancer_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """Its own address would stand for everybody's."""
    async with serving(BALANCED) as port:
        assert await answer(port, GET) == b""
    assert "does not begin with a PROXY header" in caplog.text


async def test_others_cannot_speak_for_anybody() -> None:
    """From an address that is not trusted, the header is no HTTP."""
    async with serving(Terms()) as port:
        assert (await answer(port, PREAMBLE + GET)).split()[1] == b"400"


async def test_an_address_has_so_many_connections() -> None:
    """One more gets an answer that says so; when another has ended, there is room again."""
    async with serving(Terms(Admission(most_of_one=2))) as port:
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in kept:
            writer.write(GET)
            assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        refused = await answer(port)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After" in refused

        kept[0][1].close()
        await kept[0][1].wait_closed()
        while not (again := await answer(port, GET)).startswith(b"HTTP/1.1 200 "):
            assert again.startswith(b"HTTP/1.1 503 ")
        kept[1][1].close()


async def test_addresses_are_counted_one_by_one_behind_a_load_balancer() -> None:
    """The client's address counts, not the load balancer's."""
    terms = Terms(Admission(speaks_for_others=BALANCED.admission.speaks_for_others, most_of_one=1))
    async with serving(terms) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREAMBLE + GET)
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        other = PREAMBLE.replace(b"113.7", b"113.8")

        assert (await answer(port, PREAMBLE + GET)).startswith(b"HTTP/1.1 503 ")
        assert (await answer(port, other + GET)).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_request_that_takes_too_long_is_cut_off() -> None:
    """However steadily its bytes come."""
    async with serving(Terms(request_seconds=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        dripping = asyncio.create_task(drip(writer))
        with suppress(ConnectionError):
            assert await reader.read() == b""
        dripping.cancel()
        writer.close()


@pytest.mark.parametrize("first", [b"", GET], ids=["at once", "behind a request"])
async def test_a_head_that_takes_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """However steadily its bytes come, and however many requests were there before."""
    monkeypatch.setitem(_LIMITS, "keepalive_timeout", 0.2)
    async with serving(Terms()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first + GET.removesuffix(b"\r\n") + b"X: ")
        dripping = asyncio.create_task(drip(writer))
        with suppress(ConnectionError):
            assert (await reader.read()).count(b"HTTP/1.1 ") == bool(first)
        dripping.cancel()
        writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a byte whenever the last one is gone, as long as the connection lasts."""
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(("length", "status"), [(900, b"200"), (1100, b"431")])
async def test_a_header_has_its_limit(length: int, status: bytes) -> None:
    """Beyond it, the answer says so."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: %b\r\n\r\n" % (b"x" * length)
    async with serving(Terms(header_bytes=1000)) as port:
        assert (await answer(port, head)).split()[1] == status
