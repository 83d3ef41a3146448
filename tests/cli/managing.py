"""Commands that are run in this process, and a server for them."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from admin.memory import Memory, MemoryKeys
from gateway.admin.dispatch import Management
from gateway.admin.web import ManagementApi
from gateway.cli import main
from gateway.ports.observing import Exchange
from gateway.transport.server import server_runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

CLIENT = ipaddress.ip_address("192.0.2.7")


@dataclass(frozen=True)
class Ended:
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


@dataclass
class Slipway:
    """Runs commands in this process."""

    memory: Memory
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: str) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["slipway", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ended(int(exit_.value.code or 0), captured.out, captured.err)


class _Server:
    """The management API, and below /moved/ and /web/ what else may be met at an address."""

    def __init__(self, memory: Memory) -> None:
        self._api = ManagementApi(Management(memory.services), MemoryKeys())

    async def handle(self, request: BaseRequest) -> StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if path.startswith("/moved/"):
            return web.Response(status=302, headers={"Location": path.removeprefix("/moved")})
        if path.startswith("/web/"):
            return web.Response(text="<html>")
        exchange = Exchange("r1", request.method, path)
        return await self._api.respond(request, path, query, exchange=exchange, origin="", client=CLIENT)

    def refuse(self, status: HTTPStatus, message: str) -> StreamResponse:
        return web.Response(status=status, text=message)


@contextmanager
def serving(memory: Memory) -> Iterator[str]:
    """Serve the management API in a thread, and yield its address."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    server = _Server(memory)

    async def serve() -> None:
        runner = server_runner(server.handle, server.refuse)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stop = asyncio.Event()
        started.set_result((f"http://127.0.0.1:{runner.addresses[0][1]}", asyncio.get_running_loop(), stop))
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    url, loop, stop = started.result(10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
