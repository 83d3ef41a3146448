"""Accepting connections on a listening socket that others may share, and leaving it without losing one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway.transport.server import server_runner

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.connection import Refusal
    from gateway.transport.server import Terms

_log = logging.getLogger(__name__)

BACKLOG = 1024
SECONDS_TO_FINISH = 30.0
"""How long running requests may take once the whole service is to end."""
SECONDS_TO_RETIRE = 600.0
"""How long they may take when only this process is to end, because another one takes its place."""

# Clients that connected, or got an answer, a moment before the end was decided may be about to send a request.
_SECONDS_FOR_A_LAST_REQUEST = 1.0
_SECONDS_TO_NOTICE = 5.0
_SECONDS_BETWEEN_LOOKS = 0.02


class Countable(Protocol):
    """A handler that knows how many requests it is answering."""

    in_flight: int

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        """Answer a request."""


class _Gate:
    """Passes requests on; once it closes, every answer tells the client to connect anew for its next request."""

    def __init__(self, handler: Countable) -> None:
        self._handler = handler
        self.is_closing = False

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        response = await self._handler(request)
        if self.is_closing and not response.prepared:
            response.force_close()
        return response


@asynccontextmanager
async def serving(
    handler: Countable,
    refusal: Refusal,
    listener: socket.socket,
    hurried: asyncio.Event,
    terms: Terms | None = None,
) -> AsyncIterator[None]:
    """Accept connections; in the end accept what waits, stop accepting and let running requests finish.

    Closes this process's copy of the socket. ``hurried`` tells, then or later, that the whole service ends.
    """
    gate = _Gate(handler)
    runner = server_runner(gate, refusal, terms)
    await runner.setup()
    # The site closes what it is given, and the socket is needed once more.
    site = web.SockSite(runner, listener.dup(), backlog=BACKLOG)
    await site.start()
    try:
        yield
    finally:
        gate.is_closing = True
        await site.stop()
        await _accept_waiting(runner, listener)
        listener.close()
        await _finished(handler, runner, hurried)
        # Only now: from its first step on, aiohttp drops what running requests still receive.
        with suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), _SECONDS_TO_NOTICE)


async def _accept_waiting(runner: web.ServerRunner, listener: socket.socket) -> None:
    """Take over the connections that wait in the backlog, which the last close of the socket would reset."""
    assert runner.server is not None
    listener.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(runner.server, connection)


async def _finished(handler: Countable, runner: web.ServerRunner, hurried: asyncio.Event) -> None:
    """Wait until no request is running, within a limit, and a moment for those that are on their way."""
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    patience = loop.time() + _SECONDS_FOR_A_LAST_REQUEST
    deadline = loop.time() + SECONDS_TO_RETIRE
    is_patient = True
    while runner.server.connections and (handler.in_flight or loop.time() < patience):
        if is_patient and hurried.is_set():
            is_patient, deadline = False, min(deadline, loop.time() + SECONDS_TO_FINISH)
        if loop.time() >= deadline:
            await _cut_off(handler, runner.server)
            return
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


async def _cut_off(handler: Countable, server: web.Server) -> None:
    """Close all connections, and give the requests a moment to put away what they have."""
    _log.warning("%d requests did not finish in time and are cut off", handler.in_flight)
    for connection in server.connections:
        connection.force_close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_NOTICE):
            while handler.in_flight:  # noqa: ASYNC110  (a counter is all that there is)
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
