"""The HTTP server: aiohttp's low-level one, with our limits and our connections."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.transport.admission import Admission
from gateway.transport.connection import Connection
from gateway.transport.self_test import receives_directly
from gateway.transport.tally import Way, count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.connection import Refusal
    from gateway.transport.proxy_protocol import Peer

    Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]

_log = logging.getLogger(__name__)

LARGEST_HEADER = 64 * 1024

_LIMITS: dict[str, Any] = {
    # A body is hashed as it comes: decompressing it would verify other bytes than the client has sent.
    "auto_decompress": False,
    "max_line_size": 32 * 1024,
    # How long a rejected body is still read, so that the client gets to see the answer.
    "lingering_time": 2.0,
    # Also the time limit for a request's head.
    "keepalive_timeout": 75.0,
    "access_log": None,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a server asks of its clients."""

    admission: Admission = field(default_factory=Admission)
    header_bytes: int = LARGEST_HEADER
    """How long a header may be. Partial pulls of zstd:chunked images name up to 1,024 ranges in one, 25 KiB."""
    request_seconds: float | None = None
    """How long a request may take in all, with its body and its answer; None is no limit."""


class Server(web.Server):
    """A server of such connections; ``direct`` says whether they take large bodies over from aiohttp."""

    def __init__(self, handler: Handler, refusal: Refusal, *, direct: bool, terms: Terms | None = None) -> None:
        super().__init__(self._answer)
        self._answering = handler
        self._refusal = refusal
        self._terms = terms or Terms()
        self.direct = direct

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return self.connection(None)

    def connection(self, peer: Peer | None) -> Connection:
        """Make the protocol of a connection; ``peer`` is who it is, where that is known and counted already."""
        return Connection(
            self,
            loop=self._loop,
            refusal=self._refusal,
            direct=self.direct,
            admission=self._terms.admission,
            peer=peer,
            max_field_size=self._terms.header_bytes,
            **_LIMITS,
        )

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        seconds = self._terms.request_seconds
        deadline = self._loop.call_later(seconds, _end, request) if seconds is not None else None
        try:
            return await self._answering(request)
        finally:
            if deadline is not None:
                deadline.cancel()
            if isinstance(connection := request.protocol, Connection):
                connection.leave(request.content)


def _end(request: BaseRequest) -> None:
    """End the connection of a request that takes too long; what it has stored stays, as with any cut."""
    # Without the query, which may hold a secret, and undecoded, so that it stays one word.
    _log.warning("%s %s takes too long and is cut off", request.method, request.raw_path.partition("?")[0])
    if request.transport is not None:
        request.transport.abort()


class Runner(web.ServerRunner):
    """A runner that tries out, before it begins, how bodies can be received."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._own_server = server

    @property
    def connections(self) -> list[Connection]:
        """Those that are open."""
        return [each for each in self._own_server.connections if isinstance(each, Connection)]

    def connection(self, peer: Peer | None) -> Connection:
        """Make the protocol of a connection; see Server."""
        return self._own_server.connection(peer)

    async def setup(self) -> None:
        """Try receiving, then start."""

        def server(handler: Handler, refusal: Refusal) -> Server:
            return Server(handler, refusal, direct=True)

        self._own_server.direct = await receives_directly(server)
        if not self._own_server.direct:
            count(Way.RECEIVING_FAILED)
            _log.warning("large bodies go through aiohttp's parser, which is slower: see the reason above")
        await super().setup()


def server_runner(handler: Handler, refusal: Refusal, terms: Terms | None = None) -> Runner:
    """Make a runner that answers requests by ``handler``, and what is not HTTP by ``refusal``."""
    return Runner(Server(handler, refusal, direct=True, terms=terms))
