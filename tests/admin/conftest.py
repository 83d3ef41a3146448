"""The management API on a free port of the loopback, on services in memory."""

from __future__ import annotations

import base64
import ipaddress
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from gateway.admin.dispatch import Management
from gateway.admin.web import ManagementApi
from gateway.ports.observing import Exchange
from gateway.transport.server import server_runner

from .contract import check
from .memory import ROOT, SECRET, Memory, MemoryKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

CLIENT = ipaddress.ip_address("192.0.2.7")


@dataclass(frozen=True)
class Reply:
    """An answer, which fits the OpenAPI document."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Api:
    """A way to the management API that checks each answer against the document."""

    url: str
    memory: Memory
    session: aiohttp.ClientSession

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = ROOT,
        secret: str = SECRET,
        **headers: str,
    ) -> Reply:
        """Send a request as the owner of a key, None for nobody; header names have underscores for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent.setdefault("Authorization", basic(f"{key}:{secret}"))
        data = body
        if body is not None and not isinstance(body, bytes):
            data = orjson.dumps(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read())
        check(method, path, reply.status, reply.headers, reply.body)
        return reply


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@asynccontextmanager
async def serving(memory: Memory, *, is_open: bool = False) -> AsyncIterator[Api]:
    """Serve as long as the context lasts."""
    api = ManagementApi(Management(memory.services), None if is_open else MemoryKeys())

    async def handle(request: BaseRequest) -> StreamResponse:
        path, _, query = request.raw_path.partition("?")
        origin = f"http://{request.headers['Host']}"
        exchange = Exchange("r1", request.method, path)
        return await api.respond(request, path, query, exchange=exchange, origin=origin, client=CLIENT)

    def refuse(status: HTTPStatus, message: str) -> StreamResponse:
        return web.Response(status=status, text=message)

    runner = server_runner(handle, refuse)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as session:
            yield Api(f"http://127.0.0.1:{port}", memory, session)
    finally:
        await runner.cleanup()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """The management API with its own registries team and other."""
    async with serving(Memory()) as served:
        yield served
