"""Accepting connections on listening sockets that others may share, and leaving them without losing one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.errors import ServiceEnding
from gateway.transport.arrivals import PlainArrivals, SecureArrivals
from gateway.transport.connection import Connection
from gateway.transport.server import Terms, server_runner

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.arrivals import Arrivals
    from gateway.transport.certificate import Certificate
    from gateway.transport.connection import Refusal

_log = logging.getLogger(__name__)

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
    certificate: Certificate | None = None
    """Where clients speak TLS."""


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
        self._arrivals: Arrivals
        if door.certificate is None:
            self._arrivals = PlainArrivals(door.listener, self._runner, self._runner.connection)
        else:
            self._arrivals = SecureArrivals(
                door.listener, door.certificate, door.terms.admission, self._runner.connection
            )

    async def open(self) -> None:
        """Begin to accept."""
        await self._runner.setup()
        await self._arrivals.open()

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        if self._is_leaving and isinstance(connection := request.protocol, Connection):
            connection.end_behind_answer()
        return await self._door.handler(request)

    @property
    def connections(self) -> Sequence[Connection]:
        """Those that are open."""
        return self._runner.connections

    @property
    def has_clients(self) -> bool:
        """Whether there are any, or some are about to be."""
        return bool(self._arrivals.under_way or self.connections)

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
        """Accept nothing more, but what waits."""
        await self._arrivals.close()

    async def close(self) -> None:
        """Close the connections that are left."""
        await self._arrivals.drop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), _SECONDS_TO_NOTICE)


async def _finished(opened: Sequence[_Opened], hurried: asyncio.Event, drain_seconds: float) -> None:
    """Wait until no request is running, within a limit, and a moment for those that are on their way."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + max(SECONDS_TO_RETIRE, drain_seconds)
    patience = loop.time() + _SECONDS_FOR_A_LAST_REQUEST
    is_patient = True
    while any(each.has_clients for each in opened):
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
