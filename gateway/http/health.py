"""What load balancers ask, on every host and without credentials: whether the process lives, and is ready."""

from __future__ import annotations

from http import HTTPStatus
from secrets import token_hex
from typing import TYPE_CHECKING

import orjson

from gateway.http.answers import Answer
from gateway.transport.body import close_after_unread_body

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.services.readiness import Readiness

_ALIVE = "/healthz"
_READY = "/readyz"


class Health:
    """Answers ``/healthz`` and ``/readyz``. These requests are neither counted nor logged."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def respond(self, request: BaseRequest) -> StreamResponse | None:
        """Answer a request for one of the two; None for every other."""
        # All requests come by here, so that the usual one is sorted out by one look.
        if not request.raw_path.startswith((_ALIVE, _READY)):
            return None
        path = request.raw_path.partition("?")[0]
        if path not in {_ALIVE, _READY}:
            return None
        response = (await self._answer(request, path)).response(token_hex(8))
        close_after_unread_body(request, response)
        return response

    async def _answer(self, request: BaseRequest, path: str) -> Answer:
        if request.method not in {"GET", "HEAD"}:
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        if path == _ALIVE:
            return _json(HTTPStatus.OK, {"status": "alive"})
        verdict = await self._readiness.verdict()
        status = HTTPStatus.OK if verdict.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        word = "ready" if verdict.is_ready else "not ready"
        return _json(status, {"status": word, "parts": dict(verdict.parts)})


def _json(status: HTTPStatus, document: dict[str, object]) -> Answer:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Answer(status, headers, orjson.dumps(document))
