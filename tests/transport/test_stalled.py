"""Clients that take nothing of an answer that is in memory, which aiohttp would keep for them for ever."""

from __future__ import annotations

import random
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.transport import outlet
from gateway.transport.server import server_runner

from .exchanges import Reader, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from http import HTTPStatus

    import pytest
    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.server import Runner

CONTENT = random.Random(6).randbytes(16 << 20)


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[Runner, int]]:
    """Answer every request by the content, all at once."""

    async def handle(_: BaseRequest) -> StreamResponse:
        return web.Response(body=CONTENT)

    def refuse(status: HTTPStatus, message: str) -> StreamResponse:
        return web.Response(status=status, text=message)

    runner = server_runner(handle, refuse)
    await runner.setup()
    try:
        await web.SockSite(runner, socket.create_server(("127.0.0.1", 0))).start()
        yield runner, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_client_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "SECONDS_WITHOUT_A_BYTE", 0.2)
    async with answering() as (runner, port):
        reader = Reader(port)
        await reader.ask()
        assert len(runner.connections) == 1
        assert await settled(lambda: len(runner.connections), 0) == 0
        found = b""
        with suppress(ConnectionError):
            found = await reader.body(len(CONTENT))
        assert len(found) < len(CONTENT)
        reader.vanish()


async def test_a_client_that_is_slow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "SECONDS_WITHOUT_A_BYTE", 0.05)
    async with answering() as (_, port):
        reader = Reader(port)
        await reader.ask()
        assert await reader.slow_body(len(CONTENT), monkeypatch) == CONTENT
        # And is served again.
        await reader.ask()
        assert await reader.body(len(CONTENT)) == CONTENT
        reader.vanish()
