"""The page of metrics, on a listener of its own."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.http.health import Health


class MetricsPage:
    """Answers ``GET /metrics``, and what load balancers ask."""

    def __init__(self, health: Health, read: Callable[[], Awaitable[bytes]], content_type: str) -> None:
        self._health = health
        self._read = read
        self._content_type = content_type
        self.in_flight = 0

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        """Answer a request."""
        if (told := await self._health.respond(request)) is not None:
            return told
        if request.path != "/metrics":
            return web.Response(status=HTTPStatus.NOT_FOUND, text="metrics are at /metrics\n")
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        return web.Response(body=await self._read(), headers={"Content-Type": self._content_type})
