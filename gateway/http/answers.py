"""Answers: what a handler returns when the whole of it is in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and a body in memory."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def response(self, request_id: str) -> web.Response:
        """Make the response that aiohttp sends."""
        headers = common_headers(request_id)
        headers.update(self.headers)
        # None leaves out the Content-Type that aiohttp would add to an empty body.
        return web.Response(status=self.status, headers=headers, body=self.body or None)


def common_headers(request_id: str) -> dict[str, str]:
    """Headers of every answer (protocol.md 1.3)."""
    return {
        "Docker-Distribution-Api-Version": "registry/2.0",
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id,
        "Server": "slipway",
    }
