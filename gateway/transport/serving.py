"""Accepting connections on listening sockets that others may share, and leaving them without losing one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway.errors import ServiceEnding
from gateway.transport.connection import Connection
from gateway.transport.server import Terms, server_runner

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.connection import Refusal

_log = logging.getLogger(__name__)

BACKLOG = 1024
SECONDS_TO_RETIRE = 600.0
"""How long running requests may take when only this process is to end, because another one takes its place."""
SECONDS_TO_CUT_OFF = 10.0
"""How long the end may take once the time of running requests is over."""

# Clients that connected, or got an answer, a moment before the end was decided may be about to send a request.
_SECONDS_FOR_A_LAST_REQUEST = 1.0
# What was received has to be put away, and the client to be told.
_SECONDS_TO_PUT_AWAY = 5.0
_SECONDS_TO_NOTICE = 5.0
_SECONDS_BETWEEN_LOOKS = 0.02


class Countable(Protocol):
    """A handler that knows how many requests it is answering."""

    in_flight: int

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        """Answer a request."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, who answers there, and what is asked of clients."""

    listener: socket.socket
    handler: Countable
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class Farewell:
    """How a process leaves when the whole service ends."""

    unready_seconds: float = 0.0
    """How long connections are accepted all the same: load balancers have to notice first."""
    drain_seconds: float = 30.0
    """How long running requests may take after that."""


@asynccontextmanager
async def serving(
    doors: Sequence[Door], refusal: Refusal, hurried: asyncio.Event, farewell: Farewell
) -> AsyncIterator[None]:
    """Accept connections; in the end accept what waits, stop accepting and let running requests finish.

    Closes this process's copies of the sockets. ``hurried`` tells, then or later, that the whole service ends.
    """
    opened: list[_Opened] = []
    try:
        for door in doors:
            opened.append(_Opened(door, refusal))
            await opened[-1].open()
        yield
    finally:
        for each in opened:
            each.announce()
        if hurried.is_set():
            await asyncio.sleep(farewell.unready_seconds)
        for each in opened:
            await each.stop_accepting()
        await _finished(opened, hurried, farewell.drain_seconds)
        # Only now: from its first step on, aiohttp drops what running requests still receive.
        await asyncio.gather(*(each.close() for each in opened))


class _Opened:
    """A door at which connections are accepted."""

    def __init__(self, door: Door, refusal: Refusal) -> None:
        self._door = door
        self._runner = server_runner(self._answer, refusal, door.terms)
        self._is_leaving = False

    async def open(self) -> None:
        """Begin to accept."""
        await self._runner.setup()
        # The site closes what it is given, and the socket is needed once more.
        self._site = web.SockSite(self._runner, self._door.listener.dup(), backlog=BACKLOG)
        await self._site.start()

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        if self._is_leaving and isinstance(connection := request.protocol, Connection):
            connection.end_behind_answer()
        return await self._door.handler(request)

    @property
    def connections(self) -> Sequence[Connection]:
        """Those that are open."""
        assert self._runner.server is not None
        return [each for each in self._runner.server.connections if isinstance(each, Connection)]

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._door.handler.in_flight

    def announce(self) -> None:
        """From now on, have each answer tell its client to connect anew for its next request."""
        self._is_leaving = True
        for connection in self.connections:
            connection.end_behind_answer()

    async def stop_accepting(self) -> None:
        """Accept nothing more, but what waits in the backlog, which the last close of the socket would reset."""
        assert self._runner.server is not None
        await self._site.stop()
        listener = self._door.listener
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                await asyncio.get_running_loop().connect_accepted_socket(self._runner.server, connection)
        listener.close()

    async def close(self) -> None:
        """Close the connections that are left."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), _SECONDS_TO_NOTICE)


async def _finished(opened: Sequence[_Opened], hurried: asyncio.Event, drain_seconds: float) -> None:
    """Wait until no request is running, within a limit, and a moment for those that are on their way."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + max(SECONDS_TO_RETIRE, drain_seconds)
    patience = loop.time() + _SECONDS_FOR_A_LAST_REQUEST
    is_patient = True
    while any(each.connections for each in opened):
        now = loop.time()
        if any(each.in_flight for each in opened):
            # Its client may not have been told yet that this was the last one.
            patience = now + _SECONDS_FOR_A_LAST_REQUEST
        elif now >= patience:
            return
        if is_patient and hurried.is_set():
            is_patient, deadline = False, min(deadline, now + drain_seconds)
        if now >= deadline:
            await _cut_off(opened)
            return
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


async def _cut_off(opened: Sequence[_Opened]) -> None:
    """Interrupt what is received, so that it is put away and its client told; then close what still runs."""
    _log.warning("%d requests did not finish in time and are cut off", sum(each.in_flight for each in opened))
    for each in opened:
        for connection in each.connections:
            connection.interrupt(ServiceEnding("the service ends"))
    if await _ended(opened, _SECONDS_TO_PUT_AWAY):
        return
    for each in opened:
        for connection in each.connections:
            connection.force_close()
    await _ended(opened, _SECONDS_TO_NOTICE)


async def _ended(opened: Sequence[_Opened], seconds: float) -> bool:
    """Wait until no request is running; False if that takes longer."""
    try:
        async with asyncio.timeout(seconds):
            while any(each.in_flight for each in opened):  # noqa: ASYNC110  (a counter is all that there is)
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    except TimeoutError:
        return False
    return True
