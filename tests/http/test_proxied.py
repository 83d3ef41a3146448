"""Behind a load balancer that speaks the PROXY protocol: realm, networks and limits follow what it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.app.service import running
from gateway.config import Address, Settings
from gateway.model.networks import Networks
from support.postgres import create_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.databases import Server

TLS = b"\x20\x00\x05\x01" + bytes(4)
_numbers = iter(range(1000))


def preamble(*, tls: bool) -> bytes:
    """Write a header of version 2 for a client that has connected to port 8443."""
    addresses = bytes((203, 0, 113, 7, 192, 0, 2, 1)) + (40000).to_bytes(2, "big") + (8443).to_bytes(2, "big")
    content = addresses + (TLS if tls else b"")
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + len(content).to_bytes(2, "big") + content


@pytest.fixture
async def port(embedded_server: Server, tmp_path: Path) -> AsyncIterator[int]:
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        data_dir=tmp_path,
        database_url=await create_database(embedded_server.dsn, f"proxied_{next(_numbers)}"),
        proxy_protocol=Networks.parse(["127.0.0.0/8"]),
    )
    async with running(settings) as server:
        yield server.port


async def answer(port: int, request: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return (await reader.read()).decode()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("tls", "forwarded", "realm"),
    [
        (True, b"", "https://localhost:8443/token"),
        (False, b"", "http://localhost:8443/token"),
        # Nobody has said that this address may be believed.
        (True, b"X-Forwarded-Proto: http\r\n", "https://localhost:8443/token"),
    ],
)
async def test_the_realm_is_where_the_client_has_connected(port: int, tls: bool, forwarded: bytes, realm: str) -> None:
    """Scheme and port as the load balancer says."""
    request = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n" + forwarded + b"Connection: close\r\n\r\n"

    assert f'realm="{realm}"' in await answer(port, preamble(tls=tls) + request)


async def test_without_a_header_nobody_is_answered(port: int) -> None:
    """Who speaks for nobody in particular could be anybody."""
    assert await answer(port, b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n") == ""
