"""The HTTP server: aiohttp's low-level one, with our limits and our connections."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.transport.connection import Connection
from gateway.transport.self_test import receives_directly
from gateway.transport.tally import Way, count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.connection import Refusal

    Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]

_log = logging.getLogger(__name__)

_LIMITS: dict[str, Any] = {
    # A body is hashed as it comes: decompressing it would verify other bytes than the client has sent.
    "auto_decompress": False,
    # Partial pulls of zstd:chunked images name up to 1,024 ranges in one header.
    "max_field_size": 64 * 1024,
    "max_line_size": 32 * 1024,
    # How long a rejected body is still read, so that the client gets to see the answer.
    "lingering_time": 2.0,
    # Also the time limit for a request's head.
    "keepalive_timeout": 75.0,
    "access_log": None,
}


class Server(web.Server):
    """A server of such connections; ``direct`` says whether they take large bodies over from aiohttp."""

    def __init__(self, handler: Handler, refusal: Refusal, *, direct: bool) -> None:
        super().__init__(self._answer)
        self._answering = handler
        self._refusal = refusal
        self.direct = direct

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, loop=self._loop, refusal=self._refusal, direct=self.direct, **_LIMITS)

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        try:
            return await self._answering(request)
        finally:
            if isinstance(connection := request.protocol, Connection):
                connection.leave(request.content)


class _Runner(web.ServerRunner):
    """A runner that tries out, before it begins, how bodies can be received."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._own_server = server

    async def setup(self) -> None:
        """Try receiving, then start."""

        def server(handler: Handler, refusal: Refusal) -> Server:
            return Server(handler, refusal, direct=True)

        self._own_server.direct = await receives_directly(server)
        if not self._own_server.direct:
            count(Way.RECEIVING_FAILED)
            _log.warning("large bodies go through aiohttp's parser, which is slower: see the reason above")
        await super().setup()


def server_runner(handler: Handler, refusal: Refusal) -> web.ServerRunner:
    """Make a runner that answers requests by ``handler``, and what is not HTTP by ``refusal``."""
    return _Runner(Server(handler, refusal, direct=True))
