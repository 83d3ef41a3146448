"""Leaving a listening socket: how long running requests may take."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.transport import serving as module
from gateway.transport.serving import serving

if TYPE_CHECKING:
    from http import HTTPStatus

    import pytest
    from aiohttp.web import BaseRequest, StreamResponse


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        self.in_flight += 1
        self.entered.set()
        try:
            await self.go_on.wait()
        finally:
            self.in_flight -= 1
        return web.Response(text=request.path)


def refusal(status: HTTPStatus, message: str) -> StreamResponse:
    return web.Response(status=status, text=message)


async def leave_with_a_request(handler: Slow, hurried: asyncio.Event, leaving: asyncio.Event) -> bytes:
    """Return what the client of a request gets that is running when the server is to end."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with serving(handler, refusal, listener, hurried):
        reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await handler.entered.wait()
        leaving.set()
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_retiring_server_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody is in a hurry, the short limit does not count."""
    monkeypatch.setattr(module, "SECONDS_TO_FINISH", 0.0)
    handler, leaving = Slow(), asyncio.Event()
    task = asyncio.create_task(leave_with_a_request(handler, asyncio.Event(), leaving))
    await leaving.wait()
    done, _ = await asyncio.wait([task], timeout=0.3)
    assert not done
    handler.go_on.set()
    assert b"200 OK" in await task


async def test_a_server_in_a_hurry_cuts_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the service ends meanwhile, the short limit counts from that moment."""
    monkeypatch.setattr(module, "SECONDS_TO_FINISH", 0.1)
    monkeypatch.setattr(module, "_SECONDS_TO_NOTICE", 0.1)
    handler, leaving, hurried = Slow(), asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(leave_with_a_request(handler, hurried, leaving))
    await leaving.wait()
    hurried.set()
    assert await asyncio.wait_for(task, 10) == b""
