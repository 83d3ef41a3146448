"""TLS that is served directly: handshakes, PROXY headers before them, large contents, and certificates that change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.errors import ConfigurationError
from gateway.transport import serving as module
from gateway.transport.admission import Admission
from gateway.transport.body import RequestBody
from gateway.transport.certificate import Certificate
from gateway.transport.connection import Connection
from gateway.transport.sending import send_file
from gateway.transport.server import Terms
from gateway.transport.serving import Door, Farewell, serving
from support.tls import make_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from http import HTTPStatus
    from pathlib import Path

    from aiohttp.web import BaseRequest, StreamResponse

GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PREAMBLE = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
CONTENT = os.urandom(5_000_000)
BALANCED = Terms(Admission(speaks_for_others=lambda address: address == "127.0.0.1"))


def refusal(status: HTTPStatus, message: str) -> StreamResponse:
    return web.Response(status=status, text=message)


class Answering:
    """Tells who connects, takes what is sent, and sends a file."""

    def __init__(self, file: Path) -> None:
        self.in_flight = 0
        self._file = file

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        assert isinstance(request.protocol, Connection)
        if request.path == "/file":
            response = web.StreamResponse()
            response.content_length = len(CONTENT)
            await response.prepare(request)
            with self._file.open("rb") as file:
                await send_file(request, response, file.fileno(), 0, len(CONTENT))
            return response
        body, buffer, content = RequestBody(request, None), memoryview(bytearray(300_000)), hashlib.sha256()
        while count := await body.receive_into(buffer):
            content.update(buffer[:count])
        peer = request.protocol.peer
        return web.Response(text=f"{request.scheme} {peer.address} {peer.port} {body.direct} {content.hexdigest()}")


class House:
    """A server that speaks TLS, and its clients."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.hurried = asyncio.Event()
        self.certificate = Certificate(folder / "certificate.pem", folder / "key.pem")
        self._plain: list[asyncio.StreamWriter] = []

    def trust(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Make a client's context that trusts the certificate as it is now."""
        context = ssl.create_default_context(cafile=self.folder / "certificate.pem")
        context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    @asynccontextmanager
    async def plain(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect without TLS."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def connected(
        self, *preamble: bytes, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect by TLS, behind a PROXY header where one is given."""
        async with self.plain() as (reader, writer):
            for piece in preamble:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(10):
                await writer.start_tls(context or self.trust(), server_hostname="localhost")
            yield reader, writer


@asynccontextmanager
async def house(folder: Path, terms: Terms | None = None) -> AsyncIterator[House]:
    make_tls(folder)
    (folder / "content").write_bytes(CONTENT)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    built = House(folder, listener.getsockname()[1])
    door = Door(listener, Answering(folder / "content"), terms or Terms(), built.certificate)
    built.hurried.set()
    async with serving([door], refusal, built.hurried, Farewell()):
        yield built


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes = LAST) -> bytes:
    writer.write(request)
    async with asyncio.timeout(20):
        return await reader.read()


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
    """Tell whether the connection ends without an answer."""
    with suppress(ConnectionResetError):
        return b"HTTP" not in await answer(reader, writer, request)
    return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_come_by_tls(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """HTTP/1.1 is agreed on, and the request knows its scheme."""
    async with house(tmp_path) as built, built.connected(context=built.trust(version)) as (reader, writer):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert b"https 127.0.0.1 None False" in await answer(reader, writer)


async def test_large_contents_go_both_ways(tmp_path: Path) -> None:
    """A body is received into place, and a file is sent by copies: encryption is in the way of the rest."""
    async with house(tmp_path) as built:
        async with built.connected() as (reader, writer):
            head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
                CONTENT
            )
            told = await answer(reader, writer, head + CONTENT)
            assert f"True {hashlib.sha256(CONTENT).hexdigest()}".encode() in told
        async with built.connected() as (reader, writer):
            writer.write(GET % b"file")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    "pieces",
    [(PREAMBLE,), tuple(PREAMBLE[i : i + 1] for i in range(len(PREAMBLE)))],
    ids=["at once", "byte by byte"],
)
async def test_a_load_balancer_says_who_connects(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    """Before the first byte of TLS, which it does not look into."""
    async with house(tmp_path, BALANCED) as built, built.connected(*pieces) as (reader, writer):
        assert b"https 203.0.113.7 443" in await answer(reader, writer)


@pytest.mark.parametrize("first", [LAST, b"PROXY nonsense\r\n"])
async def test_who_does_not_say_so_is_not_answered(tmp_path: Path, first: bytes) -> None:
    """Nor is who does not speak TLS."""
    async with house(tmp_path, BALANCED) as built, built.plain() as (reader, writer):
        assert await nothing(reader, writer, first)
    async with house(tmp_path) as built, built.plain() as (reader, writer):
        assert await nothing(reader, writer, first)


async def test_connections_are_counted_before_the_handshake(tmp_path: Path) -> None:
    """Those that never begin one count as well, and are forgotten when they go."""
    async with house(tmp_path, Terms(Admission(most_of_one=2))) as built:
        async with built.plain(), built.connected() as (reader, writer):
            with pytest.raises((ConnectionError, ssl.SSLError)):
                async with built.connected():
                    pass
            assert b"200 OK" in await answer(reader, writer)
        async with asyncio.timeout(20):
            while not await both_are_answered(built):  # noqa: ASYNC110  (there is no event)
                await asyncio.sleep(0.05)  # until the server has noticed that the others are gone


async def both_are_answered(built: House) -> bool:
    """Tell whether two connections at once are let in."""
    try:
        async with built.connected() as one, built.connected() as other:
            return b"200 OK" in await answer(*one) and b"200 OK" in await answer(*other)
    except (ConnectionError, ssl.SSLError):
        return False


async def test_a_new_certificate_is_for_new_connections(tmp_path: Path) -> None:
    """The old ones go on as they are."""
    async with house(tmp_path) as built:
        before = built.trust()
        async with built.connected() as (reader, writer):
            make_tls(tmp_path)
            built.certificate.refresh()

            with pytest.raises(ssl.SSLCertVerificationError):
                async with built.connected(context=before):
                    pass
            async with built.connected(context=built.trust()) as new:
                assert b"200 OK" in await answer(*new)
            assert b"200 OK" in await answer(reader, writer)


async def test_the_files_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to say that they have changed."""
    monkeypatch.setattr("gateway.transport.certificate._SECONDS_BETWEEN_LOOKS", 0.01)
    async with house(tmp_path) as built:
        old = built.certificate.context
        make_tls(tmp_path)
        async with asyncio.timeout(10):
            while built.certificate.context is old:  # noqa: ASYNC110  (there is no event)
                await asyncio.sleep(0.01)
        async with built.connected(context=built.trust()) as new:
            assert b"200 OK" in await answer(*new)


async def test_what_is_no_certificate_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, the old one stays, and a proper one is taken later."""
    async with house(tmp_path) as built:
        trusting = built.trust()
        (tmp_path / "key.pem").write_text("nonsense")
        for _ in range(3):
            built.certificate.refresh()
        async with built.connected(context=trusting) as old:
            assert b"200 OK" in await answer(*old)
        assert len([each for each in caplog.records if "is not taken" in each.getMessage()]) == 1

        make_tls(tmp_path)
        built.certificate.refresh()
        async with built.connected(context=built.trust()) as new:
            assert b"200 OK" in await answer(*new)


def test_a_start_needs_a_proper_certificate(tmp_path: Path) -> None:
    """A file that is missing, and a key of something else, are told in a sentence."""
    with pytest.raises(ConfigurationError, match=r"certificate\.pem cannot be read: No such file"):
        Certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    make_tls(tmp_path)
    (tmp_path / "other").mkdir()
    make_tls(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="are not a certificate and its key"):
        Certificate(tmp_path / "certificate.pem", tmp_path / "other" / "key.pem")


async def test_who_is_in_the_handshake_at_the_end_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everybody is whose connection was made."""
    monkeypatch.setattr(module, "_SECONDS_FOR_A_LAST_REQUEST", 10.0)
    begun = asyncio.Event()

    async def client(built: House) -> bytes:
        async with built.plain() as (reader, writer):
            writer.write(PREAMBLE[:5])
            begun.set()
            await left.wait()
            writer.write(PREAMBLE[5:])
            await writer.start_tls(built.trust(), server_hostname="localhost")
            return await answer(reader, writer)

    left = asyncio.Event()
    async with house(tmp_path, BALANCED) as built:
        task = asyncio.create_task(client(built))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.2, left.set)
    assert b"200 OK" in await task
